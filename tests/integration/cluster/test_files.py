"""Results and references in a shared folder and in S3 (moto's server on loopback), as two workers use them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batcher.cluster.files import (
    REFERENCES,
    SharedArtifacts,
    SharedFiles,
    check_create,
    keeper,
    shared_files,
)
from batcher.errors import StorageError, UsageError
from batcher.jobs import FileReference
from batcher.storage import Sidecar

TARGET = "results/spring/rød #1 100%.mp4"
CONTENT = b"a film" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The endpoint of an S3 server with the bucket `films`; one request at a time, for S3 looks and puts at once."""
    server_of = pytest.importorskip("moto.server")
    import http.client

    one_at_a_time, answer = threading.Lock(), server_of.DomainDispatcherApplication.__call__

    def answer_alone(*words: Any) -> Any:
        with one_at_a_time:
            return answer(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_of.DomainDispatcherApplication, "__call__", answer_alone)
        server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        connection = http.client.HTTPConnection(host, port)
        connection.request("PUT", "/films")
        assert connection.getresponse().status == 200
        connection.close()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(params=["folder", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedFiles:
    if request.param == "folder":
        (tmp_path / "shared").mkdir()
        return shared_files(str(tmp_path / "shared"))
    environment = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    environment["ENDPOINT_URL"] = request.getfixturevalue("bucket")
    for name, value in environment.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return shared_files(f"s3://films/{tmp_path.name}")


def worker(tmp_path: Path, name: str, files: SharedFiles) -> SharedArtifacts:
    (tmp_path / name).mkdir(exist_ok=True)
    return SharedArtifacts(tmp_path / name, files)


def arrived(artifacts: SharedArtifacts, content: bytes = CONTENT) -> Path:
    part = artifacts.part(7, 0)
    assert artifacts.finish(part, content, total=len(content), kind="").sha256 == hashlib.sha256(content).hexdigest()
    return part


def test_a_result_is_put_once_and_adopted_by_its_bytes(tmp_path: Path, files: SharedFiles) -> None:
    one, two = worker(tmp_path, "one", files), worker(tmp_path, "two", files)
    assert not one.stands(TARGET)
    assert one.place(arrived(one), TARGET, SHA256)
    assert one.size(one.part(7, 0)) == 0
    assert two.stands(TARGET)
    assert two.holds(TARGET, SHA256)
    assert two.path(TARGET).read_bytes() == CONTENT
    # The first was killed before it recorded the file: who comes after it has no part, or one of its own.
    assert two.adopt(two.part(7, 0), TARGET, SHA256)
    assert two.place(arrived(two), TARGET, SHA256)
    # Another file of that name is never overwritten.
    assert not two.place(arrived(two, b"other"), TARGET, hashlib.sha256(b"other").hexdigest())
    assert not two.adopt(two.part(8, 0), TARGET, hashlib.sha256(b"other").hexdigest())
    assert one.holds(TARGET, SHA256)


def test_of_many_workers_at_once_one_puts_its_file(tmp_path: Path, files: SharedFiles) -> None:
    many = [worker(tmp_path, f"worker-{number}", files) for number in range(8)]
    contents = [b"take %d" % number for number in range(8)]
    parts = [arrived(each, content) for each, content in zip(many, contents, strict=True)]

    def put(number: int) -> bool:
        return many[number].place(parts[number], TARGET, hashlib.sha256(contents[number]).hexdigest())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(8)))
    assert won.count(True) == 1
    assert b"".join(files.chunks(TARGET)) == contents[won.index(True)]


