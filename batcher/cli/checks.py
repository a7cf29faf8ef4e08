"""What `batcher doctor` looks at, part by part. Each check is a value; none prints, and none holds the key."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from batcher import __version__
from batcher.access import Access
from batcher.clock import iso
from batcher.errors import StorageError, UsageError
from batcher.install import install_hint
from batcher.jobs import Status
from batcher.ledger import LedgerReader, traces
from batcher.ledger.decisions import select
from batcher.ledger.queries import health, jobs
from batcher.simulated import missing_extra
from batcher.state import LEDGER
from batcher.text import amount, count, moment, number

from .doubtful import resolve_command
from .environment import DOTENV, read_access
from .left_behind import strays
from .probe import mount_of, try_out

PYTHON_NEEDED = (3, 11)
#: Less free space than this is worth a word.
_SPACE_BYTES = 1024**3
#: Clocks of one machine differ by less than this, in seconds, unless one was set.
_SKEW_SECONDS = 60.0


class Severity(StrEnum):
    """What a check came to."""

    OK = "ok"
    NOTE = "note"  # worth knowing, nothing to do
    ATTENTION = "attention"  # a person should act
    UNUSABLE = "unusable"  # no run can keep a ledger like this


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, how it is, and what to do."""

    name: str
    level: Severity
    message: str
    hint: str = ""


def check_versions() -> Iterator[Check]:
    """Python, SQLite, batcher, and what is installed with it."""
    python = platform.python_version()
    fine = sys.version_info >= PYTHON_NEEDED and health.sqlite_is_new_enough()
    yield Check(
        "versions",
        Severity.OK if fine else Severity.UNUSABLE,
        f"batcher {__version__}, Python {python}, SQLite {health.sqlite_version()}",
        "" if fine else "batcher needs Python 3.11 and SQLite {}.{}.{}, or newer.".format(*health.SQLITE_NEEDED),
    )
    missing = missing_extra()
    yield Check(
        "extras",
        Severity.NOTE if missing else Severity.OK,
        f"simulator: not installed ({', '.join(missing)})" if missing else "simulator: installed",
        install_hint("simulator") if missing else "",
    )


# The key and where it goes


def check_access() -> tuple[Access | None, list[Check]]:
    """Key, base URL and `.env`; the access is None where it cannot be had."""
    warnings: list[str] = []
    try:
        access = read_access(warnings.append)
        account = access.account
    except UsageError as error:
        return None, [Check("access", Severity.ATTENTION, error.message, error.hint)]
    if account is None:
        hint = f"Set {access.provider.key_variable} in the environment or in {DOTENV}; `run --simulate` needs none."
        found = [Check("key", Severity.ATTENTION, f"{access.provider.key_variable} is not set", hint)]
    else:
        found = [Check("key", Severity.OK, f"from {access.key_from}, fingerprint {account.rpartition('#')[2]}")]
    found.append(Check("base URL", Severity.OK, f"{access.base_url}, from {access.base_url_from}"))
    hint = f"Set {access.provider.base_url_variable} in the environment."
    found += [Check("base URL", Severity.ATTENTION, each, hint) for each in warnings]
    return access, [*found, *_dotenv(access)]


def _dotenv(access: Access) -> Iterator[Check]:
    if access.key_from != str(DOTENV):
        yield Check(".env", Severity.OK, "no key is taken from it")
    elif (mode := stat.S_IMODE(DOTENV.stat().st_mode)) & 0o077:
        message = f"it holds the key, and others on this machine may read it (mode {mode:04o})"
        yield Check(".env", Severity.ATTENTION, message, f"chmod 600 {DOTENV}")
    else:
        yield Check(".env", Severity.OK, "it holds the key, for its owner only")


# The state folder


