"""A ledger whose results are films that play, with texts that would like to be more than texts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from core_helpers import cancel
from integration.report.helpers import keep_caps
from playwright.sync_api import ConsoleMessage, Locator, Page, Request
from support import PIXEL, Bench, SimulatedApi

from batcher.ledger import LedgerWriter
from batcher.report.html import page as pages
from batcher.report.question import ask
from batcher.report.wallet import Reconciliation
from batcher.settings import Selection
from batcher.simulator.app import Simulator
from batcher.simulator.faults import parse_all
from batcher.simulator.film import render
from batcher.simulator.records import Scene

#: Markup, the end of a script, template braces, quotes, what YAML escapes, and marks that turn the order around.
HOSTILE = (
    "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script></script><!--<script>"
    " {{ name }} {% if x %} {# c #} {{{ }} \\n \\ 'single' \"double\" &amp; # : - ? \u2028 \u202e größer 🎬\n"
    "  second line\twith a tab"
)
HOSTILE_NAME = "<b>bold</b> & 'name'"
#: A file that looks like a glob and like a template.
PICTURE = "[odd] {{ x }} ü.png"


def _constant(text: str) -> str:
    """A template that comes to this text, written another way than the page does."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return json.dumps(f"{{{{ '{escaped}' }}}}", ensure_ascii=False).replace("\u2028", "\\u2028")


MANIFEST = f"""\
campaign: spring
model: grok-imagine-video
matrix: {{mode: [normal, fun]}}
prompts:
  - {{name: boat, prompt: A boat in the fog, repeat: 2}}
  - {{name: {json.dumps(HOSTILE_NAME)}, prompt: {_constant(HOSTILE)}}}
  - {{name: picture, prompt: It moves, references: [{_constant(f"refs/{PICTURE}")}], params: {{duration: 10}}}}
  - {{name: storm, prompt: A storm over the sea}}
  - {{name: doubt, prompt: Nobody knows}}
  - {{name: later, prompt: Not yet}}
limits: {{in_flight: 1}}
budget: {{campaign: 150, day: 200}}
"""


@cache
def film() -> bytes:
    """Six seconds of H.264, as the model makes by itself."""
    scene = Scene("t", 1, "grok-imagine-video", "video", "film", {"duration": 6, "aspect_ratio": "2:3"}, "c", None)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        render(scene, path)
        return path.read_bytes()


async def _media(scene: Scene) -> bytes:
    """The same film for all, but for a box at its end that players skip."""
    tail = scene.task_id.encode()
    return film() + (8 + len(tail)).to_bytes(4, "big") + b"free" + tail


def campaign(folder: Path) -> Bench:
    """Jobs that succeeded, failed, are doubtful, cancelled, planned; by two modes, with a picture and hostile texts."""
    bench = Bench(folder)
    bench.switches.set({"fail_prompt": "storm"})
    (folder / "refs").mkdir()
    (folder / "refs" / PICTURE).write_bytes(PIXEL)
    manifest = bench.write(MANIFEST)
    lost = {"on": "create", "do": "lost", "nth": 1}
    refused = {"on": "create", "do": "status", "status": 422, "code": "validation_error", "nth": 2}
    films_of(bench)
    bench.app.faults.replace(parse_all([lost, refused]))
    bench.run(manifest, selection=Selection(only=("doubt",), limit=1))
    bench.app.faults.replace([])
    bench.run(manifest, selection=Selection(only=("boat", "<b>*", "picture", "storm")))
    keep_caps(bench, {"run": None, "campaigns": {"spring": 150}, "day": 200, "keep": 50})
    with closing(LedgerWriter.open(bench.ledger_path, bench.clock)) as ledger:
        cancel(ledger, next(job["id"] for job in bench.jobs() if job["name"] == "later"))
    return bench


def copy_of(bench: Bench, folder: Path) -> Bench:
    """The same ledger and results in another folder, to be changed there."""
    shutil.copytree(bench.state, folder / "copied" / "state")
    copied = copy(bench)
    copied.folder, copied.state = folder / "copied", folder / "copied" / "state"
    return copied


def films_of(bench: Bench) -> Bench:
    """The same with results that are films."""
    bench.app = Simulator(bench.world, media=_media)
    bench.api = SimulatedApi(bench.app)
    return bench


def write_page(bench: Bench, target: Path, *, reconciliation: Reconciliation | None = None, **asked: Any) -> pages.Page:
    """The page of a ledger, as of the bench's clock."""
    with bench.reader() as read:
        now = bench.clock.wall()
        question = ask(read, now=now, **asked)
        made = pages.make_page(
            read,
            question,
            state=bench.state,
            target=target,
            now=now,
            running=False,
            reconciliation=reconciliation,
        )
    target.write_text(made.text, "utf-8")
    return made


# What stands in a page


