"""What must not happen in the money machine, whatever does: looked at after each step."""

from __future__ import annotations

import json
from collections import Counter

from fuzz.machine_api import Row, fits_its_attempt, spent, taken
from fuzz.machine_stage import (
    NOWHERE,
    Stage,
)
from hypothesis.stateful import invariant


class Promises(Stage):
    """The promises 1 to 3 of product.md, held against the rows and the books of the API."""

    @invariant()
    def the_promises_hold(self) -> None:
        self.shelf.clock.now += 1  # so that no two steps are at the same time
        rows = self.attempts()
        jobs = self.shelf.rows("SELECT id, status, attempt_id FROM wanted ORDER BY id")
        self.no_more_is_taken_than_was_held(rows)
        self.the_books_are_those_of_the_api(rows)
        self.the_sums_are_those_of_the_rows(rows)
        self.jobs_are_as_their_attempts_and_events_say(jobs, rows)
        self.before = {row["id"]: row for row in rows}
        self.statuses = {int(job["id"], 16): job["status"] for job in jobs}

    def no_more_is_taken_than_was_held(self, rows: list[Row]) -> None:
        """No purchase passes a cap (`check_intent`); after it only the API's word and a person's take more."""
        for row in rows:
            old = self.before.get(row["id"])
            if taken(row) > (taken(old) if old else row["quoted_credits"]):
                task, said = self.task_of(row), self.charged_by_a_person.get(row["id"])
                word = task and (task.tariff.reserved if row["final_credits"] is None else task.final)
                alike = [a for a in rows if (a["account"], a["price_class"]) == (row["account"], row["price_class"])]
                assert taken(row) in (word, said, *(a["final_credits"] for a in alike))
            if old and old["final_credits"] is not None:
                task = self.task_of(row)
                assert row["final_credits"] in (old["final_credits"], task and task.final), "settled twice"
                assert row["hold_credits"] == old["hold_credits"]
            assert old is None or row["hold_credits"] >= old["hold_credits"], "a hold is never lowered"

    def the_books_are_those_of_the_api(self, rows: list[Row]) -> None:
        """A key has one body and one charge, and what is settled is what was charged, but for a person's word."""
        keys = {row["idempotency_key"] for row in rows}
        assert len(keys) == len(rows)
        for account, api in self.apis.items():
            mine = {row["idempotency_key"] for row in rows if row["account"] == account}
            assert set(api.tasks) <= mine, "nothing was bought that is not written down"
        for row in rows:
            task = self.task_of(row)
            assert task is None or row["body"] == task.body
            assert row["task_id"] in (None, NOWHERE, task and task.id)
            assert row["reserved_credits"] in (None, task and task.tariff.reserved)
            if row["id"] in self.charged_by_a_person:
                assert (row["outcome"], row["final_credits"]) == ("resolved", self.charged_by_a_person[row["id"]])
            elif row["final_credits"] is not None:
                ended = (str(task.status), task.final) if task else ("refused", 0)
                if task and not task.told:
                    ended = ("succeeded", row["hold_credits"])
                assert (row["outcome"], row["final_credits"]) == ended

    def the_sums_are_those_of_the_rows(self, rows: list[Row]) -> None:
        kept = {
            (row["run_id"], row["campaign"], row["day"], row["allowance"]): (row["held"], row["settled"])
            for row in self.shelf.rows("SELECT * FROM spent")
        }
        assert kept == spent(rows)

    def jobs_are_as_their_attempts_and_events_say(self, jobs: list[Row], rows: list[Row]) -> None:
        bought = Counter(row["job_id"] for row in rows if self.task_of(row))
        last_words = {
            row["job_id"]: json.loads(row["detail"])["to"]
            for row in self.shelf.rows(
                "SELECT job_id, detail, max(id) FROM events WHERE job_id IS NOT NULL"
                " AND json_extract(detail, '$.to') IS NOT NULL GROUP BY job_id"
            )
        }
        for job in jobs:
            mine = [row for row in rows if row["job_id"] == job["id"]]
            assert job["attempt_id"] == (mine[-1]["id"] if mine else None)
            assert fits_its_attempt(job["status"], mine[-1] if mine else None), (job["status"], mine)
            assert all(row["final_credits"] is not None for row in mine[:-1]), "two holds for one job"
            assert bought[job["id"]] <= 1 + self.allowed[int(job["id"], 16)], "bought again without a person"
            assert last_words[job["id"]] == job["status"]
