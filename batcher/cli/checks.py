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
from batcher.clock import iso, iso_seconds
from batcher.errors import StorageError, UsageError
from batcher.install import install_hint
from batcher.jobs import Status
from batcher.ledger import LedgerReader, traces
from batcher.ledger.decisions import select
from batcher.ledger.queries import health, jobs
from batcher.simulated import missing_extra
from batcher.state import LEDGER
from batcher.text import amount, count, moment, number

from .doubtful_jobs import resolve_command
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


def check(name: str, fine: str, trouble: str = "", hint: str = "", level: Severity = Severity.ATTENTION) -> Check:
    """The trouble, where there is one, and what to do about it; else how it is."""
    return Check(name, level, trouble, hint) if trouble else Check(name, Severity.OK, fine)


def check_versions() -> Iterator[Check]:
    """Python, SQLite, batcher, and what is installed with it."""
    found = f"batcher {__version__}, Python {platform.python_version()}, SQLite {health.sqlite_version()}"
    old = sys.version_info < PYTHON_NEEDED or not health.sqlite_is_new_enough()
    hint = "batcher needs Python 3.11 and SQLite {}.{}.{}, or newer.".format(*health.SQLITE_NEEDED)
    yield check("versions", found, found if old else "", hint, Severity.UNUSABLE)
    missing = missing_extra()
    trouble = f"simulator: not installed ({', '.join(missing)})" if missing else ""
    yield check("extras", "simulator: installed", trouble, install_hint("simulator"), Severity.NOTE)


# The key and where it goes


def check_access() -> tuple[Access | None, list[Check]]:
    """Key, base URL and `.env`; the access is None where it cannot be had."""
    warnings: list[str] = []
    try:
        access = read_access(warnings.append)
        account = access.account
    except UsageError as error:
        return None, [Check("access", Severity.ATTENTION, error.message, error.hint)]
    variable = access.provider.key_variable
    found = [
        check(
            "key",
            f"from {access.key_from}, fingerprint {account.rpartition('#')[2]}" if account else "",
            "" if account else f"{variable} is not set",
            f"Set {variable} in the environment or in {DOTENV}; `run --simulate` needs none.",
        ),
        check("base URL", f"{access.base_url}, from {access.base_url_from}"),
    ]
    hint = f"Set {access.provider.base_url_variable} in the environment."
    found += [Check("base URL", Severity.ATTENTION, each, hint) for each in warnings]
    return access, [*found, _dotenv(access)]


def _dotenv(access: Access) -> Check:
    if access.key_from != str(DOTENV):
        return check(".env", "no key is taken from it")
    mode = stat.S_IMODE(DOTENV.stat().st_mode)
    trouble = f"it holds the key, and others on this machine may read it (mode {mode:04o})" if mode & 0o077 else ""
    return check(".env", "it holds the key, for its owner only", trouble, f"chmod 600 {DOTENV}")


# The state folder


def check_folder(state: Path) -> Iterator[Check]:
    """Check who may look into it, and what its disk can do."""
    try:
        found = state.stat()
    except FileNotFoundError:
        yield Check("state folder", Severity.NOTE, f"there is no {state.absolute()} yet; the first run makes it")
        return
    except OSError as error:
        yield Check("state folder", Severity.UNUSABLE, f"{state}: {error.strerror}", "Name another one with --state.")
        return
    mode, place = stat.S_IMODE(found.st_mode), state.absolute()
    trouble, hint = "", ""
    if found.st_uid != os.geteuid():
        trouble, hint = f"{place} belongs to another user", "Run as that user."
    elif mode & 0o077:
        trouble = f"others may look into {place} (mode {mode:04o})"
        hint = "The next run makes it private; or: chmod 700"
    yield check("state folder", f"{place}, private", trouble, hint)
    yield from _disk(state)


