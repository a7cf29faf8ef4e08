"""Alerts of a run on the command line: who is told, by environment and options, and of what."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from batcher.access import VARIABLES
from batcher.alerts import Alerts
from batcher.alerts.causes import Causes
from batcher.alerts.targets import AlertTarget, make_targets, read_urls, split_urls
from batcher.clock import SystemClock
from batcher.errors import Stopped
from batcher.ledger.queries.lookup import Place
from batcher.run import Run
from batcher.text import safe

from .crash import redact
from .signals import Signals

#: Apprise URLs, and a file of them.
URLS, FILE = "BATCHER_NOTIFY", "BATCHER_NOTIFY_FILE"


def targets_of(file: Path | None, commands: Sequence[tuple[str, str]]) -> list[AlertTarget]:
    """Who is told: URLs of the environment and of a file, and commands with the kind that each is for.

    Raises UsageError. No command gets the keys of the API, nor the URLs.
    """
    urls = split_urls(os.environ.get(URLS, ""), lambda _: URLS)
    if file is not None:
        urls += read_urls(file)
    environ = {name: value for name, value in os.environ.items() if name not in (*VARIABLES, URLS)}
    return make_targets(urls, commands, environ)


class Alerting:
    """The alerts of one run, from when it has begun."""

    def __init__(self, run: Run, targets: Sequence[AlertTarget], say: Callable[[str], None]) -> None:
        self._run, self._targets, self._say = run, targets, say
        self._alerts: Alerts | None = None

    async def watch(self) -> None:
        """Tell what happens until cancelled; an error of ours ends the alerts, not the run."""
        if alerts := self._begin():
            try:
                await alerts.watch()
            except Exception as error:
                self._say(redact(f"alerts ended: {type(error).__name__}: {error}; the run goes on"))

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
            simulated = "simulated " if request.place is Place.SIMULATOR else ""
            self._alerts = Alerts(
                self._targets,
                run.ledger,
                causes,
                clock,
                run_id=run.id,
                prefix=f"batcher, {simulated}{', '.join(request.workload.campaigns[:3])}",
                redact=redact,
                tell=lambda text: self._say(safe(text)),
            )
        return self._alerts
