"""Results: ranges under a strong validator only, lengths, and every status that a media host may give."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import AsyncIterator
from functools import cache
from types import SimpleNamespace

import httpx2 as httpx
import pytest
from unit.providers.helpers import always, ask

from batcher.providers import Gone, Incoming, Redirected, Refused, Retryable, TransferCut
from batcher.providers.rivya import Rivya

URL = "https://media.test/1.mp4"


class Asked:
    """Answers with a given response and keeps the request."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.response


def fetch(
    response: httpx.Response, *, offset: int = 0, validator: str | None = None
) -> tuple[httpx.Request, Incoming | Redirected | Gone | Refused | Retryable, bytes]:
    handler = Asked(response)

    async def use(provider: Rivya) -> tuple[Incoming | Redirected | Gone | Refused | Retryable, bytes]:
        async with provider.result(URL, offset=offset, validator=validator) as found:
            content = b"".join([c async for c in found.chunks]) if isinstance(found, Incoming) else b""
            return found, content

    found, content = ask(handler, use)
    return handler.requests[0], found, content


def test_a_whole_file() -> None:
    request, found, content = fetch(httpx.Response(200, content=b"abcdef", headers={"etag": '"v1"'}))
    assert isinstance(found, Incoming)
    assert (found.offset, found.total, found.validator, content) == (0, 6, '"v1"', b"abcdef")
    assert "range" not in request.headers
    assert "if-range" not in request.headers
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("etag", ['W/"v1"', "v1", "", '"vé"'.encode("latin-1").decode("latin-1")])
def test_only_a_strong_etag_that_can_be_sent_back_is_a_validator(etag: str) -> None:
    _, found, _ = fetch(httpx.Response(200, content=b"x", headers=[(b"etag", etag.encode("latin-1"))]))
    assert isinstance(found, Incoming)
    assert found.validator is None


def test_the_rest_of_a_file() -> None:
    response = httpx.Response(206, content=b"def", headers={"content-range": "bytes 3-5/6", "etag": '"v1"'})
    request, found, content = fetch(response, offset=3, validator='"v1"')
    assert request.headers["range"] == "bytes=3-"
    assert request.headers["if-range"] == '"v1"'
    assert isinstance(found, Incoming)
    assert (found.offset, found.total, content) == (3, 6, b"def")


@pytest.mark.parametrize(
    ("status", "headers", "total"),
    [
        (200, {"content-length": "3"}, 3),
        (200, {"transfer-encoding": "chunked"}, None),
        (200, {"transfer-encoding": "chunked", "content-length": "3"}, None),
        (200, {}, None),
        (200, {"content-length": "x"}, None),
        (200, {"content-length": "3", "content-encoding": "gzip"}, None),
        (206, {"content-range": "bytes 3-5/6"}, 6),
        (206, {"content-range": "bytes 3-5/6", "content-length": "3"}, 6),
        (206, {"content-range": "bytes 3-5/9"}, 9),
        (206, {"content-range": "bytes 3-5/*"}, None),
        (206, {"content-range": "bytes 3-5/*", "content-length": "3"}, None),
        (206, {"content-range": "bytes 3-5/6", "transfer-encoding": "chunked"}, 6),
    ],
)
def test_which_length_was_announced(status: int, headers: dict[str, str], total: int | None) -> None:
    """Of the whole file, decoded; none where the body's end is all that says how long it is."""

    async def body() -> AsyncIterator[bytes]:
        yield b"def"

    response = httpx.Response(status, content=body())
    response.headers = httpx.Headers(headers)
    _, found, content = fetch(response, offset=3 if status == 206 else 0, validator='"v1"' if status == 206 else None)
    assert isinstance(found, Incoming)
    assert (found.total, content) == (total, b"def")


def test_an_encoded_body_is_not_the_file_and_cannot_go_on() -> None:
    headers = {"content-encoding": "gzip", "etag": '"v1"', "content-length": "99"}
    _, found, content = fetch(httpx.Response(200, content=gzip.compress(b"abcdef"), headers=headers))
    assert isinstance(found, Incoming)
    assert (found.total, found.validator, content) == (None, None, b"abcdef")
    headers = {"content-encoding": "gzip", "content-range": "bytes 3-5/6"}
    _, part, _ = fetch(httpx.Response(206, content=gzip.compress(b"x"), headers=headers), offset=3, validator='"v1"')
    assert isinstance(part, Gone)


