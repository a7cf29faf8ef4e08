"""psycopg's connections, which do not wait for ever for a server that has fallen silent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Any

import psycopg

#: A server that has not answered a statement after so many seconds is taken for lost: a network may swallow packets,
#: and a machine be stopped, without a word. Longer than it waits for the lock.
ANSWER_SECONDS = 20.0
#: libpq's, in seconds and milliseconds: for who waits for nothing but a notice.
PARAMETERS: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}


def _in_time(made: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], seconds: float, work: Any) -> Any:
    """psycopg's steps of talking to a server, but for so long at most while a statement is under way.

    Whoever only listens for notices may wait for ever.
    """
    until = monotonic() + seconds
    try:
        wanted = next(work)
        while True:
            ready = yield wanted
            if not ready and monotonic() > until and made.info.transaction_status.name == "ACTIVE":
                made.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {seconds:g} s")
            wanted = work.send(ready)
    except StopIteration as done:
        return done.value


class Connection(psycopg.Connection[Any]):
    """One that takes a server for lost that does not answer within `answer_seconds`."""

    answer_seconds = ANSWER_SECONDS

    def wait(self, gen: Any, *words: Any, **named: Any) -> Any:
        return super().wait(_in_time(self, self.answer_seconds, gen), *words, **named)


def keeps_its_session(made: Connection, pid: int, another: Callable[[], Connection]) -> bool:
    """Whether a connection has one session of the server, whose process is `pid` now, for as long as it lasts.

    A pooler (pgbouncer) tells a number of its own; one that pools transactions gives what `made` leaves between two
    statements to `another`, prepared statements and all.
    """
    if pid == (number := made.info.backend_pid):
        return True
    with closing(another()) as other:
        made.execute("SELECT set_config('batcher.session', %s, false)", (str(number),))
        other.execute("BEGIN")
        [[found]] = made.execute("SELECT current_setting('batcher.session', true)").fetchall()
        return bool(found == str(number))


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """The same for an event loop, always within `ANSWER_SECONDS`."""

    async def wait(self, gen: Any, *words: Any, **named: Any) -> Any:
        return await super().wait(_in_time(self, ANSWER_SECONDS, gen), *words, **named)
