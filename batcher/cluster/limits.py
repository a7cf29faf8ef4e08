"""Rate limits that many workers share: a row of the database a permitted request, taken last, by the database's clock.

`slots` has as many rows of an account and limit as a window holds requests. Who wants to send takes the one that was
taken longest ago, if a window has passed since: exact, whoever sends, and nobody waits for another's row. It is taken
last, right before the request: before an intent, every one that comes to nothing would waste it.
What the API bears (`limits.throttle`), its Retry-After and outages are shared too: one worker's 429 slows all.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from batcher.clock import Clock
from batcher.errors import UsageError
from batcher.ledger import Store
from batcher.lifecycle.group_commit import Offload
from batcher.limits import RateLimiter, SendKind
from batcher.limits.rate_limiter import LONGEST_WAIT, Permit
from batcher.limits.throttle import Throttle
from batcher.providers import Retryable
from batcher.settings import Limits, Rate

from .postgres import PostgresConnection

#: A request leaves a little after its slot was taken, and not always as much: so many seconds more than a window stand
#: between two that have the same slot, but no more than this share of a window.
_SLACK_SECONDS = 0.25
_SLACK_SHARE = 0.02
#: Between two looks for a slot, in seconds at most: another worker may be let in or stopped meanwhile.
_LOOK_SECONDS = 1.0
#: So long everybody is held at the first trouble: who met it asks the API at once, unless it dies over that.
_FIRST_HELD_SECONDS = 5.0
#: So long everybody is held at an outage, unless who met it says so again; it asks once a minute at least.
_HELD_SECONDS = 70.0
#: Where slots were taken within so many seconds, somebody works at the rate that they are made for.
_IN_USE_SECONDS = 600.0

_TAKE = """
WITH now AS MATERIALIZED (SELECT clock_timestamp() AS at),
paused AS (SELECT greatest(until, CASE WHEN %(probe)s THEN NULL ELSE held_until END) AS until FROM pauses
    WHERE account = %(account)s),
free AS (SELECT until FROM paused WHERE until > (SELECT at FROM now)),
found AS MATERIALIZED (SELECT s.limit_name, s.n
    FROM unnest(%(names)s::text[], %(seconds)s::float8[]) AS l (name, seconds)
    CROSS JOIN LATERAL (SELECT limit_name, n FROM slots WHERE account = %(account)s AND limit_name = l.name
        AND at <= (SELECT at FROM now) - make_interval(secs => l.seconds)
        ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED) AS s
    WHERE NOT EXISTS (SELECT 1 FROM free)),
taken AS (UPDATE slots AS s SET at = (SELECT at FROM now) FROM found AS f WHERE s.account = %(account)s
    AND s.limit_name = f.limit_name AND s.n = f.n AND (SELECT count(*) FROM found) = cardinality(%(names)s::text[])
    RETURNING s.n)
SELECT extract(epoch FROM (SELECT at FROM now))::float8 AS at, (SELECT count(*) FROM taken) AS taken,
    (SELECT extract(epoch FROM until - (SELECT at FROM now))::float8 FROM free) AS paused,
    (SELECT max(extract(epoch FROM o.oldest - (SELECT at FROM now))::float8 + l.seconds)
        FROM unnest(%(names)s::text[], %(seconds)s::float8[]) AS l (name, seconds)
        CROSS JOIN LATERAL
            (SELECT min(at) AS oldest FROM slots WHERE account = %(account)s AND limit_name = l.name) AS o)
        AS wait
"""


class Grant(NamedTuple):
    """What came of asking for room: `at` is the database's time, `wait` seconds until there is some; 0: taken."""

    at: float
    wait: float


