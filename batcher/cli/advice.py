"""What became of jobs and runs that went wrong, and what to do now, by the kind of trouble: one table for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from batcher.events import Event
from batcher.jobs import SHORT_ID
from batcher.ledger.queries.timeline import FailureCause, RunEntry
from batcher.providers.registry import KNOWN, RIVYA
from batcher.text import count, number, safe, short

from .doubtful_jobs import doubtful_advice
from .open_ledger import state_words


class _Trouble(NamedTuple):
    """What is counted, what became of it, and what to do; {state} finds the state folder, {job} is the newest's id."""

    noun: str
    became: str
    advice: str


_AGAIN = "Run the same command again; it goes on where the last one ended"
_TROUBLES: dict[str, _Trouble] = {
    "key": _Trouble(
        *("run", "stopped by the key"),
        "Put a key that the API takes, with its scopes, into {key} (`batcher doctor{state}`). {again}.",
    ),
    "credits": _Trouble(
        "run", "stopped by the wallet", "Top up the wallet (`batcher credits{state}` shows it). {again}."
    ),
    "cap": _Trouble(
        *("run", "stopped by a cap"),
        "The rest stays planned. {again}, as far as the caps have room by then (a day's has it the next day). But a"
        " run's own cap (--budget, else the plan's total) counts from nothing in each run: take off what earlier runs"
        " have used{used}.",
    ),
    "stop": _Trouble(
        *("run", "stopped by a stop rule"),
        "Look first at what failed: the same command goes on, and would buy into the same trouble.",
    ),
    "unreachable": _Trouble(
        "run", "stopped by an outage", "Check the network and {base_url} (`batcher doctor{state}`). {again}."
    ),
    "storage": _Trouble(
        *("run", "stopped by the disk"),
        "Free or mend the disk (`batcher doctor{state}`). {again}: nothing bought is lost.",
    ),
    "killed": _Trouble(
        *("run", "killed"),
        "{again}: nothing is paid twice. But a --budget counts from nothing in each run: take off what earlier runs"
        " have used{used}.",
    ),
    Event.FAILED: _Trouble(
        *("job", "failed at the API"),
        "The API took it and failed it. Change prompt or reference if they may be the reason; else"
        " `batcher retry{state} {job}` buys it once more.",
    ),
    Event.REFUSED: _Trouble(
        *("job", "refused"),
        "The API does not take it as it is: `batcher show{state} {job}` has what was sent. Mend the manifest; that"
        " makes a new job.",
    ),
    "reference": _Trouble(
        *("job", "without a usable reference"),
        "Mend the file or the manifest, then `batcher retry{state} {job}`; nothing was paid.",
    ),
    "unsent": _Trouble("job", "not taken, and planned again", "Nothing was paid; the next run buys it."),
    "unanswered": _Trouble(
        *("job", "without an answer, asked for again"),
        "Nothing to decide yet: the next run asks again with the same key, and pays nothing twice.",
    ),
    Event.DOUBTFUL: _Trouble("job", "doubtful", "{doubtful}"),
    Event.LATE_ANSWER: _Trouble(
        *("job", "answered after the attempt was closed"),
        "It had been closed before: `batcher show{state} {job}` tells both; compare with the wallet.",
    ),
    "without_file": _Trouble("job", "without file", "{again}, without --no-download: it fetches them."),
}


def headline(cause: FailureCause) -> str:
    """How many jobs or runs met it, and how many of them are still so."""
    noun, became, _ = _of(cause)
    code = f", {short(cause.code, 60)}" if cause.code else ""
    still = f", {number(cause.open)} of them still so" if 0 < cause.open < cause.count else ""
    return f"{count(cause.count, noun)} {became}{code}{still}"


def advice(cause: FailureCause, state: Path, runs: Sequence[RunEntry] = ()) -> str:
    """What to do about a cause that was found in the ledger of this state folder; `runs` are those it was found in."""
    if not cause.open and cause.kind != Event.LATE_ANSWER:
        return "Nothing: it is over."
    job = cause.job_id[:SHORT_ID] if cause.job_id else "JOB"
    provider = KNOWN.get(runs[-1].traces.provider or "", RIVYA) if runs else RIVYA
    return _of(cause).advice.format(
        state=state_words(state),
        job=job,
        doubtful=doubtful_advice(job, state),
        again=_AGAIN,
        used=f" (the last one {number(runs[-1].settled + runs[-1].held)})" if runs else "",
        key=provider.key_variable,
        base_url=provider.base_url_variable,
    )


def _of(cause: FailureCause) -> _Trouble:
    return _TROUBLES.get(cause.kind, _Trouble("job", safe(cause.kind), ""))
