"""When a run stops by itself, for what became of its jobs. Pure."""

from __future__ import annotations

from collections import Counter

from batcher.jobs import JobId, Status
from batcher.settings import Settings

#: A share of fewer jobs than this says nothing.
LEAST_ENDED = 10
#: Jobs whose downloads end for the same local cause until buying stops.
_BARRED = 3


class StopRules:
    """Counts what jobs came to; says which rule has been met, of the manifest's `stop` or of batcher's own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failures = self._blocked = 0  # in a row
        self._ended: Counter[Status] = Counter()
        self._barred: set[JobId] = set()  # jobs whose downloads ended for this cause, and none without it since
        self._barred_by = ""

    def fetched(self, job_id: JobId, barred: str) -> str:
        """Count a download that was tried; the local cause (`barred`) for which to stop, if so: those of different
        jobs, and no others, end for it, so what is bought cannot be fetched."""
        if not barred or barred != self._barred_by:
            self._barred.clear()
        self._barred_by = barred
        if barred:
            self._barred.add(job_id)
        return barred if len(self._barred) == _BARRED else ""

    def goes_on(self) -> None:
        """A job has its result: no row of failures goes on over it."""
        self._failures = self._blocked = 0

    def ended(self, status: Status, *, blocked: bool) -> str:
        """Count a job that came to its end; why to stop, if so. `blocked`: a page kept it out."""
        self._ended[status] += status in (Status.SUCCEEDED, Status.FAILED, Status.DOUBTFUL)
        if status is Status.SUCCEEDED:
            self.goes_on()
        elif status is Status.FAILED:
            self._failures += 1
            if self._failures == self._settings.failures_in_a_row:
                return f"{self._failures} jobs failed in a row (stop.failures_in_a_row)"
        self._blocked = self._blocked + 1 if blocked and status is Status.DOUBTFUL else self._blocked
        if blocked and self._blocked == self._settings.blocked_in_a_row:
            return f"{self._blocked} jobs blocked in a row (stop.blocked_in_a_row)"
        most, ended, failed = self._settings.failed_percent, self._ended.total(), self._ended[Status.FAILED]
        if most is not None and ended >= LEAST_ENDED and 100 * failed >= most * ended:
            return f"{failed} of {ended} jobs failed (stop.failed: {most}%)"
        return ""
