"""The ledger, the files and the requests, compared with the simulator's own books."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import books as ledger_books
from . import truth as api_truth
from .api import KEY
from .books import Books, seconds
from .driver import Story
from .replay import Replay, replay
from .scenarios import Scenario
from .truth import Sold, Truth, sha256

#: The kind of a request in the simulator's log, by its kind in the ledger's log of sends.
_KINDS: dict[str, str] = {"submit": "create", "poll": "status", "download": "result"}
_JOB = re.compile(r"-([0-9a-f]{32})-take\d+-\d+$")
_LEFT_OF_A_CRASH = ("Traceback (most recent call last)", "Fatal Python error")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `sort`: `duplicate` (paid twice), `lost` (paid and not had), `breach` (the rest)."""

    sort: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A scenario's findings and what they were found in. `wallet` is what the simulator says is left."""

    scenario: Scenario
    story: Story
    truth: Truth
    books: Books
    replay: Replay
    wallet: int
    findings: list[Finding]

    def count(self, sort: str) -> int:
        """Findings of a sort."""
        return sum(finding.sort == sort for finding in self.findings)

    @property
    def settled(self) -> int:
        """Credits that the ledger has settled."""
        return sum(row["final_credits"] or 0 for row in self.books.attempts)

    @property
    def charged(self) -> int:
        """Credits that the simulator has kept."""
        return sum(sold.final for sold in self.truth.sold)


def audit(scenario: Scenario, story: Story, wallet: int, *, stamped: bool = True) -> Verdict:
    """Everything of one scenario, after its end and the simulator's; `stamped`: the ledger has a log of sends."""
    truth = api_truth.read(scenario.folder / "api")
    books = ledger_books.read(scenario.folder / "state")
    played = replay(books, scenario.caps)
    verdict = Verdict(scenario, story, truth, books, played, wallet, [])
    verdict.findings.extend(Finding("breach", fault) for fault in (*books.faults, *played.faults))
    if story.stuck:
        verdict.findings.append(Finding("breach", story.stuck))
    for check in (_purchases, _jobs, _bodies, _money, _files, _uploads, _outages, _texts, *(_limits,) * stamped):
        verdict.findings.extend(check(verdict))
    return verdict


def _job_of(sold: Sold) -> str:
    """The job that a body was sent for, by its trace id; the key is what is being checked."""
    found = _JOB.search(sold.trace)
    return found[1] if found else ""


def _purchases(v: Verdict) -> Iterator[Finding]:
    """Each job was charged once; each charged task stands in the ledger, under its key and with its body."""
    attempts = {row["idempotency_key"]: row for row in v.books.attempts}
    by_job = Counter(_job_of(sold) for sold in v.truth.sold)
    for job, times in by_job.items():
        if times > 1 or not job:
            yield Finding("duplicate", f"job {job or '(no trace id)'} was charged {times} times")
    for key, times in Counter(sold.key for sold in v.truth.sold).items():
        if times > 1 or not key:
            yield Finding("duplicate", f"key {key or '(none)'} was charged {times} times")
    for sold in v.truth.sold:
        row = attempts.get(sold.key)
        if row is None:
            yield Finding("lost", f"task {sold.task} was charged under key {sold.key}, which the ledger does not have")
            continue
        if row["task_id"] != sold.task:
            yield Finding("lost", f"task {sold.task} was charged; attempt {row['id']} has {row['task_id']}")
        if row["body"] != sold.body:
            yield Finding("breach", f"attempt {row['id']}: another body was sold than the ledger has")
        if row["final_credits"] != sold.final:
            yield Finding("breach", f"attempt {row['id']}: settled {row['final_credits']}, charged {sold.final}")
    tasks = {sold.task for sold in v.truth.sold}
    for row in v.books.attempts:
        if row["task_id"] is not None and row["task_id"] not in tasks:
            yield Finding("breach", f"attempt {row['id']} has task {row['task_id']}, which nobody sold")


