"""Where state is: the one function by which every command finds its state folder, and the user's list of ledgers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batcher.errors import UsageError
from batcher.ledger import storage_errors
from batcher.ledger.queries import lookup
from batcher.ledger.queries.lookup import Place
from batcher.ledger.store.connection import stands
from batcher.state import LEDGER, SIMULATED, owner_of
from batcher.text import safe

from . import open_ledger
from .database import mirror_folder, named_database
from .terminal import Terminal

if TYPE_CHECKING:
    from batcher.manifest import Manifest

#: The state folder where nothing else says so, below the working folder or beside the manifest.
DEFAULT_STATE = Path(open_ledger.DEFAULT_STATE)


@dataclass(frozen=True, slots=True)
class Sought:
    """What a command is about: campaigns, with the folders of their manifests; words that name campaigns or jobs."""

    campaigns: dict[str, Path | None] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    simulate: bool = False

    @classmethod
    def by_manifests(cls, manifests: Iterable[Manifest], *, simulate: bool = False) -> Self:
        """What to find the state folder of a run by."""
        return cls({each.campaign: each.path.parent for each in manifests}, simulate=simulate)

    @property
    def names(self) -> list[str]:
        return [*self.campaigns, *self.words]

    @property
    def by_manifest(self) -> bool:
        return any(folder is not None for folder in self.campaigns.values())


def find_state(terminal: Terminal, named: Path | None, sought: Sought) -> Path:
    """The state folder: the named one, else that of the one ledger that knows what is sought, else the usual one.

    Raises UsageError when several ledgers know it, or manifests lead to different ones; StorageError for a ledger
    that cannot be asked.
    """
    if not sought.simulate and (conninfo := named_database(named)):
        listing = list_file()
        return mirror_folder(conninfo, listing.parent if listing else None)
    if named is not None:
        return _simulated(named) if sought.simulate else named
    usual = _usual(sought)
    if not sought.names:
        return usual if stands(usual / LEDGER) else _nearest(usual)
    found = _knowing(sought, usual)
    if len(found) > 1:
        raise _several(found)
    if not found:
        _check_listed(sought)
        _tell_new(terminal, usual, sought)
        return usual
    [(ledger, known)] = found.items()
    if _same(ledger, usual / LEDGER):
        return usual
    strays = {beside for name, beside in _beside(sought).items() if name not in known} - {ledger.parent}
    if strays:
        raise _several({ledger: known, **{stray / LEDGER: set() for stray in strays}})
    terminal.say(f"Ledger: {safe(ledger)} (it knows {safe(', '.join(sorted(known)))})")
    return ledger.parent


def _simulated(state: Path) -> Path:
    """The simulator's state folder below this one, unless this is one."""
    ledger = state / LEDGER
    if state.absolute().name == SIMULATED or (stands(ledger) and lookup.place_of(ledger) is Place.SIMULATOR):
        return state
    return state / SIMULATED


def _usual(sought: Sought) -> Path:
    """`state` beside the manifest if it is there, else in the working folder. Raises UsageError for several."""
    folders = set(_beside(sought).values())
    if len(folders) > 1:
        raise _several({folder / LEDGER: set() for folder in folders})
    usual = folders.pop() if folders else DEFAULT_STATE
    return usual / SIMULATED if sought.simulate else usual


def _beside(sought: Sought) -> dict[str, Path]:
    """The `state` beside each manifest, where there is one; in the words that find it from the working folder."""
    found = {}
    for name, folder in sought.campaigns.items():
        if folder is not None and (state := folder / DEFAULT_STATE).is_dir():
            found[name] = DEFAULT_STATE if _same(state, DEFAULT_STATE) else state
    return found


def knowing(campaigns: dict[str, Path | None]) -> list[Path]:
    """The state folders whose ledgers know one of these campaigns; without their names ("") the usual ones."""
    sought = Sought(campaigns)
    if any(campaigns):
        return [ledger.parent for ledger in _knowing(sought, DEFAULT_STATE)]
    return [folder for folder in {*_beside(sought).values(), DEFAULT_STATE} if stands(folder / LEDGER)]


def _knowing(sought: Sought, usual: Path) -> dict[Path, set[str]]:
    """The ledgers that know something of what is sought, each once, with what they know."""
    found: dict[Path, set[str]] = {}
    seen = set[tuple[int, int]]()
    for ledger in (usual / LEDGER, *_candidates(sought)):
        with storage_errors(ledger):
            if not stands(ledger):
                continue
            status = ledger.lstat()
        if (key := (status.st_dev, status.st_ino)) in seen:
            continue
        seen.add(key)
        if known := lookup.known(ledger, sought.campaigns, sought.words):
            found[ledger] = known
    return found


def _candidates(sought: Sought) -> Iterator[Path]:
    starts = [Path.cwd(), *(folder.resolve() for folder in sought.campaigns.values() if folder is not None)]
    for start in dict.fromkeys(starts):
        for folder in upwards(start):
            yield folder / DEFAULT_STATE / (f"{SIMULATED}/{LEDGER}" if sought.simulate else LEDGER)
    if not sought.simulate:
        yield from (path for path, _ in listed())


