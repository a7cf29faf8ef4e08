"""Fixtures of the terminal's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import DOUBT, MANIFEST, Cli, Ran, Site, go, site

from batcher.cli.app import main


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process repeat at once: here, where time is real, nobody asks after what time."""
    monkeypatch.setattr("batcher.lifecycle.steps.FIRST_SECONDS", 0.02)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process, in a folder of its own with the manifest `m.yaml`."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "RIVYA_API_KEY",
        "RIVYA_BASE_URL",
        "BATCHER_STATE",
        "BATCHER_LEDGER",
        "NO_COLOR",
        "FORCE_COLOR",
        "COLUMNS",
    ):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "m.yaml").write_text(MANIFEST)

    def run(*argv: str) -> Ran:
        capsys.readouterr()
        code = main(argv)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def place(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A simulator that the environment names."""
    with site() as found:
        go(found, monkeypatch)
        yield found


@pytest.fixture
def failed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Three films, and `DUNES_1` has failed."""
    with site(fail_prompt="watch on") as place:
        go(place, monkeypatch)
        assert cli("run", "m.yaml").code == 1
        yield place


@pytest.fixture
def doubtful(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """`REVEAL_1` is doubtful, though the API has it; the others are planned."""
    with site(faults=list(DOUBT)) as place:
        go(place, monkeypatch)
        assert cli("run", "m.yaml", "--only", "reveal", "--limit", "1").code == 1
        yield place
