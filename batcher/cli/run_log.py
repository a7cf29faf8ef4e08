"""The end-of-run summary, kept under `<state>/logs/`: what a run told, for whoever looks in the morning."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.text import Text

from batcher.errors import StorageError
from batcher.ledger.traces import log_name
from batcher.run import log_head
from batcher.state import keep_log
from batcher.text import change_texts, safe

from .crash import redact
from .summary import summary_json, summary_view
from .terminal import Terminal, dumps

if TYPE_CHECKING:
    from batcher.run import RunOutcome, RunRequest

_WIDTH = 4000


def keep_summary(result: RunOutcome, request: RunRequest, terminal: Terminal) -> None:
    """Write the summary of a run as text and as the document of `run --json`.

    What keeps it from being written is a warning: the run is over, and its exit code tells of the run.
    """
    name = log_name(result.run_id, result.started)
    head = log_head(result.run_id, result.started, terminal.typed)
    text = plain([head, "", *summary_view(result, request, terminal.typed)])
    document = dumps(change_texts({"version": 1, **summary_json(result, request)}, redact))
    try:
        keep_log(request.state, f"{name}.txt", redact(text))
        keep_log(request.state, f"{name}.json", f"{document}\n")
    except (StorageError, OSError) as error:
        terminal.warn(f"this summary could not be kept: {getattr(error, 'message', error)}")


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
