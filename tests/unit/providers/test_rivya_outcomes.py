"""Every answer of the API sorted into its outcome: one table for promise 5 and rivya-api.md section 1."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from unit.providers.helpers import (
    TASK,
    USES,
    always,
    ask,
    ask_each,
    error,
    poll,
    submit,
    wallet,
    words,
)
from virtual_time import EPOCH

from batcher.jobs import TaskState
from batcher.providers import Accepted, Conflict, Fatal, Going, Refused, Retryable, Unknown
from batcher.providers.rivya import Rivya

KEY_HALT = "halt key"
CREDITS_HALT = "halt credits"
THROTTLED = "later throttled"
DOWN = "later outage maybe"
OFF = "later outage"
WAIT = "later"
PAGE = "later outage maybe page"
REFUSED = "refused"
CONFLICT = "conflict"
UNKNOWN = "later maybe"

# status, code of the API's envelope (None: a page of something in between), what a create makes of it
ROWS: list[tuple[int, str | None, str]] = [
    (401, "api_key_missing", KEY_HALT),
    (401, "api_key_invalid", KEY_HALT),
    (401, "api_key_revoked", KEY_HALT),
    (401, "api_key_expired", KEY_HALT),
    (403, "api_scope_denied", KEY_HALT),
    (400, "api_key_invalid", KEY_HALT),
    (403, "never_seen_before", KEY_HALT),
    (402, "never_seen_before", CREDITS_HALT),
    *[(status, "insufficient_credits", CREDITS_HALT) for status in (200, 400, 402, 403, 409, 422, 429)],
    (429, "rate_limited", THROTTLED),
    (400, "rate_limited", THROTTLED),
    (200, "rate_limited", THROTTLED),
    (429, None, THROTTLED),
    (429, "never_seen_before", THROTTLED),
    (503, "public_api_disabled", OFF),
    (200, "public_api_disabled", OFF),
    (500, "internal_error", DOWN),
    (500, "validation_failed", DOWN),
    (500, "api_key_invalid", DOWN),
    (503, "rate_limited", DOWN),
    (500, "insufficient_credits", DOWN),
    (502, None, DOWN),
    (504, None, DOWN),
    (599, None, DOWN),
    (408, None, DOWN),
    (408, "never_seen_before", DOWN),
    *[(status, "never_seen_before", DOWN) for status in (407, 421, 451)],
    (425, None, WAIT),
    (425, "never_seen_before", WAIT),
    *[(status, None, PAGE) for status in (200, 202, 300, 301, 303, 304, 307, 308)],
    *[(status, None, PAGE) for status in (400, 401, 402, 403, 404, 405, 407, 409, 410, 413, 415, 418, 421, 422, 451)],
    *[(status, "validation_failed", REFUSED) for status in (200, 400, 413, 415, 422)],
    (400, "webhook_url_rejected", REFUSED),
    (400, "chat_model_not_supported", REFUSED),
    (400, "chat_attachment_not_supported", REFUSED),
    (400, "never_seen_before", REFUSED),
    (404, "not_found", REFUSED),
    (200, "not_found", REFUSED),
    *[(status, code, UNKNOWN) for status in (200, 202) for code in ("never_seen_before", "internal_error")],
    *[(status, "generation_failed", UNKNOWN) for status in (200, 400, 422)],
    (418, "never_seen_before", REFUSED),
    (409, "idempotency_conflict", CONFLICT),
    (200, "idempotency_conflict", CONFLICT),
    (409, "chat_session_conflict", CONFLICT),
]

#: How other requests see what a create sees; all else is the same.
ELSEWHERE = {
    "poll": {CONFLICT: WAIT, REFUSED: WAIT},
    "upload": {CONFLICT: REFUSED},
    "credits": {CONFLICT: REFUSED},
    "models": {CONFLICT: REFUSED},
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("status", "code", "expected"), ROWS)
def test_outcome(use: str, status: int, code: str | None, expected: str) -> None:
    found = ask(always(error(status, code)), USES[use])
    expected = ELSEWHERE.get(use, {}).get(expected, expected)
    if use == "poll" and code == "not_found":  # a page of a proxy says nothing about a task
        expected = "unknown"
    assert words(found) == expected, found
    assert isinstance(found, Refused | Conflict | Fatal | Retryable | Unknown)
    if not 300 <= status < 400:
        assert found.code == (code or f"http_{status}")
    assert found.request_id == ("req_7" if code else "")
    assert found.message == (f"{found.bare} (request req_7)" if code else found.bare)
    if isinstance(found, Retryable) and found.page:
        assert (found.cause, found.outage) == ("page", True)


def test_a_page_is_told_with_what_helps_to_find_whose_it_is() -> None:
    page = "<!DOCTYPE html><style>x{}</style><title>Attention Required!</title>\n<body>you have  been <b>blocked</b>"
    found = ask(always(httpx.Response(403, text=page, headers={"server": "cloudflare"})), submit)
    assert isinstance(found, Retryable)
    expected = "HTTP 403 from cloudflare, not in the API's words: Attention Required! you have been blocked"
    assert found.message == expected


#: Bodies that are not the API's envelope.
OTHERS: dict[str, Any] = {
    "page": {"text": "<html>sorry</html>"},
    "another's JSON": {"json": {"message": "Forbidden"}},
    "a text for an error": {"json": {"error": "forbidden"}},
    "a number for a code": {"json": {"error": {"code": 403, "message": "no"}}},
    "an error without a code": {"json": {"error": {"message": "no"}}},
    "a list": {"json": [{"error": {"code": "validation_failed"}}]},
    "nothing": {"content": b""},
    "words": {"text": "no healthy upstream"},
    "a failed task": {"json": TASK | {"status": "failed", "error": {"code": "generation_failed", "message": "x"}}},
}
STATUSES = [100, 101, 103, 199, 200, 201, 202, 204, 206, 226, 300, 303, 304, 308, *range(400, 432), 451, 500, 503, 599]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", OTHERS)
def test_only_the_envelope_and_a_task_in_a_2xx_speak_for_the_api(use: str, kind: str) -> None:
    """Else a create may have been received, unless 429 or 425 say that it was not; and nothing ends a task."""
    answers = [always(httpx.Response(status, **OTHERS[kind])) for status in STATUSES]
    for status, found in zip(STATUSES, ask_each(answers, USES[use]), strict=True):
        task, success = kind == "a failed task", 200 <= status < 300
        if task and success and use in ("create", "poll"):
            assert isinstance(found, Accepted if use == "create" else TaskState)
        elif success and use == "poll" and kind != "page":
            assert isinstance(found, Going), (status, found)
        else:
            assert isinstance(found, Retryable), (status, found)
            assert found.maybe_received is (status not in (425, 429)), status
            assert found.throttled is (status == 429)


@pytest.mark.parametrize(
    ("body", "is_task"),
    [
        ({"id": "task_1", "status": "failed", "error": {"code": "generation_failed"}}, True),
        ({"id": "task_1", "status": "", "error": {"code": "validation_failed"}}, False),
        ({"id": "req_1", "status": 400, "error": {"code": "validation_failed"}}, False),
        ({"id": "req_1", "error": {"code": "validation_failed"}}, False),
    ],
)
def test_a_task_that_failed_has_an_error_too(body: dict[str, Any], is_task: bool) -> None:
    found = ask(always(httpx.Response(200, json=body)), submit)
    assert isinstance(found, Accepted if is_task else Refused)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("999999999", 86400.0),
        (format_datetime(datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(EPOCH, UTC) - timedelta(seconds=90), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400.0),
        ("Fri, 15 Jan 2027 08:01:30", 90.0),
        (str(int(EPOCH) + 90), 90.0),
        (f"{int(EPOCH) + 90}.5", 90.5),
        (str(int(EPOCH + 90) * 1000), 90.0),
        (str(int(EPOCH) - 90), 0.0),
        ("1.5", 1.5),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("Fri, 99 Foo 2027", None),
        ("Fri, 31 Dec 99999999999 23:59:59 GMT", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(use: str, header: str, expected: float | None, status: int) -> None:
    found = ask(always(error(status, "rate_limited", **{"retry-after": header})), USES[use])
    assert isinstance(found, Retryable)
    assert found.retry_after == (None if expected is None else pytest.approx(expected, abs=0.01))


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in another time zone than that of HTTP dates."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_away")
@pytest.mark.parametrize("skew", [-7200, 0, 7200])
def test_retry_after_is_measured_by_the_clock_of_who_says_it(skew: int) -> None:
    """This machine's clock may be hours off."""
    now = EPOCH + skew
    for value in (http_date(now + 5), http_date(now + 5).removesuffix(" GMT"), str(int(now) + 5), "5"):
        headers = {"date": http_date(now), "retry-after": value}
        for use in (submit, poll):
            found = ask(always(error(429, "rate_limited", **headers)), use)
            assert isinstance(found, Retryable)
            assert found.retry_after == 5.0

        async def fetch(provider: Rivya) -> object:
            async with provider.result("https://m.test/1", offset=0, validator=None) as found:
                return found

        found = ask(always(httpx.Response(503, headers=headers)), fetch)
        assert isinstance(found, Retryable)
        assert found.retry_after == 5.0


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (httpx.ConnectError, "later outage"),
        (httpx.ConnectTimeout, "later outage"),
        (httpx.PoolTimeout, "later outage"),
        (httpx.ReadError, "later outage maybe"),
        (httpx.WriteError, "later outage maybe"),
        (httpx.ReadTimeout, "later outage maybe"),
        (httpx.WriteTimeout, "later outage maybe"),
        (httpx.RemoteProtocolError, "later outage maybe"),
        (httpx.ProxyError, "later outage maybe"),
        (httpx.DecodingError, "later outage maybe"),
        (OSError, "later outage maybe"),
        (RuntimeError, "later outage maybe"),
    ],
)
def test_what_a_transport_raises(use: str, raised: type[Exception], expected: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise raised("")

    found = ask(handler, USES[use])
    assert words(found) == expected
    assert found.code == ("no_answer" if "maybe" in expected else "unreachable")
    assert raised.__name__ in found.message


def test_a_poll_that_is_answered_with_another_task_says_nothing() -> None:
    found = ask(always(httpx.Response(200, json={"id": "task_2", "status": "failed", "final_credits": 0})), poll)
    assert isinstance(found, Going)


def test_the_apis_time_is_that_of_its_newest_date_and_goes_on() -> None:
    dates = {"credits": EPOCH - 7200, "poll": EPOCH - 7000}

    def answer(request: httpx.Request) -> httpx.Response:
        kind = "credits" if request.url.path.endswith("credits") else "poll"
        return httpx.Response(200, json=TASK | {"current_credits": 1}, headers={"date": http_date(dates[kind])})

    async def use(provider: Rivya) -> list[float | None]:
        seen = [provider.api_time()]
        for ask_for in (wallet, poll):
            await ask_for(provider)
            seen.append(provider.api_time())
        await anyio.sleep(5)
        return [*seen, provider.api_time()]

    assert ask(answer, use) == [None, EPOCH - 7200, EPOCH - 7000, EPOCH - 6995]


def http_date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
