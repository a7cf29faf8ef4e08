"""`batcher jobs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click

from batcher.cli import options
from batcher.cli.doubtful_jobs import resolve_command
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal
from batcher.ledger import LedgerReader
from batcher.ledger.queries import jobs
from batcher.ledger.queries.selectors import Condition
from batcher.measures import in_words
from batcher.statuses import SHORT_ID, Status
from batcher.text import count, safe, short

_HEADERS = ("id", "campaign", "name", "status", "attempt", "credits", "file or error")
_CAMPAIGN, _NAME, _ATTEMPT, _CREDITS = 1, 2, 4, 5
# So much of a prompt is shown beside a failure.
_PROMPT = 80
# The rows whose widths decide those of the columns; later ones that need more push their line to the right.
_MEASURED = 200


@click.command()
@click.option("--campaign", metavar="NAME", help="Only this campaign.")
@options.statuses(f"Only jobs with this status; repeatable. One of {', '.join(Status)}.")
@click.option("--name", metavar="GLOB", help="Only prompts with such a name.")
@options.where
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most so many.")
@options.ledger
def command(
    terminal: Terminal,
    *,
    state: Path,
    campaign: str | None,
    statuses: tuple[str, ...],
    name: str | None,
    conditions: tuple[str, ...],
    limit: int | None,
) -> int:
    """List jobs, in the order of their manifests. Credits in brackets are held, not settled."""
    with closing(need_reader(state)) as read:
        chosen = _chosen(read, campaign, name, conditions)
        found = jobs.jobs(read, campaign=campaign, statuses=statuses, conditions=chosen, limit=limit)
        if terminal.as_json:
            terminal.document_of("jobs", found)
        else:
            doubtful: list[str] = []
            last = _failure if statuses == (Status.FAILED,) else _came
            for line in aligned((_cells(row, last(row)) for row in _noting(found, doubtful)), terminal):
                terminal.line(line)
            if doubtful:
                terminal.flush()
                job = doubtful[0][:SHORT_ID] if len(doubtful) == 1 else "JOB"
                are = "is" if len(doubtful) == 1 else "are"
                terminal.say(f"{count(len(doubtful), 'job')} {are} doubtful; decide: {resolve_command(job, state)}")
    return 0


def _chosen(
    read: LedgerReader, campaign: str | None, name: str | None, conditions: Sequence[str]
) -> Sequence[Condition]:
    """What is asked for, if the ledger has it. Raises UsageError."""
    if not (campaign or name is not None or conditions):
        return ()
    from batcher.report import question  # brings the catalogue along, which takes a while

    question.check_campaigns(read, [campaign] if campaign else [])
    return question.choose(read, conditions, name=name)


def _noting(found: Iterator[dict[str, Any]], doubtful: list[str]) -> Iterator[dict[str, Any]]:
    """The same rows; the ids of doubtful ones go into the list."""
    for row in found:
        if row["status"] == Status.DOUBTFUL:
            doubtful.append(row["id"])
        yield row


def _cells(row: dict[str, Any], last: str) -> tuple[str, ...]:
    return (
        row["id"][:SHORT_ID],
        safe(row["campaign"]),
        safe(row["name"]),
        row["status"],
        str(row["attempt"] or ""),
        _credits(row),
        safe(last),
    )


def _came(row: dict[str, Any]) -> str:
    """Its file, and where that is not what was asked for; else why there is none."""
    if row["result_path"]:
        return " ".join(filter(None, (row["result_path"], row["differs"] and f"({in_words(row['differs'])})")))
    return ": ".join(filter(None, (row["error_code"], row["error_message"])))


def _failure(row: dict[str, Any]) -> str:
    """Why it failed, and what was asked for."""
    params = ", ".join(f"{name}={value}" for name, value in row["params"].items())
    return "; ".join(filter(None, (row["error_code"], short(row["prompt"], _PROMPT), params, row["error_message"])))


def _credits(row: dict[str, Any]) -> str:
    if row["final_credits"] is not None:
        return str(row["final_credits"])
    held = row["hold_credits"]
    return "" if held is None else f"({held})"


def aligned(rows: Iterator[tuple[str, ...]], terminal: Terminal) -> Iterator[str]:
    """Aligned columns; cut to the terminal's width, whole where the output goes elsewhere."""
    first = list(islice(rows, _MEASURED))
    widths = {at: max(map(width_of, column)) for at, column in enumerate(zip(_HEADERS, *first, strict=True))}
    room = terminal.room or 0
    if room:
        _squeeze(widths, room)
    for row in chain([_HEADERS], first, rows):
        line = "  ".join(_fit(row[at], width, at, bool(room)) for at, width in widths.items()).rstrip()
        if room and width_of(line) > room:
            line = _cut(line, row[-1] if len(_HEADERS) - 1 in widths else "", room)
        yield line


def _squeeze(widths: dict[int, int], room: int) -> None:
    """Make the columns fit, so that something of the last is seen. Ids, states and numbers are whole or left out."""
    last = len(_HEADERS) - 1

    def over(least: int) -> int:
        return sum(width + 2 for at, width in widths.items() if at != last) + least - room

    def cut_to(least: dict[int, int], seen: int) -> None:
        for at, width in least.items():
            if (many := over(seen)) > 0:
                widths[at] = max(min(width, widths[at]), widths[at] - many)

    cut_to({_NAME: 12, _CAMPAIGN: 8}, 20)
    if over(12) > 0:
        del widths[_ATTEMPT]
    if over(8) > 0:
        del widths[last]
        cut_to({_NAME: 5, _CAMPAIGN: 5}, -2)
    if over(-2) > 0 and last not in widths:
        del widths[_CAMPAIGN]


def _cut(line: str, last: str, room: int) -> str:
    """A line cut to the terminal's width: a path at its beginning, all else at the end."""
    kept = len(last) - (width_of(line) - room) - 1
    if "/" in last and " " not in last and kept > 0:
        return line.removesuffix(last) + "…" + last[-kept:]
    return cut(line, room - 1).rstrip() + "…"


def _fit(cell: str, width: int, place: int, narrow: bool) -> str:
    if place == len(_HEADERS) - 1:
        return cell
    length = width_of(cell)
    if length > width and narrow:
        return cut(cell, width - 1) + "…"
    space = " " * max(0, width - length)
    return space + cell if place in (_ATTEMPT, _CREDITS) else cell + space


def width_of(text: str) -> int:
    """How many columns of a terminal a text takes: some characters take two, some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """A text of exactly `width` columns: cut, or filled up with spaces."""
    if text.isascii():
        return text[:width].ljust(width)
    from rich.cells import set_cell_size

    return set_cell_size(text, width)
