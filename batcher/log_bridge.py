"""What happens, on the standard logger `batcher`: a record for each fact, after its commit; silent until heard."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

from batcher.events import Event
from batcher.ledger import Change
from batcher.statuses import Status

LOGGER = logging.getLogger("batcher")
LOGGER.addHandler(logging.NullHandler())  # else Python writes warnings of a library to stderr by itself

#: A person may want to know of these.
_WARNINGS = frozenset(
    {
        *(Event.HALTED, Event.CAP_REACHED, Event.OUTAGE_BEGAN, Event.LIMIT_CUT, Event.WALLET_ODD, Event.PRICE_ROSE),
        *(Event.MAYBE_RECEIVED, Event.UNVERIFIED, Event.ODD_FILE, Event.FILE_DIFFERS),
    }
)
#: What is told beside the moves of jobs.
_NEWS = frozenset(
    {Event.SAVED, Event.RUN_STARTED, Event.RUN_ENDED, Event.OUTAGE_ENDED, Event.LIMIT_RESTORED, Event.LOOKED}
)


class LogBridge:
    """Observes a ledger. Records have `event`, `job_id` and `detail` as attributes, for handlers that want more."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        """`redact` takes keys out of texts."""
        self._redact = redact

    def __call__(self, change: Change) -> None:
        level = logging.INFO if change.new is not None or change.event in _NEWS else logging.DEBUG
        if change.event in _WARNINGS or change.new in (Status.FAILED, Status.DOUBTFUL):
            level = logging.WARNING
        if not LOGGER.isEnabledFor(level):
            return
        detail = self._redact(json.dumps(dict(change.detail), default=str))
        extra = {"event": change.event, "job_id": change.job_id, "detail": json.loads(detail)}
        LOGGER.log(level, "%s%s %s", change.event, f" {change.job_id}" if change.job_id else "", detail, extra=extra)
