"""What holds for runs on virtual time."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that waits for hours looks once a second whether anybody wants something of it: half of what it costs.

    Tests in which somebody does set this themselves.
    """
    monkeypatch.setattr("batcher.engine.control.LOOK_SECONDS", 20.0)
