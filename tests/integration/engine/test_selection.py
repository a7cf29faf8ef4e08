"""What of a manifest a run takes: `--only` and `--limit`."""

from __future__ import annotations

from integration.lifecycle.helpers import FAST, done, faults, manifest, statuses
from support import Bench

from batcher.engine import Engine
from batcher.errors import Kind
from batcher.settings import Selection

# Selection


def test_only(bench: Bench) -> None:
    path = manifest(bench, "Boat", "Ship", "Raft")
    done(bench.run(path, selection=Selection(only=("p1", "p3"))))
    assert statuses(bench) == ["succeeded", "planned", "succeeded"]
    done(bench.run(path))
    assert statuses(bench) == ["succeeded"] * 3


def test_limit_counts_new_intents(bench: Bench) -> None:
    path = manifest(bench, *(f"Boat {n}" for n in range(6)))
    for bought in (2, 4, 6):
        done(bench.run(path, selection=Selection(limit=2)))
        assert len(bench.world.oracle().tasks) == bought
    bench.check()


def test_limit_does_not_count_what_could_not_be_sent(bench: Bench) -> None:
    """A reference that changed makes no intent: the next job takes its place."""
    lines = "".join(f"  - {{name: p{n}, prompt: Boat {n}, references: [refs/{n}.png]}}\n" for n in range(3))
    (bench.folder / "refs").mkdir()
    from support import PIXEL

    for n in range(3):
        (bench.folder / "refs" / f"{n}.png").write_bytes(PIXEL + bytes([n]))
    path = bench.write(f"campaign: c\nmodel: grok-imagine-video\nprompts:\n{lines}{FAST}")

    def spoil(engine: Engine) -> None:
        (bench.folder / "refs" / "0.png").unlink()

    ending = bench.run(path, selection=Selection(limit=2), engine=spoil)
    assert statuses(bench) == ["failed", "succeeded", "succeeded"]
    assert ending.kind is Kind.UNFINISHED


def test_limit_and_a_job_that_was_given_up_is_not_done(bench: Bench) -> None:
    faults(bench, {"on": "create", "do": "429", "retry_after": "none"})
    path = manifest(bench, "Boat", "Ship", more="retries: {times: 1}\n")
    ending = bench.run(path, selection=Selection(limit=1))
    assert (ending.kind, ending.reason) == (Kind.UNFINISHED, "1 planned")