class SharedLimits:
    """The slots, throttles and pauses of an account in the database. Every method waits for the network."""

    def __init__(self, connection: PostgresConnection, account: str, limits: Limits, *, states: bool = True) -> None:
        """Unless it `states` limits, those hold that were stated last, if any were."""
        self._connection = connection
        self._account = account
        self._rates = {"submit": limits.submit, "requests": limits.requests}
        self._state(keeps=not states)

    def _state(self, *, keeps: bool) -> None:
        """Make the slots for the stated limits. Raises UsageError where others work at another rate just now."""
        with self._connection.writing():
            for name, rate in self._rates.items():
                [[count, seconds, since]] = self._connection.query(
                    "SELECT count(*), coalesce(max(seconds), 0),"
                    " coalesce(extract(epoch FROM clock_timestamp() - max(at)), 1e9)::float8"
                    " FROM slots WHERE account = %s AND limit_name = %s",
                    (self._account, name),
                )
                if (count, seconds) == (rate.count, rate.seconds):
                    continue
                if count and keeps:
                    self._rates[name] = Rate(count, seconds)
                    continue
                if count and since < max(_IN_USE_SECONDS, seconds):
                    raise UsageError(
                        f"workers of this account are sending at limits.{name}: {count} in {seconds:g} s, and this run"
                        f" states {rate.count} in {rate.seconds:g} s",
                        hint="State the same limits, or wait until they have been quiet for ten minutes.",
                    )
                # What was sent before counts: the newest of the old slots become the newest of the new ones.
                self._connection.query(
                    "WITH old AS (DELETE FROM slots WHERE account = %(account)s AND limit_name = %(name)s"
                    " RETURNING at),"
                    " kept AS (SELECT at, row_number() OVER (ORDER BY at DESC) AS n FROM old)"
                    " INSERT INTO slots (account, limit_name, n, at, seconds)"
                    " SELECT %(account)s, %(name)s, -g.n, coalesce(kept.at, '-infinity'), %(seconds)s"
                    " FROM generate_series(1, %(count)s) AS g (n) LEFT JOIN kept USING (n) RETURNING n",
                    {"account": self._account, "name": name, "seconds": rate.seconds, "count": rate.count},
                )
                self._connection.query(
                    "UPDATE slots SET n = -n WHERE account = %s AND limit_name = %s AND n < 0 RETURNING n",
                    (self._account, name),
                )

    def take(self, kind: str, *, probe: bool = False) -> Grant:
        """Take a slot of each limit that a request of this kind counts under, or say how long to wait."""
        names = ["submit", "requests"] if kind == "submit" else ["requests"]
        if not self._throttled(names):
            return self._take(names, probe)
        with self._connection.transaction():
            there = self._load(names)
            now = self._now()
            if (wait := max((throttle.wait(now) for throttle in there.values()), default=0.0)) > 0 and not probe:
                return Grant(now, wait)
            found = self._take(names, probe)
            if not found.wait:
                for name, throttle in there.items():
                    throttle.reserve(found.at)
                    self._keep(name, throttle)
            return found

    def refused(self, kind: str, at: float, wait: float | None) -> None:
        """The API said "too many" to a request whose slot was taken at `at`: cut the pace of all, once a burst."""
        name = "submit" if kind == "submit" else "requests"
        with self._connection.transaction():
            there = self._load([name], or_new=True)[name]
            now, since = self._now(), self._sent_since(name, self._now() - there.horizon)
            if at > self._cut_at(name):
                there.refused(now, since, wait=wait)
                self._keep(name, there, cut_at=now)
        if wait is not None:
            self.pause(min(wait, LONGEST_WAIT))

    def let_in(self, kind: str, at: float) -> None:
        """A request was not refused."""
        names = ["submit"] if kind == "submit" else ["requests"]
        if not self._throttled(names):
            return
        with self._connection.transaction():
            for name, throttle in self._load(names).items():
                if at > self._cut_at(name):
                    throttle.let_in()
                    self._keep(name, throttle)

    def pause(self, seconds: float, *, column: str = "until") -> None:
        """Let nobody out for so many seconds; with `held_until` none but who asks whether the API answers again."""
        self._connection.query(
            f"INSERT INTO pauses AS p (account, {column}) VALUES (%(account)s, clock_timestamp()"
            f" + make_interval(secs => %(seconds)s)) ON CONFLICT (account) DO UPDATE"
            f" SET {column} = greatest(p.{column}, excluded.{column}) RETURNING 1",
            {"account": self._account, "seconds": seconds},
        )

    def release(self) -> None:
        """The API answers: nobody is held any more."""
        self._connection.query("UPDATE pauses SET held_until = NULL WHERE account = %s RETURNING 1", (self._account,))

    def _take(self, names: list[str], probe: bool) -> Grant:
        seconds = [self._rates[name].seconds + _slack(self._rates[name]) for name in names]
        given = {"account": self._account, "names": names, "seconds": seconds, "probe": probe}
        [row] = self._connection.query(_TAKE, given)
        if row["taken"]:
            return Grant(row["at"], 0.0)
        return Grant(row["at"], max(row["paused"] or 0.0, row["wait"] or 0.0, 0.001))

    def _throttled(self, names: list[str]) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM throttles WHERE account = %s AND limit_name = ANY(%s))"
        return bool(self._connection.query(sql, (self._account, names))[0][0])

    def _load(self, names: list[str], *, or_new: bool = False) -> dict[str, Throttle]:
        if or_new:
            for name in names:
                self._connection.query(
                    "INSERT INTO throttles (account, limit_name, state) VALUES (%s, %s, '{}') ON CONFLICT DO NOTHING"
                    " RETURNING 1",
                    (self._account, name),
                )
        rows = self._connection.query(
            "SELECT limit_name, state FROM throttles WHERE account = %s AND limit_name = ANY(%s) ORDER BY 1 FOR UPDATE",
            (self._account, names),
        )
        found = {}
        for name, state in rows:
            found[name] = Throttle(self._rates[name])
            vars(found[name]).update(json.loads(state))
        return found

    def _keep(self, name: str, throttle: Throttle, *, cut_at: float | None = None) -> None:
        """Write a throttle down; one that slows nobody any more goes."""
        if not throttle.cut and cut_at is None:
            self._connection.query(
                "DELETE FROM throttles WHERE account = %s AND limit_name = %s RETURNING 1", (self._account, name)
            )
            return
        self._connection.query(
            "UPDATE throttles SET state = %s, cut_at = coalesce(%s, cut_at) WHERE account = %s AND limit_name = %s"
            " RETURNING 1",
            (json.dumps(vars(throttle)), cut_at, self._account, name),
        )

    def _cut_at(self, name: str) -> float:
        sql = "SELECT cut_at FROM throttles WHERE account = %s AND limit_name = %s"
        rows = self._connection.query(sql, (self._account, name))
        return float(rows[0][0]) if rows else -math.inf

    def _sent_since(self, name: str, since: float) -> int:
        sql = "SELECT count(*) FROM slots WHERE account = %s AND limit_name = %s AND at > to_timestamp(%s)"
        return int(self._connection.query(sql, (self._account, name, since))[0][0])

    def _now(self) -> float:
        return float(self._connection.query("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0])


def _slack(rate: Rate) -> float:
    return min(_SLACK_SECONDS, rate.seconds * _SLACK_SHARE)


class SharedPermit(Permit):
    """A wait for room of this worker's own, and then for a slot that all share."""

    def __init__(self, limiter: SharedLimiter, kind: SendKind, line: Any, *, probe: bool) -> None:
        super().__init__(limiter, kind, line)
        self._shared, self._sort, self._probe = limiter, kind, probe
        self._at = -math.inf

    async def stamp(self, at: float = 0.0) -> None:
        """Take a slot; returns right before the request is to be sent."""
        if await self._limiter.slept(at):
            self._give_back()
            await self._reserve()
        await self.take()
        self.go()

    async def take(self) -> None:
        """Wait for a slot and take it: the last but the fence before a paid request."""
        self._at = await self._shared.take(self._sort, probe=self._probe)

    def write(self) -> None:
        """Nothing is written down before the slot is taken."""

    def heard(self, outcome: object) -> None:
        super().heard(outcome)
        if self._probe and isinstance(outcome, Retryable) and outcome.outage:
            self._shared.hold(_HELD_SECONDS)
        self._shared.told(self._sort, max(self._at, self._shared.newest.get(self._sort, -math.inf)), outcome)


class SharedLimiter(RateLimiter):
    """A worker's limiter: what it may send beside the others of its account (`SharedLimits`)."""

    def __init__(
        self,
        ledger: Store,
        limits: Limits,
        clock: Clock,
        commits: Callable[[Callable[[], None]], Awaitable[object]],
        account: str,
        shared: SharedLimits,
        offload: Offload = anyio.to_thread.run_sync,
    ) -> None:
        super().__init__(ledger, limits, clock, commits, account)
        self._all = shared
        self._offload = offload
        self.newest = dict[SendKind, float]()  # when the newest slot of a kind was taken
        self._turns = {"submit": anyio.Lock(), "other": anyio.Lock(), "probe": anyio.Lock()}

    def slot(self, kind: SendKind, *, probing: bool = False) -> SharedPermit:
        line = "probe" if probing else "submit" if kind == "submit" else "other"
        return SharedPermit(self, kind, line, probe=probing)

    async def take(self, kind: SendKind, *, probe: bool = False) -> float:
        """Wait for a slot and take it; the database's time of that, in seconds since the epoch."""
        async with self._turns["probe" if probe else "submit" if kind == "submit" else "other"]:
            while True:
                found: Grant = await self._offload(lambda: self._all.take(kind, probe=probe))
                if not found.wait:
                    self.newest[kind] = found.at
                    return found.at
                # Nobody knows who of those that wait elsewhere comes first; nor do they all come at once.
                await anyio.sleep(min(found.wait, _LOOK_SECONDS) * random.uniform(1.0, 1.05))  # noqa: S311

    def told(self, kind: SendKind, at: float, outcome: object) -> None:
        """Share what came of a request."""
        match outcome:
            case Retryable(throttled=True, retry_after=wait):
                self._all.refused(kind, at, wait)
            case Retryable(retry_after=wait) if wait is not None:
                self._all.pause(min(wait, LONGEST_WAIT))
            case Retryable():
                pass
            case _:
                self._all.let_in(kind, at)

    def trouble(self) -> None:
        super().trouble()
        self.hold(_FIRST_HELD_SECONDS)

    def hold(self, seconds: float) -> None:
        """Let nobody out for so long, but who asks whether the API answers again."""
        self._all.pause(seconds, column="held_until")

    def release(self) -> None:
        super().release()
        self._all.release()

    def _remember(self, limits: Limits) -> None:
        """What was sent before is in the slots."""

    def _learn(self, *, but: int = 0) -> None:
        """What others send is in the slots."""