def _disk(state: Path) -> Iterator[Check]:
    free = shutil.disk_usage(state).free
    space = f"{free / 1e9:,.1f} GB free"
    hint = "A full disk stops a run; nothing that was bought is lost."
    yield check("disk space", space, space if free < _SPACE_BYTES else "", hint)
    mount = mount_of(state)
    if mount is None:
        yield Check("file system", Severity.NOTE, "the system does not say what it is")
    else:
        where = f"{mount.kind} at {mount.point}"
        trouble = f"{where} is on another machine" if mount.remote else ""
        yield check("file system", f"{where}, local", trouble, "Keep the state folder on a local disk.")
    failed, hint, level = try_out(state), "Results are named by renaming instead.", Severity.NOTE
    if set(failed) - {"hard links"}:
        hint, level = "Make it writable, or name a folder on a local disk with --state.", Severity.UNUSABLE
    trouble = "; ".join(f"{what}: {why}" for what, why in failed.items())
    yield check("disk", "writing, flock, hard links and fsync work", trouble, hint, level)


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
            message = f"it is of an older version ({', '.join(found.migrations) or 'empty'})"
            hint = "The next `batcher run` brings it up to date, after a copy."
            yield Check("ledger", Severity.ATTENTION, message, hint)
            return
        if found.damage:
            hint = "Put back a copy, or try `sqlite3 ledger.db .recover`; keep the damaged file."
            yield Check("ledger", Severity.UNUSABLE, f"it is damaged: {'; '.join(found.damage)}", hint)
            return
        if not os.access(path, os.W_OK):
            yield Check("ledger", Severity.UNUSABLE, f"{path} cannot be written", "Mend its permissions.")
        yield check("ledger", f"{found.migrations[-1]}, and SQLite finds it whole")
        yield from _money(found)
        with closing(LedgerReader.open(path)) as read:
            yield from _jobs(read, state)
            yield _files(read, state)
            yield _parts(read, state)
            yield _whole(read, state)
    except StorageError as error:
        yield Check("ledger", Severity.UNUSABLE, error.message, error.hint)
        return
    clock = f"{iso_seconds(now)}; nothing in the ledger is later"
    later = f"the ledger has something of {moment(found.ahead)}, and this clock says {moment(iso(now))}"
    hint = "Set the clock right: the day's cap goes by its date."
    yield check("clock", clock, later if found.ahead else "", hint)


def _money(found: health.Health) -> Iterator[Check]:
    wrong = f"the kept sums differ from the attempts' in: {'; '.join(found.wrong_sums)}"
    sums = f"{number(found.settled)} settled, {number(found.held)} held; added up by hand they are the same"
    hint = "Somebody has edited the ledger; caps go by the kept sums."
    yield check("sums", sums, wrong if found.wrong_sums else "", hint)
    leaks = f"{count(found.leaks, 'attempt')} hold credits for jobs that are at their end"
    holds = f"{count(found.open, 'attempt')} open, {amount(found.held)} held"
    hint = "Somebody has edited the ledger; they count against the caps."
    yield check("holds", holds, leaks if found.leaks else "", hint)


def _jobs(read: LedgerReader, state: Path) -> Iterator[Check]:
    doubtful, trouble, hint = list(select(read, statuses=[Status.DOUBTFUL])), "", ""
    if doubtful:
        held = amount(sum(job.hold for job in doubtful))
        named = ", ".join(job.short for job in doubtful[:10])
        trouble = f"{count(len(doubtful), 'job')} in doubt, {held} held: {named}"
        hint = f"Decide: {resolve_command(doubtful[0].short if len(doubtful) == 1 else 'JOB', state)}"
    yield check("doubtful", "no job", trouble, hint)
    for _, text in strays(read, state):
        yield Check("campaigns", Severity.ATTENTION, text)
    holder, last = jobs.holder(state, read), jobs.run(read)
    trouble, hint = "", ""
    if holder is not None:
        who = "just starting" if holder.pid is None else f"pid {holder.pid}, started {moment(holder.started)}"
        trouble = f"a run is going: {who}"
    elif last is not None and last["ended_at"] is None:
        trouble, hint = "free; the last run was cut off", "The same `batcher run` goes on with it."
    yield check("run lock", "free", trouble, hint, Severity.NOTE)


def _whole(read: LedgerReader, state: Path) -> Check:
    """Whether what lies beside the ledger shows that it once knew more."""
    campaigns = [each.campaign for each in jobs.campaigns(read)]
    try:
        traces.refuse(
            read.path, traces.of_runs(read, state) + traces.of_files(read, traces.results_of(state), campaigns)
        )
    except StorageError as error:
        return Check("copy", Severity.ATTENTION, error.message, error.hint)
    return check("copy", "it knows of every log and result beside it")


def _files(read: LedgerReader, state: Path) -> Check:
    """Saved files, by presence and size."""
    found = [
        (file.target, how)
        for campaign in jobs.campaigns(read)
        for file, how in jobs.damaged_files(read, campaign.campaign, state)
    ]
    what = ", ".join(f"{target} ({how})" for target, how in found[:10])
    trouble = f"{count(len(found), 'saved file')} missing or changed: {what}" if found else ""
    hint = "`batcher fetch` brings them back, and writes over none."
    return check("files", "all that were saved are there", trouble, hint)


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
    fine = f"{count(len(places), 'download')} to go on with" if places else "none"
    nobodys = f"{count(len(orphans), 'part')} of downloads that nobody goes on with: {', '.join(orphans[:10])}"
    hint = f"While no run is going they may be deleted: {folder}"
    return check("part files", fine, nobodys if orphans else "", hint)
