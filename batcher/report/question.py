"""What is asked of a report: from when to when, of which campaigns, grouped by what. Words become values here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path

from batcher import marks
from batcher.catalog import Model, get_model, model_ids
from batcher.clock import day_begins, iso
from batcher.errors import UsageError
from batcher.ledger import LedgerReader
from batcher.ledger.queries import selectors, spend
from batcher.ledger.queries.selectors import OWN, Condition, Selector, own
from batcher.ledger.queries.spend import Scope
from batcher.ledger.queries.sql import like
from batcher.settings import UNITS
from batcher.spelling import nfc
from batcher.statuses import Status
from batcher.text import did_you_mean

_AGO = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+)")


@dataclass(frozen=True, slots=True)
class Question:
    """A report that can be had: every name is known to the ledger."""

    scope: Scope
    axes: tuple[Selector, ...]


def ask(
    read: LedgerReader,
    *,
    now: float,
    since: str | None = None,
    until: str | None = None,
    campaigns: Sequence[str] = (),
    by: Sequence[str] = (),
    where: Sequence[str] = (),
    marked: Path | None = None,
) -> Question:
    """The question in values; by campaign when nothing is said; of the favourites of the file `marked`, if it is named.

    Raises UsageError, with what is near, for faults, and ManifestError for those of the file.
    """
    conditions = find_conditions(read, where)
    scope = Scope(
        None if since is None else moment(since, now=now, zone=read.zone),
        None if until is None else moment(until, now=now, zone=read.zone, end=True),
        check_campaigns(read, campaigns),
        conditions if marked is None else (*conditions, marks.favourites(read, marked)),
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


def find_axes(
    read: LedgerReader, names: Sequence[str], known: Mapping[str, list[str]] | None = None
) -> tuple[Selector, ...]:
    """What names mean in this ledger, once each. Raises UsageError for one that means nothing.

    `known` are the `selectors.keys` of it, where they were read already.
    """
    return tuple(_selectors(read, "--by", names, known).values())


def find_conditions(read: LedgerReader, texts: Sequence[str]) -> tuple[Condition, ...]:
    """Conditions as they are typed, `NAME=GLOB`. Raises UsageError for one that no job of this ledger meets."""
    typed = []
    for text in texts:
        name, sign, glob = text.partition("=")
        if not (name and sign):
            raise UsageError(f"--where {text}: no condition", hint="Type it as NAME=GLOB, such as --where duration=10.")
        typed.append((name, glob))
    known = _selectors(read, "--where", [name for name, _ in typed])
    found = tuple(Condition(known[name], glob) for name, glob in typed)
    for each in found:
        _check(read, each, f"--where {each.text}")
    return found


def choose(
    read: LedgerReader, where: Sequence[str], *, name: str | None = None, code: str | None = None
) -> tuple[Condition, ...]:
    """What `--where`, `--name` and `--code` choose. Raises UsageError for what no job of this ledger meets."""
    found = list(find_conditions(read, where))
    for value, glob, option in (("name", name, "--name"), ("error_code", code, "--code")):
        if glob is not None:
            found.append(Condition(own(value), glob))
            _check(read, found[-1], f"{option} {glob}")
    return tuple(found)


def _check(read: LedgerReader, condition: Condition, said: str) -> None:
    """Raises UsageError, with `said` for what was typed, where no job meets it; a status need not be any job's now."""
    name, glob = condition.selector.name, condition.glob
    if selectors.is_met(read, condition) or (name == "status" and any(like(status, glob) for status in Status)):
        return
    values = list(map(str, Status)) if name == "status" else selectors.some_values(read, condition.selector)
    raise UsageError(f"{said}: no job has such a value", hint=_near(glob, values))


def _selectors(
    read: LedgerReader, option: str, names: Sequence[str], known: Mapping[str, list[str]] | None = None
) -> dict[str, Selector]:
    wanted = dict.fromkeys(names)
    if wanted.keys() <= OWN.keys():
        return {name: own(name) for name in wanted}
    models = [get_model(each) for each in spend.models(read) if each in model_ids()]
    spelled = {kind: {nfc(key): key for key in keys} for kind, keys in (known or selectors.keys(read)).items()}
    spelled["param"] |= {nfc(name): name for model in models for name in model.params}

    def find(name: str) -> Selector:
        kind, dot, key = name.partition(".")
        if not (dot and kind in spelled):
            kind, key = "", name
        keys = {each: found[nfc(key)] for each, found in spelled.items() if kind in ("", each) and nfc(key) in found}
        if not keys:
            every = [*OWN, *sorted(set().union(*spelled.values()))]
            hint = _near(name, sorted(f"{kind}.{each}" for each in spelled[kind]) if kind else every)
            raise UsageError(f"{option} {name}: no job has such a param, variable or tag", hint=hint)
        return selectors.kept(name, keys, dict(_defaults(models, keys.get("param", ""))))

    return {name: own(name) if name in OWN else find(name) for name in wanted}


def _defaults(models: Sequence[Model], name: str) -> list[tuple[str, str | int | float | bool]]:
    pairs = ((model.id, model.default(name)) for model in models if name in model.params)
    return [(model, value) for model, value in pairs if value is not None]


def _near(name: str, known: Sequence[str]) -> str:
    near = did_you_mean(name, known)
    listed = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return (f"{near[0].upper()}{near[1:]} " if near else "") + f"Known: {listed or 'none'}."
