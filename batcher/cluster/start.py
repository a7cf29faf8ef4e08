"""Starting a run that goes on by itself: its jobs into the database, its references where workers find them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import anyio

from batcher import __version__
from batcher.canary import NO_CONDITION, CanaryStep, GoOnCondition
from batcher.damage import find_damage
from batcher.engine import Ending
from batcher.enrolling import begin_enrolment
from batcher.errors import BatcherError, Kind, StorageError, exit_code
from batcher.jobs import Account, FileReference, JobSpec
from batcher.ledger import Caps, LedgerReader, approvals, traces
from batcher.ledger.queries import jobs
from batcher.ledger.queries.lookup import Place
from batcher.planning import Plan
from batcher.providers import Provider
from batcher.request import RunOutcome, RunRequest, run_settings
from batcher.settings import Settings, buying_time
from batcher.storage import RESULTS
from batcher.workload import Workload

from .coordinator import LOOK_SECONDS, ending_of
from .files import SharedArtifacts, SharedFiles, keeper
from .mirror import pull
from .postgres import shown
from .runs import ClusterTables
from .spec import RunSpec
from .store import PostgresLedger

#: The lease of a command that ends a run itself, in seconds.
_ENDING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A run that is to go on by itself; `spool` is a folder of this machine for copies of references,
    `mirror` the ledger's mirror.

    Unless it `buys`, it only goes on with what is bought, and holds saved files against their hashes. `then` and
    `decide` are as of RunRequest; who decides is asked where the run is followed. `approved`: its saved plan's approval
    is used up by it. `followed`: see RunSpec. `accept_old`: a person accepts that the ledger does not know of
    results that are there.
    """

    workload: Workload
    conninfo: str
    account: Account
    place: Place
    results: str
    files: SharedFiles
    spool: Path
    mirror: Path
    download: bool = True
    until: float | None = None
    buys: bool = True
    then: GoOnCondition = NO_CONDITION
    decide: Callable[[CanaryStep], Awaitable[str]] | None = None
    approved: bool = False
    followed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accept_old: bool = False
    allow_net: tuple[str, ...] = ()


