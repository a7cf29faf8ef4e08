"""Money under random histories: a double that charges, a ledger that dies and comes back, and sums by hand.

The double is the API: it charges a key once and remembers it. The ledger's client sends, loses answers, polls,
crashes and starts again in any order; after every step the caps hold and the books agree.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from core_helpers import Shelf, job_name, make_spec, make_task
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batcher.jobs import Intent, Status, Submitting, TaskState, Waiting
from batcher.ledger import Caps, Refusal, Stale

JOBS = 12
CLASSES = ("small", "large")


@dataclass
class Api:
    """Charges a key once; the same key with the same bytes shows the same task again."""

    prices: dict[str, int] = field(default_factory=lambda: {"small": 10, "large": 10})
    tasks: dict[str, tuple[str, bytes, int]] = field(default_factory=dict)  # key: id, body, credits
    ends: dict[str, tuple[Status, int]] = field(default_factory=dict)  # id: state, final credits
    price_of: dict[str, int] = field(default_factory=dict)  # id: credits at the creation

    def create(self, intent: Intent, price_class: str) -> TaskState:
        known = self.tasks.get(intent.key)
        assert known is None or known[1] == intent.body, "one key with two bodies"
        if known is None:
            number = len(self.tasks) + 1
            known = self.tasks[intent.key] = (f"task_{number}", intent.body, self.prices[price_class])
            self.price_of[known[0]] = known[2]
        return self.show(known[0])

    def show(self, task_id: str) -> TaskState:
        status, final = self.ends.get(task_id, (Status.QUEUED, 0))
        return TaskState(task_id, status, str(status), self.price_of[task_id], final)

    @property
    def charged(self) -> int:
        return sum(final for _, final in self.ends.values())


class Money(RuleBasedStateMachine):
    """The rules are what can happen to a client; the invariants what must not."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.shelf = Shelf(Path(self.folder.name) / "ledger.db")
        self.shelf.ledger._connection.execute("PRAGMA synchronous = OFF")
        self.api = Api()
        self.on_the_way: dict[int, Intent] = {}

    def teardown(self) -> None:
        self.shelf.ledger.close()
        self.folder.cleanup()

    @initialize(
        run=st.sampled_from([None, 30, 45]),
        campaign=st.sampled_from([None, 40, 60]),
        day=st.sampled_from([None, 35, 200]),
        small=st.sampled_from([0, 5, 10, 14]),
        large=st.sampled_from([10, 25]),
    )
    def begin(self, run: int | None, campaign: int | None, day: int | None, small: int, large: int) -> None:
        campaigns = {} if campaign is None else {"spring": campaign}
        self.caps = Caps(run=run, campaigns=campaigns, day=day)
        self.api.prices = {"small": small, "large": large}
        self.enrol(set(range(JOBS)))

    @rule(wanted=st.sets(st.integers(0, JOBS - 1)))
    def enrol(self, wanted: set[int]) -> None:
        specs = [make_spec(n, price_class=CLASSES[n % 2]) for n in sorted(wanted)]
        self.shelf.enrol(specs)

    @rule(number=st.integers(0, JOBS - 1))
    def intend(self, number: int) -> None:
        try:
            made = self.shelf.intend(number, **vars_of(self.caps))
        except Stale:
            assert self.shelf.job(number)["status"] != "planned"
            return
        if isinstance(made, Refusal):
            return
        price_class = CLASSES[number % 2]
        alike = [n for n in self.on_the_way if CLASSES[n % 2] == price_class]
        [row] = self.shelf.rows("SELECT quoted_credits FROM attempts WHERE id = ?", made.attempt_id)
        if row["quoted_credits"] < self.api.prices[price_class]:
            # Too low a quote: the first of a class, alone, or before the API has named a rise.
            assert not alike or self.priced(price_class), "a class whose price is not known goes alone"
        self.on_the_way[number] = made

    def priced(self, price_class: str) -> bool:
        return self.shelf.ledger.read.seen_price(self.shelf.account.text, price_class) is not None

    @rule(data=st.data())
    @precondition(lambda self: self.on_the_way)
    def answer(self, data: st.DataObject) -> None:
        number, intent = self.pick(data)
        self.shelf.ledger.submitted(intent, self.api.create(intent, CLASSES[number % 2]))

    @rule(data=st.data(), processed=st.booleans())
    @precondition(lambda self: self.on_the_way)
    def lose(self, data: st.DataObject, processed: bool) -> None:
        number, intent = self.pick(data)
        if processed:
            self.api.create(intent, CLASSES[number % 2])
        self.shelf.ledger.maybe_received(intent, "no_answer")
        self.on_the_way[number] = self.now(intent)  # sent again, sooner or later

    @rule(data=st.data(), how=st.sampled_from(["refused", "unsent"]))
    @precondition(lambda self: self.on_the_way)
    def refuse(self, data: st.DataObject, how: str) -> None:
        _, intent = self.pick(data)
        if intent.key in self.api.tasks:
            return  # the API does not refuse what it has taken
        maybe = self.now(intent).maybe_received
        status = getattr(self.shelf.ledger, how)(intent, "no", "no")
        assert (status is Status.DOUBTFUL) is maybe

    def now(self, intent: Intent) -> Intent:
        phase = self.shelf.ledger.read.load(intent.job_id).phase
        assert isinstance(phase, Submitting)
        return phase.intent

    def pick(self, data: st.DataObject) -> tuple[int, Intent]:
        number = data.draw(st.sampled_from(sorted(self.on_the_way)))
        return number, self.on_the_way.pop(number)

    @rule(number=st.integers(0, JOBS - 1))
    def repeat(self, number: int) -> None:
        """What is on disk without an answer is sent again: the same key, the same bytes."""
        if job_name(number) not in {row["id"] for row in self.shelf.rows("SELECT id FROM wanted")}:
            return
        phase = self.shelf.ledger.read.load(job_name(number)).phase
        if isinstance(phase, Submitting):
            self.on_the_way[number] = phase.intent

    @rule(number=st.integers(0, JOBS - 1), end=st.sampled_from([None, "succeeded", "failed", "cheaper"]))
    def poll(self, number: int, end: str | None) -> None:
        if job_name(number) not in {row["id"] for row in self.shelf.rows("SELECT id FROM wanted")}:
            return
        phase = self.shelf.ledger.read.load(job_name(number)).phase
        if not isinstance(phase, Waiting):
            return
        price = self.api.price_of[phase.task_id]
        ends = {
            "succeeded": (Status.SUCCEEDED, price),
            "cheaper": (Status.SUCCEEDED, price // 2),
            "failed": (Status.FAILED, 0),
        }
        if end is not None:
            self.api.ends.setdefault(phase.task_id, ends[end])
        self.shelf.ledger.record(job_name(number), phase.attempt_id, self.api.show(phase.task_id))

    @rule(number=st.integers(0, JOBS - 1))
    def news_come_twice(self, number: int) -> None:
        """A second settling changes nothing."""
        for row in self.shelf.rows("SELECT * FROM attempts WHERE job_id = ?", job_name(number)):
            if row["outcome"] in ("succeeded", "failed"):
                before = self.shelf.ledger.read.spent()
                task = make_task(0, Status(row["outcome"]), reserved_credits=77, final_credits=99)
                self.shelf.ledger.record(job_name(number), row["id"], task)
                assert self.shelf.ledger.read.spent() == before

    @rule()
    def crash(self) -> None:
        self.on_the_way.clear()
        self.shelf.restart()
        self.shelf.ledger._connection.execute("PRAGMA synchronous = OFF")
        for row in self.shelf.rows(
            "SELECT maybe_received FROM attempts JOIN wanted ON attempt_id = attempts.id WHERE status = 'submitting'"
        ):
            assert row["maybe_received"], "nobody knows any more what became of it"

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.shelf.clock.now += hours * 3600

    @rule(price_class=st.sampled_from(CLASSES), price=st.sampled_from([10, 20]))
    def reprice(self, price_class: str, price: int) -> None:
        """The API changes its mind; what is on the way was quoted at the old price."""
        self.api.prices[price_class] = price

    # What must not happen

    @invariant()
    def the_sums_are_those_of_the_rows(self) -> None:
        found = self.shelf.rows("SELECT a.*, w.campaign FROM attempts AS a JOIN wanted AS w ON w.id = a.job_id")
        by_key: dict[tuple[int, str, str], list[int]] = {}
        for row in found:
            sums = by_key.setdefault((row["run_id"], row["campaign"], row["day"]), [0, 0])
            if row["final_credits"] is None:
                sums[0] += row["quoted_credits"] if row["reserved_credits"] is None else row["reserved_credits"]
            else:
                sums[1] += row["final_credits"]
        kept = {
            (row["run_id"], row["campaign"], row["day"]): [row["held"], row["settled"]]
            for row in self.shelf.rows("SELECT * FROM spent")
        }
        assert kept == by_key

    @invariant()
    def caps_hold(self) -> None:
        """Save what the API took above the quote of the very attempts that count."""
        if not hasattr(self, "caps"):
            return
        read = self.shelf.ledger.read
        for run in self.shelf.rows("SELECT id FROM runs"):
            allowed = self.allowed(self.caps.run, "run_id", run["id"])
            assert read.spent(run_id=run["id"]).committed <= allowed
        for limit in self.caps.campaigns.values():
            assert read.spent(campaign="spring").committed <= self.allowed(limit, "1", 1)
        for row in self.shelf.rows("SELECT DISTINCT day FROM spent"):
            assert read.spent(day=row["day"]).committed <= self.allowed(self.caps.day, "day", row["day"])

    def allowed(self, cap: int | None, column: str, value: object) -> float:
        taken = "max(0, coalesce(final_credits, reserved_credits, quoted_credits) - quoted_credits)"
        [row] = self.shelf.rows(f"SELECT coalesce(sum({taken}), 0) AS n FROM attempts WHERE {column} = ?", value)
        return float("inf") if cap is None else cap + row["n"]

    @invariant()
    def an_attempt_is_one_key_with_one_body_and_is_charged_once(self) -> None:
        attempts = {row["idempotency_key"]: row for row in self.shelf.rows("SELECT * FROM attempts")}
        assert set(self.api.tasks) <= set(attempts), "nothing was bought that is not written down"
        for key, (task_id, body, _) in self.api.tasks.items():
            assert attempts[key]["body"] == body
            assert attempts[key]["task_id"] in (None, task_id)
        live: dict[str, int] = {}
        for row in attempts.values():
            if row["outcome"] != "refused":
                live[row["job_id"]] = live.get(row["job_id"], 0) + 1
        assert all(count == 1 for count in live.values()), "a second purchase without a person"

    @invariant()
    def what_is_settled_is_what_was_charged(self) -> None:
        settled = {
            row["task_id"] for row in self.shelf.rows("SELECT task_id FROM attempts WHERE finished_at IS NOT NULL")
        }
        expected = sum(final for task_id, (_, final) in self.api.ends.items() if task_id in settled)
        assert self.shelf.ledger.read.spent().settled == expected
        held = self.shelf.ledger.read.spent().held
        assert self.api.charged <= self.shelf.ledger.read.spent().settled + held

    @invariant()
    def every_job_has_its_history(self) -> None:
        for row in self.shelf.rows("SELECT id, status FROM wanted"):
            [last] = self.shelf.rows(
                "SELECT detail FROM events WHERE job_id = ? AND json_extract(detail, '$.to') IS NOT NULL"
                " ORDER BY id DESC LIMIT 1",
                row["id"],
            )
            assert json.loads(last["detail"])["to"] == row["status"]


def vars_of(caps: Caps) -> dict[str, Any]:
    return {"run": caps.run, "campaigns": caps.campaigns, "day": caps.day}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_money() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