def upwards(start: Path) -> Iterator[Path]:
    """A folder and those above it, up to the home folder, or to where another user's begin."""
    home, me = _home(), os.geteuid()
    for folder in (start, *start.parents):
        with suppress(OSError):
            if folder != start and folder.stat().st_uid != me:
                return
        yield folder
        if folder == home:
            return


def _nearest(usual: Path) -> Path:
    """For a command that names nothing: the nearest ledger above, else the only one of the list, else the usual."""
    for folder in upwards(Path.cwd()):
        if stands(folder / DEFAULT_STATE / LEDGER):
            return folder / DEFAULT_STATE
    if stands(usual / SIMULATED / LEDGER):
        return usual
    there = [path for path, _ in listed() if stands(path)]
    if len(there) > 1:
        raise _several({path: set() for path in there})
    return there[0].parent if there else usual


def _several(ledgers: dict[Path, set[str]]) -> UsageError:
    lines = [
        f"  {ledger.absolute()}" + (f" (knows {', '.join(sorted(known))})" if known else "")
        for ledger, known in sorted(ledgers.items())
    ]
    return UsageError(
        "\n".join(["several ledgers come into question:", *lines]),
        hint="Say which, with --state FOLDER or BATCHER_STATE.",
    )


def _check_listed(sought: Sought) -> None:
    """What a ledger that is not there just now has bought would be bought again. Raises UsageError."""
    for path, campaigns in listed():
        if (known := campaigns & set(sought.names)) and not sought.simulate and not stands(path):
            raise UsageError(
                f"{path} knows {', '.join(sorted(known))}, by the list of ledgers ({list_file()}), but is not there",
                hint="Is its disk there, or has it moved? Name it with --state. If it is gone for good, take its line"
                " out of the list, or name a new folder with --state: then all is bought anew.",
            )


def _tell_new(terminal: Terminal, usual: Path, sought: Sought) -> None:
    if sought.by_manifest and stands(usual / LEDGER):
        terminal.say(f"Ledger: {safe((usual / LEDGER).absolute())} ({safe(', '.join(sought.campaigns))} is new to it)")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


# The user's list


def list_file() -> Path | None:
    """The user's list of ledgers; None when there is no home to keep it in."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        home = _home()
        if home is None:
            return None
        base = home / ".local/state"
    return base / "batcher/ledgers"


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except (RuntimeError, OSError):
        return None


def listed() -> list[tuple[Path, set[str]]]:
    """The ledgers of the list with the campaigns that they know; none where it cannot be read."""
    path = list_file()
    try:
        text = path.read_text("utf-8", errors="surrogateescape") if path is not None else ""
    except OSError:
        return []
    found: dict[Path, set[str]] = {}
    for line in text.splitlines():
        ledger, tab, campaigns = line.rpartition("\t")
        if tab and ledger.startswith("/"):
            found.setdefault(Path(ledger), set()).update(campaigns.split())
    return list(found.items())


def is_listed(ledger: Path) -> bool:
    """Whether the list has this ledger."""
    return any(_same(path, ledger) for path, _ in listed())


def remember(ledger: Path, campaigns: Sequence[str], terminal: Terminal) -> None:
    """Write into the list that this ledger knows these campaigns; what keeps it from being written is a warning."""
    real = ledger.resolve()
    try:
        path = list_file()
        if path is None:
            raise OSError("there is no home folder")
        if not str(real).isprintable():
            raise OSError("its path cannot stand in a line")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(path.parent):
            lines = {there: set(known) for there, known in listed()}
            if lines.get(real, set()) >= set(campaigns):
                return
            lines.setdefault(real, set()).update(campaigns)
            _write(path, (f"{there}\t{' '.join(sorted(known))}\n" for there, known in lines.items()))
    except OSError as error:
        terminal.warn(
            f"{real} could not be written into the list of ledgers: {error.strerror or error};"
            " from another folder it is found only with --state"
        )


def announce(ledger: Path, place: Place, terminal: Terminal) -> None:
    """Tell of a ledger that this user did not make, before it is worked with. Raises StorageError."""
    with storage_errors(ledger):
        owner = owner_of(ledger)
    if owner is None and (place is not Place.NET or is_listed(ledger)):
        return
    held = lookup.holdings(ledger)
    if not held.jobs:
        return
    why = f"belongs to {owner}" if owner else "is not in your list of ledgers: it was made elsewhere, or moved"
    terminal.warn(
        f"{safe(ledger.absolute())} {why}. It knows {held.jobs:,} jobs and {held.attempts:,} purchases of"
        f" {safe(', '.join(held.campaigns[:5]))}; what it says is bought is not bought again. If you do not know it,"
        " stop, and name another folder with --state."
    )


def _write(path: Path, lines: Iterable[str]) -> None:
    part = path.with_name(".ledgers.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(lines)
    part.rename(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
