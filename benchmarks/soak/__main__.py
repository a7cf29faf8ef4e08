"""`python -m benchmarks.soak`: run both scenarios, audit them, print the figures. 0, or 1 for any finding."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import batcher

from .api import Api
from .audit import Verdict, audit, busiest
from .books import seconds
from .driver import Story, drive
from .scenarios import Scenario, Sizes, capped, hostile

_SHOWN = 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, help="jobs of the first scenario; the second has a tenth (default: 5000)")
    parser.add_argument("--seed", type=int, default=1, help="decides faults, fates and kills (default: %(default)s)")
    parser.add_argument(
        "--kill-every", default="4..8", metavar="LOW..HIGH", help="seconds that a run lives (default: %(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="300 jobs and short outages: proves the soak itself")
    parser.add_argument("--only", choices=("hostile", "capped"), help="one scenario")
    parser.add_argument("--folder", type=Path, help="work here and keep everything (a new folder)")
    parser.add_argument("--submit", type=int, default=3000, help="the manifest's limits.submit a minute")
    parser.add_argument("--requests", type=int, default=15000, help="the manifest's limits.requests a minute")
    parser.add_argument("--api-creates", type=int, default=45, help="creates a second that the simulator takes")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run it. The folder is kept where it was named or where there are findings."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it, nothing that it started is left
    low, _, high = options.kill_every.partition("..")
    sizes = Sizes(
        jobs=options.jobs or (300 if options.short else 5000),
        seed=options.seed,
        kill_every=(float(low), float(high or low)),
        outage=4.0 if options.short else 20.0,
        submit=options.submit,
        requests=options.requests,
        api_creates=options.api_creates,
    )
    folder: Path = options.folder or Path(tempfile.mkdtemp(prefix="batcher-soak-"))
    makers: list[Callable[[Path, Sizes], Scenario]] = [hostile, capped]
    scenarios = [
        make(folder.resolve() / make.__name__, sizes) for make in makers if options.only in (None, make.__name__)
    ]
    # Both are driven before either is audited: a large parent would show in the children's peak of memory.
    driven = [(scenario, *_drive(scenario)) for scenario in scenarios]
    verdicts = [audit(scenario, story, wallet) for scenario, story, wallet in driven]
    print(_table(verdicts))
    findings = [(v.scenario.name, finding) for v in verdicts for finding in v.findings]
    for name, finding in findings[:_SHOWN]:
        print(f"{name}: {finding.sort}: {finding.text}")
    if len(findings) > _SHOWN:
        print(f"… and {len(findings) - _SHOWN} more")
    if findings or options.folder:
        print(f"Everything is kept in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if findings else 0


def _drive(scenario: Scenario) -> tuple[Story, int]:
    root = Path(batcher.__file__).resolve().parent.parent
    print(f"{scenario.name}: {scenario.jobs} jobs in {scenario.folder}", file=sys.stderr)
    api = Api(scenario.folder / "api", scenario.switches, root)
    api.start()
    try:
        story = drive(scenario, api, root)
        return story, api.wallet()
    finally:
        api.kill()


def _figures(v: Verdict) -> dict[str, object]:
    truth, books = v.truth, v.books
    statuses = [job["status"] for job in books.jobs]
    sends = sorted(seconds(send["at"]) for send in books.sends)
    submits = sorted(seconds(send["at"]) for send in books.sends if send["kind"] == "submit")
    own = [r for r in truth.requests if r.did != "outage"]
    return {
        "jobs": len(statuses),
        "succeeded / failed / planned / doubtful": " / ".join(
            str(statuses.count(status)) for status in ("succeeded", "failed", "planned", "doubtful")
        ),
        "runs": v.story.runs,
        "SIGKILLs": v.story.kills,
        "exit codes of the other runs": ", ".join(
            f"{code} × {n}" for code, n in sorted(v.story.endings.items()) if code >= 0
        ),
        "seconds": round(v.story.seconds),
        "requests": len(truth.requests),
        "lost answers": truth.count(did="lost"),
        "5xx answers": truth.count(did="status"),
        "garbage": truth.count(did="garble") + truth.count(did="html"),
        "cut downloads": truth.count(did="cut"),
        "429s": sum(r.status == 429 for r in own),
        "outages, seconds each": ", ".join(f"{end - begin:.0f}" for begin, end in v.story.outages) or "none",
        "requests into an outage": truth.count(did="outage"),
        "uploads, files": f"{sum(truth.uploads.values())}, {len(truth.uploads)}",
        "attempts maybe received": sum(row["maybe_received"] for row in books.attempts),
        "attempts closed at no cost": sum(row["outcome"] == "refused" for row in books.attempts),
        "bought above the quote": v.replay.risen,
        "busiest minute: submits, of": f"{busiest(submits, 60.0)}, {v.scenario.submit}",
        "busiest minute: requests, of": f"{busiest(sends, 60.0)}, {v.scenario.requests}",
        "peak held + settled, cap": ", ".join(
            f"{v.replay.peaks.get(campaign, 0)}, {cap}" for campaign, cap in v.scenario.caps.items()
        ),
        "peak memory of batcher, MB": round(v.story.peak_kilobytes / 1024),
        "settled, credits": v.settled,
        "charged, credits": v.charged,
        "difference": v.settled - v.charged,
        "duplicates": v.count("duplicate"),
        "lost": v.count("lost"),
        "breaches": v.count("breach"),
    }


def _table(verdicts: Sequence[Verdict]) -> str:
    columns = [_figures(verdict) for verdict in verdicts]
    lines = [
        "| | " + " | ".join(verdict.scenario.name for verdict in verdicts) + " |",
        "|---|" + "---:|" * len(verdicts),
    ]
    lines += [f"| {name} | " + " | ".join(str(column[name]) for column in columns) + " |" for name in columns[0]]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
