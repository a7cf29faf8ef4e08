"""The gallery of a bundle: what a client may see of the jobs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from batcher.ledger.queries.gallery import Card

from . import gallery
from .shell import render

#: Jobs that have a card.
CARDS = 5000
_SCRIPTS = ("jobs.js", "films.js", "gallery.js", "chains.js", "marks.js", "keys.js")


def client_page(
    cards: Iterable[Card],
    *,
    links: Mapping[str, str],
    title: str,
    files: int,
    sheet: str,
    table: str,
    made: str,
    ledger_id: str,
) -> str:
    """The page. `links` has where a file lies beside it, by its path in the ledger; `made` is when it was made."""

    def link(target: str, _: int) -> str | None:
        return "./" + quote(links[target]) if target in links else None

    cards = list(cards)
    ids = {card.id for card in cards}
    shown = (
        card._replace(
            references=[_bare(each) for each in card.references],
            sources=[each for each in card.sources if each["job"] in ids],
        )
        for card in cards
    )
    data = gallery.data(shown, link=link, ledger_id=f"{ledger_id} for {title}", without=gallery.OWN)
    return render(
        "bundle.html.j2",
        scripts=_SCRIPTS,
        style="page.css",
        client=True,
        left_out=0,
        data=Markup(gallery.script_json(data)),  # noqa: S704  (has no markup)
        title=title,
        files=files,
        sheet=sheet,
        table=table,
        as_of=made,
    )


def _bare(reference: Mapping[str, Any]) -> dict[str, Any]:
    """A reference by its own name: a path or an address would tell where its owner keeps it."""
    text = str(reference["text"])
    return {"text": PurePosixPath(urlsplit(text).path if reference["url"] else text).name, "url": False}
