"""The gallery's jobs as JSON for the page's script: texts that many jobs share stand there once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from batcher.catalog import get_model, model_ids
from batcher.fs import is_below, leads_inside, look
from batcher.jobs import ParamValue
from batcher.ledger.queries.gallery import Card

#: What of a card is a number of a place in the list of that name, for many jobs share it.
_SHARED = ("campaign", "name", "model", "prompt", "params", "vars", "tags", "references", "message")
#: What of a card is for the ledger's owner alone: what it cost, how it went, how it is told apart from other clients'.
OWN = ("tags", "attempts", "settled", "held", "task", "code", "message", "finished", "wait")
# What could end the script's element, or a line of a script; and what UTF-8 has no bytes for.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Links:
    """How the page finds the files of results: relative to its own folder, so that both can move together."""

    state: Path
    page: Path
    #: Whether a folder below the state folder is in it, wherever links lead: asked once for all of its files.
    _inside: dict[str, bool] = field(default_factory=dict, repr=False)

    def to(self, target: str, size: int | None = None) -> str | None:
        """The URL of a file below the state folder; None for one that lies elsewhere, which no run makes.

        None, too, where no file of `size` bytes is there (any more).
        """
        if size is None:
            shown = leads_inside(self.state, target)
        else:  # a file of that size is no link itself
            shown = is_below(target) and self._holds(target.rpartition("/")[0]) and not look(self.state, target, size)
        if not shown:
            return None
        relative = os.path.normpath(f"{os.path.relpath(self.state, self.page)}/{target}")
        return "./" + quote(os.fsencode(relative), safe="/")

    def _holds(self, folder: str) -> bool:
        if folder not in self._inside:
            self._inside[folder] = not folder or leads_inside(self.state, folder)
        return self._inside[folder]

    @classmethod
    def between(cls, state: Path, page: Path) -> Links:
        """From the folder of the file `page` to those below the folder `state`, wherever links lead."""
        return cls(state.resolve(), page.parent.resolve())


class _Shared:
    """Texts in the order in which they came, each once."""

    def __init__(self) -> None:
        self._places: dict[str | tuple[str], int] = {}
        self.values: list[Any] = []

    def place(self, value: Any) -> int:
        key = (value,) if isinstance(value, str) else json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


#: The URL of a file, by its path below the state folder and its size in bytes; None for one that cannot be shown.
Link = Callable[[str, int], str | None]


def data(found: Iterable[Card], *, link: Link, ledger_id: str, without: Collection[str] = ()) -> dict[str, Any]:
    """What the script knows of the jobs, but for the columns `without`."""
    columns = [name for name in (*Card._fields, "gone") if name not in without]
    shared = {name: _Shared() for name in _SHARED if name in columns}
    rows = [
        [shared[name].place(row[name]) if name in shared else row[name] for name in columns]
        for row in _rows(found, link)
    ]
    models = shared["model"].values
    return {
        "version": 1,
        # Marks are kept by ledger. Not its id: what goes into keys of purchases does not leave the ledger.
        "ledger": hashlib.sha256(f"report {ledger_id}".encode()).hexdigest()[:16],
        "defaults": {model: defaults(model) for model in models},
        "shared": {name: texts.values for name, texts in shared.items()},
        "columns": columns,
        "rows": rows,
    }


def _rows(found: Iterable[Card], link: Link) -> Iterator[dict[str, Any]]:
    for card in found:
        links = [link(str(file["target"]), int(file["size"])) for file in card.files]
        sources = [
            [each["job"], link(each["target"], each["size"]) if each["target"] else None] for each in card.sources
        ]
        yield card._asdict() | {
            "files": [each for each in links if each],
            "gone": int(None in links),
            "sources": sources,
        }


def fresh(campaigns: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """For each campaign a name for one that is made from it, which none has; the page need not know the others."""
    return {name: next(each for each in _names(name) if each not in taken) for name in campaigns}


def _names(campaign: str) -> Iterator[str]:
    for number in count(1):
        end = "-more" if number == 1 else f"-more-{number}"
        yield campaign[: 64 - len(end)] + end


@cache
def defaults(model_id: str) -> dict[str, ParamValue]:
    """What a job of this model has where it sets nothing; nothing is known of a model that has left the catalogue."""
    if model_id not in model_ids():
        return {}
    model = get_model(model_id)
    return {name: value for name in model.params if (value := model.default(name)) is not None}


def script_json(value: Any) -> str:
    """JSON that may stand in an element of a page's script: it holds nothing that HTML would take for markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
