"""`approve` and `reject`: what a person says of files that others are made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batcher import marks
from batcher.errors import UsageError
from batcher.jobs import JobId, Status
from batcher.ledger import LedgerReader
from batcher.ledger.decisions import JobReview, Judge, Left, behind_a_gate, check_all, file_of, select
from batcher.spelling import named_like
from batcher.text import count

from .job_actions import Targets, carry_out, decisive_ledger, find_targets, told
from .terminal import Terminal


def judge(
    terminal: Terminal, state: Path, words: Sequence[str], verdict: str, name: str | None, marked: Path | None
) -> int:
    """Say it of the files of the named jobs, and of those of the campaigns that wait for it; the exit code."""
    decision = Judge(verdict)
    with decisive_ledger(state) as ledger:
        targets = find_targets(ledger.read, words, terminal)
        check_all(ledger.read, decision, targets.jobs)
        found = marks.of_ledger(ledger.read, marked) if marked else None
        those = found and frozenset(found.favourites if verdict == "approved" else found.rejects)
        chosen = _chosen(ledger.read, targets, name, those)
        kept = {} if name or marked or verdict == "rejected" else _rejected(ledger.read, targets, chosen)
        outcome = carry_out(ledger, decision, [job.id for job in chosen if job.id not in kept])
        outcome.left += [Left(job, f"it is rejected; if meant, approve {job.short}") for job in kept.values()]
    changed = outcome.changed
    summary = f"{count(len(changed), 'file')} {verdict}" if changed else f"Nothing to be {verdict}"
    rest = ". The next run goes on with what is made from them." if changed and verdict == "approved" else "."
    document = outcome.json() | {"verdict": verdict}
    terminal.answer(document, summary + rest, *told(outcome, verdict))
    return 0


def _chosen(read: LedgerReader, targets: Targets, name: str | None, marked: frozenset[str] | None) -> list[JobReview]:
    """The jobs that are meant. Raises UsageError for a name that none of the campaigns has."""
    jobs = list(targets.jobs)
    for campaign in targets.campaigns:
        waiting = behind_a_gate(read, campaign)
        jobs += [job for job in select(read, campaign=campaign, statuses=[Status.SUCCEEDED]) if job.id in waiting]
    chosen = [job for job in jobs if name is None or named_like(job.name, name)]
    if name is not None and not chosen:
        raise UsageError(f"--name {name} matches no prompt whose file waits for a person")
    return [job for job in chosen if marked is None or job.id in marked]


def _rejected(read: LedgerReader, targets: Targets, chosen: Sequence[JobReview]) -> dict[JobId, JobReview]:
    """Those that a person has rejected and that are meant by the name of their campaign only."""
    named = {job.id for job in targets.jobs}
    return {job.id: job for job in chosen if job.id not in named and file_of(read, job.id)[1] == "rejected"}
