"""What nobody waits for: sent with what is waited for next, in its order, and taken back with its part."""

from __future__ import annotations

from batcher.cluster.round_trips import PutOff, Statement

MARK, END = Statement("SAVEPOINT part", ()), Statement("RELEASE part", ())
A, B, C = (Statement(f"UPDATE {name}", ()) for name in "abc")


def test_a_part_that_waited_for_nothing_needs_no_mark_and_the_next_one_is_told_that_others_wrote() -> None:
    off = PutOff()
    for write in (A, B):
        off.begin_part(MARK)
        off.add(write)
        assert off.of_others is (write is B)
        off.end_part(END)
    assert (off.statements, off.of_others) == ([A, B], True)
    off.begin_part(MARK)
    off.add(C)
    assert off.statements == [A, B, MARK, C]


def test_the_end_of_a_part_whose_mark_was_sent_goes_along() -> None:
    off = PutOff()  # as it is once all was sent
    off.add(A)
    assert not off.of_others
    off.end_part(END)
    assert (off.statements, off.of_others) == ([A, END], True)


def test_what_is_taken_back_is_not_sent_but_for_the_mark_to_go_back_to_and_what_other_parts_wrote() -> None:
    off = PutOff()
    off.begin_part(MARK)
    off.add(A)
    off.end_part(END)
    off.begin_part(MARK)
    off.add(B)
    assert off.take_back()
    assert off.statements == [A, MARK]
    off.end_part(END)
    assert off.statements == [A]
    sent = PutOff()
    sent.add(B)
    assert not sent.take_back()  # the mark is there already
    assert sent.statements == []
    sent.end_part(END)
    assert (sent.statements, sent.of_others) == ([END], True)
