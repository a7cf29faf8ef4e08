"""The stage of the money machine: a ledger, two accounts of the API, and what its rules look up and check."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from core_helpers import Shelf, job_name
from fuzz.machine_api import Api, Row, Tariff, Task, committed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from batcher.clock import local_day
from batcher.jobs import Intent, Status, Submitting, Waiting
from batcher.ledger import Caps, NotAdmitted, decisions
from batcher.settings import Allowance

JOBS = 10
CLASSES = ("small", "large")
UNDER_WAY = ("submitting", "queued", "processing")
CATALOG = 10
NOWHERE = "task_nowhere"
ANY_STATUS = frozenset({Status.FAILED, Status.SUCCEEDED, Status.CANCELLED})

classes = st.sampled_from(CLASSES)
tariffs = st.builds(Tariff, st.sampled_from([0, 5, 10, 14, 20]), st.sampled_from([4, 10, 14, 25]))
cap_values = st.sampled_from([None, None, 19, 24, 29, 60, 100])


def _night(total: int | None, shared: bool) -> dict[str, Allowance]:
    if total is None:
        return {}
    night = Allowance("night", total)
    return {"spring": night, "autumn": night} if shared else {"spring": night, "autumn": Allowance("day", 60)}


#: What each campaign's manifest names: one for both, one each, or none.
allowances = st.builds(_night, cap_values, st.sampled_from([True, True, False]))


def campaign_of(number: int) -> str:
    return "spring" if number < 7 else "autumn"


def class_of(number: int) -> str:
    return CLASSES[number % 2]


@dataclass(frozen=True)
class Reading:
    """A look into the wallet: the mark taken before it, what the API said, what others and it had taken by then."""

    mark: int
    wallet: int
    drawn: int
    above: int


_PENDING = (
    "SELECT w.id FROM wanted AS w JOIN campaigns AS c ON c.name = w.campaign"
    " WHERE w.status = 'planned' AND w.expansion = c.expansion"
)


class Stage(RuleBasedStateMachine):
    """A client, its ledger, the API and a person; the rules are in `test_ledger_machine`."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
        self.shelf = Shelf(Path(self.folder.name) / "ledger.db")
        self.desk = decisions.open_ledger(self.shelf.path, self.shelf.clock)
        self.caps = Caps()
        self.apis: dict[str, Api] = {}  # by account
        self.reading = Reading(0, 0, 0, 0)
        self.on_the_way: dict[int, Intent] = {}
        self.asked: tuple[int, Reading | None] | None = None  # a reading under way: its mark, what the API said
        self.before: dict[int, Row] = {}  # the attempts after the last step
        self.statuses: dict[int, str] = {}  # those of the jobs after the last step
        self.charged_by_a_person: dict[int, int] = {}  # by attempt
        self.allowed: Counter[int] = Counter()  # by job: how often a person has asked for one more attempt
        self.may_buy_again: set[int] = set()
        self.cancelled: set[int] = set()

    def teardown(self) -> None:
        self.shelf.ledger.close()
        self.desk.close()
        self.folder.cleanup()

    @property
    def api(self) -> Api:
        return self.apis[self.shelf.account.text]

    def attempts(self) -> list[Row]:
        return self.shelf.rows(
            "SELECT a.*, w.campaign, w.status, w.attempt_id IS a.id AS latest"
            " FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id ORDER BY a.id"
        )

    def task_of(self, row: Row) -> Task | None:
        return self.apis[row["account"]].tasks.get(row["idempotency_key"])

    # What is the case

    def having(self, *statuses: str) -> list[int]:
        """The jobs that had one of these statuses after the last step."""
        return [number for number, status in self.statuses.items() if status in statuses]

    def pending(self) -> list[int]:
        """The jobs that a run may buy: planned, and in the newest expansion."""
        return [int(row["id"], 16) for row in self.shelf.rows(_PENDING)]

    def bought(self) -> set[int]:
        """The jobs whose latest attempt came to the end that their status tells."""
        return {
            int(row["job_id"], 16) for row in self.before.values() if row["latest"] and row["status"] == row["outcome"]
        }

    def latest(self, number: int) -> Row:
        """The job's latest attempt."""
        [row] = [row for row in self.attempts() if row["job_id"] == job_name(number) and row["latest"]]
        return row

    def now(self, intent: Intent) -> Intent:
        phase = self.shelf.ledger.read.load(intent.job_id).phase
        assert isinstance(phase, Submitting)
        return phase.intent

    def pick(self, data: st.DataObject) -> tuple[int, Intent]:
        number = data.draw(st.sampled_from(sorted(self.on_the_way)))
        return number, self.on_the_way.pop(number)

    def phase(self, number: int) -> Submitting | Waiting | None:
        """The phase of a job that is under way; None if it was bought with another key than that of this run."""
        phase = self.shelf.ledger.read.load(job_name(number)).phase
        assert isinstance(phase, Submitting | Waiting)
        account = phase.intent.account if isinstance(phase, Submitting) else phase.account
        return phase if account == self.shelf.account.text else None

    # What the rules share

    def post(self, intent: Intent, number: int) -> Task | None:
        [row] = [row for row in self.attempts() if row["id"] == intent.attempt_id]
        assert row["body"] == intent.body, "on disk before it is sent"
        return self.apis[intent.account].create(intent, class_of(number), row["hold_credits"])

    def read(self, mark: int) -> Reading:
        return Reading(mark, self.api.wallet, self.api.drawn, self.api.above)

    def decide(self, number: int, decision: decisions.Decision) -> decisions.Decided | decisions.Left:
        """A person decides, by another connection."""
        [found] = decisions.decide(self.desk, decision, [job_name(number)])
        return found

    def allow(self, number: int) -> None:
        self.allowed[number] += 1
        self.may_buy_again.add(number)
        self.cancelled.discard(number)

    # What must be so when an intent was made or refused

    def check_intent(self, number: int, row: Row, before: list[Row]) -> None:
        for cap, counted, limit in self.scopes([*before, row], row):
            assert limit is None or committed(counted) <= limit, f"the cap {cap} is passed"
        self.check_quote(row, before)
        self.check_wallet(row)
        assert number not in self.cancelled, "a person has cancelled it"
        earlier = [each for each in before if each["job_id"] == row["job_id"]]
        again = bool(earlier) and earlier[-1]["outcome"] != "refused"
        assert not again or number in self.may_buy_again, "a second purchase without a person"

    def check_quote(self, row: Row, before: list[Row]) -> None:
        """A class of an unknown price goes alone; a price that the API was heard to take is not quoted too low."""
        alike = [a for a in before if (a["account"], a["price_class"]) == (row["account"], row["price_class"])]
        on_the_way = [a for a in alike if a["final_credits"] is None and a["outcome"] != "doubtful"]
        assert self.seen(alike) or not on_the_way, "a class whose price is not known goes alone"
        ends = [a["final_credits"] for a in alike if a["outcome"] == "succeeded" and a["final_credits"]]
        reserved = [a["reserved_credits"] for a in alike if a["reserved_credits"]]
        if not ends + reserved:
            assert row["quoted_credits"] == CATALOG
            return
        assert row["quoted_credits"] in [*ends, *reserved, *(a["hold_credits"] for a in alike), CATALOG]
        assert row["quoted_credits"] >= self.shown(alike), "the API was heard to take more"
        assert ends or row["quoted_credits"] >= CATALOG, "a reserve is no price below the catalogue's"
        assert row["hold_credits"] >= max([row["quoted_credits"], *(a["hold_credits"] for a in on_the_way)])

    def seen(self, alike: list[Row]) -> bool:
        """Whether the API has named a price not below a quote, or settled a job at one."""
        return any(
            (a["reserved_credits"] or 0) >= max(1, a["quoted_credits"])
            or (a["final_credits"] is not None and a["outcome"] == "succeeded")
            or (a["final_credits"] and a["outcome"] == "failed")
            for a in alike
        )

    def shown(self, alike: list[Row]) -> int:
        """What the API's tariff of today comes to, as far as the newest or a present task has shown it."""
        least = 0
        told = [a for a in alike if a["reserved_credits"] is not None]
        ended = [a for a in alike if a["outcome"] == "succeeded" and a["final_credits"]]
        for row in told:
            task = self.task_of(row)
            today = task is not None and task.tariff is self.api.tariffs[row["price_class"]]
            if today and (row is told[-1] or (row["latest"] and row["status"] in UNDER_WAY)):
                least = max(least, row["reserved_credits"])
        if ended:
            task = self.task_of(ended[-1])
            if task is not None and task.told and task.ended_under is self.api.tariffs[ended[-1]["price_class"]]:
                least = max(least, ended[-1]["final_credits"])
        return least

    def check_refusal(self, number: int, made: NotAdmitted, before: list[Row]) -> None:
        """A job that fits is not refused."""
        match made.cap:
            case "price":
                mine = (class_of(number), self.shelf.account.text)
                alike = [a for a in before if (a["price_class"], a["account"]) == mine]
                assert [a for a in alike if a["final_credits"] is None and a["outcome"] != "doubtful"]
                assert not self.seen(alike)
            case "keep":
                assert self.caps.keep is not None
            case cap:
                campaign = campaign_of(number)
                new = {
                    "run_id": self.shelf.run_id,
                    "campaign": campaign,
                    "day": self.today(),
                    "allowance": self.allowance_of(campaign)[0],
                }
                scopes = [(rows, limit) for name, rows, limit in self.scopes(before, new) if name == cap]
                assert any(limit is not None and committed(rows) + made.quote > limit for rows, limit in scopes)

    def today(self) -> str:
        return local_day(self.shelf.clock.wall(), None)

    def scopes(self, rows: list[Row], new: Row) -> list[tuple[str, list[Row], int | None]]:
        """The caps that a new attempt comes under, each with all that counts against it."""
        name, total = self.allowance_of(new["campaign"])
        assert new["allowance"] == name, "it draws on the allowance that was named at its intent"
        limits = {
            "run_id": self.caps.run,
            "campaign": self.caps.campaigns.get(new["campaign"]),
            "day": self.caps.day,
            "allowance": total,
        }
        return [
            (column.removesuffix("_id"), [row for row in rows if row[column] == new[column]], limit)
            for column, limit in limits.items()
        ]

    def allowance_of(self, campaign: str) -> tuple[str | None, int | None]:
        """The allowance that a campaign's manifest names now, and its total."""
        named = self.caps.allowances.get(campaign)
        return (named.name, named.total) if named else (None, None)

    def check_wallet(self, new: Row) -> None:
        """`keep` stays in the wallet, but for what others draw and the API takes over what was held."""
        if self.caps.keep is None:
            return
        rows = [row for row in self.attempts() if row["account"] == new["account"] and row["outcome"] is None]
        to_come = sum(row["hold_credits"] for row in rows if self.task_of(row) is None)
        excused = (self.api.drawn - self.reading.drawn) + (self.api.above - self.reading.above)
        assert self.api.wallet - to_come >= self.caps.keep - excused

    def check_hold(self, number: int, task: Task, priced: bool) -> None:
        """What the API has said is what counts from now on."""
        row = self.latest(number)
        if task.status is not Status.QUEUED:
            assert row["final_credits"] == (task.final if task.told else None)
        elif priced:
            assert row["reserved_credits"] == task.tariff.reserved
        assert row["hold_credits"] >= max(row["quoted_credits"], row["reserved_credits"] or 0)
