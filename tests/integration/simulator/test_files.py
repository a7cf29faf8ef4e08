"""Uploads, models, results (rivya-api.md sections 4, 6, 9)."""

from __future__ import annotations

import hashlib

import pytest
from integration.simulator.helpers import Lab, error_of, png

from batcher.simulator.records import Rejection
from batcher.simulator.rules import check_upload, media_type, read_multipart

MP4 = b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 20


def reference(url: str) -> dict[str, object]:
    return {"referenceMediaItems": [{"url": url, "kind": "image"}]}


def test_an_upload_is_known_by_its_bytes_and_serves_as_reference() -> None:
    lab = Lab(upload_status=201, create_status=202)
    answer = lab.upload(png(), "ring.jpg", client_request_id="job-1")
    assert answer.status_code == 201
    file = answer.json()
    assert file == {
        "id": file["id"],
        "url": file["url"],
        "kind": "image",
        "mime_type": "image/png",
        "size": len(png()),
        "name": "ring.jpg",
        "duration_token": None,
        "created_at": "2023-11-14T22:13:20.000Z",
        "expires_at": None,
    }
    assert lab.get(f"/api/v1/files/{file['id']}").json() == file
    assert lab.create(params=reference(file["url"])).status_code == 202
    moved = file["url"].replace("http://simulator.test", "http://127.0.0.1:9")
    assert lab.create("key-2", params=reference(moved)).status_code == 202
    assert lab.upload(png()).json()["id"] != file["id"]
    assert lab.world.oracle().uploads == {hashlib.sha256(png()).hexdigest(): 2}


def test_an_upload_expires_by_time_or_by_order() -> None:
    lab = Lab(upload_lifetime=3600)
    file = lab.upload(png()).json()
    assert file["expires_at"] == "2023-11-14T23:13:20.000Z"
    assert lab.create("a", params=reference(file["url"])).status_code == 200
    lab.clock.time += 3600
    assert error_of(lab.get(f"/api/v1/files/{file['id']}")) == (404, "not_found")
    assert error_of(lab.create("b", params=reference(file["url"]))) == (400, "validation_failed")
    lab.order(upload_lifetime=None)
    fresh = lab.upload(png()).json()
    lab.order(expire="all")
    assert error_of(lab.get(f"/api/v1/files/{fresh['id']}")) == (404, "not_found")
    assert error_of(lab.get("/api/v1/files/file_nobody")) == (404, "not_found")


def test_the_url_of_an_upload_may_expire_before_the_upload() -> None:
    lab = Lab(upload_url_lifetime=60)
    upload = lab.upload(png()).json()
    lab.clock.time += 60
    refused = lab.create("a", params={"referenceMediaItems": [{"url": upload["url"], "kind": "image"}]})
    assert error_of(refused) == (400, "validation_failed")
    fresh = lab.get(f"/api/v1/files/{upload['id']}").json()["url"]
    assert lab.create("a", params={"referenceMediaItems": [{"url": fresh, "kind": "image"}]}).status_code == 200


def test_an_upload_of_another_kind_is_no_reference() -> None:
    lab = Lab()
    answer = lab.request("POST", "/api/v1/files", files={"file": ("a.mp4", MP4)}, data={"kind": "video"})
    file = answer.json()
    assert file["mime_type"] == "video/mp4"
    assert file["duration_token"]
    refused = lab.create(params=reference(file["url"]))
    assert error_of(refused) == (400, "validation_failed")
    assert "kind video" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("data", "fields", "message"),
    [
        (b"", {}, "empty"),
        (b"GIF89a", {}, "unknown type"),
        (MP4, {}, "video/mp4"),
        (png(), {"kind": "picture"}, "kind"),
        (png(), {"kind": "video"}, "takes no file"),
        (png(), {"model": "grok"}, "grok"),
        (png(), {"client_request_id": "x" * 129}, "128"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 10_000_000, {}, "larger"),
    ],
)
def test_uploads_that_are_refused(data: bytes, fields: dict[str, str], message: str) -> None:
    lab = Lab()
    answer = lab.upload(data, **fields)
    assert error_of(answer) == (400, "validation_failed")
    assert message in answer.json()["error"]["message"]
    assert lab.world.oracle().files == {}


def test_an_upload_without_a_file() -> None:
    lab = Lab()
    answer = lab.request("POST", "/api/v1/files", files={"other": ("a", png())}, data={"kind": "image"})
    assert error_of(answer) == (400, "validation_failed")
    assert error_of(lab.request("POST", "/api/v1/files", json={})) == (400, "validation_failed")


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00AVI ", None),
        (b"\x00\x00\x00\x14ftypqt  ", "video/quicktime"),
        (b"\x00\x00\x00\x14ftypM4A ", "audio/mp4"),
        (b"OggS", "audio/ogg"),
        (b"", None),
    ],
)
def test_signatures(data: bytes, mime: str | None) -> None:
    assert media_type(data) == mime


