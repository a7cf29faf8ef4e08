"""`run` and `fetch` on a terminal: the plan before, a display beside, signals; the run itself is `batcher.run`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from batcher import simulated
from batcher.access import Access
from batcher.alerts.targets import AlertTarget
from batcher.clock import SystemClock
from batcher.engine.ending import one_error
from batcher.errors import BatcherError, Kind, Stopped, exit_code
from batcher.ledger import Change, control
from batcher.ledger.queries.lookup import Place
from batcher.providers import Provider
from batcher.run import Run, RunOutcome, RunRequest
from batcher.settings import buying_time
from batcher.telemetry import Telemetry
from batcher.text import count, number, safe
from batcher.workload import Workload

from .alerting import Alerting
from .crash import redact
from .display import Quiet, display_for
from .environment import need_no_loop
from .hand_over import write_sample
from .keys import HINT, listen, single_keys
from .left_behind import left_behind_view
from .observing import gauge, log_shown, telemetry_of
from .options import time_lines
from .places import announce, remember
from .plan_view import plan_view, tell_notes, tell_warnings
from .progress import Feed, Tally
from .run_log import keep_summary
from .signals import Signals
from .summary import summary_json, summary_view
from .terminal import ReaderGone, Terminal

#: Saved files that have been changed: so many are named.
_CHANGED_TOLD = 20
#: What a key asks of the run.
_KEYS: dict[str, tuple[Any, ...]] = {
    "p": ("pause",),
    "r": ("resume",),
    "d": ("drain",),
    **dict.fromkeys("+=", ("limits", control.more_in_flight)),
    **dict.fromkeys("-−", ("limits", control.fewer_in_flight)),
}
#: Within so many seconds a second `d` means it.
_DRAIN_SECONDS = 5.0


def make_request(
    workload: Workload,
    state: Path,
    access: Access,
    terminal: Terminal,
    *,
    simulate: bool,
    allow_net: tuple[str, ...] = (),
    **words: Any,
) -> RunRequest:
    """What the command line asks for; `allow_net` are networks that results may lie in, `words` as RunRequest has them.

    With `simulate`, `access` lacks the simulator's base URL yet.
    """
    key = access.need_key()
    need_no_loop()

    @contextmanager
    def connect() -> Iterator[Provider]:
        simulator = simulated.running(state, unchecked=workload.unchecked) if simulate else None
        with simulator or nullcontext(access.base_url) as base_url:
            yield access.provider.connect(base_url, key, SystemClock(), account_name=access.name, allow_net=allow_net)

    return RunRequest(
        workload,
        state,
        connect,
        account=access.account or "",
        place=access.place,
        redact=redact,
        command=terminal.typed,
        **words,
    )


def run_on_terminal(
    request: RunRequest, terminal: Terminal, *, quiet: bool, verbose: int = 0, targets: Sequence[AlertTarget] = ()
) -> int:
    """Do a run, keep its summary and show it; the exit code. `targets` are told what is worth an alert.

    `verbose` shows what is logged: the moves of jobs, from 2 on all there is.

    Raises BatcherError for what keeps it from starting or breaks it off.
    """
    try:
        screen = _Screen(request, terminal, quiet)
        with log_shown(screen.say, verbose), telemetry_of(lambda: screen.run, download=request.download) as telemetry:
            result = _run(screen, request, terminal, quiet, targets, telemetry)
    except Stopped as stopped:
        terminal.say(f"Stopped before anything was sent: {stopped.reason}.")
        return exit_code(stopped.kind)
    if request.workload.is_canary and result.bill.attempts:
        write_sample(request.state, [state.campaign for state in result.campaigns], terminal)
    keep_summary(result, request, terminal)
    with suppress(ReaderGone):  # what became of the run matters more than who reads it
        terminal.answer(summary_json(result, request), *summary_view(result, request, terminal.typed))
        terminal.flush()
    return exit_code(result.ending.kind)


def _run(
    screen: _Screen,
    request: RunRequest,
    terminal: Terminal,
    quiet: bool,
    targets: Sequence[AlertTarget],
    telemetry: Telemetry | None,
) -> RunOutcome:
    run = screen.run = Run(request, observers=[screen.tally, screen.tell, *filter(None, [telemetry])])
    with Signals() as signals, run:
        if run.is_new:
            terminal.say(f"New ledger: {safe(run.ledger.path.absolute())}")
        if not quiet and request.buys:
            tell_notes(run.plan, terminal)
            terminal.say(*plan_view(run.plan, request.workload), *left_behind_view(run.plan.left_behind, request.state))
            terminal.say(*_budget_note(run), "")
        elif request.buys:
            tell_warnings(run.plan, terminal)
        if request.buys:
            terminal.say(*time_lines(buying_time(run.settings, time.time(), request.until)))
        signals.on_first = run.stop
        alerting = Alerting(run, targets, screen.say)

        async def beside(ready: Callable[[], None]) -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(alerting.watch)
                group.start_soon(gauge, telemetry, run, screen.tally)
                await screen.show(run, signals, ready)

        try:
            return run.execute(beside)
        finally:
            alerting.finish(signals)


def _budget_note(run: Run) -> Iterator[str]:
    """A `--budget` counts from nothing in each run: who goes on under the same one is told what it has spent."""
    if used := run.used_before:
        budget = number(run.request.workload.budget or 0)
        yield f"Earlier runs under a --budget of {budget} used {number(used)}; this one may use {budget} more."


class _Screen:
    """What a person sees of a run while it goes on."""

    run: Run

    def __init__(self, request: RunRequest, terminal: Terminal, quiet: bool) -> None:
        self._request = request
        self._terminal = terminal
        self._quiet = quiet
        self._display: Quiet | None = None
        self._drains = -math.inf  # when `d` was pressed first
        self.tally = Tally()

    def tell(self, change: Change) -> None:
        """What the run says of itself, beside what the tally counts."""
        terminal, detail = self._terminal, change.detail
        match change.event:
            case "ledger_opening":
                announce(detail["path"], self._request.place, terminal)
            case "ledger_locked" if self._display is not None:
                self._display.say(safe(detail["message"]))
            case "ledger_locked" | "observer_failed":
                terminal.warn(detail["message"])
            case "log_not_kept":
                terminal.warn(f"this run's log could not be begun: {detail['message']}")
            case "files_damaged":
                thorough = not self._request.buys
                tell_damage(detail["missing"], detail["changed"], self._request.state, terminal, thorough=thorough)

    async def show(self, run: Run, signals: Signals, ready: Callable[[], None]) -> None:
        """Show the run, and let a signal stop it; a display that fails ends, the run does not."""
        tally, campaigns = self.tally, self._request.workload.campaigns
        if self._request.place is Place.NET:
            remember(run.ledger.path, campaigns, self._terminal)
        tally.begin(run.work, download=run.settings.download)
        times = [at for at in (run.caps.until, run.caps.ready_by) if at is not None]
        ends = min(times, default=None)
        feed = Feed(campaigns, tally, run.ledger.read, run.id, run.caps, self._request.account, ends=ends)
        display = display_for(self._terminal, feed, quiet=self._quiet)
        loop = asyncio.get_running_loop()

        def stop(kind: Kind, reason: str) -> None:
            words = f"{reason}: no new job is started; open requests get up to 10 s. Ctrl-C leaves at once."
            loop.call_soon_threadsafe(self.say, words)
            run.stop(kind, reason)

        signals.on_first = stop
        try:
            with display, single_keys() if self._terminal.live and not self._quiet else nullcontext(False) as keys:
                self._display, display.hint = display, HINT if keys else ""
                ready()
                async with anyio.create_task_group() as group:
                    if keys:
                        group.start_soon(listen, partial(self._pressed, run))
                    await display.watch()
        except Exception as caught:
            self._display = None
            error = one_error(caught) if isinstance(caught, ExceptionGroup) else caught
            self._terminal.warn(redact(f"the display ended: {type(error).__name__}: {error}; the run goes on"))
            ready()
            await anyio.sleep_forever()
        finally:
            # What is left to do takes a moment, unless another program holds the ledger.
            signals.on_first = run.stop

    def say(self, text: str) -> None:
        """Say something beside the display."""
        (self._display or self._terminal).say(text)

    async def _pressed(self, run: Run, key: str) -> None:
        """Do what a key means; the run tells of it when it has heard."""
        then, self._drains = self._drains, -math.inf
        if key == "d" and time.monotonic() - then > _DRAIN_SECONDS:
            self._drains = time.monotonic()
            self.say("d once more drains: the run ends when what is under way is done")
        elif key in _KEYS:
            try:
                await anyio.to_thread.run_sync(partial(run.ask, *_KEYS[key]))
            except BatcherError as error:
                self.say(safe(error.message))
            else:
                self.say("")


def tell_damage(missing: int, changed: Sequence[str], state: Path | str, terminal: Terminal, *, thorough: bool) -> None:
    """Say how many files are missing, and which are `changed` (their paths below the state folder)."""
    if missing:
        terminal.say(f"{count(missing, 'saved file')} missing: fetched again (`batcher fetch --forget` if not wanted).")
    then = "its original is put beside it" if thorough else "`batcher fetch` puts its original beside it"
    for target in changed[:_CHANGED_TOLD]:
        terminal.warn(f"{safe(f'{state}/{target}')} has been changed; it stays as it is, {then}")
    if len(changed) > _CHANGED_TOLD:
        terminal.warn(f"… and {count(len(changed) - _CHANGED_TOLD, 'more file')} changed")
