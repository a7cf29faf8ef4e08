"""A worker's part of a run: today's engine over the jobs that are brought to it, and what it says of each.

Stages, outages, creates without an answer and the wallet are handled as in a run on one machine, each worker for
itself; which jobs are next, and when the run ends, is the coordinator's.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, cast

import anyio

from batcher.damage import Damage
from batcher.engine import Arrivals, Engine
from batcher.engine.backlog import Backlog, WorkItem
from batcher.engine.ending import Halted, halt_reason
from batcher.engine.ramp import Ramp
from batcher.errors import Kind, StorageError
from batcher.jobs import Ended, Job, JobId, Planned, Status, Submitting, Succeeded, Waiting
from batcher.ledger import NotAdmitted, PlannedJob
from batcher.lifecycle import Abort, Context, Deferred, Done, Lifecycle, Reschedule, Stage, Step
from batcher.lifecycle.steps import ELSEWHERE
from batcher.settings import Selection


def no_ramp() -> Ramp:
    """All jobs may be bought at once: a canary is refused before a run begins (`cli/commands/run`)."""

    async def judge(_: int) -> str:
        return "it is not judged here"

    return Ramp((), judge)


#: This worker is done with a job that is not at its end: another may take it.
AGAIN = json.dumps({"step": "again"})
_JUDGE_SECONDS = 2.0
#: Tells the coordinator of a job; `True` with the last word, after which this worker has it no more.
Say = Callable[[JobId, str, bool], None]


def said_of(step: Step, *, bought: bool) -> str:
    """What became of a job, as a report says it."""
    match step:
        case Done(status, left):
            found: dict[str, Any] = {"step": "done", "status": status, "left": left}
        case Deferred(refusal):
            found = {"step": "deferred", "refusal": asdict(refusal)}
        case Reschedule(stage):
            found = {"step": "moved", "stage": stage.value}
        case Abort():
            return AGAIN
    return json.dumps(found | {"bought": bought})


def step_of(said: str) -> tuple[Step | None, bool]:
    """The step that a report tells, None for one that is to be brought to a worker again; whether it was bought.

    Raises StorageError for what is no report.
    """
    try:
        match json.loads(said):
            case {"step": "again"}:
                return None, False
            case {"step": "done", "status": status, "left": str(left), "bought": bool(bought)}:
                return Done(Status(status), left), bought
            case {"step": "deferred", "refusal": dict(refusal), "bought": bool(bought)}:
                return Deferred(NotAdmitted(**refusal)), bought
            case {"step": "moved", "stage": stage, "bought": bool(bought)}:
                return Reschedule(Stage(stage)), bought
    except (ValueError, TypeError):
        pass
    raise StorageError(f"a worker's report cannot be read: {said[:100]!r}")


class HandedJobs:
    """A backlog of what is brought, in that order; `refused` hears what a cap had no room for."""

    def __init__(self, refused: Callable[[JobId, NotAdmitted], None]) -> None:
        self._jobs: deque[PlannedJob] = deque()
        self._refused = refused
        self.growing = {"more may come"}
        self.searching = False
        self.has_jobs = True
        self.closed: list[NotAdmitted] = []

    def put(self, job: PlannedJob) -> None:
        self._jobs.append(job)

    def next(self, *_: object) -> PlannedJob | None:
        return self._jobs.popleft() if self._jobs else None

    @property
    def waiting(self) -> bool:
        return bool(self._jobs)

    def take_back(self) -> list[JobId]:
        """All that were not begun, which are here no more."""
        found = [job.id for job in self._jobs]
        self._jobs.clear()
        return found

    def close(self, job: PlannedJob, refusal: NotAdmitted) -> None:
        self._refused(job.id, refusal)

    def reopen(self, *_: object) -> None:
        """The coordinator brings again what there is room for."""

    def grew(self, *_: object, **__: object) -> None:
        """What there is to buy comes by `put`."""


class JobEngine(Engine):
    """An engine over jobs that `take` brings; `halt` hears what should end the run."""

    def __init__(
        self,
        context: Context,
        lifecycle: Lifecycle,
        concurrency: int,
        damage: Damage,
        say: Say,
        halt: Halted,
    ) -> None:
        limits = replace(context.settings.limits, in_flight=concurrency)
        here = replace(context, settings=replace(context.settings, limits=limits))
        super().__init__(here, lifecycle, (), Selection(), {}, Arrivals(), no_ramp())
        self._handed = HandedJobs(lambda job_id, refusal: self._last(job_id, said_of(Deferred(refusal), bought=False)))
        self._backlog = cast(Backlog, self._handed)
        self._say, self._halt, self._to_restore = say, halt, damage
        self._here: dict[JobId, anyio.Event] = {}
        self._let_go = False  # whether it has ended: what is brought now would wait for ever

    async def take(self, job: Job) -> None:
        """Work at a job until nothing more is to be done for it here."""
        done = self._here[job.id] = anyio.Event()
        item = WorkItem(job.id, _planned(job))
        match job.phase:
            case _ if self._scope.cancel_called or self._let_go:
                self._last(job.id, AGAIN)
            case Planned() if self._halts:
                self._last(job.id, AGAIN)
            case Planned():
                self._handed.put(_planned(job))
                self._queues[Stage.SUBMIT].wake()
            case Submitting():
                item.state.bought = True
                self.add(item, Stage.SUBMIT)
            case Waiting():
                item.state.bought = True
                self.add(item, Stage.POLL)
            case Succeeded(files=files):
                item.in_flight = False
                item.state.restore = dict(self._to_restore.get(job.id, {}))
                item.done = bool(item.state.restore) and all(file.saved or file.forgotten for file in files)
                self.add(item, Stage.FETCH)
            case Ended(status):
                self._last(job.id, said_of(Done(status), bought=False))
        await done.wait()

    def holds(self, job_id: JobId) -> bool:
        return job_id in self._here

    def let_go(self) -> None:
        """Leave all jobs to other workers, as they stand in the ledger."""
        self._let_go = True
        for job_id in list(self._here):
            self._last(job_id, AGAIN)

    def finished(self, item: WorkItem, status: Status, left: str) -> None:
        # What is left, and how many fail in a row, is counted where all of the run comes together.
        self._last(item.job_id, AGAIN if left == ELSEWHERE else said_of(Done(status, left), bought=item.state.bought))

    def halted(self, kind: Kind, message: str, code: str = "") -> None:
        if not any(known is kind for known, _ in self._halts):
            self._halt(kind, message, code)
            self.heard(kind, halt_reason(message, code))

    def heard(self, kind: Kind, reason: str) -> None:
        """The run is to stop: for what was met here, or by another worker, or by a person."""
        if any(known is kind for known, _ in self._halts):
            return
        if kind is Kind.CAPPED:  # what is bought goes on
            self._halts.append((kind, reason))
            self._give_back()
        else:
            self.stop(kind, reason)

    async def _watch(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._judge)
            await super()._watch()
            group.cancel_scope.cancel()

    async def _judge(self) -> None:
        """Judge jobs whose repeats are spent, where no others are left whose answers could show why."""
        while True:
            await anyio.sleep(_JUDGE_SECONDS)
            if self._here and not self.open and not self._handed.waiting:
                self._stalled.judge_last(False)

    def _drain(self, who: str) -> None:
        self.heard(Kind.CAPPED, f"drained by {who}")

    def _give_back(self) -> None:
        for job_id in self._handed.take_back():
            self._last(job_id, AGAIN)

    def _place(self, item: WorkItem, stage: Stage, step: Step) -> None:
        if isinstance(step, Abort):
            self._last(item.job_id, AGAIN)
        super()._place(item, stage, step)
        # A price may be named, or a place with the API come free.
        if isinstance(step, Reschedule) and step.stage is not stage and item.job_id in self._here:
            self._say(item.job_id, said_of(step, bought=item.state.bought), False)

    def _last(self, job_id: JobId, said: str) -> None:
        if done := self._here.pop(job_id, None):
            self._say(job_id, said, True)
            done.set()


def _planned(job: Job) -> PlannedJob:
    return PlannedJob(job.id, job.campaign, job.name, 0, job.catalog_credits, job.price_class)