def _jobs(v: Verdict) -> Iterator[Finding]:
    """Every job has come to its end; a doubtful one has no right to exist here, for no refusal can come about."""
    final = {"succeeded", "failed"} | (set() if v.scenario.complete else {"planned"})
    fates = {sold.task: "succeeded" if sold.succeeds else "failed" for sold in v.truth.sold}
    for job in v.books.jobs:
        if job["status"] not in final:
            yield Finding("breach", f"job {job['id']} is {job['status']}: {job['error_code']}, {job['error_message']}")
        elif job["task_id"] in fates and job["status"] != fates[job["task_id"]]:
            yield Finding("breach", f"job {job['id']} is {job['status']}, its task {fates[job['task_id']]}")
    if len(v.books.jobs) != v.scenario.jobs:
        yield Finding("breach", f"{len(v.books.jobs)} jobs in the ledger, {v.scenario.jobs} in the manifests")


def _bodies(v: Verdict) -> Iterator[Finding]:
    """No paid request under a key that was not on disk, none with two bodies, none before its intent."""
    attempts = {row["idempotency_key"]: row for row in v.books.attempts}
    bodies: dict[str, set[str]] = defaultdict(set)
    first: dict[str, float] = {}
    for request in v.truth.requests:
        if request.kind != "create":
            continue
        bodies[request.key].add(request.body)
        first[request.key] = min(request.at, first.get(request.key, request.at))
        if request.status == 409:
            yield Finding("breach", f"the simulator saw a conflict under key {request.key}")
    for key, sent in bodies.items():
        row = attempts.get(key)
        if row is None:
            yield Finding("breach", f"a paid request under key {key}, which the ledger does not have")
        elif sent != {sha256(row["body"])}:
            yield Finding("breach", f"key {key} was sent with {len(sent)} bodies, or another one than the ledger has")
        elif first[key] < seconds(row["intended_at"]):
            yield Finding("breach", f"attempt {row['id']} was sent before its intent was on disk")


