"""What a person or a test may set, before the start or while the simulator runs, each with its check."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .records import KINDS

#: The key that the simulator takes unless told otherwise; made not to be mistaken for a real one.
DEFAULT_KEY = "rvya_sk_simulated"

#: The scopes of the calls that need a key (rivya-api.md section 0).
SCOPES: Mapping[str, str] = {
    "create": "generations:create",
    "status": "generations:read",
    "upload": "files:create",
    "file": "files:read",
    "credits": "credits:read",
}

Range = tuple[float, float]

#: What a figure of credits says: "truth", "null", "absent", or a share of the truth such as 0.
Said = str | float

#: What a 429 says: seconds, a date (`naive`: without its zone), a Unix time, nothing.
RETRY_AFTER = ("seconds", "date", "naive", "epoch", "none")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests of these kinds in any window of `seconds`. The API names no numbers (section 12)."""

    kinds: tuple[str, ...]
    count: int
    seconds: float


@dataclass(slots=True)
class Switches:
    """All settings. Durations in seconds; None means without end. The API's pages leave most of these open."""

    api_key: str = DEFAULT_KEY
    key_state: str = "valid"  # valid | revoked | expired
    scopes_off: tuple[str, ...] = ()
    outage: str = "none"  # none | disabled: 503 public_api_disabled | errors: 502 pages | cut: closed on arrival
    queue_seconds: Range = (0.5, 2.0)
    run_seconds: Range = (1.0, 4.0)
    fail_rate: float = 0.0  # share of tasks that fail
    fail_prompt: str = ""  # a task whose prompt contains this fails
    fail_code: str = "generation_failed"
    price_factor: float = 1.0
    price_rise: tuple[int, float] | None = None  # after so many creates, this factor on top
    final_factor: float = 1.0  # times what was taken: what a success costs in the end
    failed_factor: float = 0.0  # the same for a task that fails
    reserved_says: Said = "truth"  # what `reserved_credits` says of what was taken
    settle_seconds: Range = (0.0, 0.0)  # how long after its end `final_says` stands in place of the final credits
    final_says: Said = 0.0
    insufficient_status: int = 402
    create_status: int = 200
    upload_status: int = 200
    upload_lifetime: float | None = None
    upload_url_lifetime: float | None = None  # of the URL alone: GET /files/{id} gives a fresh one
    result_lifetime: float | None = None
    expired_status: int = 403
    limits: tuple[Limit, ...] = ()
    retry_after: str = "seconds"  # one of RETRY_AFTER
    clock_skew: float = 0.0  # seconds by which the API's clock is ahead of the world's
    tell_date: bool = True  # whether answers have a Date
    etags: str = "strong"  # strong | weak | none
    ranges: bool = True  # whether results are served in parts

    def set(self, changes: Mapping[str, object]) -> None:
        """Change switches by name, all or none. Values as in JSON, or as text from a command line.

        Raises ValueError naming what is wrong and what is allowed.
        """
        checked = {}
        for name, value in changes.items():
            check = _CHECKS.get(name)
            if check is None:
                raise ValueError(f"unknown switch {name!r}; known: {', '.join(sorted(_CHECKS))}")
            try:
                checked[name] = check(value)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{name}: {error}") from None
        for name, value in checked.items():
            setattr(self, name, value)


def number(value: object, low: float = 0.0, high: float = math.inf) -> float:
    """A finite number within limits, from a number or its text. Raises ValueError."""
    try:
        result = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        result = math.nan
    if not (low <= result <= high) or math.isinf(result):
        limit = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise ValueError(f"must be a number {limit}, not {value!r}")
    return result


def whole(value: object, low: int = 0, high: float = math.inf) -> int:
    """A whole number within limits, from a number or its text. Raises ValueError."""
    result = number(value, low, high)
    if not result.is_integer():
        raise ValueError(f"must be a whole number, not {value!r}")
    return int(result)


def seconds_range(value: object) -> Range:
    """`"0.5-2"`, `[0.5, 2]` or `2`. Raises ValueError."""
    parts = value.split("-") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    if len(parts) not in (1, 2):
        raise ValueError(f"must be seconds or a range as in 0.5-2, not {value!r}")
    low, high = number(parts[0]), number(parts[-1])
    if low > high:
        raise ValueError(f"the range {value!r} ends before it starts")
    return low, high


def limit(value: object) -> Limit:
    """`"create=30/60"`: at most 30 creates in 60 seconds; `*` for every kind. Raises ValueError."""
    match = re.fullmatch(r"([a-z*+]+)=(\d+)/([\d.]+)", value) if isinstance(value, str) else None
    kinds = tuple(match[1].split("+")) if match else ()
    if match is None or not set(kinds) <= {*KINDS, "*"}:
        raise ValueError(f"must look like create=30/60 or create+status=30/60 or *=120/60, not {value!r}")
    return Limit(KINDS if "*" in kinds else kinds, whole(match[2]), number(match[3]))


def _one_of(*allowed: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    return check


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {value!r}")
    return value


def _items(value: object) -> list[Any]:
    if isinstance(value, str):
        return [part for part in value.split(",") if part]
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list, not {value!r}")
    return list(value)


def _scopes(value: object) -> tuple[str, ...]:
    return tuple(_one_of(*SCOPES.values())(item) for item in _items(value))


def _limits(value: object) -> tuple[Limit, ...]:
    return tuple(limit(item) for item in _items(value))


def _status(value: object) -> int:
    return whole(value, 200, 599)


def _share(value: object) -> float:
    return number(value, 0, 1)


def _lifetime(value: object) -> float | None:
    return None if value in (None, "", "none") else number(value)


def _rise(value: object) -> tuple[int, float] | None:
    if value in (None, "", "none"):
        return None
    parts = value.split(":") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise ValueError(f"must look like 10:1.5 (after 10 creates, times 1.5), not {value!r}")
    return whole(parts[0]), number(parts[1])


def _said(value: object) -> Said:
    return str(value) if value in ("truth", "null", "absent") else number(value)


def _skew(value: object) -> float:
    return number(value, -math.inf)


def _flag(value: object) -> bool:
    flags: Mapping[object, bool] = {True: True, False: False, "yes": True, "no": False, "true": True, "false": False}
    if not isinstance(value, bool | str) or value not in flags:
        raise ValueError(f"must be true or false, not {value!r}")
    return flags[value]


_CHECKS: Mapping[str, Callable[[object], Any]] = {
    "api_key": _text,
    "key_state": _one_of("valid", "revoked", "expired"),
    "scopes_off": _scopes,
    "outage": _one_of("none", "disabled", "errors", "cut"),
    "queue_seconds": seconds_range,
    "run_seconds": seconds_range,
    "fail_rate": _share,
    "fail_prompt": _text,
    "fail_code": _text,
    "price_factor": number,
    "price_rise": _rise,
    "final_factor": number,
    "failed_factor": number,
    "reserved_says": _said,
    "settle_seconds": seconds_range,
    "final_says": _said,
    "insufficient_status": _status,
    "create_status": _status,
    "upload_status": _status,
    "upload_lifetime": _lifetime,
    "upload_url_lifetime": _lifetime,
    "result_lifetime": _lifetime,
    "expired_status": _status,
    "limits": _limits,
    "retry_after": _one_of(*RETRY_AFTER),
    "clock_skew": _skew,
    "tell_date": _flag,
    "etags": _one_of("strong", "weak", "none"),
    "ranges": _flag,
}

assert set(_CHECKS) == {field.name for field in fields(Switches)}, "every switch has its check"
