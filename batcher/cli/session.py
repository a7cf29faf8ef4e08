"""One run: lock, ledger, enrolment, provider, engine, signals; and what it came to.

Everything is taken in this order and given back in the opposite one, also when it fails half-way.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import anyio
import anyio.to_thread

from batcher import __version__
from batcher.artifacts import Artifacts
from batcher.clock import SystemClock, iso, local_day, local_time
from batcher.engine import GRACE_SECONDS, Ending, Engine, RateGate
from batcher.engine.leftover import Damage
from batcher.errors import BatcherError, Kind, exit_code
from batcher.jobs import Status
from batcher.ledger import Caps, Ledger, browse, decisions, hold_lock, traces
from batcher.ledger.budgets import used_before
from batcher.ledger.lookup import Place
from batcher.ledger.origins import Standing
from batcher.lifecycle import Commits, Lifecycle
from batcher.manifest import Problems
from batcher.plan import Plan, caps_for
from batcher.providers.addresses import is_loopback, parse_url
from batcher.providers.rivya import Rivya
from batcher.providers.transport import check_base_url
from batcher.settings import Settings
from batcher.text import duration, now, number, safe

from . import simulated
from .crash import redact
from .damage import find_damage
from .display import Display, Feed, display_for
from .environment import Access
from .leftbehind import left_behind_view
from .places import announce, remember
from .planview import plan_view, tell_notes
from .prepare import Prepared, enrol
from .progress import Meter, Tally
from .reading import LEDGER
from .runlog import begin_summary
from .signals import Signals, Stopped
from .statefolder import prepare_folder
from .terminal import Terminal


@dataclass(frozen=True, slots=True)
class Order:
    """What `run` was asked to do; `until` in seconds since the epoch; `allow_net` networks that results may lie in.

    With `simulate`, `access` lacks the simulator's base URL yet, and `outer` is the state folder around `state`.
    """

    prepared: Prepared
    state: Path
    access: Access
    simulate: bool
    download: bool
    quiet: bool
    until: float | None = None
    allow_net: tuple[str, ...] = ()
    buys: bool = True
    accept_old: bool = False
    outer: Path | None = None

    @property
    def place(self) -> Place:
        """Where the API is that this run asks."""
        if self.simulate:
            return Place.SIMULATOR
        return Place.LOOPBACK if is_loopback(parse_url(check_base_url(self.access.base_url)).host) else Place.NET


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to; `seconds` is how long it took, `started` its row's time.

    `used_before` is what earlier runs took under the same `--budget`, 0 without one.
    """

    run_id: int
    started: str
    ending: Ending
    plan: Plan
    bill: browse.Bill
    used_before: int
    campaigns: list[browse.CampaignState]
    doubtful: list[decisions.Case]
    done: int
    fetched: int
    seconds: float


def perform(order: Order, terminal: Terminal) -> Result:
    """Do a run. Raises BatcherError for what keeps it from starting or breaks it off."""
    path = order.state / LEDGER
    begun = time.monotonic()
    known = path.exists()
    # A faulty manifest leaves no folder behind; where there is a ledger, the plan waits for its lock.
    plan = None if known else order.prepared.plan(None, order.access.account)
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        if order.outer is not None:
            prepare_folder(order.outer)
        prepare_folder(order.state)
        stack.enter_context(hold_lock(order.state, started=now()))
        tally = Tally()
        if known:
            announce(path, order.place, terminal)
        elif not order.accept_old:
            traces.refuse(path, traces.without_ledger(order.state))
        ledger = Ledger.open(path, SystemClock(), tally)
        stack.callback(ledger.close)
        if not known:
            terminal.say(f"New ledger: {safe(path.absolute())}")
        ledger.belong(order.place)
        _accept(order, ledger, traces.of_runs(ledger.read, order.state))
        unchanged = order.prepared.unchanged(ledger.read)
        plan = plan or order.prepared.plan(ledger.read, order.access.account, unchanged)
        if not order.quiet and order.buys:
            tell_notes(plan, terminal)
            terminal.say(*plan_view(plan, order.prepared), *left_behind_view(plan.left_behind, order.state))
            terminal.say(*_budget_note(order, ledger), "")
        if order.until is not None:
            left = duration(max(0.0, order.until - time.time()))
            terminal.say(
                f"No job is started after {local_day(order.until, None)} {local_time(order.until)} (in {left})."
            )
        run_id, ending = _run(order, plan, unchanged, ledger, tally, signals, terminal)
        chosen = set(order.prepared.campaigns)
        row = browse.run(ledger.read, run_id)
        assert row is not None, "it has just ended"
        return Result(
            run_id=run_id,
            started=row["started_at"],
            ending=ending,
            plan=plan,
            bill=browse.bill(ledger.read, run_id),
            used_before=_used_before(order, ledger, run_id),
            campaigns=browse.campaigns(ledger.read, order.prepared.campaigns),
            doubtful=[c for c in decisions.select(ledger.read, statuses=[Status.DOUBTFUL]) if c.campaign in chosen],
            done=tally.done,
            fetched=tally.saved,
            seconds=time.monotonic() - begun,
        )


