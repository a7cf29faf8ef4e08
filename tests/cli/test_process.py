"""`batcher` as a process of its own: signals, the simulator of `--simulate`, closed pipes, what is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO

import forking
import pytest
from cli.helpers import BATCHER, MANIFEST, ROOT, Cli, Site, clean, environment, site


def run(folder: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BATCHER, *argv], cwd=folder, env=clean(**environ), capture_output=True, text=True, timeout=60, check=False
    )


def started(
    folder: Path,
    place: Site,
    *argv: str,
    stdout: int | IO[str] = subprocess.PIPE,
    stderr: int | IO[str] = subprocess.PIPE,
) -> AbstractContextManager[forking.Command]:
    env = clean(**environment(place))
    return forking.started("run", "m.yaml", *argv, cwd=folder, env=env, stdout=stdout, stderr=stderr)


@contextmanager
def until(place: Site, event: str, times: int = 1) -> Iterator[None]:
    """At the end of the block, wait until that has happened so many times at the API."""
    came, left = threading.Event(), [times]

    def heard(_: int, name: str) -> None:
        left[0] -= name == event
        if left[0] <= 0:
            came.set()

    place.app.on_event = heard
    yield
    assert came.wait(30)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "asked to end (SIGTERM)"),
        (signal.SIGHUP, 143, "the terminal was closed (SIGHUP)"),
    ],
)
def test_a_signal_ends_the_run_and_the_next_one_goes_on(
    cli: Cli, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    with site(run_seconds=600) as place, ExitStack() as stack:
        with until(place, "create:answered", times=4):
            process = stack.enter_context(started(tmp_path, place))
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == code
        assert f"{word}: no new job is started" in err
        assert f": {word}.\n" in out
        assert "go on with: batcher run m.yaml\n" in out
        last = cli("status", "--json").document["last_run"]
        assert (last["exit_code"], last["reason"]) == (code, word)
        bought = len(place.world.oracle().tasks)
        place.clock.ahead = 3600
        with started(tmp_path, place) as process:
            process.communicate()
        assert process.returncode == 0
        assert len(place.world.oracle().tasks) == 4 >= bought


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    slow: list[object] = [{"on": "create", "do": "delay", "seconds": 8}]
    with site(faults=slow) as place, ExitStack() as stack:
        with until(place, "create:arrived"):
            process = stack.enter_context(started(tmp_path, place))
        process.send_signal(signal.SIGTERM)
        assert process.stderr
        assert any("no new job is started" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130


def test_simulated_from_nothing_to_files_and_again(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("[watch, ring]", "[watch]").replace("first: 10ms", "first: 1s"))
    (tmp_path / "batcher").mkdir()
    (tmp_path / "batcher/__init__.py").write_text("raise SystemExit('a stranger')")
    words = ["run", "m.yaml", "--simulate", "--json", "--only", "reveal"]
    command = [sys.executable, "-P", "-m", "batcher", *words]
    first = subprocess.run(command, cwd=tmp_path, env=clean(), capture_output=True, text=True, timeout=60, check=False)
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert (found["simulated"], found["credits"]["settled"], found["files"]) == (True, 10, 1)
    (film,) = (tmp_path / "state/simulated/results/tiny").iterdir()
    assert film.read_bytes()[4:8] == b"ftyp"
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "state", tmp_path / "state/simulated")] == [0o700] * 2
    port = (tmp_path / "state/simulated/simulator/port").read_text()
    with forking.started(*words, cwd=tmp_path, env=clean()) as again:
        said, _ = again.communicate(60)
    assert json.loads(said)["credits"]["attempts"] == 0
    assert (tmp_path / "state/simulated/simulator/port").read_text() == port


def test_a_reader_that_goes_away_is_no_error(cli: Cli, place: Site, tmp_path: Path) -> None:
    assert cli("run", "m.yaml").code == 0
    for words in (["jobs"], ["jobs", "--json"], ["schema"], ["plan", "m.yaml"], ["status", "--state", "no", "--json"]):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w") as stream, forking.started(*words, cwd=tmp_path, env=clean(), stdout=stream) as process:  # noqa: PTH123
            stream.close()
            _, err = process.communicate(timeout=30)
        assert process.returncode == (7 if "no" in words else 0)
        assert "Traceback" not in err
        assert "BrokenPipe" not in err


def test_a_run_whose_streams_are_gone_still_ends_well(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    reader, writer = os.pipe()
    os.close(reader)
    with (
        site() as place,
        open(writer, "w") as gone,  # noqa: PTH123
        started(tmp_path, place, stdout=gone, stderr=gone) as process,
    ):
        assert process.wait(60) == 0
    assert len(list((tmp_path / "state/results/tiny").iterdir())) == 4


def imported(*argv: str, cwd: Path | None = None) -> set[str]:
    """Every module that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "batcher", *argv],
        cwd=cwd,
        env=clean(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def test_version_imports_next_to_nothing() -> None:
    found = imported("--version")
    assert "batcher" in found
    assert not found & {"click", "httpx2", "httpx", "pydantic", "jinja2", "rich", "yaml", "anyio"}
    assert run(ROOT, "--version").stdout.startswith("batcher ")


def test_looking_imports_nothing_for_buying(cli: Cli, place: Site, tmp_path: Path) -> None:
    assert cli("run", "m.yaml", "--limit", "0").code == 0
    for words in (["status"], ["jobs"], ["show", "a"]):
        found = imported(*words, cwd=tmp_path)
        assert "click" in found
        assert not found & {"httpx2", "httpx", "pydantic", "jinja2", "yaml", "anyio", "sqlite_utils"}, words


@pytest.mark.parametrize("stream", ["stdout", "stderr", "both"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a file that is always full")
def test_an_output_that_cannot_be_written_changes_no_exit_code_of_a_run(tmp_path: Path, stream: str) -> None:
    """A terminal that is gone and a full disk behind a log are not the ledger's trouble."""
    (tmp_path / "m.yaml").write_text(MANIFEST)
    with (
        site() as place,
        Path("/dev/full").open("w", encoding="utf-8") as full,
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
    ):
        out = full if stream != "stderr" else nowhere
        err = full if stream != "stdout" else nowhere
        with started(tmp_path, place, stdout=out, stderr=err) as process:
            assert process.wait(60) == 0
        assert len(place.world.oracle().tasks) == 4
        if stream != "both":
            return
        with forking.started("status", cwd=tmp_path, env=clean(), stdout=full) as process:
            _, said = process.communicate(60)
        assert (process.returncode, "Traceback" in said) == (7, False)
        assert "error: stdout: No space left on device" in said
    assert list((tmp_path / "state/logs").glob("crash-*")) == []
