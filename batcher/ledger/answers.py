"""What a ledger answers when it is read. Named tuples: a dataclass takes six times as long to make at each start."""

from __future__ import annotations

from typing import Literal, NamedTuple

from batcher.statuses import JobId, Status


class CreditSum(NamedTuple):
    """Credits: `held` is open (counted against caps), `settled` is paid for good."""

    held: int
    settled: int

    @property
    def committed(self) -> int:
        return self.held + self.settled


class KnownJob(NamedTuple):
    """What the plan has to know of a job that stands in the ledger already."""

    status: Status
    error_code: str | None


class PromptOutcome(NamedTuple):
    """How many jobs of a prompt have a status; `saved` is false for succeeded ones, which lack a file."""

    name: str
    status: Status
    saved: bool
    jobs: int


#: What a planned job is in chains: others are made from it, or it is made from results of others, which are there.
ChainPart = Literal["none", "source", "ready"]


class PlannedJob(NamedTuple):
    """A planned job in manifest order; of a source `makes` is the price class of the first job that is made from it."""

    id: JobId
    campaign: str
    name: str
    position: int
    catalog_credits: int
    price_class: str
    part: ChainPart = "none"
    makes: str = ""


class SourceState(NamedTuple):
    """Where a source of a job stands; `path` (relative to the state folder), hash and size (bytes) are of its file.

    `attempt` is the number of the attempt that made the file. `ready`: the file may be used.
    """

    source_id: JobId
    name: str
    status: Status | None
    attempt: int | None
    path: str | None
    sha256: str | None
    size: int | None
    ready: bool
