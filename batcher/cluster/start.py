"""Starting a run that goes on by itself: its jobs into the database, its references where workers find them."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from batcher import __version__
from batcher.enrolling import begin_enrolment
from batcher.jobs import Account, FileReference, JobSpec
from batcher.ledger import LedgerReader
from batcher.ledger.queries.lookup import Place
from batcher.planning import Plan
from batcher.settings import Settings, buying_time
from batcher.workload import Workload

from .files import SharedFiles, keeper
from .mirror import pull
from .runs import ClusterTables
from .spec import RunSpec
from .store import PostgresLedger


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A run that is to go on by itself; `spool` is a folder of this machine for copies of references."""

    workload: Workload
    conninfo: str
    account: Account
    place: Place
    results: str
    files: SharedFiles
    spool: Path
    download: bool = True
    until: float | None = None
    allow_net: tuple[str, ...] = ()


class Start:
    """Plans a run over a ledger on PostgreSQL (`plan`) and lets it go on by itself (`begin`)."""

    def __init__(self, request: StartRequest) -> None:
        self._request = request
        self.conninfo = request.conninfo
        self.ledger = PostgresLedger.connect(request.conninfo)
        try:
            self.ledger.belong(request.place)
            mirror = request.spool / "mirror.db"
            pull(request.conninfo, mirror)
            with closing(LedgerReader.open(mirror)) as read:
                self._workload = request.workload.resumed(read)
                self._unchanged = self._workload.unchanged(read)
                now = self.ledger.clock.wall()
                self.plan: Plan = self._workload.plan(read, request.account.text, self._unchanged, now=now)
        except BaseException:
            self.ledger.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()

    async def begin(self, tables: ClusterTables) -> int:
        """Enrol the jobs and start the run; its number. A crash before its end leaves nothing that buys."""
        request, workload = self._request, self._workload
        settings: Settings = replace(workload.settings, download=workload.settings.download and request.download)
        caps = workload.caps(self.plan, settings, buying_time(settings, self.ledger.clock.wall(), request.until))
        run_id = self.ledger.start_run(
            version=__version__,
            pid=os.getpid(),
            account=request.account.text,
            campaigns=workload.campaigns,
            settings=json.dumps(asdict(settings)),
        )
        keep = keeper(request.files, request.spool)

        def each(spec: JobSpec) -> None:
            for one in spec.reference.each if spec.reference else ():
                if isinstance(one, FileReference):
                    keep(one)

        begin_enrolment(self.ledger, workload.manifests, self._unchanged, each=each)
        spec = RunSpec(
            campaigns=tuple(workload.campaigns),
            account=request.account,
            settings=settings,
            caps=caps,
            selection=workload.selection,
            results=request.results,
            allow_net=request.allow_net,
        )
        await tables.begin(run_id, spec.kind, spec.dump())
        return run_id
