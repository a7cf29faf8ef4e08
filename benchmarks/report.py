"""How long `batcher report` takes over 100,000 jobs, and how its page of 2,000 real videos does in a browser.

    python -m benchmarks.report FOLDER [JOBS]      # only makes such a ledger

The ledger is written with SQL, as twenty nights would leave it, a campaign each: four price classes, failed, refused,
doubtful, cancelled, planned and retried jobs, each with its events and files. The videos are a few of the simulator's,
each of which stands under many names. First paint is what Chromium says; memory is that of all its processes.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from batcher.clock import SystemClock, iso
from batcher.ledger import LedgerWriter

from .figures import Figure, at_most, middle
from .running import BATCHER, Ran, run, scratch

JOBS, VIDEOS = 100_000, 2_000
#: Seconds for the page of 100,000 jobs.
GOAL = 3.0
START = 1_780_000_000.0
ACCOUNT = "https://rivya.ai#0123456789ab"
CAMPAIGNS = 20
DEFAULTS: dict[str, str | int] = {"mode": "normal", "duration": 6, "resolution": "480p"}
PARAMS: tuple[dict[str, str | int], ...] = (
    {},
    {"mode": "fun"},
    {"resolution": "720p"},
    {"mode": "spicy", "duration": 10},
)
#: Only with `--full`.
QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("--by", "day,model"),
    ("--by", "campaign,mode,resolution,duration", "--format", "csv"),
    ("--by", "prompt", "--format", "csv"),
    ("--since", "2026-06-01", "--until", "2026-07-01"),
    ("--timeline",),
)
#: Out of a hundred jobs, how the one at this place ends; the others succeed.
FATES = {3: "failed", 17: "failed", 23: "refused", 29: "unsent", 31: "doubtful", 41: "planned", 43: "cancelled"}


def make(path: Path, jobs: int) -> None:
    """A ledger of so many jobs at `path`."""
    with closing(LedgerWriter.open(path, SystemClock())):
        pass
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("PRAGMA synchronous = OFF")
        # Indexes are made at the end, for sorting is quicker than looking for each row's place.
        indexes = ledger.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOTNULL AND tbl_name NOT GLOB '_*'"
        ).fetchall()
        for name, _ in indexes:
            ledger.execute(f"DROP INDEX {name}")
        for number in range(CAMPAIGNS):
            name = f"night-{number:02}"
            settings = {"caps": {"run": None, "campaigns": {name: 100_000}, "day": 20_000, "keep": 50}}
            at = iso(START + number * 86400)
            ledger.execute("INSERT INTO campaigns (name, manifest, expansion) VALUES (?, 'm.yaml', 1)", (name,))
            ledger.execute(
                "INSERT INTO runs VALUES (?, ?, ?, 0, 'done', '1', 1, ?, ?, ?)",
                (number + 1, at, at, ACCOUNT, json.dumps([name]), json.dumps(settings)),
            )
        statements = {"latest": "UPDATE wanted SET attempt_id = ? WHERE seq = ?"}
        made = _rows(jobs)
        while some := list(islice(made, 10_000)):
            waiting: dict[str, list[tuple[Any, ...]]] = {}
            for table, row in some:
                waiting.setdefault(table, []).append(row)
            for table, rows in sorted(waiting.items(), key=lambda each: each[0] == "latest"):
                if table not in statements:
                    found = ledger.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
                    names = ", ".join(name for (name,) in found[: len(rows[0])])  # migrations add theirs at the end
                    statements[table] = f"INSERT INTO {table} ({names}) VALUES ({','.join('?' * len(rows[0]))})"
                ledger.executemany(statements[table], rows)
        ledger.execute(
            "UPDATE attempts SET class_id = firsts.id FROM (SELECT price_class, min(id) AS id FROM attempts GROUP BY 1)"
            " AS firsts WHERE firsts.price_class = attempts.price_class"
        )
        for _, statement in indexes:
            ledger.execute(statement)


def _rows(jobs: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    chance = random.Random(1)  # noqa: S311  (the same ledger each time)
    attempt_id = 0
    for number in range(jobs):
        job_id = f"{chance.getrandbits(128):032x}"
        campaign = f"night-{number * CAMPAIGNS // jobs:02}"
        params = chance.choice(PARAMS)
        chosen = DEFAULTS | params
        price_class = "grok-imagine-video " + " ".join(f"{n}={v}" for n, v in chosen.items()) + " reference=no"
        fate = FATES.get(number % 100, "succeeded")
        status = {"refused": "failed", "unsent": "planned"}.get(fate, fate)
        at = START + number * 86400 * CAMPAIGNS / jobs
        bought = fate not in ("planned", "cancelled")
        prompt = f"A cinematic reveal of product {number}, with smooth camera movement and soft light. " * 2
        # A retried job: the first purchase failed, the second one is as its fate says.
        ends = (["failed"] if number % 97 == 5 else []) + [fate] if bought else []
        wanted: tuple[Any, ...] = (
            number,
            job_id,
            campaign,
            f"product-{number // 4}",
            "grok-imagine-video",
            prompt,
            json.dumps(params),
        )
        wanted += (None,) * 5 + (1, price_class, 10, f"product-{number}", 1, number, status, None, None, None)
        yield "wanted", (*wanted, iso(at), iso(at))
        yield "events", (None, iso(at), 1, job_id, None, "planned", '{"to": "planned"}')
        for place, end in enumerate(ends, 1):
            if place > 1:
                yield "events", (None, iso(at), 1, job_id, place - 1, "retried", '{"from": "failed", "to": "planned"}')
            attempt_id += 1
            yield from _attempt(attempt_id, job_id, place, end, at, campaign, price_class, prompt, chance)
        if ends:
            yield "latest", (attempt_id, number)


def _attempt(
    attempt_id: int,
    job_id: str,
    number: int,
    end: str,
    at: float,
    campaign: str,
    price_class: str,
    prompt: str,
    chance: random.Random,
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    taken = end in ("succeeded", "failed")
    final = {"succeeded": 10, "failed": 0, "refused": 0, "unsent": 0}.get(end)
    outcome = {"unsent": "refused"}.get(end, end)
    finished = None if end == "doubtful" else iso(at + chance.uniform(20, 400))
    yield (
        "attempts",
        (
            *(attempt_id, job_id, number, int(campaign[-2:]) + 1, ACCOUNT, iso(at)[:10], price_class),
            *(f"{chance.getrandbits(160):040x}", f"{campaign}-{job_id}-take1-{number}"),
            json.dumps({"model": "grok-imagine-video", "prompt": prompt, "params": {}}).encode(),
            *(10, 10 if taken else None, final, int(end == "doubtful"), f"task_{attempt_id:032x}" if taken else None),
            *(outcome, f'["https://cdn.rivya.ai/results/{job_id}.mp4"]' if end == "succeeded" else "[]", outcome),
            *(None, None, iso(at), iso(at + 1) if taken else None, finished, None, 10),
        ),
    )
    moves = {"refused": ("refused", "failed"), "unsent": ("refused", "planned")}
    word, to = moves.get(end, (end, end))
    yield (
        "events",
        (None, iso(at), 1, job_id, number, "intended", '{"from": "planned", "to": "submitting", "hold": 10}'),
    )
    yield "events", (None, iso(at + 30), 1, job_id, number, word, json.dumps({"from": "submitting", "to": to}))
    if end == "succeeded":
        saved = iso(at + 401)
        yield "files", (attempt_id, 0, None, f"results/{campaign}/{job_id}.mp4", "0" * 64, 2_000_000, saved)
        yield "events", (None, saved, 1, job_id, number, "saved", '{"number": 0}')


def measure(full: bool) -> Iterator[Figure]:
    """The page and the report, once; with `full` three times, and other questions too."""
    with scratch() as state:
        make(state / "ledger.db", JOBS)
        for words in ((), ("--html", str(state / "page.html")), *(QUESTIONS if full else ())):
            rans = [_report(state, *words) for _ in range(3 if full else 1)]
            seconds, peak = middle([ran.wall for ran in rans]), max(ran.peak for ran in rans)
            name = f"report {' '.join(words).replace(f'{state}/', '')}, {JOBS:,} jobs"
            yield at_most(name, seconds, GOAL, "s") if "--html" in words else Figure(name, seconds, "s")
            yield Figure(f"{name}: peak memory", peak, "MB")
            if "--html" in words:
                busy = middle([ran.cpu for ran in rans])
                dumped = run([sys.executable, "-c", _DUMP, str(state), str(JOBS // _PART)])
                assert dumped.code == 0, dumped.err
                yield Figure("the rows of jobs, attempts and events as JSON, by a bare loop", _PART * dumped.wall, "s")
                yield Figure(f"{name}: processor, of that bare loop", busy / (_PART * dumped.cpu))
    yield from _browsed()


#: Each job, purchase and event of a part of the jobs by a bare loop, and its JSON; a part is one in so many.
_PART = 5
_DUMP = """
import json, sqlite3, sys
with open(f"{sys.argv[1]}/dump.json", "w") as out:
    for table, each in (("jobs", 1), ("attempts", 1), ("events", 4)):
        rows = each * int(sys.argv[2])
        found = sqlite3.connect(f"{sys.argv[1]}/ledger.db").execute(f"SELECT * FROM {table} LIMIT {rows}")
        names = [column[0] for column in found.description]
        for row in found:
            out.write(json.dumps(dict(zip(names, row)), default=str))