def _budget_note(order: Order, ledger: Ledger) -> Iterator[str]:
    """A `--budget` counts from nothing in each run: who goes on under the same one is told what it has spent."""
    if used := _used_before(order, ledger):
        budget = number(order.prepared.budget or 0)
        yield f"Earlier runs under a --budget of {budget} used {number(used)}; this one may use {budget} more."


def _used_before(order: Order, ledger: Ledger, run_id: int | None = None) -> int:
    budget = order.prepared.budget
    return 0 if budget is None else used_before(ledger.read, order.prepared.campaigns, budget, run_id)


def _accept(order: Order, ledger: Ledger, found: list[str]) -> None:
    """Refuse a ledger that does not know of these traces, unless a person accepts it. Raises StorageError."""
    if not order.accept_old:
        traces.refuse(ledger.path, found)
    elif found:
        ledger.accept(found)


def _run(
    order: Order,
    plan: Plan,
    unchanged: Mapping[str, Standing],
    ledger: Ledger,
    tally: Tally,
    signals: Signals,
    terminal: Terminal,
) -> tuple[int, Ending]:
    """From `start_run` to `end_run`, which is written whatever happens in between."""
    prepared = order.prepared
    settings = replace(prepared.settings, download=prepared.settings.download and order.download)
    caps = caps_for(plan, prepared.wanted(Problems()), settings, prepared.budget, order.until)
    ledger.wait_for_locks(settings.retries.outage, terminal.warn)
    run_id = ledger.start_run(
        version=__version__,
        pid=os.getpid(),
        account=order.access.account or "",
        campaigns=prepared.campaigns,
        settings=_settings_json(settings, prepared, caps),
    )
    try:
        with ExitStack() as stack:
            row = browse.run(ledger.read, run_id)
            assert row is not None, "it has just begun"
            begin_summary(order.state, run_id, row["started_at"], terminal)
            for manifest in prepared.manifests:
                enrol(ledger, manifest, unchanged.get(manifest.campaign))
            if order.place is Place.NET:
                remember(ledger.path, prepared.campaigns, terminal)
            if plan.new:
                _accept(order, ledger, traces.of_files(ledger.read, order.state, prepared.campaigns))
            damage = find_damage(ledger.read, order.state, prepared, settings, terminal, thorough=not order.buys)
            tally.begin(
                _work(ledger, plan, prepared, settings) + Counter({Status.SUCCEEDED: len(damage)}),
                download=settings.download,
            )
            access = order.access
            if order.simulate:
                access = replace(access, base_url=stack.enter_context(simulated.running(order.state)))
            sums = Meter(ledger.read, run_id, caps)
            work = _Work(order, access, settings, caps, damage, ledger, tally, sums, signals, terminal)
            ending = anyio.run(work.do)
    except Stopped as stopped:
        ledger.hurry(GRACE_SECONDS)
        ending = Ending(stopped.kind, stopped.reason, {}, ())
    except BaseException as error:
        kind = signals.kind_of(error) if isinstance(error, BatcherError) else Kind.UNFINISHED
        with suppress(BatcherError):
            ledger.end_run(exit_code=exit_code(kind), reason=redact(f"{type(error).__name__}: {error}")[:500])
        raise
    ledger.end_run(exit_code=exit_code(ending.kind), reason=ending.reason, left=ending.left)
    return run_id, ending


