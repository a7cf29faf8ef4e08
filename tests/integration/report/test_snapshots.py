"""The story in every form, to the letter. After a wanted change: read what differs, then write the files anew."""

from __future__ import annotations

import json
import re
from pathlib import Path

from integration.report.helpers import report_of, shown
from support import Bench

from batcher.clock import iso
from batcher.report.document import csv_headers, csv_rows, report_json, rows_json
from batcher.report.table import csv_lines
from batcher.report.wallet import reconcile

EXPECTED = Path(__file__).parent / "expected"


def same(text: str, name: str) -> None:
    # The numbers of requests depend on which of two goes first.
    assert re.sub(r"req_\d+", "req_0", text) == (EXPECTED / name).read_text("utf-8")


def test_text(told: Bench) -> None:
    same(shown(report_of(told), 120), "report.txt")


def test_text_on_a_narrow_terminal(told: Bench) -> None:
    text = shown(report_of(told, by=["day", "mode"], since="2027-01-16", campaigns=["spring"], running=True), 80)
    assert max(map(len, text.splitlines())) <= 80
    same(text, "narrow.txt")


def test_json(told: Bench) -> None:
    report = report_of(told)
    with told.reader() as read:
        wallet = told.world.oracle().wallet
        at = iso(told.clock.wall() + 1)
        found = reconcile(read, account=told.provider().account.text, wallet=wallet, at=at)
    document = report_json(report, found) | {"rows": list(rows_json(report))}
    same(json.dumps(document, indent=2) + "\n", "report.json")


def test_csv(told: Bench) -> None:
    report = report_of(told, by=["day", "prompt", "mode"])
    same(
        "".join(f"{line}\n" for line in csv_lines(csv_headers(["day", "prompt", "mode"]), csv_rows(report))),
        "report.csv",
    )
