"""Switches: each value is checked, and a wrong one says what is allowed."""

from __future__ import annotations

import pytest

from batcher.simulator.switches import Limit, Switches


def test_values_as_texts_and_as_json() -> None:
    switches = Switches()
    switches.set(
        {
            "queue_seconds": "0.5-2",
            "run_seconds": 3,
            "scopes_off": "files:read,files:create",
            "limits": "create+upload=30/60,*=120/60",
            "price_rise": [3, 1.5],
            "upload_lifetime": "60",
            "result_lifetime": "none",
            "ranges": "no",
            "expired_status": "410",
        }
    )
    assert (switches.queue_seconds, switches.run_seconds) == ((0.5, 2.0), (3.0, 3.0))
    assert switches.scopes_off == ("files:read", "files:create")
    assert switches.limits[0] == Limit(("create", "upload"), 30, 60.0)
    assert len(switches.limits[1].kinds) == 7
    assert switches.price_rise == (3, 1.5)
    assert (switches.upload_lifetime, switches.result_lifetime) == (60.0, None)
    assert (switches.ranges, switches.expired_status) == (False, 410)
    switches.set({"price_rise": None})
    assert switches.price_rise is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("queue_seconds", "soon", "must be a valid number"),
        ("queue_seconds", "2-1", "ends before it starts"),
        ("queue_seconds", [1, 2, 3], "at most 2 items"),
        ("run_seconds", "inf", "must be a finite number"),
        ("fail_rate", 1.1, "less than or equal to 1"),
        ("fail_prompt", 3, "must be a valid string"),
        ("insufficient_status", 99, "greater than or equal to 200"),
        ("insufficient_status", 402.5, "valid integer"),
        ("limits", "create=30", "must look like create=30/60"),
        ("limits", "created=30/60", "must be one of create, status"),
        ("limits", 30, "must be a valid tuple"),
        ("limits", [30], "must look like create=30/60"),
        ("scopes_off", "models", "must be one of generations:create"),
        ("price_rise", "5", "Field required"),
        ("price_rise", 5, "must be a valid tuple"),
        ("ranges", "perhaps", "must be a valid boolean"),
        ("ranges", [], "must be a valid boolean"),
        ("outage", "some", "must be one of none, disabled, errors, cut"),
    ],
)
def test_wrong_values_change_nothing(name: str, value: object, message: str) -> None:
    switches = Switches()
    with pytest.raises(ValueError, match=message) as error:
        switches.set({"fail_code": "other", name: value})
    assert str(error.value).startswith(name)
    assert switches == Switches()
