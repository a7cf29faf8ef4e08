"""How runs used their limits: from the send log, as far back as it goes, and from the cuts."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from batcher.clock import from_iso
from batcher.events import Event
from batcher.ledger.queries.timeline import Note, RunEntry

#: The stated limits by the names that the ledger's events give them.
LIMITS: Final = ("submit", "requests")


@dataclass(frozen=True, slots=True)
class Usage:
    """How a run used a limit of `count` requests in `seconds`; what is sent is None where the send log is gone.

    `per_minute` is the pace from the first to the last request, `minutes` has the requests of each minute that had any,
    `lowest` is the least pace a minute that the limit was cut to.
    """

    run_id: int
    limit: str
    count: int
    seconds: float
    sent: int | None
    per_minute: float | None
    minutes: tuple[tuple[str, int], ...]
    cuts: int
    lowest: float | None

    @property
    def allowed(self) -> float:
        """What is stated, a minute."""
        return round(60 * self.count / self.seconds, 2)

    @property
    def busiest(self) -> int | None:
        """The requests of the minute that had most."""
        return max((count for _, count in self.minutes), default=None)


def usage(runs: Sequence[RunEntry], notes: Sequence[Note], sends: Iterable[tuple[str, int, int]]) -> Iterator[Usage]:
    """Each limit of each run (oldest first) that was used or cut. A request belongs to the run in whose time it is."""
    used = _used(runs, sends)
    for run in runs:
        for limit in LIMITS:
            found = used.get((run.id, limit), [])
            cuts = [
                note.detail.get("per_minute")
                for note in notes
                if note.run_id == run.id and note.event == Event.LIMIT_CUT and note.detail.get("limit") == limit
            ]
            if limit in run.traces.limits and (found or cuts):
                minutes = Counter[str]()
                for second, requests in found:
                    minutes[f"{second[:16]}:00Z"] += requests
                count, seconds = run.traces.limits[limit]
                yield Usage(
                    run_id=run.id,
                    limit=limit,
                    count=count,
                    seconds=seconds,
                    sent=minutes.total() if found else None,
                    per_minute=_pace(found, minutes.total()) if found else None,
                    minutes=tuple(sorted(minutes.items())),
                    cuts=len(cuts),
                    lowest=min((float(pace) for pace in cuts if isinstance(pace, int | float)), default=None),
                )


def _pace(used: Sequence[tuple[str, int]], requests: int) -> float:
    lasted = from_iso(f"{used[-1][0]}Z") - from_iso(f"{used[0][0]}Z")
    return round(60 * requests / max(60.0, lasted), 1)


def _used(
    runs: Sequence[RunEntry], sends: Iterable[tuple[str, int, int]]
) -> dict[tuple[int, str], list[tuple[str, int]]]:
    """The seconds in which a run had requests under a limit, and how many."""
    starts = [run.since[:19] for run in runs]
    found: dict[tuple[int, str], list[tuple[str, int]]] = {}
    for second, *counts in sends:
        place = bisect_right(starts, second) - 1
        if place < 0 or second > runs[place].until[:19]:
            continue  # another command's, or of a run that is not asked for
        for limit, count in zip(LIMITS, counts, strict=True):
            if count:
                found.setdefault((runs[place].id, limit), []).append((second, count))
    return found
