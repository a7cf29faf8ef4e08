"""Manifests, faults and looks into the ledger for runs on virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import PIXEL, Bench

from batcher.engine import Ending
from batcher.errors import Kind
from batcher.simulator.faults import parse_all

FAST = "limits: {submit: 1000/second, requests: 1000/second}\npolling: {first: 1s, every: 1s, max: 2s}\n"


def manifest(bench: Bench, *prompts: str, more: str = "", name: str = "spring", fast: str = FAST) -> Path:
    """A campaign of one job a prompt."""
    lines = "".join(f"  - {{name: p{n}, prompt: {text!r}}}\n" for n, text in enumerate(prompts, 1))
    text = f"campaign: {name}\nmodel: grok-imagine-video\nprompts:\n{lines}{fast}{more}"
    return bench.write(text, f"{name}.yaml")


def pictured(bench: Bench, jobs: int, *, more: str = "") -> Path:
    """A campaign of jobs that share one picture."""
    refs = bench.folder / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "boat.png").write_bytes(PIXEL)
    lines = "".join(f"  - {{name: p{n}, prompt: Boat {n}}}\n" for n in range(1, jobs + 1))
    text = f"campaign: spring\nmodel: grok-imagine-video\nprompts:\n{lines}references: [refs/boat.png]\n{FAST}{more}"
    return bench.write(text)


def faults(bench: Bench, *rules: dict[str, Any] | str) -> None:
    """What goes wrong from now on; counts from 1 again."""
    bench.app.faults.replace(parse_all(rules))


def seen(bench: Bench, kind: str) -> list[Any]:
    """The requests of a kind that reached the simulator."""
    return [each for each in bench.world.oracle().requests if each.kind == kind]


def statuses(bench: Bench) -> list[str]:
    return [job["status"] for job in bench.jobs()]


def attempts(bench: Bench) -> list[dict[str, Any]]:
    with bench.reader() as reader:
        return [dict(row) for row in reader.rows("SELECT * FROM attempts ORDER BY id")]


def events(bench: Bench) -> list[str]:
    with bench.reader() as reader:
        return [row["event"] for row in reader.rows("SELECT event FROM events ORDER BY id")]


def held(bench: Bench) -> int:
    with bench.reader() as reader:
        return reader.spent().held


def done(ending: Ending) -> None:
    assert ending.kind is Kind.DONE, ending
