"""Chaos: a run over three workers that are killed, stopped and cut off, on a PostgreSQL that crashes.

Every three seconds something happens to a worker: SIGKILL and a new start, SIGSTOP beyond its lease, or no network
beyond its lease; but not before one that was killed is there again, and something was bought or ended since (a busy
machine needs more than three seconds to start one). PostgreSQL is killed twice (its postmaster, by SIGKILL). One answer
in twenty to a paid request is lost. What was bought is counted from the simulator's own books, and everything is
audited as the soak's ledgers are.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figures import Figure, at_most
from benchmarks.running import MEMORY
from benchmarks.soak.audit import Verdict, audit
from benchmarks.soak.driver import Story
from benchmarks.soak.scenarios import Scenario, Sizes, capped, hostile

from .counts import largest_gap, late_creates, over_limit
from .machines import Cluster, Machine, cluster

JOBS, SHORT_JOBS = 1000, 60
EVERY, AWAY = 3.0, 3.0
#: Seconds; on a busy machine longer, for there a worker that lives is not heard of for as long as one that is dead.
LEASE = max(4, round(os.getloadavg()[0]))
#: How long chaos waits for progress at most, in seconds: starting three workers may take a busy machine so long.
PATIENCE = 20.0
#: No longer without anything bought or fetched: a lease, the crash of the database, and its start.
GAP_SECONDS = 11.0 + LEASE
#: The share of deeds that are kills.
_KILLS = 0.6
_FAULTS = ("create:lost:rate=0.04", "create:lost:reset,rate=0.01")
_LONGEST_SECONDS = 1500.0
_SHOWN = 20


class Chaos(threading.Thread):
    """Does something to a random worker every so often; `done` counts what."""

    def __init__(self, found: Cluster, seed: int, crashes: list[float]) -> None:
        super().__init__(name="chaos")
        self._cluster = found
        self._chance = random.Random(seed)  # noqa: S311  (repeatable)
        self._crashes = crashes
        self._over = threading.Event()
        self._seen = 0
        self.done = Counter[str]()
        self.failure: BaseException | None = None

    def run(self) -> None:
        late: list[threading.Thread] = []
        began = before = time.monotonic()
        try:
            while not self._over.wait(max(0.0, before + EVERY - time.monotonic())):
                self._let_progress()
                before = time.monotonic()
                if self._crashes and before - began > self._crashes[0]:
                    del self._crashes[0]
                    self._count("PostgreSQL crashed")
                    self._cluster.database.crash(AWAY)
                    continue
                free = [machine for machine in self._cluster.machines if not machine.busy]
                if len(free) < 2:
                    continue  # one is always left alone
                machine = self._chance.choice(free)
                if machine.network is None or self._chance.random() < _KILLS:
                    self._kill(machine)
                    continue
                machine.busy = True
                deed = self._chance.choice([self._pause, self._cut])
                late.append(threading.Thread(target=self._do, args=[deed, machine]))
                late[-1].start()
        except BaseException as error:  # the driver's thread raises it
            self.failure = error
        for each in late:
            each.join()

    def _let_progress(self) -> None:
        """Wait until something was bought or could be fetched since the last look, so that a busy machine gets on."""
        give_up = time.monotonic() + PATIENCE
        while self._progress() == self._seen and time.monotonic() < give_up and not self._over.wait(0.2):
            pass
        self._seen = self._progress()

    def _progress(self) -> int:
        return (self._cluster.folder / "api" / "journal.jsonl").stat().st_size

    def _do(self, deed: Callable[[Machine], None], machine: Machine) -> None:
        try:
            deed(machine)
        except BaseException as error:
            self.failure = error
        finally:
            machine.busy = False

    def _kill(self, machine: Machine) -> None:
        self._count("killed (-9)")
        machine.kill()
        machine.start()
        self._cluster.joined(machine)

    def _pause(self, machine: Machine) -> None:
        self._count("stopped beyond the lease")
        machine.signal(signal.SIGSTOP)
        self._over.wait(LEASE + 2)
        machine.signal(signal.SIGCONT)

    def _cut(self, machine: Machine) -> None:
        assert machine.network is not None
        self._count("cut off beyond the lease")
        machine.network.cut()
        self._over.wait(LEASE + 2)
        machine.network.mend()

    def _count(self, what: str) -> None:
        self.done[what] += 1
        print(f"   {time.strftime('%H:%M:%S')} {what}", file=sys.stderr)

    def end(self) -> None:
        """Nothing more happens, and what did is over."""
        self._over.set()
        self.join()
        if self.failure:
            raise self.failure


def drive(scenario: Scenario, *, workers: int = 3, chaos: bool = True) -> tuple[Story, int, Counter[str]]:
    """Run it once to its end, whatever happens; the story, the wallet's rest, and what was done to the workers."""
    story = Story()
    with cluster(scenario.folder, scenario.switches, workers=workers, lease=LEASE, concurrency=30) as found:
        found.start()
        rest = (40.0, 100.0) if scenario.jobs >= JOBS else (20.0,)
        trouble = Chaos(found, scenario.seed, list(rest))
        began = time.monotonic()
        run = found.batcher("run", *map(str, scenario.manifests), "--quiet", log="runs.log")
        if chaos:
            trouble.start()
        try:
            while run.poll() is None:
                if time.monotonic() - began > _LONGEST_SECONDS:
                    story.stuck = f"the run had not ended after {_LONGEST_SECONDS:.0f} s"
                    break
                time.sleep(0.1)
            story.seconds = time.monotonic() - began
        finally:
            run.kill()
            if chaos:
                trouble.end()
        story.runs, story.kills = 1, trouble.done["killed (-9)"]
        story.endings[run.wait()] += 1
        for number, machine in enumerate(found.machines):
            if machine.end():
                story.stuck = story.stuck or f"worker {number} did not leave"
        said = b"".join(machine.log.read_bytes() for machine in found.machines)
        with (scenario.folder / "runs.log").open("ab") as log:  # which the audit reads
            log.write(said)
        found.mirror()
        return story, found.api.wallet(), trouble.done


