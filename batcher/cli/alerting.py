"""Alerts of a run on the command line: who is told, by environment and options, and of what."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from batcher.access import VARIABLES
from batcher.alerts import END_SECONDS, Alerts
from batcher.alerts.causes import KINDS, Causes
from batcher.alerts.targets import AlertTarget, make_targets, read_urls, split_urls
from batcher.clock import SystemClock
from batcher.errors import Stopped
from batcher.ledger.alerts import FOLLOWED
from batcher.ledger.queries import jobs
from batcher.ledger.queries.lookup import Place, place_in
from batcher.run import Run
from batcher.text import safe

from .crash import redact
from .signals import Signals

if TYPE_CHECKING:
    from batcher.cluster.part import RunAlerts, TellOf
    from batcher.cluster.spec import RunSpec
    from batcher.cluster.store import PostgresLedger

#: Apprise URLs, and a file of them.
URLS, FILE = "BATCHER_NOTIFY", "BATCHER_NOTIFY_FILE"


def targets_of(file: Path | None, commands: Sequence[tuple[str, str]]) -> list[AlertTarget]:
    """Where alerts go: URLs of the environment and of a file, and commands with the kind that each is for.

    Raises UsageError. No command gets the keys of the API, nor the URLs.
    """
    urls = split_urls(os.environ.get(URLS, ""), lambda _: URLS)
    if file is not None:
        urls += read_urls(file)
    environ = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, URLS)}
    return make_targets(urls, commands, environ)


def kinds_of(targets: Sequence[AlertTarget]) -> dict[str, tuple[str, ...]]:
    """The kinds of alerts that each target takes, by its name."""
    return {target.name: tuple(kind for kind in KINDS if target.takes(kind)) for target in targets}


def tell_of(targets: Sequence[AlertTarget], say: Callable[[str], object]) -> TellOf:
    """The alerts of a run on PostgreSQL, for the worker that leads it: told at these targets of its own."""

    def made(ledger: PostgresLedger, run_id: int, spec: RunSpec, leads: Callable[[], bool]) -> RunAlerts | None:
        if not (targets or spec.followed):
            return None
        read, clock, stated = ledger.read, ledger.clock, spec.run_cap_stated
        causes = Causes(read, run_id, spec.campaigns, lambda: spec.caps, clock, run_cap_stated=stated, alone=False)
        return _Guarded(_on_postgres(targets, ledger, causes, run_id, say, followed=spec.followed, may_send=leads), say)

    return made


@asynccontextmanager
async def told_here(
    targets: Sequence[AlertTarget], ledger: PostgresLedger, run_id: int, say: Callable[[str], object]
) -> AsyncIterator[None]:
    """While a run on PostgreSQL is followed for the block, tell these targets what its leader has written down."""
    if not targets:
        yield
        return
    alerts = _Guarded(_on_postgres(targets, ledger, None, run_id, say, state=FOLLOWED), say)
    async with anyio.create_task_group() as group:
        group.start_soon(alerts.watch)
        yield
        group.cancel_scope.cancel()
    alerts.look()
    with anyio.move_on_after(END_SECONDS):
        await alerts.deliver(lambda: False)
    for target in targets:
        target.close()


def _on_postgres(
    targets: Sequence[AlertTarget],
    ledger: PostgresLedger,
    causes: Causes | None,
    run_id: int,
    say: Callable[[str], object],
    **words: Any,
) -> Alerts:
    row = jobs.run(ledger.read, run_id)
    assert row is not None, "it has begun"
    prefix = _prefix(row["campaigns"], simulated=place_in(ledger.read) is Place.SIMULATOR)
    return Alerts(
        targets,
        ledger,
        causes,
        ledger.clock,
        run_id=run_id,
        prefix=prefix,
        alone=False,
        redact=redact,
        tell=lambda text: say(safe(text)),
        **words,
    )


def _prefix(campaigns: Sequence[str], *, simulated: bool) -> str:
    return f"batcher, {'simulated ' if simulated else ''}{', '.join(campaigns[:3])}"


class _Guarded:
    """Alerts whose own errors end them, not the run."""

    def __init__(self, alerts: Alerts, say: Callable[[str], object]) -> None:
        self._alerts, self._say = alerts, say

    async def watch(self) -> None:
        with self._guard():
            await self._alerts.watch()

    def look(self, *, over: bool = False) -> None:
        with self._guard():
            self._alerts.look(over=over)

    async def deliver(self, over: Callable[[], bool]) -> None:
        with self._guard():
            await self._alerts.deliver(over)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._say(redact(f"alerts ended: {type(error).__name__}: {error}; the run goes on"))


class Alerting:
    """The alerts of one run, from when it has begun."""

    def __init__(self, run: Run, targets: Sequence[AlertTarget], say: Callable[[str], None]) -> None:
        self._run, self._targets, self._say = run, targets, say
        self._alerts: Alerts | None = None

    async def watch(self) -> None:
        """Tell what happens until cancelled; an error in this code ends the alerts, not the run."""
        if alerts := self._begin():
            await _Guarded(alerts, self._say).watch()

    def finish(self, signals: Signals) -> None:
        """Tell how the run has ended; a signal ends the wait. Nothing of it changes the run's end."""
        try:
            signals.on_first = None
            if alerts := self._begin():
                alerts.finish()
        except Stopped:
            pass
        except Exception as error:
            self._say(redact(f"alerts ended: {type(error).__name__}: {error}"))
        signals.on_first = self._run.stop

    def _begin(self) -> Alerts | None:
        run, request = self._run, self._run.request
        if self._alerts is None and self._targets and hasattr(run, "id"):
            clock, stated = SystemClock(), request.workload.budget is not None
            causes = Causes(
                run.ledger.read, run.id, request.workload.campaigns, lambda: run.caps, clock, run_cap_stated=stated
            )
            self._alerts = Alerts(
                self._targets,
                run.ledger,
                causes,
                clock,
                run_id=run.id,
                prefix=_prefix(request.workload.campaigns, simulated=request.place is Place.SIMULATOR),
                redact=redact,
                tell=lambda text: self._say(safe(text)),
            )
        return self._alerts
