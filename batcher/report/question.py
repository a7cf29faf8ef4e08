"""What is asked of a report: from when to when, of which campaigns, grouped by what. Words become values here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from batcher.catalog import Model, get_model, model_ids
from batcher.clock import day_begins, iso
from batcher.errors import UsageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import spend
from batcher.ledger.queries.spend import Grouping, Scope
from batcher.settings import UNITS

#: What every ledger can be grouped by; any other name is that of a param.
AXES = ("campaign", "day", "model", "prompt", "reference")
_AGO = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+)")


@dataclass(frozen=True, slots=True)
class Question:
    """A report that can be had: every name is known to the ledger."""

    scope: Scope
    axes: tuple[Grouping, ...]


def ask(
    read: LedgerReader,
    *,
    now: float,
    since: str | None = None,
    until: str | None = None,
    campaigns: Sequence[str] = (),
    by: Sequence[str] = (),
) -> Question:
    """The question in values; by campaign when nothing is said. Raises UsageError, with what is near, for faults."""
    scope = Scope(
        None if since is None else moment(since, now=now, zone=read.zone),
        None if until is None else moment(until, now=now, zone=read.zone, end=True),
        check_campaigns(read, campaigns),
    )
    if scope.since and scope.until and scope.since >= scope.until:
        raise UsageError(f"--since {since} is not before --until {until}", hint="Nothing lies between them.")
    return Question(scope, find_axes(read, by or ("campaign",)))


def moment(text: str, *, now: float, zone: tzinfo | None, end: bool = False) -> str:
    """A time as the ledger writes it: `7d` (so long ago), a date, or an ISO 8601 time; in `zone` without an offset.

    A date is its beginning, with `end` its end. `now` is in seconds since the epoch. Raises UsageError.
    """
    given = text.strip()
    ago = _AGO.fullmatch(given.lower())
    try:
        if ago and (unit := _unit(ago[2])):
            return iso(now - float(ago[1]) * unit)
        if re.fullmatch(r"\d{4}-\d\d-\d\d", given):
            day = date.fromisoformat(given) + timedelta(days=end)
            return iso(day_begins(day.isoformat(), zone))
        if re.match(r"\d{4}-", given):
            at = datetime.fromisoformat(given)
            return iso((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp())
    except (ValueError, OverflowError, OSError):  # a date that no calendar has, a time that no clock shows
        pass
    raise UsageError(
        f"{text!r} is not a time",
        hint="Type a date (2026-11-01), a time (2026-11-01T22:00), or 12h or 7d for so long ago.",
    )


def _unit(word: str) -> float | None:
    return UNITS.get(word) or UNITS.get(word.removesuffix("s"))


def check_campaigns(read: LedgerReader, names: Sequence[str]) -> tuple[str, ...]:
    """The names, once each. Raises UsageError for one that this ledger does not have."""
    known = spend.campaign_names(read)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no campaign {name!r} in {read.path}", hint=_near(name, known))
    return tuple(dict.fromkeys(names))


def find_axes(read: LedgerReader, names: Sequence[str]) -> tuple[Grouping, ...]:
    """What the names mean in this ledger. Raises UsageError for one that means nothing."""
    wanted = list(dict.fromkeys(names))
    if set(wanted) <= set(AXES):
        return tuple(map(Grouping, wanted))
    models = [get_model(each) for each in spend.models(read) if each in model_ids()]
    known = sorted({name for model in models for name in model.params} | set(spend.param_names(read)))
    for name in wanted:
        if name not in (*AXES, *known):
            hint = (
                f"{_near(name, [*AXES, *known])} A manifest's variables are not in the ledger: name prompts after them."
            )
            raise UsageError(f"--by {name}: no job has such a param", hint=hint)
    return tuple(Grouping(name) if name in AXES else Grouping(name, tuple(_defaults(models, name))) for name in wanted)


def _defaults(models: Sequence[Model], name: str) -> list[tuple[str, str | int | float | bool]]:
    pairs = ((model.id, model.default(name)) for model in models if name in model.params)
    return [(model, value) for model, value in pairs if value is not None]


def _near(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return (f"Did you mean {close[0]!r}? " if close else "") + f"Known: {listed or 'none'}."
