"""`batcher show`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from batcher.cli import options
from batcher.cli.console import columns
from batcher.cli.doubtful_jobs import doubtful_advice
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal, dumps, table
from batcher.jobs import SHORT_ID, Status
from batcher.ledger.queries import jobs
from batcher.measures import in_words
from batcher.text import moment, number, safe


@click.command(short_help="Show everything about one job.")
@click.argument("job")
@options.ledger
def command(terminal: Terminal, *, job: str, state: Path) -> int:
    """Show everything about JOB, which is named by any unambiguous beginning of its id."""
    with closing(need_reader(state)) as read:
        found = jobs.job(read, read.resolve(job))
    terminal.answer(found, *_view(found, state))
    return 0


def _view(found: dict[str, Any], state: Path) -> Iterator[RenderableType]:
    job = found["job"]
    yield Text.assemble(("Job ", "bold"), (job["id"], "bold"))
    yield _pairs(
        ("status", job["status"]),
        ("campaign", job["campaign"]),
        ("name", f"{job['name']}, take {job['take']}"),
        ("model", job["model"]),
        ("prompt", job["prompt"]),
        ("params", _pairs_text(job["params"]) or "the model's defaults"),
        ("reference", "\n".join(job["references"] or [])),
        ("vars", _pairs_text(job["vars"])),
        ("tags", _pairs_text(job["tags"])),
        ("file", job["result_path"] and str(state / job["result_path"])),
        ("error", _error(job)),
        ("updated", moment(job["updated_at"])),
    )
    if job["status"] == Status.DOUBTFUL:
        yield Text(
            f"Doubtful: nobody can know whether the API charged this: {safe(_error(job) or 'no reason is known')}."
            " Its credits stay held.",
            "yellow",
        )
        yield Text(doubtful_advice(job["id"][:SHORT_ID], state), "bold cyan")
    for attempt in found["attempts"]:
        yield ""
        yield from _attempt(attempt, state)
    yield ""
    yield table(
        ("when", "run", "attempt", "event", "detail"),
        (
            (moment(e["at"]), str(e["run_id"] or ""), str(e["attempt"] or ""), e["event"], _detail(e["detail"]))
            for e in found["events"]
        ),
        right=("run", "attempt"),
    )


def _attempt(attempt: dict[str, Any], state: Path) -> Iterator[RenderableType]:
    final = attempt["final_credits"]
    credits_ = [f"{number(attempt['quoted_credits'])} quoted"]
    if attempt["reserved_credits"] is not None:
        credits_.append(f"{number(attempt['reserved_credits'])} reserved by the API")
    credits_.append(f"{number(attempt['held_credits'])} held" if final is None else f"{number(final)} settled")
    yield Text(f"Attempt {attempt['number']}", "bold")
    yield _pairs(
        ("outcome", attempt["outcome"] or "open"),
        ("credits", ", ".join(credits_)),
        ("task", attempt["task_id"]),
        ("API says", attempt["api_status"]),
        ("error", _error(attempt)),
        ("maybe received", "yes: a sending of it ended without an answer" if attempt["maybe_received"] else ""),
        ("account", attempt["account"]),
        ("key", attempt["idempotency_key"]),
        ("client_request_id", attempt["client_request_id"]),
        ("intended", moment(attempt["intended_at"])),
        ("submitted", moment(attempt["submitted_at"])),
        ("finished", moment(attempt["finished_at"])),
        *(("result URL", url) for url in attempt["result_urls"]),
        *(("file", _file(file, state)) for file in attempt["files"]),
        ("body", dumps(attempt["body"])),
    )


def _file(file: dict[str, Any], state: Path) -> str:
    if file["forgotten_at"]:
        return "not wanted any more"
    if file["saved_at"] is None:
        if file["unverified"]:
            return (
                f"nobody can tell whether it is whole: {state / file['unverified']}; `batcher fetch --accept` takes it"
            )
        return "not fetched yet"
    if file["target"] is None:
        return "its path in the ledger leads out of the state folder"
    measures = (
        f"{file['seconds']:g} s" if file["seconds"] else "",
        f"{file['width']}×{file['height']}" if file["width"] else "",
        f"not as asked for: {in_words(file['differs'])}" if file["differs"] else "",
    )
    facts = (f"{number(file['size'])} bytes", *filter(None, measures), f"sha256 {file['sha256']}")
    return f"{state / file['target']}, {', '.join(facts)}"


def _pairs(*pairs: tuple[str, object]) -> Table:
    """Names and values, a line each; empty values are left out."""
    shown = [(Text(f"  {name}", "dim"), safe(value, lines=True)) for name, value in pairs if value not in (None, "")]
    return columns(*shown)


def _error(row: dict[str, Any]) -> str:
    return ": ".join(filter(None, (row["error_code"], row["error_message"])))


def _pairs_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _detail(detail: Any) -> str:
    """`from → to` and what else the event knows."""
    if not isinstance(detail, dict):
        return str(detail)
    rest = [f"{name}={value}" for name, value in detail.items() if name not in ("from", "to") and value is not None]
    moved = []
    if detail.get("to"):
        moved = [f"{detail['from']} → {detail['to']}" if detail.get("from") else str(detail["to"])]
    return ", ".join(moved + rest)
