"""Favourites and rejects in a real Chromium: by mouse and keyboard, kept, and as manifests that plan."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import Cli
from integration.html.helpers import (
    CARD,
    HOSTILE,
    HOSTILE_NAME,
    Watch,
    card,
    favour,
    wait_for_film,
)
from playwright.sync_api import expect
from support import Bench

from batcher.catalog import get_model
from batcher.manifest import Problems, load


@pytest.fixture
def copied(watch: Watch, bought: Bench) -> str:
    """The manifest of a few favourites, as the clipboard has it."""
    page = watch(permissions=["clipboard-read", "clipboard-write"]).page
    for name, at in (("boat", 0), ("boat", 1), (HOSTILE_NAME, 0), ("picture", 1), ("storm", 0)):
        favour(page, name, at)
    card(page, "boat", 2).hover()
    card(page, "boat", 2).get_by_role("button", name="Reject").click()
    page.get_by_role("button", name="Copy 5 as manifest").click()
    page.locator("#m-takes").fill("2")
    assert "10 new takes of 5 favourites" in page.locator("#manifest-note").inner_text()
    page.locator("#m-copy").click()
    expect(page.locator("#m-said")).to_have_text("Copied.")
    text: str = page.evaluate("navigator.clipboard.readText()")
    assert text == page.locator("#m-text").input_value()
    return text


def test_the_copied_manifest_plans_and_asks_for_the_same(copied: str, bought: Bench, cli: Cli) -> None:
    path = bought.folder / "spring-more.yaml"
    path.write_text(copied, "utf-8")
    ran = cli("plan", str(path), "--json", "--state", str(bought.state))
    assert (ran.code, ran.err) == (0, "")
    problems = Problems()
    specs = list(load(path).expand(problems))
    problems.raise_if_any()
    marked = [job for job in bought.jobs() if job["name"] in ("boat", HOSTILE_NAME, "picture", "storm")]
    wanted: Counter[tuple[Any, ...]] = Counter()
    for name, at in (("boat", 0), ("boat", 1), (HOSTILE_NAME, 0), ("picture", 1), ("storm", 0)):
        job = [job for job in marked if job["name"] == name][at]
        wanted[(name, job["prompt"], job["params"], job["reference"])] += 2
    found = Counter(
        (
            spec.name,
            spec.prompt,
            json.dumps(get_model(spec.model).whole(spec.params), sort_keys=True),
            spec.reference.text if spec.reference else None,
        )
        for spec in specs
    )
    assert found == {
        (name, prompt, json.dumps(json.loads(params), sort_keys=True), reference): n
        for (name, prompt, params, reference), n in wanted.items()
    }
    assert any(spec.prompt == HOSTILE for spec in specs)
    assert {spec.campaign for spec in specs} == {"spring-more"}
    assert len({spec.id for spec in specs}) == 10  # none is a job that the ledger has
    assert not {spec.id for spec in specs} & {job["id"] for job in bought.jobs()}
    assert "# rejects: " in copied


def test_a_manifest_elsewhere_is_told_where_its_pictures_lie(
    watch: Watch, bought: Bench, cli: Cli, tmp_path: Path
) -> None:
    page = watch().page
    favour(page, "picture")
    page.keyboard.press("m")
    page.locator("#m-campaign").fill("Not a name")
    expect(page.locator("#m-copy")).to_be_disabled()
    page.locator("#m-campaign").fill("spring")
    assert "has a campaign spring already" in page.locator("#manifest-note").inner_text()
    page.locator("#m-campaign").fill("again")
    with page.expect_download() as download:
        page.locator("#m-save").click()
    assert download.value.suggested_filename == "again.yaml"
    download.value.save_as(tmp_path / "again.yaml")
    words = shlex.split(page.locator("#m-command").inner_text())
    assert words[:2] == ["batcher", "plan"]
    assert cli(*words[1:]).code == 0
    assert cli(*words[1:3]).code == 2


def test_marks_are_kept_for_the_next_time(watch: Watch, report: Path) -> None:
    page = watch().page
    favour(page, "boat")
    favour(page, "picture")
    card(page, "storm").hover()
    card(page, "storm").get_by_role("button", name="Reject").click()
    page.reload()
    page.locator("#shown:not(:empty)").wait_for(state="attached")
    page.get_by_role("button", name="Copy 2 as manifest").wait_for()
    page.locator("[data-filter=mark]").get_by_text("reject").click()
    expect(page.locator(CARD)).to_have_count(1)
    assert page.locator(CARD).get_attribute("data-mark") == "x"


def test_the_keyboard_does_it_all(watch: Watch) -> None:
    page = watch().page
    card(page, "boat").focus()
    here = "document.activeElement.getAttribute('aria-label')"
    labels = page.locator(CARD).evaluate_all("all => all.map(c => c.getAttribute('aria-label'))")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(here) == labels[1]
    wait_for_film(page, "boat")  # what has the mark plays
    page.keyboard.press("Space")
    wait_for_film(page, None)
    page.keyboard.press("Space")
    wait_for_film(page, "boat")
    page.keyboard.press("End")
    assert page.evaluate(here) == labels[-1]
    page.keyboard.press("Home")
    first = page.evaluate("document.activeElement.getBoundingClientRect().top")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") > first
    page.keyboard.press("ArrowUp")
    assert page.evaluate(here) == labels[0]
    page.keyboard.press("f")
    page.get_by_role("button", name="Copy 1 as manifest").wait_for()
    page.keyboard.press("x")
    assert page.evaluate("document.activeElement.dataset.mark") == "x"
    page.keyboard.press("Enter")
    expect(page.locator("#job-title")).to_have_text("boat")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("fog fx?")  # letters are letters there
    assert page.locator("#search").input_value() == "fog fx?"
    expect(page.locator(CARD)).to_have_count(0)
    page.keyboard.press("Escape")  # empties it
    expect(page.locator(CARD).first).to_be_visible()
