"""What holds for kills and cancellations."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def few_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps have two jobs: more workers would only begin and end, a scheduling step each, in all of their runs."""
    if request.node.get_closest_marker("sweep"):
        monkeypatch.setattr("batcher.engine.engine._WORKERS", 2)
