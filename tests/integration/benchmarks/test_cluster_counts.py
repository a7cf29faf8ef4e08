"""What the benchmark of a cluster counts from the simulator's log."""

from __future__ import annotations

from benchmarks.cluster.counts import largest_gap, late_creates, over_limit
from benchmarks.soak.books import Books
from benchmarks.soak.truth import Request, Sold, Truth


def truth(*creates: tuple[float, str], results: tuple[float, ...] = ()) -> Truth:
    asked = [Request(at, "create", "", key, "body") for at, key in creates]
    asked += [Request(at, "result", "1-x/task.mp4", "", "") for at in results]
    sold = {key: Sold(f"task-{key}", key, b"{}", at, 10, 10, True) for at, key in reversed(creates)}
    return Truth([*sold.values()], {}, asked)


def known(key: str, at: str) -> Books:
    """A ledger that has the task of a key from then on."""
    attempt = {"job_id": "job", "number": 1, "idempotency_key": key}
    event = {"job_id": "job", "attempt": 1, "event": "queued", "at": at}
    return Books([], [attempt], [event], [], [], [], [], [], [])


def test_a_create_of_a_task_that_is_known_is_late() -> None:
    lost_and_repeated = truth((10.0, "a"), (11.0, "a"))
    assert late_creates(lost_and_repeated, known("a", "1970-01-01T00:00:12Z")) == 0
    assert late_creates(lost_and_repeated, known("a", "1970-01-01T00:00:10.500Z")) == 1
    assert late_creates(lost_and_repeated, known("b", "1970-01-01T00:00:01Z")) == 0


def test_any_minute_counts_and_a_gap_is_between_purchases_and_downloads() -> None:
    found = truth((0.0, "a"), (30.0, "b"), (59.9, "c"), (60.0, "d"), results=(100.0,))
    assert over_limit(found, 3, 3) == 0
    assert over_limit(found, 2, 1) == 3
    assert largest_gap(found) == 40.0