def figures(verdict: Verdict) -> Iterator[Figure]:
    """What a scenario came to."""
    name, truth = verdict.scenario.name, verdict.truth
    creates = sum(request.kind == "create" for request in truth.requests)
    lost = sum(request.kind == "create" and request.did == "lost" for request in truth.requests)
    yield Figure(f"{name}: jobs, and creates that came", verdict.scenario.jobs, f"({creates})")
    yield Figure(f"{name}: answers to creates that were lost", lost)
    yield at_most(f"{name}: duplicates", verdict.count("duplicate"), 0)
    yield at_most(f"{name}: lost", verdict.count("lost"), 0)
    yield at_most(f"{name}: breaches of caps, and all else that the audit finds", verdict.count("breach"), 0)
    over = over_limit(truth, verdict.scenario.submit, verdict.scenario.requests)
    yield at_most(f"{name}: requests above a limit", over, 0)
    yield at_most(f"{name}: creates that came when their task was known", late_creates(truth, verdict.books), 0)
    yield Figure(f"{name}: wall time", verdict.story.seconds, "s")
    if verdict.scenario.complete:  # the other one waits for room in its minute
        yield at_most(f"{name}: largest gap without progress", largest_gap(truth), GAP_SECONDS, "s")


def measure(full: bool) -> Iterator[Figure]:
    """Both of the soak's scenarios under chaos. A folder in which a goal was missed is kept."""
    jobs = JOBS if full else SHORT_JOBS
    sizes = Sizes(
        jobs=jobs,
        seed=1,
        kill_every=(EVERY, EVERY),
        outage=0.0,
        submit=max(600, jobs),  # does not bind, so that every gap is one of progress; that of `capped` does
        requests=4 * max(600, jobs),
        api_creates=1000,
        times=8,
        faults=_FAULTS,
    )
    folder = Path(tempfile.mkdtemp(prefix="batcher-chaos-", dir=MEMORY))
    fine = True
    for make in (hostile, capped):
        scenario = make(folder / make.__name__, sizes)
        story, wallet, done = drive(scenario)
        verdict = audit(scenario, story, wallet, stamped=False)
        for what, times in sorted(done.items()):
            yield Figure(f"{scenario.name}: {what}", times)
        yield Figure(f"{scenario.name}: lease", LEASE, "s")
        for figure in figures(verdict):
            fine = fine and figure.met is not False
            yield figure
        for finding in verdict.findings[:_SHOWN]:
            print(f"{scenario.name}: {finding.sort}: {finding.text}")
    if fine:
        shutil.rmtree(folder)
    else:
        print(f"Everything is kept in {folder}", file=sys.stderr)
