"""What a budget is held against: prices, caps, what is left to buy, the rate, the wallet. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from batcher.clock import from_iso, iso
from batcher.events import Event
from batcher.ledger.reader import CreditSum, LedgerReader
from batcher.ledger.store.amounts import COMMITTED, HOLD, OPEN_HOLD, SETTLED, TAKEN

from .run_settings import RunSettings, read_settings, texts
from .spend import ALL, JOINED, Scope, where_of
from .sql import LATEST

#: The event of a wallet reading; its detail is `{"account": text, "credits": int}`.
_OF_WALLET = f"event = '{Event.WALLET_READ}'"  # word for word as the index `events_of_wallet` has it
_HOUR = 3600.0
_ANSWERED = "coalesce(submitted_at, finished_at)"


@dataclass(frozen=True, slots=True)
class Class:
    """A price class that was bought in an account, and the catalogue's price of the job bought last."""

    account: str
    price_class: str
    catalog_credits: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Planned jobs of one campaign, class and catalogue price that the newest expansion still contains."""

    campaign: str
    price_class: str
    catalog_credits: int
    jobs: int


@dataclass(frozen=True, slots=True)
class RunCaps:
    """A run with the caps that it obeyed; `campaigns` are those of which no newer run is known."""

    run_id: int
    ended: bool
    account: str
    campaigns: tuple[str, ...]
    caps: RunSettings


@dataclass(frozen=True, slots=True)
class AllowanceInUse:
    """An allowance at the total that the newest run naming it (`run_id`) gave it, in credits."""

    name: str
    total: int
    run_id: int


@dataclass(frozen=True, slots=True)
class Burst:
    """What was committed by one campaign and run under one allowance (or none) in the last hour of work.

    `first` and `last` are intents' times.
    """

    campaign: str
    run_id: int
    allowance: str | None
    credits: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A wallet reading that was written down."""

    at: str
    credits: int


@dataclass(frozen=True, slots=True)
class WalletMovement:
    """What an account's purchases took from its wallet between two readings, as the ledger knows it.

    `spent` is net of what came back. The rest are credits of which the ledger cannot know on which side of a reading
    they moved. At the second one: of `doubtful` attempts (`doubtful_before`: of those that the first one may have felt,
    so that they may have come back since), of `unanswered` ones, of those `under_way` or without a price (the API may
    have ended them; `above`: what they hold above its reserve, which it may have taken). At the first one: taken for
    attempts that were answered, given back for those that ended after it.
    """

    spent: int
    doubtful: int
    doubtful_before: int
    unanswered: int
    under_way: int
    above: int
    answered_later: int
    ended_later: int


def classes(read: LedgerReader, scope: Scope) -> list[Class]:
    """The price classes of the purchases, by account."""
    where, values = where_of(Scope(scope.since, scope.until), "a.intended_at")
    if not scope.of_all_jobs:
        of_jobs, more = where_of(Scope(campaigns=scope.campaigns, conditions=scope.conditions), "")
        where += f" AND a.job_id IN (SELECT w.id {LATEST} WHERE {of_jobs})"
        values += more
    found = read.rows(
        f"SELECT n.account, n.price_class, w.catalog_credits FROM (SELECT max(a.id) AS id {ALL} WHERE {where}"
        " GROUP BY a.class_id) AS newest CROSS JOIN attempts AS n ON n.id = newest.id"
        " JOIN wanted AS w ON w.id = n.job_id ORDER BY 2, 1",
        values,
    )
    return [Class(*row) for row in found]


def rest(read: LedgerReader, campaigns: Collection[str]) -> list[Rest]:
    """What these campaigns still have to buy, by campaign and class."""
    found = read.rows(
        "SELECT w.campaign, w.price_class, w.catalog_credits, count(*) AS jobs FROM wanted AS w"
        " JOIN campaigns AS c ON c.name = w.campaign AND c.expansion = w.expansion WHERE w.status = 'planned'"
        " GROUP BY 1, 2, 3 ORDER BY c.rowid, 2, 3"
    )
    return [Rest(*row) for row in found if row["campaign"] in campaigns]


