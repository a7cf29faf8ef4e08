"""The Python API: what the commands do, for a program or a notebook. Nothing is printed, and nothing exits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Literal, Self, Unpack

from batcher import own_models, simulated
from batcher.access import Access
from batcher.clock import SystemClock, iso_seconds
from batcher.controls import LimitOptions, limits_of
from batcher.errors import Kind, StorageError, UsageError
from batcher.jobs import Status
from batcher.ledger import Change, LedgerReader, control, hold_lock
from batcher.ledger.decisions import (
    Cancel,
    Closed,
    Decided,
    Decision,
    Retry,
    Submitted,
    check_all,
    decide,
    has_campaign,
    open_ledger,
    review_of,
    select,
)
from batcher.ledger.queries import jobs as job_queries
from batcher.ledger.queries import lookup
from batcher.ledger.queries.lookup import Place
from batcher.ledger.queries.selectors import Condition, own
from batcher.ledger.traces import log_name
from batcher.manifest import Manifest
from batcher.planning import Plan
from batcher.providers import Provider
from batcher.providers.keys import check_key
from batcher.providers.registry import KnownProvider
from batcher.records import JobRecord, record_of
from batcher.redact import without
from batcher.run import Run, RunOutcome, RunRequest, log_head
from batcher.state import LEDGER, keep_log, open_reader
from batcher.workload import SelectionOptions, Workload

#: One manifest, or several that run together.
Manifests = Manifest | Sequence[Manifest]


class PlanOptions(SelectionOptions, total=False):
    """What of the manifests is meant, for `Ledger.plan`, `run` and `arun`.

    `only` are names or globs of prompts, `limit` how many new jobs are bought at most, `max_jobs` how many a manifest
    may make; `sample` (`"12"` or `"5%"`) takes a sample that is the same each time; `order` says whether campaigns take
    turns (`fair`) or come one after the other (`listed`). `budget` is the most that this run may spend, in credits
    (without any cap, what the plan quotes), `unpriced` what jobs without a price beforehand may cost of each campaign
    over all runs (None: none is bought). `catalog` are folders of model files of your own, for this process.
    """

    catalog: Iterable[str | os.PathLike[str]]


class RunOptions(PlanOptions, total=False):
    """How `Ledger.run` and `arun` do it.

    `until` is when no new job is started any more, in seconds since the epoch; without `download` results stay where
    they are. With `simulate` the built-in simulator stands for the API: no key, no cost; a new ledger becomes the
    simulator's. `on_event` hears each change after its commit, on the thread of the run; if it raises, it hears no more
    (`RunOutcome.dropped`).
    """

    until: float | None
    download: bool
    simulate: bool
    on_event: Callable[[Change], None] | None


class Ledger:
    """A state folder: the ledger of what was bought, and the files that came of it.

        with batcher.Ledger("state") as ledger:
            result = ledger.run(batcher.load("campaign.yaml"), budget=200)

    `key` and `base_url` are of the API; without a key RIVYA_API_KEY of the environment is taken, and so is
    RIVYA_BASE_URL. A ledger belongs to one API for good: its first run says to which. Between calls nothing is held
    open, so commands and other programs may use the same folder meanwhile; one run at a time holds its lock.

    All methods raise `errors.BatcherError` in the kinds that are named, each with a hint at what to do now.
    """

    def __init__(
        self, state: str | os.PathLike[str] = "state", *, key: str | None = None, base_url: str | None = None
    ) -> None:
        self.state = Path(state)
        self._key = key
        self._base_url = base_url
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """From now on every call raises UsageError."""
        self._closed = True

    def __repr__(self) -> str:
        return f"Ledger({str(self.state)!r})"

    # Plan and run

    def plan(self, manifests: Manifests, **options: Unpack[PlanOptions]) -> Plan:
        """What a run of these manifests would buy, and for how many credits; writes nothing, and asks nobody.

        The options are those of `run`. Raises ManifestError with every fault, UsageError for a selection of nothing,
        StorageError for a ledger that cannot be read.
        """
        workload = _workload(manifests, **options)
        with self._reading() as read:
            access = self._access(workload.provider, simulate=self._is_simulators, needed=False)
            return workload.plan(read, access.account, {})

    def run(self, manifests: Manifests, **options: Unpack[RunOptions]) -> RunOutcome:
        """Buy, wait for and fetch what the manifests ask for; the same call again goes on where the last one ended.

        Nothing is paid twice. The options are those of `PlanOptions` and `RunOptions`.

        Works inside a running event loop too, such as a notebook's: then the run has a thread and a loop of its own.
        Ctrl-C ends it politely: no new job, up to 10 s for what is open, and then KeyboardInterrupt.

        What ends a run early is told by `RunOutcome.kind` (a cap, a refused key, an API out of reach, failures).
        Raises ManifestError with every fault, UsageError (no key; the ledger of another API), LedgerLocked while
        another run holds the folder, StorageError where ledger or disk cannot be used; nothing bought is lost.
        """
        run = self._run(manifests, **options)
        return _in_a_thread(run) if _in_a_loop() else _execute(run)

    async def arun(self, manifests: Manifests, **options: Unpack[RunOptions]) -> RunOutcome:
        """`run` inside a running event loop of asyncio. Cancelling it ends the run as a signal ends a command: no new
        job, up to 10 s for what is open, what is known is written down; then the cancellation goes on.

        Planning is done on the loop's thread before the first request: about a second for every 50,000 jobs. Raises as
        `run` does, and UsageError where another loop than asyncio's runs.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("arun needs a running event loop of asyncio; `run` has one of its own") from None
        with self._run(manifests, **options) as run:
            return _kept(run, await run.aexecute())

    # What the ledger knows

    def jobs(
        self, *, campaign: str | None = None, status: str | Iterable[str] = (), name: str | None = None
    ) -> Iterator[JobRecord]:
        """The jobs in the order of their manifests, as a stream; also while a run is going.

        `status` is one of `Status` or several, `name` the name of a prompt or a glob. A folder without a ledger has
        none. Raises StorageError for a ledger that cannot be read, UsageError for a status that there is not.
        """
        statuses, named = _statuses(status), () if name is None else (Condition(own("name"), name),)
        with self._reading() as read:
            for row in job_queries.jobs(read, campaign=campaign, statuses=statuses, conditions=named) if read else ():
                yield record_of(row, self.state)

    # The run that goes on, whoever began it

    def pause(self) -> None:
        """Let it start no new job until `resume`; what is under way is finished. Raises UsageError without a run."""
        self._ask("pause")

    def resume(self) -> None:
        """Let it start new jobs again."""
        self._ask("resume")

    def resize(self, **limits: Unpack[LimitOptions]) -> None:
        """Give it other limits: jobs in flight, downloads at once, and rates such as `60/minute`. Raises UsageError."""
        self._ask("limits", limits_of(**limits))

    def _ask(self, word: control.Word, values: control.Asked = MappingProxyType({})) -> None:
        self._check_open()
        if not (self.state / LEDGER).exists():
            raise UsageError(f"there is no ledger in {self.state}, and no run")
        control.ask(self.state / LEDGER, SystemClock(), word, values, who=control.asker())

    # What a person decides

    def retry(
        self,
        *jobs: str | JobRecord,
        campaign: str | None = None,
        status: str | Iterable[str] = Status.FAILED,
    ) -> list[JobRecord]:
        """Let the next run buy jobs again: a new attempt each, with a new key. Returns those that are planned now.

        `jobs` are ids (their beginning will do) or records; `campaign` takes all of its jobs with that `status`
        (failed, unless said otherwise; succeeded and cancelled ones may be bought again too). Raises UsageError when a
        named job is in no state for it; then nothing is changed.
        """
        statuses = frozenset(_statuses(status))
        with ExitStack() as stack:
            alone = Status.SUCCEEDED in statuses
            if alone:  # a run might be fetching the very result that is to be bought again
                stack.enter_context(hold_lock(self.state, started=iso_seconds(time.time())))
            return self._decide(Retry(statuses, alone), jobs, campaign, statuses)

    def cancel(self, *jobs: str | JobRecord, campaign: str | None = None) -> list[JobRecord]:
        """Do not send planned jobs, until a `retry(…, status="cancelled")`. What is bought goes on. As `retry`."""
        return self._decide(Cancel(), jobs, campaign, {Status.PLANNED})

    def resolve(
        self,
        *jobs: str | JobRecord,
        verdict: Literal["submitted", "failed", "again"],
        task: str | None = None,
        charged: int = 0,
        campaign: str | None = None,
    ) -> list[JobRecord]:
        """Say what became of doubtful jobs, of which nobody here can know whether the API charged them.

        `submitted`: the API has it, as the task of that id (one job only); the next run asks for it. `failed`: it came
        to nothing, and the API took `charged` credits for it. `again`: so, and the next run buys it again. As `retry`.
        """
        if (verdict == "submitted") != (task is not None):
            raise UsageError("`task` goes with the verdict 'submitted', which needs it")
        if charged < 0 or (charged and task is not None):
            raise UsageError("`charged` is a number of credits, for the verdicts 'failed' and 'again'")
        if verdict not in ("submitted", "failed", "again"):
            raise UsageError(f"{verdict!r} is no verdict", hint="'submitted', 'failed' or 'again'")
        decision = Closed(charged, again=verdict == "again") if task is None else Submitted(task)
        if task is not None and (campaign is not None or len(jobs) != 1):
            raise UsageError("one task is one job: name just one")
        return self._decide(decision, jobs, campaign, {Status.DOUBTFUL})

    def _decide(
        self, decision: Decision, jobs: Sequence[str | JobRecord], campaign: str | None, statuses: Iterable[Status]
    ) -> list[JobRecord]:
        self._check_open()
        if bool(jobs) is (campaign is not None):
            raise UsageError("name either jobs or a campaign")
        with closing(open_ledger(self.state / LEDGER, SystemClock())) as ledger:
            read = ledger.read
            if campaign is None:
                ids = [read.resolve(job if isinstance(job, str) else job.id) for job in jobs]
                check_all(read, decision, [review_of(read, each) for each in ids])
            elif has_campaign(read, campaign):
                ids = [job.id for job in select(read, campaign=campaign, statuses=sorted(statuses))]
            else:
                raise UsageError(f"there is no campaign {campaign!r} in {ledger.path}")
            changed = [found.job.id for found in decide(ledger, decision, ids) if isinstance(found, Decided)]
            return [record_of(job_queries.job(read, each)["job"], self.state) for each in changed]

    # How it is done

    def _run(
        self,
        manifests: Manifests,
        *,
        until: float | None = None,
        download: bool = True,
        simulate: bool = False,
        on_event: Callable[[Change], None] | None = None,
        **selection: Unpack[PlanOptions],
    ) -> Run:
        workload = _workload(manifests, **selection)
        access = self._access(workload.provider, simulate=simulate)
        key, account = access.key, access.account
        assert key is not None
        assert account is not None

        @contextmanager
        def connect() -> Iterator[Provider]:
            with ExitStack() as stack:
                base_url = access.base_url
                if simulate:
                    base_url = stack.enter_context(simulated.running(self.state, unchecked=workload.unchecked))
                yield access.provider.connect(base_url, key, SystemClock(), account_name=access.name)

        request = RunRequest(
            workload,
            self.state,
            connect,
            account=account,
            place=access.place,
            redact=lambda text: without(text, key),
            command="batcher.Ledger.run",
            until=until,
            download=download,
        )
        return Run(request, observers=[] if on_event is None else [on_event])

    def _access(self, provider: KnownProvider, *, simulate: bool, needed: bool = True) -> Access:
        """Raises UsageError where no run could ask anybody."""
        self._check_open()
        if simulate:
            if needed:
                simulated.need_extra()
            return simulated.access()
        variable = provider.key_variable
        key = os.environ.get(variable, "").strip() or None if self._key is None else self._key
        if key is not None:
            check_key(key, variable if self._key is None else "the key")
        elif needed:
            hint = f"Give Ledger(key=…), or set {variable}; simulate=True needs none and costs nothing."
            raise UsageError("there is no key for the API", hint=hint)
        base_url = self._base_url or os.environ.get(provider.base_url_variable, "").strip() or provider.base_url
        return Access(base_url, key, provider=provider)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self!r} is closed", hint="Make a new one.")

    @property
    def _is_simulators(self) -> bool:
        path = self.state / LEDGER
        return path.exists() and lookup.place_of(path) is Place.SIMULATOR

    @contextmanager
    def _reading(self) -> Iterator[LedgerReader | None]:
        self._check_open()
        read = open_reader(self.state)
        try:
            yield read
        finally:
            if read is not None:
                read.close()


