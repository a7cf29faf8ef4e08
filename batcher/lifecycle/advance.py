"""One job's next step. Crash safety lives here: this is the only caller of `Context.submit`, the only paid request.

    planned     references uploaded → intend (key, body, hold committed) → submit → record the task id
    submitting  the same key and the same bytes again
    queued …    poll → record
    succeeded   fetch the files

After an answer to a paid POST comes nothing but the commit of what it said, which happens even if its task is
cancelled while it waits for it. Sending and commit stand in one shielded block; `hurry` bounds how long the answer may
still take.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import anyio

from batcher.catalog import whole
from batcher.errors import StorageError
from batcher.jobs import (
    Ended,
    FileReference,
    Intent,
    Job,
    JobId,
    Planned,
    Status,
    Submitting,
    Succeeded,
    TaskState,
    Upload,
    Waiting,
)
from batcher.ledger import Buying, Caps, NotAdmitted, PlannedJob
from batcher.limits import LONGEST_WAIT, Permit
from batcher.providers import Accepted, Conflict, Fatal, Going, Refused, Retryable, Unknown

from .aging import Ages
from .context import Context
from .download import Downloader
from .poll_schedule import PollSchedule
from .pricing import Pricer
from .questions import FreeQuestions
from .steps import ELSEWHERE, PAGES, Abort, Deferred, Done, JobRunState, Reschedule, Stage, Step, backoff
from .uploads import Changed, Held, Uploads
from .wallet import read_wallet

#: Seconds for which a 409 on the attempt's own key is repeated before it counts as doubtful.
CONFLICT_SECONDS = 600.0
#: Seconds for which a task may be unknown to the API before it counts as doubtful.
UNKNOWN_SECONDS = 120.0
#: How long a job waits for the file of a source that was there, and is being brought back.
SOURCE_SECONDS = 60.0
_CONFLICT_EVERY, _UNKNOWN_EVERY, _SOURCE_EVERY = 30.0, 20.0, 2.0


class Lifecycle:
    """Moves jobs forward, one step a call; may be called for many jobs at once."""

    def __init__(self, context: Context, caps: Caps) -> None:
        self._context = context
        self._ledger, self._commits, self._clock = context.ledger, context.commits, context.clock
        self._provider, self._limiter, self._settings = context.provider, context.limiter, context.settings
        self.caps = caps
        self._ages = Ages(context)
        self._uploads = Uploads(context)
        self.calmed = self._uploads.calmed  # an outage is over
        self._downloader = Downloader(context)
        self._schedule = PollSchedule(context, self._ages)
        self.looks = FreeQuestions(context)
        self._pricer = Pricer(context)
        self._open_posts: set[anyio.CancelScope] = set()
        self._hurry_at = math.inf

    async def advance(self, job: Job, state: JobRunState) -> Step:
        """One step of a job. Raises StorageError when it cannot be written down."""
        state.price_class, state.is_fetched = job.price_class, self._fetches(job)
        match job.phase:
            case Planned():
                return await self._buy(job, state)
            case Submitting(intent):
                return await self._repeat_intent(intent, state)
            case Waiting() as waiting:
                return await self._poll(waiting, state)
            case Succeeded() as succeeded:
                if state.is_fetched and state.price_asked is None:
                    if not isinstance(step := await self._downloader.step(job, succeeded, state), Done):
                        return step
                    state.left = step.left
                return await self._pricer.step(succeeded, state)
            case Ended(status):
                return Done(status)

    def _fetches(self, job: Job) -> bool:
        """Whether a job's result is fetched: what others are made from is, whatever else is left where it is."""
        return self._settings.downloads(job.campaign) or self._ledger.read.is_source(job.id)

    def hurry(self, seconds: float) -> None:
        """Give open paid requests so many seconds more, and later ones no longer."""
        self._hurry_at = min(self._hurry_at, anyio.current_time() + seconds)
        self._ledger.hurry(seconds)
        for scope in self._open_posts:
            scope.deadline = self._hurry_at

    def withdraw(self, job_id: JobId, why: str = "the run ended before the API could be reached") -> Status | None:
        """Close an intent of this run at no cost if it was certainly not received; its new status, None if it was."""
        match self._ledger.read.load(job_id).phase:
            case Submitting(intent) if not intent.maybe_received:
                return self._ledger.unsent(intent, "not_sent", why)
        return None

    def refusal(self, job: PlannedJob | Job) -> NotAdmitted | None:
        """Why the caps would not let a planned job be bought now, if they would not."""
        found = self._ledger.refusal(self.caps, account=self._provider.account, job=job)
        # Whoever wants to buy has the wallet read, so that keeps nobody from trying.
        return None if found and found.cap == "reading" else found

    async def ask_api(self) -> Retryable | None:
        """Ask the API, past all who are held, with a request that costs nothing; why to ask for no more, if so."""
        found = await self._context.ask("credits", self._provider.credits, probing=True)
        if isinstance(found, Retryable) and (found.outage or (found.retry_after or 0.0) > LONGEST_WAIT):
            return found
        return None

    async def read_wallet(self) -> Fatal | Retryable | Refused | None:
        """Take a wallet reading for `budget.keep`; returns what kept it from being taken, if anything."""
        found = await read_wallet(self._context, self.caps)
        if isinstance(found, Caps):
            self.caps = found
            return None
        return found

    # Buying

    async def _buy(self, job: Job, state: JobRunState) -> Step:
        if self._limiter.creates_down():
            return Reschedule(Stage.SUBMIT)  # nothing is uploaded either
        inputs = self._uploads.inputs(job)
        if isinstance(inputs, Changed):
            return await self._cannot_send(job.id, "reference_changed", inputs.message)
        if inputs is None:
            if state.in_trouble("source", self._clock.monotonic()) < SOURCE_SECONDS:
                return Reschedule(Stage.SUBMIT, _SOURCE_EVERY)
            return Done(Status.PLANNED, left="what it is made from has no file at present")
        job = inputs
        uploads = await self._uploaded(job, state)
        if not isinstance(uploads, list):
            return uploads
        async with AsyncExitStack() as stack:
            with anyio.move_on_after(self._seconds_left()) as waiting:
                slot = await stack.enter_async_context(self._limiter.slot("submit"))
            if waiting.cancelled_caught:  # no room before `--until`
                return Deferred(no) if (no := self.refusal(job)) else Reschedule(Stage.SUBMIT, 1.0)
            if self._limiter.creates_down():  # since it began to wait for room
                return Reschedule(Stage.SUBMIT)
            job = whole(job)
            made = await self._commits(Buying(job, partial(self._intend, job, uploads, slot)))
            if isinstance(made, NotAdmitted):
                return Deferred(made)
            state.bought, state.uploads = True, tuple(uploads)
            return await self._send_purchase(made, slot, state)

    async def _uploaded(self, job: Job, state: JobRunState) -> list[Upload] | Step:
        """The uploads of a job's reference files, in their order; or what becomes of the job without them."""
        files = [each for each in job.reference.each if isinstance(each, FileReference)] if job.reference else []
        if files and (refusal := self.refusal(job)) and refusal.cap != "price":
            return Deferred(refusal)  # nothing is uploaded for a job that will not be bought
        uploads = []
        for file in files:
            match await self._uploads.upload(file, job.model):
                case Upload() as upload:
                    state.answered()
                    uploads.append(upload)
                case Changed(message):
                    return await self._cannot_send(job.id, "reference_changed", message)
                case Refused(code=code, message=message):
                    return await self._cannot_send(job.id, code, f"the reference was refused: {message}")
                case Fatal() as halt:
                    return Abort(halt, Status.PLANNED)
                case Held(seconds):
                    return Reschedule(Stage.SUBMIT, seconds)
                case Retryable() as later:
                    return self._no_upload(file.sha256, later)
        return uploads

    async def _cannot_send(self, job_id: JobId, code: str, message: str) -> Step:
        await self._commits(lambda: self._ledger.cannot_send(job_id, code, message))
        return Done(Status.FAILED)

    def _intend(self, job: Job, uploads: list[Upload], slot: Permit) -> Intent | NotAdmitted:
        """The intent and its row in the send log, in one commit."""
        made = self._ledger.intend(
            job,
            account=self._provider.account,
            compose=lambda request_id: self._provider.body(job, uploads, request_id),
            caps=self.caps,
            api=self._provider.api_time(),
        )
        if isinstance(made, Intent):
            slot.write()
        return made

    def _no_upload(self, sha256: str, later: Retryable) -> Step:
        """Trouble with a file counts once, however many jobs wait for it."""
        step = self._not_now(self._uploads.trouble(sha256), later, Stage.SUBMIT, Status.PLANNED)
        self._uploads.put_off(sha256, later, step.seconds if isinstance(step, Reschedule) else None)
        return step

    def _seconds_left(self) -> float:
        """For how long new jobs may be started."""
        ends = [at for at in (self.caps.until, self.caps.ready_by) if at is not None]
        return min(ends, default=math.inf) - self._clock.wall()

    async def _repeat_intent(self, intent: Intent, state: JobRunState) -> Step:
        if intent.maybe_received:
            if later := await self._ages.ask_the_time():
                return self._not_now(state, later, Stage.SUBMIT, Status.SUBMITTING)
            if self._ages.is_over(intent, self._settings.retries.replay_window):
                return await self._grew_too_old(intent)  # whatever the account: nobody may send it any more
        if intent.account != self._provider.account.text:
            return Done(Status.SUBMITTING, left=f"it was bought with another key or base URL ({intent.account})")
        if state.blocked:
            await self._commits(lambda: self._ledger.doubt(intent.attempt_id, "blocked", state.page))
            return Done(Status.DOUBTFUL)
        if self._limiter.creates_down() and not state.asking:
            return Reschedule(Stage.SUBMIT)
        async with self._limiter.slot("submit") as slot:
            if self._limiter.creates_down() and not state.asking:
                return Reschedule(Stage.SUBMIT)
            # Asked after the wait for room: that may have been long (Retry-After, a slow limit). What was certainly
            # not received has nothing to replay, however old its key is.
            if intent.maybe_received and self._ages.is_over(intent, self._settings.retries.replay_window):
                return await self._grew_too_old(intent)
            await self._commits(slot.write)
            return await self._send_purchase(intent, slot, state)

    async def _grew_too_old(self, intent: Intent) -> Step:
        message = "its key is too old to be trusted to replay (retries.replay_window)"
        closed = await self._commits(lambda: self._ledger.unsent(intent, "replay_window", message))
        return self._after_closing(closed, message)

    async def _send_purchase(self, intent: Intent, slot: Permit, state: JobRunState) -> Step:
        with anyio.CancelScope(shield=True, deadline=self._hurry_at) as scope:
            self._open_posts.add(scope)
            try:
                allowed = await slot.take(intent)
                if allowed is None:
                    return Done(Status.SUBMITTING, left=ELSEWHERE)
                slot.go()
                outcome = await self._context.submit(allowed)
            finally:
                self._open_posts.discard(scope)
            scope.deadline = math.inf
            step = await self._after_answer(intent, outcome, state)
            slot.heard(outcome)
            return step
        return Done(Status.SUBMITTING, left="the run ended before the API answered")

    async def _after_answer(
        self, intent: Intent, outcome: Accepted | Refused | Conflict | Fatal | Retryable, state: JobRunState
    ) -> Step:
        self._limiter.create_ended(intent.job_id, outcome)
        match outcome:
            case Accepted(task):
                await self._record_accepted(intent, task)
                self._uploads.helped(state)
                state.answered()
                state.submitted = self._clock.monotonic()
                step = self._after(task, state, age=0.0)
                if state.look and isinstance(step, Reschedule) and step.stage is Stage.POLL:
                    state.look, state.asked = False, 0
                    return Reschedule(Stage.POLL)  # whether this key may read tasks is known before more are bought
                return step
            case Refused(code=code, message=message):
                if not self._may_have_arrived(intent) and self._uploads.at_fault(state):
                    # It may be the upload's fault, which is looked at or made anew; this attempt cost nothing.
                    await self._commits(lambda: self._ledger.unsent(intent, code, message))
                    return Reschedule(Stage.SUBMIT)
                closed = await self._commits(lambda: self._ledger.refused(intent, code, message))
                return self._after_closing(closed, outcome.bare)
            case Conflict(code=code, message=message):
                return await self._conflicted(intent, code, message, state)
            case Fatal(code=code, message=message) as halt:
                if self._may_have_arrived(intent):
                    # Not about this attempt: its key asks again once the cause is gone.
                    return Abort(halt, Status.SUBMITTING)
                return Abort(halt, await self._commits(lambda: self._ledger.unsent(intent, code, message)))
            case Retryable() as later:
                return await self._unanswered(intent, later, state)

    async def _conflicted(self, intent: Intent, code: str, message: str, state: JobRunState) -> Step:
        """Somebody has used this key: no later answer proves that it was not charged."""
        if not self._may_have_arrived(intent):
            await self._commits(lambda: self._ledger.maybe_received(intent, code, message))
        if state.in_trouble("conflict", self._clock.monotonic()) < CONFLICT_SECONDS:
            return Reschedule(Stage.SUBMIT, _CONFLICT_EVERY)
        await self._commits(lambda: self._ledger.doubt(intent.attempt_id, code, message))
        return Done(Status.DOUBTFUL)

    async def _unanswered(self, intent: Intent, later: Retryable, state: JobRunState) -> Step:
        if later.maybe_received:
            await self._commits(lambda: self._ledger.maybe_received(intent, later.code, later.message))
        if later.page:
            state.pages, state.page = state.pages + 1, later.message
        step = self._not_now(state, later, Stage.SUBMIT, Status.SUBMITTING)
        # Where there was no answer, what others meet decides what becomes of the intent; else it is closed at once.
        if isinstance(step, Reschedule) or later.outage or self._may_have_arrived(intent):
            return step
        status = await self._commits(lambda: self._ledger.unsent(intent, later.code, later.message))
        return replace(step, status=status)

    async def _record_accepted(self, intent: Intent, task: TaskState) -> None:
        try:
            await self._commits(lambda: self._ledger.submitted(intent, task))
        except StorageError as error:
            raise StorageError(
                f"{error.message}\nThe API accepted job {intent.job_id} as task {task.task_id}; that could not be"
                " written down.",
                hint=f"{error.hint} The same key will ask for this task again, it is not bought twice.",
            ) from error

    def _may_have_arrived(self, intent: Intent) -> bool:
        match self._ledger.read.load(intent.job_id).phase:
            case Submitting(now):
                return now.maybe_received
            case _:
                return True

    def _after_closing(self, status: Status, message: str) -> Step:
        return Done(status, left=message if status is Status.PLANNED else "")

    # Waiting

    async def _poll(self, waiting: Waiting, state: JobRunState) -> Step:
        now = self._clock.monotonic()
        if state.polling_since is None:
            state.polling_since = now
        elif now - state.polling_since > self._settings.polling.give_up:
            return Done(waiting.status, left=state.given_up)
        found = await self._context.poll(waiting.task_id, state.poll_at)
        state.polled_with(found)
        match found:
            case TaskState():
                age = self._schedule.age(waiting, state)
                record = partial(self._ledger.record, waiting.attempt_id, found, state.unfinished_for)
                await self._commits(record)
                state.answered()
                if found.status is Status.SUCCEEDED:
                    self._schedule.succeeded(state, age)
                return self._after(found, state, age=age)
            case Going():
                state.answered()
                return self._schedule.still_going(state, self._schedule.age(waiting, state))
            case Unknown(code=code, message=message):
                if waiting.account != self._provider.account.text:
                    return Done(waiting.status, left=f"it was bought with another key ({waiting.account})")
                if state.in_trouble("unknown", self._clock.monotonic()) >= UNKNOWN_SECONDS:
                    why = f"the API does not know the task: {message}"
                    await self._commits(lambda: self._ledger.doubt(waiting.attempt_id, code, why))
                    return Done(Status.DOUBTFUL)
                return Reschedule(Stage.POLL, _UNKNOWN_EVERY)
            case Fatal() as halt:
                return Abort(halt, waiting.status)
            case Retryable(page=True):  # of something in between: it says nothing of the task, and ends no wait for it
                return self._schedule.unseen(state, self._schedule.age(waiting, state))
            case Retryable() as later:
                return self._not_now(state, later, Stage.POLL, waiting.status)

    def _after(self, task: TaskState, state: JobRunState, *, age: float) -> Step:
        match task.status:
            case Status.SUCCEEDED:
                return Reschedule(Stage.FETCH if state.is_fetched else Stage.PRICE)
            case Status.FAILED:
                return Done(task.status)
            case _:
                return self._schedule.still_going(state, age)

    def _not_now(self, state: JobRunState, later: Retryable, stage: Stage, status: Status) -> Reschedule | Done | Abort:
        longest = self._settings.retries.outage
        if later.throttled and (lasted := self._limiter.refused_for()) > longest:
            words = f"the API has said nothing else for {lasted:.0f} s, longer than retries.outage"
            return Abort(Fatal("wait", later.code, f"{words}: {later.message}"), status)
        if stage is Stage.SUBMIT and self._limiter.creates_down():
            return Reschedule(stage)  # nobody's repeats are burnt: the engine says when who asks again
        # Pages that meet a create are counted apart: the engine finds out whether they are this job's trouble.
        state.repeats += not (later.page and status is Status.SUBMITTING)
        if state.repeats > self._settings.retries.times or state.pages >= PAGES:
            return Done(status, left=f"{later.code}: {later.bare}")
        return Reschedule(stage, backoff(state.repeats, self._context.rng, least=later.retry_after))
