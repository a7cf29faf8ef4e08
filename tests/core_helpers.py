"""A ledger on disk under a clock that tests set, and the nouns that go into it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from support import edit
from virtual_time import EPOCH

from batcher.catalog import Model
from batcher.clock import Uptime
from batcher.errors import UsageError
from batcher.events import Event
from batcher.jobs import Account, Intent, JobId, JobSpec, Status, TaskState
from batcher.ledger import Caps, Change, LedgerWriter, NotAdmitted, Observer, Store
from batcher.ledger.decisions import Cancel, Closed, Decided, Decision, Retry, Submitted, decide

ACCOUNT = Account("https://api.test", "0123456789ab")
OTHER = Account("https://api.test", "ba9876543210")


class ManualClock:
    """Time as a test sets it."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.shift = 0.0
        self.boot = "boot-1"

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.shift

    def uptime(self) -> Uptime | None:
        return Uptime(self.boot, self.now) if self.boot else None


def job_name(number: int) -> JobId:
    return JobId(f"{number:032x}")


def make_spec(number: int, **changes: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "id": job_name(number),
        "campaign": "spring",
        "model": "grok-imagine-video",
        "name": f"prompt-{number}",
        "prompt": f"Boat {number}",
        "params": {},
        "reference": None,
        "take": 1,
        "price_class": "small",
        "catalog_credits": 10,
        "file_name": f"boat-{number}",
    }
    return JobSpec(**fields | changes)


def make_task(number: int = 1, status: Status = Status.QUEUED, **changes: Any) -> TaskState:
    fields: dict[str, Any] = {"task_id": f"task_{number}", "status": status, "word": str(status)}
    if status is Status.QUEUED:
        fields |= {"reserved_credits": 10, "final_credits": 0}
    return TaskState(**fields | changes)


S = TypeVar("S", bound=Store)


@dataclass
class StoreShelf(Generic[S]):
    """A store that can be closed and opened again, as a process does that dies and comes back. Knows its port only."""

    open_store: Callable[[ManualClock, Observer], S]
    clock: ManualClock = field(default_factory=ManualClock)
    account: Account = ACCOUNT
    caps: Caps = field(default_factory=Caps)
    is_shared: bool = False  # by several processes that write

    def __post_init__(self) -> None:
        self.changes: list[Change] = []
        self.priced = 0
        self.open()

    def open(self) -> None:
        self.ledger = self.open_store(self.clock, self.changes.append)
        self.start()

    def start(self) -> None:
        self.run_id = self.ledger.start_run(
            version="1", pid=1, account=self.account.text, campaigns=["spring"], settings="{}"
        )

    def restart(self) -> None:
        self.ledger.close()
        self.open()

    def enrol(self, specs: Iterable[JobSpec], campaign: str = "spring") -> None:
        for step in self.ledger.enrolling(campaign, "m.yaml", specs):
            step()

    def intend(self, number: int, **caps: Any) -> Intent | NotAdmitted:
        return self.ledger.intend(
            self.ledger.read.load(job_name(number)),
            account=self.account,
            compose=lambda request_id: f"body of {request_id}".encode(),
            caps=Caps(**caps) if caps else self.caps,
        )

    def buy(self, number: int, **caps: Any) -> Intent:
        made = self.intend(number, **caps)
        assert isinstance(made, Intent), made
        return made

    def name_price(self, price_class: str = "small", credits_each: int = 10) -> None:
        """Let the API name a price for a class, by a job of another campaign that fails at no cost."""
        self.priced += 1
        number = 0xF000 + self.priced
        self.enrol([make_spec(number, campaign="prices", price_class=price_class)], "prices")
        intent = self.buy(number)
        done = make_task(number, Status.FAILED, reserved_credits=credits_each, final_credits=0)
        self.ledger.submitted(intent, done)

    def status(self, number: int) -> Status:
        return self.ledger.read.known([job_name(number)])[job_name(number)].status

    def told(self, event: Event) -> list[dict[str, Any]]:
        """The details of the events of a kind, as observers heard them."""
        return [dict(change.detail) for change in self.changes if change.event == event]


def multiply(ledger: Path, count: int, where: str, **changes: str) -> None:
    """Put `count` more rows like the first job `where` into a ledger; `changes` are SQL over `i`, the number of each.

    By the names of columns, for migrations add some.
    """
    with closing(sqlite3.connect(ledger)) as db, db:
        names = [row[1] for row in db.execute("PRAGMA table_info(wanted)")]
        changes = {"seq": "1000 + i", "id": "printf('%032x', i)", "position": "1000 + i"} | changes
        columns, values = ", ".join(names), ", ".join(changes.get(name, name) for name in names)
        db.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            f" INSERT INTO wanted ({columns}) SELECT {values} FROM n JOIN (SELECT * FROM wanted WHERE {where} LIMIT 1)",
            (count,),
        )


class Shelf(StoreShelf[LedgerWriter]):
    """A ledger of SQLite, and what stands in its tables."""

    def __init__(self, path: Path, clock: ManualClock | None = None, account: Account = ACCOUNT) -> None:
        self.path = path
        super().__init__(partial(LedgerWriter.open, path), clock or ManualClock(), account)

    def reopen(self, factory: type[sqlite3.Connection]) -> None:
        """Go on with connections of another kind."""
        self.open_store = partial(LedgerWriter.open, self.path, factory=factory)
        self.restart()

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self.ledger.read.rows(sql, values)]

    def edit(self, sql: str, *values: Any) -> None:
        edit(self.path, sql, *values)

    def job(self, number: int) -> dict[str, Any]:
        [row] = self.rows("SELECT * FROM jobs WHERE id = ?", job_name(number))
        return row

    def attempts(self, number: int) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM attempts WHERE job_id = ? ORDER BY number", job_name(number))

    def events(self) -> list[str]:
        return [row["event"] for row in self.rows("SELECT event FROM events ORDER BY id")]


# A person's decisions on one job; each raises UsageError, saying why, when the job is in no state for it.


def retry(ledger: LedgerWriter, job: JobId, statuses: Iterable[Status] = (Status.FAILED,)) -> Decided:
    return decide_one(ledger, Retry(frozenset(statuses)), job)


def cancel(ledger: LedgerWriter, job: JobId) -> Decided:
    return decide_one(ledger, Cancel(), job)


def resolve_submitted(ledger: LedgerWriter, job: JobId, task_id: str) -> Decided:
    return decide_one(ledger, Submitted(task_id), job)


def resolve_failed(ledger: LedgerWriter, job: JobId, charged: int = 0) -> Decided:
    return decide_one(ledger, Closed(charged), job)


def resolve_again(ledger: LedgerWriter, job: JobId, charged: int = 0) -> Decided:
    return decide_one(ledger, Closed(charged, again=True), job)


def decide_one(ledger: LedgerWriter, decision: Decision, job: JobId) -> Decided:
    [found] = decide(ledger, decision, [job])
    if isinstance(found, Decided):
        return found
    raise UsageError(f"job {found.job.short}: {found.why}")


def example(model: Model) -> str:
    """A manifest of one job of a model, with every default written out and whatever else it needs."""
    params: dict[str, Any] = {name: model.default(name) for name in model.params if model.default(name) is not None}
    needs: dict[str, Any] = {
        "url": "https://example.com/film.mp4",
        "array": [{"voice": "Adam", "text": "A boat at dawn"}],
    }
    params |= {name: needs[model.params[name].type] for name in model.lacking({})}
    prompt = {"name": "boat"} if model.prompt.is_none else "A boat at dawn"
    return json.dumps({"campaign": model.id, "model": model.id, "params": params, "prompts": [prompt]})
