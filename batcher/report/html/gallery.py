"""The gallery's jobs as JSON for the page's script: texts that many jobs share stand there once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from batcher.catalog import get_model, model_ids
from batcher.fs import leads_inside
from batcher.jobs import ParamValue
from batcher.ledger.queries.gallery import Card

#: What of a card is a number of a place in the list of that name, for many jobs share it.
_SHARED = ("campaign", "name", "model", "prompt", "params", "reference", "message")
# What could end the script's element, or a line of a script; and what UTF-8 has no bytes for.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Links:
    """How the page finds the files of results: relative to its own folder, so that both can move together."""

    state: Path
    page: Path

    def to(self, target: str) -> str | None:
        """The URL of a file below the state folder; None for one that lies elsewhere, which no run makes."""
        if not leads_inside(self.state, target):
            return None
        relative = os.path.relpath(self.state / target, self.page)
        return "./" + quote(os.fsencode(Path(relative).as_posix()), safe="/")

    @classmethod
    def between(cls, state: Path, page: Path) -> Links:
        """From the folder of the file `page` to those below the folder `state`, wherever links lead."""
        return cls(state.resolve(), page.parent.resolve())


class _Shared:
    """Texts in the order in which they came, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self.values: list[Any] = []

    def place(self, value: Any) -> int:
        key = json.dumps(value)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def data(
    found: Iterable[Card], *, links: Links, campaigns: Iterable[str], ledger_id: str, words: str
) -> dict[str, Any]:
    """What the script knows: the jobs, and what it needs to write a manifest and commands.

    `campaigns` are all of the ledger, whose names a new manifest must not take. `words` is what a command line needs to
    find this state folder.
    """
    shared = {name: _Shared() for name in _SHARED}
    rows = [_row(card, shared, links) for card in found]
    models = shared["model"].values
    return {
        "version": 1,
        # Marks are kept by ledger. Not its id: what goes into keys of purchases does not leave the ledger.
        "ledger": hashlib.sha256(f"report {ledger_id}".encode()).hexdigest()[:16],
        "campaigns": list(campaigns),
        "words": words,
        "defaults": {model: defaults(model) for model in models},
        "shared": {name: texts.values for name, texts in shared.items()},
        "columns": Card._fields,
        "rows": rows,
    }


def _row(card: Card, shared: dict[str, _Shared], links: Links) -> list[Any]:
    linked = card._replace(files=[link for link in map(links.to, card.files) if link])
    return [shared[name].place(value) if name in shared else value for name, value in linked._asdict().items()]


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
