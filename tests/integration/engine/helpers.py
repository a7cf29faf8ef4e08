"""A send log that a test looks into, and a manifest of two price classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from virtual_time import VirtualClock

from batcher.ledger import LedgerWriter
from batcher.ledger.store import sends
from batcher.settings import Rate

MIXED = """
campaign: mixed
model: grok-imagine-video
prompts:
  - {{name: long, prompt: A long boat, params: {{duration: 30}}, repeat: 4}}
  - {{name: short, prompt: A short boat, repeat: 6}}
{more}
"""


@contextmanager
def opened(path: Path, clock: VirtualClock) -> Iterator[LedgerWriter]:
    ledger = LedgerWriter.open(path, clock)
    try:
        yield ledger
    finally:
        ledger.close()


def stamps(ledger: LedgerWriter, kind: str | None = None) -> list[float]:
    return [send.sent.wall for send in sends.after(ledger.read, 0) if kind in (None, send.kind)]


def check_windows(times: list[float], rate: Rate) -> None:
    """No half-open window of the stated length holds more than stated."""
    ordered = sorted(times)
    for first, later in zip(ordered, ordered[rate.count :], strict=False):
        assert later - first >= rate.seconds, f"{rate.count + 1} requests within {later - first} s"
