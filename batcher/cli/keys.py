"""Keys that a person presses while the live display moves: pause, resume, drain, more or fewer jobs in flight.

The terminal gives single keys only as long as this runs, and is as it was afterwards, whatever ends it.
"""

from __future__ import annotations

import atexit
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio

#: What stands under the display.
HINT = "keys: p pause, r resume, d drain, + and − jobs in flight"
#: A terminal whose keys are another program's at present is looked at again after so many seconds.
_AGAIN_SECONDS = 1.0
#: The mode to which `restore` brings the terminal back.
_before: list[Any] = []


@contextmanager
def single_keys() -> Iterator[bool]:
    """Have stdin give keys one by one, without echo; whether it does: only a terminal in the foreground can."""
    try:
        usable = sys.stdin is not None and sys.stdin.isatty() and _is_ours()
        mode = termios.tcgetattr(0) if usable else None
    except (OSError, ValueError, termios.error):
        mode = None
    if mode is None:
        yield False
        return
    _before[:] = [mode]
    atexit.register(restore)
    try:
        tty.setcbreak(0, termios.TCSANOW)
        yield True
    finally:
        restore()
        atexit.unregister(restore)


def restore() -> None:
    """Bring the terminal back to how it was; safe in a signal handler, and when there is nothing to bring back."""
    while _before:
        mode = _before.pop()
        with suppress(OSError, ValueError, termios.error):
            if _is_ours():  # else the shell has it as the shell wants it, and a write would stop this process
                termios.tcsetattr(0, termios.TCSANOW, mode)


def _is_ours() -> bool:
    """Whether this process is in the foreground of its terminal: another one would be stopped for reading it."""
    return os.tcgetpgrp(0) == os.getpgrp()


async def listen(pressed: Callable[[str], Any]) -> None:
    """Tell each key to `pressed`, which is awaited."""
    while True:
        await anyio.wait_readable(0)
        if not _is_ours():
            await anyio.sleep(_AGAIN_SECONDS)
            continue
        typed = os.read(0, 64)
        if not typed:
            return  # the terminal is gone
        for key in typed.decode(errors="replace"):
            await pressed(key)
