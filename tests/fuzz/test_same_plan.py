"""A plan that the ledger gives is the plan that expanding gives: over manifests, files, ledger states and crashes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import hypothesis
from core_helpers import ACCOUNT, Shelf, make_task
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import PIXEL

from batcher.enrolling import begin_enrolment
from batcher.errors import BatcherError, ManifestError
from batcher.jobs import JobId, JobSpec, Status
from batcher.ledger import Caps, NotAdmitted, decisions
from batcher.ledger.decisions import Cancel, Closed, Decision, Retry, Submitted
from batcher.ledger.expansion_cache import CachedExpansion
from batcher.manifest import Manifest, Problems, expansion_inputs
from batcher.settings import Selection
from batcher.workload import Workload, prepare

HEAD = "campaign: {campaign}\nmodel: grok-imagine-video\nmatrix: {{resolution: [480p, 720p]}}\nprompts:\n"
PROMPTS = (
    "  - {name: boat, prompt: A boat, repeat: 2}\n",
    "  - {name: same boat, prompt: A boat}\n",
    '  - {name: pictured, prompt: Like this, references: ["refs/*.png", null]}\n',
    "  - {file: rows.csv, prompt: '{{ title }}'}\n",
)
ROWS = ("A kite", "A dune", "A lake", "A boat")
CAMPAIGNS = ("spring", "autumn")
DECISIONS: tuple[Decision, ...] = (
    Retry(frozenset(Status)),
    Cancel(),
    Submitted("task_elsewhere"),
    Closed(),
    Closed(3, again=True),
)
CHOICES: tuple[dict[str, Any], ...] = (
    {},
    {"selection": Selection(limit=3)},
    {"selection": Selection(limit=0)},
    {"selection": Selection(("boat",))},
    {"selection": Selection(("*boat", "a-*"), limit=4)},
    {"selection": Selection(("pictured", "a-dune"))},
    {"selection": Selection(("nothing",))},
    {"max_jobs": 5},
    {"budget": 50},
)


class Night(RuleBasedStateMachine):
    """Two campaigns in a folder, edited and bought from; after each step both plans are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
        self.folder = Path(self.scratch.name)
        (self.folder / "refs").mkdir()
        self.shelf = Shelf(self.folder / "ledger.db")
        self.tasks = count(1)
        self.sizes = count(1)
        self.steps = count()  # after each, three of the choices are planned
        self.young = expansion_inputs.YOUNG_NS
        (self.folder / "rows.csv").write_text("title\nA kite\n")

    def teardown(self) -> None:
        expansion_inputs.YOUNG_NS = self.young
        self.shelf.ledger.close()
        self.scratch.cleanup()

    @initialize(by_times=st.booleans())
    def begin(self, by_times: bool) -> None:
        """Files go by their hash while they are young; here also, from the start, by size, times and inode."""
        if by_times:
            expansion_inputs.YOUNG_NS = -(10**18)
        (self.folder / "refs" / "a.png").write_bytes(PIXEL)
        for campaign in CAMPAIGNS:
            self.write(campaign, range(len(PROMPTS)))

    # A person edits

    @rule(campaign=st.sampled_from(CAMPAIGNS), chosen=st.lists(st.sampled_from(range(4)), min_size=1, max_size=4))
    def edit(self, campaign: str, chosen: list[int]) -> None:
        self.write(campaign, chosen)
        self.enrol()

    def write(self, campaign: str, chosen: Iterable[int]) -> None:
        text = HEAD.format(campaign=campaign) + "".join(PROMPTS[place] for place in chosen)
        (self.folder / f"{campaign}.yaml").write_text(text)

    @rule(rows=st.lists(st.sampled_from(ROWS), min_size=1, max_size=5))
    def rows(self, rows: list[str]) -> None:
        self.enrol()
        (self.folder / "rows.csv").write_text("\n".join(["title", *rows]) + "\n")

    @rule(name=st.sampled_from("abc"), there=st.booleans())
    def picture(self, name: str, there: bool) -> None:
        """Each content has a length of its own: a change in one tick of the file system's clock shows by no time."""
        self.enrol()
        path = self.folder / "refs" / f"{name}.png"
        if there:
            path.write_bytes(PIXEL + b"x" * next(self.sizes))
        elif len(list(path.parent.iterdir())) > 1:
            path.unlink(missing_ok=True)

    # Runs

    def prepared(self) -> Workload:
        return prepare([self.folder / f"{campaign}.yaml" for campaign in CAMPAIGNS])

    @rule()
    def enrol(self) -> None:
        prepared = self.prepared()
        begin_enrolment(self.shelf.ledger, prepared.manifests, prepared.unchanged(self.shelf.ledger.read))
        assert set(prepared.unchanged(self.shelf.ledger.read)) == set(CAMPAIGNS), "nothing is changed right after that"

    @rule(campaign=st.sampled_from(CAMPAIGNS), after=st.integers(0, 3))
    def crash(self, campaign: str, after: int) -> None:
        """An enrolment is cut off; what came before it in the ledger stays as far as it was written."""
        manifest: Manifest = self.prepared().manifests[CAMPAIGNS.index(campaign)]

        def dying() -> Iterator[JobSpec]:
            yield from islice(manifest.expand(Problems()), after)
            raise KeyboardInterrupt

        try:
            self.shelf.ledger.enrol(campaign, "m.yaml", dying())
        except KeyboardInterrupt:
            self.shelf.restart()

    def some(self, data: st.DataObject, *statuses: Status) -> JobId | None:
        marks = ",".join("?" * len(statuses))
        found = self.shelf.rows(f"SELECT id FROM wanted WHERE status IN ({marks}) ORDER BY seq", *statuses)
        return JobId(data.draw(st.sampled_from([row["id"] for row in found]))) if found else None

    @rule(data=st.data(), end=st.sampled_from(["queued", "succeeded", "failed", "refused", "unsent", "doubtful"]))
    def buy(self, data: st.DataObject, end: str) -> None:
        job = self.some(data, Status.PLANNED)
        if job is None:
            return
        ledger = self.shelf.ledger
        intent = ledger.intend(ledger.read.load(job), account=ACCOUNT, compose=lambda _: b"body", caps=Caps())
        if isinstance(intent, NotAdmitted):
            return  # a class goes alone until the API has named its price
        match end:
            case "refused":
                ledger.refused(intent, "a", "b")
            case "unsent":
                ledger.unsent(intent, "a", "b")
            case "doubtful":
                ledger.doubt(intent.attempt_id, "a", "b")
            case _:
                ledger.submitted(intent, make_task(next(self.tasks), Status(end), reserved_credits=12))

    @rule(data=st.data())
    def cannot_send(self, data: st.DataObject) -> None:
        if job := self.some(data, Status.PLANNED):
            self.shelf.ledger.cannot_send(job, "reference_changed", "b")

    @rule(data=st.data())
    def want_again(self, data: st.DataObject) -> None:
        """A person plans a job again that no manifest has."""
        gone = self.shelf.rows("SELECT id FROM wanted WHERE error_code = 'not_in_manifest' ORDER BY seq")
        if gone:
            job = JobId(data.draw(st.sampled_from([row["id"] for row in gone])))
            list(decisions.decide(self.shelf.ledger, Retry(frozenset({Status.CANCELLED})), [job]))

    @rule(data=st.data(), decision=st.sampled_from(DECISIONS))
    def decide(self, data: st.DataObject, decision: Decision) -> None:
        if job := self.some(data, *Status):
            list(decisions.decide(self.shelf.ledger, decision, [job]))

    # Both plans

    def said(self, prepared: Workload, unchanged: dict[str, CachedExpansion]) -> object:
        try:
            made = prepared.plan(self.shelf.ledger.read, ACCOUNT.text, unchanged)
            # what rows lose, and twins that differ in what is kept beside them, shows in expanding only
            return replace(made, notes=(), campaigns=tuple(replace(each, notes=()) for each in made.campaigns))
        except ManifestError as error:
            return error.problems
        except BatcherError as error:
            return error.message, error.hint

    @invariant()
    @precondition(lambda self: (self.folder / "autumn.yaml").exists())
    def both_plans_are_the_same(self) -> None:
        prepared = self.prepared()
        known = prepared.unchanged(self.shelf.ledger.read)
        at = 3 * next(self.steps) % len(CHOICES)
        for choice in CHOICES[at : at + 3] if known else ():
            chosen = replace(prepared, **choice)
            assert self.said(chosen, known) == self.said(chosen, {}), choice
        for manifest in prepared.manifests:
            if manifest.campaign in known:
                self.holds_what_would_be_enrolled(manifest, known[manifest.campaign])

    def holds_what_would_be_enrolled(self, manifest: Manifest, cached: CachedExpansion) -> None:
        specs: dict[str, JobSpec] = {}
        for spec in manifest.expand(Problems()):
            specs.setdefault(spec.id, spec)
        rows = self.shelf.rows(
            "SELECT id, name, reference, price_class, catalog_credits, file_name FROM wanted"
            " WHERE campaign = ? AND expansion = ? ORDER BY position",
            manifest.campaign,
            cached.expansion,
        )
        assert [tuple(row.values()) for row in rows] == [
            (s.id, s.name, s.reference and s.reference.text, s.price_class, s.catalog_credits, s.file_name)
            for s in specs.values()
        ]


Night.TestCase.settings = hypothesis.settings(max_examples=10, stateful_step_count=20, deadline=None, derandomize=True)
TestSamePlan = Night.TestCase
