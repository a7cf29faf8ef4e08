"""SIGINT, SIGTERM and SIGHUP while a run is going: the first ends it politely, the second at once.

A terminal that is closed sends SIGHUP twice (the shell and the kernel each one), and who ends a process often sends
SIGTERM to it and to its group. Nobody meant these as a second word, so SIGHUP never counts as one, and SIGTERM only
some seconds after the first signal.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from batcher.errors import Kind, Stopped, StorageError, exit_code

from .keys import restore

_KINDS = {
    signal.SIGINT: (Kind.INTERRUPTED, "interrupted"),
    signal.SIGTERM: (Kind.TERMINATED, "asked to end (SIGTERM)"),
    signal.SIGHUP: (Kind.TERMINATED, "the terminal was closed (SIGHUP)"),
}


#: A SIGTERM so many seconds after the first signal is the second.
_AGAIN_SECONDS = 3.0


class Signals:
    """Handles the signals for its block.

    `on_first`, while it is set, is told of the first signal; else that raises Stopped where the program stands.
    `on_again` is told of the second, before the process ends by it, unless it says True: then it goes on.
    An error of storage that leaves the block after a signal has that signal's kind.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.on_first: Callable[[Kind, str], object] | None = None
        self.on_again: Callable[[], object] = lambda: None
        self._monotonic = monotonic
        self._came: float | None = None  # when the first did
        self._kind: Kind | None = None  # what it asks for
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _KINDS:
            # Under nohup a closed terminal is to be ignored, and stays so.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StorageError) and self._kind is not None:
            error.kind = self._kind  # a signal comes before storage in the order of exit codes
        for number, handler in self._before.items():
            # The second SIGHUP of a terminal that was closed may come after the run's end, and must not be it.
            if number is not signal.SIGHUP or self._came is None:
                signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        kind, reason = _KINDS[signal.Signals(number)]
        if self._came is not None:
            again = self._counts_again(signal.Signals(number), self._monotonic() - self._came)
            if again and self.on_again() is not True:
                leave(exit_code(kind))
            return
        self._came, self._kind = self._monotonic(), kind
        if self.on_first is None:
            raise Stopped(kind, reason)
        self.on_first(kind, reason)

    def _counts_again(self, number: signal.Signals, seconds: float) -> bool:
        """Whether a signal that comes so many seconds after the first is meant as the second."""
        return number is signal.SIGINT or (number is signal.SIGTERM and seconds >= _AGAIN_SECONDS)


def leave(code: int) -> None:
    """End this process now; what is on disk is complete at any instant."""
    restore()
    with suppress(OSError):  # a terminal that is gone
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # a live display hides the cursor
    os._exit(code)
