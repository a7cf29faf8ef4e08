"""A line for crontab: this plan's run, as cron has it done: by sh, in another folder, with hardly any environment."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from batcher.errors import UsageError

#: Where the line's run writes what it says, in the working folder.
_LOG = "night.log"


def cron_line(typed: str, folder: Path) -> str:
    """The line for a `plan --cron` that was `typed` in a folder: at ten in the evening the same is run.

    Raises UsageError for what no line of a crontab can hold.
    """
    words = shlex.split(typed)[1:]
    place = words.index("plan")
    run = [*words[:place], "run", *(word for word in words[place + 1 :] if word != "--cron")]
    line = f"0 22 * * * cd {shlex.quote(str(folder))} && {shlex.join([*program(), *run, '--quiet'])} >>{_LOG} 2>&1"
    if not line.isprintable():
        raise UsageError("a name in it has a character that no line of a crontab can hold")
    return line.replace("%", r"\%")  # a bare one would end the command


def program() -> list[str]:
    """How this batcher is called from anywhere."""
    called = Path(sys.argv[0])
    if called.name == "batcher" and called.is_absolute() and called.exists():
        return [str(called)]
    return [sys.executable, "-m", "batcher"]
