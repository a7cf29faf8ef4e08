"""Whether a canary's next step may begin, by what came of its last one; for runs on one machine and on many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from batcher.canary import CanaryStep, GoOnCondition
from batcher.engine.ramp import Ramp
from batcher.events import Event
from batcher.jobs import JobId
from batcher.ledger import LedgerWriter
from batcher.ledger.queries import canary

#: Asked whether the next step may begin, beside the condition: why not, or "".
Decide = Callable[[CanaryStep], Awaitable[str]]


def canary_of(
    ledger: LedgerWriter,
    steps: Sequence[Collection[str]],
    then: GoOnCondition,
    decide: Decide | None = None,
    number: int = 0,
) -> Ramp:
    """The steps of a canary, each judged by what the ledger has of its jobs, and by who decides; either way it is
    written down."""

    async def judge(step: int) -> str:
        found = canary.step(ledger.read, list(map(JobId, steps[step])), step + 1, len(steps))
        why = f"{found.unfinished} of {found.jobs} jobs have not come to their end" if found.unfinished else ""
        why = why or then.unmet(found)
        if not why and decide is not None:
            why = await decide(found)
        good = f"{found.succeeded} of {found.jobs} jobs succeeded, price {found.price}"
        message = f"step {found.number} of {found.of}: {why or good}; {'the run stops' if why else 'it goes on'}"
        ledger.note(Event.CANARY, step=found.number, of=found.of, went_on=not why, message=message)
        return why

    return Ramp(steps, judge, number)
