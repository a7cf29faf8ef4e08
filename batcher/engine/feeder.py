"""Which planned job is next: from the ledger in pages, in manifest order, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from batcher.jobs import JobId
from batcher.ledger import LedgerReader, Pending, Refusal
from batcher.settings import Selection

_PAGE = 200


@dataclass(slots=True)
class _Cursor:
    campaign: str
    after: int = -1
    page: list[Pending] = field(default_factory=list)
    at_end: bool = False


class Feeder:
    """The planned jobs of some campaigns, one by one; classes that a cap refused are passed over until reopened."""

    def __init__(self, read: LedgerReader, campaigns: Sequence[str], selection: Selection) -> None:
        self._read = read
        self._selection = selection
        self._cursors = [_Cursor(campaign) for campaign in campaigns]
        self.closed: dict[tuple[str, str], Refusal] = {}

    def next(self, skip: Callable[[JobId], bool]) -> Pending | None:
        """The next job that may be started; None when there is none at present. `skip` names those not to take."""
        for cursor in self._cursors:
            while found := self._step(cursor):
                closed = (cursor.campaign, found.price_class) in self.closed
                if not closed and self._selection.takes(found.name) and not skip(found.id):
                    return found
        return None

    def _step(self, cursor: _Cursor) -> Pending | None:
        if not cursor.page and not cursor.at_end:
            cursor.page = self._read.pending(cursor.campaign, after=cursor.after, limit=_PAGE)[::-1]
            cursor.at_end = not cursor.page
        if not cursor.page:
            return None
        found = cursor.page.pop()
        cursor.after = found.position
        return found

    def close(self, campaign: str, price_class: str, refusal: Refusal) -> None:
        """Pass over a class of a campaign, which was refused, until `reopen`."""
        self.closed[campaign, price_class] = refusal

    def reopen(self) -> None:
        """Credits came free or a price was named: look at every planned job again."""
        if self.closed:
            self.closed.clear()
            self._cursors = [_Cursor(cursor.campaign) for cursor in self._cursors]
