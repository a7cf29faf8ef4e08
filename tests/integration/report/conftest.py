"""Fixtures of the reports' tests. This machine's local time is an hour ahead of UTC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.conftest import cli, place
from core_helpers import Shelf
from integration.report.helpers import story
from support import Bench

__all__ = ["cli", "place"]


@contextmanager
def an_hour_ahead() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "AAA-1")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True, scope="module")
def local_time() -> Iterator[None]:
    with an_hour_ahead():
        yield


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The story of the reports' helpers; only to be read."""
    with an_hour_ahead():
        return story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    (tmp_path / "state").mkdir()
    shelf = Shelf(tmp_path / "state" / "ledger.db")
    yield shelf
    shelf.ledger.close()
