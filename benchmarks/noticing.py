"""How late the end of a task is noticed, against the polls that it took: learned polls beside others.

The real engine, lifecycle and ledger run on virtual time against tasks of known length. A first run learns, a second
one reads from the ledger what was learned and is measured: the delay is from the task's end to the commit that records
it. What other policies do is computed, for they look at nothing but a task's age; one of them is run by the engine too,
to show that this comes to the same.

The fair peer of learned polls is the fixed interval whose median delay is the same, within a tolerance. It is searched
on many tasks of the same kind, for among some hundred tasks a lucky interval could be found. Then the polls of both for
the same tasks are compared.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from batcher.clock import Clock, from_iso
from batcher.jobs import Intent, Status, TaskState
from batcher.lifecycle.learned_waits import LearnedWaits
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
limits: {{submit: 100000/second, requests: 100000/second, in_flight: 20}}
polling: {{first: {polling.first}, every: {polling.every}, max: {polling.max}, give_up: 86400}}
results: {{download: false}}
"""

Draw = Callable[[random.Random], float]


def _like(median: float, sigma: float) -> Draw:
    return lambda chance: median * chance.lognormvariate(0, sigma)


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
    _Case("lognormal, 60 s, σ 0.25", _like(60, 0.25), 1000, 0.5),
    _Case("lognormal, 180 s, σ 0.25", _like(180, 0.25), 300, 0.5),
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

    def figures(self, name: str) -> Iterator[Figure]:
        yield Figure(f"{name}: median delay", self.median, "s")
        yield Figure(f"{name}: 90th percentile of it", sorted(self.delays)[9 * len(self.delays) // 10], "s")
        yield Figure(f"{name}: polls a task", self.polls)


def measure(full: bool) -> Iterator[Figure]:
    """Each case with each policy, and the ratios."""
    for case in _CASES if full else _CASES[:3]:
        tasks = _tasks(case, _LEARNING + case.measured * (4 if full else 1))
        learned, tasks = _run(tasks, _POLLING), tasks[_LEARNING:]
        interval = _interval_like(learned.median / _TOLERANCE, case)
        fixed = _fixed(interval, tasks)
        yield from _fixed(_POLLING.every, tasks).figures(f"{case.name}, every {_POLLING.every:g} s")
        yield from _growing(tasks).figures(f"{case.name}, growing intervals")
        yield from fixed.figures(f"{case.name}, every {interval:.2f} s")
        yield from learned.figures(f"{case.name}, learned")
        ratio = learned.polls / fixed.polls
        yield at_most(f"{case.name}: polls for that delay, learned / fixed", ratio, case.share)
    tasks = _tasks(_CASES[0], _LEARNING + 100)
    by_engine, computed = _run(tasks, Polling(first=5.0, every=5.0, max=5.0)), _fixed(5.0, tasks[_LEARNING:])
    yield Figure("every 5 s, by the engine / computed: polls", by_engine.polls / computed.polls)
    yield Figure("every 5 s, by the engine / computed: median delay", by_engine.median / computed.median)


def _tasks(case: _Case, number: int) -> list[float]:
    chance = random.Random(11)  # noqa: S311  (the same each time)
    return [case.draw(chance) for _ in range(number)]


# Without an engine. An answer tells of the state half a round trip before it is here.


def _growing(tasks: Sequence[float]) -> _Noticed:
    nothing_known = LearnedWaits(_POLLING)
    delays, polls = list[float](), 0
    for seconds in tasks:
        age, polled = 0.0, False
        while not polled or age - _ROUND_TRIP / 2 < seconds:
            age += nothing_known.next_poll(age, polled=polled) + _ROUND_TRIP
            polls, polled = polls + 1, True
        delays.append(age - seconds)
    return _Noticed(delays, polls / len(tasks))


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
    """An API whose tasks take as long as it is told, one after the other; without HTTP, which nobody measures here."""

    def __init__(self, clock: Clock, tasks: Sequence[float], base_url: str, key: str) -> None:
        super().__init__(base_url, key, clock)
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


def _run(tasks: Sequence[float], polling: Polling) -> _Noticed:
    """Learn from the first tasks in one run, and measure the others in another one."""
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
            bench.api_of_tasks = _Api(bench.clock, part, BASE_URL, KEY)
            prompts = ", ".join(f"Boat {number}" for number in range(len(part)))
            text = _MANIFEST.format(name=name, prompts=prompts, polling=polling)
            ending = bench.run(bench.write(text, f"{name}.yaml"))
            if ending.left:
                raise RuntimeError(f"{name}: {ending.reason}: {ending.left}")
        with bench.reader() as reader:
            rows = reader.rows("SELECT task_id, finished_at FROM jobs WHERE campaign = 'measured'")
    ends = bench.api_of_tasks.ends
    return _Noticed(
        [from_iso(r["finished_at"]) - ends[r["task_id"]] for r in rows], bench.api_of_tasks.polls / len(rows)
    )
