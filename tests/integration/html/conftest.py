"""A ledger to look at, its page, and a real browser. Where there is no Chromium, what needs one is skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import cli
from integration.html.helpers import Parsed, Watched, campaign, parse, write_page
from playwright.sync_api import Browser, expect, sync_playwright
from support import Bench

__all__ = ["cli"]

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def bought(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The campaign of the page's helpers; only to be read."""
    return campaign(tmp_path_factory.mktemp("bought"))


@pytest.fixture(scope="session")
def report(bought: Bench) -> Path:
    """Its page, beside its state folder."""
    target = bought.folder / "report.html"
    write_page(bought, target)
    return target


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, beside which no other test could run its own
def browser() -> Iterator[Browser]:
    """The machine's own Chromium."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here: the page is looked at in no browser (apt-get install chromium-headless-shell)")
    with sync_playwright() as playwright:
        expect.set_options(timeout=60_000)
        # A container has little shared memory; and root has no sandbox.
        words = ["--disable-dev-shm-usage", *([] if os.geteuid() else ["--no-sandbox"])]
        launched = playwright.chromium.launch(executable_path=found, args=words)
        yield launched
        launched.close()


@pytest.fixture
def watch(browser: Browser, report: Path) -> Iterator[Callable[..., Watched]]:
    """Open a page in a new profile; at the end nothing may have been complained of, nothing asked of elsewhere."""
    opened: list[Watched] = []

    def look(path: Path = report, *, quiet: bool = True, **profile: Any) -> Watched:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "no-preference"} | profile
        )
        context.set_default_timeout(60_000)
        watched = Watched(context.new_page())
        if quiet:
            opened.append(watched)
        watched.open(path)
        return watched

    yield look
    for watched in opened:
        assert watched.complaints == []
        assert {url for url in watched.requests if not url.startswith("file:///")} == set()
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def parsed(report: Path) -> Parsed:
    return parse(report.read_text("utf-8"))
