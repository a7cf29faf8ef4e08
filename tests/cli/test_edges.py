"""Where and how a command is started: closed streams, a strange `.env`, an event loop, no threads, a broken install."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import BATCHER, MANIFEST, Cli, Site

from batcher import install
from batcher.__main__ import main
from batcher.cli import app, crash
from batcher.cli.environment import read_access
from batcher.errors import UsageError
from batcher.install import install_hint
from batcher.providers.registry import RIVYA


@pytest.mark.parametrize(
    ("closed", "words", "code"),
    [
        ("<&- >&- 2>&-", "validate m.yaml", 0),
        ("<&- >&- 2>&-", "validate missing.yaml --json", 2),
        (">&-", "--version", 0),
        ("<&- 2>&-", "plan m.yaml", 0),
    ],
)
def test_closed_streams(closed: str, words: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    command = f'"$@" {words} {closed}'
    environment = {"PATH": os.defpath, "LC_ALL": "xx_YY.nonsense", "TERM": "dumb"}
    ran = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *BATCHER],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(Path(app.__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code
    assert "Traceback" not in ran.stdout + ran.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"m.yaml"}


# bytes of .env, the key that it gives; None: an error that names it
DOTENV: dict[str, tuple[bytes, str | None]] = {
    "BOM, CRLF, export and quotes": (
        b'\xef\xbb\xbfexport RIVYA_API_KEY="a-key-of-mine"\r\nOTHER=1\r\n',
        "a-key-of-mine",
    ),
    "lines of others in another encoding": (b"NAME=caf\xe9\nRIVYA_API_KEY=a-key-of-mine\n", "a-key-of-mine"),
    "a key in another encoding": (b"RIVYA_API_KEY=caf\xe9-caf\xe9\n", None),
    "UTF-16": ("RIVYA_API_KEY=a-key-of-mine\n".encode("utf-16"), None),
    "binary": (b"\x7fELF\0\0\0\1", ""),
    "empty": (b"", ""),
}


@pytest.mark.parametrize("case", DOTENV)
def test_a_strange_env_file(case: str, cli: Cli, tmp_path: Path) -> None:
    data, key = DOTENV[case]
    (tmp_path / ".env").write_bytes(data)
    ran = cli("plan", "m.yaml", "--json")
    assert ran.code == (0 if key is not None else 2)
    assert key is not None or ".env" in ran.err or RIVYA.key_variable in ran.err
    assert "caf" not in ran.err
    if key is not None:
        assert (read_access(lambda _: None).key or "") == key


def test_an_env_file_that_somebody_put_here(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text(f"{RIVYA.key_variable}=a-key-of-another\n")
    mine = Path.stat

    def others(path: Path, **options: Any) -> os.stat_result:
        found = mine(path, **options)
        return os.stat_result([*found[:4], 12345, *found[5:]]) if path.name == ".env" else found

    monkeypatch.setattr(Path, "stat", others)
    with pytest.raises(UsageError, match="belongs to another user"):
        read_access(lambda _: None)
    monkeypatch.setenv(RIVYA.key_variable, "a-key-of-mine")
    assert read_access(lambda _: None).key == "a-key-of-mine"


def test_an_env_file_that_is_a_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert cli("plan", "m.yaml").code == 0


ASKING = ["run m.yaml", "--catalog . run m.yaml", "credits", "plan m.yaml --online", "doctor --online"]


@pytest.mark.parametrize("words", ASKING)
def test_an_event_loop_that_is_going(cli: Cli, place: Site, tmp_path: Path, words: str) -> None:
    async def notebook() -> None:
        ran = cli(*words.split())
        assert ran.code == 2
        assert "an event loop is going" in ran.err
        assert cli("plan", "m.yaml").code == 0

    asyncio.run(notebook())
    assert not (tmp_path / "state").exists()


def test_an_event_loop_that_is_going_beside_a_ledger(cli: Cli, place: Site) -> None:
    """What needs a ledger says so too; what only reads one does not mind."""
    assert cli("run", "m.yaml", "--quiet", "--limit", "1").code == 0

    async def notebook() -> dict[str, int]:
        return {words: cli(*words.split()).code for words in ("fetch", "report --online", "report", "status", "watch")}

    assert asyncio.run(notebook()) == {"fetch": 2, "report --online": 2, "report": 0, "status": 0, "watch": 0}


def test_no_threads(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", never)
        ran = cli("run", "m.yaml")
    assert ran.code != 0
    assert "Traceback" not in ran.err
    assert "no more threads" in ran.err
    assert cli("run", "m.yaml").code == 0
    assert len(place.world.oracle().tasks) == 4


def test_a_crash_is_told_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> str:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    (tmp_path / "file").write_text("")
    hint = crash.report(ValueError("x"), ["run", "--state", str(tmp_path / "file")]).hint
    assert hint.endswith("could not be written anywhere.")


def test_the_last_word_where_even_the_report_fails(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for error, what in (
        (ImportError("x", name="click"), "the module click cannot be loaded"),
        (MemoryError(), "MemoryError"),
        (ValueError("a-key-of-mine"), "ValueError"),
    ):

        def broken(_: object, error: Exception = error) -> int:
            raise error

        monkeypatch.setattr(app, "main", broken)
        monkeypatch.setattr(sys, "argv", ["batcher", "status"])
        assert main() == 1
        told = capfd.readouterr().err
        assert what in told
        assert "a-key-of-mine" not in told


# direct_url.json of the installation (None: it has none), sys.prefix, the hint
INSTALLED: dict[str, tuple[str | None, str, str]] = {
    "from the index": (None, "/venv", "pip install 'batcher-cli[report]'"),
    "in place": (
        '{"url": "file:///my%20clone", "dir_info": {"editable": true}}', "/venv", "pip install -e '/my clone[report]'"
    ),
    "from a folder": ('{"url": "file:///clone", "dir_info": {}}', "/venv", "pip install '/clone[report]'"),
    "from a repository": (
        '{"url": "https://x.example/b.git", "vcs_info": {}}', "/venv",
        "pip install 'batcher-cli[report] @ https://x.example/b.git'",
    ),
    "by pipx": (None, "/home/me/.local/pipx/venvs/batcher-cli", "pipx inject batcher-cli 'batcher-cli[report]'"),
    "by uv": (None, "/home/me/.local/share/uv/tools/batcher-cli", "uv tool install 'batcher-cli[report]'"),
}  # fmt: skip


@pytest.mark.parametrize("case", INSTALLED)
def test_hints_about_extras_fit_the_installation(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told, prefix, hint = INSTALLED[case]

    class Distribution:
        def read_text(self, _: str) -> str | None:
            return told

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Distribution())
    monkeypatch.setattr(sys, "prefix", prefix)
    assert install_hint("report") == hint


def test_the_hint_of_a_clone_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", none)
    assert install_hint("report").startswith("pip install -e ")


def test_nobody_is_sent_to_a_strangers_package() -> None:
    root = Path(install.__file__).parents[1]
    pages = [
        root / "README.md",
        root / "CHANGELOG.md",
        *(root / "docs").rglob("*.md"),
        *(root / "batcher").rglob("*.py"),
    ]
    assert [str(p) for p in pages if p.is_file() and "install 'batcher[" in p.read_text("utf-8")] == []


def test_init_says_what_the_simulator_needs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "install" not in cli("init", "a").out
    monkeypatch.setattr("batcher.cli.commands.init.missing_extra", lambda: ["av"])
    assert f"  {install_hint('simulator')}" in cli("init", "b").out
