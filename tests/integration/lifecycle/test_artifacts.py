"""Bytes to files: whole or absent, never over somebody else's, and what a crash leaves is taken up."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from batcher import fs, storage
from batcher.errors import StorageError
from batcher.filetypes import FileType
from batcher.providers import TransferCut
from batcher.storage import Artifacts, Unusable, Whole

VIDEO = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 4
SHA = hashlib.sha256(VIDEO).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def receive(store: Artifacts, part: Path, *chunks: bytes, offset: int = 0, cut: bool = False) -> bytes | None:
    async def stream() -> AsyncGenerator[bytes, None]:
        for chunk in chunks:
            yield chunk
        if cut:
            raise TransferCut("gone")

    async def main() -> bytes | None:
        return await store.receive(part, stream(), offset=offset, aside=anyio.to_thread.run_sync)

    return anyio.run(main)


def whole(store: Artifacts, attempt_id: int = 1, content: bytes = VIDEO) -> Path:
    part = store.part(attempt_id, 0)
    rest = receive(store, part, content)
    if rest is not None:
        part.write_bytes(rest)
    return part


@pytest.mark.parametrize("held", [0, 99, 150, 10_000])
def test_a_file_in_parts(store: Artifacts, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(storage, "_HELD_BYTES", held)
    part = store.part(7, 1)
    assert part.name == "7-1.part"
    assert store.size(part) == 0
    with pytest.raises(TransferCut):
        receive(store, part, VIDEO[:100], VIDEO[100:300], cut=True)
    assert store.size(part) == 300, "what came before a cut is kept"
    assert receive(store, part, VIDEO[200:], offset=200) is None
    assert part.read_bytes() == VIDEO
    mp4 = FileType("video/mp4", ".mp4")
    assert store.finish(part, None, total=len(VIDEO), kind="video") == Whole(SHA, len(VIDEO), mp4)
    with pytest.raises(TransferCut):
        receive(store, part, b"other", offset=0, cut=True)
    assert part.read_bytes() == b"other", "what was there behind the offset is dropped"
    store.drop(part)
    store.drop(part)
    assert not part.exists()


@pytest.mark.parametrize("held", [0, 99, 10_000])
def test_what_came_is_written_whose_task_ends_meanwhile(
    store: Artifacts, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(storage, "_HELD_BYTES", held)
    part = store.part(7, 1)

    async def main() -> None:
        async def stream() -> AsyncGenerator[bytes, None]:
            yield VIDEO[:100]
            scope.cancel()
            yield VIDEO[100:300]
            await anyio.sleep_forever()

        with anyio.CancelScope() as scope:
            await store.receive(part, stream(), offset=0, aside=anyio.to_thread.run_sync)

    anyio.run(main)
    assert part.read_bytes() == VIDEO[:300]


def test_a_short_result_is_written_once_it_is_whole(store: Artifacts) -> None:
    part = store.part(1, 0)
    content = receive(store, part, VIDEO[:100], VIDEO[100:])
    assert (content, part.exists()) == (VIDEO, False)
    part.write_bytes(b"of another version, and longer than the video" * 100)
    assert store.finish(part, content, total=len(VIDEO), kind="video").sha256 == SHA
    assert part.read_bytes() == VIDEO


@pytest.mark.parametrize(
    ("content", "total", "kind", "words"),
    [
        (VIDEO, len(VIDEO) + 1, "video", "were announced"),
        (VIDEO, len(VIDEO) - 1, "video", "were announced"),
        (b"", None, "", "nothing arrived"),
        (b"", 0, "", "nothing arrived"),
    ],
)
def test_what_is_not_the_result(store: Artifacts, content: bytes, total: int | None, kind: str, words: str) -> None:
    for rest in (None, content):
        part = whole(store, content=content)
        with pytest.raises(Unusable, match=words):
            store.finish(part, rest, total=total, kind=kind)
        assert not part.exists()


@pytest.mark.parametrize(("total", "kind"), [(None, ""), (None, "video"), (len(VIDEO), "")])
def test_what_is_the_result(store: Artifacts, total: int | None, kind: str) -> None:
    assert store.finish(whole(store), None, total=total, kind=kind).sha256 == SHA


def test_too_long(store: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RESULT_BYTES", 100)
    receive(store, store.part(1, 0), b"x" * 100)
    with pytest.raises(Unusable, match="longer than 100 bytes"):
        receive(store, store.part(1, 0), b"x" * 50, b"x" * 51)


def test_a_name_is_given_once(store: Artifacts, tmp_path: Path) -> None:
    part = whole(store)
    assert store.place(part, "results/spring/deep/boat.mp4", SHA)
    target = tmp_path / "results/spring/deep/boat.mp4"
    assert target.read_bytes() == VIDEO
    assert target.stat().st_nlink == 1
    assert not part.exists()
    assert store.holds("results/spring/deep/boat.mp4", SHA)
    # Again, as after a crash between naming and recording: with the part file or without.
    assert store.place(part, "results/spring/deep/boat.mp4", SHA)
    assert store.place(whole(store), "results/spring/deep/boat.mp4", SHA)
    assert target.read_bytes() == VIDEO


def foreign_file(path: Path) -> None:
    path.write_bytes(b"mine")


def foreign_empty_file(path: Path) -> None:
    path.touch()


def foreign_folder(path: Path) -> None:
    path.mkdir()


def foreign_link(path: Path) -> None:
    path.symlink_to("/nonexistent/somewhere")


def link_to_the_very_bytes(path: Path) -> None:
    other = path.with_name("elsewhere")
    other.write_bytes(VIDEO)
    path.symlink_to(other)


def identity(path: Path) -> tuple[int, ...]:
    """Which file it is, and when it was changed last; being read changes nothing of it."""
    found = os.lstat(path)
    return (found.st_ino, found.st_mode, found.st_nlink, found.st_size, found.st_mtime_ns)


@pytest.mark.parametrize(
    "foreign", [foreign_file, foreign_empty_file, foreign_folder, foreign_link, link_to_the_very_bytes]
)
@pytest.mark.parametrize("hard_links", [True, False])
def test_nobody_elses_file_is_overwritten(
    store: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: object, hard_links: bool
) -> None:
    if not hard_links:
        without_hard_links(monkeypatch)
    target = tmp_path / "results" / "boat.mp4"
    target.parent.mkdir()
    assert callable(foreign)
    foreign(target)
    before = identity(target)
    part = whole(store)
    assert not store.place(part, "results/boat.mp4", SHA)
    assert identity(target) == before
    assert part.exists(), "the bytes are still there for another name"


def without_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "File exists")
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


def test_a_disk_without_hard_links(store: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_hard_links(monkeypatch)
    part = whole(store)
    assert store.place(part, "results/boat.mp4", SHA)
    assert (tmp_path / "results/boat.mp4").read_bytes() == VIDEO
    assert not part.exists()


def test_a_naming_that_fails_leaves_no_empty_file(
    store: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hard_links(monkeypatch)
    part = whole(store)

    def replace(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(StorageError, match="cross-device"):
        store.place(part, "results/boat.mp4", SHA)
    assert not (tmp_path / "results/boat.mp4").exists()
    assert part.exists()


def test_the_bytes_are_synced_before_they_are_named_and_the_name_after(
    store: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        done.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def linked(source: Path, target: Path) -> None:
        done.append("name")
        link(source, target)

    part = whole(store)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    store.finish(part, None, total=None, kind="video")
    store.place(part, "results/spring/boat.mp4", SHA)
    if Path("/proc/self/fd").exists():
        assert done == ["sync 1-0.part", "sync results", "name", "sync spring"]


# The disk


def test_a_file_where_a_folder_should_be_is_told_not_thrown(store: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StorageError, match="results"):
        store.part(1, 0)
    (tmp_path / "results").unlink()
    part = whole(store)
    (tmp_path / "results" / "spring").write_text("a file")
    with pytest.raises(StorageError, match=r"spring/boat\.mp4"):
        store.place(part, "results/spring/boat.mp4", SHA)
    assert (tmp_path / "results" / "spring").read_text() == "a file"
    assert part.exists()


def test_a_disk_that_cannot_be_used(store: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "none" / "1.part"
    for use in (
        lambda: receive(store, missing, b"x" * 2_000_000),
        lambda: store.finish(missing, b"x", total=None, kind=""),
        lambda: store.finish(missing, None, total=None, kind=""),
        lambda: store.digest(missing),
        lambda: store.place(missing, "results/x.mp4", SHA),
        lambda: store.place(missing, "results/" + "x" * 300, SHA),
    ):
        with pytest.raises(StorageError) as caught:
            use()
        assert "nothing bought is lost" in caught.value.hint
    assert store.size(missing) == 0
    assert not store.holds("results/none", SHA)


def test_a_disk_that_takes_no_more_while_a_file_arrives(store: Artifacts) -> None:
    part = store.part(1, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StorageError, match="too large"):
            receive(store, part, b"x" * 2_000_000)
        with pytest.raises(StorageError, match="too large"):
            store.finish(part, b"x" * 100_000, total=None, kind="")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_results_that_would_land_elsewhere_are_told_before_anything_is_bought(store: Artifacts, tmp_path: Path) -> None:
    store.check(["spring"])
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "spring").symlink_to(tmp_path.parent)
    store.check(["autumn"])
    with pytest.raises(fs.Outside):
        store.check(["spring"])


@pytest.mark.parametrize("knows", [True, False])
def test_where_there_is_a_full_sync_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """macOS: fsync alone does not reach the disk. A file system that does not know it gets an fsync."""
    asked: list[str] = []

    def full(descriptor: int, command: int) -> None:
        asked.append(f"full {command}")
        if not knows:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fs, "_FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))
    fs.sync(tmp_path)
    assert asked == (["full 51"] if knows else ["full 51", "fsync"])


def test_what_was_doubtful_goes_with_the_name_also_after_a_crash(store: Artifacts, tmp_path: Path) -> None:
    """A kill between the naming and the tidying up: the next run finds the file named, and leaves no part behind."""
    doubtful = whole(store, content=VIDEO + b"more")
    assert not store.settle(doubtful, store.finish(doubtful, None, total=None, kind="video"))
    part = whole(store)
    sha256 = store.digest(part)
    assert store.name(part, "results/a/film.mp4", sha256, set())
    assert store.has_kept(part)
    assert store.adopt(part, "results/a/film.mp4", sha256)
    assert [path for path in (tmp_path / "results" / ".parts").rglob("*") if path.is_file()] == []
