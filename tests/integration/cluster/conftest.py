"""Fixtures of the cluster's tests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.cluster.helpers import Machines

from batcher.simulator.app import Simulator
from batcher.simulator.faults import Faults, parse_all
from batcher.simulator.media import plain
from batcher.simulator.serve import running
from batcher.simulator.switches import Switches
from batcher.simulator.world import World


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def machines(postgres: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Machines]:
    """A database and the simulator, with the faults of an indirect parameter."""
    world = World(now=time.time, wallet=100_000, switches=Switches(queue_seconds=(0, 0), run_seconds=(0, 0.05)))
    with running(Simulator(world, Faults(parse_all(getattr(request, "param", []))), plain(400))) as base_url:
        found = Machines(postgres, tmp_path, world, base_url)
        async with found.tables:
            yield found
