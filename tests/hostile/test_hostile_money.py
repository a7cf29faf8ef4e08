"""Caps against an API whose figures are not to be believed, and a night in which only creates are down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hostile.hostile_helpers import LEAVE, PRICE, Api, Asked, answer, desk, refusal

CAP = "budget: {campaign: 50}"
NAMES = [f"boat {n}" for n in range(40)]


def shown(api: Api, asked: Asked) -> dict[str, Any]:
    """The task that the API would show."""
    task: dict[str, Any] = json.loads(api.say(asked).partition(b"\r\n\r\n")[2])
    return task


@pytest.mark.parametrize("reserved", [0, 1, None])
def test_a_reserve_that_says_too_little_lets_no_more_through(tmp_path: Path, reserved: int | None) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind not in ("create", "status"):
            return LEAVE
        return answer(200, shown(api, asked) | {"reserved_credits": reserved})

    with desk(tmp_path, hook) as (api, place):
        place.write(NAMES, CAP, in_flight=20)
        assert place.run("run", "m.yaml", "--no-download") == 3, place.said
        assert PRICE * len(api.tasks) <= 50 + PRICE  # the one job of a class not seen yet
        assert place.run("run", "m.yaml", "--no-download") == 3, place.said
        assert PRICE * len(api.tasks) <= 50 + PRICE
        settled = sum(row["final_credits"] or 0 for row in place.rows("SELECT final_credits FROM attempts"))
        assert settled == PRICE * len(api.tasks)


def test_a_price_that_is_named_late_is_taken_over(tmp_path: Path) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind != "status" or asked.before >= 2:
            return LEAVE
        return answer(200, shown(api, asked) | {"final_credits": 0, "result": None})

    with desk(tmp_path, hook) as (api, place):
        place.write(NAMES, CAP, in_flight=20)
        assert place.run() == 3, place.said
        finals = [row["final_credits"] for row in place.rows("SELECT final_credits FROM attempts")]
        assert finals == [PRICE] * 5
        assert len(api.tasks) == 5


@pytest.mark.parametrize("page", [True, False], ids=["page", "switched off"])
def test_only_creates_are_down(tmp_path: Path, page: bool) -> None:
    """A handful of intents and exit 6; when creates work again all are bought, each once."""
    down = True

    def hook(asked: Asked) -> Any:
        if asked.kind != "create" or not down or len(api.tasks) < 3:
            return LEAVE
        told = "<html>oops</html>"
        return answer(500, told, Content_Type="text/html") if page else refusal(503, "public_api_disabled")

    with desk(tmp_path, hook) as (api, place):
        place.write(NAMES[:30], "stop: {failures_in_a_row: 10}", in_flight=5)
        assert place.run() == 6, place.said
        jobs = place.jobs().values()
        assert sum(job["status"] == "succeeded" for job in jobs) == 3
        assert sum(job["status"] != "planned" for job in jobs) <= 3 + 5
        assert not any(job["status"] in ("failed", "doubtful") for job in jobs)
        down = False
        assert place.run() == 0, place.said
        assert (len(api.tasks), len(api.keys)) == (30, 30)