def check_folder(state: Path) -> Iterator[Check]:
    """Who may look into it, and what its disk can do."""
    try:
        found = state.stat()
    except FileNotFoundError:
        yield Check("state folder", Severity.NOTE, f"there is no {state.absolute()} yet; the first run makes it")
        return
    except OSError as error:
        yield Check("state folder", Severity.UNUSABLE, f"{state}: {error.strerror}", "Name another one with --state.")
        return
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        yield Check(
            "state folder", Severity.ATTENTION, f"{state.absolute()} belongs to another user", "Run as that user."
        )
    elif mode & 0o077:
        message = f"others may look into {state.absolute()} (mode {mode:04o})"
        yield Check("state folder", Severity.ATTENTION, message, "The next run makes it private; or: chmod 700")
    else:
        yield Check("state folder", Severity.OK, f"{state.absolute()}, private")
    yield from _disk(state)


def _disk(state: Path) -> Iterator[Check]:
    free = shutil.disk_usage(state).free
    enough = free >= _SPACE_BYTES
    hint = "" if enough else "A full disk stops a run; nothing that was bought is lost."
    yield Check("disk space", Severity.OK if enough else Severity.ATTENTION, f"{free / 1e9:,.1f} GB free", hint)
    mount = mount_of(state)
    if mount is None:
        yield Check("file system", Severity.NOTE, "the system does not say what it is")
    elif mount.remote:
        message = f"{mount.kind} at {mount.point} is on another machine"
        yield Check("file system", Severity.ATTENTION, message, "Keep the state folder on a local disk.")
    else:
        yield Check("file system", Severity.OK, f"{mount.kind} at {mount.point}, local")
    abilities = try_out(state)
    if not abilities.failed:
        yield Check("disk", Severity.OK, "writing, flock, hard links and fsync work")
        return
    message = "; ".join(f"{what}: {why}" for what, why in abilities.failed.items())
    if abilities.works:
        yield Check("disk", Severity.NOTE, message, "Results are named by renaming instead.")
    else:
        yield Check(
            "disk", Severity.UNUSABLE, message, "Make it writable, or name a folder on a local disk with --state."
        )


# The ledger


def check_ledger(state: Path) -> Iterator[Check]:
    """Its file, its sums, what it holds, what waits for a person."""
    path = state / LEDGER
    if not path.exists():
        try:
            traces.refuse(path, traces.without_ledger(state))
        except StorageError as error:
            yield Check("ledger", Severity.UNUSABLE, error.message, error.hint)
            return
        yield Check("ledger", Severity.NOTE, "there is none yet; the first run makes it")
        return
    now = time.time()
    try:
        found = health.look(path, now=now + _SKEW_SECONDS)
        if found.older:
            version = ", ".join(found.migrations) or "empty"
            message = f"it is of an older version ({version})"
            yield Check(
                "ledger", Severity.ATTENTION, message, "The next `batcher run` brings it up to date, after a copy."
            )
            return
        if found.damage:
            hint = "Put back a copy, or try `sqlite3 ledger.db .recover`; keep the damaged file."
            yield Check("ledger", Severity.UNUSABLE, f"it is damaged: {'; '.join(found.damage)}", hint)
            return
        if not os.access(path, os.W_OK):
            yield Check("ledger", Severity.UNUSABLE, f"{path} cannot be written", "Mend its permissions.")
        yield Check("ledger", Severity.OK, f"{found.migrations[-1]}, and SQLite finds it whole")
        yield from _money(found)
        with closing(LedgerReader.open(path)) as read:
            yield from _jobs(read, state)
            yield _whole(read, state)
    except StorageError as error:
        yield Check("ledger", Severity.UNUSABLE, error.message, error.hint)
        return
    if found.ahead is None:
        yield Check("clock", Severity.OK, f"{iso(now)[:19]}Z; nothing in the ledger is later")
    else:
        message = f"the ledger has something of {moment(found.ahead)}, and this clock says {moment(iso(now))}"
        yield Check("clock", Severity.ATTENTION, message, "Set the clock right: the day's cap goes by its date.")


