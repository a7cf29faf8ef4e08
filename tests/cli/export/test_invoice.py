"""Invoices: settled credits as money, to the last coin."""

from __future__ import annotations

import csv
import io
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from cli.helpers import Cli
from support import Bench

COLUMNS = ["account", "unit", "what", "purchases", "files", "credits", "price", "amount", "currency"]
PRICED = ("report", "--invoice", "--price", "0.02", "--currency", "EUR")


def edit(bench: Bench, *statements: str) -> None:
    with closing(sqlite3.connect(bench.ledger_path)) as db, db:
        for sql in statements:
            db.execute(sql)


def rows(cli: Cli, *words: str) -> list[dict[str, str]]:
    ran = cli(*words)
    assert ran.code == 0, ran.err
    return list(csv.DictReader(io.StringIO(ran.out)))


def test_lines_are_what_was_settled_and_nothing_is_lost(bench: Bench, cli: Cli) -> None:
    # a failure that was charged
    edit(bench, "UPDATE attempts SET final_credits = 7 WHERE outcome = 'failed' AND error_code <> 'x'")
    found = rows(cli, *PRICED, "--by", "campaign,prompt")
    assert list(found[0]) == ["campaign", "prompt", *COLUMNS]
    truth = cli("report", "--json").document["total"]["credits"]
    assert sum(int(row["credits"]) for row in found) == truth["settled"] > 0
    assert all(Decimal(row["amount"]) == int(row["credits"]) * Decimal("0.02") for row in found)
    with_file = [row for row in found if row["what"] == "with a file"]
    without = [row for row in found if row["what"] == "charged without a file"]
    assert len(with_file) + len(without) == len(found)
    assert sum(int(row["files"]) for row in with_file) == 5
    assert {row["prompt"] for row in without} >= {"storm"}
    assert all(row["files"] == "0" for row in without)
    # held is not invoiced, and that is told
    assert f"{truth['held']} of rivya are held and not invoiced" in cli(*PRICED).err
    assert "doubt" not in {row["prompt"] for row in found}


@pytest.mark.parametrize(
    ("price", "currency", "credits_", "amount"),
    [
        ("0.02", "EUR", 10, "0.20"),
        ("0.005", "EUR", 1, "0.01"),  # half up, not to the even one
        ("0.005", "EUR", 3, "0.02"),
        ("0.1", "EUR", 3, "0.30"),  # not 0.30000000000000004
        ("1.15", "JPY", 10, "12"),
        ("0.0125", "KWD", 3, "0.038"),
        ("999999999999.999999999999", "EUR", 9007199254740993, "9007199254740992999999990992.80"),
        ("0", "USD", 10, "0.00"),
    ],
)
def test_money_is_exact(bench: Bench, cli: Cli, price: str, currency: str, credits_: int, amount: str) -> None:
    edit(bench, f"UPDATE attempts SET final_credits = {credits_} WHERE job_id LIKE '4886b0201564%'")
    words = ("report", "--invoice", "--price", price, "--currency", currency, "--campaign", "autumn")
    assert [row["amount"] for row in rows(cli, *words)] == [amount]
    document = cli(*words, "--json").document
    assert document["totals"] == [
        {"account": "rivya", "unit": "credits", "credits": credits_, "amount": amount},
    ]


def test_accounts_and_units_are_never_added(bench: Bench, cli: Cli) -> None:
    edit(
        bench,
        "INSERT INTO accounts SELECT 'https://b.test x', provider, unit FROM accounts",
        "INSERT INTO accounts VALUES ('https://c.test y', 'higgsfield', 'hundredths')",
        "UPDATE attempts SET account = 'https://b.test x' WHERE id = 1",
        "UPDATE attempts SET account = 'https://c.test y' WHERE id = 2",
    )
    ran = cli(*PRICED)
    assert (ran.code, ran.out) == (2, "")
    assert "one price for the credits of higgsfield and rivya" in ran.err
    found = rows(cli, *PRICED, "--price", "higgsfield=0.0005", "--by", "campaign")
    assert [(row["campaign"], row["account"], row["unit"], row["price"]) for row in found] == [
        ("autumn", "rivya", "credits", "0.02"),
        ("spring", "higgsfield", "hundredths", "0.0005"),
        ("spring", "rivya", "credits", "0.02"),
        ("spring", "rivya 2", "credits", "0.02"),
    ]
    assert "https://" not in str(found)  # whose key it is, is nobody's business
    document = cli(*PRICED, "--price", "higgsfield=0.0005", "--json").document
    assert [each["account"] for each in document["totals"]] == ["rivya", "higgsfield", "rivya 2"]


def test_a_page_has_a_sheet_for_each_who_gets_one(bench: Bench, cli: Cli) -> None:
    ran = cli(*PRICED, "--by", "campaign,prompt", "--html", "invoice.html")
    assert (ran.code, ran.out) == (0, "")
    text = Path("invoice.html").read_text("utf-8")
    sheets = text.split("<section>")[1:]
    assert ["autumn" in sheet for sheet in sheets] == [True, False]
    assert ["spring" in sheet for sheet in sheets] == [False, True]
    assert "script-src &#39;none&#39;" in text
    for secret in ("127.0.0.1", "held", str(bench.folder)):
        assert secret not in text
    assert cli(*PRICED, "--html", "invoice.html").code == 0  # over its own
    Path("mine.html").write_text("mine")
    assert "is no report of batcher" in cli(*PRICED, "--html", "mine.html").err


def test_a_file_is_new_and_whole(bench: Bench, cli: Cli) -> None:
    whole = cli(*PRICED).out
    assert (cli(*PRICED, "--output", "-").out, cli(*PRICED, "-o", "i.csv").out) == (whole, "")
    assert Path("i.csv").read_text("utf-8") == whole
    ran = cli(*PRICED, "--output", "i.csv")
    assert (ran.code, "exists already" in ran.err) == (2, True)
    assert "kept in the state folder" in cli(*PRICED, "--output", "state/results/spring/i.csv").err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--invoice", "--currency", "EUR"], "an invoice needs a price"),
        (["--invoice", "--price", "0.02"], "an invoice needs a currency"),
        (["--invoice", "--price", "0,02", "--currency", "EUR"], "--price 0,02: no price"),
        (["--invoice", "--price", "1e9", "--currency", "EUR"], "no price"),
        (["--invoice", "--price", "NaN", "--currency", "EUR"], "no price"),
        (["--invoice", "--price", "-1", "--currency", "EUR"], "no price"),
        (["--invoice", "--price", "1", "--price", "2", "--currency", "EUR"], "was given already"),
        (["--invoice", "--price", "fal=1", "--currency", "EUR"], "there is no price for a credit of rivya"),
        (["--invoice", "--price", "1", "--currency", "euro"], "--currency euro: no currency"),
        (["--invoice", "--price", "1", "--currency", "EUR", "--timeline"], "--invoice goes with neither"),
        (["--invoice", "--price", "1", "--currency", "EUR", "--html", "x.html", "-o", "x"], "--output is for the CSV"),
        (["--price", "1"], "belong to --invoice"),
        (["--invoice", "--price", "1", "--currency", "EUR", "--where", "client=x"], "no job has such a param"),
    ],
)
def test_what_cannot_be_had(bench: Bench, cli: Cli, words: list[str], why: str) -> None:
    before = sorted(Path().iterdir())
    ran = cli("report", *words)
    assert (ran.code, ran.out) == (2, "")
    assert why in ran.err
    assert sorted(Path().iterdir()) == before
