"""Promise 6, sentence by sentence: what comes from a media host, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import httpx2 as httpx
import pytest
from integration.lifecycle.helpers import done, events, manifest, seen
from support import Bench
from unit.test_containers import FTYP, MDAT, MOOV, NOISE, NOTHING, WHOLE

from batcher.errors import Kind

FILM = WHOLE["mp4, index first"]
STREAM = NOTHING["mp4 without an index"]
PAGE = b"<!doctype html><html>try again</html>"


@dataclass(frozen=True)
class Sent:
    """An answer of the media host: its bytes, whether their length is announced, and where it breaks off."""

    content: bytes
    announced: bool = False
    status: int = 200
    cut: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


def host(bench: Bench, *answers: Sent) -> list[httpx.Request]:
    """Let results come from here, the last answer again and again; the requests that come."""
    asked: list[httpx.Request] = []
    real = bench.api.handle_async_request

    async def media(request: httpx.Request) -> httpx.Response:
        if "/results/" not in request.url.path:
            return await real(request)
        answer = answers[min(len(asked), len(answers) - 1)]
        asked.append(request)

        async def chunks() -> AsyncIterator[bytes]:
            end = len(answer.content) if answer.cut is None else answer.cut
            yield answer.content[:end]
            if answer.cut is not None:
                raise httpx.ReadError("cut", request=request)

        headers = dict(answer.headers)
        if answer.announced:
            headers.setdefault("content-length", str(len(answer.content)))
        return httpx.Response(answer.status, headers=headers, content=chunks())

    bench.api.handle_async_request = media  # type: ignore[method-assign]
    return asked


def kept(bench: Bench) -> list[tuple[str, bytes]]:
    folder = bench.state / "unverified"
    return sorted((path.suffix, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def saved(bench: Bench) -> tuple[str, bytes] | None:
    path = bench.jobs()[0]["result_path"]
    return None if path is None else ("." + path.rpartition(".")[2], (bench.state / path).read_bytes())


GONE = Sent(b"", announced=True, status=404)
A, B, C, D = (STREAM + bytes([n]) * n for n in (1, 9, 5, 7))

# name: answers, what is saved, what is kept aside, downloads
TABLE: dict[str, tuple[tuple[Sent, ...], tuple[str, bytes] | None, list[tuple[str, bytes]], int]] = {
    "announced": ((Sent(STREAM, announced=True),), (".mp4", STREAM), [], 1),
    "announced, of no known type": ((Sent(b"\0\1odd" * 99, announced=True),), (".bin", b"\0\1odd" * 99), [], 1),
    "announced, of another kind": ((Sent(WHOLE["png"], announced=True),), (".png", WHOLE["png"]), [], 1),
    "announced, and its container says that it is cut": (
        (Sent(FILM[:-9], announced=True),),
        (".mp4", FILM[:-9]),
        [],
        1,
    ),
    "not announced, the container says whole": ((Sent(FILM),), (".mp4", FILM), [], 1),
    "cut by its container, then whole": ((Sent(FILM[:-9]), Sent(FILM)), (".mp4", FILM), [], 2),
    "nobody can tell, twice alike": ((Sent(STREAM),), (".mp4", STREAM), [], 2),
    "nobody can tell, the third is like the longest": ((Sent(A), Sent(B), Sent(B)), (".mp4", B), [], 3),
    "nobody can tell, and each differs": ((Sent(A), Sent(B), Sent(C), Sent(D)), None, [(".mp4", B)], 4),
    "nobody can tell, and there is no second one": ((Sent(STREAM), GONE), None, [(".mp4", STREAM)], 4),
    "always cut by its container": ((Sent(FILM[:-9]),), None, [(".mp4", FILM[:-9])], 4),
    "a page, then the film": ((Sent(PAGE, announced=True), Sent(FILM, announced=True)), (".mp4", FILM), [], 2),
    "nothing, then the film": ((Sent(b"", announced=True), Sent(FILM, announced=True)), (".mp4", FILM), [], 2),
}


@pytest.mark.parametrize("name", TABLE)
def test_whole_or_absent(bench: Bench, name: str) -> None:
    answers, result, aside, downloads = TABLE[name]
    asked = host(bench, *answers)
    ending = bench.run(manifest(bench, "Boat"))
    assert (saved(bench), kept(bench), len(asked)) == (result, aside, downloads)
    assert ending.kind is (Kind.DONE if result else Kind.UNFINISHED)
    assert list((bench.state / "results/.parts").iterdir()) == []
    told = {"odd_file", "unverified"} & set(events(bench))
    odd = "type" in name or "says that it is cut" in name
    assert told == ({"unverified"} if aside else {"odd_file"} if odd else set())
    assert len(seen(bench, "create")) == 1


def test_what_was_left_to_a_person_is_fetched_again_by_the_next_run(bench: Bench) -> None:
    path = manifest(bench, "Boat")
    host(bench, Sent(STREAM), GONE)
    assert bench.run(path).kind is Kind.UNFINISHED
    host(bench, Sent(FILM, announced=True))
    done(bench.run(path))
    assert saved(bench) == (".mp4", FILM)


def test_the_length_is_remembered_over_a_resume(bench: Bench) -> None:
    """The rest comes without a length, and short: it is not whole, though its end was a clean one."""
    whole = FTYP + MOOV + MDAT * 20
    etag = (("etag", '"e"'),)
    rest = (*etag, ("content-range", f"bytes 500-{len(whole) - 1}/*"))
    asked = host(
        bench,
        Sent(whole, announced=True, cut=500, headers=etag),
        Sent(whole[500:700], status=206, headers=rest),
        Sent(whole, announced=True, headers=etag),
    )
    done(bench.run(manifest(bench, "Boat")))
    assert saved(bench) == (".mp4", whole)
    assert [request.headers.get("range") for request in asked[:2]] == [None, "bytes=500-"]


def test_a_rest_of_another_file_is_not_taken(bench: Bench) -> None:
    whole = FTYP + MOOV + MDAT * 20
    etag = (("etag", '"e"'),)
    other = (*etag, ("content-range", "bytes 500-599/600"))
    host(
        bench,
        Sent(whole, announced=True, cut=500, headers=etag),
        Sent(NOISE[:100], status=206, headers=other),
        Sent(whole, announced=True, headers=etag),
    )
    done(bench.run(manifest(bench, "Boat")))
    assert saved(bench) == (".mp4", whole)


@pytest.mark.parametrize(("etag", "downloads"), [('"e"', 2), ("", 2), ('"new"', 3), ('W/"e"', 3)])
def test_a_rest_is_taken_only_of_the_version_that_was_begun(bench: Bench, etag: str, downloads: int) -> None:
    """A cache that heeds no If-Range sends a part of the same length of what it has now; none at all is vouched for."""
    whole = FTYP + MOOV + MDAT * 20
    rest = whole[500:] if downloads == 2 else NOISE[:1] * len(whole[500:])
    span = ("content-range", f"bytes 500-{len(whole) - 1}/{len(whole)}")
    asked = host(
        bench,
        Sent(whole, announced=True, cut=500, headers=(("etag", '"e"'),)),
        Sent(rest, status=206, headers=(span, *((("etag", etag),) if etag else ()))),
        Sent(whole, announced=True, headers=(("etag", '"new"'),)),
    )
    done(bench.run(manifest(bench, "Boat")))
    assert (saved(bench), len(asked)) == ((".mp4", whole), downloads)


# Whole once, and gone since


@pytest.mark.parametrize("trouble", ["its host has it no more", "other bytes", "the key", "no API", "nobody can tell"])
@pytest.mark.parametrize("thorough", [False, True], ids=["missing", "changed"])
def test_the_later_absence_of_a_file_changes_no_exit_code(bench: Bench, trouble: str, thorough: bool) -> None:
    """Whatever keeps it from being brought back."""
    path = manifest(bench, "Boat", "Kite", more="retries: {times: 2, outage: 1m}\n")
    done(bench.run(path))
    job = bench.jobs()[0]
    kept = bench.state / job["result_path"]
    if thorough:
        kept.write_bytes(b"edited")
    else:
        kept.unlink()

    def dead(request: httpx.Request) -> None:
        raise httpx.ConnectError("dead", request=request)

    match trouble:
        case "the key":
            bench.world.switches.key_state = "revoked"
            host(bench, GONE)
        case "no API":
            bench.api.before = dead
        case "its host has it no more":
            host(bench, GONE)
        case "other bytes":
            host(bench, Sent(FILM, announced=True))
        case "nobody can tell":
            host(bench, Sent(STREAM), GONE)
    done(bench.run(path, buys=not thorough))
    assert kept.exists() == (thorough or trouble == "other bytes")
    if thorough:
        assert kept.read_bytes() == b"edited"


# Slow ones


def dripping(bench: Bench, *, drips: int, size: int, seconds: float, each: int, announce: bool = True) -> None:
    """The first `drips` results come `each` bytes every so many seconds, the others at once."""
    real = bench.api.handle_async_request
    film = FTYP + MOOV + b"".join(MDAT for _ in range(size // len(MDAT)))
    slow: dict[str, None] = {}

    async def media(request: httpx.Request) -> httpx.Response:
        if "/results/" not in request.url.path:
            return await real(request)
        name = request.url.path.rpartition("/")[2]
        if len(slow) < drips:
            slow.setdefault(name)

        async def chunks() -> AsyncIterator[bytes]:
            if name not in slow:
                yield film
                return
            for place in range(0, len(film), each):
                yield film[place : place + each]
                await anyio.sleep(seconds)

        return httpx.Response(200, headers={"content-length": str(len(film))} if announce else {}, content=chunks())

    bench.api.handle_async_request = media  # type: ignore[method-assign]


@pytest.mark.parametrize("announce", [True, False])
def test_what_drips_gives_its_place_to_others_and_ends(bench: Bench, announce: bool) -> None:
    dripping(bench, drips=4, size=200_000, seconds=10, each=1, announce=announce)
    more = "retries: {times: 2}\n"
    ending = bench.run(manifest(bench, *(f"Boat {n}" for n in range(12)), more=more))
    assert ending.kind is Kind.UNFINISHED
    assert sum(job["result_path"] is not None for job in bench.jobs()) == 8
    assert any("too slow" in why for why in ending.left)


def test_a_slow_and_honest_link_brings_its_film(bench: Bench) -> None:
    dripping(bench, drips=1, size=1_000_000, seconds=0.5, each=2_500)  # 5 kB/s: 20 kB/s for four
    done(bench.run(manifest(bench, "Boat")))
    bench.check(files=True)


@pytest.mark.parametrize("downloads", [1, 3])
def test_never_more_transfers_than_allowed(bench: Bench, downloads: int) -> None:
    """Twice as many jobs have workers that fetch: the others put away what has come."""
    real, now, most = bench.api.handle_async_request, 0, 0

    async def media(request: httpx.Request) -> httpx.Response:
        if "/results/" not in request.url.path:
            return await real(request)

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await anyio.sleep(2)
            yield FILM
            now -= 1

        return httpx.Response(200, headers={"content-length": str(len(FILM))}, content=chunks())

    bench.api.handle_async_request = media  # type: ignore[method-assign]
    fast = f"limits: {{submit: 1000/second, requests: 1000/second, downloads: {downloads}}}\n"
    done(bench.run(manifest(bench, *(f"Boat {n}" for n in range(12)), fast=fast)))
    assert most == downloads
