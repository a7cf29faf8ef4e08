"""The simulator's memory: tasks, keys, uploads, result URLs and the wallet, built up from records.

Every change is a record that is appended to the journal and then applied, so a restart is applying them again.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import asdict, replace

from .journal import Journal
from .records import Issue, Json, StoredUpload, Task


class Books:
    """What is known, and the only place that changes it. `at` is in seconds since the epoch everywhere."""

    def __init__(self, journal: Journal) -> None:
        self.wallet = 0
        self.spent = 0
        self.tasks: dict[str, Task] = {}
        self.keys: dict[str, str] = {}
        self.uploads: dict[str, StoredUpload] = {}
        self.tokens: dict[str, str] = {}
        self.expired: set[str] = set()
        self.issues: dict[str, Issue] = {}
        self.journal = journal
        self.fresh = True
        # Ends that are still to come, as (time, task id): what a task leaves of its credits goes back at its end.
        self._ends: list[tuple[float, str]] = []
        for record in journal.records():
            self.fresh = False
            self._apply(record)

    def add_task(self, task: Task) -> None:
        """Charge and begin a task; its key is taken from now on."""
        record = asdict(task) | {"body": task.body.decode()}
        del record["request"]
        self._record({"op": "task"} | record)

    def add_upload(self, upload: StoredUpload, data: bytes) -> None:
        """Take a file; its bytes are kept first, so that no upload is known without them."""
        self.journal.keep(upload.sha256, data)
        self._record({"op": "upload"} | asdict(upload))

    def set_wallet(self, amount: int, at: float) -> None:
        """Put this many credits into the wallet."""
        self._record({"op": "wallet", "at": at, "credits": amount})

    def issue(self, task_id: str, at: float) -> Issue:
        """Hand out a new URL for a result; the earlier one is dead."""
        self._record({"op": "issue", "at": at, "task": task_id})
        return self.issues[task_id]

    def expire_results(self, task_id: str | None, at: float) -> None:
        """Kill the URL of one result, or of all."""
        self._record({"op": "expire_results", "at": at, "task": task_id})

    def expire_uploads(self, at: float) -> None:
        """Let go of every file taken so far."""
        self._record({"op": "expire_uploads", "at": at})

    def settle(self, now: float) -> None:
        """Give back what the tasks that have ended by now leave of their credits."""
        while self._ends and self._ends[0][0] <= now:
            task = self.tasks[heapq.heappop(self._ends)[1]]
            self.wallet += task.reserved - task.final
            self.spent -= task.reserved - task.final

    def _record(self, record: Json) -> None:
        self.journal.append(record)
        self._apply(record)

    def _apply(self, record: Json) -> None:
        fields = dict(record)
        operation = fields.pop("op")
        # In the order of time: a wallet that is set must not get refunds that came before.
        self.settle(fields["at"])
        match operation:
            case "task":
                body = fields.pop("body")
                self._begin(Task(**fields, body=body.encode(), request=json.loads(body)))
            case "upload":
                upload = StoredUpload(**fields)
                self.uploads[upload.id] = upload
                self.tokens[upload.token] = upload.id
            case "wallet":
                self.wallet = fields["credits"]
            case "issue":
                before = self.issues.get(fields["task"])
                self.issues[fields["task"]] = Issue(before.number + 1 if before else 1, fields["at"])
            case "expire_results":
                chosen = self.issues if fields["task"] is None else self.issues.keys() & {fields["task"]}
                self.issues |= {name: replace(self.issues[name], dead=True) for name in chosen}
            case "expire_uploads":
                self.expired |= set(self.uploads)
            case _:
                raise ValueError(f"the journal is of a later version: it has a record {operation!r}")

    def _begin(self, task: Task) -> None:
        self.tasks[task.id] = task
        if task.key:
            self.keys[task.key] = task.id
        self.wallet -= task.reserved
        self.spent += task.reserved
        if task.reserved != task.final:
            heapq.heappush(self._ends, (task.finished_at, task.id))
