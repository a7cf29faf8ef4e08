"""References: globs, URLs, none; types by bytes; nothing from outside of the allowed folders."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from unit.manifest.helpers import JPEG, PNG, WEBP, jobs_of, places, problems_of, write

from batcher.jobs import FileReference, SeveralReferences, UrlReference, job_id
from batcher.manifest import globs
from batcher.manifest.files import Cache, check_url, reference_name
from batcher.manifest.problems import Fault


def names(path: Path, *allow: Path) -> list[str]:
    return [Path(job.reference.text).name if job.reference else "-" for job in jobs_of(path, *allow)]


def test_each_reference_makes_jobs_of_its_own(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "r/b.png": PNG,
        "r/a.jpg": JPEG,
        "r/c.bin": WEBP,
        "r/.hidden": b"x",
        "r/sub/x": b"y",
    }
    path = write(tmp_path, "references: ['r/*', null, https://x.org/p/q.png?v=1]\nrepeat: 2\nprompts: [x]", files)
    jobs = jobs_of(path)
    assert [(job.take, job.reference) for job in jobs[:6:2]] == [
        (1, FileReference(tmp_path / "r" / name, hashlib.sha256(data).hexdigest(), len(data), mime))
        for name, data, mime in (
            ("a.jpg", JPEG, "image/jpeg"),
            ("b.png", PNG, "image/png"),
            ("c.bin", WEBP, "image/webp"),
        )
    ]
    assert [job.reference for job in jobs[6:]] == [None, None] + [UrlReference("https://x.org/p/q.png?v=1")] * 2
    assert [job.price_class.split()[-1] for job in jobs[::2]] == ["reference=yes"] * 3 + [
        "reference=no",
        "reference=yes",
    ]


def test_nearest_references_win(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "a.png": PNG, "b.png": PNG + b"b", "c.png": PNG + b"c", "ring.png": PNG + b"r",
        "t.csv": "prompt,reference\nx,c.png\ny,\nz,{{ p }}.png\n",
    }  # fmt: skip
    path = write(
        tmp_path,
        """\
        references: [a.png]
        matrix: {p: [ring]}
        prompts:
          - one {{ p }}
          - {prompt: two, references: ["{{ p }}.png", b.png]}
          - {prompt: three, references: []}
          - {file: t.csv, references: [b.png]}
        """,
        files,
    )
    assert names(path) == ["a.png", "ring.png", "b.png", "-", "c.png", "b.png", "ring.png"]


def test_globs(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"x/y/2.png": PNG, "x/1.png": PNG, "x[1].png": PNG, "x1.png": PNG}
    assert names(write(tmp_path, "references: ['**/*.png']\nprompts: [x]", files)) == [
        "1.png",
        "2.png",
        "x1.png",
        "x[1].png",
    ]
    assert names(write(tmp_path, "references: ['x[1].png', 'x[0-9].png']\nprompts: [x]")) == ["x[1].png", "x1.png"]
    assert names(write(tmp_path, f"references: ['{tmp_path}/x/*.png']\nprompts: [x]")) == ["1.png"]
    # No hidden files (a Mac puts `._b.png` beside each b.png of a stick), and letters as they are typed.
    write(tmp_path, "", {"up/b.png": PNG, "up/._b.png": PNG, "up/A.PNG": PNG})
    assert names(write(tmp_path, "references: ['up/*']\nprompts: [x]")) == ["A.PNG", "b.png"]
    assert names(write(tmp_path, "references: ['up/*.png']\nprompts: [x]")) == ["b.png"]


def test_a_manifest_named_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "references: ['*.png']\nprompts: [x]", {"a.png": PNG})
    monkeypatch.chdir(tmp_path)
    (job,) = jobs_of(Path("m.yaml"))
    assert job.reference is not None
    assert job.reference.text == str((tmp_path / "a.png").resolve())


def test_nothing_from_outside(tmp_path: Path) -> None:
    inner = tmp_path / "in"
    out = tmp_path / "out"
    write(tmp_path, "", {"out/o.png": PNG, "in/ok.png": PNG + b"1"})
    (inner / "link.png").symlink_to(out / "o.png")
    (inner / "folder").symlink_to(out)
    path = write(
        inner,
        """\
        references: [link.png, folder/o.png, "folder/*.png", "../out/*.png", "/**/*.png", "*/../*.png", "l*.png"]
        prompts: [x]
        """,
    )
    told = [text.split(": ", 1)[1].partition(" (")[0] for text in places(path)]
    leads = "leads out of the manifest's folder"
    outside = ["link.png", "folder/o.png", "folder/*.png", "../out/*.png", "/**/*.png"]
    assert told[:5] == [f"'{name}' {leads}" for name in outside]
    assert told[5:] == ["'*/../*.png': `..` cannot stand after a wildcard", f"'link.png' {leads}"]
    allowed = write(inner, "references: [link.png, '../out/*.png']\nprompts: [x]")
    assert names(allowed, out) == ["o.png", "o.png"]


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "huge.png").write_bytes(PNG)
    os.truncate(tmp_path / "huge.png", 10_000_001)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dir.png").mkdir()
    path = write(
        tmp_path,
        "references: [text.png, empty.png, film.png, huge.png, pipe.png, dir.png, '{{ e }}', '[.png']\n"
        "matrix: {e: [' ']}\nprompts: [x]",
        {"text.png": "not a picture", "empty.png": b"", "film.png": b"\0\0\0\x18ftypisom" + b"\0" * 20},
    )
    assert [text.split(": ", 1)[1] for text in places(path)] == [
        "'text.png' is of an unknown type by its bytes; grok-imagine-video takes JPEG, PNG, WEBP",
        "'empty.png' is empty by its bytes; grok-imagine-video takes JPEG, PNG, WEBP",
        "'film.png' is video/mp4 by its bytes; grok-imagine-video takes JPEG, PNG, WEBP",
        "'huge.png' has 10,000,001 bytes; grok-imagine-video takes at most 10,000,000",
        "'pipe.png' is no regular file",
        "'dir.png' is a folder, not a file",
        "the reference is empty (for no reference write null)",
        f"no file matches '[.png' (looked in {tmp_path})",
    ]


UNKNOWN = "is of an unknown type by its bytes"
# name, bytes, what is wrong with them: their type is told by the bytes, never by the name
NAMED: dict[str, tuple[str, bytes, str | None]] = {
    "a PNG called .jpg": ("a.jpg", PNG, None),
    "a JPEG called .PNG": ("A.PNG", JPEG, None),
    "signs of URLs in a name": ("sp ace #1 100%/a b#c?d%20e.png", PNG, None),
    "signs of globs in a name": ("[1] final (2).png", PNG, None),
    "a name that begins with a dot": ("._b.png", PNG, None),
    "a letter of a name in two parts": ("uni/U\u0308bergro\u0308\xdfe e\u0301.png", PNG, None),
    "a photo of a phone": ("a.jpg", b"\0\0\0\x1cftypheic" + b"\0" * 20, "is image/heic by its bytes"),
    "several of them": ("a.jpg", b"\0\0\0\x1cftypmsf1" + b"\0" * 20, "is image/heic by its bytes"),
    "AVIF": ("a.jpg", b"\0\0\0\x1cftypavif" + b"\0" * 20, "is image/avif by its bytes"),
    "JPEG XL": ("a.png", b"\xff\x0a\xfa" + b"\0" * 20, "is image/jxl by its bytes"),
    "an animation": ("a.gif", b"GIF89a" + b"\0" * 20, "is image/gif by its bytes"),
    "a scan": ("a.jpg", b"II*\0" + b"\0" * 20, "is image/tiff by its bytes"),
    "a bitmap": ("a.png", b"BM" + b"\0" * 20, "is image/bmp by its bytes"),
    "a drawing": ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is image/svg+xml by its bytes"),
    "a document": ("a.jpg", b"%PDF-1.7", "is application/pdf by its bytes"),
    "a page": ("a.jpg", b"<!doctype html><title>404</title>", UNKNOWN),
    "a pointer of Git LFS": ("a.png", b"version https://git-lfs.github.com/spec/v1\n", UNKNOWN),
    "a JPEG behind a line end": ("a.jpg", b"\n" + JPEG, UNKNOWN),
    "nothing": ("a.png", b"", "is empty by its bytes"),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_a_reference_is_by_its_bytes(case: str, tmp_path: Path) -> None:
    name, data, lacks = NAMED[case]
    path = write(tmp_path, f"references: [{json.dumps(name)}]\nprompts: [x]", {name: data})
    if lacks is None:
        assert names(path) == [name.rpartition("/")[2]]
    else:
        (told,) = places(path)
        assert told.startswith(f"m.yaml:3:14: '{name}' {lacks}; grok-imagine-video takes JPEG, PNG, WEBP")


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "references: [a.png]\nprompts: [x]", {"a.png": PNG})
    real = os.fstat

    def shorter(handle: int) -> os.stat_result:
        found = real(handle)
        return os.stat_result((*found[:6], found.st_size - 1, *found[7:]))

    monkeypatch.setattr(os, "fstat", shorter)
    assert [text.split(": ", 1)[1] for text in places(path)] == ["'a.png' changed while it was read"]


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    real = hashlib.sha256

    def counting(data: bytes = b"") -> object:
        nonlocal count
        count += 1
        return real(data)

    monkeypatch.setattr(hashlib, "sha256", counting)
    path = write(tmp_path, "references: ['*.png']\nmatrix: {p: [a, b, c]}\nprompts: ['{{ p }}', x]", {"a.png": PNG})
    assert len(jobs_of(path)) == 6
    # every job's id is a hash too, and the manifest has one
    assert count == 6 + 1 + 1


def test_too_many_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "MAX_MATCHES", 1)
    path = write(tmp_path, "references: ['*.png']\nprompts: [x]", {"a.png": PNG, "b.png": PNG})
    assert [text.split(": ", 1)[1] for text in places(path)] == ["'*.png' matches more than 1 files"]


@pytest.mark.parametrize(
    "url",
    [
        "https://x.org",
        "https://x.org:8443/a?b#c",
        "HTTPS://X/",
    ],
)
def test_good_urls(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://x.org/a b", "has spaces or control characters"),
        ("https://x.org/\u202e", "has spaces or control characters"),
        ("https://x.org:99999/", "is no URL: Port out of range"),
        ("https://[x", "is no URL"),
        ("https:///a", "has no host"),
        ("file:///etc/passwd", "not file:"),
        ("https://u@x.org/", "a user or a password"),
        ("https://@x.org/", "a user or a password"),
        ("https://evil.org\\@x.org/a", "has a backslash"),
        ("https://x.org/a\\b", "has a backslash"),
        ("https://x.org/\n", "has spaces or control characters"),
        ("https://x.org/\xa0", "has spaces or control characters"),
        ("http://10.0.0.1/", "an https URL, not http:"),
        ("http://localhost/a", "an https URL, not http:"),
        ("https://x.org/" + "a" * 2048, "characters; at most 2,048"),
    ],
)
def test_bad_urls(url: str, message: str) -> None:
    with pytest.raises(Fault) as error:
        check_url(url)
    assert message in error.value.message


def test_names_of_references() -> None:
    assert reference_name(None) == ""
    assert reference_name(FileReference(Path("/x/a.b.png"), "0", 1, "image/png")) == "a.b"
    assert reference_name(UrlReference("https://x.org/p/q.png?v=1")) == "q"
    assert reference_name(UrlReference("https://x.org")) == "x.org"


def test_a_cache_stays_bounded() -> None:
    cache: Cache[int, int] = Cache()
    for number in range(Cache.LIMIT + 1):
        cache.keep(number, number)
    assert len(cache) == 1


def test_globs_follow_no_links_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "", {"a/b/1.png": PNG, "a/.h/2.png": PNG, "a/.3.png": PNG, "c/4.png": PNG})
    for link in ("a/loop", "a/b/loop", "c/loop"):
        (tmp_path / link).symlink_to(tmp_path)
    (tmp_path / "root").symlink_to("/")
    assert globs.matches("**/**/*.png", tmp_path) == ["a/b/1.png", "c/4.png"]
    assert globs.matches("a/**", tmp_path) == ["a/b/1.png"]
    assert globs.matches("a/.*.png", tmp_path) == ["a/.3.png"]
    assert globs.matches("./*/./b/1.png", tmp_path) == ["a/b/1.png"]
    assert globs.matches("*/no/*.png", tmp_path) == []
    assert globs.matches("no/*.png", tmp_path) == []
    assert globs.matches("c/4.png/*", tmp_path) == []
    assert globs.matches(f"{tmp_path}/c/[!5].png", tmp_path) == [f"{tmp_path}/c/4.png"]
    with pytest.raises(Fault, match="at most two"):
        globs.matches("**/a/**/b/**/*", tmp_path)
    monkeypatch.setattr(globs, "MAX_SEEN", 3)
    with pytest.raises(Fault, match="looks at more than 3 files"):
        globs.matches("**/*.png", tmp_path)


def test_folders_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> object:
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(Fault, match="'x' cannot be read: Permission denied"):
        globs.matches("*.png", tmp_path)


def test_a_glob_of_too_many_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    with pytest.raises(Fault, match="nested too deeply"):
        globs.matches("*/" + "a/" * 2000 + "b", tmp_path)


CUT, EMPTY = "is cut off: its end is missing", "holds no picture"
# type, bytes, what is wrong with them
PICTURES: dict[str, tuple[str, bytes, str | None]] = {
    "a PNG": ("png", PNG, None),
    "a PNG and something after it": ("png", PNG + b"xyz", None),
    "the beginning of a PNG": ("png", PNG[:8], CUT),
    "a PNG without its end": ("png", PNG[:-12], CUT),
    "a PNG cut in its pixels": ("png", PNG[:50], CUT),
    "a PNG without its checksum": ("png", PNG[:-1], CUT),
    "a PNG without pixels": ("png", PNG[:33] + PNG[-12:], EMPTY),
    "zeros after a PNG's beginning": ("png", PNG[:8] + b"\0" * 60, EMPTY),
    "a JPEG": ("jpg", JPEG, None),
    "a JPEG and something after it": ("jpg", JPEG + b"xyz", None),
    "the beginning of a JPEG": ("jpg", JPEG[:4], CUT),
    "a JPEG without its end": ("jpg", JPEG[:-2], CUT),
    "a JPEG without pixels": ("jpg", JPEG[:14], CUT),
    "a JPEG whose preview has an end": (
        "jpg", b"\xff\xd8\xff\xe1\0\6\xff\xd9xx" + JPEG[2:-2], CUT
    ),
    "a WebP": ("webp", WEBP, None),
    "a WebP without its end": ("webp", WEBP[:-1], CUT),
    "the beginning of a WebP": ("webp", WEBP[:16], CUT),
}  # fmt: skip


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_is_whole(case: str, tmp_path: Path) -> None:
    suffix, data, lacks = PICTURES[case]
    name = f"a.{suffix}"
    found = places(write(tmp_path, f"references: [{name}]\nprompts: [x]", {name: data}))
    assert [text.partition(" (")[0] for text in found] == ([f"m.yaml:3:14: '{name}' {lacks}"] if lacks else [])


def test_a_list_is_several_references_of_one_job(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{name}.png": PNG + name.encode() for name in "abc"}
    head = "campaign: c\nmodel: kling-3-0\nprompts: [x]\n"
    path = write(tmp_path, f"{head}references: [[a.png, b.png], [b.png, a.png], '*.png']", files, head=False)
    pair, other, *single = jobs_of(path)
    assert isinstance(pair.reference, SeveralReferences)
    assert [Path(each.text).name for each in pair.reference.each] == ["a.png", "b.png"]
    assert len({pair.id, other.id, *(job.id for job in single)}) == 5, "their order is part of what a job is"


def test_the_identity_of_several_references_is_golden() -> None:
    each = (FileReference(Path("a"), "ab" * 32, 1, "image/png"), UrlReference("https://x.org/b.png"))
    kwargs: dict[str, Any] = {"campaign": "c", "model": "kling-3-0", "prompt": "x", "params": {}, "take": 1}
    assert job_id(**kwargs, reference=SeveralReferences(each)) == "833e24e60fd293edaa2b6656ab79b722"
    assert job_id(**kwargs, reference=each[0]) == "45ab61e4b0448eb3e80ec42d27fd3dc9"


@pytest.mark.parametrize(
    ("model", "references", "message"),
    [
        ("kling-3-0", "[[a.png, b.png, c.png]]", "kling-3-0 takes at most 2 references; these are 3"),
        ("kling-3-0", "[['*.png', a.png]]", "kling-3-0 takes at most 2 references; these are 4"),
        ("kling-3-0", "[[a.png]]", "a list of fewer than two references"),
        ("kling-3-0", "[[a.png, null]]", "must be"),
        ("kling-2-6", "[[a.png, b.png]]", "kling-2-6 takes at most 1 reference; these are 2"),
        ("kling-3-0", "[f.mp4]", "is video/mp4 by its bytes; kling-3-0 takes JPEG, PNG, WEBP"),
        ("happyhorse-1-0", "[[f.mp4, 'f.mp4']]", "happyhorse-1-0 takes at most 1 of kind video"),
        ("happyhorse-1-0", "[['*.png', '*.png', f.mp4]]", "takes at most 5 of kind image beside a video; these are 7"),
    ],
)
def test_a_list_that_the_model_does_not_take(tmp_path: Path, model: str, references: str, message: str) -> None:
    files: dict[str, bytes | str] = {f"{name}.png": PNG + name.encode() for name in "abc"}
    files["f.mp4"] = b"\0\0\0\x18ftypisom\0\0\0\0isomavc1"
    head = f"campaign: c\nmodel: {model}\nprompts: [x]\nreferences: {references}"
    (found,) = problems_of(write(tmp_path, head, files, head=False))
    assert message in found.message
    assert (found.line, found.column) == (4, 14)


def test_the_kind_of_a_url_is_told_by_its_ending(tmp_path: Path) -> None:
    head = "campaign: c\nmodel: wan-2-6\nprompts: [x]\n"
    urls = "['https://x.org/a.mp4?x=1', 'https://x.org/a', 'https://x.org/a.png']"
    path = write(tmp_path, f"{head}references: {urls}", head=False)
    kinds = [job.reference.kind for job in jobs_of(path) if isinstance(job.reference, UrlReference)]
    assert kinds == ["video", "image", "image"]
