"""`plan --out` and `run plan.json`: exactly that is bought, or nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Site

from batcher.simulator.media import plain

MOVED = "error: the plan does not hold any more, and nothing was sent:\n"


CHAIN = (
    "campaign: story\nmodel: grok-imagine-video\nprompts:\n"
    '  - {name: still, model: grok-imagine, prompt: "{{ scene }}", matrix: {scene: [lake, dune]}}\n'
    '  - {name: film, prompt: "Over the {{ scene }}", matrix: {scene: [lake, dune]},\n'
    '     references: [{from: still, where: {scene: "{{ scene }}"}}]}\n'
    "polling: {first: 10ms, every: 10ms}\n"
)


def charged(place: Site) -> int:
    return len(place.world.oracle().charges)


def test_exactly_the_plan_is_bought_and_the_same_command_goes_on(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST + "budget: {campaign: 35}\n")
    ran = cli("plan", "m.yaml", "--out", "plan.json")
    assert "Saved plan.json: 3 jobs for at most 30 credits; buy exactly that: batcher run plan.json\n" in ran.err
    assert (tmp_path / "plan.json").stat().st_mode & 0o777 == 0o600
    saved = json.loads((tmp_path / "plan.json").read_text())
    assert (saved["batcher_plan"], saved["total"], len(saved["jobs"])) == (1, 30, 3)
    assert not (tmp_path / "state").exists()
    assert cli("run", "plan.json", "--budget", "5").code == 2
    ran = cli("run", "plan.json")
    assert ran.code == 0, ran
    assert "1 planned, 3 succeeded" in ran.out
    assert charged(place) == 3
    assert cli("run", "plan.json").code == 0
    assert charged(place) == 3, "what the plan has bought is bought"


def test_a_plan_goes_on_after_a_part_of_it(cli: Cli, place: Site) -> None:
    assert cli("plan", "m.yaml", "--out", "plan.json").code == 0
    place.world.set_wallet(20)
    assert cli("run", "plan.json").code == 3
    assert charged(place) == 2
    place.world.set_wallet(500)
    assert cli("run", "plan.json").code == 0
    assert charged(place) == 4


def test_a_plan_goes_on_after_a_still_of_its_own_has_failed(cli: Cli, place: Site, tmp_path: Path) -> None:
    """The film that cannot be made now is not somebody else's doing."""
    (tmp_path / "c.yaml").write_text(CHAIN)
    assert cli("plan", "c.yaml", "--out", "plan.json").code == 0
    place.world.switches.set({"fail_prompt": "lake"})
    assert cli("run", "plan.json").code == 1
    assert charged(place) == 3
    assert cli("run", "plan.json").code == 1
    assert charged(place) == 3


@pytest.mark.parametrize("how", ["retaken", "planned again", "forgotten"])
def test_a_film_is_made_from_the_still_that_its_plan_saw(cli: Cli, place: Site, tmp_path: Path, how: str) -> None:
    """A still that is not of the plan is as it was, or nothing is sent; another take of a used one is no move."""
    (tmp_path / "c.yaml").write_text(CHAIN)
    assert cli("run", "c.yaml", "--only", "still").code == 0
    assert cli("plan", "c.yaml", "--out", "plan.json").code == 0
    still = cli("jobs", "--json").document["jobs"][0]["id"]

    def touch() -> None:
        if how == "forgotten":
            assert cli("fetch", still, "--forget").code == 0
            return
        assert cli("retry", still, "--status", "succeeded").code == 0
        place.app.media = plain(77)
        if how == "retaken":
            assert cli("run", "c.yaml", "--only", "still").code == 0

    touch()
    before = charged(place)
    ran = cli("run", "plan.json")
    assert (ran.code, charged(place)) == (2, before), ran
    assert f"was to be made from a file that job {still[:12]} has no more" in ran.err
    assert cli("run", "c.yaml", "--only", "still").code == 0
    assert cli("fetch", still).code == 0
    assert cli("plan", "c.yaml", "--out", "plan.json").code == 0
    assert cli("run", "plan.json").code == 0
    touch()
    assert cli("run", "plan.json").code == 0


