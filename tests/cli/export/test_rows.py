"""`batcher export`: every row of every table, in both formats; whole files; nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from cli.export.helpers import held_to, plain, steady
from cli.helpers import BATCHER, ROOT, Cli
from core_helpers import Shelf, make_spec, make_task
from support import Bench

from batcher.cli.app import main
from batcher.errors import StorageError
from batcher.fs import whole_file
from batcher.ledger import LedgerReader
from batcher.ledger.queries import export
from batcher.ledger.queries.spend import Scope
from batcher.report.table import csv_lines, jsonl_rows

NAMES = "SELECT id AS job_id, campaign, name FROM wanted"
#: The same rows, asked for by hand.
BY_HAND = {
    "jobs": "SELECT * FROM jobs ORDER BY campaign, position",
    "attempts": "SELECT a.*, w.campaign, w.name, CASE WHEN final_credits IS NULL THEN hold_credits ELSE"
    " 0 END AS held_credits FROM attempts a, wanted w"
    " WHERE w.id = a.job_id ORDER BY a.id",
    "events": f"SELECT e.*, n.campaign, n.name FROM events e LEFT JOIN ({NAMES}) n ON n.job_id = e.job_id"
    " ORDER BY e.id",
    "files": f"SELECT f.*, a.job_id, n.campaign, n.name FROM files f JOIN attempts a ON a.id = f.attempt_id"
    f" JOIN ({NAMES}) n ON n.job_id = a.job_id ORDER BY f.attempt_id, f.number",
    "runs": "SELECT * FROM runs ORDER BY id",
    "uploads": "SELECT * FROM uploads",
}
FORMULAS = ("=", "+", "-", "@", "\t")


def jsonl(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def as_stored(row: dict[str, Any]) -> dict[str, Any]:
    """A row of JSONL as SQLite has it, but for the white space in its JSON."""
    stored = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}
    if "body" in stored:
        stored["body"] = stored["body"].encode()
        stored["maybe_received"] = int(stored["maybe_received"])
    return stored


@pytest.mark.parametrize("what", BY_HAND)
def test_jsonl_has_every_row_as_it_is(bench: Bench, cli: Cli, what: str) -> None:
    ran = cli("export", what, "--format", "jsonl")
    expected = plain(bench, BY_HAND[what])
    assert (ran.code, ran.err) == (0, "")
    assert [as_stored(row) for row in jsonl(ran.out)] == expected
    assert expected


@pytest.mark.parametrize("what", BY_HAND)
def test_csv_has_the_same_cells(bench: Bench, cli: Cli, what: str) -> None:
    table = list(csv.DictReader(io.StringIO(cli("export", what).out)))
    rows = jsonl(cli("export", what, "--format", "jsonl").out)
    assert [list(row) for row in table] == [list(row) for row in rows]
    for cells, row in zip(table, rows, strict=True):
        for name, value in row.items():
            if isinstance(value, str):
                assert cells[name] == ("'" if value.startswith(FORMULAS) else "") + value
            elif value is None:
                assert cells[name] == ""
            else:
                assert json.loads(cells[name]) == value


def test_no_cell_is_a_formula_and_jsonl_is_raw(bench: Bench, cli: Cli) -> None:
    prompts = [job["prompt"] for job in bench.jobs() if job["prompt"].startswith(FORMULAS)]
    assert {prompt[0] for prompt in prompts} == {"=", "+", "-", "@"}
    table = csv.reader(io.StringIO(cli("export", "jobs").out))
    assert not [cell for row in table for cell in row if cell.startswith(FORMULAS)]
    assert {row["prompt"] for row in jsonl(cli("export", "--format", "jsonl").out)} >= set(prompts)


def test_cells_of_every_kind() -> None:
    row = {"a": "\tx", "b": -5, "c": True, "d": None, "e": {"k": ["ü", 1]}, "f": 'say "a",\r\nb', "g": 0.5, "=h": "-1"}
    assert list(csv_lines(list(row), [list(row.values())])) == [
        "a,b,c,d,e,f,g,'=h",
        '\'\tx,-5,true,,"{""k"": [""ü"", 1]}","say ""a"",\r\nb",0.5,\'-1',
    ]
    assert [*csv_lines(["a"], [["two\nlines"], ["a\rb"]])][1:] == ['"two\nlines"', '"a\rb"']
    assert [json.loads(line) for line in jsonl_rows([row, {"x": "\u2028\n"}])] == [row, {"x": "\u2028\n"}]
    assert all(line.isascii() and "\n" not in line for line in jsonl_rows([{"x": "\u2028\n\x85"}]))


def test_what_is_exported_adds_up(bench: Bench, cli: Cli) -> None:
    table = list(csv.DictReader(io.StringIO(cli("export", "attempts").out)))
    with bench.reader() as read:
        sums = read.spent()
    assert (sums.held, sums.settled) == (15, 60)
    assert sum(int(row["held_credits"]) for row in table) == sums.held
    assert sum(int(row["final_credits"] or 0) for row in table) == sums.settled


@pytest.mark.parametrize(("reserved", "held"), [(None, 10), (14, 14), (0, 10)])
def test_what_is_held_is_the_largest_of_quote_and_reserve(tmp_path: Path, reserved: int | None, held: int) -> None:
    shelf = Shelf(tmp_path / "ledger.db")
    shelf.enrol([make_spec(1)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1, reserved_credits=reserved, final_credits=None))
    (row,) = export.sheet(shelf.ledger.read, "attempts", Scope())
    assert (row["held_credits"], row["quoted_credits"], row["reserved_credits"]) == (held, 10, reserved)
    assert shelf.ledger.read.spent().held == held
    shelf.ledger.close()


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        ("jobs.csv", ["export", "jobs"]),
        ("jobs.jsonl", ["export", "jobs", "--format", "jsonl"]),
        ("attempts.csv", ["export", "attempts", "--campaign", "spring", "--since", "2027-01-16T08:00Z"]),
    ],
)
def test_snapshots(bench: Bench, cli: Cli, story: Path, snapshot: str, words: list[str]) -> None:
    held_to(snapshot, steady(cli(*words).out, story))


def test_a_snapshot_of_events(bench: Bench, cli: Cli) -> None:
    told = cli("export", "events", "--format", "jsonl").out.splitlines(keepends=True)
    held_to("events.jsonl", steady("".join(line for line in told if '"name": "doubt"' in line)))


# Filters


def ids(text: str, name: str = "id") -> list[Any]:
    return [row[name] for row in jsonl(text)]


@pytest.mark.parametrize(
    ("what", "rows", "named"),
    [
        ("jobs", ["autumn"], "campaign"),
        ("attempts", ["autumn"], "campaign"),
        ("files", ["autumn"], "campaign"),
        ("runs", [["spring", "autumn"]], "campaigns"),
    ],
)
def test_of_one_campaign(bench: Bench, cli: Cli, what: str, rows: list[Any], named: str) -> None:
    assert ids(cli("export", what, "--format", "jsonl", "--campaign", "autumn").out, named) == rows
    both = cli("export", what, "--format", "jsonl", "--campaign", "autumn", "--campaign", "spring").out
    every = cli("export", what, "--format", "jsonl").out
    assert jsonl(both) == jsonl(every)


def test_events_of_one_campaign(bench: Bench, cli: Cli) -> None:
    every = jsonl(cli("export", "events", "--format", "jsonl").out)
    one = jsonl(cli("export", "events", "--format", "jsonl", "--campaign", "autumn").out)
    both = jsonl(cli("export", "events", "--format", "jsonl", "--campaign", "autumn", "--campaign", "spring").out)
    assert one == [row for row in every if row["campaign"] == "autumn"]
    assert {row["event"] for row in one} >= {"planned", "intended", "succeeded", "saved"}
    # What happened to a run as a whole is no campaign's.
    assert both == [row for row in every if row["job_id"]]


def test_by_time(bench: Bench, cli: Cli) -> None:
    second = "2027-01-16T08:00:00Z"
    assert ids(cli("export", "attempts", "--format", "jsonl", "--since", second).out) == [6, 7, 8]
    assert ids(cli("export", "attempts", "--format", "jsonl", "--until", second).out) == [1, 2, 3, 4, 5]
    moved = cli("export", "jobs", "--format", "jsonl", "--since", second).out
    assert ids(moved, "name") == ["leaf", "storm", "doubt", "later"]
    assert ids(cli("export", "runs", "--format", "jsonl", "--since", "2027-01-16", "--until", "2027-01-16").out) == [
        2,
        3,
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["uploads", "--campaign", "spring"], "uploads belong to no campaign"),
        (["jobs", "--campaign", "sprung"], "there is no campaign 'sprung'"),
        (["jobs", "--since", "yesterday"], "'yesterday' is not a time"),
        (["sqlite"], "a copy needs a file"),
        (["sqlite", "--output", "x.db", "--campaign", "spring"], "a copy is of the whole ledger"),
        (["cakes"], "'cakes' is not one of"),
        (["--bom", "--format", "jsonl"], "--bom goes with CSV only"),
        (["sqlite", "--bom", "--output", "x.db"], "--bom goes with CSV only"),
    ],
)
def test_what_cannot_be_had(bench: Bench, cli: Cli, words: list[str], message: str) -> None:
    ran = cli("export", *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert not Path("x.db").exists()


# Files


def test_a_bom_for_excel(bench: Bench, cli: Cli) -> None:
    """In each CSV: Excel takes a file without one for the text of an old Windows."""
    for words in (["export"], ["report", "--format", "csv"], ["plan", "m.yaml", "--format", "csv"]):
        Path("m.yaml").write_text("campaign: new\nmodel: grok-imagine-video\nprompts: [شہر]\n", "utf-8")
        assert cli(*words, "--bom").out == "\ufeff" + cli(*words).out
    assert cli("export", "--bom", "-o", "jobs.csv").code == 0
    assert Path("jobs.csv").read_bytes()[:4] == b"\xef\xbb\xbfi"
    for words in (["report"], ["plan", "m.yaml"]):
        ran = cli(*words, "--bom")
        assert (ran.code, ran.out) == (2, "")


def test_into_a_file(bench: Bench, cli: Cli) -> None:
    before = set(Path().iterdir())
    ran = cli("export", "-o", "jobs.jsonl")
    assert (ran.code, ran.out, ran.err) == (0, "", "8 rows of jobs in jobs.jsonl.\n")
    assert Path("jobs.jsonl").read_text("utf-8") == cli("export", "--format", "jsonl").out
    ran = cli("export", "-o", "jobs.jsonl", "--format", "csv")
    assert (ran.code, ran.err) == (2, "error: jobs.jsonl exists already\nIt stays as it is; --force takes its place.\n")
    assert len(jsonl(Path("jobs.jsonl").read_text("utf-8"))) == 8
    assert cli("export", "-o", "jobs.jsonl", "--format", "csv", "--force").code == 0
    with Path("jobs.jsonl").open(encoding="utf-8", newline="") as file:
        assert file.read() == cli("export").out
    assert set(Path().iterdir()) - before == {Path("jobs.jsonl")}
    assert cli("export", "-o", "state", "--force").code == 2
    assert cli("export", "-o", "no/where.csv").code == 2
    assert Path("state").is_dir()


class Broken(Exception):
    """What came while a file was written."""


def contents(state: Path) -> list[tuple[Path, bytes]]:
    """All files, but what SQLite makes anew for every reader, which is empty."""
    found = [(p, p.read_bytes()) for p in sorted(state.rglob("*")) if p.is_file() and not p.name.endswith("-shm")]
    return [(path, content) for path, content in found if content or not path.name.endswith("-wal")]


@pytest.mark.parametrize("what", ["jobs", "sqlite"])
@pytest.mark.parametrize(
    "where", ["ledger.db", "ledger.db-wal", "run.lock", "results/spring/new.csv", "link", "hard", "no/x"]
)
def test_nothing_takes_the_place_of_what_the_state_folder_keeps(bench: Bench, cli: Cli, what: str, where: str) -> None:
    state = bench.state
    (state / "link").symlink_to("ledger.db")
    (state / "run.lock").touch()
    (state / "hard").hardlink_to(state / "run.lock")  # a ledger with two names is opened by nobody
    before = contents(state)
    ran = cli("export", what, "--output", f"state/{where}", "--force")
    assert ran.code == 2
    assert ("is kept in the state folder" in ran.err) is (where != "no/x")
    assert ("there is no folder" in ran.err) is (where == "no/x")
    assert contents(state) == before


def write(path: Path, text: str, *, replace: bool = False, then: Callable[[], object] = lambda: None) -> None:
    with whole_file(path, replace=replace) as part:
        part.write_text(text)
        then()


def broken() -> None:
    raise Broken


def test_a_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(Broken):
        write(path, "half", then=broken)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileExistsError):
        write(path, "mine", then=lambda: path.write_text("somebody came first"))
    assert path.read_text() == "somebody came first"
    with pytest.raises(Broken):
        write(path, "half", replace=True, then=broken)
    assert path.read_text() == "somebody came first"
    write(path, "whole", replace=True)
    assert path.read_text() == "whole"
    with pytest.raises(StorageError):
        write(tmp_path / "no" / "b.csv", "x")
    assert list(tmp_path.iterdir()) == [path]


def test_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for private, mode in ((False, 0o640), (True, 0o600)):
            path = tmp_path / str(private)
            with whole_file(path, private=private) as part:
                assert part.stat().st_mode & 0o777 == mode  # from the beginning
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("words", [["export"], ["export", "--format", "jsonl"], ["results", "spring"]])
def test_a_terminal_gets_nothing_that_it_would_obey(
    bench: Bench, cli: Cli, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    with closing(sqlite3.connect(bench.ledger_path)) as db, db:
        db.execute("UPDATE wanted SET prompt = ?", ("a\x1b[31mb\x7f",))
        db.execute("UPDATE files SET target = 'results/\x1b[2J' || attempt_id")
    assert "\x1b" in cli("export", "jobs").out
    monkeypatch.setattr(sys, "stdout", Tty())
    assert main(words) == 0
    written = cast(Tty, sys.stdout).getvalue()
    assert "\x1b" not in written
    assert "\x7f" not in written
    assert ("1b[2J" if words[0] == "results" else "1b[31mb") in written


# Many rows


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("many")
    shelf = Shelf(state / "ledger.db")
    shelf.enrol(make_spec(number, prompt="größer " * 50) for number in range(4_000))
    shelf.ledger.close()
    return state


@pytest.mark.parametrize(
    "form", [lambda rows: csv_lines(["id", "prompt"], ([row["id"], row["prompt"]] for row in rows)), jsonl_rows]
)
def test_memory_stays_flat(many: Path, form: Callable[[Any], Any]) -> None:
    with closing(LedgerReader.open(many / "ledger.db")) as read:
        tracemalloc.start()
        try:
            size = sum(len(line) for line in form(export.sheet(read, "jobs", Scope())))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert size > 1_000_000
    assert peak < 300_000


@pytest.mark.parametrize("words", [["export"], ["export", "events", "--format", "jsonl"]])
def test_a_reader_that_goes_away_is_no_error(many: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [*BATCHER, *words, "--state", str(many)], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    with process:
        os.close(writer)
        assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_it_is_utf8_whatever_the_terminal_speaks(many: Path) -> None:
    done = subprocess.run(
        [*BATCHER, "export", "--state", str(many)],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.decode("utf-8").count("größer ") >= 4_000 * 49
