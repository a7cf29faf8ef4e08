"""A figure that a benchmark measured, with its goal if it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit`; `goal` as a person reads it, `met` whether it was reached (None: no goal)."""

    name: str
    value: float
    unit: str = ""
    goal: str = ""
    met: bool | None = None

    @property
    def line(self) -> str:
        """One line of the table."""
        verdict = {None: "", True: "met", False: "NOT MET"}[self.met]
        return f"{self.name:<66} {_short(self.value):>10} {self.unit:<9} {self.goal:<12} {verdict}".rstrip()


def at_least(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """A figure that is to be `limit` or more."""
    return Figure(name, value, unit, f"≥ {_short(limit)}", value >= limit)


def at_most(name: str, value: float, limit: float, unit: str = "") -> Figure:
    """A figure that is to be `limit` or less."""
    return Figure(name, value, unit, f"≤ {_short(limit)}", value <= limit)


def middle(values: Sequence[float]) -> float:
    """The median."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _short(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}".rstrip("0").rstrip(".")


def measured(name: str, *, full: bool) -> list[Figure]:
    """The figures of a benchmark, each printed when it is known."""
    measure: Callable[[bool], Iterator[Figure]] = import_module(f"benchmarks.{name}").measure
    found = []
    for figure in measure(full):
        print(figure.line, flush=True)
        found.append(figure)
    return found
