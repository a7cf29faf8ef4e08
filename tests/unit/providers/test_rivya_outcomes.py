"""Every answer of the API sorted into its outcome: one table for promise 5 and rivya-api.md section 1."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

import anyio
import httpx2 as httpx
import pytest
from support import EPOCH
from unit.providers.helpers import INTENT, PICTURE, TASK, always, ask, ask_each, error, make_upload

from batcher.jobs import Status, TaskState, Upload
from batcher.providers import Accepted, Conflict, Fatal, Going, Refused, Retryable, Unknown
from batcher.providers.rivya import Rivya

Use = Callable[[Rivya], Awaitable[Any]]


async def submit(provider: Rivya) -> Any:
    return await provider.submit(INTENT)


async def poll(provider: Rivya) -> Any:
    return await provider.poll("task_1")


async def upload(provider: Rivya) -> Any:
    return await provider.upload(PICTURE, b"bytes", "grok-imagine-video")


async def wallet(provider: Rivya) -> Any:
    return await provider.credits()


async def models(provider: Rivya) -> Any:
    return await provider.models()


USES: dict[str, Use] = {"create": submit, "poll": poll, "upload": upload, "credits": wallet, "models": models}

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


def words(outcome: object) -> str:
    match outcome:
        case Fatal(reason=reason):
            return f"halt {reason}"
        case Retryable():
            flags = [("throttled", outcome.throttled), ("outage", outcome.outage), ("maybe", outcome.maybe_received)]
            flags += [("page", outcome.page)]
            return " ".join(["later"] + [name for name, there in flags if there])
        case _:
            return type(outcome).__name__.lower()


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
    assert "(request req_7)" in found.message or code is None
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


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_2xx_is_a_success(status: int) -> None:
    found = ask(always(httpx.Response(status, json=TASK)), submit)
    expected = TaskState("task_1", Status.QUEUED, "queued", 10, 0)
    assert found == Accepted(expected)
    assert ask(always(httpx.Response(status, json=TASK)), poll) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"task_1"',
        b"17",
        b"{}",
        b'{"id": "", "status": "queued"}',
        b'{"id": null, "status": "queued"}',
        b'{"id": true, "status": "queued"}',
        b'{"id": ["task_1"], "status": "queued"}',
        b'{"id": "\\ud800", "status": "queued"}',
        b'{"status": "queued"}',
        b'{"id": "task_1"',
        b"\xff\xfe\x00",
        b'{"id": ' + b"9" * 5000 + b', "status": "queued"}',
    ],
)
def test_a_success_that_cannot_be_read_may_have_been_received(body: bytes) -> None:
    found = ask(always(httpx.Response(200, content=body)), submit)
    assert isinstance(found, Retryable)
    assert (found.code, found.maybe_received) == ("bad_answer", True)


def test_an_answer_with_an_id_and_nothing_else_is_a_task() -> None:
    """The id was paid for: it may not be lost because another field is missing."""
    found = ask(always(httpx.Response(200, json={"id": "task_1"})), submit)
    assert isinstance(found, Accepted)
    assert (found.task.task_id, found.task.status) == ("task_1", Status.PROCESSING)
    # A poll's answer without a state says that the task goes on, as far as anybody knows.
    assert words(ask(always(httpx.Response(200, json={"id": "task_1"})), poll)) == "going"


def test_numbers_may_be_ids() -> None:
    body = TASK | {"id": 1234567890123456789}
    found = ask(always(httpx.Response(200, json=body)), submit)
    assert isinstance(found, Accepted)
    assert found.task.task_id == "1234567890123456789"
    made = ask(always(httpx.Response(200, json={"url": "https://cdn.test/x", "file_id": 7})), upload)
    assert isinstance(made, Upload)
    assert made.file_id == "7"


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", Status.QUEUED),
        ("processing", Status.PROCESSING),
        ("succeeded", Status.SUCCEEDED),
        ("failed", Status.FAILED),
        ("moderating", Status.PROCESSING),
        ("SUCCEEDED", Status.SUCCEEDED),
        (" Failed ", Status.FAILED),
        ("Queued", Status.QUEUED),
        ("SUCCESS", Status.PROCESSING),
        (3, Status.PROCESSING),
    ],
)
def test_an_unknown_state_counts_as_processing_and_is_shown(word: object, status: Status) -> None:
    found = ask(always(httpx.Response(200, json=TASK | {"status": word})), poll)
    assert isinstance(found, TaskState)
    assert (found.status, found.word) == (status, str(word))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (10, 10),
        (10.0, 10),
        (10.2, 11),
        (math.nan, None),
        (math.inf, None),
        (-1, None),
        (10**12, None),
        (10**400, None),
        (True, None),
        ("10", 10),
        ("10.0", 10),
        ("10.2", 11),
        ("ten", None),
        ("-1", None),
        ("1e3", None),
        ("", None),
        (None, None),
        ([10], None),
    ],
)
def test_credits_of_a_task(value: object, expected: int | None) -> None:
    body = json.dumps(TASK | {"reserved_credits": value, "final_credits": value})
    found = ask(always(httpx.Response(200, text=body)), submit)
    assert isinstance(found, Accepted)
    assert (found.task.reserved_credits, found.task.final_credits) == (expected, expected)


def test_missing_fields_are_tolerated() -> None:
    found = ask(always(httpx.Response(200, json={"id": "task_1", "status": "failed", "new_field": {"a": [1]}})), poll)
    assert found == TaskState("task_1", Status.FAILED, "failed")


def test_a_poll_without_an_id_is_about_the_task_that_was_asked_for() -> None:
    found = ask(always(httpx.Response(200, json={"status": "processing"})), poll)
    assert found == TaskState("task_1", Status.PROCESSING, "processing")


@pytest.mark.parametrize(
    ("result", "urls"),
    [
        ({"primary_url": "https://m/1", "urls": ["https://m/1", "https://m/2", "https://m/1"]}, ("1", "2")),
        ({"primary_url": "https://m/2", "urls": ["https://m/1"]}, ("2", "1")),
        ({"primary_url": "https://m/1"}, ("1",)),
        ({"urls": ["https://m/1", None, 7.5, {"url": "https://m/2"}, {"x": "https://m/3"}, ""]}, ("1", "2")),
        ({"primary_url": None, "urls": None}, ()),
        ({"primary_url": "", "urls": "https://m/1"}, ("1",)),
        ({"primary_url": " https://m/1\r\n"}, ("1",)),
        ({"urls": [f"https://m/{n}" for n in range(100)]}, tuple(map(str, range(100)))),
        ([], ()),
        (["https://m/1"], ("1",)),
        ("https://m/1", ("1",)),
        (None, ()),
    ],
)
def test_result_urls(result: object, urls: tuple[str, ...]) -> None:
    found = ask(always(httpx.Response(200, json=TASK | {"status": "succeeded", "result": result})), poll)
    assert isinstance(found, TaskState)
    assert found.urls == tuple(f"https://m/{name}" for name in urls)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("/files/1.mp4", "https://api.test/files/1.mp4"),
        ("//media.test/1.mp4", "https://media.test/1.mp4"),
        ("HTTPS://m/1", "HTTPS://m/1"),
        ("files/1.mp4", "files/1.mp4"),
        ("/\\evil.test/1", "/\\evil.test/1"),
        ("data:video/mp4;base64," + "A" * 5000, "data:video/mp4;base64," + "A" * 38),
    ],
)
def test_a_result_url_without_its_host_is_the_apis(url: str, meant: str) -> None:
    body = TASK | {"status": "succeeded", "result": {"primary_url": url}}
    found = ask(always(httpx.Response(200, json=body)), poll)
    assert isinstance(found, TaskState)
    assert found.urls == (meant,)


@pytest.mark.parametrize("length", [9_000, 100_000])
def test_a_long_signed_url_is_kept(length: int) -> None:
    url = "https://media.test/1.mp4?signature=" + "a" * length
    body = TASK | {"status": "succeeded", "result": {"primary_url": url}}
    found = ask(always(httpx.Response(200, json=body)), poll)
    assert isinstance(found, TaskState)
    assert found.urls == (url,)


def test_the_words_of_a_failure() -> None:
    failed = {"code": "generation_failed", "message": "x" * 5000}
    found = ask(always(httpx.Response(200, json=TASK | {"status": "failed", "error": failed})), poll)
    assert isinstance(found, TaskState)
    assert found.error_code == "generation_failed"
    assert found.error_message == "x" * 1000
    found = ask(always(httpx.Response(200, json=TASK | {"status": "failed", "error": "no dict"})), poll)
    assert isinstance(found, TaskState)
    assert (found.error_code, found.error_message) == (None, None)


def test_half_a_character_in_the_apis_words_can_be_written_down() -> None:
    """A message that was cut in the middle of an emoji is JSON, but no text that SQLite or UTF-8 takes."""
    answer = httpx.Response(
        200, content=b'{"id":"task_1","status":"failed","error":{"code":"x\\ud83d","message":"no \\ud83d"}}'
    )
    found = ask(always(answer), poll)
    assert isinstance(found, TaskState)
    for text in (found.error_code or "", found.error_message or "", found.word):
        text.encode()
    refusal = httpx.Response(
        400, content=b'{"error":{"code":"bad\\ud83d","message":"no \\ud83d","requestId":"\\udfff"}}'
    )
    refused = ask(always(refusal), submit)
    assert isinstance(refused, Refused)
    (refused.code + refused.message).encode()


# Uploads


def test_an_upload_as_the_api_may_describe_it() -> None:
    body: dict[str, Any] = {"url": "https://cdn.test/1.png", "id": "file_9", "kind": "image", "mime_type": "image/webp"}
    body |= {"duration_token": "tok", "duration_seconds": 1.5, "extra": None}
    found = ask(always(httpx.Response(201, json=body)), upload)
    assert found == make_upload(
        url="https://cdn.test/1.png",
        file_id="file_9",
        name=PICTURE.path.name,
        mime="image/webp",
        duration_token="tok",
        duration_seconds=1.5,
        checked_at=EPOCH,
    )


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"url": "https://cdn.test/1", "fileId": "f", "durationToken": "t", "mimeType": "image/png"}},
        {"file": {"url": "https://cdn.test/1", "id": "f", "duration_token": "t", "mime_type": "image/png"}},
        {"url": "https://cdn.test/1", "file_id": "f", "durationToken": "t", "mimeType": "image/png"},
    ],
)
def test_an_upload_in_another_case_or_wrapped(body: object) -> None:
    found = ask(always(httpx.Response(200, json=body)), upload)
    assert isinstance(found, Upload)
    assert (found.url, found.file_id, found.duration_token, found.mime) == ("https://cdn.test/1", "f", "t", "image/png")


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({}, ("image", "image/png")),
        ({"kind": "image", "mime_type": "image/webp"}, ("image", "image/webp")),
        ({"kind": "picture", "mime_type": "application/octet-stream"}, ("image", "image/png")),
        ({"kind": "<script>", "mime_type": "x\r\nA: b"}, ("image", "image/png")),
        ({"kind": "image", "mime_type": "video/mp4"}, ("image", "image/png")),
        ({"mime_type": "video/mp4"}, None),
        ({"kind": "video", "mime_type": "video/mp4"}, None),
    ],
)
def test_what_is_echoed_of_kind_and_type_is_checked(told: dict[str, Any], named: tuple[str, str] | None) -> None:
    """Else a create would name a film where a picture was sent, and be bought like that."""
    found = ask(always(httpx.Response(200, json={"url": "https://cdn.test/1.png"} | told)), upload)
    if named is None:
        assert (isinstance(found, Refused), found.code) == (True, "upload_mistaken")
    else:
        assert (found.kind, found.mime) == named


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "http:///x", "//cdn.test/x", "http://x/\x1b[31m\n", "http://x/a b", "http://x\\@y/", 7],
)
def test_an_upload_whose_url_is_none_is_asked_for_again(url: object) -> None:
    assert words(ask(always(httpx.Response(200, json={"id": "f", "url": url})), upload)) == "later maybe"


@pytest.mark.parametrize(
    ("told", "changes"),
    [
        ({}, {}),
        ({"url": "https://cdn.test/fresh.png"}, {"url": "https://cdn.test/fresh.png"}),
        ({"url": "file:///x", "duration_token": "t2"}, {"duration_token": "t2"}),
    ],
)
def test_an_upload_is_named_as_the_api_has_it_now(told: dict[str, Any], changes: dict[str, Any]) -> None:
    async def vouch(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload(file_id="f"))

    assert ask(always(httpx.Response(200, json=told)), vouch) == make_upload(file_id="f", checked_at=EPOCH, **changes)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"url": null}', b'{"url": {}}', b'{"id": "file_1"}'])
def test_an_upload_without_a_url_is_asked_for_again(body: bytes) -> None:
    assert words(ask(always(httpx.Response(200, content=body)), upload)) == "later maybe"


@pytest.mark.parametrize(
    ("file_id", "status", "expected"),
    [
        ("f", 404, "later outage maybe page"),
        (None, 200, "None"),
        ("f", 429, THROTTLED),
        ("f", 500, "later outage maybe"),
    ],
)
def test_whether_the_api_still_has_an_upload(file_id: str | None, status: int, expected: str) -> None:
    async def vouch(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload(file_id=file_id))

    found = ask(always(httpx.Response(status, json={})), vouch)
    assert (words(found) if isinstance(found, Retryable) else str(found)) == expected


def test_nobody_vouches_where_there_is_no_answer() -> None:
    async def vouch(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload())

    assert words(ask(broken, vouch)) == "later outage maybe"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(404, "not_found", False), (410, "gone", False), (200, "not_found", False), (401, "api_key_invalid", None)],
)
def test_the_api_says_whether_it_has_an_upload(status: int, code: str, expected: bool | None) -> None:
    async def vouch(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload())

    assert ask(always(error(status, code)), vouch) is expected


# Wallet and models


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7),
        ("7.9", 7),
        ("0", 0),
        ("-3", -3),
        ("-0.5", -1),
        ("NaN", None),
        ("1e30", None),
        ("true", None),
        ('"7.9"', 7),
        ('"much"', None),
    ],
)
def test_the_wallet(value: str, expected: int | None) -> None:
    answer = httpx.Response(200, text=f'{{"current_credits": {value}}}')
    found = ask(always(answer), wallet)
    if expected is None:
        assert words(found) == "later maybe"
    else:
        assert found == expected


@pytest.mark.parametrize("body", [[], {}, {"data": None}, {"data": {}}, "x"])
def test_a_list_of_models_that_is_none(body: object) -> None:
    assert words(ask(always(httpx.Response(200, json=body)), models)) == "later maybe"


def test_the_list_of_models() -> None:
    answer = httpx.Response(200, json={"object": "list", "data": [{"id": "a"}, "b", None, {"id": "c"}]})
    assert ask(always(answer), models) == [{"id": "a"}, {"id": "c"}]


# Transport


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("gone", request=request)


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
