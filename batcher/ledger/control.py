"""What a person asks of the run that goes on: pause, resume, drain, other limits, other budgets.

It is written down with its event in one transaction, in which it is also judged: only for a run that has not ended, and
a cap is raised only where that is meant.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from batcher.clock import Clock
from batcher.controls import DRAINING, PAUSED, Controls, Value, is_raised
from batcher.errors import UsageError
from batcher.events import Event
from batcher.settings import Rate

from .decisions import open_ledger
from .queries.run_settings import of_kind, read_settings, texts
from .reader import LedgerReader
from .store import commands
from .store.writer import LedgerWriter

Word = Literal["pause", "resume", "drain", "limits", "budget"]


class RaisesCaps(UsageError):
    """A cap would be raised, and nobody has said yes to that; `raised` are its words with what each would be."""

    def __init__(self, raised: Mapping[str, tuple[Value | None, Value]]) -> None:
        self.raised = raised
        super().__init__(f"this lets the run spend more: {_listed(raised)}", hint="Add --yes if it is meant.")


@dataclass(frozen=True, slots=True)
class RunControl:
    """The newest run, if it has not ended, and what holds for it now: values by their words, None for no cap."""

    run_id: int
    started: str
    campaigns: tuple[str, ...]
    controls: Controls
    values: Mapping[str, Value | None]
    saved_plan: bool = False


#: The values that are asked for, or what makes them of those that hold now.
Asked = Mapping[str, Value] | Callable[[RunControl], Mapping[str, Value]]


def run_control(read: LedgerReader, run_id: int | None = None) -> RunControl | None:
    """The run that can be asked something: this one, or the newest, unless it has ended."""
    row = read.last_run() if run_id is None else read.row("SELECT * FROM runs WHERE id = ?", (run_id,))
    if row is None or row["ended_at"] is not None:
        return None
    own, campaigns = read_settings(row["settings"]), texts(row["campaigns"])
    asked = commands.controls(read, row["id"])
    plain: dict[str, Value | None] = {
        **{f"limits.{name}": Rate(*rate) for name, rate in own.limits.items()},
        "budget.run": own.run,
        "budget.day": own.day,
        **{f"budget.campaign:{name}": own.campaigns.get(name) for name in campaigns},
        **{f"budget.allowance:{each.name}": each.total for each in own.allowances.values()},
    }
    stated = of_kind(of_kind(row["settings"], dict).get("limits"), dict)
    plain |= {f"limits.{name}": stated[name] for name in ("in_flight", "downloads") if type(stated.get(name)) is int}
    saved = "plan" in of_kind(row["settings"], dict)
    values = {what: asked.value(what, value, tightens=saved and what == "budget.run") for what, value in plain.items()}
    return RunControl(row["id"], row["started_at"], campaigns, asked, values, saved)


def ask(
    path: Path,
    clock: Clock,
    word: Word,
    values: Asked = MappingProxyType({}),
    *,
    who: str,
    raises: bool = False,
    going: bool = True,
) -> dict[str, list[Any]]:
    """Ask something of the run that goes on; what changed, by its words: [before, now] as JSON has it.

    Of one that was cut off (not `going`) the next run takes over a pause, and only `resume` or `pause` can be asked.
    Raises UsageError where there is no such run or value, RaisesCaps unless it `raises`, StorageError.
    """
    with closing(open_ledger(path, clock)) as ledger:
        return ask_of(ledger, word, values, who=who, raises=raises, going=going)


def ask_of(
    ledger: LedgerWriter,
    word: Word,
    values: Asked = MappingProxyType({}),
    *,
    who: str,
    raises: bool = False,
    going: bool = True,
    run_id: int | None = None,
) -> dict[str, list[Any]]:
    """The same of a ledger that is open; of this run, where several may go on."""
    with ledger._write as t:
        run = run_control(ledger.read, run_id)
        if run is None or (not going and word not in ("pause", "resume")):
            raise UsageError("no run is going", hint="`batcher run` begins one; what is asked holds for it alone.")
        values = values(run) if callable(values) else values
        _check(run, values, raises=raises)
        t.run_id = run.run_id
        changed: dict[str, tuple[Any, Any]] = {}
        if word in ("limits", "budget"):
            for what, value in values.items():
                if run.values[what] != value:
                    changed[what] = (run.values[what], value)
                    commands.put(t, what, commands.written(value), who)
        else:
            state = {"pause": PAUSED, "drain": DRAINING, "resume": ""}[word]
            if going and run.controls.state == DRAINING and word != "drain":
                raise UsageError("the run is draining already", hint="It ends when what is under way is finished.")
            if run.controls.state != state:
                changed["state"] = (run.controls.state, state)
                commands.put(t, "state", state, who) if state else commands.take_back(t, "state")
        told = {what: [_plain(was), _plain(now)] for what, (was, now) in changed.items()}
        if changed:
            detail = {"command": word, "who": who, "set": told, "message": _words(changed, who)}
            t.event(Event.COMMANDED, detail=detail)
    return told


def more_in_flight(run: RunControl) -> Mapping[str, Value]:
    """A quarter more jobs in flight than now."""
    now = run.values.get("limits.in_flight")
    return {"limits.in_flight": now + max(1, now // 4)} if isinstance(now, int) else {}


def fewer_in_flight(run: RunControl) -> Mapping[str, Value]:
    """A fifth fewer: what takes `more_in_flight` back."""
    now = run.values.get("limits.in_flight")
    return {"limits.in_flight": max(1, now - max(1, now // 5))} if isinstance(now, int) else {}


def _check(run: RunControl, values: Mapping[str, Value], *, raises: bool) -> None:
    """Raises UsageError for what the run has not, RaisesCaps for a budget that would be raised unless it `raises`."""
    if unknown := [what for what in values if what not in run.values]:
        known = sorted(what for what in run.values if what.partition(".")[0] == unknown[0].partition(".")[0])
        raise UsageError(
            f"this run has no {unknown[0].partition('.')[2]}",
            hint=f"It has {', '.join(w.partition('.')[2] for w in known)}.",
        )
    raised = {
        what: (run.values[what], value)
        for what, value in values.items()
        if what.startswith("budget.") and is_raised(run.values[what], value)
    }
    if "budget.run" in raised and run.saved_plan:
        raise UsageError("this run buys a saved plan, whose total is not raised", hint="Make a new plan for more.")
    if raised and not raises:
        raise RaisesCaps(raised)


def _words(changed: Mapping[str, tuple[Any, Any]], who: str) -> str:
    """What was asked, for people."""
    return f"{changed['state'][1] or 'resumed'} by {who}" if "state" in changed else f"{_listed(changed)} by {who}"


def _listed(changed: Mapping[str, tuple[Any, Any]]) -> str:
    each = ((what.partition(".")[2], "none" if was is None else was, now) for what, (was, now) in changed.items())
    return ", ".join(f"{what} {was} → {now}" for what, was, now in each)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Rate) else value


def asker() -> str:
    """Return the user and the machine that ask."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
