"""What stands in an answer of the API that succeeded: tasks, results, uploads, the wallet, the models."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import httpx2 as httpx
import pytest
from unit.providers.helpers import (
    PICTURE,
    TASK,
    always,
    ask,
    broken,
    error,
    make_upload,
    models,
    poll,
    submit,
    upload,
    wallet,
    words,
)
from virtual_time import EPOCH

from batcher.jobs import Status, TaskState, Upload
from batcher.providers import Accepted, Refused, Retryable
from batcher.providers.rivya import Rivya


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
    async def verify_upload(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload(file_id="f"))

    made = make_upload(file_id="f", checked_at=EPOCH, **changes)
    assert ask(always(httpx.Response(200, json=told)), verify_upload) == made


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"url": null}', b'{"url": {}}', b'{"id": "file_1"}'])
def test_an_upload_without_a_url_is_asked_for_again(body: bytes) -> None:
    assert words(ask(always(httpx.Response(200, content=body)), upload)) == "later maybe"


@pytest.mark.parametrize(
    ("file_id", "status", "expected"),
    [
        ("f", 404, "later outage maybe page"),
        (None, 200, "None"),
        ("f", 429, "later throttled"),
        ("f", 500, "later outage maybe"),
    ],
)
def test_whether_the_api_still_has_an_upload(file_id: str | None, status: int, expected: str) -> None:
    async def verify_upload(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload(file_id=file_id))

    found = ask(always(httpx.Response(status, json={})), verify_upload)
    assert (words(found) if isinstance(found, Retryable) else str(found)) == expected


def test_nobody_vouches_where_there_is_no_answer() -> None:
    async def verify_upload(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload())

    assert words(ask(broken, verify_upload)) == "later outage maybe"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(404, "not_found", False), (410, "gone", False), (200, "not_found", False), (401, "api_key_invalid", None)],
)
def test_the_api_says_whether_it_has_an_upload(status: int, code: str, expected: bool | None) -> None:
    async def verify_upload(provider: Rivya) -> Upload | Literal[False] | Retryable | None:
        return await provider.verify_upload(make_upload())

    assert ask(always(error(status, code)), verify_upload) is expected


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
