"""Whether the API takes creates at all: a breaker for them alone. Pure: times are monotonic seconds.

Polls and `GET /credits` may be answered while no create is. Then each new job would make an intent, spend its repeats
and end in doubt; so after three different jobs in a row without an answer no new intent is made, and one of those that
exist asks on (product.md, promise 5).
"""

from __future__ import annotations

from batcher.jobs import JobId

#: Different jobs without an answer, and none with one in between, that mean that no create is answered.
ENOUGH = 3


class CreateBreaker:
    """What came of the creates of one run."""

    def __init__(self) -> None:
        self._without: set[JobId] = set()  # jobs whose create had no answer, since the last create that had one
        self._answered: set[JobId] = set()  # two of those that had one tell whether another has
        self._down_since: float | None = None

    @property
    def down(self) -> bool:
        """Whether no create is answered: no new intent is to be made."""
        return self._down_since is not None

    def answered(self, job_id: JobId) -> None:
        """A create had an answer of the API, whatever it says: creates work."""
        if len(self._answered) < 2:
            self._answered.add(job_id)
        self._without.clear()
        self._down_since = None

    def unanswered(self, job_id: JobId, now: float) -> None:
        """A create ended without an answer."""
        self._without.add(job_id)
        if len(self._without) >= ENOUGH:
            self.fell(now)

    def fell(self, now: float) -> None:
        """Take it that no create is answered: those that would show it cannot be tried."""
        if self._down_since is None:
            self._down_since = now

    def since(self, now: float) -> None:
        """Nothing at all was answered until now, which says nothing about creates."""
        if self._down_since is not None:
            self._down_since = now

    def lasted(self, now: float) -> float:
        """For how many seconds no create has been answered."""
        return 0.0 if self._down_since is None else now - self._down_since

    @property
    def clear(self) -> bool:
        """Whether no job lacks an answer since the last create that had one."""
        return not self._without

    def suspects(self, job_id: JobId) -> bool:
        """Whether this job's create had no answer, and no other's has had one since."""
        return job_id in self._without

    def only(self, job_id: JobId) -> bool:
        """Whether this job alone has no answer, where those of others had one."""
        return self._without <= {job_id} and bool(self._answered - {job_id})
