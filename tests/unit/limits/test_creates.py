"""The breaker for creates, by itself: a table of what creates came to, and what is thought of them then."""

from __future__ import annotations

import pytest
from core_helpers import job_name

from batcher.limits.creates import CreateBreaker


@pytest.mark.parametrize(
    ("story", "down"),
    [
        ("", False),
        ("-1 -2", False),
        ("-1 -1 -1 -1", False),  # one job's trouble, however often
        ("-1 -2 -3", True),
        ("-1 -2 +4 -3", False),  # creates work
        ("-1 -2 +1 -2 -3", False),
        ("-1 -2 -3 -4 +4", False),
        ("-1 -2 -3 +9 -1 -2", False),
        ("-1 -2 -3 +9 -1 -2 -3", True),
    ],
)
def test_three_different_jobs_in_a_row(story: str, down: bool) -> None:
    creates = told(story)
    assert creates.down is down
    assert (creates.lasted(100.0) > 0) is down


@pytest.mark.parametrize(
    ("story", "only"),
    [("-1", False), ("+2 -1", True), ("+1 -1", False), ("+2 -1 -3", False), ("+2 -1 -3 +4", True), ("-1 +1", False)],
)
def test_one_job_alone_is_in_trouble_where_those_of_others_are_answered(story: str, only: bool) -> None:
    assert told(story).only(job_name(1)) is only


def test_time_in_which_nothing_at_all_was_answered_does_not_count() -> None:
    creates = told("-1 -2 -3")
    creates.since(500.0)
    assert (creates.down, creates.lasted(510.0)) == (True, 10.0)
    creates.answered(job_name(1))
    creates.since(600.0)
    assert not creates.down


def told(story: str) -> CreateBreaker:
    """A create without an answer is -N, one with an answer +N; a second passes with each."""
    creates = CreateBreaker()
    for now, word in enumerate(story.split()):
        job_id = job_name(int(word[1:]))
        if word[0] == "+":
            creates.answered(job_id)
        else:
            creates.unanswered(job_id, float(now))
    return creates
