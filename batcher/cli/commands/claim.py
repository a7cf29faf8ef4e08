"""`batcher claim`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from batcher.cli import options
from batcher.cli.open_ledger import need_reader
from batcher.cli.terminal import Terminal
from batcher.ledger.queries import jobs
from batcher.text import change_texts, safe

#: Of an event's detail: what the API answered.
_OF_FILES = ("size", "sha256", "saved_at", "seconds", "width", "height", "differs")
_SAID = ("code", "message", "request_id")
_QUERY = re.compile(r"(https?://[^\s?#\"']+)[?#][^\s\"']*")


@click.command(short_help="Write down what a support desk asks for about a job.")
@click.argument("words", metavar="JOB...", nargs=-1, required=True)
@options.ledger
def command(terminal: Terminal, *, words: tuple[str, ...], state: Path) -> int:
    """Write down what the API's support asks for about each JOB: ids, keys, times, the request as it was sent, what was
    charged and what came. Without the key of the API, without paths of this machine, and without what a result's URL
    needs to be fetched. Nothing is sent."""
    with closing(need_reader(state)) as read:
        found = [
            change_texts(_claim(jobs.job(read, job_id)), _unsigned)
            for job_id in dict.fromkeys(map(read.resolve, words))
        ]
    if terminal.as_json:
        terminal.document({"claims": found})
    else:
        for claim in found:
            for line in _lines(claim):
                terminal.line(safe(line))
    return 0


def _claim(found: dict[str, Any]) -> dict[str, Any]:
    """What is told of a job, as a JSON value."""
    job = found["job"]
    return {
        **{name: job[name] for name in ("id", "model", "status")},
        "purchases": [_purchase(attempt, found["events"]) for attempt in found["attempts"]],
    }


def _purchase(attempt: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    names = (
        *("client_request_id", "idempotency_key", "task_id", "intended_at", "submitted_at", "finished_at"),
        *("api_created_at", "api_updated_at", "api_status", "reserved_credits", "final_credits"),
        *("error_code", "error_message", "body"),
    )
    return {
        "api": attempt["account"].partition("#")[0],
        **{name: attempt[name] for name in names},
        "answers": list(_answers(attempt["number"], events)),
        "results": attempt["result_urls"],
        "files": [
            {name: file[name] for name in ("size", "sha256", "saved_at", "seconds", "width", "height", "differs")}
            for file in attempt["files"]
        ],
    }


def _answers(number: int, events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the API said when it did not say what was asked."""
    for event in events:
        detail = event["detail"]
        if event["attempt"] == number and isinstance(detail, dict) and detail.get("code"):
            yield {"at": event["at"], "event": event["event"], **{name: detail.get(name) for name in _SAID}}


def _unsigned(text: str) -> str:
    """URLs without their queries, for these may be all that is needed to fetch what they name."""
    return _QUERY.sub(r"\1?…", text)


def _lines(claim: dict[str, Any]) -> Iterator[str]:
    yield f"Job {claim['id']}, {claim['model']}: {claim['status']}"
    for number, purchase in enumerate(claim["purchases"], 1):
        yield f"Purchase {number}"
        for name, value in purchase.items():
            for each in value if isinstance(value, list) else [value]:
                if each not in (None, ""):
                    yield f"  {name}: {each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)}"
    if not claim["purchases"]:
        yield "Nothing was bought."
    yield ""
