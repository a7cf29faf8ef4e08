"""`batcher results`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import click

from batcher.catalog import get_model, model_ids
from batcher.cli import options
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal
from batcher.errors import UsageError
from batcher.fs import leads_inside
from batcher.jobs import ParamValue, Status
from batcher.ledger.queries import export
from batcher.ledger.queries.export import Saved
from batcher.report.question import ask
from batcher.storage import Artifacts, Sidecar
from batcher.text import count, safe

#: What `--where` knows of a job beside its params.
_OWN = ("name", "model", "take")


@click.command(short_help="Print the paths of saved files, for scripts.")
@click.argument("campaigns", metavar="CAMPAIGN...", nargs=-1, required=True)
@options.statuses("Files of jobs with this status; repeatable. Default: succeeded.", Status.SUCCEEDED)
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="PARAM=VALUE",
    help="Only jobs with this value of a param, or name=, model=, take=; repeatable.",
)
@click.option("-0", "--null", is_flag=True, help="End each path with a NUL instead of a new line, as for xargs -0.")
@click.option("--sidecars", is_flag=True, help="Write a JSON file beside each, or bring it up to date.")
@options.ledger
def command(
    terminal: Terminal,
    *,
    campaigns: tuple[str, ...],
    statuses: tuple[str, ...],
    conditions: tuple[str, ...],
    null: bool,
    sidecars: bool,
    state: Path,
) -> int:
    """Print the paths of the saved files of each CAMPAIGN, in the order of its manifest. From the ledger alone: whether
    somebody has moved a file away is not looked at."""
    if null and terminal.as_json:
        raise UsageError("--null and --json do not go together")
    where = [_condition(text) for text in conditions]
    with closing(need_reader(state)) as read:
        chosen = ask(read, now=time.time(), campaigns=campaigns).scope.campaigns
        outcomes = Counter[Sidecar]()
        found = _fitting((file for name in chosen for file in export.saved(read, name, statuses)), where)
        found = _inside(found, state, terminal)
        if sidecars:
            found = _with_sidecars(found, Artifacts(state), outcomes)
        with closing(found):  # also when nobody reads to the end
            if terminal.as_json:
                terminal.document_of("results", ({"path": str(state / file.target), **file.plain} for file in found))
            else:
                _print(terminal, (str(state / file.target) for file in found), null)
    if sidecars:
        terminal.flush()
        terminal.say(_told(outcomes))
        return int(outcomes[Sidecar.FOREIGN] > 0)
    return 0


# Choosing


def _condition(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise UsageError(f"--where {text}: no condition", hint="Type it as PARAM=VALUE, such as --where duration=10.")
    return name, value


def _fitting(files: Iterable[Saved], where: list[tuple[str, str]]) -> Generator[Saved, None, None]:
    """The files that meet every condition. Raises UsageError at the end for a name that no job has."""
    unknown = dict.fromkeys(name for name, _ in where)
    known: dict[str, None] = {}
    for file in files:
        values = _values(file)
        if where:
            known |= dict.fromkeys(values)
            for name in values:
                unknown.pop(name, None)
        if all(name in values and _equals(values[name], text) for name, text in where):
            yield file
    if unknown and known:
        raise UsageError(
            f"no job has a param {next(iter(unknown))!r}",
            hint=f"Known: {', '.join(known)}. A manifest's variables are not in the ledger: name prompts after them.",
        )


def _values(file: Saved) -> dict[str, Any]:
    """What can be asked about: what is the job's own, its params, and those that the model has for it."""
    return {**{name: getattr(file, name) for name in _OWN}, **_defaults(file.model), **file.params}


@cache
def _defaults(model_id: str) -> dict[str, ParamValue | None]:
    if model_id not in model_ids():
        return {}  # it has left the catalogue
    model = get_model(model_id)
    return {name: model.default(name) for name in model.params}


def _equals(value: object, text: str) -> bool:
    """Whether a text that was typed means this JSON value."""
    match value:
        case None:
            return False
        case bool():
            return text.lower() == str(value).lower()
        case int() | float():
            try:
                return float(text) == value
            except ValueError:
                return False
        case _:
            return str(value) == text


def _inside(files: Iterable[Saved], state: Path, terminal: Terminal) -> Generator[Saved, None, None]:
    """Leave out, and tell, what a link takes out of the state folder."""
    for file in files:
        if leads_inside(state, file.target):
            yield file
        else:
            terminal.warn(f"left out, for a link leads out of the state folder: {safe(state / file.target)}")


# Telling


def _print(terminal: Terminal, paths: Iterable[str], null: bool) -> None:
    for path in paths:
        if null:
            terminal.data(os.fsencode(path) + b"\0")
        elif terminal.room is not None:
            terminal.line(safe(path))
        else:
            terminal.data(os.fsencode(path) + b"\n")


def _with_sidecars(
    files: Iterable[Saved], artifacts: Artifacts, outcomes: Counter[Sidecar]
) -> Generator[Saved, None, None]:
    for file in files:
        outcomes[artifacts.beside(file.target, file.sidecar)] += 1
        yield file


def _told(outcomes: Counter[Sidecar]) -> str:
    parts = [f"{count(outcomes[Sidecar.WRITTEN], 'sidecar')} written"]
    parts += [f"{outcomes[kind]:,} {kind.value}" for kind in Sidecar if kind is not Sidecar.WRITTEN and outcomes[kind]]
    return "; ".join(parts) + "."
