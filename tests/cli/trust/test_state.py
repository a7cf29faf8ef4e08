"""A state folder that came with a clone: links, names of a ledger and programs in it touch nothing outside of it."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from integration.lifecycle.helpers import manifest
from support import Bench

from batcher import fs, simulated
from batcher.cli.app import main
from batcher.errors import StorageError
from batcher.report.html.gallery import Links
from batcher.state import keep_log
from batcher.storage import Artifacts

PROGRAM = b"#!/bin/sh\necho pwned\n"
PRECIOUS = b"precious\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ledger_says(bench: Bench, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(bench.ledger_path)) as ledger, ledger:
        ledger.execute(sql, values)


def part_of(bench: Bench) -> Path:
    folder = bench.state / "results/.parts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "1-0.part"


def linked_part(bench: Bench, outside: Path) -> None:
    part_of(bench).symlink_to(outside / "precious")


def hard_linked_part(bench: Bench, outside: Path) -> None:
    os.link(outside / "precious", part_of(bench))


def hard_linked_part_to_go_on_with(bench: Bench, outside: Path) -> None:
    hard_linked_part(bench, outside)
    ledger_says(bench, "UPDATE files SET validator = '\"e\"'")


def linked_parts(bench: Bench, outside: Path) -> None:
    (bench.state / "results").mkdir(exist_ok=True)
    (bench.state / "results/.parts").symlink_to(outside)


def linked_results(bench: Bench, outside: Path) -> None:
    (bench.state / "results").symlink_to(outside)


def linked_campaign(bench: Bench, outside: Path) -> None:
    (bench.state / "results").mkdir(exist_ok=True)
    (bench.state / "results/spring").symlink_to(outside)


def shipped(bench: Bench, target: str) -> None:
    """A whole part file, and a row that says where it belongs."""
    part = part_of(bench)
    part.write_bytes(PROGRAM)
    part.chmod(0o755)
    digest = hashlib.sha256(PROGRAM).hexdigest()
    ledger_says(bench, "UPDATE files SET target = ?, sha256 = ?, size = ?", target, digest, len(PROGRAM))


def target_with_dots(bench: Bench, outside: Path) -> None:
    shipped(bench, f"../{outside.name}/hook")


def target_with_dots_later(bench: Bench, outside: Path) -> None:
    shipped(bench, f"results/../../{outside.name}/hook")


def absolute_target(bench: Bench, outside: Path) -> None:
    shipped(bench, str(outside / "hook"))


def target_in_a_linked_folder(bench: Bench, outside: Path) -> None:
    (bench.state / "results").mkdir(exist_ok=True)
    (bench.state / "results/deep").symlink_to(outside)
    shipped(bench, "results/deep/hook")


def target_beside_the_ledger(bench: Bench, outside: Path) -> None:
    del outside
    shipped(bench, "ledger.db-wal.new")


def file_name_with_dots(bench: Bench, outside: Path) -> None:
    ledger_says(bench, "UPDATE wanted SET file_name = ?", f"../../../{outside.name}/x")


def shipped_program(bench: Bench, outside: Path) -> None:
    del outside
    shipped(bench, "results/spring/hook")


ATTACKS: list[Callable[[Bench, Path], None]] = [
    *(linked_part, hard_linked_part, hard_linked_part_to_go_on_with, linked_parts, linked_results, linked_campaign),
    *(target_with_dots, target_with_dots_later, absolute_target, target_in_a_linked_folder, target_beside_the_ledger),
    *(file_name_with_dots, shipped_program),
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_outside_of_the_state_folder_is_touched(bench: Bench, attack: Callable[[Bench, Path], None]) -> None:
    outside = bench.folder / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(PRECIOUS)
    bench.run(manifest(bench, "Boat", more="results: {download: false}\n"))
    attack(bench, outside)
    bench.switches.etags = "none"  # else a part file without a known validator is dropped unseen
    with suppress(StorageError):
        bench.run(manifest(bench, "Boat"))
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_bytes() == PRECIOUS
    for path in bench.state.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".part":
            assert not path.stat().st_mode & 0o111, path
    for job in bench.jobs():
        assert job["result_path"] is None or fs.leads_inside(bench.state, job["result_path"])


@pytest.mark.parametrize(
    "target", ["../x.mp4", "/etc/passwd", "results/../../x", "results/out/x", "results/link.mp4", ""]
)
def test_a_path_that_leads_out_is_not_shown(
    bench: Bench, target: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(manifest(bench, "Boat"))
    (bench.folder / "out").mkdir()
    (bench.folder / "out/x").write_bytes(PRECIOUS)
    (bench.state / "results/out").symlink_to(bench.folder / "out")
    (bench.state / "results/link.mp4").symlink_to(bench.folder / "out/x")
    ledger_says(bench, "UPDATE files SET target = ?", target)
    monkeypatch.chdir(bench.folder)
    assert main(["results", "spring", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == []
    assert Links.between(bench.state, bench.folder / "page.html").to(target) is None
    if "link" not in target and "out/x" not in target:
        for words in (["jobs", "--json"], ["export", "files"], ["show", bench.jobs()[0]["id"], "--json"]):
            main(words)
            assert target == "" or target not in capsys.readouterr().out, words


@pytest.mark.parametrize(
    ("text", "below"),
    [
        *((text, False) for text in ("", "/", "/x", "..", "../x", "a/../b", "a/..", ".", "a\0b")),
        *((text, True) for text in ("a", "a/b", "a..b", "..a", "results/x.mp4", "./a", "a//b")),
    ],
)
def test_what_is_below_a_folder_by_its_words(text: str, below: bool) -> None:
    assert fs.is_below(text) is below


def test_logs_and_sidecars_do_not_follow_links_out_of_the_folder(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    outside.mkdir()
    (state / "results").mkdir(parents=True)
    (state / "logs").symlink_to(outside)
    (state / "results/spring").symlink_to(outside)
    with pytest.raises(StorageError, match="leads out of the folder"):
        keep_log(state, "run-1.txt", "text")
    with pytest.raises(StorageError, match="leads out of the folder"):
        Artifacts(state).beside("results/spring/x.mp4", {})
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, os.symlink) for name in ("", "port", "log.txt", "uploads", "uploads/0a.part", "media/deep/x")),
        *((name, os.link) for name in ("port", "log.txt", "journal.jsonl", "uploads/0a")),
        *((name, lambda _, path: os.mkfifo(path)) for name in ("port", "log.txt")),
    ],
)
def test_the_simulator_gets_no_folder_that_leads_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: Callable[[Path, Path], None]
) -> None:
    monkeypatch.setattr(simulated, "_start", lambda *_: pytest.fail("it was started"))
    (tmp_path / "precious").write_bytes(PRECIOUS)
    planted = tmp_path / "state/simulator" / name
    planted.parent.mkdir(parents=True)
    how(tmp_path / "precious" if name else tmp_path, planted)
    with pytest.raises(fs.Outside, match="simulator"), simulated.running(tmp_path / "state"):
        pass
    assert (tmp_path / "precious").read_bytes() == PRECIOUS


def test_a_mounted_folder_is_no_link_and_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results on another disk: no hard link leads there, so a synced copy gets the name."""
    state = tmp_path / "state"
    store = Artifacts(state)
    store.check(["spring"])

    def other_disk(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link", str(source), None, str(target))

    monkeypatch.setattr(os, "link", other_disk)
    for n in range(2):
        part = store.part(n, 0)
        part.write_bytes(PROGRAM)
        assert store.place(part, f"results/spring/{n}.mp4", hashlib.sha256(PROGRAM).hexdigest())
    taken = store.part(3, 0)
    taken.write_bytes(PRECIOUS)
    assert not store.place(taken, "results/spring/1.mp4", hashlib.sha256(PRECIOUS).hexdigest())
    assert {path.name: path.read_bytes() for path in (state / "results/spring").iterdir()} == {
        "0.mp4": PROGRAM,
        "1.mp4": PROGRAM,
    }


def test_a_name_on_another_disk(tmp_path: Path) -> None:
    """As above with two disks, where this machine has them."""
    disks = [path for path in map(Path, ("/dev/shm", "/tmp", "/var/tmp")) if os.access(path, os.W_OK)]
    other = next((path for path in disks if path.stat().st_dev != tmp_path.stat().st_dev), None)
    if other is None:
        pytest.skip("no second file system that can be written")
    part = tmp_path / "1-0.part"
    part.write_bytes(PROGRAM)
    with TemporaryDirectory(dir=other) as folder:
        target = Path(folder) / "boat.mp4"
        fs.link(part, target)
        assert target.read_bytes() == PROGRAM
        part.write_bytes(PRECIOUS)
        with pytest.raises(FileExistsError):
            fs.link(part, target)
        assert {path.name: path.read_bytes() for path in Path(folder).iterdir()} == {"boat.mp4": PROGRAM}
