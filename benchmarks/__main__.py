"""Every figure with its goal and whether it is met; what users feel first.

    python -m benchmarks [NAME …] [--full]

Each benchmark compares what it measures in one run, for machines differ and are noisy. `--full` adds the largest cases.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module

from .figures import Figure
from .running import machine

NAMES = (
    *("first_post", "night", "noticing", "waiting", "large", "report"),
    *("startup", "plan", "enrol", "resume", "limits"),
    *("inflight", "throughput", "peers", "growth"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all, when none is named")
    parser.add_argument("--full", action="store_true", help="also the largest cases")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    print(machine())
    found: list[Figure] = []
    broken: list[str] = []
    for name in chosen.names or NAMES:
        measure: Callable[[bool], Iterator[Figure]] = import_module(f"benchmarks.{name}").measure
        begun = time.monotonic()
        print(f"\n== {name}", flush=True)
        try:
            for figure in measure(chosen.full):
                print(figure.line, flush=True)
                found.append(figure)
        except Exception:  # the others are measured all the same
            traceback.print_exc()
            broken.append(name)
        print(f"   ({time.monotonic() - begun:.0f} s)", flush=True)
    goals = [figure for figure in found if figure.met is not None]
    print(f"\n== {sum(bool(figure.met) for figure in goals)} of {len(goals)} goals met")
    for figure in goals:
        print(figure.line)
    if broken:
        sys.exit(f"not measured: {', '.join(broken)}")


if __name__ == "__main__":
    main()
