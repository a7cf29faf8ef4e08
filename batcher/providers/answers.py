"""What the API's answers hold, read leniently: sections 2 to 4 of rivya-api.md.

What its pages leave open works either way: ids may be texts or numbers, prices may be texts, states of any case, fields
of an upload in either case and wrapped; unknown fields, codes and states are tolerated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from batcher.jobs import Status, TaskState

from .values import as_credits, as_number, as_text, as_words

_STATES = {
    "queued": Status.QUEUED,
    "processing": Status.PROCESSING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
}
_LONGEST_URL = 1 << 24  # an answer is not longer either
_URL_NAMES = ("primary_url", "primaryUrl", "url", "urls")


def read_task(found: Any, *, absolute: Callable[[str], str], task_id: str = "", word: str = "") -> TaskState | None:
    """A task object in our words; None when it is none. `task_id` and `word` stand for an id or state that is missing.

    A create's answer with an id and no status was paid for all the same; a poll's says nothing. `absolute` makes the
    URL that is meant of a result's.
    """
    if not isinstance(found, dict):
        return None
    identity = as_text(found.get("id")) or task_id
    word = as_text(found.get("status")) or word
    if not identity or not word:
        return None
    urls = (absolute(text) for text in _urls(found.get("result")))
    error = found["error"] if isinstance(found.get("error"), dict) else {}
    return TaskState(
        task_id=identity,
        status=state_of(word) or Status.PROCESSING,
        word=word,
        reserved_credits=as_credits(found.get("reserved_credits")),
        final_credits=as_credits(found.get("final_credits")),
        urls=tuple(dict.fromkeys(url for url in urls if url)),
        error_code=as_text(error.get("code")),
        error_message=as_words(error.get("message")),
        model=as_text(found.get("model")),
        created_at=as_text(found.get("created_at"), 40),
        updated_at=as_text(found.get("updated_at"), 40),
    )


def state_of(word: str) -> Status | None:
    """The state that a word names, in whatever case; None for an unknown one."""
    return _STATES.get(word.strip().casefold())


def _urls(found: Any, depth: int = 0) -> Iterator[str]:
    """Every URL of a result, in order, whether it is a text, a list, or an object with a URL in it."""
    match found:
        case str() if text := as_text(found.strip(), _LONGEST_URL):
            # A data: URL is the file itself, too long to be kept as a link; its head says what it is.
            yield text[:60] if text[:5].lower() == "data:" else text
        case list() if depth < 4:
            for item in found:
                yield from _urls(item, depth + 1)
        case dict() if depth < 4:
            for name in _URL_NAMES:
                yield from _urls(found.get(name), depth + 1)


def read_upload(found: Any) -> dict[str, Any]:
    """The fields of an uploaded file: url, kind, mime_type, file_id, duration_token, duration_seconds; None if absent.

    No page prints the object (section 4), so either case of its names is taken, and a wrapper round it.
    """
    for name in ("data", "file"):
        if (
            isinstance(found, dict)
            and not as_text(found.get("url"), _LONGEST_URL)
            and isinstance(found.get(name), dict)
        ):
            found = found[name]
    fields = found if isinstance(found, dict) else {}

    def text(*names: str) -> str | None:
        return next((value for name in names if (value := as_text(fields.get(name)))), None)

    return {
        "url": as_text(fields.get("url"), _LONGEST_URL),
        "kind": text("kind"),
        "mime_type": text("mime_type", "mimeType"),
        "file_id": text("id", "file_id", "fileId"),
        "duration_token": text("duration_token", "durationToken"),
        "duration_seconds": as_number(fields.get("duration_seconds", fields.get("durationSeconds"))),
    }
