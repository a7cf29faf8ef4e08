"""What tests share: virtual time, the simulator without sockets, and one run composed as the command does it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import anyio
import httpx2 as httpx
from virtual_time import VirtualClock

from batcher.engine import Ending, Engine
from batcher.ledger import LedgerReader, LedgerWriter, Observer
from batcher.ledger.queries.lookup import Place
from batcher.lifecycle.group_commit import inline
from batcher.planning import Plan
from batcher.providers import Provider
from batcher.providers.rivya import Rivya
from batcher.run import Loop, Run, RunRequest
from batcher.settings import Selection
from batcher.simulator.app import ConnectionCut, Simulator
from batcher.simulator.journal import Journal
from batcher.simulator.switches import Switches
from batcher.simulator.world import World
from batcher.state import open_reader
from batcher.storage import Artifacts
from batcher.workload import Workload, prepare

KEY = "rvya_sk_simulated"
BASE_URL = "http://127.0.0.1:8"
EVERYTHING = Selection()

PIXEL = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
)


class SimulatedApi(httpx.AsyncBaseTransport):
    """The simulator as a transport without sockets; `before` and `after` see each request and may raise.

    `arrived` sees it with its body, which has been sent by then.
    """

    def __init__(self, app: Simulator) -> None:
        self.inner = httpx.ASGITransport(app=app)
        self.before: Callable[[httpx.Request], None] = lambda request: None
        self.arrived: Callable[[httpx.Request], None] = lambda request: None
        self.after: Callable[[httpx.Request], None] = lambda request: None
        self.seconds = 0.05

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(self.seconds)
        self.before(request)
        await request.aread()
        self.arrived(request)
        try:
            response = await self.inner.handle_async_request(request)
        except ConnectionCut as cut:
            await anyio.sleep(self.seconds)
            raise httpx.ReadError(str(cut), request=request) from cut
        self.after(request)
        await anyio.sleep(self.seconds)
        return response


def edit(ledger: Path, sql: str, *values: Any) -> None:
    """Change a ledger by hand, as a person with another program does."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute(sql, values)


class Killed(BaseException):
    """What `kill -9` is to a process."""


class Looked(Run):
    """A run whose engine a test gets to see."""

    look: Callable[[Engine], Any] = staticmethod(lambda engine: None)

    def compose(self, provider: Provider) -> Engine:
        engine = super().compose(provider)
        self.look(engine)
        return engine


@dataclass
class Bench:
    """A state folder, a simulated API and a clock; `run` is one run of batcher over a manifest."""

    folder: Path
    clock: VirtualClock = field(default_factory=VirtualClock)
    switches: Switches = field(default_factory=Switches)
    wallet: int = 100_000
    world_type: type[World] = World
    journal: Journal | None = None
    until: float | None = None
    unpriced: int | None = None
    unchecked: bool = False
    client: Callable[..., Provider] = Rivya
    key: str = KEY
    ledger_type: type[LedgerWriter] = LedgerWriter
    #: makes the connections of its ledger
    connection: type[sqlite3.Connection] = sqlite3.Connection

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.world = self.world_type(
            now=self.clock.wall, seed=7, wallet=self.wallet, switches=self.switches, journal=self.journal
        )
        self.app = Simulator(self.world)
        self.api = SimulatedApi(self.app)
        self.observe: Observer = lambda change: None
        self.running: Run | None = None

    @property
    def ledger_path(self) -> Path:
        return self.state / "ledger.db"

    def provider(self) -> Provider:
        return self.client(BASE_URL, self.key, self.clock, transport=self.api)

    def write(self, text: str, name: str = "manifest.yaml") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def workload(self, *paths: Path, selection: Selection = EVERYTHING) -> Workload:
        return replace(prepare(paths, unpriced=self.unpriced, unchecked=self.unchecked), selection=selection)

    def plan(self, *paths: Path, selection: Selection = EVERYTHING) -> Plan:
        reader = open_reader(self.state)
        try:
            workload = self.workload(*paths, selection=selection)
            return workload.plan(reader, self.provider().account.text, {}, now=self.clock.wall())
        finally:
            if reader:
                reader.close()

    @contextmanager
    def connected(self) -> Iterator[Provider]:
        yield self.provider()

    def request(self, *paths: Path, selection: Selection = EVERYTHING, buys: bool = True) -> RunRequest:
        return RunRequest(
            self.workload(*paths, selection=selection),
            self.state,
            self.connected,
            account=self.provider().account.text,
            place=Place.LOOPBACK,
            redact=lambda text: text.replace(KEY, "[key]"),
            until=self.until,
            buys=buys,
        )

    def make(self, request: RunRequest, *observers: Observer) -> Looked:
        """The command's own run, on virtual time."""
        self.running = Looked(
            request,
            observers=[lambda change: self.observe(change), *observers],
            clock=self.clock,
            rng=random.Random(1),
            offload=inline,
            open_ledger=partial(self.ledger_type.open, factory=self.connection),
        )
        return self.running

    def run(
        self,
        *paths: Path,
        selection: Selection = EVERYTHING,
        engine: Callable[[Engine], Any] = lambda engine: None,
        loop: Loop | None = None,
        buys: bool = True,
    ) -> Ending:
        """One run as the command does it; `engine` gets to see the engine before it begins."""
        run = self.make(self.request(*paths, selection=selection, buys=buys))
        run.look = engine
        with run:
            return run.execute(loop=loop or self.clock.run).ending

    def kill(self) -> NoReturn:
        """Have the running process gone: nothing is written after that."""
        assert self.running is not None
        self.running.ledger.close()
        raise Killed

    @contextmanager
    def reader(self) -> Iterator[LedgerReader]:
        reader = LedgerReader.open(self.ledger_path)
        try:
            yield reader
        finally:
            reader.close()

    def edit(self, sql: str, *values: Any) -> None:
        edit(self.ledger_path, sql, *values)

    def jobs(self) -> list[dict[str, Any]]:
        with self.reader() as reader:
            return [dict(row) for row in reader.rows("SELECT * FROM jobs ORDER BY campaign, position")]

    def check(self, *, files: bool = True, limits: bool = True) -> None:
        """The ledger tells the simulator's truth: each job charged once, sums equal, files whole, nothing forbidden.

        Without `limits`, the API may have said "too many": nobody had stated its limit.
        """
        oracle = self.world.oracle()
        assert [v for v in oracle.violations if limits or v.what != "rate_limited"] == []
        assert all(len(charges) == 1 for charges in oracle.charges.values()), oracle.charges
        jobs = [job for job in self.jobs() if job["attempt"]]
        ours = {job["idempotency_key"]: job["task_id"] for job in jobs if job["task_id"]}
        with self.reader() as reader:
            attempts = [dict(r) for r in reader.rows("SELECT idempotency_key, task_id FROM attempts")]
            committed = reader.spent()
            by_hand = reader.row(
                "SELECT coalesce(sum(coalesce(final_credits, 0)), 0), coalesce(sum(CASE WHEN final_credits IS NULL"
                " THEN hold_credits END), 0) FROM attempts"
            )
        assert by_hand is not None
        assert (committed.settled, committed.held) == tuple(by_hand)
        assert {a["idempotency_key"] for a in attempts if a["task_id"]} == set(oracle.charges)
        assert committed.settled == sum(t.final for t in oracle.tasks.values())
        assert {oracle.tasks[task].key: task for task in ours.values()} == ours
        for job in jobs if files else []:
            if job["status"] == "succeeded":
                assert job["result_path"], job
                assert Artifacts(self.state).holds(job["result_path"], job["result_sha256"])
        assert not list(self.state.glob("results/.parts/*")) or not files
