"""One job's next step. Crash safety lives here: this is the only caller of `Provider.submit`.

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
import random
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import anyio

from batcher.artifacts import Artifacts
from batcher.catalog import whole
from batcher.clock import Clock
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
from batcher.ledger import Caps, Ledger, Refusal
from batcher.providers import Accepted, Conflict, Going, Halt, Later, Provider, Refused, Unknown
from batcher.settings import Settings

from .aging import Ages, trouble
from .fetch import Fetcher
from .looking import Looks
from .pricing import Pricer
from .references import Changed, Held, References
from .schedule import PollSchedule
from .steps import PAGES, Again, Blocked, Finished, Gate, Halted, Lane, Slot, Step, Turn, backoff
from .together import Commits, Disk, Offload, inline
from .wallet import read_wallet

__all__ = ["Again", "Blocked", "Commits", "Finished", "Gate", "Halted", "Lane", "Lifecycle", "Slot", "Step", "Turn"]

#: A 409 on our own key is repeated for so many seconds before it counts as doubtful (issue on failure classes).
CONFLICT_SECONDS = 600.0
#: So long a task of ours may be unknown to the API before it counts as doubtful.
UNKNOWN_SECONDS = 120.0
_CONFLICT_EVERY = 30.0
_UNKNOWN_EVERY = 20.0


class Lifecycle:
    """Moves jobs forward, one step a call; may be called for many jobs at once."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        commits: Commits,
        provider: Provider,
        gate: Gate,
        artifacts: Artifacts,
        clock: Clock,
        settings: Settings,
        caps: Caps,
        rng: random.Random,
        offload: Offload = inline,
    ) -> None:
        self._ledger = ledger
        self._commits = commits
        self._provider = provider
        self._gate = gate
        self._clock = clock
        self._settings = settings
        self.caps = caps
        self._rng = rng
        self._ages = Ages(provider, gate, clock)
        self._references = References(ledger, commits, provider, gate, clock)
        self.calmed = self._references.calmed  # an outage is over
        self._fetcher = Fetcher(ledger, commits, Disk(artifacts, offload), provider, gate, artifacts, rng, settings)
        self._schedule = PollSchedule(ledger, provider.account.text, self._ages, clock, settings.polling)
        self.looks = Looks(provider, gate)
        self._pricer = Pricer(ledger, commits, provider, gate, clock)
        self._open_posts: set[anyio.CancelScope] = set()
        self._hurry_at = math.inf

    async def advance(self, job: Job, turn: Turn) -> Step:
        """One step of a job. Raises StorageError when it cannot be written down."""
        turn.price_class = job.price_class
        match job.phase:
            case Planned():
                return await self._buy(job, turn)
            case Submitting(intent):
                return await self._repeat_intent(intent, turn)
            case Waiting() as waiting:
                return await self._poll(job, waiting, turn)
            case Succeeded() as succeeded:
                if self._settings.downloads(job.campaign) and turn.price_asked is None:
                    if not isinstance(step := await self._fetcher.step(job, succeeded, turn), Finished):
                        return step
                    turn.left = step.left
                return await self._pricer.step(job, succeeded, turn)
            case Ended(status):
                return Finished(status)

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

    def refusal(self, campaign: str, price_class: str, catalog_credits: int) -> Refusal | None:
        """Why the caps would not let a planned job of this class be bought now, if they would not."""
        found = self._ledger.refusal(
            self.caps,
            account=self._provider.account,
            campaign=campaign,
            price_class=price_class,
            catalog_credits=catalog_credits,
        )
        # Whoever wants to buy has the wallet read, so that keeps nobody from trying.
        return None if found and found.cap == "reading" else found

    async def ask_api(self) -> Later | None:
        """Ask the API with a request that costs nothing; returns why nobody should ask for more, if so."""
        return await trouble(self._provider, self._gate)

    async def read_wallet(self) -> Halt | Later | Refused | None:
        """Take a wallet reading for `budget.keep`; returns what kept it from being taken, if anything."""
        found = await read_wallet(self._ledger, self._provider, self._gate, self._clock, self.caps)
        if isinstance(found, Caps):
            self.caps = found
            return None
        return found

    # Buying

    async def _buy(self, job: Job, turn: Turn) -> Step:
        if self._gate.creates_down():
            return Again(Lane.SUBMIT)  # nothing is uploaded either
        upload: Upload | None = None
        if isinstance(job.reference, FileReference):
            refusal = self._refusal_of(job)
            if refusal and refusal.cap != "price":
                return Blocked(refusal)  # nothing is uploaded for a job that will not be bought
            match await self._references.upload(job.reference, job.model):
                case Upload() as upload:
                    turn.answered()
                case Changed(message):
                    await self._commits(lambda: self._ledger.cannot_send(job.id, "reference_changed", message))
                    return Finished(Status.FAILED)
                case Refused(code, message):
                    why = f"the reference was refused: {message}"
                    await self._commits(lambda: self._ledger.cannot_send(job.id, code, why))
                    return Finished(Status.FAILED)
                case Halt() as halt:
                    return Halted(halt, Status.PLANNED)
                case Held(seconds):
                    return Again(Lane.SUBMIT, seconds)
                case Later() as later:
                    return self._no_upload(job.reference.sha256, later)
        async with AsyncExitStack() as stack:
            with anyio.move_on_after(self._seconds_left()) as waiting:
                slot = await stack.enter_async_context(self._gate.slot("submit"))
            if waiting.cancelled_caught:  # no room before `--until`
                return Blocked(no) if (no := self._refusal_of(job)) else Again(Lane.SUBMIT, 1.0)
            if self._gate.creates_down():  # since it began to wait for room
                return Again(Lane.SUBMIT)
            made = await self._commits(partial(self._intend, whole(job), upload, slot))
            if isinstance(made, Refusal):
                return Blocked(made)
            turn.bought, turn.upload = True, upload
            return await self._send(made, slot, turn)

    def _intend(self, job: Job, upload: Upload | None, slot: Slot) -> Intent | Refusal:
        """The intent and its row in the send log, in one commit."""
        made = self._ledger.intend(
            job,
            account=self._provider.account,
            compose=lambda request_id: self._provider.body(job, upload, request_id),
            caps=self.caps,
            api=self._provider.api_time(),
        )
        if isinstance(made, Intent):
            slot.write()
        return made

    def _no_upload(self, sha256: str, later: Later) -> Step:
        """Trouble with a file counts once, however many jobs wait for it."""
        step = self._not_now(self._references.trouble(sha256), later, Lane.SUBMIT, Status.PLANNED)
        self._references.put_off(sha256, later, step.seconds if isinstance(step, Again) else None)
        return step

    def _refusal_of(self, job: Job) -> Refusal | None:
        return self.refusal(job.campaign, job.price_class, job.catalog_credits)

    def _seconds_left(self) -> float:
        """For how long new jobs may be started."""
        return math.inf if self.caps.until is None else self.caps.until - self._clock.wall()

    async def _repeat_intent(self, intent: Intent, turn: Turn) -> Step:
        if intent.maybe_received:
            if later := await self._ages.ask_the_time():
                return self._not_now(turn, later, Lane.SUBMIT, Status.SUBMITTING)
            if self._ages.is_over(intent, self._settings.retries.replay_window):
                return await self._grew_too_old(intent)  # whatever the account: nobody may send it any more
        if intent.account != self._provider.account.text:
            return Finished(Status.SUBMITTING, left=f"it was bought with another key or base URL ({intent.account})")
        if turn.blocked:
            await self._commits(lambda: self._ledger.doubt(intent.job_id, intent.attempt_id, "blocked", turn.page))
            return Finished(Status.DOUBTFUL)
        if self._gate.creates_down() and not turn.asking:
            return Again(Lane.SUBMIT)
        async with self._gate.slot("submit") as slot:
            if self._gate.creates_down() and not turn.asking:
                return Again(Lane.SUBMIT)
            # Asked after the wait for room: that may have been long (Retry-After, a slow limit). What was certainly
            # not received has nothing to replay, however old its key is.
            if intent.maybe_received and self._ages.is_over(intent, self._settings.retries.replay_window):
                return await self._grew_too_old(intent)
            await self._commits(slot.write)
            return await self._send(intent, slot, turn)

    async def _grew_too_old(self, intent: Intent) -> Step:
        message = "its key is too old to be trusted to replay (retries.replay_window)"
        closed = await self._commits(lambda: self._ledger.unsent(intent, "replay_window", message))
        return self._after_closing(closed, message)

    async def _send(self, intent: Intent, slot: Slot, turn: Turn) -> Step:
        with anyio.CancelScope(shield=True, deadline=self._hurry_at) as scope:
            self._open_posts.add(scope)
            try:
                slot.go()
                outcome = await self._provider.submit(intent)
            except BaseException:
                # Given up at the deadline, or what nobody foresaw. `withdraw` trusts this mark, so it is set where
                # the request was cut off and hangs on no event loop's way of passing a cancellation on.
                self._ledger.maybe_received(intent, "given up before the API answered")
                raise
            finally:
                self._open_posts.discard(scope)
            scope.deadline = math.inf
            step = await self._record(intent, outcome, turn)
            slot.heard(outcome)
            return step
        return Finished(Status.SUBMITTING, left="the run ended before the API answered")

    async def _record(self, intent: Intent, outcome: Accepted | Refused | Conflict | Halt | Later, turn: Turn) -> Step:
        self._gate.create_ended(intent.job_id, outcome)
        match outcome:
            case Accepted(task):
                await self._keep(intent, task)
                self._references.helped(turn)
                turn.answered()
                turn.submitted = self._clock.monotonic()
                step = self._after(task, turn, age=0.0)
                if turn.look and isinstance(step, Again) and step.lane is Lane.POLL:
                    turn.look, turn.asked = False, 0
                    return Again(Lane.POLL)  # whether this key may read tasks is known before more are bought
                return step
            case Refused(code, message):
                if not self._may_have_arrived(intent) and self._references.at_fault(turn):
                    # It may be the upload's fault, which is looked at or made anew; this attempt cost nothing.
                    await self._commits(lambda: self._ledger.unsent(intent, code, message))
                    return Again(Lane.SUBMIT)
                closed = await self._commits(lambda: self._ledger.refused(intent, code, message))
                return self._after_closing(closed, message)
            case Conflict(code, message):
                return await self._conflicted(intent, code, message, turn)
            case Halt(code=code, message=message) as halt:
                if self._may_have_arrived(intent):
                    # Not about this attempt: its key asks again once the cause is gone.
                    return Halted(halt, Status.SUBMITTING)
                return Halted(halt, await self._commits(lambda: self._ledger.unsent(intent, code, message)))
            case Later() as later:
                return await self._unanswered(intent, later, turn)

    async def _conflicted(self, intent: Intent, code: str, message: str, turn: Turn) -> Step:
        """Somebody has used this key: no later answer proves that it was not charged."""
        if not self._may_have_arrived(intent):
            await self._commits(lambda: self._ledger.maybe_received(intent, f"{code}: {message}"))
        if turn.in_trouble("conflict", self._clock.monotonic()) < CONFLICT_SECONDS:
            return Again(Lane.SUBMIT, _CONFLICT_EVERY)
        await self._commits(lambda: self._ledger.doubt(intent.job_id, intent.attempt_id, code, message))
        return Finished(Status.DOUBTFUL)

    async def _unanswered(self, intent: Intent, later: Later, turn: Turn) -> Step:
        if later.maybe_received:
            await self._commits(lambda: self._ledger.maybe_received(intent, f"{later.code}: {later.message}"))
        if later.page:
            turn.pages, turn.page = turn.pages + 1, later.message
        step = self._not_now(turn, later, Lane.SUBMIT, Status.SUBMITTING)
        # Where there was no answer, what others meet decides what becomes of the intent; else it is closed at once.
        if isinstance(step, Again) or later.outage or self._may_have_arrived(intent):
            return step
        status = await self._commits(lambda: self._ledger.unsent(intent, later.code, later.message))
        return replace(step, status=status)

    async def _keep(self, intent: Intent, task: TaskState) -> None:
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
        return Finished(status, left=message if status is Status.PLANNED else "")

    # Waiting

    async def _poll(self, job: Job, waiting: Waiting, turn: Turn) -> Step:
        now = self._clock.monotonic()
        if turn.polling_since is None:
            turn.polling_since = now
        elif now - turn.polling_since > self._settings.polling.give_up:
            return Finished(waiting.status, left=turn.given_up)
        async with self._gate.slot("poll") as slot:
            await slot.stamp()
            found = await self._provider.poll(waiting.task_id)
            slot.heard(found)
        turn.polled_with(found)
        match found:
            case TaskState():
                age = self._schedule.age(waiting, turn)
                record = partial(self._ledger.record, job.id, waiting.attempt_id, found, turn.unfinished_for)
                await self._commits(record)
                turn.answered()
                if found.status is Status.SUCCEEDED:
                    self._schedule.succeeded(turn, age)
                return self._after(found, turn, age=age)
            case Going():
                turn.answered()
                return self._schedule.still_going(turn, self._schedule.age(waiting, turn))
            case Unknown(code, message):
                if waiting.account != self._provider.account.text:
                    return Finished(waiting.status, left=f"it was bought with another key ({waiting.account})")
                if turn.in_trouble("unknown", self._clock.monotonic()) >= UNKNOWN_SECONDS:
                    why = f"the API does not know the task: {message}"
                    await self._commits(lambda: self._ledger.doubt(job.id, waiting.attempt_id, code, why))
                    return Finished(Status.DOUBTFUL)
                return Again(Lane.POLL, _UNKNOWN_EVERY)
            case Halt() as halt:
                return Halted(halt, waiting.status)
            case Later(page=True):  # of something in between: it says nothing of the task, and ends no wait for it
                return self._schedule.unseen(turn, self._schedule.age(waiting, turn))
            case Later() as later:
                return self._not_now(turn, later, Lane.POLL, waiting.status)

    def _after(self, task: TaskState, turn: Turn, *, age: float) -> Step:
        match task.status:
            case Status.SUCCEEDED:
                return Again(Lane.FETCH if self._settings.download else Lane.PRICE)
            case Status.FAILED:
                return Finished(task.status)
            case _:
                return self._schedule.still_going(turn, age)

    def _not_now(self, turn: Turn, later: Later, lane: Lane, status: Status) -> Again | Finished | Halted:
        longest = self._settings.retries.outage
        if later.throttled and (lasted := self._gate.refused_for()) > longest:
            words = f"the API has said nothing else for {lasted:.0f} s, longer than retries.outage"
            return Halted(Halt("wait", later.code, f"{words}: {later.message}"), status)
        if lane is Lane.SUBMIT and self._gate.creates_down():
            return Again(lane)  # nobody's repeats are burnt: the engine says when who asks again
        # Pages that meet a create are counted apart: the engine finds out whether they are this job's trouble.
        turn.repeats += not (later.page and status is Status.SUBMITTING)
        if turn.repeats > self._settings.retries.times or turn.pages >= PAGES:
            return Finished(status, left=f"{later.code}: {later.message}")
        return Again(lane, backoff(turn.repeats, self._rng, least=later.retry_after))
