"""SIGINT, SIGTERM and SIGHUP while a run is going: the first ends it politely, the second at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from batcher.errors import Kind, exit_code

_KINDS = {
    signal.SIGINT: (Kind.INTERRUPTED, "interrupted"),
    signal.SIGTERM: (Kind.TERMINATED, "asked to end (SIGTERM)"),
    signal.SIGHUP: (Kind.TERMINATED, "the terminal was closed (SIGHUP)"),
}


class Stopped(BaseException):
    """A signal came while nothing was under way that had to be ended politely."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Signals:
    """Handles the signals for its block.

    `on_first`, while it is set, is told of the first signal; else that raises Stopped where the program stands.
    """

    def __init__(self) -> None:
        self.on_first: Callable[[Kind, str], object] | None = None
        self._came = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _KINDS:
            # Under nohup a closed terminal is to be ignored, and stays so.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        kind, reason = _KINDS[signal.Signals(number)]
        if self._came:
            leave(exit_code(kind))
        self._came = True
        if self.on_first is None:
            raise Stopped(kind, reason)
        self.on_first(kind, reason)


def leave(code: int) -> None:
    """End this process now; what is on disk is complete at any instant."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # a live display hides the cursor
    os._exit(code)
