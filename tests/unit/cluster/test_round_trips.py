"""What goes along within a transaction: the questions of the last time, never an answer from before a write."""

from __future__ import annotations

from batcher.cluster.round_trips import Foresight, Statement

A, B, C = (Statement(f"SELECT {name} WHERE id = ?", ("one",)) for name in "abc")
WRITE = Statement("UPDATE x", ())


def about(statement: Statement, job: str | None) -> Statement:
    return Statement(statement.sql, (job,))


def part(foresight: Foresight, job: str | None, *steps: Statement) -> list[list[Statement]]:
    """Go through a part about a job; what was foreseen at each step."""
    foresight.about = job
    foresight.part()
    found = []
    for step in steps:
        assert foresight.answer(step) is None
        found.append(foresight.foreseen(step))
    return found


def test_what_came_the_last_time_is_foreseen_about_the_job_of_now_up_to_the_next_write() -> None:
    foresight = Foresight()
    foresight.begin()
    assert part(foresight, "one", A, B, WRITE, C) == [[], [], [], []]
    two = [about(each, "two") for each in (A, B, C)]
    assert part(foresight, "two", two[0]) == [[two[1]]]
    foresight.answer(WRITE)
    assert foresight.foreseen(WRITE) == []  # it is not where it was the last time
    assert part(foresight, None, A) == [[]]
    other = Statement("SELECT other", ())
    assert part(foresight, "three", other) == [[]]  # a part of another kind
    assert part(foresight, "one", A, B, WRITE) == [[], [], []]  # as the last of its kind went


def test_an_answer_is_kept_until_the_next_write_whoever_waits_for_it() -> None:
    for write in (foresight_write, put_off, drop_part, Foresight.begin):
        foresight = Foresight()
        foresight.begin()
        foresight.answer(A)
        foresight.keep(B, [(1,), (2,)])
        found = foresight.answer(B)
        assert found is not None
        assert (found.fetchone(), found.fetchall(), found.fetchone(), found.rowcount) == ((1,), [(2,)], None, 2)
        assert foresight.answer(about(B, "two")) is None
        write(foresight)
        assert foresight.answer(B) is None


def foresight_write(foresight: Foresight) -> None:
    foresight.answer(WRITE)


def put_off(foresight: Foresight) -> None:
    foresight.put_off(WRITE)
    assert list(foresight.take()) == [WRITE]


def drop_part(foresight: Foresight) -> None:
    foresight.drop(all_of_it=False)


def test_what_is_taken_back_is_not_sent_but_for_the_mark_to_go_back_to_and_what_other_parts_wrote() -> None:
    foresight = Foresight()
    foresight.begin()
    earlier = [Statement("SAVEPOINT part", ()), WRITE, Statement("RELEASE part", ())]
    for statement in (*earlier, Statement("SAVEPOINT part", ()), WRITE):
        foresight.put_off(statement)
    foresight.drop(all_of_it=False)
    assert foresight.take() == [*earlier, Statement("SAVEPOINT part", ())]
    foresight.put_off(WRITE)
    foresight.drop(all_of_it=False)  # the mark is there already
    assert foresight.take() == []
    for statement in earlier:
        foresight.put_off(statement)
    foresight.drop(all_of_it=True)
    assert foresight.take() == []
