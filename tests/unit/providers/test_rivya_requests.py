"""What goes on the wire to the API, byte for byte, and where the key goes: nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from unit.providers.helpers import API, INTENT, KEY, PICTURE, ask, make_job, make_upload
from virtual_time import VirtualClock

from batcher import __version__
from batcher.jobs import FileReference, Upload, UrlReference
from batcher.providers.rivya import Rivya


def body(job: Any, *uploads: Upload) -> bytes:
    return Rivya(API, KEY, VirtualClock()).body(job, uploads, "spring-1")


# Bodies


def test_the_body_of_a_text_job_byte_for_byte() -> None:
    job = make_job(params={"duration": 8, "mode": "fun", "x": 0.5})
    expected = (
        '{"model":"grok-imagine-video","prompt":"Ein Boot – 船",'
        '"params":{"duration":8,"mode":"fun","x":0.5},"client_request_id":"spring-1"}'
    )
    assert body(job) == expected.encode()
    assert body(make_job()) == expected.replace('"duration":8,"mode":"fun","x":0.5', "").encode()


def test_the_body_with_a_url() -> None:
    found = json.loads(body(make_job(reference=UrlReference("https://x.test/a b.png?c=ä"))))
    item = {"url": "https://x.test/a b.png?c=ä", "kind": "image", "name": "a b.png", "mimeType": "image/png"}
    assert found["params"] == {"referenceMediaItems": [item]}


@pytest.mark.parametrize(
    ("url", "kind", "more"),
    [
        ("https://x.test/a/b.JPG#x", "image", {"name": "b.JPG", "mimeType": "image/jpeg"}),
        ("https://x.test/b%C3%A4r.webp", "image", {"name": "bär.webp", "mimeType": "image/webp"}),
        ("https://x.test/film.mp4", "video", {"name": "film.mp4", "mimeType": "video/mp4"}),
        ("https://x.test/film.mp4", "image", {"name": "film.mp4"}),
        ("https://x.test/make.php?id=1", "image", {"name": "make.php"}),
        ("https://x.test/12345", "image", {"name": "12345"}),
        ("https://x.test/", "image", {}),
    ],
)
def test_a_reference_url_goes_with_its_name_and_type(url: str, kind: str, more: dict[str, str]) -> None:
    found = json.loads(body(make_job(reference=UrlReference(url, kind))))
    [item] = found["params"]["referenceMediaItems"]
    assert item == {"url": url, "kind": kind} | more


@pytest.mark.parametrize(
    ("name", "mime", "sent"),
    [
        ("böat.png", "image/png", "böat.png"),
        ("boat.JPEG", "image/jpeg", "boat.JPEG"),
        ("boat.png", "image/jpeg", "boat.jpg"),
        ("boat", "image/webp", "boat.webp"),
        ("boat.jpg", "video/mp4", "boat.mp4"),
        ("boat.v2", "image/png", "boat.png"),
    ],
)
def test_an_upload_is_named_by_its_bytes(name: str, mime: str, sent: str) -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        return httpx.Response(200, json={"url": "https://cdn.test/1"})

    reference = FileReference(Path("/refs") / name, "ab" * 32, 5, mime)
    made = ask(handler, lambda provider: provider.upload(reference, b"bytes", "m"))
    assert isinstance(made, Upload)
    assert made.name == sent
    assert f'filename="{sent}"'.encode() in seen[0]


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, {}),
        ({"duration_token": "tok"}, {"durationToken": "tok"}),
        ({"duration_token": "tok", "duration_seconds": 1.5}, {"durationToken": "tok", "durationSeconds": 1.5}),
        ({"duration_seconds": 0.0}, {"durationSeconds": 0.0}),
    ],
)
def test_the_body_with_an_upload(changes: dict[str, Any], more: dict[str, Any]) -> None:
    upload = make_upload(kind="video", mime="video/mp4", **changes)
    found = json.loads(body(make_job(reference=PICTURE, params={"mode": "fun"}), upload))
    item = {"url": upload.url, "kind": "video", "name": "boat.png", "mimeType": "video/mp4"}
    assert found["params"] == {"mode": "fun", "referenceMediaItems": [item | more]}
    assert set(found) == {"model", "prompt", "params", "client_request_id"}


def test_the_upload_is_multipart_and_names_the_model() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"url": "https://cdn.test/1"})

    ask(handler, lambda provider: provider.upload(PICTURE, b"\x89PNG", "grok-imagine-video"))
    [request] = seen
    content = request.content
    assert request.url.path == "/api/v1/files"
    for name, value in (
        ("kind", "image"),
        ("model", "grok-imagine-video"),
        ("client_request_id", "batcher-" + "ab" * 16),
    ):
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in content
    assert 'name="file"; filename="böat.png"\r\nContent-Type: image/png\r\n\r\n'.encode() + b"\x89PNG\r\n" in content


def test_paths_headers_and_quoting() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404, json={})

    async def use(provider: Rivya) -> None:
        await provider.submit(INTENT)
        await provider.poll("a/../b?c#d")
        await provider.verify_upload(make_upload(file_id="f/1"))
        await provider.credits()
        await provider.models()

    ask(handler, use, base_url=f"{API}/")
    paths = [request.url.raw_path.decode() for request in seen]
    assert paths == [
        "/api/v1/generations",
        "/api/v1/generations/a%2F..%2Fb%3Fc%23d",
        "/api/v1/files/f%2F1",
        "/api/v1/credits",
        "/api/v1/models",
    ]
    assert seen[0].content == INTENT.body
    assert seen[0].headers["idempotency-key"] == INTENT.key
    assert seen[0].headers["content-type"] == "application/json"
    for request in seen:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["user-agent"] == f"batcher/{__version__}"
