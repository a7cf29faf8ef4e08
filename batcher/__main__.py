"""`batcher` and `python -m batcher`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from batcher import __version__


def main() -> int:
    """The process's exit code. `--version` answers before anything heavy is imported."""
    argv = sys.argv[1:]
    try:
        _open_streams()
        if argv == ["--version"]:
            print(f"batcher {__version__}")
            return 0
        from batcher.cli.app import main as run

        return run(argv)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _last_word(error)


def _open_streams() -> None:
    """Give empty streams to a process that was started without (`<&- >&- 2>&-`).

    Else the next file that is opened, say a ledger, would be its stdout.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _last_word(error: Exception) -> int:
    """Say what broke where even the report of an error did; without its text, which may hold the key."""
    what = f"the module {error.name} cannot be loaded" if isinstance(error, ImportError) else type(error).__name__
    with suppress(OSError):  # nobody is there to be told
        os.write(2, f"error: batcher cannot go on: {what}. Nothing bought is lost. Is it installed whole?\n".encode())
    return 1


if __name__ == "__main__":
    sys.exit(main())
