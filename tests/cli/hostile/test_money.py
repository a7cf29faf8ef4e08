"""Caps against an API whose figures are not to be believed, and a night in which only creates are down."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from cli.hostile.helpers import KEY, LEAVE, PAGE, PRICE, Api, Asked, answer, desk, refusal

CAP = "budget: {campaign: 50}"
NAMES = [f"boat {n}" for n in range(40)]


def shown(api: Api, asked: Asked) -> dict[str, Any]:
    """The task that the API would show."""
    task: dict[str, Any] = json.loads(api.say(asked).partition(b"\r\n\r\n")[2])
    return task


def test_a_reserve_that_says_nothing_lets_no_more_through(tmp_path: Path) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind not in ("create", "status"):
            return LEAVE
        return answer(200, shown(api, asked) | {"reserved_credits": 0})

    with desk(tmp_path, hook) as (api, place):
        place.write(NAMES, CAP, in_flight=20)
        for _ in range(2):
            assert place.run("run", "m.yaml", "--no-download") == 3, place.said
            assert PRICE * len(api.tasks) <= 50 + PRICE  # the one job of a class not seen yet
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


def test_only_creates_are_down(tmp_path: Path) -> None:
    """A handful of intents and exit 6; when creates work again all are bought, each once."""
    down = True

    def hook(asked: Asked) -> Any:
        if asked.kind != "create" or not down or len(api.tasks) < 3:
            return LEAVE
        return answer(500, "<html>oops</html>", Content_Type="text/html")

    with desk(tmp_path, hook) as (api, place):
        more = "stop: {failures_in_a_row: 10}\nretries: {times: 3, outage: 1s}"
        place.write(NAMES[:12], more, in_flight=3)
        assert place.run("run", "m.yaml", "--no-download") == 6, place.said
        jobs = place.jobs().values()
        assert sum(job["status"] == "succeeded" for job in jobs) == 3
        assert sum(job["status"] != "planned" for job in jobs) <= 3 + 3
        assert not any(job["status"] in ("failed", "doubtful") for job in jobs)
        down = False
        assert place.run("run", "m.yaml", "--no-download") == 0, place.said
        assert (len(api.tasks), len(api.keys)) == (12, 12)


def test_a_key_that_was_revoked_leaves_no_job_stuck(tmp_path: Path) -> None:
    """Its create was taken and not answered; past the window it is doubtful, and a person may decide."""

    def hook(asked: Asked) -> Any:
        if asked.kind == "create" and not asked.before:
            api.say(asked)
            return PAGE
        revoked = api.tasks and not asked.headers["authorization"].endswith("-anew")
        return refusal(401, "api_key_revoked") if revoked else LEAVE

    with desk(tmp_path, hook) as (api, place):
        place.write(["boat"])
        assert place.run() == 4, place.said
        assert place.jobs()["boat"]["status"] == "submitting"
        place.write(["boat"], "retries: {replay_window: 1s}")
        signal.sigtimedwait([], 1.0)
        anew = {"RIVYA_API_KEY": KEY + "-anew"}
        assert place.run(**anew) == 1, place.said
        assert (place.jobs()["boat"]["status"], place.jobs()["boat"]["quoted_credits"]) == ("doubtful", PRICE)
        job = place.jobs()["boat"]["id"]
        assert place.run("resolve", job, "--as", "failed", "--charged", "10", "--yes", **anew) == 0, place.said
        assert (place.jobs()["boat"]["status"], place.jobs()["boat"]["final_credits"]) == ("failed", PRICE)
        assert len(api.tasks) == 1