def run_caps(read: LedgerReader, campaigns: Collection[str]) -> list[RunCaps]:
    """The newest run of each of these campaigns, newest first, with the caps that it wrote down."""
    left, found = set(campaigns), list[RunCaps]()
    for row in read.stream("SELECT id, ended_at, account, campaigns, settings FROM runs ORDER BY id DESC"):
        named = [name for name in texts(row["campaigns"]) if name in left]
        if named:
            left -= set(named)
            ended, caps = row["ended_at"] is not None, read_settings(row["settings"])
            found.append(RunCaps(row["id"], ended, row["account"], tuple(named), caps))
        if not left:
            break
    return found


def allowances(read: LedgerReader, campaigns: Collection[str]) -> list[AllowanceInUse]:
    """Every allowance that a run named for one of these campaigns, by name."""
    found: dict[str, AllowanceInUse] = {}
    asked = set[str]()
    for row in read.stream("SELECT id, settings FROM runs ORDER BY id DESC"):
        for campaign, allowance in read_settings(row["settings"]).allowances.items():
            found.setdefault(allowance.name, AllowanceInUse(allowance.name, allowance.total, row["id"]))
            if campaign in campaigns:
                asked.add(allowance.name)
    return [found[name] for name in sorted(asked)]


def used_before(read: LedgerReader, campaigns: Collection[str], cap: int, run_id: int | None = None) -> int:
    """What the newest runs in a row over just these campaigns took under a run cap of `cap`, of those before `run_id`.

    A run cap counts from nothing in each run. A run that came to a good end, or had another cap, ends the row.
    """
    found = 0
    before = "" if run_id is None else f" WHERE id < {run_id:d}"
    for row in read.stream(f"SELECT id, exit_code, campaigns, settings FROM runs{before} ORDER BY id DESC"):
        named = set(texts(row["campaigns"]))
        if not named & set(campaigns):
            continue
        if named != set(campaigns) or row["exit_code"] == 0 or read_settings(row["settings"]).run != cap:
            break
        found += read.spent(run_id=row["id"]).committed
    return found


def last_hour(read: LedgerReader) -> list[Burst]:
    """What was committed in the hour up to the newest intent, by campaign, run and allowance."""
    row = read.row("SELECT max(intended_at) AS at FROM attempts")
    if row is None or row["at"] is None:
        return []
    found = read.rows(
        f"SELECT w.campaign, a.run_id, a.allowance, sum({COMMITTED}), min(a.intended_at), max(a.intended_at) {JOINED}"
        " WHERE a.intended_at > ? GROUP BY 1, 2, 3",
        (iso(from_iso(row["at"]) - _HOUR),),
    )
    return [Burst(*row) for row in found]


# The wallet


def account_sum(read: LedgerReader, account: str) -> CreditSum:
    """What an account's purchases hold and have settled."""
    return _sum(read, "account = ?", account)


def _sum(read: LedgerReader, where: str, *values: str) -> CreditSum:
    sums = f"SELECT coalesce(sum({OPEN_HOLD}), 0), coalesce(sum({SETTLED}), 0) FROM attempts"
    return CreditSum(*read.one(f"{sums} WHERE {where}", values))


def first_reading(read: LedgerReader, account: str, since: str | None = None) -> Reading | None:
    """The oldest wallet reading of an account, of those after `since`."""
    return _reading(read, account, since or "", "ASC")


@dataclass(frozen=True, slots=True)
class Counted:
    """The reading that counted when the newest one was taken, its mark (row id of an attempt), and the highest ever."""

    credits: int
    mark: int
    most: int


