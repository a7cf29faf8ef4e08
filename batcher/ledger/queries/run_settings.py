"""What a run wrote down of its settings, as far as it can be read: others may have written otherwise."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from batcher.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from batcher.settings import Allowance, Settings


class RunSettings(NamedTuple):
    """The caps of a run in credits (two of them by campaign), what it selected, its rates as (requests, seconds)."""

    run: int | None
    campaigns: dict[str, int]
    day: int | None
    keep: int | None
    only: tuple[str, ...]
    limit: int | None
    download: bool
    limits: dict[str, tuple[int, float]]
    allowances: dict[str, Allowance]
    unpriced: int | None
    quoted: int | None


def read_settings(value: Any) -> RunSettings:
    """The settings in a row of `runs`; what has another type than a setting has is left out."""
    found = of_kind(value, dict)
    caps, chosen, limits = (of_kind(found.get(name), dict) for name in ("caps", "selection", "limits"))
    return RunSettings(
        run=_whole(caps.get("run")),
        campaigns={n: c for n, c in of_kind(caps.get("campaigns"), dict).items() if _whole(c) is not None},
        day=_whole(caps.get("day")),
        keep=_whole(caps.get("keep")),
        only=texts(chosen.get("only")),
        limit=_whole(chosen.get("limit")),
        download=found.get("download") is not False,
        limits={name: rate for name in ("submit", "requests") if (rate := _rate(of_kind(limits.get(name), dict)))},
        allowances={
            campaign: allowance
            for campaign, stated in of_kind(caps.get("allowances"), dict).items()
            if (allowance := _allowance(of_kind(stated, dict)))
        },
        unpriced=_whole(caps.get("unpriced")),
        quoted=_whole(caps.get("quoted")),
    )


def last_settings(read: LedgerReader, campaign: str) -> Settings:
    """How the campaign was run last: limits, polling, retries and sidecars; a default where nobody can tell."""
    from batcher.settings import Limits, Polling, Rate, Retries, Settings  # slow to import, and needed here only

    found = _last(read, campaign)
    limits = of_kind(found.get("limits"), dict)
    rates = {name: Rate(*rate) for name, rate in read_settings(found).limits.items()}
    defaults = Limits()
    return Settings(
        limits=Limits(
            submit=rates.get("submit", defaults.submit),
            requests=rates.get("requests", defaults.requests),
            **_numbers({"in_flight": defaults.in_flight, "downloads": defaults.downloads}, limits, least=1),
        ),
        polling=Polling(**_numbers(asdict(Polling()), of_kind(found.get("polling"), dict), least=0.01)),
        retries=Retries(**_numbers(asdict(Retries()), of_kind(found.get("retries"), dict), least=0)),
        sidecars=found.get("sidecars") is True and campaign not in texts(found.get("bare")),
    )


def leaves_files(read: LedgerReader, campaign: str) -> bool:
    """Whether the campaign's last run left its results where they are."""
    return campaign in texts(_last(read, campaign).get("left_there"))


def _last(read: LedgerReader, campaign: str) -> dict[str, Any]:
    row = read.row(
        "SELECT settings FROM runs WHERE EXISTS (SELECT 1 FROM json_each(iif(json_valid(campaigns), campaigns, '[]'))"
        " WHERE value = ?) ORDER BY id DESC LIMIT 1",
        (campaign,),
    )
    found: dict[str, Any] = of_kind(row and row["settings"], dict)
    return found


def _numbers(defaults: dict[str, Any], found: dict[str, Any], *, least: float) -> dict[str, Any]:
    """The numbers of these names; one that is missing, of another type or less is the default."""
    taken = {}
    for name, default in defaults.items():
        value = found.get(name)
        fits = isinstance(value, int | type(default)) and not isinstance(value, bool) and least <= value < math.inf
        taken[name] = value if fits else default
    return taken


def texts(value: Any) -> tuple[str, ...]:
    """The texts of a JSON list, such as a run's campaigns."""
    return tuple(each for each in of_kind(value, list) if isinstance(each, str))


def of_kind(value: Any, kind: type) -> Any:
    """A JSON text, or a part of one, if it is of this type; else an empty one."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, kind) else kind()


def _rate(rate: dict[str, Any]) -> tuple[int, float] | None:
    count, seconds = _whole(rate.get("count")), rate.get("seconds")
    if not count or count < 0 or isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    if not 0 < seconds < math.inf:
        return None
    return count, float(seconds)


def _allowance(stated: dict[str, Any]) -> Allowance | None:
    name, total = stated.get("name"), _whole(stated.get("total"))
    if not isinstance(name, str) or not name or total is None:
        return None
    from batcher.settings import Allowance

    return Allowance(name, total)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