def test_a_price_over_its_ceiling_stops_the_run_and_then_the_plan(cli: Cli, place: Site) -> None:
    assert cli("plan", "m.yaml", "--out", "plan.json").code == 0
    place.world.switches.set({"price_factor": 1.5})
    ran = cli("run", "plan.json")
    assert ran.code == 3
    assert "above the plan's ceiling of 10" in ran.out
    assert charged(place) == 2, "one of each class shows the price"
    ran = cli("run", "plan.json")
    assert (ran.code, charged(place)) == (2, 2)
    assert MOVED in ran.err
    assert "costs 15 now, above its ceiling of 10" in ran.err


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("manifest", "has changed"),
        ("source", "what the manifests come to has changed"),
        ("bought", "was bought by another run"),
        ("cancelled", "was cancelled"),
        ("retried", "was planned again by a person"),
        ("key", "it was made for the account"),
        ("cap", "the cap day"),
        ("edited", "was changed since it was made"),
    ],
)
def test_what_moved_is_told_before_anything_is_sent(
    cli: Cli, place: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: str
) -> None:
    (tmp_path / "rows.csv").write_text("place\nsea\nhill\n")
    text = "campaign: rows\nmodel: grok-imagine-video\nprompts: [{file: rows.csv, prompt: 'The {{ place }}'}]\n"
    limits = "limits: {submit: 1000/second, requests: 1000/second}\npolling: {first: 10ms, every: 10ms, max: 50ms}\n"
    (tmp_path / "m.yaml").write_text(text + limits + "budget: {day: 25}\n")
    (tmp_path / "other.yaml").write_text(MANIFEST)
    assert cli("plan", "m.yaml", "--out", "plan.json").code == 0
    match what:
        case "manifest":
            (tmp_path / "m.yaml").write_text(text + limits)
        case "source":
            (tmp_path / "rows.csv").write_text("place\nsea\nhill\nlake\n")
        case "bought":
            cli("run", "m.yaml", "--limit", "1")
        case "cancelled":
            cli("run", "m.yaml", "--limit", "0")
            cli("cancel", "rows")
        case "retried":
            cli("run", "plan.json")
            assert cli("retry", "rows", "--status", "succeeded").code == 0
        case "key":
            monkeypatch.setenv("RIVYA_API_KEY", "rvya_sk_another")
        case "cap":
            cli("run", "other.yaml", "--limit", "1")
        case "edited":
            saved = tmp_path / "plan.json"
            saved.write_text(saved.read_text().replace('"total": 20', '"total": 90'))
    before = charged(place)
    ran = cli("run", "plan.json")
    assert (ran.code, charged(place)) == (2, before), ran
    assert told in ran.err


def test_no_plan_without_a_key_and_none_over_another_file(cli: Cli, tmp_path: Path) -> None:
    assert "a plan is saved for one account" in cli("plan", "m.yaml", "--out", "plan.json").err
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("member", "value", "told"),
    [
        ("total", "90", "total: Input should be a valid integer"),
        ("ceilings", None, "ceilings: Input should be a valid dictionary"),
        ("manifests", ["m.yaml"], "manifests.0: Input should be"),
        ("jobs", [{"id": "x"}], "jobs.0.references: Field required"),
        ("options", {"state": "/"}, "options.only: Field required"),
        ("id", "[" * 100_000, "maximum recursion depth"),
    ],
)
def test_a_plan_that_somebody_else_wrote(
    cli: Cli, place: Site, tmp_path: Path, member: str, value: object, told: str
) -> None:
    """Its hash is right, what it holds is not: told, and never a traceback."""
    assert cli("plan", "m.yaml", "--out", "plan.json").code == 0
    saved = json.loads((tmp_path / "plan.json").read_text())
    rest = {name: part for name, part in saved.items() if name not in ("batcher_plan", "id")} | {member: value}
    name = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    text = json.dumps({"batcher_plan": 1, "id": name, **rest})
    (tmp_path / "plan.json").write_text(text if member != "id" else f'{{"batcher_plan": 1, "id": {value}')
    ran = cli("run", "plan.json")
    assert (ran.code, charged(place)) == (2, 0)
    assert f"is no whole plan: {told}" in ran.err
