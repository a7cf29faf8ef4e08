"""What a run is asked to do, and what it came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from batcher.canary import NO_CONDITION, CanaryStep, GoOnCondition
from batcher.clock import iso
from batcher.engine import Ending
from batcher.errors import Kind
from batcher.jobs import Status
from batcher.ledger import Caps, LedgerReader, decisions
from batcher.ledger.queries import jobs
from batcher.ledger.queries.budgets import used_before
from batcher.ledger.queries.lookup import Place
from batcher.planning import Plan
from batcher.providers import Provider
from batcher.settings import Settings
from batcher.workload import Workload

#: Opens what a run buys from, for a block: entered once its jobs are enrolled, left when the run has ended.
Connect = Callable[[], AbstractContextManager[Provider]]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run is asked to do, and where.

    `account` is the name of the account in the ledger, `place` where its API is. Unless it `buys`, it only goes on with
    what is bought. `until` is when it starts no new job any more, in seconds since the epoch. `accept_old`: a person
    accepts that the ledger does not know of logs and results beside it. `outer` is the state folder around `state`, if
    there is one. `results` is where results lie, if not below `state`. `command` is for the log: what was typed.
    `redact` takes keys out of what is written down.
    """

    workload: Workload
    state: Path
    connect: Connect = field(repr=False)
    account: str
    place: Place
    redact: Callable[[str], str] = field(repr=False)
    download: bool = True
    until: float | None = None
    buys: bool = True
    accept_old: bool = False
    outer: Path | None = None
    results: str = ""
    #: Of a canary, what has to hold of a step for the next to begin, and who else is asked: why not, or "".
    then: GoOnCondition = NO_CONDITION
    decide: Callable[[CanaryStep], Awaitable[str]] | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What a run came to; `seconds` is how long it took, `started` its row's time, `fetched` counts jobs with a file.

    `used_before` is what earlier runs took under the same budget of a run (in credits), 0 without one. `dropped` tells
    of observers that failed.
    """

    run_id: int
    started: str
    ending: Ending
    plan: Plan
    bill: jobs.Bill
    used_before: int
    campaigns: list[jobs.CampaignState]
    doubtful: list[decisions.JobReview]
    fetched: int
    seconds: float
    dropped: tuple[str, ...] = ()

    @classmethod
    def read_from(
        cls,
        read: LedgerReader,
        run_id: int,
        ending: Ending,
        plan: Plan,
        workload: Workload,
        *,
        fetched: int,
        seconds: float,
        dropped: tuple[str, ...] = (),
    ) -> Self:
        """What the ledger has of a run that has ended so."""
        campaigns = workload.campaigns
        row = jobs.run(read, run_id)
        assert row is not None, "it has begun"
        return cls(
            run_id=run_id,
            started=row["started_at"],
            ending=ending,
            plan=plan,
            bill=jobs.bill(read, run_id),
            used_before=0 if workload.budget is None else used_before(read, campaigns, workload.budget, run_id),
            campaigns=jobs.campaigns(read, campaigns),
            doubtful=[c for c in decisions.select(read, statuses=[Status.DOUBTFUL]) if c.campaign in set(campaigns)],
            fetched=fetched,
            seconds=seconds,
            dropped=dropped,
        )

    @property
    def kind(self) -> Kind:
        """Why it ended; `DONE` when everything selected is done."""
        return self.ending.kind

    @property
    def reason(self) -> str:
        """The same in words."""
        return self.ending.reason


def run_settings(workload: Workload, plan: Plan, settings: Settings, caps: Caps) -> dict[str, Any]:
    """What the row of a run keeps of what it obeys (docs/json.md)."""
    kept = {name: getattr(caps, name) for name in ("run", "campaigns", "day", "keep", "unpriced")}
    kept |= {} if caps.quoted is None else {"quoted": caps.quoted}
    kept["allowances"] = {name: asdict(allowance) for name, allowance in caps.allowances.items()}
    chosen = workload.selection
    limit = chosen.limit if chosen.chosen is None else plan.new
    return {
        **asdict(settings),
        "caps": kept | {"until": None if caps.until is None else iso(caps.until)},
        "selection": {"only": list(chosen.only), "limit": limit},
        **({"plan": workload.saved.id} if workload.saved else {}),
    }
