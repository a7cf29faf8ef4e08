"""One campaign a table: each job meets another answer, and all of them in one run of the real command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hostile.hostile_helpers import LEAVE, PAGE, Asked, answer, desk, refusal

#: Answers to a create that say nothing of what became of it, though the task was made.
UNSAID: dict[str, bytes | None] = {
    **{f"redirect {code}": answer(code, Location="/api/v1/credits") for code in (301, 302, 303, 307, 308)},
    **{f"page {code}": answer(code, "<html>no</html>", Content_Type="text/html") for code in (200, 403, 407, 421, 451)},
    "bad gateway": PAGE,
    "empty 202": answer(202, Content_Type=None),
    "no content": answer(204, Content_Type=None, Content_Length=None),
    "nothing": None,
    "half": answer(200, {"id": "task_0000", "status": "queued"}, Connection="close")[:-20],
    "no task": answer(200, {"ok": True}),
    "an odd envelope": refusal(500, "internal_error"),
}


def test_a_create_that_was_taken_is_not_bought_again(tmp_path: Path) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind != "create" or asked.before or asked.prompt not in UNSAID:
            return LEAVE
        api.say(asked)
        return UNSAID[asked.prompt]

    with desk(tmp_path, hook) as (api, place):
        place.write(list(UNSAID), "retries: {times: 4, outage: 20s}", in_flight=2)
        code = place.run()
        if code:  # what the breaker for creates has kept back
            code = place.run()
        assert (code, len(api.tasks), len(api.keys)) == (0, len(UNSAID), len(UNSAID)), place.said
        assert {row["task_id"] for row in place.jobs().values()} == set(api.tasks)


#: Answers to a poll before the task's end: still going, whatever they are.
GOING: dict[str, bytes] = {
    "empty 202": answer(202, Content_Type=None),
    "no content": answer(204, Content_Type=None, Content_Length=None),
    "no status": answer(200, {"id": "task_0001"}),
    "page": PAGE,
    "unknown state": answer(200, {"id": "task_0001", "status": "moderating"}),
    "too many": refusal(429, "rate_limited", Retry_After="1"),
}


def test_polls_that_say_nothing_yet_are_not_the_end(tmp_path: Path) -> None:
    def hook(asked: Asked) -> Any:
        if asked.kind != "status":
            return LEAVE
        name = asked.path.rpartition("/")[2]
        if asked.prompt == "a failed task":
            error = {"code": "generation_failed", "message": "it would not"}
            return answer(200, api.view(name, "failed", error=error))
        if asked.prompt == "loud" and asked.before:
            return answer(200, api.view(name, "succeeded", status="SUCCEEDED"))
        return GOING[asked.prompt] if asked.before < 3 and asked.prompt in GOING else LEAVE

    with desk(tmp_path, hook) as (api, place):
        place.write([*GOING, "loud", "a failed task"], "retries: {times: 3, outage: 20s}")
        assert place.run() == 1, place.said
        found = {prompt: row["status"] for prompt, row in place.jobs().items()}
        assert found == dict.fromkeys([*GOING, "loud"], "succeeded") | {"a failed task": "failed"}
