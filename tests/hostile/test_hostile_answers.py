"""One campaign a table: each job meets another answer, and all of them in one run of the real command."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

from hostile.hostile_helpers import LEAVE, PAGE, Asked, answer, chunked, desk, film, refusal

#: Answers to a create that say nothing of what became of it, though the task was made.
UNSAID: dict[str, bytes | None] = {
    **{f"redirect {code}": answer(code, Location="/api/v1/credits") for code in (301, 302, 303, 307, 308)},
    **{f"page {code}": answer(code, "<html>no</html>", Content_Type="text/html") for code in (200, 403, 407, 421, 451)},
    "bad gateway": PAGE,
    "empty 202": answer(202, Content_Type=None),
    "no content": answer(204, Content_Type=None, Content_Length=None),
    "nothing": None,
    "half": answer(200, {"id": "task_0000", "status": "queued"}, Connection="close")[:-20],
    "no task": answer(200, {"ok": True}),
    "an odd envelope": refusal(500, "internal_error"),
}


def test_a_create_that_was_taken_is_not_bought_again(tmp_path: Path) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind != "create" or asked.before or asked.prompt not in UNSAID:
            return LEAVE
        api.say(asked)
        return UNSAID[asked.prompt]

    with desk(tmp_path, hook) as (api, place):
        place.write(list(UNSAID), "retries: {times: 4, outage: 20s}", in_flight=2)
        code = place.run()
        if code:  # what the breaker for creates has kept back
            code = place.run()
        assert (code, len(api.tasks), len(api.keys)) == (0, len(UNSAID), len(UNSAID)), place.said
        assert {row["task_id"] for row in place.jobs().values()} == set(api.tasks)


#: Answers to a poll before the task's end: still going, whatever they are.
GOING: dict[str, bytes] = {
    "empty 202": answer(202, Content_Type=None),
    "no content": answer(204, Content_Type=None, Content_Length=None),
    "no status": answer(200, {"id": "task_0001"}),
    "page": PAGE,
    "unknown state": answer(200, {"id": "task_0001", "status": "moderating"}),
    "too many": refusal(429, "rate_limited", Retry_After="1"),
}


def test_polls_that_say_nothing_yet_are_not_the_end(tmp_path: Path) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind != "status":
            return LEAVE
        name = asked.path.rpartition("/")[2]
        if asked.prompt == "a failed task":
            error = {"code": "generation_failed", "message": "it would not"}
            return answer(200, api.view(name, "failed", error=error))
        if asked.prompt == "loud" and asked.before:
            return answer(200, api.view(name, "succeeded", status="SUCCEEDED"))
        return GOING[asked.prompt] if asked.before < 3 and asked.prompt in GOING else LEAVE

    with desk(tmp_path, hook) as (api, place):
        place.write([*GOING, "loud", "a failed task"], "retries: {times: 3, outage: 20s}")
        assert place.run() == 1, place.said
        found = {prompt: row["status"] for prompt, row in place.jobs().items()}
        assert found == dict.fromkeys([*GOING, "loud"], "succeeded") | {"a failed task": "failed"}


FILM = film("any", 40_000)
PACKED = gzip.compress(FILM)
VIDEO = {"Content_Type": "video/mp4", "ETag": '"e"'}
CUT = {"Content_Length": None, "Connection": "close"}
MOOV = b"\0\0\0\x08moov" + film("any")[24:]
AVI = b"RIFF" + (4992).to_bytes(4, "little") + b"AVI LIST" + bytes(4984)


def resumed(asked: Asked) -> bytes:
    """Cut with a length; the rest comes, vouched for."""
    if "range" not in asked.headers:
        return answer(200, FILM, Connection="close", **VIDEO)[:-10_000]
    start = int(asked.headers["range"][len("bytes=") :].partition("-")[0])
    return answer(206, FILM[start:], Content_Range=f"bytes {start}-{len(FILM) - 1}/{len(FILM)}", **VIDEO)


def star(asked: Asked) -> bytes:
    """Cut with a length; then ranges of an unknown whole, without a length of their own, which are cut as well."""
    if "range" not in asked.headers:
        return answer(200, FILM, Connection="close", **VIDEO)[:-10_000]
    start = int(asked.headers["range"][len("bytes=") :].partition("-")[0])
    return answer(206, FILM[start : start + 5000], Content_Range=f"bytes {start}-{len(FILM) - 1}/*", **VIDEO, **CUT)


#: What comes of a download, and what is saved of it: these bytes, or nothing.
FILES: dict[str, tuple[Any, bytes | None]] = {
    "plain": (answer(200, FILM, **VIDEO), FILM),
    "gzip": (answer(200, PACKED, Content_Encoding="gzip", **VIDEO), FILM),
    "gzip in chunks": (chunked(PACKED[:99], PACKED[99:], Content_Encoding="gzip"), FILM),
    "gzip cut": (answer(200, PACKED[:20_000], Content_Encoding="gzip", **VIDEO), None),
    "gzip that is none": (answer(200, FILM, Content_Encoding="gzip", **VIDEO), FILM),
    "brotli": (answer(200, b"\x8b\x02\x80" + FILM[:99], Content_Encoding="br", **VIDEO), None),
    "no length": (answer(200, FILM, **VIDEO, **CUT), FILM),
    "no length, cut": (answer(200, FILM[:7000], **VIDEO, **CUT), None),
    "chunks": (chunked(FILM[:99], FILM[99:]), FILM),
    "chunks, ended early": (chunked(FILM[:99], FILM[99:7000]), None),
    "chunks, cut": (chunked(FILM[:7000], end=False), None),
    "resumed": (resumed, FILM),
    "ranges of a star": (star, None),
    "Latin-1 in a header": (answer(200, FILM, Content_Disposition='inline; filename="vid\xe9o.mp4"', **VIDEO), FILM),
    "index first": (answer(200, MOOV, Content_Type="video/mp4"), MOOV),
    "AVI": (answer(200, AVI, Content_Type="video/x-msvideo"), AVI),
}


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind != "result":
            return LEAVE
        made = FILES[asked.prompt][0]
        return made(asked) if callable(made) else made

    with desk(tmp_path, hook) as (api, place):
        place.write(list(FILES), "retries: {times: 2, outage: 20s}")
        assert place.run() == 1, place.said
        jobs = place.jobs()
        assert len(api.tasks) == len(FILES)
        for prompt, (_, expected) in FILES.items():
            path = jobs[prompt]["result_path"]
            found = (place.state / path).read_bytes() if path else None
            assert found == expected, (prompt, path, jobs[prompt]["error_message"])
            assert jobs[prompt]["status"] == "succeeded", prompt
            if expected is not None:
                assert jobs[prompt]["result_sha256"] == hashlib.sha256(expected).hexdigest()
