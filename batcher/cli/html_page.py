"""`report --html FILE`: the page, whole or absent, and never over a file that is no report."""

from __future__ import annotations

from pathlib import Path

from batcher.errors import StorageError, UsageError
from batcher.fs import whole_file
from batcher.ledger import LedgerReader
from batcher.report import html
from batcher.report.question import Question
from batcher.report.wallet import Reconciliation
from batcher.text import count, safe

from .open_ledger import state_words
from .terminal import Terminal

#: In so many bytes of a report of ours its mark stands.
_HEAD = 400


def check_target(target: Path) -> None:
    """Raises UsageError when the extra is missing, or when something else has the file's place; before any work."""
    html.need_extra()
    if str(target) == "-":
        raise UsageError(
            "--html needs a file: the films are linked relative to it", hint="Name one: --html report.html"
        )
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", hint="Make it first.")
    if not target.exists():
        return
    if not target.is_file():
        raise UsageError(f"{target} is no file", hint="Name a file.")
    try:
        with target.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise StorageError(f"{target}: {error.strerror or error}") from error
    if head and html.MARK.encode() not in head:
        raise UsageError(f"{target} exists and is no report of batcher", hint="It stays as it is; name another file.")


def write_page(
    terminal: Terminal,
    target: Path,
    read: LedgerReader,
    question: Question,
    *,
    state: Path,
    now: float,
    running: bool,
    reconciliation: Reconciliation | None,
) -> None:
    """Write the page and say where it is. Raises UsageError and StorageError."""
    check_target(target)
    # Altair and vl-convert take their time to load, and only this needs them.
    from batcher.report.html.page import make_page

    page = make_page(
        read,
        question,
        state=state,
        target=target,
        now=now,
        running=running,
        reconciliation=reconciliation,
        words_of_state=state_words(state),
    )
    with whole_file(target, replace=True) as part:
        part.write_text(page.text, encoding="utf-8", errors="replace")
    more = f", {count(page.left_out, 'job')} more without a card" if page.left_out else ""
    terminal.say(f"Report of {count(page.jobs, 'job')}{more}: {safe(target.absolute())}")
