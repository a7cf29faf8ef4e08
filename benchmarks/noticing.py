"""How late the end of a task is noticed, and how many polls that took.

The real engine, lifecycle and ledger run on virtual time against tasks of known length. A first run learns, a second
one reads from the ledger what was learned and is measured: the delay is from the task's end to the commit that records
it. With room for requests, and where room is scarce.

What schedules are worth apart from any engine is computed, for they look at nothing but a task's age. The fair peer of
learned polls is the fixed interval whose median delay is the same, within a tolerance. It is searched on many tasks of
the same kind, for among some hundred tasks a lucky interval could be found. Then the polls of both for the same tasks
are compared.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import anyio
import httpx2

from batcher.clock import Clock, from_iso
from batcher.jobs import Intent, Status, TaskState
from batcher.lifecycle.learned_waits import LearnedWaits, Waited
from batcher.providers import Accepted, Provider
from batcher.providers.rivya import Rivya
from batcher.settings import Polling

from .figures import Figure, at_most, middle
from .running import ROOT

_LEARNING = 120
#: From so many tasks it is computed which fixed interval gives a median delay.
_MANY = 20_000
#: The median of some hundred delays is uncertain by so much: learned polls may be later than fixed ones by this factor.
_TOLERANCE = 1.05
#: Seconds from a request to its answer.
_ROUND_TRIP = 0.1
#: The defaults, by which learned and growing polls are bounded.
_POLLING = Polling()
_MANIFEST = """\
campaign: {name}
model: grok-imagine-video
prompts: [{prompts}]
limits: {{submit: 100000/second, requests: {requests}, in_flight: 20}}
polling: {{first: {polling.first}, every: {polling.every}, max: {polling.max}, give_up: 86400}}
results: {{download: false}}
"""

Draw = Callable[[random.Random], float]


def _lognormal(median: float, sigma: float, chance: random.Random) -> float:
    return median * chance.lognormvariate(0, sigma)


def _like(median: float, sigma: float) -> Draw:
    return partial(_lognormal, median, sigma)


def _mixed(chance: random.Random) -> float:
    return 20 * chance.paretovariate(1.5) if chance.random() < 0.5 else 60 * chance.lognormvariate(0, 0.3)


@dataclass(frozen=True, slots=True)
class _Case:
    """How tasks wait, in seconds; how many are measured; how many polls there may be for one of the fixed interval."""

    name: str
    draw: Draw
    measured: int
    share: float


_CASES = (
    _Case("lognormal, 60 s, σ 0.25", _like(60, 0.25), 150, 0.5),
    _Case("lognormal, 180 s, σ 0.25", _like(180, 0.25), 150, 0.5),
    _Case("lognormal, 60 s, σ 1", _like(60, 1), 300, 1.0),
    _Case("half of it Pareto 1.5 from 20 s", _mixed, 300, 1.0),
)


@dataclass(frozen=True, slots=True)
class _Noticed:
    """What came of a policy: delays in seconds and polls a task."""

    delays: Sequence[float]
    polls: float

    @property
    def median(self) -> float:
        return middle(self.delays)

    @property
    def late(self) -> float:
        """The 95th percentile."""
        return sorted(self.delays)[19 * len(self.delays) // 20]


@dataclass(frozen=True, slots=True)
class _Settings:
    """How a user may have it, with 20 jobs in flight; goals for median and 95th percentile in seconds."""

    name: str
    polling: Polling
    requests: str
    goals: tuple[float, float] | None


_USERS = (
    _Settings("defaults, with room", _POLLING, "3000/minute", (3.0, 6.0)),
    _Settings("1 s, 2 s, 5 s, with room", Polling(first=1.0, every=2.0, max=5.0), "3000/minute", (1.5, 4.0)),
    _Settings("defaults, scarce room (60/minute)", _POLLING, "60/minute", None),
)


def measure(full: bool) -> Iterator[Figure]:
    """What users meet, by default also with tasks of three minutes; then schedules, each beside its fixed interval."""
    met = [
        (case, user)
        for case in (_CASES if full else _CASES[:2])
        for user in _USERS
        if full or case is _CASES[0] or user is _USERS[0]
    ]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:  # virtual time is as long beside others
        for (case, user), found in zip(met, pool.map(_of_user, *zip(*met, strict=True)), strict=True):
            name = f"{case.name}; {user.name}"
            for what, value, number in (("median", found.median, 0), ("95th percentile", found.late, 1)):
                label = f"{name}: noticed after, {what}"
                yield at_most(label, value, user.goals[number], "s") if user.goals else Figure(label, value, "s")
            yield Figure(f"{name}: polls a task", found.polls)
    for case in _CASES if full else _CASES[:3]:
        tasks = _tasks(case, _LEARNING + 600)
        learned, tasks = _by_age(tasks), tasks[_LEARNING:]
        interval = _interval_like(learned.median / _TOLERANCE, case)
        ratio = learned.polls / _fixed(interval, tasks).polls
        yield at_most(f"{case.name}: polls for the delay of every {interval:.1f} s, learned", ratio, case.share, "×")


def _tasks(case: _Case, number: int) -> list[float]:
    chance = random.Random(11)  # noqa: S311  (the same each time)
    return [case.draw(chance) for _ in range(number)]


# Without an engine. An answer tells of the state half a round trip before it is here.


def _by_age(tasks: Sequence[float]) -> _Noticed:
    """Learned polls of the tasks behind those that are learned from, one after the other."""
    known = LearnedWaits(_POLLING)
    delays, polls = list[float](), 0
    for number, seconds in enumerate(tasks):
        age, seen, polled = 0.0, 0.0, False
        while not polled or age - _ROUND_TRIP / 2 < seconds:
            seen, age = age, age + known.next_poll(age, polled=polled) + _ROUND_TRIP
            polls, polled = polls + (number >= _LEARNING), True
        known.ended(Waited(seen, age))
        delays.append(age - seconds)
    measured = delays[_LEARNING:]
    return _Noticed(measured, polls / len(measured))


def _fixed(interval: float, tasks: Sequence[float]) -> _Noticed:
    step = interval + _ROUND_TRIP
    polls = [max(1, math.ceil((seconds + _ROUND_TRIP / 2) / step)) for seconds in tasks]
    return _Noticed([n * step - seconds for n, seconds in zip(polls, tasks, strict=True)], sum(polls) / len(polls))


def _interval_like(median: float, case: _Case) -> float:
    """The fixed interval in seconds that has this median delay."""
    tasks = _tasks(case, _MANY)
    low, high = median, 4 * median
    for _ in range(20):
        interval = (low + high) / 2
        low, high = (interval, high) if _fixed(interval, tasks).median <= median else (low, interval)
    return low


# With the engine


class _Api(Rivya):
    """An API whose tasks take as long as it is told, one after the other; without HTTP, which nobody measures here.

    Whatever else is asked for goes to `others`.
    """

    def __init__(
        self, clock: Clock, tasks: Sequence[float], others: httpx2.AsyncBaseTransport, base_url: str, key: str
    ) -> None:
        super().__init__(base_url, key, clock, transport=others)
        self._time = clock
        self._tasks = iter(tasks)
        self.ends: dict[str, float] = {}
        self.polls = 0

    async def submit(self, intent: Intent) -> Accepted:
        await anyio.sleep(_ROUND_TRIP)
        self.ends[intent.key] = self._time.wall() + next(self._tasks)
        return Accepted(self._state(intent.key))

    async def poll(self, task_id: str) -> TaskState:
        await anyio.sleep(_ROUND_TRIP / 2)
        self.polls += 1
        state = self._state(task_id)
        await anyio.sleep(_ROUND_TRIP / 2)
        return state

    def _state(self, task_id: str) -> TaskState:
        status = Status.SUCCEEDED if self._time.wall() >= self.ends[task_id] else Status.PROCESSING
        return TaskState(task_id, status, str(status), 10, 10, (f"https://results.example/{task_id}.mp4",))


def _of_user(case: _Case, user: _Settings) -> _Noticed:
    """Learn from the first tasks in one run, and measure the others in another one."""
    tasks, polling = _tasks(case, _LEARNING + case.measured), user.polling
    sys.path.insert(0, str(ROOT / "tests"))  # the virtual clock of the tests, and their composition of a run
    try:
        from support import BASE_URL, KEY, Bench
    finally:
        sys.path.pop(0)

    class Timed(Bench):
        api_of_tasks: _Api

        def provider(self) -> Provider:
            return self.api_of_tasks

    memory = Path("/dev/shm")  # noqa: S108  (virtual time has no use for the time of a disk)
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        bench = Timed(Path(scratch))
        for name, part in (("learning", tasks[:_LEARNING]), ("measured", tasks[_LEARNING:])):
            bench.api_of_tasks = _Api(bench.clock, part, bench.api, BASE_URL, KEY)
            prompts = ", ".join(f"Boat {number}" for number in range(len(part)))
            text = _MANIFEST.format(name=name, prompts=prompts, polling=polling, requests=user.requests)
            ending = bench.run(bench.write(text, f"{name}.yaml"))
            if ending.left:
                raise RuntimeError(f"{name}: {ending.reason}: {ending.left}")
        with bench.reader() as reader:
            rows = reader.rows("SELECT task_id, finished_at FROM jobs WHERE campaign = 'measured'")
    ends = bench.api_of_tasks.ends
    return _Noticed(
        [from_iso(r["finished_at"]) - ends[r["task_id"]] for r in rows], bench.api_of_tasks.polls / len(rows)
    )
