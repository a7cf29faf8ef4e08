"""`batcher ctl`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import click

from batcher.cli import options
from batcher.cli.database import named_database
from batcher.cli.open_ledger import need_reader
from batcher.cli.places import Sought, find_state
from batcher.cli.terminal import Grid, Terminal, table
from batcher.clock import SystemClock, local_day
from batcher.controls import Value, read_values
from batcher.errors import UsageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs
from batcher.state import LEDGER
from batcher.text import safe

Action = Literal["pause", "resume", "drain", "limits", "budget", "status"]
_THEN = {
    "paused": "no new job starts; what is under way is finished. `batcher ctl resume` goes on.",
    "draining": "no new job starts; the run ends when what is under way is finished.",
    "": "new jobs start.",
}

_NO_RUN: dict[str, Any] = {"run": None, "going": False, "state": None, "by": None, "limits": {}, "budget": []}


@click.command(short_help="Pause, resume or drain the run that goes on; change its limits and budgets.")
@click.argument("action", metavar="ACTION", type=click.Choice(get_args(Action)))
@click.argument("words", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask before a cap is raised.")
@click.option("--run", "run_id", type=int, metavar="N", help="Which run, where several go on (PostgreSQL).")
@options.named_state
@options.as_json
def command(
    terminal: Terminal,
    *,
    action: Action,
    words: tuple[str, ...],
    yes: bool,
    run_id: int | None,
    state: Path | None,
) -> int:
    """Ask something of the run that goes on; it obeys within a second.

    pause, resume, drain (finish what is under way, and end); limits submit=60/minute requests=N/minute in_flight=40
    downloads=8; budget run=N day=N campaign:NAME=N allowance:NAME=N, in credits; status shows what holds. It holds for
    that run, and over a crash of it as far as it is stricter than what the next one begins with.
    """
    values = _values(action, words)
    if conninfo := named_database(state):
        from batcher.cluster.store import PostgresLedger
        from batcher.ledger.control import ask_of

        with closing(PostgresLedger.connect(conninfo)) as ledger:
            chosen = _chosen(ledger.going(), run_id)
            if chosen is None and action != "status":
                raise UsageError("no run is going", hint="`batcher run` begins one; what is asked holds for it alone.")
            changed = _ask(terminal, partial(ask_of, ledger, run_id=chosen), action, values, yes=yes)
            in_force = _in_force(ledger.read, chosen, going=True) if chosen else _NO_RUN
    else:
        if run_id is not None:
            raise UsageError("--run goes with a ledger on PostgreSQL: else one run goes at a time")
        folder = find_state(terminal, state, Sought(words=words))
        with closing(need_reader(folder)) as read:
            going = jobs.holder(folder, read) is not None
        changed = _ask(terminal, partial(_ask_file, folder / LEDGER, going=going), action, values, yes=yes)
        with closing(need_reader(folder)) as read:
            in_force = _in_force(read, None, going=going)
    if changed is None:
        terminal.say("Nothing was changed.")
        return 1
    terminal.answer({"changed": changed, **in_force}, *_view(in_force))
    return 0


def _chosen(going: Sequence[int], named: int | None) -> int | None:
    """The run that is meant of those that go on, None where none does. Raises UsageError where that is not clear."""
    if named is None and len(going) < 2:
        return going[0] if going else None
    if named is None or named not in going:
        runs = f"runs {', '.join(map(str, going))} are going" if going else "no run is going"
        raise UsageError(runs, hint="Say which is meant: `batcher ctl … --run N`.")
    return named


def _values(action: Action, words: tuple[str, ...]) -> dict[str, Value]:
    if action in ("limits", "budget"):
        return read_values(action, words)
    if words:
        raise UsageError(f"`batcher ctl {action}` takes nothing more than that, and there is {words[0]!r}")
    return {}


def _ask(
    terminal: Terminal,
    ask: Callable[..., dict[str, list[Any]]],
    action: Action,
    values: Mapping[str, Value],
    *,
    yes: bool,
) -> dict[str, list[Any]] | None:
    """What was changed, by its words; None where a person does not want that."""
    if action == "status":
        return {}
    from batcher.ledger.control import RaisesCaps, asker

    try:
        return ask(action, values, who=asker(), raises=yes)
    except RaisesCaps as raising:
        if not terminal.can_ask:
            raise
        if not terminal.ask(f"{safe(raising.message).capitalize()}. Is that meant?"):
            return None
        return ask(action, values, who=asker(), raises=True)


def _ask_file(path: Path, *words: Any, **named: Any) -> dict[str, list[Any]]:
    from batcher.ledger.control import ask

    return ask(path, SystemClock(), *words, **named)


def _in_force(read: LedgerReader, run_id: int | None, *, going: bool) -> dict[str, Any]:
    from batcher.ledger.control import run_control

    if (run := run_control(read, run_id)) is None:
        return _NO_RUN
    caps = ((what.partition(".")[2], cap) for what, cap in run.values.items() if what.startswith("budget."))
    return {
        "run": run.run_id,
        "going": going,
        "state": run.controls.state or "buying",
        "by": run.controls.who or None,
        "limits": {
            what.partition(".")[2]: value if isinstance(value, int) else str(value)
            for what, value in run.values.items()
            if what.startswith("limits.")
        },
        "budget": [
            {"cap": name, "credits": cap, "used": _used(read, name, run.run_id)}
            for name, cap in caps
            if cap is not None
        ],
    }


def _used(read: LedgerReader, name: str, run_id: int) -> int:
    kind, _, of = name.partition(":")
    day = local_day(SystemClock().wall(), read.zone)
    counted: dict[str, dict[str, Any]] = {"run": {"run_id": run_id}, "day": {"day": day}}
    return read.spent(**counted.get(kind, {kind: of})).committed


def _view(document: Mapping[str, Any]) -> Iterator[str | Grid]:
    if document["run"] is None:
        yield "No run is going."
        return
    state = "" if document["state"] == "buying" else document["state"]
    if not document["going"]:
        yield f"Run {document['run']} was cut off. The next one begins {state or 'as ever'}."
        return
    by = f" by {safe(document['by'])}" if document["by"] else ""
    yield f"Run {document['run']}{f' is {state}{by}' if state else ''}: {_THEN[state]}"
    yield f"Limits: {', '.join(f'{name} {value}' for name, value in document['limits'].items())}"
    if document["budget"]:
        rows = [(safe(each["cap"]), each["credits"], each["used"]) for each in document["budget"]]
        yield table(("budget", "credits", "used"), rows)
