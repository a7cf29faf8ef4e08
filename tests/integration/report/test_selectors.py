"""Names of values: what a bare one means, what groups and conditions come to, and what names mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from core_helpers import Shelf, make_spec, make_task
from virtual_time import EPOCH

from batcher.errors import UsageError
from batcher.jobs import Status
from batcher.ledger.queries import export, jobs, spend
from batcher.report.figures import make_report
from batcher.report.question import ask


@pytest.fixture
def kept(shelf: Shelf) -> Shelf:
    """Five jobs with names of every kind; the first three are bought for 10, 11 and 12."""
    shelf.enrol(
        [
            make_spec(
                1, vars={"language": "ur", "n": "2", "mode": "of mine"}, tags={"client": "al-noor", "language": "x"}
            ),
            make_spec(2, vars={"language": "ar", "n": 2, "loud": True}, params={"mode": "fun", "duration": 10}),
            make_spec(3, tags={"client": "zenith", "language": "ja", "status": "draft"}),
            make_spec(4, vars={"n": "02", "loud": "true", "Größe": "groß", 'od"d': "x"}),
            make_spec(5, model="gone", params={"sound": True}),
        ]
    )
    for number, final in ((1, 10), (2, 11), (3, 12)):
        shelf.ledger.submitted(shelf.buy(number), make_task(number, Status.SUCCEEDED, final_credits=final, urls=("u",)))
    return shelf


def grouped(shelf: Shelf, name: str, *where: str) -> dict[Any, tuple[int, int]]:
    """Jobs and settled credits by the value of a name."""
    read = shelf.ledger.read
    report = make_report(read, ask(read, now=EPOCH, by=[name], where=where), now=EPOCH, running=False)
    return {row.by[0][1]: (sum(row.figures.jobs.values()), row.figures.credits.settled) for row in report.rows}


def test_a_bare_name_is_a_param_a_variable_a_tag(kept: Shelf) -> None:
    assert grouped(kept, "language") == {None: (2, 0), "ar": (1, 11), "ja": (1, 12), "ur": (1, 10)}
    assert grouped(kept, "tag.language") == {None: (3, 11), "ja": (1, 12), "x": (1, 10)}
    assert grouped(kept, "mode") == {None: (1, 0), "fun": (1, 11), "normal": (3, 22)}
    assert grouped(kept, "var.mode") == {None: (4, 23), "of mine": (1, 10)}
    assert grouped(kept, "param.duration") == {None: (1, 0), 6: (3, 22), 10: (1, 11)}
    assert grouped(kept, "status") == {"planned": (2, 0), "succeeded": (3, 33)}
    assert grouped(kept, "tag.status") == {None: (4, 21), "draft": (1, 12)}


def test_values_that_look_the_same_are_one(kept: Shelf) -> None:
    assert grouped(kept, "n") == {None: (2, 12), 2: (2, 21), "02": (1, 0)}
    assert grouped(kept, "loud") == {None: (3, 22), "true": (2, 11)}
    assert grouped(kept, "sound") == {None: (4, 33), "true": (1, 0)}
    assert grouped(kept, "Gr\u006f\u0308\u00dfe") == {None: (4, 33), "groß": (1, 0)}, "however it is spelled"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["language=ur"], [1]),
        (["language=*[ra]"], [1, 2, 3]),
        (["client=*", "n=2"], [1]),
        (["n=2.0"], [1, 2]),
        (["loud=true", "mode=fun"], [2]),
        (["duration=10.0"], [2]),
        (["day=2027-01-15", "take=1", "status=succeeded"], [1, 2, 3]),
        (["status=doubtful"], []),
        (["tag.status=draft"], [3]),
        (["language=ur", "client=zenith"], []),
    ],
)
def test_conditions_choose_the_same_jobs_everywhere(kept: Shelf, where: Sequence[str], found: list[int]) -> None:
    read = kept.ledger.read
    scope = ask(read, now=EPOCH, where=where).scope
    assert [int(row["id"], 16) for row in jobs.jobs(read, conditions=scope.conditions)] == found
    assert [int(case.id, 16) for case in jobs.select(read, conditions=scope.conditions)] == found
    for what, column in (("jobs", "id"), ("attempts", "job_id"), ("events", "job_id")):
        rows = {int(row[column], 16) for row in export.sheet(read, what, scope)}
        assert rows == {number for number in found if number <= 3 or what != "attempts"}
    groups = [group for _, group in spend.groups(read, scope, ())]
    assert sum(sum(group.jobs.values()) for group in groups) == len(found)
    settled = sum(group.credits.settled for group in groups)
    assert settled == sum(9 + number for number in found if number <= 3)
    report = make_report(read, ask(read, now=EPOCH, where=where), now=EPOCH, running=False)
    assert bool(report.prices) == bool(settled)
    with pytest.raises(UsageError, match="runs belong to no job"):
        list(export.sheet(read, "runs", scope))


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ({"by": ["langauge"]}, "--by langauge: no job has such a param, variable or tag", "Did you mean 'language'?"),
        ({"by": ["var.client"]}, "--by var.client: no job has such", "Known: var.Größe, var.language"),
        ({"by": ['od"d']}, "no job has such a param, variable or tag", ""),
        ({"where": ["langauge=ur"]}, "--where langauge: no job has such", "Did you mean 'language'?"),
        ({"where": ["language=urd"]}, "--where language=urd: no job has such a value", "Did you mean 'ur'?"),
        ({"where": ["status=sucseeded"]}, "no job has such a value", "Did you mean 'succeeded'?"),
        ({"where": ["language"]}, "--where language: no condition", "NAME=GLOB"),
    ],
)
def test_names_and_values_that_mean_nothing(kept: Shelf, words: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ask(kept.ledger.read, now=EPOCH, **words)
    assert message in str(caught.value)
    assert hint in caught.value.hint