def test_references_lie_there_by_hash(tmp_path: Path, files: SharedFiles) -> None:
    still = tmp_path / "still.png"
    still.write_bytes(CONTENT)
    reference = FileReference(still, SHA256, len(CONTENT), "image/png", "image")
    spool = tmp_path / "enrolling"
    keeper(files, spool)(reference)
    still.unlink()
    keeper(files, spool)(reference)  # it is there: the file is not needed any more
    artifacts = worker(tmp_path, "one", files)
    copy = artifacts.reference(still, SHA256)
    assert copy.read_bytes() == CONTENT
    copy.write_bytes(b"damaged")
    assert artifacts.reference(still, SHA256).read_bytes() == CONTENT
    assert not artifacts.reference(still, "0" * 64).exists()
    still.write_bytes(b"changed since the plan")
    with pytest.raises(UsageError, match="not the file any more"):
        keeper(files, spool)(FileReference(still, "1" * 64, 3, "image/png", "image"))
    assert files.size(f"{REFERENCES}/{'1' * 64}") is None


def test_sidecars_are_ours_or_left_alone(tmp_path: Path, files: SharedFiles) -> None:
    artifacts = worker(tmp_path, "one", files)
    assert artifacts.beside(TARGET, {"prompt": "a"}) is Sidecar.ALONE
    artifacts.place(arrived(artifacts), TARGET, SHA256)
    assert artifacts.beside(TARGET, {"prompt": "a"}) is Sidecar.WRITTEN
    assert artifacts.beside(TARGET, {"prompt": "a"}) is Sidecar.SAME
    assert artifacts.beside(TARGET, {"prompt": "b"}) is Sidecar.WRITTEN
    files.overwrite(b"somebody's", f"{TARGET}.json")
    assert artifacts.beside(TARGET, {"prompt": "b"}) is Sidecar.FOREIGN


def test_a_place_that_overwrites_is_refused(
    tmp_path: Path, files: SharedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_create(files, tmp_path, "one")
    check_create(files, tmp_path, "one")
    monkeypatch.setattr(type(files), "create", lambda *_: True)
    with pytest.raises(StorageError, match="overwrites files"):
        check_create(files, tmp_path, "two")


def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, files: SharedFiles) -> None:
    artifacts = worker(tmp_path, "one", files)
    part = arrived(artifacts)
    for target in ("../outside", "/etc/passwd", "results/../../x"):
        with pytest.raises(StorageError):
            artifacts.name(part, target, SHA256, set())


@pytest.mark.parametrize("place", ["state/results", "gs://bucket/x", "http://host/x", "s3:/bucket"])
def test_what_is_no_place_for_results(place: str) -> None:
    with pytest.raises(UsageError, match="BATCHER_RESULTS"):
        shared_files(place)


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is not there"):
        shared_files(str(tmp_path / "mount"))
    assert not (tmp_path / "mount").exists()


def test_an_s3_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.cluster.files._RETRY_SECONDS", 0)
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="s3://films/x") as told:
        shared_files("s3://films/x").size("a")
    assert "\n" not in told.value.message


def test_a_long_result_goes_there_in_pieces_and_is_put_once(
    tmp_path: Path, files: SharedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = 5 * 2**20  # S3 takes no smaller piece but the last one
    monkeypatch.setattr("batcher.cluster.files.PIECE_BYTES", least)
    content = bytes(least + 1)
    sha256 = hashlib.sha256(content).hexdigest()
    one, two = worker(tmp_path, "one", files), worker(tmp_path, "two", files)
    parts = [arrived(one, content), arrived(two, content)]
    with ThreadPoolExecutor(2) as pool:  # both are under way before either has the name
        assert sorted(pool.map(lambda part: files.create(part, TARGET), parts)) == [False, True]
    assert two.place(parts[1], TARGET, sha256)  # by its bytes
    assert not two.place(arrived(two, content[1:]), TARGET, hashlib.sha256(content[1:]).hexdigest())
    assert files.size(TARGET) == len(content)
    assert list(files.sizes("results/spring")) == ["rød #1 100%.mp4"]
    assert not files.sizes(".batcher/uploads")
    assert (one.look(TARGET, len(content)), one.look(TARGET, 7), one.look("results/other/a.mp4", 7)) == (
        *("", "changed"),
        "missing",
    )
