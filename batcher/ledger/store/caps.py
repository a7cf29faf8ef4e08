"""What a run may commit, and why a job is not admitted: one question, asked in the transaction that takes the hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from batcher.clock import local_day, local_time
from batcher.ledger.answers import PlannedJob
from batcher.ledger.cap_room import CapRoom, asked_caps, room_under
from batcher.settings import Allowance, Selection
from batcher.statuses import is_unpriced

from . import chains
from .facts import Facts

if TYPE_CHECKING:
    from batcher.jobs import Job

#: A wallet reading that is older, in seconds, lets nothing through (product.md, promise 3).
READING_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Caps:
    """What this run may commit, in credits, and until when (seconds since the epoch); None means no cap.

    `campaigns` and `allowances` are by campaign; campaigns that name one allowance draw on it together.
    `wallet` is the reading that counts and `wallet_mark` the newest attempt (row id) that it has felt for certain;
    `wallet_at` (seconds since the epoch) when the newest reading was taken, None before the first; `wallet_most` the
    highest one. It lets `room` credits through beyond the attempt `room_mark` (None: no bound), one job at least.
    """

    run: int | None = None
    campaigns: dict[str, int] = field(default_factory=dict)
    allowances: dict[str, Allowance] = field(default_factory=dict)
    day: int | None = None
    keep: int | None = None
    until: float | None = None
    #: What `until` is (a key of `TIMES`), from when on jobs are started, and by when each has to be done.
    closed_by: str = "until"
    since: float | None = None
    ready_by: float | None = None
    #: A job that would hold more than this stops the run.
    price_above: int | None = None
    wallet: int = 0
    wallet_mark: int = 0
    wallet_at: float | None = None
    wallet_most: int = 0
    wallet_told: tuple[str, ...] = ()
    room: int | None = None
    room_mark: int = 0
    #: What a job of a price class may cost at most, by a saved plan.
    ceilings: dict[str, int] = field(default_factory=dict)
    #: The campaigns in which room is left for chains, as far as they are selected.
    chains: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    #: What jobs without a price beforehand may hold and cost of each campaign, over all runs; None: none is bought.
    unpriced: int | None = None
    #: What the others may cost in this run, where its plan's total is its cap and some are without a price.
    quoted: int | None = None


@dataclass(frozen=True, slots=True)
class NotAdmitted:
    """Why a job was not admitted.

    `cap` is one of `TIMES` or `HELD`, `draining`, `unpriced`, `price`, `price_above`, `ceiling`, `run`, `campaign`,
    `allowance`, `day`, `keep` or `reading`; `name` says which campaign or allowance. `quote` is what would have been
    held for the job.
    """

    cap: str
    message: str
    quote: int
    name: str = ""

    @property
    def words(self) -> str:
        """The cap with its name."""
        return f"{self.cap} {self.name}" if self.name else self.cap


class Admission(NamedTuple):
    """What a job is expected to cost, and what is held for it (see `PriceClass`)."""

    quote: int
    hold: int


def admission(
    facts: Facts, caps: Caps, job: PlannedJob | Job, *, run_id: int | None, account: str, now: float
) -> Admission | NotAdmitted:
    """What a job costs and holds, if every cap has room for that at `now` (seconds, wall clock)."""
    campaign, price_class, catalog_credits = job.campaign, job.price_class, job.catalog_credits
    if refusal := _too_early_or_late(facts, caps, account, now, price_class, catalog_credits):
        return refusal
    asked = facts.controls(run_id)
    if asked.state:
        return NotAdmitted(asked.state, f"{asked.state} by {asked.who}", catalog_credits)
    stated = asked_caps(caps, asked, tightens=bool(caps.ceilings))  # a saved plan's total is not raised
    unpriced = is_unpriced(price_class)
    if unpriced and caps.unpriced is None:
        words = "the API names no price of such a job beforehand; --allow-unpriced N lets them cost N together"
        return NotAdmitted("unpriced", words, catalog_credits)
    day = local_day(now, facts.read.zone)
    known = facts.price_class(account, price_class)
    if known.waits:
        return NotAdmitted("price", "waits until the API has named this price", catalog_credits)
    quote, hold = known.quote(catalog_credits), known.hold(catalog_credits)
    if caps.price_above is not None and hold > caps.price_above:
        words = f"{price_class} costs {hold} now, above {caps.price_above} (stop.price_above)"
        return NotAdmitted("price_above", words, hold)
    if hold > (ceiling := caps.ceilings.get(price_class, hold)):
        return NotAdmitted("ceiling", f"{price_class} costs {hold} now, above the plan's ceiling of {ceiling}", hold)
    rooms = list(room_under(stated, (campaign,), facts.spent, run_id=run_id, day=day, unpriced=unpriced))
    if caps.keep is not None:
        left = caps.wallet - facts.taken_since(account, caps.wallet_mark)
        rooms.append(CapRoom("keep", left, caps.keep))
    for room in rooms:
        if room.covers(campaign, price_class) and hold > room.left:
            return _refusal(room, hold)
    if caps.chains:
        every = tuple(dict.fromkeys((campaign, *caps.chains)))
        of_all = list(room_under(stated, every, facts.spent, run_id=run_id, day=day))
        of_all += [room for room in rooms if room.cap == "keep"]
        link = chains.Link(job.id, "", campaign, price_class, catalog_credits)
        if refusal := _no_room_for_chains(facts, caps, account, of_all, link, hold):
            return refusal
    if caps.keep is not None:
        if caps.wallet_at is not None and abs(now - caps.wallet_at) > READING_SECONDS:
            return NotAdmitted("reading", "the last reading of the wallet is older than five minutes", hold)
        taken = facts.taken_since(account, caps.room_mark) if caps.room is not None else 0
        if caps.room is not None and taken and taken + hold > caps.room:
            return NotAdmitted("reading", "waits for the next reading of the wallet", hold)
    return Admission(quote, hold)


def _too_early_or_late(
    facts: Facts, caps: Caps, account: str, now: float, price_class: str, quote: int
) -> NotAdmitted | None:
    """Why a job of this class is not started now, as far as that is a matter of the time."""
    until, since, ready_by = caps.until, caps.since, caps.ready_by
    if until is not None and (now >= until or (since is not None and until <= since)):
        return NotAdmitted(caps.closed_by, f"no job is started after {local_time(until)}", quote)
    if ready_by is not None and now + facts.slow_wait(account, price_class) >= ready_by:
        return NotAdmitted("ready_by", f"would not be done by {local_time(ready_by)} (ready_by)", quote)
    if since is not None and now < since:
        return NotAdmitted("opening", f"no job is started before {local_time(since)}", quote)
    return None


def _refusal(room: CapRoom, hold: int, kept: int = 0) -> NotAdmitted:
    if room.cap == "keep":
        words, more = f"{room.limit} in the wallet, {room.used} to keep", ""
    else:
        words = f"{room.words if room.name else f'{room.cap} cap'} of {room.limit}: {room.used} held or settled"
        more = "more "
    rest = f", {kept} kept for what is made from results" if kept else ""
    return NotAdmitted(room.cap, f"{words}, {hold} {more}wanted{rest}", hold, room.name)


def _no_room_for_chains(
    facts: Facts, caps: Caps, account: str, rooms: list[CapRoom], job: chains.Link, hold: int
) -> NotAdmitted | None:
    """The cap that has no room for the whole chain that a job begins or goes on, beside those that are begun already.

    A begun one for which there is no room either is left out. A job that is made from results goes before all that is
    new, and looks at its own chain only.
    """
    read, stands = facts.read, facts.job(job.id)
    own = chains.chain_from(read, job, caps.selection) if stands.makes else [job]
    is_made = stands.is_made
    if is_made and len(own) == 1:
        return None

    @cache
    def asked_by(campaign: str, price_class: str, catalog: int) -> tuple[int, ...]:
        """What a job takes of the room under each cap."""
        credits_ = facts.price_class(account, price_class).hold(catalog)
        return tuple(credits_ if room.covers(campaign, price_class) else 0 for room in rooms)

    def asked(links: list[chains.Link]) -> list[int]:
        return [sum(each) for each in zip(*(asked_by(*link[2:]) for link in links), strict=True)]

    def surely_fits() -> bool:
        """Whether all that is begun and this chain fit, counted by class: there may be thousands."""
        sums = asked(own)
        for name in caps.chains:
            counted = chains.begun_counts(read, name)
            if counted is None:
                return False
            for price_class, catalog, jobs in counted:
                each = asked_by(name, price_class, catalog)
                sums = [total + jobs * more for total, more in zip(sums, each, strict=True)]
        return all(more == 0 or more <= room.left for more, room in zip(sums, rooms, strict=True))

    if not is_made and surely_fits():
        return None
    kept = {each.id for each in own}
    left = [room.left for room in rooms]
    for campaign in () if is_made else caps.chains:
        for chain in chains.begun_chains(read, campaign, caps.selection):
            links = [each for each in chain if each.id not in kept]
            needed = asked(links or own)
            if links and all(more == 0 or more <= rest for more, rest in zip(needed, left, strict=True)):
                left = [rest - more for more, rest in zip(needed, left, strict=True)]
                kept.update(each.id for each in links)
    for room, rest, more, itself in zip(rooms, left, asked(own), asked([job]), strict=True):
        if more and more > rest:
            return _refusal(room, hold, room.left - rest + more - itself)
    return None
