"""What holds for all tests."""

from __future__ import annotations

import os
import random
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

#: A folder in memory, where this machine has one.
MEMORY = "/dev/shm"
SEED = os.environ.get("BATCHER_TEST_SEED", "0")  # see `support`
# The same examples each time, and no judgement of how long this machine takes for one.
settings.register_profile(
    "here", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")


def pytest_configure(config: pytest.Config) -> None:
    """Measure this process, not those that tests start: that would take long, and meet the faults meant for them.

    Those compile the package once, not each of them anew, which takes a third of what a short command takes.
    Thousands of small ledgers are made and thrown away: in memory that takes a third of the time.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if os.access(MEMORY, os.W_OK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)
    if hasattr(config, "workerinput"):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(autouse=True)
def same_each_time(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is left to chance comes out the same in each run of a test, here and on every machine.

    A ledger's id says how long the simulator takes for each task.
    """
    chance = random.Random(f"{SEED}/{request.node.nodeid}")
    ids = SimpleNamespace(token_hex=lambda size=32: chance.randbytes(size).hex())
    monkeypatch.setattr("batcher.ledger.store.writer.secrets", ids)
    # The list of ledgers is the user's: no test, and no process that one starts, reads or writes a real one.
    home = tmp_path_factory.getbasetemp() / "lists" / f"{random.Random(request.node.nodeid).getrandbits(64):x}"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
