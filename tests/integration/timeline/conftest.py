"""Fixtures of the post-mortem's tests. This machine's local time is an hour ahead of UTC."""

from __future__ import annotations

import pytest
from cli.conftest import cli, place
from core_helpers import Shelf
from integration.report.conftest import an_hour_ahead, local_time, shelf
from integration.timeline.helpers import night
from support import Bench

__all__ = ["Shelf", "cli", "local_time", "place", "shelf"]


@pytest.fixture(scope="session")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The night of the post-mortem's helpers; only to be read."""
    with an_hour_ahead():
        return night(tmp_path_factory.mktemp("night"))
