"""What people ask of a run while it goes on (`batcher ctl`), as values: its state, its limits, its caps.

A value is known by a word: `state`, `limits.submit`, `limits.requests`, `limits.in_flight`, `limits.downloads`,
`budget.run`, `budget.day`, `budget.campaign:NAME`, `budget.allowance:NAME`. Sums are in credits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, cast

from .errors import UsageError
from .settings import Limits, Rate, both, parse_rate

State = Literal["", "paused", "draining"]
PAUSED: State = "paused"
DRAINING: State = "draining"
Value = Rate | int
#: The limits that can be given.
LIMITS = ("submit", "requests", "in_flight", "downloads")
_MOST = {"in_flight": 100_000, "downloads": 64}


class Given(NamedTuple):
    """A value that was given for the run; `kept`: for an earlier one that was cut off, so it can only tighten."""

    value: Value
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Controls:
    """What is asked of a run; values by their words. `who` set its state."""

    state: State = ""
    who: str = ""
    values: Mapping[str, Given] = field(default_factory=dict)

    def value(self, what: str, own: Value | None, *, tightens: bool = False) -> Value | None:
        """What holds instead of the run's `own` value; None lets everything through. Only a stricter one if it
        `tightens`."""
        given = self.values.get(what)
        if given is None:
            return own
        return stricter(own, given.value) if given.kept or tightens else given.value

    def limits(self, own: Limits) -> Limits:
        """The run's own limits with what was given instead."""
        if not self.values:
            return own
        found = {name: self.value(f"limits.{name}", getattr(own, name)) for name in LIMITS}
        return replace(own, **cast(dict[str, Any], found))

    def cap(self, word: str, own: int | None, *, tightens: bool = False) -> int | None:
        """A cap of the run with what was given instead of its `own`."""
        return cast("int | None", self.value(f"budget.{word}", own, tightens=tightens))

    def named(self, kind: str) -> Iterator[str]:
        """The names of the campaigns or allowances for which a cap was given."""
        begin = f"budget.{kind}:"
        return (word.removeprefix(begin) for word in self.values if word.startswith(begin))


def read_values(word: str, given: Sequence[str]) -> dict[str, Value]:
    """The values of `NAME=VALUE` words of `limits` or `budget`. Raises UsageError with all that is wrong."""
    found, wrong = dict[str, Value](), list[str]()
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found[f"{word}.{name}"] = _read(word, name, value if equals else None)
        except ValueError as error:
            wrong.append(f"{text!r}: {error}")
    if not given or wrong:
        raise UsageError("\n".join(wrong) or f"{word} of what? {_NAMES[word]}")
    return found


class LimitOptions(TypedDict, total=False):
    """Limits by their names; a rate is such as `60/minute`."""

    submit: str | None
    requests: str | None
    in_flight: int | None
    downloads: int | None


def limits_of(**given: Unpack[LimitOptions]) -> dict[str, Value]:
    """The limits that are given, by their words. Raises UsageError."""
    return read_values("limits", [f"{name}={value}" for name, value in given.items() if value is not None])


_NAMES = {
    "limits": "it takes submit=N/minute, requests=N/minute, in_flight=N and downloads=N",
    "budget": "it takes run=N, day=N, campaign:NAME=N and allowance:NAME=N, in credits",
}


def _read(word: str, name: str, value: str | None) -> Value:
    kind, colon, of = name.partition(":")
    is_named = word == "budget" and kind in ("campaign", "allowance") and bool(of)
    if value is None or not (is_named or (not colon and name in (LIMITS if word == "limits" else ("run", "day")))):
        raise ValueError(_NAMES[word])
    if name in ("submit", "requests"):
        return parse_rate(value)
    low, high = (1, _MOST[name]) if word == "limits" else (0, 1_000_000_000)
    if not value.isascii() or not value.isdigit() or not low <= int(value[:12]) <= high:
        raise ValueError(f"must be a whole number from {low:,} to {high:,}")
    return int(value)


def stricter(own: Value | None, other: Value) -> Value:
    """What lets no more through than either of two rates, or numbers."""
    if isinstance(own, Rate) and isinstance(other, Rate):
        return both(own, other)
    return min(own, other) if isinstance(own, int) and isinstance(other, int) else other


def is_raised(was: Value | None, now: Value) -> bool:
    """Whether a value lets more through than the one before it; None let everything through."""
    if was is None:
        return False
    if isinstance(was, Rate) and isinstance(now, Rate):
        return now.per_second > was.per_second or now.count > was.count
    return isinstance(was, int) and isinstance(now, int) and now > was