def _workload(
    manifests: Manifests, *, catalog: Iterable[str | os.PathLike[str]] = (), **selection: Unpack[SelectionOptions]
) -> Workload:
    own_models.add(catalog)
    return Workload.of([manifests] if isinstance(manifests, Manifest) else manifests, **selection)


def _statuses(given: str | Iterable[str]) -> list[Status]:
    names = [given] if isinstance(given, str) else list(given)
    try:
        return [Status(name) for name in names]
    except ValueError as error:
        raise UsageError(f"{error}", hint=f"There are {', '.join(Status)}.") from None


def _execute(run: Run) -> RunOutcome:
    with run:
        return _kept(run, run.execute())


def _kept(run: Run, outcome: RunOutcome) -> RunOutcome:
    """What a run came to, once its log says so too; a log that cannot be written changes nothing of it."""
    head = log_head(outcome.run_id, outcome.started, run.request.command)
    text = run.request.redact(f"{head}\n\n{outcome.kind.value}: {outcome.reason}\n")
    with suppress(StorageError, OSError):
        keep_log(run.request.state, f"{log_name(outcome.run_id, outcome.started)}.txt", text)
    return outcome


def _in_a_loop() -> bool:
    """Whether an event loop runs in this thread, of whatever library."""
    import anyio

    with suppress(RuntimeError):
        return bool(anyio.get_cancelled_exc_class())  # only a running loop has one
    return False


def _in_a_thread(run: Run) -> RunOutcome:
    """Execute it in a thread and a loop of its own."""
    found: list[RunOutcome | BaseException] = []

    def work() -> None:
        try:
            found.append(_execute(run))
        except BaseException as error:
            found.append(error)  # raised below, in the caller's thread

    thread = Thread(target=work, name="batcher")
    thread.start()
    interrupted = False
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt:
            interrupted = True
            run.stop(Kind.INTERRUPTED, "interrupted")
    [outcome] = found
    if isinstance(outcome, BaseException):
        raise outcome
    if interrupted:
        raise KeyboardInterrupt
    return outcome
