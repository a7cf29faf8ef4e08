"""A real run in a process of its own: watched, copied and exported meanwhile, then ended, killed or left alone."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import forking
from cli.helpers import MANIFEST, Cli, Site, clean, site
from cli.test_process import started, until

from batcher.text import moment


@contextmanager
def watching(folder: Path, first: str) -> Iterator[forking.Command]:
    """`batcher watch` in a process, which has said so and shown where the run stands."""
    with forking.started("watch", cwd=folder, env=clean()) as process:
        assert process.stderr
        assert process.stderr.readline().startswith(first)
        yield process


@contextmanager
def watching_on_a_terminal(folder: Path, shown: bytes) -> Iterator[tuple[forking.Command, int]]:
    """The same on a terminal, whose other end comes too; the live display has shown so much."""
    here, there = os.openpty()
    environ = clean(TERM="xterm-256color", COLUMNS="100")
    with open(there, "w") as stream, forking.started("watch", cwd=folder, env=environ, stderr=stream) as process:  # noqa: PTH123
        stream.close()
        seen = b""
        while shown not in seen:
            seen += os.read(here, 4096)
        yield process, here
    os.close(here)


def rest(terminal: int) -> bytes:
    """What is still written to a terminal, until nobody holds its other end."""
    found = b""
    while True:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # Linux says so; macOS gives nothing more
            return found
        if not more:
            return found
        found += more


@contextmanager
def going(folder: Path) -> Iterator[tuple[Site, forking.Command]]:
    """A run whose four jobs are with the API, and do not end before somebody puts the simulator's clock forward."""
    (folder / "m.yaml").write_text(MANIFEST.replace("every: 10ms, max: 50ms", "every: 100ms, max: 200ms"))
    with site(run_seconds=600) as place, ExitStack() as stack:
        with until(place, "status:answered"):
            process = stack.enter_context(started(folder, place, "--quiet"))
        # Jobs of one class go alone until its price is known, so wait until the ledger has them all.
        with closing(sqlite3.connect(folder / "state/ledger.db")) as db:
            while db.execute("SELECT count(*) FROM attempts WHERE task_id IS NOT NULL").fetchone()[0] < 4:
                with until(place, "status:answered"):
                    pass
        yield place, process


def test_watched_copied_and_exported_while_it_goes_on(tmp_path: Path, cli: Cli) -> None:
    with going(tmp_path) as (place, process), ExitStack() as stack:
        first = "tiny: 0/4 ("
        one, other = (stack.enter_context(watching(tmp_path, first)) for _ in range(2))
        third, terminal = stack.enter_context(watching_on_a_terminal(tmp_path, b"4 in flight"))
        now = cli("watch", "--once", "--json").document
        assert (now["running"]["pid"], now["run"]["ended_at"]) == (process.pid, None)
        assert (now["work"]["total"], now["work"]["ended"], now["work"]["in_flight"]) == (4, 0, 4)
        assert now["credits"] == {"held": 40, "settled": 0, "left": 0, "cap": "run"}
        ran = cli("watch", "--once")
        assert ran.out.startswith(first)
        assert ran.out.endswith(f"A run is going: pid {process.pid}, started {_started(tmp_path)}.\n")

        (tmp_path / "copy").mkdir()
        assert cli("export", "sqlite", "--output", "copy/ledger.db").code == 0
        assert len(cli("export", "attempts", "--format", "jsonl").out.splitlines()) == 4
        assert process.poll() is None

        other.send_signal(signal.SIGINT)
        out, err = other.communicate(timeout=30)
        assert (other.returncode, out) == (130, "")
        assert [line for line in err.splitlines() if " wallet 1,000: " not in line] == []
        third.send_signal(signal.SIGTERM)
        assert rest(terminal).rpartition(b"\x1b[?25")[2].startswith(b"h")  # the cursor is there again
        assert third.communicate(timeout=30)[0] == ""
        assert third.returncode == 143
        assert process.poll() is None
        place.clock.ahead = 3600
        out, err = one.communicate(timeout=30)
        assert process.wait(30) == 0
        assert one.returncode == 0
        assert out.startswith("tiny: 4/4 (4 done); credits: this run 40 settled, 0 held; 0 left (run)\n")
        assert out.endswith("ended with exit code 0: everything selected is done.\n")
        assert "Traceback" not in err
    _is_a_copy(tmp_path, cli)


def _started(folder: Path) -> str:
    return moment((folder / "state/run.lock").read_text().rpartition(" ")[2].strip())


def _is_a_copy(folder: Path, cli: Cli) -> None:
    """The copy is one private file that shows the ledger as it was then, and batcher reads it."""
    copy = folder / "copy/ledger.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert list(copy.parent.iterdir()) == [copy]
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert db.execute("SELECT sum(held), sum(settled) FROM spent").fetchone() == (40, 0)
        assert db.execute("SELECT count(*), sum(quoted_credits) FROM attempts").fetchone() == (4, 40)
        assert db.execute("SELECT count(*) FROM events WHERE event = 'saved'").fetchone() == (0,)
    found = cli("status", "--json", "--state", "copy").document
    assert found["credits"] == {"held": 40, "settled": 0, "doubtful": 0}


def test_the_end_of_a_run_that_is_killed_is_told(tmp_path: Path) -> None:
    with going(tmp_path) as (_, process), watching(tmp_path, "tiny: 0/4 (") as watcher:
        process.kill()
        process.wait(30)
        out, err = watcher.communicate(timeout=30)
    assert watcher.returncode == 0
    assert out.startswith("tiny: 0/4 (")
    assert out.endswith("was cut off; run it again to go on.\n")
    assert "Traceback" not in err