class Start:
    """Plans a run over a ledger on PostgreSQL (`plan`) and lets it go on by itself (`begin`)."""

    def __init__(self, request: StartRequest) -> None:
        self._request = request
        self.conninfo = request.conninfo
        self._begun = time.monotonic()
        self._mirror = request.mirror
        self.ledger = PostgresLedger.connect(request.conninfo)
        try:
            self.ledger.belong(request.place)
            pull(request.conninfo, self._mirror)
            with closing(LedgerReader.open(self._mirror)) as read:
                self._workload = request.workload.resumed(read)
                self._unchanged = self._workload.unchanged(read)
                now = self.ledger.clock.wall()
                self.plan: Plan = self._workload.plan(read, request.account.text, self._unchanged, now=now)
                self._settings = self._workload.settings
                self._settings = replace(self._settings, download=self._settings.download and request.download)
                self.found = find_damage(
                    read,
                    SharedArtifacts(request.spool, request.files),
                    self._workload.campaigns,
                    self._settings,
                    self._workload.selection,
                    thorough=not request.buys,
                )
        except BaseException:
            self.ledger.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()

    @property
    def campaigns(self) -> Sequence[str]:
        return self._workload.campaigns

    async def begin(self, tables: ClusterTables) -> int:
        """Enrol the jobs and start the run; its number. A crash before its end leaves nothing that buys."""
        request, workload, settings = self._request, self._workload, self._settings
        caps = workload.caps(self.plan, settings, buying_time(settings, self.ledger.clock.wall(), request.until))
        if request.approved:
            assert workload.saved is not None, "only a saved plan is approved"
            approvals.use(self.ledger, workload.saved.id)
        run_id = self.ledger.start_run(
            version=__version__,
            pid=os.getpid(),
            account=request.account.text,
            campaigns=workload.campaigns,
            settings=json.dumps(run_settings(workload, self.plan, settings, caps)),
        )
        try:
            await self._enrol(tables, run_id, settings, caps)
        except BaseException as error:
            kind = error.kind if isinstance(error, BatcherError) else Kind.UNFINISHED
            with suppress(BatcherError):
                self.ledger.end_run(exit_code=exit_code(kind), reason=f"it could not be started: {error}"[:500])
            raise
        return run_id

    async def _enrol(self, tables: ClusterTables, run_id: int, settings: Settings, caps: Caps) -> None:
        request, workload = self._request, self._workload
        keep = keeper(request.files, request.spool)

        def each(spec: JobSpec) -> None:
            for one in spec.reference.each if spec.reference else ():
                if isinstance(one, FileReference):
                    keep(one)

        begin_enrolment(self.ledger, workload.manifests, self._unchanged, each=each)
        if self.plan.new:
            here = request.files
            old = traces.of_files(self.ledger.read, lambda name: here.sizes(f"{RESULTS}/{name}"), workload.campaigns)
            if not request.accept_old:
                traces.refuse_database(shown(self.conninfo), request.results, old)
            elif old:
                self.ledger.accept(old)
        spec = RunSpec(
            campaigns=tuple(workload.campaigns),
            account=request.account,
            settings=settings,
            caps=caps,
            selection=workload.selection,
            results=request.results,
            allow_net=request.allow_net,
            then=request.then.text,
            decides=request.decide is not None,
            damage=self.found.damage,
            followed=request.followed,
            run_cap_stated=request.workload.budget is not None,
        )
        await tables.begin(run_id, spec.kind, spec.dump())

    async def end(self, tables: ClusterTables, run_id: int, kind: Kind, reason: str) -> dict[str, Any] | None:
        """End a run that nobody coordinates; its ending, None where another worker has taken it over."""
        epoch = await tables.coordinate(run_id, "who started it", _ENDING_SECONDS)
        if epoch is None:
            return None
        ending = Ending(kind, reason, {}, ())
        found = ending_of(ending)
        self.ledger.end_run(exit_code=found["exit_code"], reason=reason, left={})
        await tables.end(run_id, epoch, found)
        return found

    async def decide(self, tables: ClusterTables, run_id: int) -> None:
        """Follow the run for its canary: answer each time whether it goes on. Never returns."""
        asked = None
        async with anyio.create_task_group() as group:
            while True:
                with suppress(StorageError):  # the database is away: the run waits, too
                    asks = await tables.asked(run_id)
                    if asks is not None and asks != asked:
                        asked = asks
                        group.start_soon(self._decide, tables, run_id, asks)
                await anyio.sleep(LOOK_SECONDS)

    async def _decide(self, tables: ClusterTables, run_id: int, asks: str) -> None:
        assert self._request.decide is not None
        why = await self._request.decide(CanaryStep(**json.loads(asks)))
        while True:
            try:
                return await tables.answer(run_id, asks, why)
            except StorageError:
                await anyio.sleep(LOOK_SECONDS)

    @property
    def decides(self) -> bool:
        return self._request.decide is not None

    # What is told of it

    def outcome(self, run_id: int, ending: Mapping[str, Any]) -> RunOutcome:
        """What the run came to. Raises StorageError."""
        words = {name: ending[name] for name in ("reason", "left")}
        how = Ending(Kind(ending["kind"]), **words, blocked=tuple(ending["blocked"]), caps=tuple(ending["caps"]))
        pull(self.conninfo, self._mirror)
        with closing(LedgerReader.open(self._mirror)) as read:
            seconds = time.monotonic() - self._begun
            found = jobs.fetched(read, run_id)
            return RunOutcome.read_from(read, run_id, how, self.plan, self._workload, fetched=found, seconds=seconds)

    def asked(self, command: str) -> RunRequest:
        """What the run was asked to do, for its summary."""
        request = self._request
        return RunRequest(
            self._workload,
            self._mirror.parent,
            _nowhere,
            request.account.text,
            request.place,
            str,
            buys=request.buys,
            results=request.results.rstrip("/") + f"/{RESULTS}",
            command=command,
        )


def _nowhere() -> AbstractContextManager[Provider]:
    raise AssertionError("workers buy")
