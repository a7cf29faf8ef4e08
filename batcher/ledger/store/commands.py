"""What people ask of a run that goes on: rows of `commands`, as long as that run has not ended.

They are read in the transaction that admits a job, so a cap that was lowered holds from its commit on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from batcher.controls import DRAINING, PAUSED, Controls, Given, Value
from batcher.events import Event
from batcher.ledger.queries import progress
from batcher.ledger.reader import LedgerReader
from batcher.settings import Rate

from .transaction import Observer, Transaction

NOTHING = Controls()
_MOST = 10**12


def controls(read: LedgerReader, run_id: int | None) -> Controls:
    """What is asked of a run; what was asked of one before it, which was cut off, is kept where it tightens.

    Of a kept cap on a run what the runs since then took is gone. A row that is not as batcher writes it says nothing.
    """
    return understood(read, run_id, read.rows(*question(run_id)))


def question(run_id: int | None) -> tuple[str, tuple[int | None]]:
    """The question for what is asked of a run."""
    return "SELECT what, value, who, given_for FROM commands WHERE run_id = ?", (run_id,)


def understood(read: LedgerReader, run_id: int | None, rows: Sequence[sqlite3.Row]) -> Controls:
    """What the answer to `question` says (see `controls`)."""
    if not rows:
        return NOTHING
    state, who, values = "", "", dict[str, Given]()
    for row in rows:
        kept = row["given_for"] != run_id
        if row["what"] == "state":
            state, who = _state(row["value"]), row["who"]
        elif (value := read_value(row["what"], row["value"])) is not None:
            if kept and row["what"] == "budget.run" and isinstance(value, int):
                value = max(0, value - _taken(read, row["given_for"], run_id))
            values[row["what"]] = Given(value, kept)
    return Controls(PAUSED if state == PAUSED else DRAINING if state == DRAINING else "", who, values)


def _taken(read: LedgerReader, since: int, before: int | None) -> int:
    """What the runs took from one on, before another (None: all of them), in credits."""
    return read.figure(
        "SELECT sum(held + settled) FROM spent WHERE run_id >= ? AND run_id < ?", (since, before or _MOST)
    )


def _state(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def read_value(what: str, text: str) -> Value | None:
    """The value in a row; None for one that batcher does not write."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if what in ("limits.submit", "limits.requests"):
        count, seconds = found if isinstance(found, list) and len(found) == 2 else (0, 0)
        fits = type(count) is int and type(seconds) in (int, float) and 0 < count < _MOST and 0 < seconds < _MOST
        return Rate(count, float(seconds)) if fits else None
    least = 1 if what.startswith("limits.") else 0
    return found if type(found) is int and least <= found < _MOST else None


def written(value: Value) -> Any:
    """A value as JSON has it."""
    return [value.count, value.seconds] if isinstance(value, Rate) else value


class Watch:
    """Looks for what people ask of a run that goes on, and lets observers hear of it."""

    def __init__(self, read: LedgerReader, observe: Observer) -> None:
        self._read = read
        self._observe = observe
        self._run_id: int | None = None
        self._last = 0  # the newest event at the last look: whoever asks something writes one

    def begin(self, t: Transaction) -> None:
        """Write down, as a run's first word, what an earlier one that was cut off leaves to it."""
        self.join(t.run_id)
        found = controls(self._read, t.run_id)
        if found != NOTHING:
            what = [*([f"{found.state} by {found.who}"] if found.state else []), *sorted(found.values)]
            message = f"kept from the run that was cut off: {', '.join(what)}"
            t.event(Event.COMMANDS_KEPT, detail={"state": found.state, "message": message})

    def join(self, run_id: int | None) -> None:
        """Look for what is asked of a run from now on."""
        self._last, self._run_id = progress.last_event(self._read) - 1, run_id

    def __call__(self) -> Controls | None:
        """What is asked of the run, at the first call and when something may have changed since the last; else None."""
        before, self._last = self._last, progress.last_event(self._read)
        if before == self._last or self._run_id is None:
            return None
        for event in progress.commands_after(self._read, self._run_id, before):
            self._observe(event.change)
        return controls(self._read, self._run_id)


def hand_on(t: Transaction) -> None:
    """What was asked of a run that was cut off is asked of the next one, as far as it is stricter."""
    t.run("UPDATE OR REPLACE commands SET run_id = ?", (t.run_id,))


def forget(t: Transaction) -> None:
    """They hold as long as their run."""
    t.run("DELETE FROM commands WHERE run_id = ?", (t.run_id,))


def put(t: Transaction, what: str, value: object, who: str) -> None:
    """Write a value down for the run of this transaction, in place of an older one."""
    t.run(
        "INSERT INTO commands (what, value, who, at, run_id, given_for) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT"
        " (run_id, what) DO UPDATE SET value = excluded.value, who = excluded.who, at = excluded.at,"
        " given_for = excluded.given_for",
        (what, json.dumps(value), who, t.at, t.run_id, t.run_id),
    )


def take_back(t: Transaction, what: str) -> None:
    """Let a value be the run's own again."""
    t.run("DELETE FROM commands WHERE run_id = ? AND what = ?", (t.run_id, what))
