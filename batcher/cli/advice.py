"""What to do now, by the kind of trouble: one table for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batcher.jobs import SHORT_ID
from batcher.providers.registry import RIVYA
from batcher.report.timeline import FailureCause
from batcher.report.timeline_entries import RunEntry
from batcher.text import number

from .doubtful import doubtful_advice
from .open_ledger import state_words

#: By the kind of a cause; {state} is what a command needs to find the state folder, {job} the newest such job's id.
_ADVICE = {
    "key": "Put a key that the API takes, with its scopes, into {key} (`batcher doctor{state}`). {again}.",
    "credits": "Top up the wallet (`batcher credits{state}` shows it). {again}.",
    "cap": (
        "Raise it in the manifest's budget, or wait for its next day. {again}. A run's own cap (--budget, else the"
        " plan's total) counts from nothing in each run: take off what earlier runs have used{used}."
    ),
    "stop": "Look first at what failed: the same command goes on, and would buy into the same trouble.",
    "unreachable": "Check the network and {base_url} (`batcher doctor{state}`). {again}.",
    "storage": "Free or mend the disk (`batcher doctor{state}`). {again}: nothing bought is lost.",
    "killed": (
        "{again}: nothing is paid twice. But a --budget counts from nothing in each run: take off what earlier runs"
        " have used{used}."
    ),
    "failed": (
        "The API took it and failed it. Change prompt or reference if they may be the reason; else"
        " `batcher retry{state} {job}` buys it once more."
    ),
    "refused": (
        "The API does not take it as it is: `batcher show{state} {job}` has what was sent. Mend the manifest; that"
        " makes a new job."
    ),
    "reference": "Mend the file or the manifest, then `batcher retry{state} {job}`; nothing was paid.",
    "unsent": "Nothing was paid; the next run buys it.",
    "unanswered": "Nothing to decide yet: the next run asks again with the same key, and pays nothing twice.",
    "doubtful": "{doubtful}",
    "late_answer": "It had been closed before: `batcher show{state} {job}` tells both; compare with the wallet.",
    "without_file": "{again}, without --no-download: it fetches them.",
}
_AGAIN = "Run the same command again; it goes on where the last one ended"
_NOTHING_LEFT = "Nothing: it is over."


def advice(cause: FailureCause, state: Path, runs: Sequence[RunEntry] = ()) -> str:
    """What to do about a cause that was found in the ledger of this state folder; `runs` are those it was found in."""
    if not cause.open and cause.kind != "late_answer":
        return _NOTHING_LEFT
    job = cause.job_id[:SHORT_ID] if cause.job_id else "JOB"
    found = _ADVICE.get(cause.kind, "")
    used = f" (the last one {number(runs[-1].settled + runs[-1].held)})" if runs else ""
    return found.format(
        state=state_words(state),
        job=job,
        doubtful=doubtful_advice(job, state),
        again=_AGAIN,
        used=used,
        key=RIVYA.key_variable,
        base_url=RIVYA.base_url_variable,
    )
