"""What a shell offers for the words of a command: campaigns and jobs of the ledger, models of the catalogue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from batcher.errors import BatcherError

_CAMPAIGN, _JOB, _MODEL = "CAMPAIGN", "JOB", "MODEL"
#: Jobs that are offered at most.
_JOBS = 200


class _Known(click.types.StringParamType):
    """A word of which some are known; it takes any other too."""

    def __init__(self, kinds: list[str]) -> None:
        self._kinds = kinds

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The known words that begin so; none where there is no ledger to ask."""
        del param
        try:
            return [CompletionItem(word, help=about) for word, about in self._words(ctx) if word.startswith(incomplete)]
        except BatcherError:
            return []

    def _words(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        if _MODEL in self._kinds:
            from batcher.catalog import model_ids

            yield from ((model_id, "") for model_id in model_ids())
            return
        from batcher.jobs import SHORT_ID
        from batcher.ledger.queries import jobs
        from batcher.state import open_reader

        reader = open_reader(Path(ctx.params.get("state") or os.environ.get("BATCHER_STATE") or "state"))
        if reader is None:
            return
        with closing(reader):
            if _CAMPAIGN in self._kinds:
                yield from ((name, "campaign") for name in sorted(reader.counts()))
            if _JOB in self._kinds:
                yield from ((row["id"][:SHORT_ID], row["name"]) for row in jobs.jobs(reader, limit=_JOBS))


def teach(command: click.Command) -> None:
    """Let a command's words be completed, as its metavars name them."""
    for param in command.params:
        words = (param.metavar or (param.name or "").upper()).strip("[].").removesuffix("...").split("|")
        kinds = [word for word in words if word in (_CAMPAIGN, _JOB, _MODEL)]
        if param.name in ("campaign", "campaigns"):
            kinds = [_CAMPAIGN]
        if kinds:
            param.type = _Known(kinds)
