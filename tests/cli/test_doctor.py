"""`doctor`: what it looks at, what it says, how it ends; and that it never shows the key."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import DOUBT, Cli, Site, environment, site

from batcher.cli import checks
from batcher.cli.probe import Mount, from_mount, from_mountinfo, mount_of, try_out
from batcher.ledger import hold_lock
from batcher.ledger.queries import health
from batcher.ledger.store import schema
from batcher.simulator.switches import DEFAULT_KEY

Findings = dict[str, tuple[str, str]]


def examine(cli: Cli, code: int, *words: str) -> Findings:
    """Level and message of each check."""
    ran = cli("doctor", "--json", *words)
    found = {check["name"]: (check["level"], check["message"]) for check in ran.document["checks"]}
    assert ran.code == code == ran.document["exit_code"], found
    assert DEFAULT_KEY not in ran.out + ran.err
    return found


def edit(sql: str, *values: object) -> None:
    with closing(sqlite3.connect("state/ledger.db")) as ledger, ledger:
        ledger.execute(sql, values)


@pytest.fixture
def bought(cli: Cli, place: Site) -> Site:
    assert cli("run", "m.yaml").code == 0
    return place


def test_everything_is_in_order(cli: Cli, bought: Site, tmp_path: Path) -> None:
    ran = cli("doctor")
    assert ran.code == 0, ran.out
    assert ran.out.endswith("\n\nEverything is in order.\n")
    assert DEFAULT_KEY not in ran.out + ran.err
    found = examine(cli, 0)
    assert {level for level, _ in found.values()} <= {"ok", "note"}
    assert found["key"] == ("ok", "from the environment, fingerprint 9b265da21f6f")
    assert found["base URL"] == ("ok", f"{bought.base_url}, from the environment")
    assert found[".env"] == ("ok", "no key is taken from it")
    assert found["state folder"] == ("ok", f"{tmp_path}/state, private")
    assert found["disk"] == ("ok", "writing, flock, hard links and fsync work")
    assert found["ledger"] == ("ok", f"{schema.MIGRATIONS[-1][0]}, and SQLite finds it whole")
    assert found["sums"] == ("ok", "40 settled, 0 held; added up by hand they are the same")
    assert found["holds"] == ("ok", "0 attempts open, 0 credits held")
    assert found["doubtful"] == ("ok", "no job")
    assert found["run lock"] == ("ok", "free")
    assert found["part files"] == ("ok", "none")
    assert found["clock"][1].endswith("Z; nothing in the ledger is later")
    assert sqlite3.sqlite_version in found["versions"][1]
    assert list(Path("state").glob(".doctor*")) == []


def test_online(cli: Cli, bought: Site) -> None:
    before = len(bought.world.oracle().requests)
    found = examine(cli, 0, "--online")
    assert (found["wallet"], found["models"][0]) == (("ok", "960 credits"), "ok")
    assert len(bought.world.oracle().requests) == before + 2
    with closing(sqlite3.connect("state/ledger.db")) as ledger:
        kinds = ledger.execute("SELECT kind FROM sends ORDER BY id DESC LIMIT 2").fetchall()
        accounts = ledger.execute("SELECT DISTINCT account FROM sends").fetchall()
        bought_in = ledger.execute("SELECT account FROM accounts").fetchall()
    assert kinds == [("models",), ("credits",)], "in the send log, so the windows know of them"
    assert accounts == bought_in, "as the run's own requests, in the windows of their account"


def test_before_the_first_run(cli: Cli, place: Site) -> None:
    found = examine(cli, 0, "--online")
    assert found["state folder"][0] == found["ledger"][0] == "note"
    assert found["wallet"] == ("ok", "1,000 credits")
    assert not Path("state").exists()


def test_an_api_that_does_not_answer_as_it_should(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.catalog.model_ids", lambda: ["grok-imagine-video", "another"])
    found = examine(cli, 1, "--online")
    assert found["models"] == ("attention", "the API does not offer another, which this batcher's catalogue has")
    monkeypatch.setenv("RIVYA_API_KEY", "rvya_sk_wrong")
    found = examine(cli, 1, "--online")
    assert found["wallet"][0] == "attention"
    assert found["wallet"][1].startswith("api_key_invalid: ")
    place.world.switches.set({"outage": "errors"})
    assert examine(cli, 1, "--online")["models"][0] == "attention"


def test_without_a_key(cli: Cli) -> None:
    found = examine(cli, 1, "--online")
    assert found["key"] == ("attention", "RIVYA_API_KEY is not set")
    assert found["API"] == ("attention", "it cannot be asked without a key")
    ran = cli("doctor")
    assert "`run --simulate` needs none.\n" in ran.out
    assert ran.out.endswith("\n\n1 thing to look at.\n")


def test_a_key_from_a_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    env = Path(".env")
    env.write_text("RIVYA_API_KEY=secret-in-a-file\nRIVYA_BASE_URL=https://api.example\n")
    env.chmod(0o644)
    ran = cli("doctor", "--json")
    assert "secret-in-a-file" not in ran.out + ran.err
    found = examine(cli, 1)
    assert found[".env"] == ("attention", "it holds the key, and others on this machine may read it (mode 0644)")
    assert found["key"][1].startswith("from .env, fingerprint ")
    assert found["base URL"] == ("ok", "https://api.example, from .env")
    env.chmod(0o600)
    assert examine(cli, 0)[".env"] == ("ok", "it holds the key, for its owner only")
    monkeypatch.setenv("RIVYA_API_KEY", "another-key")
    found = examine(cli, 1)
    assert found["base URL"][0] == "attention"
    assert "RIVYA_BASE_URL in .env is ignored" in found["base URL"][1]


@pytest.mark.parametrize(("key", "base_url"), [("two words", "https://rivya.ai"), ("some-key", "http://rivya.ai")])
def test_an_access_that_cannot_be(cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, base_url: str) -> None:
    monkeypatch.setenv("RIVYA_API_KEY", key)
    monkeypatch.setenv("RIVYA_BASE_URL", base_url)
    assert examine(cli, 1, "--online")["access"][0] == "attention"


def test_without_the_extra_and_with_old_versions(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "missing_extra", lambda: ["av"])
    assert examine(cli, 0)["extras"] == ("note", "simulator: not installed (av)")
    monkeypatch.setattr(health, "SQLITE_NEEDED", (99, 0, 0))
    assert examine(cli, 7)["versions"][0] == "unusable"


# The state folder


def test_a_folder_that_others_may_look_into(cli: Cli, bought: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("state").chmod(0o755)
    assert "(mode 0755)" in examine(cli, 1)["state folder"][1]
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "belongs to another user" in examine(cli, 1)["state folder"][1]


def test_a_folder_that_cannot_be_looked_at(cli: Cli, place: Site) -> None:
    Path("file").write_text("")
    assert examine(cli, 7, "--state", "file/state")["state folder"] == ("unusable", "file/state: Not a directory")


def test_little_space(cli: Cli, bought: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10_000_000}))
    assert examine(cli, 1)["disk space"] == ("attention", "0.0 GB free")


@pytest.mark.parametrize(
    ("mount", "finding"),
    [
        (None, ("note", "the system does not say what it is")),
        (Mount("/mnt", "nfs4"), ("attention", "nfs4 at /mnt is on another machine")),
        (Mount("/", "apfs"), ("ok", "apfs at /, local")),
    ],
)
def test_the_file_system(
    cli: Cli, bought: Site, monkeypatch: pytest.MonkeyPatch, mount: Mount | None, finding: tuple[str, str]
) -> None:
    monkeypatch.setattr(checks, "mount_of", lambda _: mount)
    assert examine(cli, 1 if finding[0] == "attention" else 0)["file system"] == finding


def fails(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("place_", "name", "code", "what"),
    [
        (os, "link", 0, "hard links: Operation not permitted"),
        (os, "fsync", 7, "fsync: Operation not permitted; fsync of the folder: Operation not permitted"),
        (fcntl, "flock", 7, "flock: Operation not permitted"),
        (tempfile, "TemporaryDirectory", 7, "writing: Operation not permitted"),
    ],
)
def test_what_the_disk_cannot_do(
    cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch, place_: Any, name: str, code: int, what: str
) -> None:
    Path("state").mkdir(mode=0o700)
    monkeypatch.setattr(place_, name, fails(errno.EPERM))
    found = examine(cli, code)
    assert found["disk"] == ("unusable" if code else "note", what)


def test_locks_that_do_not_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert try_out(tmp_path) == {"flock": "two locks were given for one file"}


def test_mounts_of_linux() -> None:
    text = (
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "30 22 0:40 / /mnt/my\\040disk rw - nfs4 server:/x rw\n"
        "31 22 0:41 / /mnt rw - fuse.sshfs a@b:/ rw\n"
        "nonsense\n"
    )
    found = from_mountinfo(text)
    assert found == [Mount("/", "ext4"), Mount("/mnt/my disk", "nfs4"), Mount("/mnt", "fuse.sshfs")]
    assert [mount.remote for mount in found] == [False, True, True]


def test_mounts_of_macos() -> None:
    text = "/dev/disk3s1 on / (apfs, sealed, local)\n//a@b/c on /Volumes/my disk (smbfs, nodev)\nmap auto_home\n"
    found = from_mount(text)
    assert found == [Mount("/", "apfs"), Mount("/Volumes/my disk", "smbfs")]
    assert [mount.remote for mount in found] == [False, True]


def test_the_mount_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mount_of(tmp_path) is not None
    done = subprocess.CompletedProcess([], 0, f"a on / (apfs)\nb on {tmp_path} (hfs)\nc on {tmp_path} (nfs)\n", "")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert mount_of(tmp_path / "below") == Mount(str(tmp_path), "nfs"), "the last one covers the others"
    done.stdout = ""
    assert mount_of(tmp_path) is None
    monkeypatch.setattr(subprocess, "run", fails(errno.ENOENT))
    assert mount_of(tmp_path) is None


# The ledger


def test_a_ledger_that_is_none(cli: Cli, place: Site) -> None:
    Path("state").mkdir(mode=0o700)
    Path("state/ledger.db").write_bytes(b"nonsense " * 1000)
    level, message = examine(cli, 7)["ledger"]
    assert (level, "not a database" in message) == ("unusable", True)
    ran = cli("doctor", "--online")
    assert ran.code == 7
    assert "keep the damaged file." in ran.out
    assert ran.out.endswith("1 thing to look at.\n")


def test_a_damaged_ledger(cli: Cli, bought: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = health.Health(("version_1",), older=False, damage=("row 3 missing from index",))
    monkeypatch.setattr(health, "look", lambda *_, **__: damaged)
    assert examine(cli, 7)["ledger"] == ("unusable", "it is damaged: row 3 missing from index")


def test_older_newer_and_empty_ledgers(cli: Cli, bought: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    known = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", (*known, ("version_99", "SELECT 1;")))
    level, message = examine(cli, 1)["ledger"]
    assert (level, message) == ("attention", f"it is of an older version ({', '.join(name for name, _ in known)})")
    monkeypatch.setattr(schema, "MIGRATIONS", ())
    level, message = examine(cli, 7)["ledger"]
    assert (level, "newer version" in message) == ("unusable", True)
    monkeypatch.undo()


def test_an_empty_ledger(cli: Cli, place: Site) -> None:
    Path("state").mkdir(mode=0o700)
    Path("state/ledger.db").touch()
    level, message = examine(cli, 7)["ledger"]
    assert (level, "it has lost what it held" in message) == ("unusable", True)


def test_a_ledger_that_cannot_be_written(cli: Cli, bought: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    ran = cli("doctor")
    assert ran.code == 7
    assert "state/ledger.db cannot be written" in ran.out


def test_doubtful_jobs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(faults=list(DOUBT)) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        cli("run", "m.yaml", "--only", "reveal", "--limit", "1")
    assert examine(cli, 1)["doubtful"] == ("attention", "1 job in doubt, 10 credits held: 2f750cf74004")
    assert "Decide: batcher resolve 2f750cf74004 --as submitted" in cli("doctor").out


def test_sums_holds_and_clock(cli: Cli, bought: Site) -> None:
    edit("UPDATE spent SET settled = settled + 1")
    level, message = examine(cli, 1)["sums"]
    assert (level, message[:56]) == ("attention", "the kept sums differ from the attempts' in: run 1, tiny,")
    edit("UPDATE attempts SET final_credits = NULL WHERE id = 1")
    edit("UPDATE wanted SET status = 'failed' WHERE attempt_id = 1")  # a success may wait for its price
    assert examine(cli, 1)["holds"] == ("attention", "1 attempt hold credits for jobs that are at their end")
    edit("UPDATE events SET at = '2999-01-01T00:00:00.000000Z' WHERE id = 1")
    assert examine(cli, 1)["clock"][1].startswith("the ledger has something of 2999-01-01")


def test_the_lock(cli: Cli, bought: Site, tmp_path: Path) -> None:
    edit("UPDATE runs SET ended_at = NULL")
    assert examine(cli, 0)["run lock"] == ("note", "free; the last run was cut off")
    with hold_lock(tmp_path / "state", started="2026-01-02T03:04:05Z"):
        level, message = examine(cli, 0)["run lock"]
        assert level == "note"
        assert message.startswith(f"a run is going: pid {os.getpid()}")
        Path("state/run.lock").write_text("")
        assert examine(cli, 0)["run lock"] == ("note", "a run is going: just starting")


def test_part_files(cli: Cli, bought: Site) -> None:
    edit("UPDATE files SET saved_at = NULL WHERE attempt_id = 1")
    folder = Path("state/results/.parts")
    folder.mkdir(exist_ok=True)
    (folder / "1-0.part").write_text("half a film")
    assert examine(cli, 0)["part files"] == ("ok", "1 download to go on with")
    (folder / "2-0.part").write_text("whole, long ago")
    (folder / "strange").write_text("")
    level, message = examine(cli, 1)["part files"]
    assert (level, message) == ("attention", "2 parts of downloads that nobody goes on with: 2-0.part, strange")