@dataclass
class Parsed(HTMLParser):
    """A page as a list of tags with their attributes, tables of texts by name, scripts and styles."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    tiles: dict[str, str] = field(default_factory=dict)
    inside: dict[str, list[str]] = field(default_factory=lambda: {"script": [], "style": []})

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._name = ""
        self._tile: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self._open.append(tag)
        if tag in self.inside:
            self.inside[tag].append("")
        if given.get("class") == "tile":
            self._tile = []
        if given.get("class") == "scroll":
            self._name = given["aria-label"]
            self.tables[self._name] = []
        if tag == "tr":
            self.tables[self._name].append([])
        if tag in ("td", "th"):
            self.tables[self._name][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, text: str) -> None:
        if not self._open:
            return
        if self._open[-1] in self.inside:
            self.inside[self._open[-1]][-1] += text
        elif "td" in self._open or "th" in self._open:
            self.tables[self._name][-1][-1] += text
        elif self._tile is not None and text.strip():
            self._tile.append(text)
            if len(self._tile) == 2:
                self.tiles[self._tile[0]] = self._tile[1]

    def column(self, table: str, title: str) -> list[str]:
        """The texts of a column, below its title."""
        head, *rows = self.tables[table]
        return [row[head.index(title)] for row in rows]

    @property
    def data(self) -> dict[str, Any]:
        """What the gallery knows."""
        found: dict[str, Any] = json.loads(self.inside["script"][0])
        return found

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """The gallery's jobs."""
        shared, columns = self.data["shared"], self.data["columns"]
        return [
            {name: shared[name][value] if name in shared else value for name, value in zip(columns, row, strict=True)}
            for row in self.data["rows"]
        ]


def parse(text: str) -> Parsed:
    parsed = Parsed()
    parsed.feed(text)
    parsed.close()
    return parsed


# What a browser does with it


@dataclass
class Watched:
    """A page in a browser, with what it asked for and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", self._request)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: Path) -> Page:
        self.page.goto(path.as_uri())
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait for the gallery, which is laid out after the first paint."""
        self.page.locator("#shown:not(:empty)").wait_for(state="attached")


_LEFT_OUT = ("script", "style", "svg", "details")


class _Words(HTMLParser):
    """The texts of a page in their order, without scripts, styles, drawings and what they are drawn from."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._within = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within += tag in _LEFT_OUT

    def handle_endtag(self, tag: str) -> None:
        self._within -= tag in _LEFT_OUT

    def handle_data(self, data: str) -> None:
        if not self._within and (text := " ".join(data.split())):
            self.texts.append(text)


def words_of(page: str) -> str:
    """What a page says, a text a line."""
    reader = _Words()
    reader.feed(page)
    return "\n".join(reader.texts) + "\n"


Watch = Callable[..., Watched]
CARD = "#matrix .card:not([hidden])"


def card(page: Page, name: str, at: int = 0) -> Locator:
    """A card by the name of its prompt."""
    return page.locator(CARD).and_(page.locator(f'[aria-label^="{name}, "]')).nth(at)


def playing(page: Page) -> list[str]:
    """The names of what plays at this moment."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('.card video')].filter(v => !v.paused && v.currentTime > 0)"
        ".map(v => v.closest('.card').job.name)"
    )
    return found


def wait(page: Page, condition: str, argument: object = None) -> None:
    """Until an expression over `it` holds. Playwright's own way evaluates a text, which the page's policy forbids."""
    page.evaluate(
        f"it => new Promise((done, fail) => {{ const end = performance.now() + 10000; const look = () =>"
        f" ({condition}) ? done() : performance.now() > end ? fail(new Error('in vain')) : requestAnimationFrame(look);"
        " look(); })",
        argument,
    )


def wait_for_film(page: Page, name: str | None) -> None:
    on = "[...document.querySelectorAll('.card video')].filter(v => !v.paused)"
    if name is None:
        wait(page, f"{on}.length === 0")
    else:
        wait(page, f"{on}.length === 1 && {on}[0].currentTime > 0.05 && {on}[0].closest('.card').job.name === it", name)


def favour(page: Page, name: str, at: int = 0) -> None:
    found = card(page, name, at)
    found.hover()
    found.get_by_role("button", name="Favourite").click()


#: The rules of axe that look at colours are most of its work: nothing else changes between light and dark, and they
#: do not change between a wide window and a narrow one.
COLORS = {"runOnly": ["color-contrast", "link-in-text-block"]}
NO_COLORS = {"rules": {name: {"enabled": False} for name in COLORS["runOnly"]}}


def check_with_axe(page: Page, context: str | None = None, **options: Any) -> None:
    """Axe finds nothing. It tells of each element that it found nothing at only when asked, in twice the time."""
    axe = Axe("") if page.evaluate("'axe' in window") else Axe()  # it stays in a page
    found = axe.run(page, context, {"resultTypes": ["violations"]} | options)
    assert found.violations_count == 0, found.generate_report()
