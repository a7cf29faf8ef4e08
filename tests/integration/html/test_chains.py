"""The page of a chain in a browser: from a still to its film and back, and a film's manifest that finds its still."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from integration.html.helpers import Watched, card, film, write_page
from integration.lifecycle.helpers import FAST
from playwright.sync_api import expect
from support import PIXEL, Bench, SimulatedApi

from batcher.errors import Kind
from batcher.simulator.app import Simulator
from batcher.simulator.records import Scene
from batcher.workload import prepare

CHAIN = f"""campaign: story
model: grok-imagine-video
matrix: {{scene: [harbour, mountain]}}
prompts:
  - {{name: still, model: nano-banana, prompt: "{{{{ scene }}}} at dawn"}}
  - name: film
    prompt: "Over the {{{{ scene }}}}"
    references: [{{from: still, where: {{scene: "{{{{ scene }}}}"}}}}]
{FAST}"""


async def media(scene: Scene) -> bytes:
    return PIXEL if scene.result == "image" else film()


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("chained"))
    bench.app = Simulator(bench.world, media=media)
    bench.api = SimulatedApi(bench.app)
    assert bench.run(bench.write(CHAIN)).kind is Kind.DONE
    write_page(bench, bench.folder / "report.html")
    return bench


def test_still_and_film_lead_to_each_other(chained: Bench, watch: Callable[..., Watched]) -> None:
    page = watch(chained.folder / "report.html").page
    expect(page.locator("#rows")).to_have_value("scene")  # what belongs together stands in a row
    names = page.locator(".row").first.locator(".card").evaluate_all("all => all.map(c => c.job.name)")
    assert names == ["still", "film"]
    film_link = card(page, "still").locator(".chain .link")
    expect(film_link).to_have_attribute("aria-label", "film, take 1, succeeded")
    film_link.click()
    dialog, body = page.locator("#job"), page.locator("#job-body")
    expect(dialog.locator("h2")).to_have_text("film")
    back = body.locator(".chain .link")
    assert back.locator("img").evaluate("it => it.complete && it.naturalWidth > 0")
    back.click()
    expect(dialog.locator("h2")).to_have_text("still")
    expect(body.locator("dt").first).to_have_text("used in")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("table", name="Chains")).to_contain_text("story")
    # and the manifest of a film finds its still
    card(page, "film").hover()
    page.keyboard.press("f")
    page.keyboard.press("m")
    chained.write(page.locator("#m-text").input_value(), "more.yaml")
    words = shlex.split(page.locator("#m-command").inner_text())
    folder = words[words.index("--allow-path") + 1]
    workload = prepare([chained.folder / "more.yaml"], allow_paths=[Path(folder)])
    assert workload.plan(None, None).new == 1
