"""How a run ended: one kind and reason of all that stood in its way, and what is left undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from batcher.errors import Kind, StorageError, first_of
from batcher.ledger import HELD, TIMES, NotAdmitted

#: Refusals that are no cap of the user's.
NO_CAP = frozenset({"price", "draining", *HELD, *TIMES})


class Halted(Protocol):
    """Hears why no new job is started; `code` is the API's, one of `OwnHalt`, or "" where the message says all."""

    def __call__(self, kind: Kind, message: str, code: str = "") -> None: ...


def halt_reason(message: str, code: str) -> str:
    """Return a halt's code and message in one, for people."""
    return f"{code}: {message}" if code else message


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: the kind decides the exit code, `reason` is for people.

    `left` counts why jobs did not come to their end in this run; `blocked` says which caps were in the way.
    """

    kind: Kind
    reason: str
    left: dict[str, int]
    blocked: tuple[str, ...]
    #: the caps that were in the way, with their names
    caps: tuple[str, ...] = ()


def ending_of(
    halts: Sequence[tuple[Kind, str]],
    refusals: Sequence[NotAdmitted],
    undone: dict[str, int],
    left: dict[str, int],
    *,
    probe: bool = False,
    to_review: int = 0,
) -> Ending:
    """The ending of a run that was halted so, and whose jobs caps refused; `undone` counts jobs by what they lack.

    A `probe` leaves the rest planned, whatever became of its own jobs. `to_review` jobs wait for a person to judge what
    they are made from.
    """
    kinds = list(halts)
    if probe:
        kinds.append((Kind.CAPPED, "it was a probe for prices, the rest stays planned"))
    caps = sorted({refusal.words for refusal in refusals} - NO_CAP)
    if late := [TIMES[refusal.cap] for refusal in refusals if refusal.cap in TIMES]:
        kinds.append((Kind.CAPPED, late[0]))
    elif caps:
        kinds.append((Kind.CAPPED, f"no room left under: {', '.join(caps)}"))
    if to_review:
        words = f"review: {to_review} waiting for `batcher approve` or `batcher reject`"
        kinds.append((Kind.CAPPED, words))
    if undone:
        kinds.append((Kind.UNFINISHED, ", ".join(f"{n} {what}" for what, n in undone.items())))
    kind = first_of([k for k, _ in kinds])
    reason = next((words for k, words in kinds if k is kind), "everything selected is done")
    return Ending(kind, reason, left, tuple(dict.fromkeys(refusal.message for refusal in refusals)), tuple(caps))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def one_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The workers' first error; storage errors go first, and all: each may name a task id that is written nowhere."""
    found = list(_leaves(group))
    storage = [each for each in found if isinstance(each, StorageError)]
    lost = dict.fromkeys(each.message for each in storage)
    if len(lost) > 1:
        return StorageError("\n".join(lost), hint=storage[0].hint)
    return storage[0] if storage else found[0]
