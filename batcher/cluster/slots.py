"""Rate limits that many workers share: a row of the database a permitted request, taken last, by the database's clock.

`slots` has as many rows of an account and limit as a window holds requests. Who wants to send takes the one that was
taken longest ago, if a window has passed since: exact, whoever sends, and nobody waits for another's row. It is taken
last, right before the request: before an intent, every one that comes to nothing would waste it. How many there are,
and for which window, is the strictest that the account's runs state, or people have asked of them since; whoever takes
one obeys what the rows say.
What the API bears (`limits.throttle`), its Retry-After and outages are shared too: one worker's 429 slows all.
"""

from __future__ import annotations

import json
import math
import threading
from typing import Any, NamedTuple, cast

from batcher.controls import stricter
from batcher.jobs import Intent
from batcher.ledger.store.commands import read_value
from batcher.limits.rate_limiter import LONGEST_WAIT
from batcher.limits.throttle import Throttle
from batcher.settings import Limits, Rate

from .claims import FENCE
from .postgres import PostgresConnection

#: A request leaves a little after its slot was stamped, and not always as much, on a busy machine: so many seconds more
#: than a window stand between two that have the same slot, but no more than this share of a window.
_SLACK_SECONDS = 2.0
_SLACK_SHARE = 0.03
#: What was sent before a window of so many seconds, the longest, matters to no limit.
_LONGEST_SECONDS = 86400.0

_TAKE = f"""
WITH now AS MATERIALIZED (SELECT clock_timestamp() AS at),
asked_to_wait AS (SELECT greatest(until, CASE WHEN %(probe)s THEN NULL ELSE held_until END) AS until FROM pauses
    WHERE account = %(account)s),
wait_for AS (SELECT until FROM asked_to_wait WHERE until > (SELECT at FROM now)),
run_paused AS (SELECT 1 FROM commands WHERE %(fresh)s AND run_id = %(run)s AND what = 'state' AND value = '"paused"'),
l AS MATERIALIZED (SELECT name, s.seconds + least(%(slack)s, s.seconds * %(share)s) AS seconds
    FROM unnest(%(names)s::text[]) AS given (name) CROSS JOIN LATERAL
        (SELECT seconds FROM slots WHERE account = %(account)s AND limit_name = given.name LIMIT 1) AS s),
found AS MATERIALIZED (SELECT s.limit_name, s.n FROM l
    CROSS JOIN LATERAL (SELECT limit_name, n FROM slots WHERE account = %(account)s AND limit_name = l.name
        AND at <= (SELECT at FROM now) - make_interval(secs => l.seconds)
        ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED) AS s
    WHERE NOT EXISTS (SELECT 1 FROM wait_for) AND NOT EXISTS (SELECT 1 FROM run_paused)),
room AS (SELECT 1 FROM found HAVING count(*) = cardinality(%(names)s::text[])),
let AS ({FENCE} AND EXISTS (SELECT 1 FROM room) RETURNING extract(epoch FROM c.until - clock_timestamp()) AS seconds),
taken AS (UPDATE slots AS s SET at = greatest((SELECT at FROM now), clock_timestamp()) FROM found AS f
    WHERE s.account = %(account)s AND s.limit_name = f.limit_name AND s.n = f.n AND EXISTS (SELECT 1 FROM room)
    AND (%(job)s::text IS NULL OR EXISTS (SELECT 1 FROM let)) RETURNING s.at)
SELECT extract(epoch FROM coalesce((SELECT max(at) FROM taken), (SELECT at FROM now)))::float8 AS at,
    EXISTS (SELECT 1 FROM room) AS room, EXISTS (SELECT 1 FROM taken) AS taken,
    (SELECT seconds::float8 FROM let) AS lasts,
    (SELECT extract(epoch FROM until - (SELECT at FROM now))::float8 FROM wait_for) AS wait_for,
    EXISTS (SELECT 1 FROM run_paused) AS run_paused,
    (SELECT max(extract(epoch FROM o.oldest - (SELECT at FROM now))::float8 + l.seconds)
        FROM l CROSS JOIN LATERAL
            (SELECT min(at) AS oldest FROM slots WHERE account = %(account)s AND limit_name = l.name) AS o)
        AS wait
"""
#: What was sent before counts on: the newest of the old slots become the newest of the new ones. Those that there is no
#: room for are kept apart, for when there is again; and those that the old ones had no room for any more were sent a
#: window earlier, or farther back, than those in whose slots others were sent.
_RESTATE = """
WITH old AS (DELETE FROM slots WHERE account = %(account)s AND limit_name IN (%(name)s, %(name)s || ' before')
    RETURNING limit_name, at, seconds),
newest AS (SELECT at, seconds, row_number() OVER (ORDER BY at DESC) AS n, count(*) OVER () AS slots
    FROM old WHERE limit_name = %(name)s),
sent AS (SELECT at FROM old UNION ALL SELECT at - make_interval(secs => seconds * k)
    FROM newest CROSS JOIN LATERAL generate_series(1, (%(count)s - n) / slots) AS k WHERE seconds < %(seconds)s),
kept AS (SELECT at, row_number() OVER (ORDER BY at DESC) AS n FROM sent
    WHERE at > clock_timestamp() - make_interval(secs => %(longest)s))
INSERT INTO slots (account, limit_name, n, at, seconds)
SELECT %(account)s, CASE WHEN n > %(count)s THEN %(name)s || ' before' ELSE %(name)s END, -n,
    coalesce(kept.at, '-infinity'), %(seconds)s
FROM generate_series(1, greatest(%(count)s, (SELECT count(*) FROM kept))) AS g (n) LEFT JOIN kept USING (n) RETURNING n
"""
_STATED = """
SELECT r.run_id, CASE WHEN r.kind NOT LIKE '%% fetch' THEN r.spec::jsonb #> '{settings,limits}' END AS limits, c.what,
    c.value FROM cluster_runs AS r
    LEFT JOIN commands AS c ON c.run_id = r.run_id AND c.what = ANY(%s)
WHERE r.ending IS NULL AND starts_with(r.kind, %s)
"""


