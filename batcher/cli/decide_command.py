"""`run --decide CMD`: a command of the user's says whether a canary goes on."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from batcher.canary import CanaryStep
from batcher.errors import UsageError
from batcher.text import safe, short

_SAID = 200


def asking(command: str, state: Path) -> Callable[[CanaryStep], Awaitable[str]]:
    """Run a command, without a shell, with the step as JSON on stdin; exit 0 is a yes. Raises UsageError."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--decide cannot be read: {error}") from None
    if not words:
        raise UsageError("--decide names no command")

    folder = str(state.absolute())

    async def decide(step: CanaryStep) -> str:
        told = json.dumps({"version": 1, "event": "canary", "state": folder, "step": step.json()})
        try:
            ran = await anyio.run_process(
                words, input=told.encode(), check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except OSError as error:
            return f"{words[0]} could not be run: {error.strerror}"
        if ran.returncode == 0:
            return ""
        said = short(safe(ran.stderr.decode(errors="replace").strip()), _SAID) if ran.stderr else ""
        return f"{words[0]} said no (exit {ran.returncode}){': ' + said if said else ''}"

    return decide
