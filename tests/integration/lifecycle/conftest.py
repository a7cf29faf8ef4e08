"""A bench for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Bench

from batcher.simulator.switches import Switches


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    # Tasks end before they are asked for the second time, unless a test says otherwise: most polls find nothing new.
    return Bench(tmp_path, switches=Switches(queue_seconds=(0.1, 0.3), run_seconds=(0.3, 0.6)))