def counted(read: LedgerReader, account: str, since: str) -> Counted | None:
    """What counted at the newest reading, if the account has bought since its mark with an answer after `since`."""
    row = read.row(
        "SELECT CAST(json_extract(detail, '$.counted') AS BIGINT), CAST(json_extract(detail, '$.mark') AS BIGINT),"
        f" CAST(json_extract(detail, '$.most') AS BIGINT) FROM events WHERE {_OF_WALLET} AND json_valid(detail)"
        " AND json_extract(detail, '$.account') = ? AND json_type(detail, '$.counted') = 'integer'"
        " ORDER BY id DESC LIMIT 1",
        (account,),
    )
    if row is None:
        return None
    bought = read.row(
        "SELECT 1 FROM attempts WHERE id > ? AND account = ? AND coalesce(submitted_at, finished_at) > ? LIMIT 1",
        (row[1], account, since),
    )
    return Counted(*row) if bought else None


def last_reading(read: LedgerReader, account: str) -> Reading | None:
    """The newest wallet reading of an account."""
    return _reading(read, account, "", "DESC")


def _reading(read: LedgerReader, account: str, since: str, order: str) -> Reading | None:
    row = read.row(
        "SELECT at, json_extract(detail, '$.credits') AS credits FROM events"
        f" WHERE {_OF_WALLET} AND at >= ? AND json_valid(detail) AND json_extract(detail, '$.account') = ?"
        f" AND json_type(detail, '$.credits') = 'integer' ORDER BY id {order} LIMIT 1",
        (since, account),
    )
    return Reading(row["at"], row["credits"]) if row else None


def taken_after(read: LedgerReader, account: str, since: str) -> CreditSum:
    """What an account's purchases hold or have settled that had no answer yet when a reading was taken at `since`."""
    return _sum(read, f"account = ? AND ({_ANSWERED} IS NULL OR {_ANSWERED} > ?)", account, since)


def wallet_movement(read: LedgerReader, account: str, since: str, until: str) -> WalletMovement:
    """What an account's purchases took from its wallet between a reading at `since` and one at `until`."""
    first, last = "?2", "?3"
    parts = {
        "spent": f"{_known(last)} - {_known(first)}",
        "doubtful": f"iif(outcome IS 'doubtful' AND intended_at <= {last}, {OPEN_HOLD}, 0)",
        "doubtful_before": f"iif(outcome IS 'doubtful' AND intended_at <= {first}, {OPEN_HOLD}, 0)",
        "unanswered": f"iif({_asked(last)}, {COMMITTED}, 0)",
        "under_way": f"iif({_open(last)}, {TAKEN}, 0)",
        "above": f"iif({_open(last)}, max(0, {HOLD} - {TAKEN}), 0)",
        "answered_later": f"iif({_asked(first)} AND {_ANSWERED} <= {last}, {COMMITTED}, 0)",
        "ended_later": f"iif(submitted_at <= {first} AND finished_at > {first} AND finished_at <= {last},"
        f" max(0, {TAKEN} - final_credits), 0)",
    }
    sums = ", ".join(f"coalesce(sum({parts[name]}), 0)" for name in WalletMovement.__dataclass_fields__)
    return WalletMovement(*read.one(f"SELECT {sums} FROM attempts WHERE account = ?1", (account, since, until)))


def _known(at: str) -> str:
    """What the ledger knew at that time to have left the wallet: without an answer, or in doubt, nothing."""
    return (
        f"CASE WHEN ifnull({_ANSWERED} > {at}, 1) THEN 0 WHEN finished_at <= {at} THEN coalesce(final_credits, {TAKEN})"
        f" WHEN outcome IS 'doubtful' THEN 0 ELSE {TAKEN} END"
    )


def _open(at: str) -> str:
    """Whether a purchase had been answered by then, and the API's last word of its price was not."""
    ended_later = f"ifnull(finished_at > {at}, 1)"
    return f"outcome IS NOT 'doubtful' AND {_ANSWERED} <= {at} AND ({ended_later} OR final_credits IS NULL)"


def _asked(at: str) -> str:
    """Whether a purchase had been intended by then, and had no answer."""
    return f"outcome IS NOT 'doubtful' AND intended_at <= {at} AND ifnull({_ANSWERED} > {at}, 1)"
