"""What holds of what people ask of a run; what was asked of one that was cut off can only tighten."""

from __future__ import annotations

import pytest

from batcher.controls import Controls, Given, Value, is_raised, stricter
from batcher.settings import Limits, Rate

M30, M60, H100 = Rate(30, 60.0), Rate(60, 60.0), Rate(100, 3600.0)


@pytest.mark.parametrize(
    ("own", "given", "kept", "holds"),
    [
        (100, 80, False, 80),
        (100, 120, False, 120),
        (None, 120, False, 120),
        (100, 80, True, 80),
        (100, 120, True, 100),
        (None, 120, True, 120),
    ],
)
def test_a_cap(own: int | None, given: int, kept: bool, holds: int) -> None:
    asked = Controls(values={"budget.campaign:spring": Given(given, kept)})
    assert asked.cap("campaign:spring", own) == holds
    assert asked.cap("campaign:autumn", own) == own
    assert asked.cap("campaign:spring", own, tightens=True) == min(own or given, given)


def test_limits() -> None:
    own = Limits()
    asked = Controls(values={"limits.submit": Given(M60), "limits.in_flight": Given(40)})
    assert asked.limits(own) == Limits(submit=M60, in_flight=40)
    kept = Controls(values={"limits.submit": Given(M60, kept=True), "limits.in_flight": Given(5, kept=True)})
    assert kept.limits(own) == Limits(submit=M30, in_flight=5)


@pytest.mark.parametrize(
    ("was", "now", "raised"),
    [(None, 5, False), (5, 6, True), (5, 5, False), (M30, M60, True), (M60, M30, False), (M30, H100, True)],
)
def test_what_raises(was: Value | None, now: Value, raised: bool) -> None:
    assert is_raised(was, now) is raised
    assert stricter(was, now) == now or was is not None
