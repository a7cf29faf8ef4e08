"""What a run wrote down of its settings, as far as it can be read: others may have written otherwise."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class RunSettings(NamedTuple):
    """The caps of a run in credits, what it selected, and its rates as (requests, seconds) by kind."""

    run: int | None
    campaigns: dict[str, int]
    day: int | None
    keep: int | None
    only: tuple[str, ...]
    limit: int | None
    download: bool
    limits: dict[str, tuple[int, float]]


def read_settings(value: Any) -> RunSettings:
    """The settings in a row of `runs`; what has another type than ours is left out."""
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
    )


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
    if count is None or isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return None
    return count, float(seconds)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