class Grant(NamedTuple):
    """What came of asking for room: `at` is the database's time, `wait` seconds until there is some; 0: taken.

    `held`: the run is paused, and this would be the first sending of an intent. `refused`: there was room, and the
    fence did not let the intent out. `lasts`: for how many seconds more the claim holds that let it out.
    """

    at: float
    wait: float
    held: bool = False
    refused: bool = False
    lasts: float = 0.0


class Sending(NamedTuple):
    """An intent that wants to be sent under a worker's claim, unless its key is older than `key_seconds`."""

    intent: Intent
    worker: str
    epoch: int
    key_seconds: float

    def values(self) -> dict[str, Any]:
        job, attempt = self.intent.job_id, self.intent.attempt_id
        return {"job": job, "attempt": attempt, "worker": self.worker, "epoch": self.epoch, "seconds": self.key_seconds}


_NOTHING_SENT: dict[str, Any] = dict.fromkeys(("job", "attempt", "worker", "epoch", "seconds"))


class SharedLimits:
    """The slots, throttles and pauses of an account in the database. Every method waits for the network.

    For a run (`run_id`) that states these limits; without one nothing else that is asked counts.
    """

    def __init__(
        self,
        connection: PostgresConnection,
        account: str,
        limits: Limits,
        run_id: int | None = None,
        *,
        states: bool = True,
    ) -> None:
        """Unless it `states` limits, those hold that others state or were stated last, if any were."""
        self._connection = connection
        self._account, self._run_id, self._states = account, run_id, states
        self._own = {"submit": limits.submit, "requests": limits.requests}
        self._rates = dict(self._own)
        self.changed = False  # whether others may be stated since
        self._alone = threading.RLock()  # one transaction at a time on the connection
        self._slowed: set[str] = set()  # the limits with a throttle, when the newest slot was asked for
        self._state()

    def _state(self) -> None:
        """Make the slots for the limits that hold."""
        with self._connection.writing():
            stated = self._stated()
            for name, own in self._own.items():
                [[count, seconds]] = self._connection.query(
                    "SELECT count(*), coalesce(max(seconds), 0) FROM slots WHERE account = %s AND limit_name = %s",
                    (self._account, name),
                )
                rate = self._rates[name] = stated.get(name) or (Rate(count, seconds) if count else own)
                if (count, seconds) != (rate.count, rate.seconds):
                    given = {"account": self._account, "name": name, "count": rate.count, "seconds": rate.seconds}
                    self._connection.query(_RESTATE, given | {"longest": _LONGEST_SECONDS})
                    turn = "UPDATE slots SET n = -n WHERE account = %s AND n < 0 RETURNING n"
                    self._connection.query(turn, (self._account,))

    def _stated(self) -> dict[str, Rate]:
        """The strictest of what the runs of this account state that go on, with what people have asked of each."""
        words = [f"limits.{name}" for name in self._own]
        every: dict[int | None, dict[str, Rate]] = {}
        for run_id, limits, what, value in self._connection.query(_STATED, (words, f"{self._account} batcher ")):
            stated = every.setdefault(run_id, {name: Rate(**limits[name]) for name in self._own if limits})
            if what and isinstance(asked := read_value(what, value), Rate):
                stated[what.removeprefix("limits.")] = asked
        if self._states:
            every.setdefault(self._run_id, self._own)
        found: dict[str, Rate] = {}
        for stated in every.values():
            found |= {name: cast(Rate, stricter(found.get(name), rate)) for name, rate in stated.items()}
        return found

    def take(self, kind: str, *, probe: bool = False, fresh: bool = False, sending: Sending | None = None) -> Grant:
        """Take a slot of each limit that a request of this kind counts under, or say how long to wait.

        What is `sending` takes one only where the fence lets it out (`claims.FENCE`): then it leaves at once, and no
        worker can be stopped between the two. For the first sending of an intent (`fresh`) none is taken while the run
        is paused.
        """
        with self._alone:
            if self.changed:
                self._state()
                self.changed = False
            given = {"probe": probe, "fresh": fresh} | (sending.values() if sending else _NOTHING_SENT)
            return self._take_any(["submit", "requests"] if kind == "submit" else ["requests"], given)

    def _take_any(self, names: list[str], given: dict[str, Any]) -> Grant:
        if not self._throttled(names):
            return self._take(names, given)
        with self._connection.transaction():
            there = self._load(names)
            now = self._now()
            wait = max((throttle.wait(now) for throttle in there.values()), default=0.0)
            if wait > 0 and not given["probe"]:
                return Grant(now, wait)
            found = self._take(names, given)
            if not found.wait and not found.refused:
                for name, throttle in there.items():
                    throttle.reserve(found.at)
                    self._keep(name, throttle)
            return found

    def refused(self, kind: str, at: float, wait: float | None) -> None:
        """The API said "too many" to a request whose slot was taken at `at`: cut the pace of all, once a burst."""
        name = "submit" if kind == "submit" else "requests"
        with self._alone, self._connection.transaction():
            there = self._load([name], or_new=True)[name]
            now = self._now()
            if at > self._cut_at(name):
                there.refused(now, self._sent_since(name, now - there.horizon), wait=wait)
                self._keep(name, there, cut_at=now)
        if wait is not None:
            self.pause(min(wait, LONGEST_WAIT))

    def let_in(self, kind: str, at: float) -> None:
        """A request was not refused."""
        names = ["submit"] if kind == "submit" else ["requests"]
        # A throttle that was not there when the newest slot was taken is younger than all that were: no question is
        # asked on the event loop, which would stand still for as long as the database does not answer.
        if self._slowed.isdisjoint(names):
            return
        with self._alone, self._connection.transaction():
            for name, throttle in self._load(names).items():
                if at > self._cut_at(name):
                    throttle.let_in()
                    self._keep(name, throttle)

    def pause(self, seconds: float, *, column: str = "until") -> None:
        """Let nobody out for so many seconds; with `held_until` none but who asks whether the API answers again."""
        with self._alone:
            self._connection.query(
                f"INSERT INTO pauses AS p (account, {column}) VALUES (%(account)s, clock_timestamp()"
                f" + make_interval(secs => %(seconds)s)) ON CONFLICT (account) DO UPDATE"
                f" SET {column} = greatest(p.{column}, excluded.{column}) RETURNING 1",
                {"account": self._account, "seconds": seconds},
            )

    def lifted(self) -> bool:
        """Whether some worker had an answer since all were held."""
        sql = "SELECT held_until IS NULL FROM pauses WHERE account = %s"
        with self._alone:
            return [row[0] for row in self._connection.query(sql, (self._account,))] == [True]

    def release(self) -> None:
        """The API answers: nobody is held any more."""
        sql = "UPDATE pauses SET held_until = NULL WHERE account = %s RETURNING 1"
        with self._alone:
            self._connection.query(sql, (self._account,))

    def _take(self, names: list[str], given: dict[str, Any]) -> Grant:
        given = given | {"account": self._account, "names": names, "run": self._run_id}
        [row] = self._connection.query(_TAKE, given | {"slack": _SLACK_SECONDS, "share": _SLACK_SHARE})
        if row["room"]:
            return Grant(row["at"], 0.0, refused=not row["taken"], lasts=row["lasts"] or 0.0)
        if (row["wait"] or 0.0) > max(self._rates[name].seconds for name in names) + _SLACK_SECONDS:
            # Stamps of the future: the database's clock was set back. They count as of now, or nobody sends until then.
            sql = "UPDATE slots SET at = clock_timestamp() WHERE account = %s AND at > clock_timestamp() RETURNING 1"
            self._connection.query(sql, (self._account,))
        return Grant(row["at"], max(row["wait_for"] or 0.0, row["wait"] or 0.0, 0.001), row["run_paused"])

    def _throttled(self, names: list[str]) -> bool:
        sql = "SELECT limit_name FROM throttles WHERE account = %s AND limit_name = ANY(%s)"
        found = {row[0] for row in self._connection.query(sql, (self._account, names))}
        self._slowed = (self._slowed - set(names)) | found
        return bool(found)

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
            found[name].restate(self._rates[name])
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
