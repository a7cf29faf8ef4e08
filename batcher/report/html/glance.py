"""What one looks for first on the page: the figures at its top, and how far each cap is used up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batcher.jobs import Status
from batcher.report.figures import Figures, Report
from batcher.report.tables import runs_out
from batcher.text import count, number, percent, wait


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the top of the page, with a word to it."""

    name: str
    value: str
    note: str = ""


def tiles(total: Figures) -> Iterator[Tile]:
    """The figures that one looks for first."""
    jobs, money = total.jobs, total.credits
    yield Tile("jobs", number(sum(jobs.values())), f"{number(jobs.get(Status.SUCCEEDED, 0))} succeeded")
    yield Tile("files", number(total.files), f"{number(jobs.get(Status.FAILED, 0))} jobs failed")
    yield Tile("credits settled", number(money.settled), f"{number(money.returned)} returned")
    yield Tile("credits held", number(money.held), f"{number(money.doubtful)} doubtful")
    yield Tile("credits a file", number(total.cost_of_result) or "–", "settled / files")
    yield Tile("came to nothing", percent(total.failure_rate) or "–", f"of {count(total.attempts.total, 'attempt')}")
    found = total.wait
    within = f"90 % within {wait(found.p90)}" if found else "no result yet"
    yield Tile("median wait", wait(found.median) if found else "–", within)


@dataclass(frozen=True, slots=True)
class CapMeter:
    """A cap with what is used of it; `settled` and `held` are hundredths of `limit`, for the drawing."""

    name: str
    limit: str
    used: str
    free: str
    runs_out: str
    settled: float
    held: float


def meters(report: Report) -> Iterator[CapMeter]:
    """Every cap, and how far it is used up."""
    for cap in report.caps:
        keep = cap.cap == "keep"
        room = cap.used + (cap.free or 0) if keep else cap.limit
        share = 100 / room if room else 0.0
        settled = min(100.0, cap.settled * share)
        yield CapMeter(
            name="keep in the wallet" if keep else f"{cap.cap} {cap.name}",
            limit=number(cap.limit),
            used=f"{number(cap.settled)} settled, {number(cap.held)} held",
            free="unknown before a wallet reading (--online)" if cap.free is None else f"{number(cap.free)} free",
            runs_out=runs_out(cap, going=report.running),
            settled=round(settled, 2),
            held=round(min(100.0 - settled, cap.held * share), 2),
        )
