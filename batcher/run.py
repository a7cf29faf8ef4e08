"""One run: lock → ledger → plan → enrol → engine → outcome. No terminal, no signals, no environment.

    with Run(request) as run:       # lock, ledger, plan: nothing is sent yet
        run.plan                    # what `execute` will do
        outcome = run.execute()     # run row, enrolment, engine, end of the row
        run.stop(kind, "why")       # meanwhile, from another thread or a signal handler

Everything is taken in this order and given back in the opposite one, also when it fails half-way.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, Unpack

import anyio
import anyio.to_thread

from batcher import __version__
from batcher.clock import Clock, SystemClock, iso, iso_seconds
from batcher.controls import LimitOptions, limits_of
from batcher.damage import Found, find_damage
from batcher.edits import Edits
from batcher.engine import GRACE_SECONDS, Arrivals, Ending, Engine, ToBuy
from batcher.engine.driver import Companion, Driver
from batcher.enrolling import begin_enrolment
from batcher.errors import BatcherError, Kind, Stopped, StorageError, exit_code
from batcher.events import Event
from batcher.jobs import Status
from batcher.judging import canary_of
from batcher.ledger import Change, LedgerWriter, Observer, control, hold_lock, traces
from batcher.ledger.queries import jobs
from batcher.ledger.queries.budgets import used_before
from batcher.ledger.store import copies
from batcher.lifecycle import Commits, Context, Disk, Lifecycle
from batcher.limits import RateLimiter
from batcher.log_bridge import LogBridge
from batcher.providers import Provider
from batcher.request import RunOutcome as RunOutcome
from batcher.request import RunRequest as RunRequest
from batcher.request import run_settings
from batcher.settings import buying_time
from batcher.state import LEDGER, keep_log, prepare_folder
from batcher.storage import Artifacts, Offload

#: Runs an async function to its end.
Loop = Callable[[Callable[[], Awaitable[Ending]]], Ending]


class Run:
    """One run over a state folder, whose lock it holds for its block.

    `observers` hear each fact after its commit, on the thread that executes; none of them can change or end the run.
    Beside what is in the ledger they hear `ledger_opening` (path), `ledger_locked`, `log_not_kept`, `observer_failed`
    (message) and `files_damaged` (missing, changed).
    """

    def __init__(
        self,
        request: RunRequest,
        *,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        rng: random.Random | None = None,
        offload: Offload = anyio.to_thread.run_sync,
        open_ledger: Callable[[Path, Clock, Observer], LedgerWriter] = LedgerWriter.open,
    ) -> None:
        workload = request.workload
        self.request = request
        self.settings = replace(workload.settings, download=workload.settings.download and request.download)
        self.found = Found()  # saved files that are not as they were; known when the engine begins
        self._observers: list[Observer] = [*observers, LogBridge(request.redact)]
        self._dropped: list[str] = []
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311  (jitter)
        self._offload = offload
        self._open_ledger = open_ledger
        self._fetched = 0
        self._exit = ExitStack()
        self._ending: Ending | None = None
        self._driver = Driver(partial(self._drop, "what ran beside it"))

    # Before anything is sent

    def __enter__(self) -> Self:
        """Take the lock, open the ledger and plan. Raises BatcherError for what keeps the run from starting."""
        request, workload = self.request, self.request.workload
        path = request.state / LEDGER
        self._begun = self._clock.monotonic()
        self.is_new = not path.exists()
        # A faulty manifest leaves no folder behind; where there is a ledger, the plan waits for its lock.
        plan = workload.plan(None, request.account, now=self._clock.wall()) if self.is_new else None
        with ExitStack() as stack:
            for folder in filter(None, (request.outer, request.state)):
                prepare_folder(folder)
            stack.enter_context(hold_lock(request.state, started=iso_seconds(self._clock.wall())))
            if not self.is_new:
                self._tell("ledger_opening", path=path)
            elif not request.accept_old:
                traces.refuse(path, traces.without_ledger(request.state))
            if request.accept_old and not self.is_new:
                copies.promote(path, iso(self._clock.wall()))
            self.ledger = self._open_ledger(path, self._clock, self._observe)
            stack.callback(self.ledger.close)
            self.ledger.belong(request.place)
            self._accept(traces.of_runs(self.ledger.read, request.state))
            workload = workload.resumed(self.ledger.read)
            self.request = replace(request, workload=workload)
            self._unchanged = workload.unchanged(self.ledger.read)
            self.plan = plan or workload.plan(
                self.ledger.read, request.account, self._unchanged, now=self._clock.wall()
            )
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _accept(self, found: list[str]) -> None:
        """Refuse a ledger that does not know of these traces, unless a person accepts it. Raises StorageError."""
        if not self.request.accept_old:
            traces.refuse(self.ledger.path, found)
        elif found:
            self.ledger.accept(found)

    @property
    def used_before(self) -> int:
        """What earlier runs took under the same budget of a run, in credits."""
        budget = self.request.workload.budget
        if budget is None:
            return 0
        now = self.id if self._ending else None
        return used_before(self.ledger.read, self.request.workload.campaigns, budget, now)

    # The run itself

    def execute(self, beside: Companion | None = None, *, loop: Loop = anyio.run) -> RunOutcome:
        """Do it, in an event loop of its own. Raises BatcherError for what breaks it off; the row's end says why."""
        with self._recorded(), self._provider() as provider:
            self._ending = loop(partial(self._drive, provider, beside))
        return self._outcome()

    async def aexecute(self, beside: Companion | None = None) -> RunOutcome:
        """The same inside a running loop. Cancelled, it ends as after `stop`, and raises the cancellation then."""
        with self._recorded(), self._provider() as provider:
            self._ending = await self._drive(provider, beside)
        return self._outcome()

    def stop(self, kind: Kind, reason: str) -> None:
        """Start nothing new; open paid requests get some seconds, then the run ends. Safe in a signal handler, and from
        other threads; the first call counts."""
        if ledger := getattr(self, "ledger", None):
            ledger.hurry(GRACE_SECONDS)  # the loop may stand in a wait for another program's lock
        self._driver.stop(kind, reason)

    def pause(self) -> None:
        """Start no new job until `resume`; what is under way is finished. As `batcher ctl pause`, from any thread."""
        self.ask("pause")

    def resume(self) -> None:
        """Start new jobs again."""
        self.ask("resume")

    def resize(self, **limits: Unpack[LimitOptions]) -> None:
        """Have other limits for this run: jobs in flight, downloads at once, rates (`60/minute`). Raises UsageError."""
        self.ask("limits", limits_of(**limits))

    def ask(self, word: control.Word, values: control.Asked = MappingProxyType({})) -> None:
        """Write down what is asked of this run, which obeys within a second. Raises UsageError once it has ended."""
        control.ask(self.ledger.path, self._clock, word, values, who=control.asker())

    async def _drive(self, provider: Provider, beside: Companion | None) -> Ending:
        return await self._driver.drive(lambda: self.compose(provider), provider.aclose, beside)

    def _check_stopped(self) -> None:
        if self._driver.asked is not None:
            raise Stopped(*self._driver.asked)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """From `start_run` to `end_run`, which is written whatever happens in between."""
        workload, ledger = self.request.workload, self.ledger
        time = buying_time(self.settings, self._clock.wall(), self.request.until)
        self.caps = workload.caps(self.plan, self.settings, time)
        ledger.wait_for_locks(
            self.settings.retries.outage, lambda message: self._tell("ledger_locked", message=message)
        )
        self.id = ledger.start_run(
            version=__version__,
            pid=os.getpid(),
            account=self.request.account,
            campaigns=workload.campaigns,
            settings=json.dumps(run_settings(workload, self.plan, self.settings, self.caps)),
        )
        try:
            yield
        except Stopped as stopped:
            ledger.hurry(GRACE_SECONDS)
            self._ending = Ending(stopped.kind, stopped.reason, {}, ())
        except BaseException as error:
            kind = error.kind if isinstance(error, BatcherError) else Kind.UNFINISHED
            if isinstance(error, KeyboardInterrupt):
                kind = Kind.INTERRUPTED
            if self._driver.asked and isinstance(error, StorageError):
                kind = self._driver.asked[0]  # it comes before storage in the order of exit codes
            reason = self.request.redact(f"{type(error).__name__}: {error}")[:500]
            with suppress(BatcherError):
                self._end(self._driver.ending or Ending(kind, reason, {}, ()))
            raise
        assert self._ending is not None, "whoever comes here has set it"
        self._end(self._ending)

    def _end(self, ending: Ending) -> None:
        self.ledger.end_run(exit_code=exit_code(ending.kind), reason=ending.reason, left=ending.left)

    @contextmanager
    def _provider(self) -> Iterator[Provider]:
        """Open what is bought from, once the ledger has the jobs and the saved files have been looked at."""
        self._begin_log()
        self._enrol()
        self._look_at_files()
        self._check_stopped()
        with self.request.connect() as provider:
            yield provider

    def _enrol(self) -> None:
        """Bring jobs into the ledger, most of them during the buying. Raises StorageError if it forgot some."""
        request, workload = self.request, self.request.workload
        whole = traces.has_files(request.state, workload.campaigns)  # then all jobs are held against them first
        steps = begin_enrolment(self.ledger, workload.manifests, self._unchanged, self._check_stopped, whole=whole)
        to_buy = [ToBuy(q.price_class.partition(" ")[0], q.jobs, q.credits_each) for q in self.plan.quotes]
        self._arrivals = Arrivals(to_buy, steps)
        if self.plan.new:
            self._accept(traces.of_files(self.ledger.read, traces.results_of(request.state), workload.campaigns))

    def _look_at_files(self) -> None:
        request, workload = self.request, self.request.workload
        self.found = find_damage(
            self.ledger.read,
            Artifacts(request.state),
            workload.campaigns,
            self.settings,
            workload.selection,
            thorough=not request.buys,
            check=self._check_stopped,
        )
        if self.found.missing or self.found.changed:
            self._tell("files_damaged", missing=self.found.missing, changed=self.found.changed)

    def _begin_log(self) -> None:
        """Write the log's name down before anything is bought: a ledger that does not know it has lost this run."""
        row = self._row
        head = log_head(self.id, row["started_at"], self.request.command)
        text = f"{head}\n\nThis run has not ended, or was cut off. The same command goes on.\n"
        try:
            keep_log(
                self.request.state, f"{traces.log_name(self.id, row['started_at'])}.txt", self.request.redact(text)
            )
        except (StorageError, OSError) as error:
            self._tell("log_not_kept", message=getattr(error, "message", str(error)))

    def compose(self, provider: Provider) -> Engine:
        """Put the engine together; for tests that want to see it."""
        workload = self.request.workload
        artifacts = Artifacts(self.request.state)
        artifacts.check(workload.campaigns)
        commits = Commits(self.ledger)
        limiter = RateLimiter(self.ledger, self.settings.limits, self._clock, commits, provider.account.text)
        context = Context(
            ledger=self.ledger,
            commits=commits,
            provider=provider,
            limiter=limiter,
            artifacts=artifacts,
            disk=Disk(artifacts, self._offload),
            clock=self._clock,
            settings=self.settings,
            rng=self._rng,
        )
        chosen, damage, arrivals = workload.selection, self.found.damage, self._arrivals
        edits = Edits(workload.manifests, lambda words: self.ledger.note(Event.LOOKED, of="manifest", message=words))
        asked = self.request
        lifecycle, ramp = Lifecycle(context, self.caps), canary_of(self.ledger, chosen.steps, asked.then, asked.decide)
        return Engine(context, lifecycle, workload.campaigns, chosen, damage, arrivals, ramp, self.id, (edits.look,))

    # What is told

    @property
    def work(self) -> Counter[Status]:
        """What there is to do: new jobs, what earlier runs left under way, and files that are to be brought back."""
        found = Counter({Status.PLANNED: self.plan.new, Status.SUCCEEDED: len(self.found.damage)})
        for campaign in self.request.workload.campaigns:
            found.update(self.ledger.read.under_way(campaign, unsaved=self.settings.downloads(campaign)))
        return found

    def _observe(self, change: Change) -> None:
        """Hand a fact on. An observer that raises hears no more, and the others are told so."""
        first = change.event == Event.SAVED and change.detail.get("number") == 0
        self._fetched += first or change.event == Event.RESTORED
        for observer in tuple(self._observers):
            try:
                observer(change)
            except Exception as error:
                self._observers.remove(observer)
                self._drop("an observer", error)

    def _drop(self, who: str, error: Exception) -> None:
        message = self.request.redact(f"{who} ended: {type(error).__name__}: {error}; the run goes on")
        self._dropped.append(message)
        self._tell("observer_failed", message=message)

    def _tell(self, event: str, **detail: Any) -> None:
        self._observe(Change(event, detail=MappingProxyType(detail)))

    # What is written down

    @property
    def _row(self) -> dict[str, Any]:
        row = jobs.run(self.ledger.read, self.id)
        assert row is not None, "it has begun"
        return row

    def _outcome(self) -> RunOutcome:
        assert self._ending is not None
        return RunOutcome.read_from(
            self.ledger.read,
            self.id,
            self._ending,
            self.plan,
            self.request.workload,
            fetched=self._fetched,
            seconds=self._clock.monotonic() - self._begun,
            dropped=tuple(self._dropped),
        )


def log_head(run_id: int, started: str, command: str) -> str:
    """The first line of a run's log."""
    return f"batcher {__version__}, run {run_id}, begun {started}: {command}"
