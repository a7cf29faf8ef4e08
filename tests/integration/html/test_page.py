"""The page as a file: its sums are the simulator's truth, what is in it is text, and it asks for nothing."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from cli.helpers import Cli
from core_helpers import Shelf, make_spec
from integration.html.helpers import Parsed, copy_of, parse, words_of, write_page
from integration.report.helpers import report_of, shown, story
from support import Bench

from batcher.jobs import Status
from batcher.ledger import LedgerReader, LedgerWriter
from batcher.ledger.queries import gallery
from batcher.ledger.queries.budgets import Reading
from batcher.ledger.queries.gallery import Span
from batcher.ledger.queries.spend import Scope
from batcher.report import tables
from batcher.report.document import csv_headers, csv_rows, report_json
from batcher.report.html import page
from batcher.report.html.charts import Cost, costs, states
from batcher.report.html.gallery import Links
from batcher.report.question import ask
from batcher.report.table import csv_lines
from batcher.report.wallet import Discrepancy, Reconciliation

SVG = "{http://www.w3.org/2000/svg}"


def numbers(texts: list[str]) -> list[int]:
    return [int(text.replace(",", "")) for text in texts]


# One set of figures


def test_what_a_page_says(bought: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the letter. After a wanted change: read what differs, then write the file anew."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    write_page(bought, tmp_path / "report.html")
    monkeypatch.undo()
    time.tzset()
    text = words_of((tmp_path / "report.html").read_text("utf-8")).replace(str(bought.folder), "/folder")
    for what, name in ((r"req_\d+", "req_0"), (r"\d\d:\d\d(:\d\d)?", "<time>"), (r"[\d.]+ (s|min)\b", "<span>")):
        text = re.sub(what, name, text)  # how long things take hangs on the ledger's random id
    assert text == (Path(__file__).parent / "expected/page.txt").read_text("utf-8")


def test_text_json_csv_and_page_tell_the_same_sums_and_the_simulators_truth(bought: Bench, parsed: Parsed) -> None:
    oracle, report = bought.world.oracle(), report_of(bought)
    document = report_json(report)["total"]
    records = list(csv.DictReader(io.StringIO("\n".join(csv_lines(csv_headers(["campaign"]), csv_rows(report))))))
    # Doubtful: charged, says the simulator; nobody here can know.
    [doubtful] = [job for job in bought.jobs() if job["status"] == "doubtful"]
    truth = sum(task.final for task in oracle.tasks.values() if task.key != doubtful["idempotency_key"])
    assert truth == document["credits"]["settled"] == sum(int(r["credits_settled"]) for r in records) > 0
    assert parsed.tiles["credits settled"] == f"{truth:,}"
    assert sum(job["settled"] for job in parsed.jobs) == truth
    held = document["credits"]["held"]
    assert held == sum(int(r["credits_held"]) for r in records) == sum(job["held"] for job in parsed.jobs) == 10
    assert parsed.tiles["credits held"] == str(held)
    for name in ("settled", "held", "quoted", "returned"):
        assert parsed.column("Credits", name) == [f"{document['credits'][name]:,}"]
    for status in Status:
        count = document["jobs"][status]
        assert count == sum(int(r[str(status)]) for r in records)
        assert count == sum(job["status"] == status for job in parsed.jobs)
        assert not count or parsed.column("Jobs", str(status)) == [str(count)]
    assert parsed.tiles["jobs"] == str(document["jobs"]["total"]) == str(len(parsed.jobs)) == "14"
    assert parsed.tiles["files"] == str(document["files"]) == str(sum(len(job["files"]) for job in parsed.jobs)) == "8"
    text = shown(report)
    for value in (truth, held, document["credits"]["quoted"], document["credits"]["returned"]):
        assert re.search(rf"^spring .*\b{value}\b", text, re.MULTILINE)


def test_charts_add_up_to_the_figures(bought: Bench, parsed: Parsed) -> None:
    total = report_of(bought).total
    assert numbers(parsed.column("Cost by mode", "settled")) == [
        row.figures.credits.settled for row in report_of(bought, by=["mode"]).rows
    ]
    for title in ("Cost by mode", "Cost by duration", "Credits by day"):
        assert sum(numbers(parsed.column(title, "settled"))) == total.credits.settled
        assert sum(numbers(parsed.column(title, "held"))) == total.credits.held
        assert sum(numbers(parsed.column(title, "jobs"))) <= sum(total.jobs.values())
    over_time = parsed.tables["Credits over time: spring"]
    assert over_time[-1][1:] == [str(total.credits.settled), str(total.credits.held)]
    assert over_time[1][1:] == ["0", "0"]
    head, *levels = parsed.tables["States over time"]
    assert {name: int(n) for name, n in zip(head[1:], levels[-1][1:], strict=True) if n != "0"} == {
        str(status): n for status, n in total.jobs.items() if n
    }
    assert all(sum(numbers(level[1:])) == 14 for level in levels)
    assert total.wait is not None
    assert sum(numbers(parsed.column("Waiting time", "purchases"))) == total.wait.count


class Busy(LedgerReader):
    """A reader beside a run, which writes after the first part of the page was read, once."""

    bench: Bench
    looks = 0

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        if sql.startswith(("BEGIN", "SAVEPOINT")):
            self.looks += 1
            if self.looks == 2:
                self.bench.edit("UPDATE wanted SET status = 'cancelled' WHERE status IN ('planned', 'failed')")
        return super().rows(sql, values)


def test_all_of_a_page_is_of_one_moment(bought: Bench, tmp_path: Path) -> None:
    bench = copy_of(bought, tmp_path)
    with closing(Busy.open(bench.ledger_path)) as read:
        read.bench = bench
        made = page.make_page(
            read, ask(read, now=0), state=bench.state, target=tmp_path / "x.html", now=0, running=True
        )
    assert read.looks >= 2
    parsed = parse(made.text)
    counts = Counter(job["status"] for job in parsed.jobs)
    head, row = parsed.tables["Jobs"]
    told = {name: int(n) for name, n in zip(head, row, strict=True) if name in set(Status)}
    assert told == counts


def test_caps_are_told_and_drawn(bought: Bench, report: Path, parsed: Parsed) -> None:
    text = report.read_text("utf-8")
    for cap in report_of(bought).caps:
        assert f"{cap.settled} settled, {cap.held} held" in text
    drawn = [given for tag, given in parsed.tags if tag == "rect" and given.get("class") == "settled"]
    [campaign, day, keep] = [float(given["width"]) for given in drawn]
    assert (campaign, day) == (round(80 / 150 * 100, 2), 40.0)
    assert keep == 0  # no reading is known
    says = [given["aria-label"] for _, given in parsed.tags if given.get("role") == "img"]
    assert "Credits over time: spring. 80 credits settled and 10 held in the end; the cap is 150." in says
    assert ">cap 150</text>" in text


def test_a_job_that_came_back_into_the_manifest_is_counted_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "ledger.db")
    for numbers in ([1, 2], [1], [1, 2]):
        shelf.enrol([make_spec(number) for number in numbers])
        shelf.clock.now += 60
    for scope in (Scope(), Scope(campaigns=("spring",))):
        within = gallery.span(shelf.ledger.read, scope)
        assert within is not None
        assert within.end - within.start == pytest.approx(120, abs=0.1)
        levels = [dict(level.jobs) for level in states(gallery.moves(shelf.ledger.read, scope, within))]
        assert levels == [{"planned": 2}, {"planned": 1, "cancelled": 1}, {"planned": 2, "cancelled": 0}]


def test_a_retried_job_keeps_what_its_purchases_cost(tmp_path: Path) -> None:
    bench = story(tmp_path)
    write_page(bench, tmp_path / "story.html")
    parsed, total = parse((tmp_path / "story.html").read_text("utf-8")), report_of(bench).total
    assert sum(job["settled"] for job in parsed.jobs) == total.credits.settled == 93
    assert sum(job["held"] for job in parsed.jobs) == total.credits.held == 12
    assert max(job["attempts"] for job in parsed.jobs) == 3
    with bench.reader() as read:
        within = gallery.span(read, Scope())
        assert within is not None
        steps = gallery.spending(read, Scope(), within)
        assert (sum(s.settled for s in steps), sum(s.held for s in steps)) == (93, 12)
        for campaign in ("spring", "autumn"):
            mine = gallery.spending(read, Scope(campaigns=(campaign,)), within)
            spent = read.spent(campaign=campaign)
            assert (sum(s.settled for s in mine), sum(s.held for s in mine)) == (spent.settled, spent.held)
        last = states(gallery.moves(read, Scope(), within))[-1]
        assert {status: n for status, n in last.jobs.items() if n} == {s: n for s, n in total.jobs.items() if n}
        # A window in which only the first day lies begins with what was there, and ends with what is now.
        early = Span(within.start, within.start + 3600)
        assert sum(s.settled for s in gallery.spending(read, Scope(), early)) == 93
    # A purchase that gave nothing, but cost something.
    bench.edit("UPDATE attempts SET final_credits = 5 WHERE number = 1 AND outcome = 'failed'")
    dearer = parse(write_page(bench, tmp_path / "dearer.html").text)
    assert sum(job["settled"] for job in dearer.jobs) == report_of(bench).total.credits.settled == 103
    autumn = write_page(bench, tmp_path / "autumn.html", campaigns=["autumn"])
    assert autumn.jobs == 6
    assert "Cost by mode" not in autumn.text
    later = write_page(bench, tmp_path / "later.html", since="2027-01-16")
    assert later.jobs == sum(report_of(bench, since="2027-01-16").total.jobs.values()) < 16


@pytest.mark.parametrize(
    ("wallet", "causes", "note"),
    [
        (900, (), "Wallet and ledger agree."),
        (930, (), "30 credits came in that this ledger knows nothing of: a top-up, or a late refund."),
        (
            880,
            (),
            "20 credits went that this ledger knows nothing of: another program or ledger with this account, the web"
            " site, or credits that expired.",
        ),
        (890, (Discrepancy("doubtful", 10, 0),), "That explains the difference."),
    ],
)
def test_the_wallet_stands_beside_the_ledger(wallet: int, causes: tuple[Discrepancy, ...], note: str) -> None:
    since = Reading("2027-01-15T08:00:00.000000Z", 1000)
    found = Reconciliation("acc<ount", "2027-01-16T08:00:00.000000Z", wallet, 100, 0, since, 100, causes)
    shown = tables.wallet(found)
    assert shown.notes[-1] == note
    rows = {row[0]: row[1] for row in shown.rows}
    assert rows["so the wallet should have"] == "900"
    assert rows["wallet, says the API"] == str(wallet)
    assert len(shown.notes) == 1 + len(causes)


def test_a_first_wallet_reading_has_nothing_beside_it(bought: Bench, tmp_path: Path) -> None:
    found = Reconciliation("acc<ount", "2027-01-16T08:00:00.000000Z", 777, 80, 10, None, None, ())
    made = parse(write_page(bought, tmp_path / "wallet.html", reconciliation=found).text)
    assert made.tables["Wallet"][0] == ["acc<ount", "credits"]
    assert made.column("Wallet", "credits") == ["777", "80", "10"]


def test_what_the_rest_will_cost_is_told(tmp_path: Path) -> None:
    bench = story(tmp_path)
    made = write_page(bench, tmp_path / "story.html")
    assert parse(made.text).tables["The rest of the plan"][1] == ["autumn", "2", "24", "30", "54"]
    assert "Cap campaign autumn is 14 credits short of that." in made.text
    assert "runs out: after " in made.text


def test_costs_are_sums_of_the_rows(bought: Bench) -> None:
    rows = report_of(bought, by=["day", "mode", "duration"]).rows
    for axis in ("mode", "duration"):
        expected = [
            Cost(
                dict(row.by)[axis],
                sum(row.figures.jobs.values()),
                row.figures.files,
                row.figures.credits.settled,
                row.figures.credits.held,
            )
            for row in report_of(bought, by=[axis]).rows
        ]
        assert costs(rows, axis) == expected


def test_more_jobs_than_a_page_bears_are_counted(
    bought: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "CARDS", 9)
    made = write_page(bought, tmp_path / "few.html")
    assert (made.jobs, made.left_out) == (9, 5)
    assert "5 jobs more have no card here" in made.text
    assert sum(bool(job["files"]) for job in parse(made.text).jobs) == 8  # what can be seen comes first


# Files


def test_links_lead_to_the_files_from_where_the_page_lies(bought: Bench, parsed: Parsed) -> None:
    linked = [file for job in parsed.jobs for file in job["files"]]
    saved = {job["result_path"] for job in bought.jobs() if job["result_path"]}
    assert {unquote(file) for file in linked} == {f"./state/{path}" for path in saved}
    for file in linked:
        assert (bought.folder / unquote(file)).read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("page_at", "target", "link"),
    [
        ("/a/r.html", "results/x/b c#1?.mp4", "./state/results/x/b%20c%231%3F.mp4"),
        ("/a/b/r.html", "results/ü.mp4", "./../state/results/%C3%BC.mp4"),
        ("/a/state/r.html", "results/javascript:1.mp4", "./results/javascript%3A1.mp4"),
        ("/a/r.html", "results/\udcff.mp4", "./state/results/%FF.mp4"),
        ("/a/r.html", "../../etc/passwd", None),
        ("/a/r.html", "/etc/passwd", None),
        ("/a/r.html", "", None),
    ],
)
def test_a_link(page_at: str, target: str, link: str | None) -> None:
    assert Links(Path("/a/state"), Path(page_at).parent).to(target) == link


# The command


@pytest.fixture
def here(cli: Cli, bought: Bench, tmp_path: Path) -> Path:
    """A folder with the state of the campaign, in which the command runs."""
    shutil.copytree(bought.state, tmp_path / "state")
    return tmp_path


def test_the_command_writes_the_page_and_says_where(cli: Cli, here: Path) -> None:
    ran = cli("report", "--html", "out.html", "--by", "mode")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"Report of 14 jobs: {here / 'out.html'}\n"
    first = parse((here / "out.html").read_text("utf-8"))
    assert first.column("Jobs", "mode") == ["fun", "normal", "total"]
    assert cli("report", "--html", "out.html", "--campaign", "spring").code == 0  # over its own
    assert len(parse((here / "out.html").read_text("utf-8")).jobs) == 14
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []


def test_the_command_needs_a_place_of_its_own(cli: Cli, here: Path) -> None:
    (here / "notes.html").write_text("<!doctype html>mine")
    before = (here / "state/ledger.db").read_bytes()
    for target, why in (
        ("notes.html", "exists and is no report of batcher"),
        ("state/ledger.db", "exists and is no report of batcher"),
        ("state", "is no file"),
        ("missing/out.html", "there is no folder missing"),
        ("-", "--html needs a file"),
    ):
        ran = cli("report", "--html", target)
        assert ran.code == 2
        assert why in ran.err
    assert (here / "notes.html").read_text() == "<!doctype html>mine"
    assert (here / "state/ledger.db").read_bytes() == before
    for words in (["--json"], ["--format", "csv"], ["--timeline"]):
        assert "--html goes with neither" in cli("report", "--html", "out.html", *words).err


def test_a_report_without_a_page_loads_nothing_heavy(here: Path) -> None:
    code = (
        "import sys; from batcher.cli.app import main; main(['report']);"
        " print([name for name in ('jinja2', 'markupsafe') if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert ran.stderr.splitlines()[-1] == "[]"


def test_an_empty_ledger_has_a_page(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    LedgerWriter.open(bench.ledger_path, bench.clock).close()
    made = write_page(bench, tmp_path / "empty.html")
    assert made.jobs == 0
    assert "Nothing has happened yet." in made.text
    assert Counter(tag for tag, _ in parse(made.text).tags)["script"] == 2
