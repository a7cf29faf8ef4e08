"""GNU parallel and curl: a shell line a job, `--joblog` and `--resume`.

Started again, GNU parallel skips the lines that its log names as finished. What was running when it was killed is not
in the log and runs again: without an idempotency key, for all that GNU parallel could make one of is the line's place,
which is another job's as soon as somebody edits the file.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

#: One a core and some more, for each job waits for its processes rather than for the network.
AT_ONCE = 8
#: `{}` is the line, `{#}` its number; GNU parallel quotes them.
_JOB = """\
curl -sS --fail --retry 5 -o FOLDER/files/{#}.mp4 "$(
    curl -sS --fail --retry 5 -H 'Content-Type: application/json' --data-binary {} BASE/api/v1/generations |
    sed -n 's/.*"primary_url":"\\([^"]*\\)".*/\\1/p'
)\""""


def words(base: str, folder: Path) -> list[str]:
    """The command."""
    return [
        *("parallel", "--will-cite", "--jobs", str(AT_ONCE), "--retries", "3"),
        *("--joblog", str(folder / "joblog"), "--resume", "--arg-file", str(folder / "work.jsonl")),
        _JOB.replace("BASE", base).replace("FOLDER", str(folder)),
    ]


def missing() -> str:
    """What this machine lacks for it, with the remedy; nothing where it lacks nothing."""
    if not shutil.which("curl") or not shutil.which("parallel"):
        return "no GNU parallel or no curl here (apt-get install parallel curl)"
    said = subprocess.run(["parallel", "--version"], capture_output=True, text=True, check=False)  # noqa: S607
    return "" if said.stdout.startswith("GNU parallel") else "another parallel than GNU's (apt-get install parallel)"


def version() -> str:
    """Which GNU parallel this is; it comes from the system and so cannot be pinned."""
    said = subprocess.run(["parallel", "--version"], capture_output=True, text=True, check=True)  # noqa: S607
    return said.stdout.split("\n", 1)[0].removeprefix("GNU parallel ")
