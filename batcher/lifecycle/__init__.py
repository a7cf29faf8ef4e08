"""One job's next step. Crash safety lives here: this is the only caller of `Provider.submit`."""

from .advance import Lifecycle
from .context import Context
from .group_commit import Commits, Disk
from .steps import Abort, Deferred, Done, JobRunState, Reschedule, Stage, Step

__all__ = [
    "Abort",
    "Commits",
    "Context",
    "Deferred",
    "Disk",
    "Done",
    "JobRunState",
    "Lifecycle",
    "Reschedule",
    "Stage",
    "Step",
]