"""


def _report(state: Path, *words: str) -> Ran:
    ran = run([*BATCHER, "report", *words, "--state", str(state)])
    if ran.code:
        raise RuntimeError(f"batcher report ended with {ran.code}: {ran.err[-500:]}")
    return ran


def _browsed() -> Iterator[Figure]:
    """A page of 2,000 videos, opened and looked through."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if not (browser and find_spec("playwright") and find_spec("av")):
        print("   the page in a browser is left out: no Chromium, playwright or av here")
        return
    from playwright.sync_api import sync_playwright

    with scratch() as state, sync_playwright() as playwright:
        make(state / "ledger.db", VIDEOS * 100 // 93)
        films = _films(state)
        _report(state, "--html", str(state / "page.html"))
        words = ["--no-sandbox", "--disable-dev-shm-usage"]  # of our own page, and a container has little memory
        chromium = playwright.chromium.launch(executable_path=browser, args=words)
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto("about:blank")
        empty = _memory(browser)
        page.goto(f"file://{state}/page.html")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        cards = page.locator("article, .card").count()
        loaded = _memory(browser)
        begun, times = time.monotonic(), 40
        for _ in range(times):
            page.mouse.wheel(0, 900)
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        scrolled = time.monotonic() - begun
        players, looked = page.locator("video").count(), _memory(browser)
        chromium.close()
    name = f"page of {films:,} videos"
    yield Figure(f"{name}: first paint", paint / 1000, "s")
    yield Figure(f"{name}: cards", cards)
    yield Figure(f"{name}: memory of the browser above an empty page", loaded - empty, "MB")
    yield Figure(f"{name}: the same after {times} screens", looked - empty, "MB")
    yield Figure(f"{name}: players after that", players)
    yield Figure(f"{name}: a screen further, with what it draws", scrolled / times, "s")


def _films(state: Path) -> int:
    """Have a video under the name of each saved file; how many there are."""
    from batcher.simulator.film import render
    from batcher.simulator.records import Scene

    films = []
    for number in range(4):
        path = state / f"film-{number}.mp4"
        params = {"duration": 6, "aspect_ratio": "16:9"}
        text = f"A boat on lake {number}, at dawn"
        render(Scene(f"task_{number}", number, "grok-imagine-video", "video", text, params, "", None), path)
        films.append(path)
    with closing(sqlite3.connect(state / "ledger.db")) as ledger:
        targets = [state / row[0] for row in ledger.execute("SELECT target FROM files ORDER BY attempt_id")]
    for number, target in enumerate(targets):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(films[number % len(films)])
    return len(targets)


def _memory(program: str) -> float:
    """Memory in MB of all processes of a program, shared pages told in parts (Linux only, else 0)."""
    name, found = Path(program).resolve().name, 0
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            if name in proc.joinpath("cmdline").read_text(errors="replace").partition("\0")[0]:
                rollup = re.search(r"^Pss:\s*(\d+)", proc.joinpath("smaps_rollup").read_text(), re.MULTILINE)
                found += int(rollup[1]) if rollup else 0
        except OSError:
            continue
    return found / 1024


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    make(folder / "ledger.db", int(sys.argv[2]) if len(sys.argv) > 2 else JOBS)
