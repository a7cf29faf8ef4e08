"""Alerts: told beside a run, recorded before they are sent, tried for ten minutes; a dead target holds nobody up.

`watch` is a task beside the engine, which looks into the ledger each second; each sending has a thread of its own.
When the run has ended, `finish` waits for what is still to be told, `END_SECONDS` at most; the next run goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import anyio

from batcher.clock import Clock, from_iso, iso
from batcher.errors import StorageError
from batcher.ledger import LedgerWriter, alerts
from batcher.ledger.alerts import FOLLOWED, SENT, WAITING, RecordedAlert
from batcher.text import change_texts, safe, short

from .causes import TRIED_SECONDS, Alert, Causes
from .targets import AlertTarget, NotDelivered

#: A run that has ended waits so many seconds at most for what is still to be told.
END_SECONDS = 30.0
#: Seconds between two looks into the ledger, and between two tries of one target, which double each time.
LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 5.0
_AGAIN_SECONDS_MAX = 60.0
_SOON_SECONDS = 0.05
_TITLE_WIDTH = 150
#: Does something elsewhere, and says when it is done.
Start = Callable[[Callable[[], None]], "Future[None]"]


def on_a_thread(work: Callable[[], None]) -> Future[None]:
    """Do it on a thread that keeps no process from ending."""
    future: Future[None] = Future()

    def do() -> None:
        try:
            work()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=do, name="alert", daemon=True).start()
    return future


@dataclass(slots=True)
class _Sending:
    """An alert on its way to one target; `due` is when it is tried (again), in monotonic seconds."""

    alert: RecordedAlert
    target: AlertTarget
    due: float
    tries: int = 0
    going: Future[None] | None = None


class Alerts:
    """Tells targets of what happens to one run."""

    def __init__(
        self,
        targets: Sequence[AlertTarget],
        ledger: LedgerWriter,
        causes: Causes | None,
        clock: Clock,
        *,
        run_id: int,
        prefix: str = "batcher",
        alone: bool = True,
        state: str = WAITING,
        followed: Mapping[str, Sequence[str]] = MappingProxyType({}),
        may_send: Callable[[], bool] = lambda: True,
        redact: Callable[[str], str] = lambda text: text,
        tell: Callable[[str], object] = lambda _: None,
        start: Start = on_a_thread,
    ) -> None:
        """`prefix` begins each title; `tell` gets warnings; `redact` takes keys out of what is recorded and sent.

        Where others lead other runs (not `alone`), it tells of its own. Without `causes` it records nothing, and tells
        what waits in that `state`. `followed` names targets, with their kinds, that are told by who follows the run;
        `may_send` says whether this process still leads it.
        """
        self._targets = {target.name: target for target in targets}
        self._ledger, self._causes, self._clock, self._run_id = ledger, causes, clock, run_id
        self._prefix, self._redact, self._tell, self._start = prefix, redact, tell, start
        self._of, self._state, self._followed, self._may_send = None if alone else run_id, state, followed, may_send
        self._sendings: list[_Sending] = []
        self._taken = 0  # alerts up to this id are on their way

    async def watch(self) -> None:
        """Look and send until cancelled; what keeps the ledger from being written is tried again."""
        while True:
            if self._may_send():
                self.look()
            await anyio.sleep(LOOK_SECONDS)

    async def deliver(self, over: Callable[[], bool]) -> None:
        """Go on with what is still to be told, until nothing is or `over`."""
        while self._sendings and not over():
            await anyio.sleep(_SOON_SECONDS)
            self._send()

    def finish(self, sleep: Callable[[float], object] = time.sleep) -> None:
        """Tell of the run's end, and wait for what is still to be told, `END_SECONDS` at most."""
        began = self._clock.monotonic()
        self.look(over=True)
        while self._sendings and self._clock.monotonic() - began < END_SECONDS:
            sleep(_SOON_SECONDS)
            self._send()
        if self._sendings:
            names = ", ".join(sorted({sending.target.name for sending in self._sendings}))
            self._tell(
                f"alerts not delivered yet to {names}: the next run tries them, up to ten minutes after the event"
            )
        for target in self._targets.values():
            target.close()

    def look(self, *, over: bool = False) -> None:
        """Record what is new, and send what is due."""
        with suppress(StorageError):  # another program's lock, or a disk that ends the run anyway
            if self._causes and (found := self._causes.look(over=over)):
                documents = [self._document(alert) for alert in found]
                alerts.record(self._ledger, self._run_id, documents, self._states, self._causes.seen)
            since = iso(self._clock.wall() - TRIED_SECONDS)
            read, of, state = self._ledger.read, self._of, self._state
            for alert in alerts.waiting(read, since=since, after=self._taken, run_id=of, state=state):
                self._take(alert)
        self._send()

    def _states(self, kind: str) -> dict[str, str]:
        """How each target of a kind waits for it."""
        elsewhere = {name: FOLLOWED for name, kinds in self._followed.items() if kind in kinds}
        return elsewhere | {target.name: WAITING for target in self._targets.values() if target.takes(kind)}

    def _document(self, alert: Alert) -> dict[str, Any]:
        def clean(text: str) -> str:
            return safe(self._redact(text), lines=True)

        title = short(clean(f"{self._prefix}: {alert.title}"), _TITLE_WIDTH)
        told = {"event": alert.kind, "cause": alert.cause, "run": self._run_id, "message": alert.message}
        document: dict[str, Any] = change_texts({**told, "detail": dict(alert.detail)}, clean)
        return {"version": 1, "at": iso(self._clock.wall()), "title": title, **document}

    def _take(self, alert: RecordedAlert) -> None:
        self._taken = alert.id
        now = self._clock.monotonic()
        for name, state in alert.targets.items():
            if state == self._state and name in self._targets:
                self._sendings.append(_Sending(alert, self._targets[name], now))

    def _send(self) -> None:
        """Take in what has been sent, and start what is due: one at a time for each target."""
        self._take_in()
        while self._start_due():
            if not self._take_in():
                return

    def _start_due(self) -> bool:
        busy = {sending.target.name for sending in self._sendings if sending.going}
        started = False
        for sending in self._sendings:
            if sending.target.name not in busy and sending.due <= self._clock.monotonic():
                busy.add(sending.target.name)
                sending.going, started = self._start(partial(sending.target.send, sending.alert.document)), True
        return started

    def _take_in(self) -> bool:
        found = [sending for sending in self._sendings if sending.going is not None and sending.going.done()]
        for sending in found:
            self._ended(sending)
        return bool(found)

    def _ended(self, sending: _Sending) -> None:
        assert sending.going is not None
        error, sending.going = sending.going.exception(), None
        sending.tries += 1
        age = abs(self._clock.wall() - from_iso(sending.alert.at))  # a clock that was set back says nothing
        if error is not None and age < TRIED_SECONDS:
            sending.due = self._clock.monotonic() + min(_AGAIN_SECONDS * 2 ** (sending.tries - 1), _AGAIN_SECONDS_MAX)
            return
        self._sendings.remove(sending)
        outcome = SENT
        if error is not None:
            why = str(error) if isinstance(error, NotDelivered) else type(error).__name__
            outcome = f"given up: {short(safe(self._redact(why)), 200)}"
            self._tell(
                f"an alert ({sending.alert.document['event']}) was not delivered to {sending.target.name}: {outcome}"
            )
        with suppress(StorageError):
            alerts.told(self._ledger, sending.alert.id, sending.target.name, outcome)
