"""What of a run is worth an alert: read from the ledger's events and sums, so that nothing is missed over a kill.

Each alert has a cause, under which it is recorded once, whichever run comes upon it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batcher.clock import Clock, iso, local_day
from batcher.events import Event
from batcher.jobs import SHORT_ID
from batcher.ledger import Caps, LedgerReader, alerts
from batcher.ledger.alerts import EventOfNote
from batcher.ledger.cap_room import CapRoom, asked_caps, room_under
from batcher.ledger.queries import jobs
from batcher.ledger.store import commands
from batcher.text import amount, count, duration, number

#: The kinds of alerts; what each is stands in docs/cli.md.
KINDS = ("end", "stop", "cap", "price", "doubtful", "stall", "paused")
#: Parts of a cap, in percent, at which an alert is due.
PERCENTS = (100, 80, 50)
#: Seconds for which an alert is tried for each target, from when it was recorded; over restarts too.
TRIED_SECONDS = 600.0
#: Nothing of any job happens for so long before an alert says so, in seconds.
STALL_SECONDS = 600.0
#: After an alert of doubtful jobs those that follow within so many seconds share the next one.
TOGETHER_SECONDS = 600.0
#: Jobs of an alert that are named.
_NAMED = 20
_NOTED = (*(Event.HALTED, Event.CAP_REACHED, Event.PRICE_ROSE, Event.DOUBTFUL, Event.RUN_ENDED, Event.COMMANDS_KEPT),)
#: Refusals under which buying goes on by itself, or that are told as a stop, or are no matter of money.
_NO_CAPS = frozenset({"price", "price_above", "reading", "until"})


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a person may want to know at once. `detail` is the same for programs."""

    cause: str
    kind: str
    title: str
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class Causes:
    """Looks for what is worth an alert in one run; `caps` says what that run may commit now.

    The default cap of a run, the total that its plan quotes, is told of only where it stops the buying.
    """

    def __init__(
        self,
        read: LedgerReader,
        run_id: int,
        campaigns: Sequence[str],
        caps: Callable[[], Caps],
        clock: Clock,
        *,
        run_cap_stated: bool,
        alone: bool = True,
    ) -> None:
        """Unless it is `alone`, other runs may go on with the ledger, and their events are theirs to tell."""
        self._read, self._run_id, self._campaigns = read, run_id, campaigns
        self._caps, self._clock = caps, clock
        self._run_cap_stated = run_cap_stated
        recent = iso(clock.wall() - TRIED_SECONDS)
        self._upto = alerts.begins_at(read, run_id, recent=recent, alone=alone)
        self._of = None if alone else run_id
        self._asked = commands.NOTHING
        self._doubtful: list[EventOfNote] = []
        self._doubtful_at = -math.inf
        self._moved_at = clock.monotonic()
        self._moved = 0
        self._first = True

    @property
    def _day(self) -> str:
        return local_day(self._clock.wall(), self._read.zone)

    @property
    def seen(self) -> int:
        """The event up to which nothing is left to be told of."""
        return self._doubtful[0].id - 1 if self._doubtful else self._upto

    def look(self, *, over: bool = False) -> list[Alert]:
        """What is new since the last look; `over`: the run has ended, and nothing is held back any more."""
        news = alerts.new_events(self._read, self._upto, self._of)
        now = self._clock.monotonic()
        found: list[Alert] = []
        if news.last or self._first:
            events = list(alerts.events_of_note(self._read, self._upto, news.last, _NOTED, self._of))
            ended = [alerts.run_of(self._read, each.id) for each in events if each.event == Event.RUN_ENDED]
            if not over and self._run_id not in ended:  # with the run ends what was asked of it
                self._asked = commands.controls(self._read, self._run_id)
            self._run_cap_stated |= "budget.run" in self._asked.values
            caps = asked_caps(self._caps(), self._asked)
            levels = list(room_under(caps, self._campaigns, self._read.spent, run_id=self._run_id, day=self._day))
            for event in events:
                found += self._of_event(event, levels)
            self._upto, self._first = max(self._upto, news.last), False
            found += self._of_caps(levels)
        if news.of_job:
            self._moved, self._moved_at = news.of_job, now
        elif not over and now - self._moved_at >= STALL_SECONDS:
            if under_way := sum(self._read.under_way(each, unsaved=False).total() for each in self._campaigns):
                found.append(self._stall(now - self._moved_at, under_way))
            else:  # a pause, or a time at which nothing starts: there is nothing that could move
                self._moved_at = now
        if self._doubtful and (over or now - self._doubtful_at >= TOGETHER_SECONDS):
            found.append(_doubtful(self._doubtful))
            self._doubtful, self._doubtful_at = [], now
        return self._new(sorted(found, key=lambda alert: alert.kind == "end"))

    def _new(self, found: list[Alert]) -> list[Alert]:
        """Those whose cause is not recorded, nor, of a cap, a larger part of the same."""
        asked = dict.fromkeys(cause for alert in found for cause in _covering(alert))
        known = alerts.known(self._read, list(asked)) if asked else set()
        new = []
        for alert in found:
            if known.isdisjoint(_covering(alert)):
                known.add(alert.cause)
                new.append(alert)
        return new

    def _of_event(self, event: EventOfNote, levels: list[CapRoom]) -> Iterator[Alert]:
        detail = event.detail
        match event.event:
            case Event.HALTED:
                title = f"{detail['reason']}: no new job is started"
                told = {name: detail[name] for name in ("kind", "reason") if name in detail}
                yield Alert(f"stop:{event.id}", "stop", title, title, told)
            case Event.CAP_REACHED if detail["cap"].split(" ")[0] not in _NO_CAPS:
                level = next((each for each in levels if each.words == detail["cap"] and not each.unpriced), None)
                yield self._cap(level or CapRoom(detail["cap"], 0, 0), 100, detail["message"])
            case Event.PRICE_ROSE if event.price_class:
                expected, taken = detail["expected"], detail["taken"]
                title = f"a job of {event.price_class} takes {amount(taken)}, not {number(expected)}"
                told = {"price_class": event.price_class, "expected": expected, "taken": taken, "job": event.job_id}
                yield Alert(f"price:{event.price_class}:{taken}", "price", title, f"{title} ({event.name}).", told)
            case Event.COMMANDS_KEPT if detail["state"]:
                title = f"the run begins {detail['state']}: {detail['message']}"
                yield Alert(
                    f"paused:{event.id}", "paused", title, f"{title}. `batcher ctl resume` lets it buy.", detail
                )
            case Event.DOUBTFUL:
                self._doubtful.append(event)
            case Event.RUN_ENDED:
                yield self._end(event)

    def _of_caps(self, levels: list[CapRoom]) -> Iterator[Alert]:
        for room in levels:
            percent = next((each for each in PERCENTS if room.used * 100 >= room.limit * each), None)
            if percent and room.limit > 0 and (room.cap != "run" or self._run_cap_stated):
                yield self._cap(room, percent)

    def _cap(self, room: CapRoom, percent: int, message: str = "") -> Alert:
        """`room.limit` is 0 for a cap that is none of credits used, such as what is to be kept in the wallet."""
        used, limit = room.used, room.limit
        # A cap of a run or a day is another one in the next; so is one whose figure was changed.
        which = self._day if room.cap == "day" else ",".join(room.campaigns) if room.unpriced else ""
        if room.cap == "run" or not limit:
            which = f"run {self._run_id}"
        title = f"{percent} % of the cap {room.words} is used" if percent < 100 else f"the cap {room.words} is reached"
        figures = f"{number(used)} of {amount(limit)} are held or spent" if limit else ""
        cause = f"cap:{room.words}:{which}:{limit}:{percent}"
        words = "; ".join(filter(None, (figures, message)))
        told = {"cap": room.words, "percent": percent, "limit": limit or None, "used": used if limit else None}
        return Alert(cause, "cap", title, f"{title}: {words}." if words else f"{title}.", told)

    def _stall(self, seconds: float, under_way: int) -> Alert:
        title = f"nothing has happened to any job for {duration(seconds)}"
        cause = f"stall:run {self._run_id}:{self._moved}"
        message = f"{title}; {under_way:,} under way. `batcher watch` shows how it stands."
        return Alert(cause, "stall", title, message, {"seconds": seconds, "under_way": under_way})

    def _end(self, event: EventOfNote) -> Alert:
        run_id = alerts.run_of(self._read, event.id)
        bill = self._read.spent(run_id=run_id)
        run = jobs.run(self._read, run_id)
        names = run["campaigns"] if run else []
        states = jobs.campaigns(self._read, names) if names else []
        lines = [f"{event.detail['reason']}."]
        lines += [f"{each.campaign}: {', '.join(f'{n:,} {s}' for s, n in each.statuses.items())}" for each in states]
        lines.append(f"This run: {amount(bill.settled)} settled, {number(bill.held)} held.")
        code = event.detail["exit_code"]
        told = {
            "exit_code": code,
            "reason": event.detail["reason"],
            "jobs": {each.campaign: each.statuses for each in states},
            "settled": bill.settled,
            "held": bill.held,
        }
        title = f"the run has ended with exit code {code}: {event.detail['reason']}"
        return Alert(f"end:run {run_id}", "end", title, "\n".join(lines), told)


def _covering(alert: Alert) -> list[str]:
    """The causes any of which, once recorded, leaves nothing to be told."""
    if alert.kind != "cap":
        return [alert.cause]
    base = alert.cause.rpartition(":")[0]
    return [f"{base}:{percent}" for percent in PERCENTS if percent >= alert.detail["percent"]]


def _doubtful(events: list[EventOfNote]) -> Alert:
    named = [
        {"id": event.job_id, "campaign": event.campaign, "name": event.name, "code": event.detail.get("code")}
        for event in events[:_NAMED]
    ]
    title = f"{count(len(events), 'job')} doubtful: a person has to decide"
    lines = [f"{str(each['id'])[:SHORT_ID]} {each['campaign']} {each['name']}: {each['code']}" for each in named]
    lines.append("`batcher status` lists them, `batcher resolve` decides; what they hold stays held.")
    return Alert(f"doubtful:{events[0].id}", "doubtful", title, "\n".join(lines), {"count": len(events), "jobs": named})
