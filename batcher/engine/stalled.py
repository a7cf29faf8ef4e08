"""Jobs whose create had no answer: they wait for what those of others come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

from batcher.clock import Clock
from batcher.errors import Kind
from batcher.jobs import JobId, Status
from batcher.lifecycle import Done, Lifecycle, Reschedule, Stage, Step
from batcher.lifecycle.steps import PAGES
from batcher.limits.creates import CreateBreaker

from .backlog import WorkItem
from .outage import Outages

if TYPE_CHECKING:
    from .engine import Engine


class Stalled:
    """Parks all that would create while no create is answered, and judges whose trouble is its own."""

    def __init__(
        self, engine: Engine, creates: CreateBreaker, outages: Outages, lifecycle: Lifecycle, clock: Clock
    ) -> None:
        self._engine = engine
        self._creates = creates
        self._outages = outages
        self._lifecycle = lifecycle
        self._clock = clock
        self._parked: list[WorkItem] = []  # wait until creates are answered
        self._resting: list[tuple[WorkItem, Done]] = []  # their repeats are spent; wait to see whether others' are
        self._asking: WorkItem | None = None
        self._fell = anyio.Event()
        self._pause: anyio.CancelScope | None = None  # while creates are down

    async def watch(self) -> None:
        """Sit out each time in which no create is answered."""
        while True:
            await self._fell.wait()
            self._fell = anyio.Event()
            if self._pause is not None:
                with self._pause:
                    await self._outages.sit_out_creates(self._ask)

    def takes(self, item: WorkItem, step: Step) -> bool:
        """Take in a step on the way to a task. True when its job has to wait here."""
        asked = item is self._asking
        if asked:
            self._asking, item.state.asking = None, False
        spent = isinstance(step, Done) and step.status is Status.SUBMITTING
        spent = spent and self._creates.suspects(item.job_id)
        if self._creates.down:
            self._fall()
            if not (spent or (isinstance(step, Reschedule) and step.stage is Stage.SUBMIT)):
                return False
            self._parked.insert(0 if asked else len(self._parked), item)
            if asked:
                self._outages.creates_fail()
            return True
        if self._pause:
            self._release()
        if self._creates.clear:
            self._judge(lambda _: True)
        elif isinstance(step, Done) and spent:
            self._resting.append((item, step))
            self._engine.drop(item)
            return True
        return False

    def judge_last(self, wait_for_price: bool) -> bool:
        """Nothing else is left to try: judge by what was seen before. True when there is work again.

        `wait_for_price`: others wait until a price is named, so no create of theirs can show whose trouble it is.
        """
        if self._resting and wait_for_price:
            self._creates.fell(self._clock.monotonic())
            self._fall()
        elif self._creates.down:
            self._nobody_asks()
        else:
            self._judge(self._creates.only)
        return bool(self._engine.open)

    def _fall(self) -> None:
        """No create is answered: one existing intent asks on, all else that would create waits."""
        if self._pause:
            return
        for item, _ in self._resting:
            self._engine.open[item.job_id] = item
            self._parked.append(item)
        self._resting.clear()
        self._pause = anyio.CancelScope()
        self._fell.set()

    def _ask(self) -> None:
        """Send one of the waiting intents again, unless that is being done."""
        if self._asking is not None:
            return
        intent = next((each for each in self._parked if each.pending is None or each.state.bought), None)
        if intent:
            self._asking, intent.state.asking = intent, True
            self._parked.remove(intent)
            self._engine.put(intent)
        elif len(self._parked) == len(self._engine.open):
            self._nobody_asks()

    def _nobody_asks(self) -> None:
        reason = "no create was answered, and no key is young enough to ask with (retries.replay_window)"
        self._engine.halted(Kind.UNREACHABLE, reason)

    def _release(self) -> None:
        assert self._pause is not None, "creates fell before they can work again"
        self._pause.cancel()
        self._pause = None
        self._outages.creates_work()
        parked, self._parked = self._parked, []
        for item in parked:
            item.state.answered()
            self._engine.put(item)

    def _judge(self, own: Callable[[JobId], bool]) -> None:
        """End the work on those that rest; one that met pages only is blocked if that is its `own` trouble."""
        resting, self._resting = self._resting, []
        for item, step in resting:
            if item.state.pages >= PAGES and own(item.job_id):
                item.state.blocked = True
                self._engine.add(item, Stage.SUBMIT)
            else:
                status = self._lifecycle.withdraw(item.job_id, step.left) or step.status
                self._engine.finished(item, status, step.left)
