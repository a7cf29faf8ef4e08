"""`batcher models --sync`: the API's own list of models beside the catalogue, and files of what differs, for review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from batcher.catalog.sync import Synced, sync
from batcher.errors import UsageError
from batcher.fs import whole_file
from batcher.text import count, safe

from .environment import read_access
from .model_folder import model_folder
from .terminal import Terminal
from .wallet import ask_models

_HEAD = "# Made of the API's list of models by `batcher models --sync`: look it through, then move it one folder up.\n"


def show_sync(terminal: Terminal) -> int:
    """Ask the API, show what differs, and write a file of each model that does; the exit code."""
    folder = model_folder()
    if folder is None:
        raise UsageError("there is no folder for models of your own", hint="Set HOME or XDG_CONFIG_HOME.")
    found = [sync(entry) for entry in ask_models(read_access(terminal.warn))]
    review = folder / "review"
    rows = []
    for each in found:
        path = None
        if each.text:
            review.mkdir(parents=True, exist_ok=True)
            path = review / f"{each.id}.toml"
            with whole_file(path, replace=True) as part:
                part.write_text(_HEAD + each.text, "utf-8")
        rows.append({"id": each.id, "state": each.state, "notes": list(each.notes), "file": path and str(path)})
    written = sum(row["file"] is not None for row in rows)
    after = f"{count(written, 'file')} in {safe(review)}: look them through. One counts once it is in {safe(folder)}."
    terminal.answer({"sync": rows}, *_lines(found), *([after] if written else []))
    return 0


def _lines(found: list[Synced]) -> Iterator[str]:
    states = Counter(each.state for each in found)
    yield ", ".join(f"{states[state]} {state}" for state in ("same", "changed", "new", "skipped") if states[state])
    for each in found:
        if each.state != "same":
            yield f"{safe(each.id)}: {each.state}"
            yield from (f"  {safe(note)}" for note in each.notes)
