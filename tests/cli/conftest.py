"""Fixtures of the terminal's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Ran, Site, environment, site

from batcher.cli.app import main


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process, in a folder of its own with the manifest `m.yaml`."""
    monkeypatch.chdir(tmp_path)
    for name in ("RIVYA_API_KEY", "RIVYA_BASE_URL", "BATCHER_STATE", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
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
        for name, value in environment(found).items():
            monkeypatch.setenv(name, value)
        yield found
