"""Many machines, one ledger: what the environment names, and a run that is started here and goes on by itself."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from batcher.access import Access
from batcher.clock import iso_seconds
from batcher.engine.ending import one_error
from batcher.errors import Kind, LedgerLocked, StorageError, UsageError, exit_code
from batcher.fs import disk_errors
from batcher.ledger import control, hold_lock
from batcher.state import LEDGER
from batcher.workload import Workload

from .alerting import kinds_of, told_here
from .database import RESULTS_VARIABLE, named_database
from .environment import need_no_loop
from .signals import Signals
from .terminal import Terminal
from .working import leave_tasks, worker_for

if TYPE_CHECKING:
    from batcher.alerts.targets import AlertTarget
    from batcher.cluster.files import SharedFiles
    from batcher.cluster.runs import ClusterTables
    from batcher.cluster.start import Start
    from batcher.cluster.worker import Worker
    from batcher.ledger import LedgerWriter

#: Seconds between two looks of a `run` that follows, and between two lines about it.
_LOOK_SECONDS = 0.5
_LINE_SECONDS = 10.0
#: After a first Ctrl-C a `run` waits so long for a second one, which drains, in seconds.
_SECOND_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """The database of a ledger and the place of its results, as the environment names them."""

    conninfo: str = field(repr=False)
    results: str

    @property
    def files(self) -> SharedFiles:
        """Raises UsageError, StorageError."""
        from batcher.cluster.files import shared_files

        return shared_files(self.results)


def cluster_access(state: Path | None = None) -> ClusterAccess | None:
    """Ledger and results; None where the ledger is a file. Raises UsageError where something is missing or wrong."""
    conninfo = named_database(state)
    if conninfo is None:
        return None
    results = os.environ.get(RESULTS_VARIABLE, "").strip()
    if not results:
        hint = "A folder that all workers see by the same absolute path, or s3://BUCKET/PREFIX."
        raise UsageError(f"{RESULTS_VARIABLE} is not set", hint=hint)
    return ClusterAccess(conninfo, results)


@contextmanager
def own_folder(state: Path, kind: str) -> Iterator[Path]:
    """A folder `<state>/<kind>-N` that no other process uses meanwhile; it stays, so that its downloads go on."""
    import time

    for number in count(1):
        folder = state / f"{kind}-{number}"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold_lock(folder, started=iso_seconds(time.time())))
            except LedgerLocked:
                continue
            yield folder
            return


def run_on_cluster(
    workload: Workload,
    access: Access,
    terminal: Terminal,
    cluster: ClusterAccess,
    mirror: Path,
    *,
    quiet: bool,
    buys: bool = True,
    targets: Sequence[AlertTarget] = (),
    **words: Any,
) -> int:
    """Enrol what manifests ask for, start the run, and follow it to its end; the exit code.

    What buys nothing is worked at here too, so it needs no worker elsewhere. `mirror` is the folder of the ledger's
    mirror. `targets` are told from here, as long as the run is followed.
    """
    from batcher.cluster.start import Start, StartRequest

    from .plan_view import plan_view, tell_notes
    from .session import tell_damage

    key = access.need_key()
    need_no_loop()
    with own_folder(Path("state"), "run") as spool:
        request = StartRequest(
            workload,
            cluster.conninfo,
            access.provider.account(access.base_url, key, access.name),
            access.place,
            cluster.results,
            cluster.files,
            spool,
            mirror / LEDGER,
            buys=buys,
            followed=kinds_of(targets),
            **words,
        )
        with Signals() as signals, Start(request) as start:
            if buys and not quiet:
                tell_notes(start.plan, terminal)
                terminal.say(*plan_view(start.plan, workload), "")
            tell_damage(start.found.missing, start.found.changed, cluster.results, terminal, thorough=not buys)
            worker = None if buys else worker_for(access, cluster, spool, terminal.say, buys=False)
            return anyio.run(partial(_follow, start, signals, terminal, worker, targets, quiet=quiet))


async def _follow(
    start: Start,
    signals: Signals,
    terminal: Terminal,
    worker: Worker | None,
    targets: Sequence[AlertTarget],
    *,
    quiet: bool,
) -> int:
    from batcher.cluster.runs import ClusterTables

    from .summary import summary_json, summary_view

    asked: list[tuple[Kind, str]] = []
    first = math.inf if quiet else 0.0 if worker is None else _LINE_SECONDS
    async with ClusterTables(start.conninfo) as tables:
        run_id = await start.begin(tables)
        if worker is None:
            terminal.say(f"Run {run_id} goes on by itself; this command only follows it.")
        signals.on_first = lambda *why: asked.append(why)
        decide = partial(start.decide, tables, run_id) if start.decides else None
        async with told_here(targets, start.ledger, run_id, terminal.say), _beside(worker, decide):
            ending = await _watched(tables, run_id, start.campaigns, terminal, lambda: bool(asked), first)
        if ending is None and start.decides:
            terminal.say("nobody is there to be asked for --decide now: the run stops where its step ends.")
        if ending is None and worker is None:
            return await _detach(start.ledger, run_id, asked[0][0], signals, terminal)
        if ending is None:  # it may have ended while this worker left it
            ending = await tables.ending(run_id) or await start.end(tables, run_id, *asked[0])
        if ending is None:
            terminal.say(f"Run {run_id} goes on at the workers; `batcher ctl drain` ends it.")
            return exit_code(asked[0][0])
        outcome, request = start.outcome(run_id, ending), start.asked(terminal.typed)
        terminal.answer(summary_json(outcome, request), *summary_view(outcome, request, terminal.typed))
        terminal.flush()
    if worker is not None:
        await leave_tasks(ending["exit_code"])
    return int(ending["exit_code"])


@asynccontextmanager
async def _beside(worker: Worker | None, decide: Callable[[], Coroutine[Any, Any, None]] | None) -> AsyncIterator[None]:
    """Let a worker work for the block, and whoever decides whether a canary goes on be asked."""
    try:
        async with anyio.create_task_group() as working, anyio.create_task_group() as deciding:
            if worker is not None:
                working.start_soon(worker.run)
            if decide is not None:
                deciding.start_soon(decide)
            yield
            deciding.cancel_scope.cancel()
            if worker is not None:
                worker.stop()
    except BaseExceptionGroup as caught:
        raise one_error(caught) from None


async def _watched(
    tables: ClusterTables,
    run_id: int,
    campaigns: Sequence[str],
    terminal: Terminal,
    over: Callable[[], bool],
    first: float,
) -> dict[str, Any] | None:
    """Say now and then, in `first` seconds for the first time, how a run stands, until its ending, or until `over`.

    A database that is away is waited for.
    """
    told, last, away = "", anyio.current_time() + first - _LINE_SECONDS, False
    while not over():
        try:
            if (ending := await tables.ending(run_id)) is not None:
                return ending
            line, away = await _line(tables, campaigns), False
        except StorageError as error:
            if not away:
                terminal.warn(f"{error.message}; the run goes on when the database is back")
            away = True
            await anyio.sleep(_LOOK_SECONDS)
            continue
        if line != told and anyio.current_time() - last >= _LINE_SECONDS:
            terminal.say(line)
            told, last = line, anyio.current_time()
        await anyio.sleep(_LOOK_SECONDS)
    return None


async def _detach(ledger: LedgerWriter, run_id: int, kind: Kind, signals: Signals, terminal: Terminal) -> int:
    """Leave the run to itself, unless a second Ctrl-C comes soon."""
    again: list[bool] = []

    def hear() -> bool:
        again.append(True)
        return len(again) == 1

    signals.on_again = hear
    terminal.say("the run goes on; `batcher ctl drain` ends it (as a second Ctrl-C now does).")
    with anyio.move_on_after(_SECOND_SECONDS if kind is Kind.INTERRUPTED else 0):
        while not again:  # noqa: ASYNC110  (a signal handler sets it)
            await anyio.sleep(0.1)
    if again:
        control.ask_of(ledger, "drain", who=control.asker(), run_id=run_id)
        terminal.say(f"Run {run_id} is draining: no new job starts; it ends when what is under way is finished.")
    return exit_code(kind)


async def _line(tables: ClusterTables, campaigns: Sequence[str]) -> str:
    """How a run stands, in one line."""
    found: Counter[str] = await tables.progress(campaigns)
    workers = [each for each in await tables.workers() if each["quiet"] <= 2 * each["lease"]]
    words = ", ".join(f"{number} {status}" for status, number in sorted(found.items()))
    there = f"{len(workers)} worker{'s' * (len(workers) != 1)}" if workers else "no worker yet: `batcher worker`"
    return f"{words or 'no jobs'} · {there}"
