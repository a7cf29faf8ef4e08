"""Fixtures of the cluster's tests."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.cluster.helpers import Cluster, Machines

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


@pytest.fixture
async def cluster(postgres: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    switches = Switches(queue_seconds=(0.1, 0.2), run_seconds=(0.2, 0.5))
    world = World(now=time.time, wallet=100_000, switches=switches)
    app = Simulator(world, Faults(parse_all(getattr(request, "param", []))), plain(400))
    with running(app) as base_url:
        found = Cluster(postgres, tmp_path, app, base_url)
        async with found.tables:
            yield found