@pytest.mark.parametrize(("offset", "validator"), [(0, '"v1"'), (3, None), (3, "")])
def test_no_range_without_an_offset_and_a_validator(offset: int, validator: str | None) -> None:
    request, found, _ = fetch(httpx.Response(200, content=b"abcdef"), offset=offset, validator=validator)
    assert "range" not in request.headers
    assert isinstance(found, Incoming)
    assert found.offset == 0


def test_a_server_that_sends_the_whole_file_all_the_same() -> None:
    _, found, content = fetch(
        httpx.Response(200, content=b"ABCDEF", headers={"etag": '"v2"'}), offset=3, validator='"v1"'
    )
    assert isinstance(found, Incoming)
    assert (found.offset, found.validator, content) == (0, '"v2"', b"ABCDEF")


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 3-6/6",
        "bytes 3-4/6",
        "bytes 3-/6",
        "bytes 3-5/5",
        "bytes 2-5/6",
        "bytes 0-5/6",
        "items 3-5/6",
        "bytes */6",
        "bytes x-5/6",
        "",
        "bytes 3" + "0" * 5000 + "-5/6",
    ],
)
def test_another_part_than_asked_for(content_range: str) -> None:
    """Also where its end does not go with its length or with the total."""
    response = httpx.Response(206, content=b"xyz", headers={"content-range": content_range})
    _, found, _ = fetch(response, offset=3, validator='"v1"')
    assert isinstance(found, Gone)


def test_a_length_beyond_all_numbers_is_no_length() -> None:
    response = httpx.Response(206, content=b"def", headers={"content-range": "bytes 3-5/6" + "0" * 5000})
    _, found, _ = fetch(response, offset=3, validator='"v1"')
    assert isinstance(found, Incoming)
    assert found.total is None


def test_a_part_that_nobody_asked_for() -> None:
    _, found, _ = fetch(httpx.Response(206, content=b"def", headers={"content-range": "bytes 3-5/6"}))
    assert isinstance(found, Refused)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 416, 300, 304])
def test_a_url_that_is_not_served_any_more(status: int) -> None:
    _, found, _ = fetch(httpx.Response(status))
    assert isinstance(found, Gone)
    assert str(status) in found.message


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_not_now(status: int) -> None:
    _, found, _ = fetch(httpx.Response(status, headers={"retry-after": "9"}))
    assert isinstance(found, Retryable)
    assert (found.code, found.retry_after, found.throttled) == (f"http_{status}", 9.0, status == 429)


@pytest.mark.parametrize("status", [204, 400, 402, 418])
def test_anything_else(status: int) -> None:
    assert isinstance(fetch(httpx.Response(status))[1], Refused)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other.test/2", "https://other.test/2"),
        ("/2", "https://media.test/2"),
        ("2", "https://media.test/2"),
        ("//other.test/2", "https://other.test/2"),
    ],
)
def test_a_redirect_is_told_not_followed(status: int, location: str, target: str) -> None:
    _, found, _ = fetch(httpx.Response(status, headers={"location": location}))
    assert found == Redirected(target)


def test_no_answer_is_later() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async def use(provider: Rivya) -> object:
        async with provider.result(URL, offset=0, validator=None) as found:
            return found

    assert isinstance(ask(refuse, use), Retryable)


@pytest.mark.parametrize(
    "raised", [httpx.ReadError("cut"), httpx.RemoteProtocolError("cut"), OSError("cut"), httpx.ReadTimeout("")]
)
def test_a_transfer_that_breaks_off(raised: Exception) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b"abc"
        raise raised

    received = bytearray()

    async def use(provider: Rivya) -> None:
        async with provider.result(URL, offset=0, validator=None) as found:
            assert isinstance(found, Incoming)
            async for chunk in found.chunks:
                received.extend(chunk)

    with pytest.raises(TransferCut):
        ask(always(httpx.Response(200, content=half())), use)
    assert received == b"abc"


@cache
def zipped(data: bytes, form: str) -> bytes:
    compressor = zlib.compressobj(wbits={"gzip": 31, "zlib": 15, "raw": -15}[form])
    return compressor.compress(data) + compressor.flush()


