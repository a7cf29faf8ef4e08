"""The status of a job and the legal moves. Apart from `jobs`, for the commands that only look need no more of it.

Making the classes of `jobs` takes a third as long as all that such a command does.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NewType

JobId = NewType("JobId", str)
#: Characters of a job id shown to people and put into file names; any unambiguous prefix is accepted back.
SHORT_ID = 12


class Status(StrEnum):
    """The status of a job as the ledger shows it."""

    PLANNED = "planned"  # wanted; nothing bought
    SUBMITTING = "submitting"  # the intent is on disk, the API's answer is not
    QUEUED = "queued"  # the API has it
    PROCESSING = "processing"  # the API works on it
    SUCCEEDED = "succeeded"  # the API has a result; the file may still be on its way
    FAILED = "failed"  # the API refused it or failed at it, or it cannot be sent
    DOUBTFUL = "doubtful"  # we cannot know whether it was charged; a person decides
    CANCELLED = "cancelled"  # not wanted any more; nothing bought


#: Every legal move. The ledger refuses others, by compare-and-set on the old status.
MOVES: Mapping[Status, frozenset[Status]] = {
    Status.PLANNED: frozenset({Status.SUBMITTING, Status.CANCELLED, Status.FAILED}),
    Status.SUBMITTING: frozenset(
        {Status.QUEUED, Status.PROCESSING, Status.SUCCEEDED, Status.FAILED, Status.DOUBTFUL, Status.PLANNED}
    ),
    Status.QUEUED: frozenset({Status.PROCESSING, Status.SUCCEEDED, Status.FAILED, Status.DOUBTFUL}),
    Status.PROCESSING: frozenset({Status.QUEUED, Status.SUCCEEDED, Status.FAILED, Status.DOUBTFUL}),
    Status.SUCCEEDED: frozenset({Status.PLANNED}),
    Status.FAILED: frozenset({Status.PLANNED}),
    Status.DOUBTFUL: frozenset({Status.QUEUED, Status.FAILED, Status.PLANNED}),
    Status.CANCELLED: frozenset({Status.PLANNED}),
}

#: Bought and not at an end: a run goes on with these whatever its manifest says.
UNSETTLED = (Status.SUBMITTING, Status.QUEUED, Status.PROCESSING)

#: How the price class of jobs ends whose price nobody knows before they are bought: the model's billing is not FIXED.
UNPRICED = " unpriced"
#: The same where the model has no file at all (`--unchecked`).
UNCHECKED = f" unchecked{UNPRICED}"


def is_unpriced(price_class: str) -> bool:
    """Whether jobs of this class have no price before they are bought."""
    return price_class.endswith(UNPRICED)


def committed(attempt: Mapping[str, Any]) -> int:
    """Return what an attempt counts with against the caps, in credits: its final price, else its hold.

    `amounts.COMMITTED` says the same in SQL. A job without an attempt counts with nothing.
    """
    final = attempt["final_credits"]
    return int((attempt["hold_credits"] if final is None else final) or 0)


def open_hold(attempt: Mapping[str, Any]) -> int:
    """Return what is held of an attempt and not settled, in credits (in SQL `amounts.OPEN_HOLD`)."""
    return committed(attempt) if attempt["final_credits"] is None else 0


#: The name, in the place of a file's, of a manifest that was made from data: nobody can look whether it is still there.
DATA_MANIFEST = "<data>"
