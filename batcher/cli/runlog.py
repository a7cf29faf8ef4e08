"""The end-of-run summary, kept under `<state>/logs/`: what a run told, for whoever looks in the morning."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.text import Text

from batcher import __version__
from batcher.artifacts import keep_log
from batcher.errors import StorageError, exit_code
from batcher.ledger.traces import log_name
from batcher.text import safe

from .crash import redact
from .summary import summary_json, summary_view
from .terminal import ReaderGone, Terminal, dumps

if TYPE_CHECKING:
    from .session import Order, Result

_WIDTH = 4000


def keep_summary(result: Result, order: Order, terminal: Terminal) -> None:
    """Write the summary of a run as text and as the document of `run --json`.

    What keeps it from being written is a warning: the run is over, and its exit code tells of the run.
    """
    name = log_name(result.run_id, result.started)
    text = plain([_head(result.run_id, result.started, terminal), "", *summary_view(result, order, terminal.typed)])
    document = dumps(_redacted({"version": 1, **summary_json(result, order)}))
    try:
        keep_log(order.state, f"{name}.txt", redact(text))
        keep_log(order.state, f"{name}.json", f"{document}\n")
    except (StorageError, OSError) as error:
        terminal.warn(f"this summary could not be kept: {getattr(error, 'message', error)}")


def begin_summary(state: Path, run_id: int, started: str, terminal: Terminal) -> None:
    """Write the summary's name down before anything is bought: a ledger that does not know it has lost this run."""
    head = _head(run_id, started, terminal)
    try:
        text = f"{head}\n\nThis run has not ended, or was cut off. The same command goes on.\n"
        keep_log(state, f"{log_name(run_id, started)}.txt", redact(text))
    except (StorageError, OSError) as error:
        terminal.warn(f"this run's log could not be begun: {getattr(error, 'message', error)}")


def _head(run_id: int, started: str, terminal: Terminal) -> str:
    return f"batcher {__version__}, run {run_id}, begun {started}: {terminal.typed}"


def keep_and_tell(result: Result, order: Order, terminal: Terminal, as_json: bool) -> int:
    """Keep the summary and show it; the exit code."""
    keep_summary(result, order, terminal)
    with suppress(ReaderGone):  # what became of the run matters more than who reads it
        if as_json:
            terminal.document(summary_json(result, order))
        else:
            terminal.show(*summary_view(result, order, terminal.typed))
            terminal.flush()
    return exit_code(result.ending.kind)


def plain(parts: Iterable[RenderableType]) -> str:
    """What people are shown, as text without colours and without what a terminal would obey."""
    console = Console(
        file=io.StringIO(), width=_WIDTH, color_system=None, markup=False, highlight=False, emoji=False, no_color=True
    )
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str | Text))
    assert isinstance(console.file, io.StringIO)
    lines = safe(console.file.getvalue(), lines=True).split("\n")
    return "\n".join(line.rstrip() for line in lines)


def _redacted(value: Any) -> Any:
    """The value without any key, however its texts are nested."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {redact(str(name)): _redacted(each) for name, each in value.items()}
        case list():
            return [_redacted(each) for each in value]
        case _:
            return value
