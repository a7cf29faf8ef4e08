"""What an answer that names no success means, money first (product.md, promise 5).

Only the API's error envelope, under any status, and a task in a 2xx speak for the API; all else comes from something
in between. Not received is only what is proven: 429, 425, `public_api_disabled`, and a refusal in an envelope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import Conflict, Fatal, Refused, Retryable
from .registry import KnownProvider
from .values import as_date, as_retry_after, as_text, as_words, first_words

# rivya-api.md, section 1. Codes outrank status codes where they are known; unknown ones count by their class.
_CODES = {
    "api_key_missing": "key",
    "api_key_invalid": "key",
    "api_key_revoked": "key",
    "api_key_expired": "key",
    "api_scope_denied": "key",
    "insufficient_credits": "credits",  # its status code is not documented
    "rate_limited": "throttled",
    "idempotency_conflict": "conflict",
    **dict.fromkeys(("validation_failed", "not_found", "webhook_url_rejected", "chat_model_not_supported"), "refused"),
    "chat_attachment_not_supported": "refused",
    "generation_failed": "unknown",  # what a task failed with: there was one, whatever became of the rest of the answer
}
_STATUSES = {401: "key", 403: "key", 402: "credits", 409: "conflict", 425: "wait", 429: "throttled"}
#: Statuses of those in between, which prove nothing even with an envelope: a proxy's login, a wrong or barred way, time
#: that ran out on the way.
_OF_THE_WAY = (407, 408, 421, 451)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: status, headers (lower case), decoded JSON (None if it was none), and how it begins as text."""

    status: int
    headers: Mapping[str, str]
    json: Any
    text: str = ""

    @property
    def is_success(self) -> bool:
        """A 2xx that is no error in disguise and no page of something in between."""
        return 200 <= self.status < 300 and envelope(self.json) is None and not self.is_page

    @property
    def is_page(self) -> bool:
        """Whether this is HTML where JSON, or nothing, belongs."""
        return self.json is None and self.text.lstrip("\ufeff \t\r\n").startswith("<")


def envelope(found: Any) -> Mapping[str, Any] | None:
    """The error of the API's envelope. A task that failed has an `error` too; an object with id and state is a task."""
    if not isinstance(found, dict) or not isinstance(found.get("error"), dict):
        return None
    if as_text(found.get("id")) and isinstance(found.get("status"), str) and found["status"]:
        return None
    error: Mapping[str, Any] = found["error"]
    # A number for a code is how others write their errors, such as load balancers.
    return error if isinstance(error.get("code"), str) and error["code"] else None


def sort(
    answer: Answer, now: float, mask: Callable[[str], str], provider: KnownProvider
) -> Refused | Conflict | Fatal | Retryable:
    """What an answer that is no success means.

    `now` is this machine's time, for an answer that has no Date. `mask` takes the key out of what is told.
    """
    sent_at = as_date(answer.headers.get("date", ""))
    wait = as_retry_after(answer.headers.get("retry-after"), now if sent_at is None else sent_at)
    error = envelope(answer.json)
    if 300 <= answer.status < 400:
        target = mask(answer.headers.get("location", "nowhere"))[:200]
        words = f"the API redirects to {target} (HTTP {answer.status}); is {provider.base_url_variable} right?"
        return Retryable("redirected", words, True, wait, outage=True, page=error is None, cause="page")
    if error is None:
        return _of_others(answer, wait, mask)
    known, code = error["code"], mask(as_words(error["code"]) or "")
    request_id = mask(as_text(error.get("requestId"), 200) or "")
    message = mask(as_words(error.get("message")) or f"HTTP {answer.status}")
    if known == "public_api_disabled":
        return Retryable(code, message, False, wait, outage=True, cause="server", request_id=request_id)
    if answer.status < 200 or answer.status >= 500 or answer.status in _OF_THE_WAY:
        return Retryable(code, message, True, wait, outage=True, cause="server", request_id=request_id)
    # A 2xx is no refusal by its class, so one with an unknown code may have been received.
    by_class = "unknown" if answer.status < 300 else _STATUSES.get(answer.status, "refused")
    match _CODES.get(known, by_class):
        case "key":
            return Fatal("key", code, message, request_id)
        case "credits":
            return Fatal("credits", code, message, request_id)
        case "conflict":
            return Conflict(code, message, request_id)
        case "throttled":
            return Retryable(code, message, False, wait, throttled=True, request_id=request_id)
        case "wait":
            return Retryable(code, message, False, wait, request_id=request_id)
        case "unknown":
            return Retryable(code, message, True, wait, request_id=request_id)
        case _:
            return Refused(code, message, request_id)


def _of_others(answer: Answer, wait: float | None, mask: Callable[[str], str]) -> Retryable:
    """An answer that is not the API's own: told with what helps to find out whose it is."""
    status = answer.status
    code, message = f"http_{status}", mask(_page_words(answer))
    if status == 429:
        return Retryable(code, message, False, wait, throttled=True)
    if status == 425:
        return Retryable(code, message, False, wait)
    if status >= 500 or status == 408:
        return Retryable(code, message, True, wait, outage=True, cause="server")
    if 200 <= status < 300 and not answer.is_page:
        return Retryable("bad_answer", f"HTTP {status} with a body that cannot be read", True, wait)
    return Retryable(code, message, True, wait, outage=True, page=True, cause="page")


def _page_words(answer: Answer) -> str:
    server = answer.headers.get("server", "")[:60] or "a server without a name"
    words = first_words(answer.text)
    return f"HTTP {answer.status} from {server}, not in the API's words: {words or 'nothing'}"
