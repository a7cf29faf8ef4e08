"""Admissions a second with a network between worker and database: real purchases (caps, class, wallet) in groups.

The network is a process that carries bytes over loopback and holds each piece for half a millisecond, both ways. What
it really takes is measured beside, and the round trips under the lock are counted, which no busy machine changes. The
wallet was read right before: what counts since is what the measured groups buy.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from batcher.clock import SystemClock
from batcher.cluster.store import PostgresLedger, create
from batcher.jobs import Account, Intent, Job, JobId, JobSpec, Status, TaskState
from batcher.ledger import Buying, Caps, NotAdmitted
from benchmarks.figures import Figure, at_least, at_most, middle
from benchmarks.running import scratch

from .machines import Database

GROUP = 16
ONE_WAY_SECONDS = 0.0005
GOAL = 500
_ACCOUNT = Account("https://api.test", "0123456789ab")


def measure(full: bool) -> Iterator[Figure]:
    """One worker's admissions; several share the lock, so together they make no more."""
    groups = 40 if full else 8
    with scratch(memory=True) as folder:
        database = Database(folder / "postgres")
        create(database.conninfo, SystemClock())
        try:
            with network(database.socket) as port:
                conninfo = f"postgresql://postgres@127.0.0.1:{port}/postgres"
                yield from _measured(conninfo, groups)
        finally:
            database.end()


def _measured(conninfo: str, groups: int) -> Iterator[Figure]:
    with closing(PostgresLedger.connect(conninfo)) as ledger:
        ledger.start_run(version="1", pid=1, account=_ACCOUNT.text, campaigns=["admissions"], settings="{}")
        specs = [_spec(number) for number in range((groups + 2) * GROUP)]
        for step in ledger.enrolling("admissions", "admissions.yaml", specs):
            step()
        caps = Caps(run=10**6, campaigns={"admissions": 10**6}, day=10**6, keep=1, wallet=10**6)
        jobs = [ledger.read.load(spec.id) for spec in specs]
        buy = partial(ledger.intend, account=_ACCOUNT, compose=lambda request_id: request_id.encode() * 20, caps=caps)
        first = buy(jobs[0])
        assert isinstance(first, Intent)
        price = TaskState("task", Status.QUEUED, "queued", reserved_credits=10, final_credits=0)
        ledger.submitted(first, price)  # all of a class go on once its price is known
        ledger.commit_group(_group(buy, jobs[1:GROUP]))
        buy = partial(buy, caps=replace(caps, wallet_mark=ledger.read.newest_attempt()))
        trip = middle([_asked(ledger) for _ in range(50)])
        before, took = ledger.connection.round_trips, list[float]()
        pids = (os.getpid(), ledger.connection.raw.info.backend_pid)
        used = sum(map(_processor, pids))
        for number in range(1, groups + 1):
            began = time.perf_counter()
            found = ledger.commit_group(_group(buy, jobs[number * GROUP : (number + 1) * GROUP]))
            took.append((time.perf_counter() - began) / GROUP)
            assert all(isinstance(each, Intent) for each in found)
        used = (sum(map(_processor, pids)) - used) / groups / GROUP
        trips = (ledger.connection.round_trips - before + groups) / groups / GROUP  # and the begin of each group
    yield Figure("a round trip (half of it each way), median", trip * 1000, "ms")
    yield at_most(f"round trips under the lock an admission, groups of {GROUP}", trips, 0.25)
    yield Figure("admissions a second, as measured (median group)", 1 / middle(took), "/s")
    yield Figure("processor time an admission, of worker and database", used * 1000, "ms")
    bound = 1 / (trips * 0.001 + used)
    yield at_least("admissions a second of 1 ms a round trip and this processor time", bound, GOAL, "/s")


def _group(buy: Callable[..., Intent | NotAdmitted], jobs: Sequence[Job]) -> list[Buying[Intent | NotAdmitted]]:
    return [Buying(job, partial(buy, job)) for job in jobs]


def _processor(pid: int) -> float:
    """Seconds that a process has had a processor; a busy machine makes it wait, which does not count (Linux)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _asked(ledger: PostgresLedger) -> float:
    began = time.perf_counter()
    ledger.now()
    return time.perf_counter() - began


def _spec(number: int) -> JobSpec:
    return JobSpec(
        id=JobId(f"{number:032x}"),
        campaign="admissions",
        model="grok-imagine-video",
        name=f"prompt-{number}",
        prompt=f"Boat {number}",
        params={},
        reference=None,
        take=1,
        price_class="small",
        catalog_credits=10,
        file_name=f"boat-{number}",
    )


@contextmanager
def network(target: Path) -> Iterator[int]:
    """The port of loopback that leads to a socket, slowly; carried by a process, so that nobody waits for its turns."""
    command = [sys.executable, "-m", "benchmarks.cluster.admissions", str(target)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _carry(source: socket.socket, to: socket.socket) -> None:
    """Bytes of one direction; a thread sleeps more exactly than an event loop, whose timers count milliseconds."""
    while data := source.recv(1 << 16):
        time.sleep(ONE_WAY_SECONDS)
        to.sendall(data)
    to.close()


def main(target: str) -> None:
    """Be the network, until it is killed."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        here, _ = listening.accept()
        here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there = socket.socket(socket.AF_UNIX)
        there.connect(target)
        for pair in ((here, there), (there, here)):
            threading.Thread(target=_carry, args=pair, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
