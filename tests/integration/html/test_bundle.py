"""A bundle for a client: all of it is the client's, whole or absent, and it is looked at in a browser."""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import shutil
import signal
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path

import av
import pytest
from cli.helpers import Cli
from integration.html.helpers import Watched, check_with_axe, films_of, parse
from PIL import Image
from playwright.sync_api import expect
from support import PIXEL, Bench

from batcher.report.contact_sheet import contact_sheet

MANIFEST = """\
campaign: {campaign}
model: grok-imagine-video
tags: {{client: {client}, desk: "{client}-desk"}}
matrix: {{aspect_ratio: ["2:3", "16:9"], language: [{language}]}}
prompts:
  - {{name: "{name}", prompt: "{prompt} {{{{ language }}}}", references: [null, refs/secret-folder/still.png]}}
limits: {{in_flight: 4}}
budget: {{campaign: 500, day: 900, allowance: {{name: night-of-the-rival, total: 999}}}}
"""
OURS = {"campaign": "noor-spring", "client": "al-noor", "language": "ur", "name": "CON: گھڑی", "prompt": "زعفران"}
THEIRS = {"campaign": "rival-winter", "client": "rival", "language": "en", "name": "decoy", "prompt": "A decoy"}


@pytest.fixture(scope="module")
def agency(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Two clients in one ledger; into each film the provider wrote its task's id. Only to be copied."""
    bench = films_of(Bench(tmp_path_factory.mktemp("agency")))
    stills = bench.folder / "refs/secret-folder"
    stills.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(stills / "still.png")
    for each in (OURS, THEIRS):
        bench.run(bench.write(MANIFEST.format(**each), f"{each['client']}.yaml"))
    return bench


@pytest.fixture
def here(agency: Bench, tmp_path: Path, cli: Cli) -> Path:
    """A folder with a copy of its state, in which the command runs."""
    shutil.copytree(agency.state, tmp_path / "state")
    return tmp_path


def entries(path: Path) -> dict[str, bytes]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {name.removeprefix(f"{path.stem}/"): archive.read(name) for name in archive.namelist()}
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def listed(folder: Path) -> list[str]:
    """What lies there, but for what SQLite keeps beside a ledger that is read."""
    return sorted(str(path) for path in folder.rglob("*") if not path.name.startswith("ledger.db-"))


def of_ledger(here: Path, sql: str) -> list[str]:
    with closing(sqlite3.connect(here / "state/ledger.db")) as db:
        return [str(row[0]) for row in db.execute(sql)]


@pytest.mark.parametrize("name", ["al-noor", "al-noor.zip"])
def test_no_byte_of_it_is_of_others(here: Path, cli: Cli, name: str) -> None:
    ran = cli("report", "--bundle", name, "--where", "client=al-noor")
    assert (ran.code, ran.out) == (0, "")
    assert "Bundle of 4 files" in ran.err
    assert "task's id into 4 files" in ran.err
    found = entries(here / name)
    assert set(found) - {n for n in found if n.startswith("files/")} == {"index.html", "contact-sheet.jpg", "files.csv"}
    forbidden = [
        *of_ledger(here, "SELECT task_id FROM attempts"),
        *of_ledger(here, "SELECT client_request_id FROM attempts"),
        *of_ledger(here, "SELECT idempotency_key FROM attempts"),
        *of_ledger(here, "SELECT account FROM attempts"),
        *of_ledger(here, "SELECT id FROM wanted WHERE campaign = 'rival-winter'"),
        *of_ledger(here, "SELECT ledger_id FROM meta"),
        *("rival", "decoy", "al-noor-desk", "desk", "credit", "secret-folder", str(here), "/refs", "state/"),
    ]
    assert len(forbidden) > 30
    for entry, content in found.items():
        for word in forbidden:
            for code in ("utf-8", "utf-16-le"):
                assert word.encode(code) not in content, (entry, word)
    if name.endswith(".zip"):
        raw = (here / name).read_bytes()
        assert not [word for word in forbidden if word.encode() in raw]


def test_files_are_the_bought_ones_and_play(here: Path, cli: Cli) -> None:
    assert cli("report", "--bundle", "noor", "--campaign", "noor-spring").code == 0
    table = list(csv.DictReader(io.StringIO((here / "noor/files.csv").read_text("utf-8-sig"))))
    assert (here / "noor/files.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert [row["aspect_ratio"] for row in table] == ["2:3", "2:3", "16:9", "16:9"]
    assert {row["language"] for row in table} == {"ur"}
    assert {row["prompt"] for row in table} == {"زعفران ur"}
    originals = sorted((here / "state/results/noor-spring").iterdir())
    files = [here / "noor/files" / row["file"] for row in table]
    assert sorted(len(path.read_bytes()) for path in files) == sorted(path.stat().st_size for path in originals)
    for path in files:
        assert re.fullmatch(r"[1-4]-CON--گھڑی-[0-9a-f]{12}\.mp4", path.name)
        with av.open(str(path)) as film:
            assert next(film.decode(video=0)).width
    with Image.open(here / "noor/contact-sheet.jpg") as sheet:
        assert sheet.width == 2400
        assert not sheet.getexif()
        assert sheet.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}
        colors = sheet.convert("RGB").resize((60, 60)).getcolors(3600)
        assert colors is not None
        assert len(colors) > 100  # films are to be seen on it


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows over a size, as on a disk that is full."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def _nothing(here: Path) -> None:
    return


def _missing(here: Path) -> None:
    next((here / "state/results/noor-spring").iterdir()).unlink()


def _changed(here: Path) -> None:
    path = next((here / "state/results/noor-spring").iterdir())
    path.write_bytes(bytes(reversed(path.read_bytes())))


def _linked(here: Path) -> None:
    path = next((here / "state/results/noor-spring").iterdir())
    path.rename(here / "elsewhere.mp4")
    path.symlink_to(here / "elsewhere.mp4")


def _led_out(here: Path) -> None:
    (here / "state/results/noor-spring").rename(here / "elsewhere")
    (here / "state/results/noor-spring").symlink_to(here / "elsewhere")


NOOR = ("--campaign", "noor-spring")


@pytest.mark.parametrize(
    ("prepare", "words", "code", "why"),
    [
        (_nothing, ["there", *NOOR], 2, "the folder there is not empty"),
        (_nothing, ["there/mine.zip", *NOOR], 2, "exists already"),
        (_nothing, ["there/mine.txt", *NOOR], 2, "exists already"),
        (_nothing, ["link", *NOOR], 2, "exists already"),
        (_nothing, ["state/b", *NOOR], 2, "lies in the state folder"),
        (_nothing, ["state/b.zip", *NOOR], 2, "lies in the state folder"),
        (_nothing, ["none/b", *NOOR], 2, "there is no folder none"),
        (_nothing, [".", *NOOR], 2, "is no name for a bundle"),
        (_nothing, ["..", *NOOR], 2, "is no name for a bundle"),
        (_nothing, ["/", *NOOR], 2, "is no name for a bundle"),
        (_nothing, ["b"], 2, "would show each client the others"),
        (_nothing, ["b", "--where", "status=planned"], 2, "no job of these has a file"),
        (_nothing, ["b", *NOOR, "--format", "csv"], 2, "--bundle goes with neither"),
        (_nothing, ["b", *NOOR, "--html", "b.html"], 2, "--bundle goes with neither"),
        (_nothing, ["b", *NOOR, "--invoice", "--price", "1", "--currency", "EUR"], 2, "--invoice goes with neither"),
        (_missing, ["b", *NOOR], 2, ".mp4: missing"),
        (_changed, ["b", *NOOR], 2, ".mp4: changed"),
        (_changed, ["b.zip", *NOOR], 2, ".mp4: changed"),
        (_linked, ["b", *NOOR], 2, ".mp4: changed"),
        (_led_out, ["b", *NOOR], 7, "leads out of the folder"),
    ],
)
def test_it_is_whole_or_absent(
    here: Path, cli: Cli, prepare: Callable[[Path], None], words: list[str], code: int, why: str
) -> None:
    (here / "there").mkdir()
    (here / "empty").mkdir()
    (here / "link").symlink_to("empty")
    for name in ("mine.txt", "mine.zip"):
        (here / "there" / name).write_text("mine")
    prepare(here)
    before = listed(here)
    ran = cli("report", "--bundle", *words)
    assert (ran.code, ran.out) == (code, "")
    assert why in ran.err
    assert listed(here) == before
    assert (here / "there/mine.zip").read_text() == "mine"


@pytest.mark.parametrize("name", ["b", "empty", "b.zip"])
def test_a_full_disk_leaves_nothing(here: Path, cli: Cli, name: str) -> None:
    (here / "empty").mkdir()
    before = listed(here)
    with full_disk():
        ran = cli("report", "--bundle", name, *NOOR)
    assert (ran.code, ran.out) == (7, "")
    assert "File too large" in ran.err
    assert listed(here) == before
    assert cli("report", "--bundle", name, *NOOR).code == 0  # and the way is free


def test_an_empty_folder_is_taken(here: Path, cli: Cli) -> None:
    (here / "noor").mkdir()
    assert cli("report", "--bundle", "noor", *NOOR).code == 0
    assert len(entries(here / "noor")) == 7


def test_a_client_marks_favourites_and_sends_them_back(here: Path, cli: Cli, watch: Callable[..., Watched]) -> None:
    cli("report", "--bundle", "noor", *NOOR)
    watched = watch(here / "noor/index.html")
    page = watched.page
    assert page.title() == "noor"
    expect(page.locator("#shown")).to_have_text("4 results")
    for at in (1, 3):
        page.locator(".card").nth(at).hover()
        page.keyboard.press("f")
    page.locator(".card").nth(2).hover()
    page.keyboard.press("x")
    with page.expect_download() as download:
        page.locator("#marks-save").click()
    expect(page.locator("#marks-said")).to_have_text("Saved 2 favourites and 1 reject as marks.json.")
    download.value.save_as(here / "marks.json")
    chosen = cli("results", "noor-spring", "--marked", "marks.json").out.splitlines()
    assert len(chosen) == 2
    assert cli("report", "--bundle", "final.zip", "--marked", "marks.json").code == 0
    assert sorted(name.rpartition("-")[2] for name in entries(here / "final.zip") if "files/" in name) == sorted(
        Path(path).name.rpartition("-")[2] for path in chosen
    )
    # and a page takes them over, but for what it does not know
    found = json.loads((here / "marks.json").read_text())
    found["favourites"].append("f" * 32)
    (here / "marks.json").write_text(json.dumps(found))
    cli("report", "--html", "report.html", *NOOR)
    page = watch(here / "report.html").page
    page.locator("#marks-file").set_input_files(here / "marks.json")
    expect(page.locator("#marks-said")).to_contain_text("2 favourites, 1 reject; 1 other job not on this page")
    expect(page.locator(".card[data-mark=f]")).to_have_count(2)
    page.locator("#marks-file").set_input_files(here / "state/ledger.db")
    expect(page.locator("#marks-said")).to_have_text("ledger.db is no file of marks.")


def test_a_page_of_one_campaign_names_no_other(here: Path, cli: Cli) -> None:
    with closing(sqlite3.connect("state/ledger.db")) as db, db:
        db.execute("UPDATE wanted SET status = 'planned' WHERE name = 'decoy'")
    for words in (NOOR, ("--where", "client=al-noor")):
        assert cli("report", "--html", "noor.html", *words).code == 0
        text = Path("noor.html").read_text("utf-8")
        assert parse(text).data["fresh"] == {"noor-spring": "noor-spring-more"}
        assert not [word for word in ("rival", "decoy") if word in text]


def test_axe_finds_nothing(here: Path, cli: Cli, watch: Callable[..., Watched]) -> None:
    cli("report", "--bundle", "noor", *NOOR)
    cli(
        *[
            "report",
            "--invoice",
            "--price",
            "0.02",
            "--currency",
            "EUR",
            "--html",
            "invoice.html",
            "--by",
            "client,campaign",
        ]
    )
    # axe makes elements from markup, which the pages' policy forbids
    page = watch(here / "noor/index.html", bypass_csp=True, color_scheme="dark").page
    for path in ("noor/index.html", "invoice.html"):
        page.goto((here / path).as_uri())
        check_with_axe(page)


def test_what_cannot_be_drawn_has_a_box(tmp_path: Path) -> None:
    films = {"garbage.mp4": b"\0\0\0\x18ftypmp42" + bytes(500), "page.mp4": b"<html>"}
    files = {**films, "empty.png": b"", "cut.png": PIXEL[:40]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    Image.new("RGBA", (90, 160), (250, 0, 0, 255)).save(tmp_path / "tall.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "tall.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.new("RGB", (160, 90), (0, 0, 250)).save(tmp_path / "turned.jpg", exif=turned)
    names = ["tall.png", "turned.jpg", "link.png", *files, "missing.mp4"]
    made = contact_sheet("صفحة", [(f"{name} زعفران", tmp_path / name) for name in names])
    with Image.open(io.BytesIO(made)) as sheet:
        page = sheet.convert("RGB")
    # the two pictures stand upright, and nothing else has a colour
    colors: dict[int, list[tuple[int, int]]] = {0: [], 2: []}
    for at in product(range(0, page.width, 4), range(0, page.height, 4)):
        color = page.getpixel(at)
        assert isinstance(color, tuple)
        for channel, spots in colors.items():
            if color[channel] > 200 > 60 > color[2 - channel]:
                spots.append(at)
    for spots in colors.values():
        assert spots
        width, height = (max(at) - min(at) for at in zip(*spots, strict=True))
        assert 1.6 < height / width < 1.9
