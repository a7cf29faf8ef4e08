"""The tree of errors: kinds, exit codes, and what comes first."""

from __future__ import annotations

import pytest

from batcher import errors
from batcher.errors import PRECEDENCE, BatcherError, Kind, ManifestError, Problem, UsageError, exit_code, first_of

# product.md, "Commands"
CODES = {
    Kind.DONE: 0,
    Kind.UNFINISHED: 1,
    Kind.USAGE: 2,
    Kind.CAPPED: 3,
    Kind.KEY: 4,
    Kind.LOCKED: 5,
    Kind.UNREACHABLE: 6,
    Kind.STORAGE: 7,
    Kind.INTERRUPTED: 130,
    Kind.TERMINATED: 143,
}


def test_every_kind_has_the_contracts_exit_code() -> None:
    assert {kind: exit_code(kind) for kind in Kind} == CODES


def test_the_first_of_several_kinds() -> None:
    assert [exit_code(kind) for kind in PRECEDENCE] == [130, 143, 7, 4, 6, 3, 1, 0]
    assert first_of([]) is Kind.DONE
    for place, kind in enumerate(PRECEDENCE):
        assert first_of(list(reversed(PRECEDENCE[place:]))) is kind


def test_every_error_has_a_kind_and_a_place_in_the_docstring() -> None:
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BatcherError)]
    assert len(found) == 9
    assert {each.kind for each in found} == {
        *(Kind.USAGE, Kind.KEY, Kind.LOCKED, Kind.UNREACHABLE, Kind.STORAGE),
    }
    assert all(each.__name__ in (errors.__doc__ or "") for each in found)


def test_message_and_hint() -> None:
    assert str(UsageError("what")) == "what"
    assert str(UsageError("what", hint="do")) == "what\ndo"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("m.yaml", "wrong"), "m.yaml: wrong"),
        (Problem("m.yaml", "wrong", 3), "m.yaml:3: wrong"),
        (Problem("m.yaml", "wrong", 3, 7, hint="right"), "m.yaml:3:7: wrong (right)"),
        (Problem("m.csv", "wrong", 3, row=2), "m.csv:3 (row 2): wrong"),
        (Problem("m.csv", "wrong", column=7), "m.csv: wrong"),
    ],
)
def test_the_place_of_a_problem(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_manifest_error_tells_everything_at_once() -> None:
    one = ManifestError([Problem("m", "a")])
    assert str(one) == "m: a\n1 error; nothing was sent."
    many = ManifestError([Problem("m", "a"), Problem("m", "b")], more=3)
    assert str(many) == "m: a\nm: b\n… and 3 more\n5 errors; nothing was sent."
