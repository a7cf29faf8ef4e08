"""Fixtures of the tests of disks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from cli.helpers import Ran, Site, environment, site
from crash.disk.helpers import MANIFEST, Desk, Disk, rationed_disk, small_disk

from batcher.cli.app import main

Give = Callable[..., Ran]


@pytest.fixture(params=[small_disk, rationed_disk])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    make: Callable[[Path], AbstractContextManager[Disk]] = request.param
    with make(tmp_path) as found:
        yield found


@pytest.fixture
def any_disk(tmp_path: Path) -> Iterator[Disk]:
    """The best of the two that this machine has."""
    with ExitStack() as stack:
        try:
            found: Disk = stack.enter_context(small_disk(tmp_path))
        except pytest.skip.Exception:
            found = stack.enter_context(rationed_disk(tmp_path))
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, tmp_path / "state")


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Give:
    """Give a command line in this process, in a folder of its own with the manifest `m.yaml`."""
    monkeypatch.chdir(tmp_path)
    for name in ("RIVYA_API_KEY", "RIVYA_BASE_URL", "BATCHER_STATE", "NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "m.yaml").write_text(MANIFEST)

    def call(*argv: str) -> Ran:
        capsys.readouterr()
        code = main(argv)
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, give: Give) -> Iterator[Site]:
    """A simulator that the environment of this process names."""
    with site() as found:
        for name, value in environment(found).items():
            monkeypatch.setenv(name, value)
        yield found