def test_limits_without_a_model_are_those_of_the_page() -> None:
    assert check_upload("audio", None, b"ID3") == "audio/mpeg"
    with pytest.raises(Rejection, match="larger than 50000000"):
        check_upload("video", None, MP4 + b"\x00" * 50_000_000)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b""),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\ncut'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n--x--\r\n'),
    ],
)
def test_multipart_that_cannot_be_read(content_type: str, body: bytes) -> None:
    with pytest.raises(Rejection):
        read_multipart(content_type, body)


def test_multipart_keeps_every_byte() -> None:
    data = bytes(range(256)) + b"\r\n--not-the-mark\r\n\n\r"
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="r\xc3\xadng.png"\r\nX: y\r\n\r\n'
    parts = read_multipart('multipart/form-data; boundary="x"', body + data + b"\r\n--x--\r\n")
    assert (parts["file"].filename, parts["file"].data) == ("ríng.png", data)


def test_models() -> None:
    found = Lab().get("/api/v1/models").json()
    assert found["object"] == "list"
    by_id = {model["id"]: model for model in found["data"]}
    video = by_id["grok-imagine-video"]
    assert set(by_id["grok-imagine"]) == set(video)
    assert (video["base_credits"], video["billing_type"], video["max_prompt_length"]) == (10, "FIXED", 5000)
    assert video["api_input_status"] == "partial_requires_files"
    assert {"key": "duration", "type": "number", "min": 6.0, "max": 30.0, "step": 1.0}.items() <= next(
        param for param in video["params"] if param["key"] == "duration"
    ).items()


def test_a_result_whole_and_in_parts() -> None:
    lab = Lab()
    url = lab.finished()["result"]["primary_url"]
    whole = lab.request("GET", url, headers={"Authorization": None})
    assert whole.status_code == 200
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == len(whole.content)
    tag, size = whole.headers["etag"], len(whole.content)
    assert tag.startswith('"')

    def part(wanted: str, **more: str) -> tuple[int, bytes, str | None]:
        answer = lab.get(url, Range=wanted, **more)
        return answer.status_code, answer.content, answer.headers.get("content-range")

    assert part("bytes=10-") == (206, whole.content[10:], f"bytes 10-{size - 1}/{size}")
    assert part("bytes=10-19") == (206, whole.content[10:20], f"bytes 10-19/{size}")
    assert part("bytes=10-99999999") == (206, whole.content[10:], f"bytes 10-{size - 1}/{size}")
    assert part("bytes=-5") == (206, whole.content[-5:], f"bytes {size - 5}-{size - 1}/{size}")
    assert part(f"bytes={size}-") == (416, b"", f"bytes */{size}")
    assert part("bytes=10-", If_Range=tag) == (206, whole.content[10:], f"bytes 10-{size - 1}/{size}")
    assert part("bytes=10-", If_Range='"other"') == (200, whole.content, None)
    assert part("bytes=-") == (200, whole.content, None)
    assert part("lines=1-2") == (200, whole.content, None)
    # A weak tag vouches for nothing (RFC 9110 section 13.1.5).
    lab.order(etags="weak")
    assert lab.get(url).headers["etag"] == f"W/{tag}"
    assert part("bytes=10-", If_Range=f"W/{tag}") == (200, whole.content, None)
    lab.order(etags="none", ranges=False)
    plain = lab.get(url, Range="bytes=10-")
    assert (plain.status_code, plain.headers.get("etag")) == (200, None)
    assert [seen.authorized for seen in lab.world.oracle().requests if seen.kind == "result"][:2] == [False, True]


def test_a_picture_is_a_picture() -> None:
    lab = Lab()
    url = lab.finished(model="grok-imagine")["result"]["primary_url"]
    assert url.endswith(".png")
    answer = lab.get(url)
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


def test_result_urls_expire_and_come_anew() -> None:
    lab = Lab(result_lifetime=60, expired_status=410)
    task = lab.finished()
    url = task["result"]["primary_url"]
    status = f"/api/v1/generations/{task['id']}"
    lab.clock.time += 59
    assert lab.get(status).json() == task
    assert lab.get(url).status_code == 200
    lab.clock.time += 1
    assert lab.get(url).status_code == 410
    fresh = lab.get(status).json()["result"]["primary_url"]
    assert fresh != url
    assert lab.get(fresh).status_code == 200
    assert lab.get(url).status_code == 410
    lab.order(expire="results", expired_status=403)
    assert lab.get(fresh).status_code == 403
    assert lab.get(lab.get(status).json()["result"]["primary_url"]).status_code == 200


def test_result_urls_cannot_be_guessed() -> None:
    lab = Lab()
    early = lab.create("early").json()["id"]
    url = lab.finished("late")["result"]["primary_url"]
    for wrong in (
        url.replace("/1-", "/2-"),
        url.replace("/1-", "/x-"),
        url.replace(".mp4", ".png"),
        "/results/1-x/task_nobody.mp4",
        f"/results/1-x/{early}.mp4",
    ):
        assert error_of(lab.get(wrong)) == (404, "not_found")
