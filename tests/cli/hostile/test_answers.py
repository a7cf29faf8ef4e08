"""One campaign a table: each job meets another answer, and all of them in one run of the real command."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

from cli.hostile.helpers import LEAVE, PAGE, Asked, answer, chunked, desk, film, refusal

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
        place.write(list(UNSAID), "retries: {times: 4, outage: 20s}", in_flight=20)
        code = place.run()
        if code:  # what the breaker for creates has kept back
            code = place.run()
        assert (code, len(api.tasks), len(api.keys)) == (0, len(UNSAID), len(UNSAID)), place.said
        assert {row["task_id"] for row in place.jobs().values()} == set(api.tasks)


def test_what_is_not_answered_for_a_whole_run_keeps_its_key(tmp_path: Path) -> None:
    """The repeats are spent, and nothing says that the create was received; the next run asks with the same key."""
    down = True

    def hook(asked: Asked) -> Any:
        if asked.kind != "create" or not down:
            return LEAVE
        api.say(asked)
        return UNSAID[asked.prompt]

    with desk(tmp_path, hook) as (api, place):
        place.write(["redirect 303", "no task"], "retries: {times: 1, outage: 1s}", in_flight=2)
        assert place.run() in (1, 6), place.said
        down = False
        assert place.run() == 0, place.said
        assert (len(api.tasks), len(api.keys)) == (2, 2)


BLOCKED = answer(403, "<title>Attention Required!</title>", Content_Type="text/html", Server="cloudflare")
DATA = "data:video/mp4;base64," + "A" * 3_000_000
#: What the API keeps saying to a create or to each poll of a job (a task with these fields, or an answer); the job's
#: status and code then, and what is told.
KEPT: dict[str, tuple[str, Any, tuple[str, str | None], str]] = {
    "a red boat": ("", b"", ("succeeded", None), ""),
    "<script>alert(1)</script>": ("create", BLOCKED, ("doubtful", "blocked"), "HTTP 403 from cloudflare"),
    "refused in a 200": ("create", refusal(200, "validation_failed"), ("failed", "validation_failed"), ""),
    "an unknown word": ("status", {"status": "SUCCESS"}, ("processing", None), "said last: it says 'SUCCESS'"),
    "an empty 202": ("status", answer(202, Content_Type=None), ("queued", None), "said last: HTTP 202 without a state"),
    "a data: URL": ("status", {"result": {"primary_url": DATA}}, ("succeeded", None), "a data: URL (video/mp4;base64)"),
}


def test_what_the_api_keeps_saying_is_read_as_that_and_told(tmp_path: Path) -> None:
    """One job's trouble is that job's, by its name; the others go on, and each message says what came."""

    def hook(asked: Asked) -> Any:
        kind, said, _, _ = KEPT.get(asked.prompt, ("", b"", None, None))
        if asked.kind != kind:
            return LEAVE
        name = asked.path.rpartition("/")[2]
        return answer(200, api.view(name, "succeeded", **said)) if isinstance(said, dict) else said

    more = "retries: {times: 2, outage: 20s}\npolling: {first: 30ms, every: 30ms, max: 50ms, give_up: 1s}"
    with desk(tmp_path, hook) as (api, place):
        place.write(list(KEPT), more)
        assert place.run() == 1, place.said
        for prompt, job in place.jobs().items():
            _, _, expected, told = KEPT[prompt]
            assert ((job["status"], job["error_code"]), told in place.said) == (expected, True), (prompt, place.said)
        assert len(place.said) < 10_000
        assert len(api.tasks) == len(api.keys) == len(KEPT) - 2


#: Answers to a poll before the task's end: still going, whatever they are.
GOING: dict[str, bytes] = {
    "empty 202": answer(202, Content_Type=None),
    "no content": answer(204, Content_Type=None, Content_Length=None),
    "no status": answer(200, {"id": "task_0001"}),
    "page": PAGE,
    "unknown state": answer(200, {"id": "task_0001", "status": "moderating"}),
}
#: Results as gateways write them, from the URL that is meant and that of the API.
FORMS: dict[str, Callable[[str, str], Any]] = {
    "a line end": lambda url, api: {"primary_url": url + "\n", "urls": []},
    "no origin": lambda url, api: {"primary_url": url.removeprefix(api), "urls": []},
    "no scheme": lambda url, api: {"primary_url": url.removeprefix("http:"), "urls": []},
    "in an object": lambda url, api: {"primary_url": None, "urls": [{"url": url}]},
    "in capitals": lambda url, api: {"primary_url": url.replace("http:", "HTTP:"), "urls": []},
    "in a list only": lambda url, api: {"urls": [url]},
    "a text": lambda url, api: url,
    "a list": lambda url, api: [url],
    "a text for a list": lambda url, api: {"primary_url": "", "urls": url},
}


def test_a_gateway_that_says_all_in_its_own_way(tmp_path: Path) -> None:
    """It says nothing yet, writes URLs and states as it likes, packs all JSON, and no header of it is ASCII."""

    def hook(asked: Asked) -> Any:
        name = asked.path.rpartition("/")[2]
        said = api.say(asked)
        if asked.kind == "status" and asked.prompt in GOING and asked.before < 2:
            said = GOING[asked.prompt]
        elif asked.kind == "status" and asked.prompt in FORMS:
            url = f"{api.url}/result/{name}.mp4"
            said = answer(200, api.view(name, "succeeded", result=FORMS[asked.prompt](url, api.url)))
        elif asked.kind == "status" and asked.prompt == "loud":
            said = answer(200, api.view(name, "succeeded", status="SUCCEEDED"))
        return in_its_own_way(said) if asked.kind != "result" else said

    with desk(tmp_path, hook) as (api, place):
        place.write([*GOING, *FORMS, "loud"], "retries: {times: 3, outage: 20s}")
        assert place.run() == 0, place.said
        for row in place.jobs().values():
            assert (place.state / row["result_path"]).read_bytes() == film(row["task_id"] + ".mp4")


def in_its_own_way(said: bytes) -> bytes:
    """The same answer, packed, with a header in Latin-1."""
    head, _, body = said.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    packed = gzip.compress(body)
    lines += [b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed), b"X-Named: vid\xe9o"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + packed if body else said


def test_a_wait_is_measured_by_the_clock_of_who_asks_for_it(tmp_path: Path) -> None:
    """This machine's is two hours off, or the wait is a moment of the epoch: the night is not slept through."""
    ahead = 7200

    def hook(asked: Asked) -> Any:
        if asked.kind != "create" or api.count["create"] not in (2, 3):
            return LEAVE
        now = int(time.time()) + ahead
        date, moment = formatdate(now, usegmt=True), formatdate(now + 1, usegmt=True)
        until = moment if api.count["create"] == 2 else str(now + 1)
        return refusal(429, "rate_limited", Date=date, Retry_After=until)

    with desk(tmp_path, hook) as (api, place):
        place.write(["boat", "ship"])
        assert place.run() == 0, place.said
        assert "asks to wait 1 s" in place.said


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