@dataclass(frozen=True, slots=True)
class _Work:
    """What the asynchronous part of a run is made of."""

    order: Order
    access: Access
    settings: Settings
    caps: Caps
    damage: Damage
    ledger: Ledger
    tally: Tally
    meter: Meter
    signals: Signals
    terminal: Terminal

    async def do(self) -> Ending:
        clock, rng = SystemClock(), random.Random()  # noqa: S311  (jitter)
        access = self.access
        assert access.key is not None
        provider = Rivya(access.base_url, access.key, clock, account_name=access.name, allow_net=self.order.allow_net)
        artifacts = Artifacts(self.order.state)
        artifacts.check(self.order.prepared.campaigns)
        commits = Commits(self.ledger)
        gate = RateGate(self.ledger, self.settings.limits, clock, commits)
        lifecycle = Lifecycle(
            ledger=self.ledger,
            commits=commits,
            provider=provider,
            gate=gate,
            artifacts=artifacts,
            clock=clock,
            settings=self.settings,
            caps=self.caps,
            rng=rng,
            offload=anyio.to_thread.run_sync,
        )
        prepared = self.order.prepared
        engine = Engine(
            ledger=self.ledger,
            lifecycle=lifecycle,
            settings=self.settings,
            campaigns=prepared.campaigns,
            selection=prepared.selection,
            clock=clock,
            gate=gate,
            damage=self.damage,
        )
        try:
            return await self._beside_a_display(engine)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await provider.aclose()

    async def _beside_a_display(self, engine: Engine) -> Ending:
        read = self.ledger.read
        title = ", ".join(self.order.prepared.campaigns)
        feed = Feed(title, self.tally, self.meter, lambda: self.tally.in_flight, lambda j: browse.job_name(read, j))
        display = display_for(self.terminal, feed, quiet=self.order.quiet)
        loop = asyncio.get_running_loop()

        def stop(kind: Kind, reason: str) -> None:
            display.say(f"{reason}: no new job is started; open requests get up to 10 s. Once more leaves at once.")
            engine.stop(kind, reason)

        def first(kind: Kind, reason: str) -> None:
            self.ledger.hurry(GRACE_SECONDS)  # the loop may stand in a wait for another program's lock
            loop.call_soon_threadsafe(stop, kind, reason)

        with display:
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, display, self.terminal)
                self.signals.on_first = first
                self.ledger.wait_for_locks(self.settings.retries.outage, lambda message: display.say(safe(message)))
                try:
                    outcome: Ending | Exception = await engine.run()
                except Exception as error:
                    outcome = error  # raised below, where no task group wraps it
                finally:
                    # What is left to do takes a moment, unless another program holds the ledger.
                    self.signals.on_first = lambda *_: self.ledger.hurry(GRACE_SECONDS)
                    group.cancel_scope.cancel()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def _watch(display: Display, terminal: Terminal) -> None:
    """Show the run; a display that fails ends, the run does not."""
    try:
        await display.watch()
    except Exception as error:
        terminal.warn(redact(f"the display ended: {type(error).__name__}: {error}; the run goes on"))


def _work(ledger: Ledger, plan: Plan, prepared: Prepared, settings: Settings) -> Counter[Status]:
    """What this run has to do: new jobs, and what earlier runs left under way."""
    work = Counter({Status.PLANNED: plan.new})
    for campaign in prepared.campaigns:
        work.update(ledger.read.under_way(campaign, unsaved=settings.downloads(campaign)))
    return work


def _settings_json(settings: Settings, prepared: Prepared, caps: Caps) -> str:
    chosen = {
        **asdict(settings),
        "caps": {
            "run": caps.run,
            "campaigns": caps.campaigns,
            "day": caps.day,
            "keep": caps.keep,
            "until": None if caps.until is None else iso(caps.until),
        },
        "selection": {"only": list(prepared.selection.only), "limit": prepared.selection.limit},
    }
    return json.dumps(chosen)
