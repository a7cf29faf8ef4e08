"""How long `batcher report` takes over a ledger of many jobs: CPU seconds and memory of the real command.

    python benchmarks/report_100k.py [--jobs 100000] [--keep FOLDER]

The ledger is written with SQL, as twenty nights would leave it, a campaign each: four price classes, failed, refused,
doubtful, cancelled, planned and retried jobs, each with its events and files.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from batcher.clock import SystemClock, iso
from batcher.ledger import LedgerWriter

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
QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("report",),
    ("report", "--json"),
    ("report", "--by", "day,model"),
    ("report", "--by", "campaign,mode,resolution,duration", "--format", "csv"),
    ("report", "--by", "prompt", "--format", "csv"),
    ("report", "--since", "2026-06-01", "--until", "2026-07-01"),
    ("report", "--timeline"),
)
#: Out of a hundred jobs, how the one at this place ends; the others succeed.
FATES = {3: "failed", 17: "failed", 23: "refused", 29: "unsent", 31: "doubtful", 41: "planned", 43: "cancelled"}


def make(path: Path, jobs: int) -> None:
    """A ledger of so many jobs at `path`."""
    with closing(LedgerWriter.open(path, SystemClock())):
        pass
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("PRAGMA synchronous = OFF")
        for number in range(CAMPAIGNS):
            name = f"night-{number:02}"
            settings = {"caps": {"run": None, "campaigns": {name: 100_000}, "day": 20_000, "keep": 50}}
            at = iso(START + number * 86400)
            ledger.execute("INSERT INTO campaigns (name, manifest, expansion) VALUES (?, 'm.yaml', 1)", (name,))
            ledger.execute(
                "INSERT INTO runs VALUES (?, ?, ?, 0, 'done', '1', 1, ?, ?, ?)",
                (number + 1, at, at, ACCOUNT, json.dumps([name]), json.dumps(settings)),
            )
        for table, row in _rows(jobs):
            if table == "latest":
                ledger.execute("UPDATE wanted SET attempt_id = ? WHERE seq = ?", row)
                continue
            names = [column[0] for column in ledger.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            columns = ", ".join(names[: len(row)])  # later migrations add theirs at the end
            ledger.execute(f"INSERT INTO {table} ({columns}) VALUES ({','.join('?' * len(row))})", row)


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


def measure(argv: list[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak memory (MB) of a command in a process of its own."""
    code = (
        "import resource, sys, time; from batcher.cli.app import main; start = time.monotonic(); main(sys.argv[1:]);"
        " used = resource.getrusage(resource.RUSAGE_SELF);"
        " print(used.ru_utime + used.ru_stime, time.monotonic() - start, used.ru_maxrss, file=sys.stderr)"
    )
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True
    )
    cpu, wall, peak = map(float, ran.stderr.split()[-3:])
    return cpu, wall, peak / (1024 if sys.platform == "linux" else 1024 * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="make the ledger here, and leave it")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        state = chosen.keep or Path(scratch)
        state.mkdir(exist_ok=True)
        if not (state / "ledger.db").exists():
            make(state / "ledger.db", chosen.jobs)
        size = (state / "ledger.db").stat().st_size / 1e6
        print(f"{chosen.jobs:,} jobs, {size:,.0f} MB")
        print(f"{'CPU':>7} {'wall':>7} {'memory':>9}")
        for words in QUESTIONS:
            cpu, wall, peak = measure([*words, "--state", str(state)])
            print(f"{cpu:5.2f} s {wall:5.2f} s {peak:6.0f} MB  batcher {' '.join(words)}")


if __name__ == "__main__":
    main()
