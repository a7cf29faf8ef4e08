"""`plan --approve`: a person at a terminal lets a program buy a saved plan, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batcher.clock import SystemClock, iso_seconds
from batcher.errors import UsageError
from batcher.ledger import LedgerWriter, approvals, hold_lock, traces
from batcher.ledger.control import asker
from batcher.ledger.lock import is_held
from batcher.saved_plan import SavedPlan, is_saved
from batcher.state import LEDGER, prepare_folder
from batcher.text import amount, count, number, safe
from batcher.workload import prepare_saved

from .database import named_database
from .job_actions import decisive_ledger
from .places import Sought, find_state
from .terminal import Terminal


def approve_plan(terminal: Terminal, paths: Sequence[Path], state: Path | None, *, simulate: bool) -> int:
    """Show what the plan buys at most, ask, and write the approval down; the exit code.

    Raises UsageError where nobody is there to be asked, and for what is no saved plan or cannot be one any more.
    """
    if len(paths) != 1 or not is_saved(paths[0]):
        raise UsageError("--approve takes one saved plan", hint="batcher plan … --out plan.json writes it.")
    [path] = paths
    workload = prepare_saved(path)
    saved = workload.saved
    assert saved is not None, "prepare_saved has it"
    if not terminal.can_ask:
        raise UsageError("a plan is approved by a person at a terminal, and there is none here")
    folder = find_state(terminal, state, Sought.by_manifests(workload.manifests, simulate=simulate))
    _make_ledger(folder)
    with decisive_ledger(folder) as ledger:
        names = ", ".join(workload.campaigns)
        total, left = int(saved.document["total"]), saved.left(ledger.read)
        where = ledger.path if named_database() else ledger.path.absolute()
        terminal.say(
            f"Plan {saved.id}",
            f"{safe(path)}: {count(len(saved.jobs), 'job')} of {safe(names)}",
            f"It may cost {amount(total)} at most, of which {number(left)} are left.",
            f"Account {safe(saved.document['account'])}, ledger {safe(where)}",
        )
        if not terminal.ask("Let a program buy exactly this, once?"):
            terminal.say("Nothing was approved.")
            return 1
        approvals.approve(ledger, saved.id, path.absolute(), asker())
    terminal.answer({"approved": saved.id}, f"Approved: {saved.id}")
    return 0


def _make_ledger(folder: Path) -> None:
    """Make the ledger that the approval is written to, as the first run would. Raises StorageError."""
    path, clock = folder / LEDGER, SystemClock()
    if path.exists():
        return
    traces.refuse(path, traces.without_ledger(folder))
    prepare_folder(folder)
    with hold_lock(folder, started=iso_seconds(clock.wall())):
        LedgerWriter.open(path, clock).close()


def is_approved(saved: SavedPlan | None, named: str | None) -> bool:
    """Whether the run about to begin needs the approval that was `named`; None needs none, for a person runs it.

    Raises UsageError where it is not that of the saved plan.
    """
    if named is not None and (saved is None or saved.id != named):
        raise UsageError("--approved goes with the saved plan of that very hash")
    return named is not None


def use_approval(saved: SavedPlan | None, named: str | None, folder: Path) -> None:
    """Take the approval that was `named` for the run about to begin (`is_approved`).

    While another run is going it is left, for this one will be refused. Raises UsageError.
    """
    if is_approved(saved, named) and saved and not is_held(folder):
        with decisive_ledger(folder) as ledger:
            approvals.use(ledger, saved.id)
