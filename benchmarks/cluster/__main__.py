"""The figures of a cluster, as one table with goals; 1 where a goal is not met."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from benchmarks.figures import Figure, measured
from benchmarks.running import machine

NAMES = ("chaos", "takeover", "admissions", "statements", "limits", "downloads", "storage")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all, when none is named")
    parser.add_argument("--short", action="store_true", help="small sizes: proves that the benchmarks work")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it, nothing that it started is left
    print(machine())
    found: list[Figure] = []
    for name in chosen.names or NAMES:
        begun = time.monotonic()
        print(f"\n== {name}", flush=True)
        found += measured(f"cluster.{name}", full=not chosen.short)
        print(f"   ({time.monotonic() - begun:.0f} s)", flush=True)
    goals = [figure for figure in found if figure.met is not None]
    print(f"\n== {sum(bool(figure.met) for figure in goals)} of {len(goals)} goals met")
    for figure in goals:
        print(figure.line)
    return 0 if all(figure.met for figure in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
