"""Fixtures of the post-mortem's tests. This machine's local time is an hour ahead of UTC."""

from __future__ import annotations

import pytest
from cli.conftest import cli, place
from core_helpers import Shelf
from report.conftest import an_hour_ahead, local_time, shelf
from support import Bench
from timeline.timeline_helpers import night

__all__ = ["Shelf", "cli", "local_time", "place", "shelf"]


@pytest.fixture(scope="session")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The night of timeline_helpers; only to be read."""
    with an_hour_ahead():
        return night(tmp_path_factory.mktemp("night"))