def _money(v: Verdict) -> Iterator[Finding]:
    """Settled = charged = what the wallet lost; nothing is held; `spent` is what the attempts come to."""
    taken = v.scenario.wallet - v.wallet
    if not v.settled == v.charged == taken:
        yield Finding("breach", f"{v.settled} settled, {v.charged} charged, {taken} gone from the wallet")
    for row in v.books.attempts:
        if row["final_credits"] is None:
            yield Finding("breach", f"attempt {row['id']} still holds its credits ({row['outcome']})")
    by_hand: dict[tuple[int, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in v.books.attempts:
        sums = by_hand[row["run_id"], row["campaign"], row["day"]]
        if row["final_credits"] is None:
            sums[0] += row["hold_credits"]
        else:
            sums[1] += row["final_credits"]
    kept = {(row["run_id"], row["campaign"], row["day"]): [row["held"], row["settled"]] for row in v.books.spent}
    for place in by_hand.keys() | kept.keys():
        if by_hand.get(place, [0, 0]) != kept.get(place, [0, 0]):
            yield Finding("breach", f"spent{place} says {kept.get(place)}, the attempts {by_hand.get(place)}")
    if not v.scenario.complete:
        planned = sum(job["status"] == "planned" for job in v.books.jobs)
        for campaign, cap in v.scenario.caps.items():
            dearest = max(row["hold_credits"] for row in v.books.attempts)
            committed = sum(row["final_credits"] or 0 for row in v.books.attempts if row["campaign"] == campaign)
            if planned and committed + dearest <= cap:
                yield Finding("breach", f"{campaign} left {planned} jobs with {cap - committed} credits to spend")


def busiest(times: list[float], window: float) -> int:
    """The most of these (ordered) times that any window of that many seconds holds; its later end is outside."""
    most = start = 0
    for end, at in enumerate(times):
        while times[start] <= at - window:
            start += 1
        most = max(most, end - start + 1)
    return most


def _limits(v: Verdict) -> Iterator[Finding]:
    """No minute holds more stamps than the manifest allows, and no request arrived that had not been stamped."""
    stamps: dict[str, list[float]] = defaultdict(list)
    for send in v.books.sends:
        kind = str(send["kind"])
        stamps[_KINDS.get(kind, kind)].append(seconds(send["at"]))
    for kinds, limit in ((["create"], v.scenario.submit), (list(stamps), v.scenario.requests)):
        found = busiest(sorted(at for kind in kinds for at in stamps[kind]), 60.0)
        if found > limit:
            yield Finding("breach", f"{found} requests ({', '.join(kinds)}) in a minute, {limit} allowed")
    arrivals: dict[str, list[float]] = defaultdict(list)
    for request in v.truth.requests:
        arrivals[request.kind].append(request.at)
    for kind, times in arrivals.items():
        known = sorted(stamps[kind])
        ahead = [at for n, at in enumerate(sorted(times), 1) if bisect_right(known, at) < n]
        if ahead:
            yield Finding("breach", f"{len(ahead)} requests ({kind}) arrived without or before their stamp")


def _files(v: Verdict) -> Iterator[Finding]:
    """Each success has its whole file, as it was served, under a name of its own; and there are no others."""
    state = v.scenario.folder / "state"
    served: dict[str, set[str]] = defaultdict(set)
    for request in v.truth.requests:
        if request.sha256:
            served[Path(request.subject).stem].add(request.sha256)
    named = Counter(job["result_path"] for job in v.books.jobs if job["result_path"])
    for job in v.books.jobs:
        if job["status"] != "succeeded":
            continue
        path = state / job["result_path"] if job["result_path"] else None
        if path is None or not path.is_file():
            yield Finding("lost", f"job {job['id']} has no file ({job['result_path']})")
        elif not {sha256(path.read_bytes())} == {job["result_sha256"]} == served[job["task_id"]]:
            yield Finding("lost", f"job {job['id']}: {job['result_path']} is not what was served")
    for name, times in named.items():
        if times > 1:
            yield Finding("lost", f"{times} jobs have the file {name}")
    found = {str(path.relative_to(state)) for path in (state / "results").rglob("*") if path.is_file()}
    for name in sorted(found - set(named)):
        yield Finding("breach", f"nobody's file: {name}")


def _uploads(v: Verdict) -> Iterator[Finding]:
    """Each file went up once, save that an answer was lost, unreadable or never recorded."""
    spoiled = Counter(r.did != "" or r.status != 200 for r in v.truth.requests if r.kind == "upload")[True]
    more = sum(v.truth.uploads.values()) - len(v.truth.uploads)
    if more > spoiled + v.story.kills:
        yield Finding("breach", f"{more} uploads were made again, {spoiled} answers were spoiled")
    if unknown := set(v.truth.uploads) - {row["sha256"] for row in v.books.uploads}:
        yield Finding("breach", f"{len(unknown)} uploaded files are not in the ledger")


def _outages(v: Verdict) -> Iterator[Finding]:
    """While the API was dead no run asked twice for the same thing: the outage burnt nobody's repeats."""
    starts = [seconds(row["started_at"]) for row in v.books.runs]
    for began, ended in v.story.outages:
        asked = Counter(
            (bisect_right(starts, r.at), r.kind, r.key or r.subject)
            for r in v.truth.requests
            if r.did == "outage" and r.kind not in ("credits", "upload") and began <= r.at <= ended
        )
        again = {what: times for what, times in asked.items() if times > 1}
        if again:
            yield Finding(
                "breach", f"{len(again)} jobs were asked for again in an outage: {dict(list(again.items())[:3])}"
            )
    for row in v.books.attempts:
        if row["outcome"] == "refused" and row["error_code"] in ("unreachable", "not_sent"):
            inside = any(began <= seconds(row["finished_at"]) <= ended for began, ended in v.story.outages)
            if inside:
                yield Finding("breach", f"attempt {row['id']} was given up in an outage: {row['error_message']}")


def _texts(v: Verdict) -> Iterator[Finding]:
    """No traceback, and the key nowhere in what batcher has left behind."""
    log = v.scenario.folder / "runs.log"
    told = log.read_text("utf-8", "replace")
    for mark in _LEFT_OF_A_CRASH:
        if mark in told:
            yield Finding("breach", f"{told.count(mark)} of {mark!r} in {log}")
    for path in (log, *(v.scenario.folder / "state").glob("ledger.db*")):
        if KEY.encode() in path.read_bytes():
            yield Finding("breach", f"the API key stands in {path}")
