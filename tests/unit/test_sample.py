"""What a sample holds."""

from __future__ import annotations

import pytest
from core_helpers import make_spec

from batcher.errors import UsageError
from batcher.jobs import JobSpec
from batcher.planning.sample import choose_sample


def jobs() -> list[JobSpec]:
    """Three campaigns of 1, 4 and 95 jobs; the last one has a rare class and a rare prompt."""
    made = [make_spec(200, campaign="one"), *(make_spec(300 + n, campaign="four", name=f"p{n}") for n in range(4))]
    return made + [
        make_spec(
            n, campaign="many", name="rare" if n == 40 else f"p{n % 3}", price_class="large" if n == 70 else "small"
        )
        for n in range(95)
    ]


def test_first_one_of_each_and_then_in_turn() -> None:
    by_id = {spec.id: spec for spec in jobs()}
    three = [by_id[each] for each in choose_sample(jobs(), "3")]
    assert sorted(spec.campaign for spec in three) == ["four", "many", "one"]
    ten = [by_id[each] for each in choose_sample(jobs(), "12")]
    assert len(ten) == 12
    many = [spec for spec in ten if spec.campaign == "many"]
    assert {spec.name for spec in many} == {"p0", "p1", "p2", "rare"}
    assert {spec.price_class for spec in many} == {"small", "large"}
    assert {spec.name for spec in ten if spec.campaign == "four"} == {"p0", "p1", "p2", "p3"}


def test_a_sample_is_the_same_each_time_and_a_larger_one_holds_it() -> None:
    assert choose_sample(jobs(), "10%") == choose_sample([*jobs(), *jobs()], "10")
    assert choose_sample(jobs(), "10") < choose_sample(jobs(), "30") < choose_sample(jobs(), "100%")
    assert len(choose_sample(jobs(), "1%")) == 1
    assert len(choose_sample(jobs(), "500")) == 100


@pytest.mark.parametrize("asked", ["0", "x", "-3", "0%", "101%", "", "1.5"])
def test_what_is_no_size(asked: str) -> None:
    with pytest.raises(UsageError, match="--sample takes"):
        choose_sample(jobs(), asked)
