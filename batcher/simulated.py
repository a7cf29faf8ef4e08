"""The simulator that stands for the API: a process that dies with us, and comes back at the same port."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import batcher
from batcher import own_models
from batcher.access import VARIABLES, Access
from batcher.errors import StorageError, UsageError
from batcher.fs import Outside, below, disk_errors, is_own
from batcher.install import install_hint

#: Stands for the base URL, whose port may change, in the account's name.
ACCOUNT_NAME = "simulator"
#: The key that the simulator takes unless told otherwise; a constant of the contract between us and it.
SIMULATED_KEY = "rvya_sk_simulated"
_START_SECONDS = 60.0
_WALLET = 1_000_000
_MEND = "Make the state folder writable."


def access() -> Access:
    """How the simulator is asked; its base URL is known once it runs."""
    return Access("http://127.0.0.1", SIMULATED_KEY, ACCOUNT_NAME)


def need_extra() -> None:
    """Raises UsageError when what the simulator needs is not installed."""
    if missing := missing_extra():
        raise UsageError(
            f"the simulator needs packages that are not installed ({', '.join(missing)})",
            hint=install_hint("simulator"),
        )


def missing_extra() -> list[str]:
    """The modules of the extra `simulator` that are not installed."""
    return [name for name in ("av", "PIL", "uvicorn") if find_spec(name) is None]


@contextmanager
def running(state: Path, *, unchecked: bool = False) -> Iterator[str]:
    """Run the simulator on the state folder's own account while the block runs; gives its base URL.

    `unchecked`: it makes a film of what is asked of a model without a file.

    Result URLs in the ledger name its port, so it takes the port of its last start again if that is free.
    Raises StorageError when it does not start.
    """
    folder = below(state, "simulator/port").parent
    port_file = folder / "port"
    with disk_errors(folder, _MEND):
        _check(folder)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        port = port_file.read_text("ascii").strip() if port_file.exists() else "0"
    for chosen in dict.fromkeys([port if port.isdecimal() else "0", "0"]):
        process = _start(folder, chosen, unchecked=unchecked)
        with process:
            try:
                if base_url := _base_url(process):
                    with disk_errors(folder, _MEND):
                        port_file.write_text(base_url.rpartition(":")[2], "ascii")
                    yield base_url
                    return
            finally:
                assert process.stdin
                process.stdin.close()
    log = folder / "log.txt"
    last = log.read_text("utf-8", errors="replace").strip().splitlines()[-1:]
    raise StorageError(f"the simulator did not start: {''.join(last) or 'no reason given'}", hint=f"See {log}.")


def _check(folder: Path) -> None:
    """Raises Outside for what would lead out of the folder, which may have come with a clone: the simulator follows."""
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink() or not (path.is_dir() or is_own(path)):
                raise Outside(f"{path} is no file of this folder alone", hint="Remove it; the simulator makes its own.")


def _start(folder: Path, port: str, *, unchecked: bool) -> subprocess.Popen[str]:
    # -P: a folder named `batcher` in the working folder is not run in its place. Its stdin is a pipe from here, so it
    # ends with us, whatever ends us; a session of its own keeps the terminal's signals away from it.
    command = [sys.executable, "-P", "-m", "batcher.simulator", "--port", port, "--folder", str(folder)]
    command += [word for own in own_models.folders() for word in ("--catalog", str(own.absolute()))]
    command += ["--unknown-model", "video"] if unchecked else []
    ours = str(Path(batcher.__file__).parents[1])
    environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ours, environ.get("PYTHONPATH")]))
    with disk_errors(folder, _MEND), (folder / "log.txt").open("w", encoding="utf-8") as log:
        return subprocess.Popen(  # noqa: S603
            [*command, "--credits", str(_WALLET), "--exit-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environ,
            start_new_session=True,
        )


def _base_url(process: subprocess.Popen[str]) -> str | None:
    """What it says when it listens; None when it ends instead."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if ready else ""
    return str(json.loads(line)["base_url"]) if line else None