def _money(found: health.Health) -> Iterator[Check]:
    if found.wrong_sums:
        message = f"the kept sums differ from the attempts' in: {'; '.join(found.wrong_sums)}"
        yield Check("sums", Severity.ATTENTION, message, "Somebody has edited the ledger; caps go by the kept sums.")
    else:
        sums = f"{number(found.settled)} settled, {number(found.held)} held"
        yield Check("sums", Severity.OK, f"{sums}; added up by hand they are the same")
    if found.leaks:
        message = f"{count(found.leaks, 'attempt')} hold credits for jobs that are at their end"
        yield Check(
            "holds", Severity.ATTENTION, message, "Somebody has edited the ledger; they count against the caps."
        )
    else:
        yield Check("holds", Severity.OK, f"{count(found.open, 'attempt')} open, {amount(found.held)} held")


def _jobs(read: LedgerReader, state: Path) -> Iterator[Check]:
    doubtful = list(select(read, statuses=[Status.DOUBTFUL]))
    if doubtful:
        job = doubtful[0].short if len(doubtful) == 1 else "JOB"
        held = amount(sum(case.hold for case in doubtful))
        message = f"{count(len(doubtful), 'job')} in doubt, {held} held: {', '.join(c.short for c in doubtful[:10])}"
        yield Check("doubtful", Severity.ATTENTION, message, f"Decide: {resolve_command(job, state)}")
    else:
        yield Check("doubtful", Severity.OK, "no job")
    for _, text in strays(read, state):
        yield Check("campaigns", Severity.ATTENTION, text)
    holder, last = jobs.holder(state, read), jobs.run(read)
    if holder is not None:
        who = "just starting" if holder.pid is None else f"pid {holder.pid}, started {moment(holder.started)}"
        yield Check("run lock", Severity.NOTE, f"a run is going: {who}")
    elif last is not None and last["ended_at"] is None:
        yield Check(
            "run lock", Severity.NOTE, "free; the last run was cut off", "The same `batcher run` goes on with it."
        )
    else:
        yield Check("run lock", Severity.OK, "free")
    yield _files(read, state)
    yield _parts(read, state)


def _whole(read: LedgerReader, state: Path) -> Check:
    """Whether what lies beside the ledger shows that it once knew more."""
    campaigns = [each.campaign for each in jobs.campaigns(read)]
    try:
        traces.refuse(read.path, traces.of_runs(read, state) + traces.of_files(read, state, campaigns))
    except StorageError as error:
        return Check("copy", Severity.ATTENTION, error.message, error.hint)
    return Check("copy", Severity.OK, "it knows of every log and result beside it")


def _files(read: LedgerReader, state: Path) -> Check:
    """Saved files, by presence and size."""
    found = [
        (file.target, how)
        for campaign in jobs.campaigns(read)
        for file, how in jobs.damaged_files(read, campaign.campaign, state)
    ]
    if not found:
        return Check("files", Severity.OK, "all that were saved are there")
    what = ", ".join(f"{target} ({how})" for target, how in found[:10])
    message = f"{count(len(found), 'saved file')} missing or changed: {what}"
    return Check("files", Severity.ATTENTION, message, "`batcher fetch` brings them back, and writes over none.")


def _parts(read: LedgerReader, state: Path) -> Check:
    """Downloads that were begun and that no run will take up again."""
    folder = state / "results" / ".parts"
    places = {}
    strange = []
    for path in sorted(folder.glob("*")):
        if match := re.fullmatch(r"(\d{1,15})-(\d{1,9})\.(?:part|longest)", path.name):
            places[path.name] = (int(match[1]), int(match[2]))
        else:
            strange.append(path.name)
    orphans = health.parts(read, places) + strange
    if orphans:
        message = f"{count(len(orphans), 'part')} of downloads that nobody goes on with: {', '.join(orphans[:10])}"
        return Check("part files", Severity.ATTENTION, message, f"While no run is going they may be deleted: {folder}")
    return Check("part files", Severity.OK, f"{count(len(places), 'download')} to go on with" if places else "none")
