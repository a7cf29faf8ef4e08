"""The wallet against the ledger: what it should be by the ledger's sums, and why it may differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batcher.ledger import LedgerReader
from batcher.ledger.queries import budgets, spend
from batcher.ledger.queries.budgets import Reading, WalletMovement


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Something that may be behind a difference: the wallet may be lower or higher by so many credits at most."""

    name: str
    lower: int
    higher: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """An account's wallet beside the ledger.

    `settled` and `held` are the ledger's sums of this account. `since` is the reading that this one is compared with
    (None: no earlier one is known), `spent` what the ledger knows to have left the wallet in between, net of what came
    back. `causes` say what the ledger cannot know for certain.
    """

    account: str
    at: str
    wallet: int
    settled: int
    held: int
    since: Reading | None
    spent: int | None
    causes: tuple[Discrepancy, ...]

    @property
    def expected(self) -> int | None:
        """What the wallet should show."""
        return None if self.since is None or self.spent is None else self.since.credits - self.spent

    @property
    def difference(self) -> int | None:
        """Wallet less expected: positive when there is more than the ledger can tell."""
        return None if self.expected is None else self.wallet - self.expected

    @property
    def unexplained(self) -> int | None:
        """The part of the difference that no cause reaches: something that this ledger has no part in."""
        if self.difference is None:
            return None
        lower, higher = sum(c.lower for c in self.causes), sum(c.higher for c in self.causes)
        return self.difference - max(-lower, min(higher, self.difference))


def reconcile(read: LedgerReader, *, account: str, wallet: int, at: str, since: str | None = None) -> Reconciliation:
    """Compare a wallet reading taken at `at` with the oldest one after `since` that the ledger has of this account."""
    with spend.snapshot(read):
        sums = budgets.account_sum(read, account)
        first = budgets.first_reading(read, account, since)
        if first is not None and first.at >= at:
            first = None
        moved = budgets.wallet_movement(read, account, first.at, at) if first else None
    return Reconciliation(
        account=account,
        at=at,
        wallet=wallet,
        settled=sums.settled,
        held=sums.held,
        since=first,
        spent=moved.spent if moved else None,
        causes=tuple(_causes(moved)) if moved else (),
    )


def _causes(moved: WalletMovement) -> Iterator[Discrepancy]:
    """The credits of which nobody here knows on which side of a reading they moved."""
    for name, lower, higher in (
        ("doubtful", moved.doubtful, moved.doubtful_before),
        ("unanswered", moved.unanswered, 0),
        ("under_way", moved.above, moved.under_way),
        ("answered_later", 0, moved.answered_later),
        ("ended_later", moved.ended_later, 0),
    ):
        if lower or higher:
            yield Discrepancy(name, lower, higher)
