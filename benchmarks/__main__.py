"""Every figure with its goal and whether it is met; what users feel first.

    python -m benchmarks [NAME …] [--full]

Each benchmark compares what it measures in one run, for machines differ and are noisy. `--full` adds the largest cases.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from .figures import Figure, at_most, measured
from .running import machine

NAMES = (
    *("first_post", "night", "noticing", "waiting", "large", "report"),
    *("startup", "plan", "enrol", "resume", "limits"),
    *("inflight", "throughput", "peers", "growth"),
)
#: Measured side by side: one has virtual time, and of the other each figure has its floor beside it.
TOGETHER = ("noticing", "waiting")


def _side_by_side(names: Sequence[str]) -> Iterator[list[str]]:
    """The names, each alone but for those two."""
    both = [name for name in names if name in TOGETHER]
    for name in names:
        if name not in TOGETHER:
            yield [name]
        elif both:
            yield both
            both = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all, when none is named")
    parser.add_argument("--full", action="store_true", help="also the largest cases")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's commands find their modules compiled
    print(machine())
    found, started = list[Figure](), time.monotonic()
    broken: list[str] = []
    for names in _side_by_side(chosen.names or NAMES):
        begun = time.monotonic()
        print(f"\n== {', '.join(names)}", flush=True)
        # A process of its own: the memory of those that it starts begins with its own.
        with ProcessPoolExecutor(len(names), mp_context=get_context("spawn")) as own:
            for name, figures in [(name, own.submit(measured, name, full=chosen.full)) for name in names]:
                try:
                    found += figures.result()
                except Exception:  # the others are measured all the same
                    traceback.print_exc()
                    broken.append(name)
        print(f"   ({time.monotonic() - begun:.0f} s)", flush=True)
    if not chosen.names and not chosen.full:
        found.append(at_most("all benchmarks", (time.monotonic() - started) / 60, 10, "minutes"))
    goals = [figure for figure in found if figure.met is not None]
    print(f"\n== {sum(bool(figure.met) for figure in goals)} of {len(goals)} goals met")
    for figure in goals:
        print(figure.line)
    if broken:
        sys.exit(f"not measured: {', '.join(broken)}")


if __name__ == "__main__":
    main()
