"""What a kill cost: counted from what the server was asked for and charged, and from the files that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Damage:
    """Numbers of jobs. A job is its prompt, for prompts are unique here.

    `asked_again`: more than one request for it arrived; `charged_again`: and more than one was charged (the others
    carried the key of the first). `lost`: charged, and no file. `dropped`: never charged, and no file.
    """

    asked_again: int
    charged_again: int
    lost: int
    dropped: int

    @property
    def survived(self) -> bool:
        """Whether each job was paid for once and has its file."""
        return not (self.charged_again or self.lost or self.dropped)


def damage(wanted: Collection[str], asked: Iterable[str], charged: Iterable[str], saved: Collection[str]) -> Damage:
    """Compare prompts. What was asked for and not wanted would not be counted, so it is a ValueError."""
    requests, purchases = Counter(asked), Counter(charged)
    if strange := (requests.keys() | purchases.keys() | set(saved)) - set(wanted):
        raise ValueError(f"nobody wanted {sorted(strange)[:3]}")
    if unasked := purchases - requests:
        raise ValueError(f"charged without a request: {sorted(unasked)[:3]}")
    without = set(wanted) - set(saved)
    return Damage(
        asked_again=sum(times > 1 for times in requests.values()),
        charged_again=sum(times > 1 for times in purchases.values()),
        lost=sum(prompt in purchases for prompt in without),
        dropped=sum(prompt not in purchases for prompt in without),
    )
