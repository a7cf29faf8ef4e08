"""A ledger with everything in it, and a command line in its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli.export.helpers import mixed
from cli.helpers import Cli, Ran
from support import Bench
from virtual_time import EPOCH, VirtualClock

from batcher.cli.app import main


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where everything happened; only to be copied."""
    folder = tmp_path_factory.mktemp("story")
    mixed(Bench(folder))
    return folder


@pytest.fixture
def bench(story: Path, tmp_path: Path) -> Bench:
    """Everything happened, but the API knows nothing of it."""
    made = Bench(tmp_path, clock=VirtualClock(EPOCH + 2 * 86400))
    shutil.copytree(story, tmp_path, dirs_exist_ok=True)
    return made


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """Run a command line in this process, beside the state folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("RIVYA_API_KEY", "RIVYA_BASE_URL", "BATCHER_STATE", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*argv: str) -> Ran:
        capfdbinary.readouterr()
        code = main(argv)
        out, err = capfdbinary.readouterr()
        return Ran(code, out.decode(), err.decode())

    return run
