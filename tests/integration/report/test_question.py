"""Times, campaigns and groups as people type them."""

from __future__ import annotations

from typing import Any

import pytest
from core_helpers import Shelf, make_spec
from virtual_time import EPOCH

from batcher.errors import UsageError
from batcher.report.question import ask, moment


# EPOCH is 2027-01-15T08:00:00Z, which is 09:00 here.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12h", "2027-01-14T20:00:00.000000Z"),
        ("7d", "2027-01-08T08:00:00.000000Z"),
        ("90 minutes", "2027-01-15T06:30:00.000000Z"),
        ("1.5h", "2027-01-15T06:30:00.000000Z"),
        ("30s", "2027-01-15T07:59:30.000000Z"),
        ("0d", "2027-01-15T08:00:00.000000Z"),
        ("2027-01-14", "2027-01-13T23:00:00.000000Z"),
        ("2027-01-14T22:00", "2027-01-14T21:00:00.000000Z"),
        ("2027-01-14 22:00:01", "2027-01-14T21:00:01.000000Z"),
        ("2027-01-14T22:00Z", "2027-01-14T22:00:00.000000Z"),
        ("2027-01-14T22:00:00-05:00", "2027-01-15T03:00:00.000000Z"),
    ],
)
def test_times(text: str, expected: str) -> None:
    assert moment(text, now=EPOCH, zone=None) == expected
    if text != "2027-01-14":
        assert moment(text, now=EPOCH, zone=None, end=True) == expected


def test_a_date_counts_to_its_end_where_it_ends_something() -> None:
    assert moment("2027-01-14", now=EPOCH, zone=None, end=True) == "2027-01-14T23:00:00.000000Z"


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "7", "7 moons", "2027-13-01", "2027-02-30", "2027-01-01T25:00", "9999999d", "1:00", "-7d"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time") as caught:
        moment(text, now=EPOCH, zone=None)
    assert "12h or 7d" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ({"campaigns": ["sprig"]}, "there is no campaign 'sprig'", "Did you mean 'spring'? Known: spring, autumn."),
        ({"campaigns": ["zzz"]}, "there is no campaign 'zzz'", "Known: spring, autumn."),
        ({"by": ["day", "moed"]}, "--by moed: no job has such a param", "Did you mean 'mode'?"),
        ({"by": ["durations"]}, "--by durations", "Did you mean 'duration'?"),
        ({"by": [""]}, "--by : no job has such a param, variable or tag", "Known: campaign, day, model"),
        ({"since": "2027-01-10", "until": "2027-01-09"}, "is not before --until", "Nothing lies between"),
        ({"since": "1h", "until": "1h"}, "is not before --until", "Nothing lies between"),
    ],
)
def test_what_cannot_be_asked(shelf: Shelf, words: dict[str, Any], message: str, hint: str) -> None:
    shelf.enrol([make_spec(1)])
    shelf.enrol([make_spec(2, campaign="autumn")], "autumn")
    with pytest.raises(UsageError, match=message) as caught:
        ask(shelf.ledger.read, now=EPOCH, **words)
    assert hint in caught.value.hint


def test_a_question(shelf: Shelf) -> None:
    shelf.enrol([make_spec(1), make_spec(2, model="gone", params={"tone": "x"})])
    read = shelf.ledger.read
    question = ask(read, now=EPOCH, campaigns=["spring", "spring"], by=["day", "duration", "tone", "day"])
    assert question.scope.campaigns == ("spring",)
    assert [axis.name for axis in question.axes] == ["day", "duration", "tone"]
    assert [axis.name for axis in ask(read, now=EPOCH).axes] == ["campaign"]
