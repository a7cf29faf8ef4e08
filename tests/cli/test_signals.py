"""What a signal does to a command, the first and the second."""

from __future__ import annotations

import os
import signal

import pytest

from batcher.cli import signals
from batcher.cli.signals import Signals
from batcher.errors import Kind, Stopped

# Signals


def test_a_signal_before_anything_is_under_way_raises() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals(), pytest.raises(Stopped) as caught:
        os.kill(os.getpid(), signal.SIGTERM)
    assert (caught.value.kind, caught.value.reason) == (Kind.TERMINATED, "asked to end (SIGTERM)")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_second_signal_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    told: list[tuple[Kind, str]] = []
    monkeypatch.setattr(signals, "leave", codes.append)
    with Signals() as handler:
        handler.on_first = lambda kind, reason: told.append((kind, reason))
        os.kill(os.getpid(), signal.SIGINT)
        assert (told, codes) == ([(Kind.INTERRUPTED, "interrupted")], [])
        os.kill(os.getpid(), signal.SIGINT)
    assert codes == [130]


@pytest.mark.parametrize(
    ("first", "then", "seconds", "leaves"),
    [
        # A terminal that is closed sends it twice, a service manager both.
        (signal.SIGHUP, signal.SIGHUP, 0.001, False),
        (signal.SIGHUP, signal.SIGHUP, 60.0, False),
        (signal.SIGINT, signal.SIGHUP, 60.0, False),
        (signal.SIGTERM, signal.SIGHUP, 60.0, False),
        (signal.SIGHUP, signal.SIGTERM, 0.5, False),
        (signal.SIGTERM, signal.SIGTERM, 0.5, False),
        (signal.SIGTERM, signal.SIGTERM, 4.0, True),
        (signal.SIGHUP, signal.SIGTERM, 4.0, True),
        (signal.SIGINT, signal.SIGTERM, 0.5, False),
        (signal.SIGINT, signal.SIGINT, 0.001, True),
        (signal.SIGTERM, signal.SIGINT, 0.001, True),
        (signal.SIGHUP, signal.SIGINT, 0.001, True),
    ],
)
def test_what_counts_as_the_second_signal(
    monkeypatch: pytest.MonkeyPatch, first: signal.Signals, then: signal.Signals, seconds: float, leaves: bool
) -> None:
    codes: list[int] = []
    told: list[Kind] = []
    now = 100.0
    monkeypatch.setattr(signals, "leave", codes.append)
    with Signals(lambda: now) as handler:
        handler.on_first = lambda kind, _: told.append(kind)
        os.kill(os.getpid(), first)
        now += seconds
        os.kill(os.getpid(), then)
    assert len(told) == 1
    assert bool(codes) is leaves


def test_the_second_hangup_may_come_after_the_end() -> None:
    before, told = signal.getsignal(signal.SIGHUP), list[Kind]()
    try:
        with Signals() as handler:
            handler.on_first = lambda kind, _: told.append(kind)
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) not in (signal.SIG_DFL, before)
        os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert told == [Kind.TERMINATED]


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_leaving_shows_the_cursor_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setattr(os, "write", lambda number, data: done.append((number, data)))
    monkeypatch.setattr(os, "_exit", done.append)
    signals.leave(130)
    assert done == [(2, b"\x1b[?25h\n"), 130]
