"""Money under random histories: a double that charges, a ledger that dies and comes back, people who decide.

The rules are what can happen to a client, in any order; the invariants are the promises 1 to 3 of product.md. The
double (`machine_api`) is the truth about what was charged; what the ledger says is added up by hand from its rows.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from core_helpers import ACCOUNT, OTHER, job_name, make_spec
from fuzz.machine_api import Api, Tariff, taken, unpriced
from fuzz.machine_promises import Promises
from fuzz.machine_stage import (
    ANY_STATUS,
    CLASSES,
    JOBS,
    NOWHERE,
    UNDER_WAY,
    allowances,
    campaign_of,
    cap_values,
    class_of,
    classes,
    tariffs,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from batcher.jobs import Status, Submitting, Waiting
from batcher.ledger import Caps, NotAdmitted, Stale, decisions
from batcher.settings import Allowance

pytestmark = pytest.mark.sweep


class Money(Promises):
    """What may happen, in any order."""

    @initialize(
        data=st.data(),
        run=cap_values,
        campaign=cap_values,
        day=cap_values,
        allowance=allowances,
        keep=st.sampled_from([None, 20, 60]),
        tariff=st.tuples(tariffs, tariffs),
        wallet=st.integers(50, 130),
    )
    def begin(
        self,
        data: st.DataObject,
        run: int | None,
        campaign: int | None,
        day: int | None,
        allowance: dict[str, Allowance],
        keep: int | None,
        tariff: tuple[Tariff, Tariff],
        wallet: int,
    ) -> None:
        prices = dict(zip(CLASSES, tariff, strict=True))
        names = {ACCOUNT.text: "ours", OTHER.text: "other"}
        self.apis = {account: Api(name, dict(prices), wallet) for account, name in names.items()}
        campaigns = {} if campaign is None else {"spring": campaign}
        self.caps = Caps(run=run, campaigns=campaigns, allowances=allowance, day=day, keep=keep)
        self.open()
        self.enrol(set(range(JOBS)))
        self.take_up(data, one_by_one=False)

    def open(self) -> None:
        self.asked = None
        self.look(processed=True)

    @rule(wanted=st.sets(st.integers(0, JOBS - 1), min_size=JOBS - 4))
    def enrol(self, wanted: set[int]) -> None:
        """The manifest was edited: some jobs are gone, others are back."""
        for campaign in ("spring", "autumn"):
            mine = [n for n in sorted(wanted) if campaign_of(n) == campaign]
            self.shelf.enrol([make_spec(n, campaign=campaign, price_class=class_of(n)) for n in mine], campaign)

    @rule(data=st.data(), one_by_one=st.booleans())
    def work(self, data: st.DataObject, one_by_one: bool) -> None:
        """Jobs are taken up side by side, or each has its answer before the next."""
        self.take_up(data, one_by_one)

    def take_up(self, data: st.DataObject, one_by_one: bool) -> None:
        pending = self.pending()
        for number in self.some(data, pending) if pending else ():
            self.intend(number)
            if one_by_one and number in self.on_the_way:
                self.hear(number, priced=True)

    def some(self, data: st.DataObject, found: list[int]) -> list[int]:
        return data.draw(st.lists(st.sampled_from(found), min_size=1, max_size=4, unique=True))

    def intend(self, number: int) -> None:
        before, self.shelf.caps = self.attempts(), self.caps
        made = self.shelf.intend(number)
        if isinstance(made, NotAdmitted):
            self.check_refusal(number, made, before)
            return
        self.on_the_way[number] = made
        self.check_intent(number, self.latest(number), before)
        self.may_buy_again.discard(number)

    @rule(data=st.data())
    @precondition(lambda self: self.having("cancelled", "failed", "doubtful", "succeeded", *UNDER_WAY))
    def want_what_is_not_planned(self, data: st.DataObject) -> None:
        """A person was quicker, or the job is bought: no intent."""
        number = data.draw(st.sampled_from(self.having("cancelled", "failed", "doubtful", "succeeded", *UNDER_WAY)))
        with suppress(Stale):
            assert isinstance(self.shelf.intend(number), NotAdmitted)

    @rule(data=st.data(), priced=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.on_the_way)
    def answer(self, data: st.DataObject, priced: bool) -> None:
        """The API's answers arrive; they may not name the price yet."""
        for number in self.some(data, sorted(self.on_the_way)):
            self.hear(number, priced)

    def hear(self, number: int, priced: bool) -> None:
        intent = self.on_the_way.pop(number)
        task = self.post(intent, number)
        if task:
            self.shelf.ledger.submitted(intent, task.show(priced=priced))
            self.check_hold(number, task, priced)
        elif not self.now(intent).maybe_received:
            self.shelf.ledger.unsent(intent, "insufficient_credits", "the wallet holds too little")

    @rule(data=st.data(), processed=st.booleans())
    @precondition(lambda self: self.on_the_way)
    def lose(self, data: st.DataObject, processed: bool) -> None:
        """The connection is cut; nobody here knows whether the API has worked on it."""
        number, intent = self.pick(data)
        if processed:
            self.post(intent, number)
        self.shelf.ledger.maybe_received(intent, "no_answer", "")
        self.on_the_way[number] = self.now(intent)  # sent again, sooner or later

    @rule(data=st.data(), how=st.sampled_from(["refused", "unsent"]))
    @precondition(lambda self: self.on_the_way)
    def refuse(self, data: st.DataObject, how: str) -> None:
        number, intent = self.pick(data)
        if self.api.tasks.get(intent.key):
            self.on_the_way[number] = intent  # the API does not refuse what it has taken
            return
        maybe = self.now(intent).maybe_received
        status = getattr(self.shelf.ledger, how)(intent, "no", "no")
        assert (status is Status.DOUBTFUL) is maybe

    @rule(data=st.data())
    @precondition(lambda self: self.having("submitting"))
    def repeat(self, data: st.DataObject) -> None:
        """What is on disk without an answer is sent again: the same key, the same bytes."""
        number = data.draw(st.sampled_from(self.having("submitting")))
        phase = self.phase(number)
        if isinstance(phase, Submitting):
            self.on_the_way[number] = phase.intent

    @rule(
        data=st.data(),
        end=st.sampled_from([None, Status.SUCCEEDED, Status.SUCCEEDED, Status.FAILED]),
        told=st.booleans(),
        fee=st.sampled_from([0, 0, 7, 30]),
    )
    @precondition(lambda self: self.having("queued", "processing"))
    def poll(self, data: st.DataObject, end: Status | None, told: bool, fee: int) -> None:
        """Tasks end, or not; a failure may cost a fee, a success name its price later."""
        for number in self.some(data, self.having("queued", "processing")):
            if isinstance(phase := self.phase(number), Waiting):
                self.look_at(number, phase, end, told, fee)
        self.take_up(data, one_by_one=False)  # places are free

    def look_at(self, number: int, phase: Waiting, end: Status | None, told: bool, fee: int) -> None:
        task = self.api.find(phase.task_id)
        if task is None:
            assert phase.task_id == NOWHERE, "a person was wrong"
            self.shelf.ledger.doubt(phase.attempt_id, "not_found", "unknown")
            return
        if end is not None:
            self.api.end(task, end, self.latest(number)["hold_credits"], told=told, fee=fee)
        self.shelf.ledger.record(phase.attempt_id, task.show())
        self.check_hold(number, task, priced=True)

    @rule(data=st.data(), late=st.booleans())
    @precondition(lambda self: self.having(*UNDER_WAY))
    def doubt(self, data: st.DataObject, late: bool) -> None:
        """A conflict that lasts, a key that is too old, a task that the API forgets; an answer may still come."""
        number = data.draw(st.sampled_from(self.having(*UNDER_WAY)))
        phase = self.phase(number)
        intent = self.on_the_way.pop(number, None)
        if isinstance(phase, Submitting):
            self.shelf.ledger.doubt(phase.intent.attempt_id, "conflict", "it lasts")
            if intent and late and (task := self.post(intent, number)):
                with pytest.raises(Stale):
                    self.shelf.ledger.submitted(intent, task.show())
        elif phase:
            self.shelf.ledger.doubt(phase.attempt_id, "not_found", "gone")

    @rule(data=st.data())
    @precondition(lambda self: len(self.having("planned")) > JOBS // 2)
    def cannot_send(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.having("planned")))
        self.shelf.ledger.cannot_send(job_name(number), "reference_changed", "the file has changed")

    @rule(data=st.data())
    @precondition(lambda self: set(self.having("succeeded", "failed")) & self.bought())
    def news_come_twice(self, data: st.DataObject) -> None:
        """What was said already changes nothing; another final takes the place of the first."""
        number = data.draw(st.sampled_from(sorted(set(self.having("succeeded", "failed")) & self.bought())))
        row = self.latest(number)
        task = self.task_of(row)
        assert task is not None
        if data.draw(st.booleans()):
            self.apis[row["account"]].change(task, data.draw(st.sampled_from([3, 12, 40])), taken(row))
        self.shelf.ledger.record(row["id"], task.show())
        assert self.latest(number)["final_credits"] == (task.final if task.told else row["final_credits"])

    @rule(data=st.data())
    @precondition(lambda self: any(map(unpriced, self.before.values())))
    def give_up_a_price(self, data: st.DataObject) -> None:
        """It was asked for long enough: what was held is what it cost."""
        row = data.draw(st.sampled_from([row for row in self.before.values() if unpriced(row)]))
        self.shelf.ledger.final_unknown(row["id"])
        [now] = [each for each in self.attempts() if each["id"] == row["id"]]
        assert now["final_credits"] == row["hold_credits"]

    @rule(data=st.data(), processed=st.booleans(), other_key=st.sampled_from([False, False, False, True]))
    def crash(self, data: st.DataObject, processed: bool, other_key: bool) -> None:
        """The process is lost, with all answers on their way; the next one may have another key."""
        for number, intent in self.on_the_way.items() if processed else []:
            self.post(intent, number)
        self.on_the_way.clear()
        if other_key:
            self.shelf.account = OTHER if self.shelf.account == ACCOUNT else ACCOUNT
        self.shelf.restart()
        self.open()
        rows = [row for row in self.attempts() if row["latest"] and row["status"] == "submitting"]
        assert all(row["maybe_received"] for row in rows), "nobody knows any more what became of it"
        self.take_up(data, one_by_one=True)

    # Caps, the wallet, the API's prices

    @rule(cap=st.sampled_from(["run", "campaign", "day"]), value=cap_values)
    def recap(self, cap: str, value: int | None) -> None:
        change = {"campaigns": {} if value is None else {"spring": value}} if cap == "campaign" else {cap: value}
        self.caps = replace(self.caps, **change)

    @rule(allowance=allowances)
    def allot(self, allowance: dict[str, Allowance]) -> None:
        """Manifests name another allowance, or none, or another total; what is bought has drawn on the old one."""
        self.caps = replace(self.caps, allowances=allowance)

    @rule(keep=st.sampled_from([None, 0, 20, 50, 90]))
    def keep(self, keep: int | None) -> None:
        self.caps = replace(self.caps, keep=keep)
        self.look(processed=True)

    @rule(processed=st.booleans())
    def look(self, processed: bool) -> None:
        """Ask for the wallet, or hear the answer; in between the API reads it, sooner or later."""
        if self.asked is None:
            mark = self.shelf.ledger.read.wallet_mark()
            self.asked = (mark, self.read(mark) if processed else None)
            return
        mark, said = self.asked
        self.asked, self.reading = None, said or self.read(mark)
        self.caps = replace(self.caps, wallet=self.reading.wallet, wallet_mark=mark)

    @rule(credits_=st.sampled_from([3, 20, 60]))
    def others_draw(self, credits_: int) -> None:
        drawn = min(credits_, self.api.wallet)
        self.api.wallet -= drawn
        self.api.drawn += drawn

    @rule(price_class=classes, tariff=tariffs)
    def reprice(self, price_class: str, tariff: Tariff) -> None:
        """The API changes its mind; what is on the way was quoted at the old price, what runs ends at the new one."""
        self.api.tariffs[price_class] = tariff

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.shelf.clock.now += hours * 3600

    # What a person decides

    @rule(data=st.data(), statuses=st.sampled_from([ANY_STATUS, ANY_STATUS, frozenset({Status.FAILED})]))
    @precondition(lambda self: self.having(*ANY_STATUS))
    def retry(self, data: st.DataObject, statuses: frozenset[Status]) -> None:
        number = data.draw(st.sampled_from(self.having(*ANY_STATUS)))
        found = self.decide(number, decisions.Retry(statuses, alone=True))
        assert isinstance(found, decisions.Decided) == (self.statuses[number] in statuses)
        if isinstance(found, decisions.Decided):
            self.allow(number)

    @rule(data=st.data())
    @precondition(lambda self: len(self.having("planned")) > JOBS // 2)
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.having("planned", "cancelled")))
        if isinstance(self.decide(number, decisions.Cancel()), decisions.Decided):
            self.cancelled.add(number)

    @rule(
        data=st.data(), decision=st.sampled_from([decisions.Cancel(), decisions.Retry(frozenset(Status), alone=True)])
    )
    @precondition(lambda self: self.having(*UNDER_WAY, "doubtful"))
    def meddle(self, data: st.DataObject, decision: decisions.Decision) -> None:
        """What is bought or in doubt is neither cancelled nor bought again."""
        number = data.draw(st.sampled_from(self.having(*UNDER_WAY, "doubtful")))
        assert isinstance(self.decide(number, decision), decisions.Left)

    @rule(data=st.data(), known=st.booleans())
    @precondition(lambda self: self.having("doubtful"))
    def resolve_submitted(self, data: st.DataObject, known: bool) -> None:
        number = data.draw(st.sampled_from(self.having("doubtful")))
        task = self.task_of(self.latest(number))
        self.decide(number, decisions.Submitted(task.id if task and known else NOWHERE))

    @rule(data=st.data(), again=st.booleans(), charged=st.sampled_from([None, None, 0, 7, 40]))
    @precondition(lambda self: self.having("doubtful"))
    def resolve_closed(self, data: st.DataObject, again: bool, charged: int | None) -> None:
        """The person knows what was charged (`charged` is None), or is wrong about it."""
        number = data.draw(st.sampled_from(self.having("doubtful")))
        row = self.latest(number)
        task = self.task_of(row)
        truth = task.charged if task else 0
        said = truth if charged is None else charged
        assert isinstance(self.decide(number, decisions.Closed(said, again)), decisions.Decided)
        self.charged_by_a_person[row["id"]] = said
        self.apis[row["account"]].above += max(0, truth - said)
        if again:
            self.allow(number)


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_money() -> None:
    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