FILM = bytes(range(256)) * 40_000  # compresses to little: ten times what one step of decoding yields
ENCODED = {
    "gzip": ("gzip", zipped(FILM, "gzip"), FILM),
    "GZIP": ("GZIP", zipped(FILM, "gzip"), FILM),
    "x-gzip": ("x-gzip", zipped(FILM, "gzip"), FILM),
    "two members": ("gzip", zipped(FILM, "gzip") + zipped(b"end", "gzip"), FILM + b"end"),
    "padding": ("gzip", zipped(FILM, "gzip") + b"\0\0\0", FILM),
    "deflate": ("deflate", zipped(FILM, "zlib"), FILM),
    "deflate without a head": ("deflate", zipped(FILM, "raw"), FILM),
    "twice": ("deflate, gzip", zipped(zipped(FILM, "zlib"), "gzip"), FILM),
    "identity": ("identity", FILM, FILM),
    "gzip that is none": ("gzip", FILM, FILM),
    "nothing": ("gzip", b"", b""),
}


@pytest.mark.parametrize("size", [1, 1000, 1 << 30])
@pytest.mark.parametrize("case", ENCODED)
def test_an_encoding_that_was_not_asked_for_is_undone(case: str, size: int) -> None:
    header, sent, meant = ENCODED[case]
    if size == 1 and len(sent) > 100_000:
        pytest.skip("would take long")

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(sent), size):
            yield sent[start : start + size]

    _, found, content = fetch(httpx.Response(200, content=body(), headers={"content-encoding": header}))
    assert isinstance(found, Incoming)
    assert content == meant
    assert (found.total, found.validator) == (None, None)


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("gzip", zipped(FILM, "gzip")[:-1]),
        ("gzip", zipped(FILM, "gzip")[:500]),
        ("deflate", zipped(FILM, "zlib")[:-1]),
        ("gzip", zipped(FILM, "gzip") + zipped(FILM, "gzip")[:-4]),
        ("gzip", zipped(FILM, "gzip")[:50] + b"x" * 100),
    ],
)
def test_an_encoding_that_is_cut_or_broken_is_no_whole_file(header: str, sent: bytes) -> None:
    with pytest.raises(TransferCut, match=r"its encoding .* is (cut|broken)"):
        fetch(httpx.Response(200, content=sent, headers={"content-encoding": header}))


@pytest.mark.parametrize("encoding", ["br", "zstd", "dcb", "gzip, " * 4])
def test_an_encoding_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    found = fetch(httpx.Response(200, content=b"?", headers={"content-encoding": encoding}))[1]
    assert isinstance(found, Gone)
    assert encoding in found.message or "times" in found.message


def test_brotli_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Decompressor:
        """Doubles each byte, and holds back what is over the bound."""

        def __init__(self) -> None:
            self.held = b""

        def process(self, data: bytes, output_buffer_limit: int) -> bytes:
            self.held += bytes(byte for byte in data for _ in "xx")
            out, self.held = self.held[:output_buffer_limit], self.held[output_buffer_limit:]
            return out

        def is_finished(self) -> bool:
            return not self.held

    monkeypatch.setitem(sys.modules, "brotli", SimpleNamespace(Decompressor=Decompressor))
    sent = b"a" * 2_000_000
    _, _, content = fetch(httpx.Response(200, content=sent, headers={"content-encoding": "br"}))
    assert content == sent * 2


@pytest.mark.parametrize("name", ["vid\xe9o.mp4".encode("latin-1"), "видео.mp4".encode(), b"\xff\xfe"])
def test_header_bytes_of_any_kind(name: bytes) -> None:
    headers = [(b"content-disposition", b'inline; filename="%b"' % name), (b"etag", b'"v1"')]
    _, found, content = fetch(httpx.Response(200, content=b"abc", headers=headers))
    assert isinstance(found, Incoming)
    assert (found.validator, content) == ('"v1"', b"abc")


def test_a_data_url_is_named_as_one() -> None:
    async def use(provider: Rivya) -> object:
        async with provider.result("data:video/mp4;base64,AAAA", offset=0, validator=None) as found:
            return found

    found = ask(always(httpx.Response(200)), use)
    assert isinstance(found, Gone)
    assert "a data: URL (video/mp4;base64)" in found.message
