"""The page in a real Chromium, from disk: it plays, filters, marks, and writes manifests that plan."""

from __future__ import annotations

import itertools
import json
import shutil
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from core_helpers import multiply
from integration.html.helpers import (
    CARD,
    COLORS,
    HOSTILE,
    HOSTILE_NAME,
    NO_COLORS,
    Watch,
    card,
    check_with_axe,
    copy_of,
    favour,
    playing,
    wait,
    wait_for_film,
    write_page,
)
from playwright.sync_api import expect
from support import Bench


def test_a_film_plays_under_the_mouse_and_stops_beside_it(watch: Watch) -> None:
    page = watch().page
    boat = card(page, "boat")
    boat.scroll_into_view_if_needed()
    boat.locator("video").wait_for(state="attached")
    wait(page, "document.querySelector('.card video').readyState >= 2")  # its first picture stands
    assert playing(page) == []
    boat.locator(".media").hover()
    wait_for_film(page, "boat")
    page.mouse.move(0, 0)
    wait_for_film(page, None)


def test_a_film_plays_when_it_is_tapped(watch: Watch) -> None:
    page = watch(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844}).page
    media = card(page, "boat").locator(".media")
    media.scroll_into_view_if_needed()
    media.tap()
    wait_for_film(page, "boat")
    media.tap()
    wait_for_film(page, None)


def test_nothing_moves_by_itself_where_less_motion_is_wished(watch: Watch) -> None:
    page = watch(reduced_motion="reduce").page
    media = card(page, "boat").locator(".media")
    media.hover()
    media.locator("video").wait_for(state="attached")
    wait(page, "document.querySelector('.card video').readyState >= 2")
    assert playing(page) == []
    media.click()
    wait_for_film(page, "boat")


def test_filters_filter(watch: Watch, bought: Bench) -> None:
    page = watch().page
    jobs = bought.jobs()
    shown, states = page.locator("#shown"), page.locator("[data-filter=status]")
    # of what was not bought nothing can be seen
    seen = [job for job in jobs if job["status"] not in ("planned", "cancelled")]
    expect(shown).to_have_text(f"{len(seen)} of {len(jobs)} jobs")
    assert states.locator(":checked").count() == len({job["status"] for job in seen})
    for status in ("doubtful", "succeeded"):
        states.get_by_text(status).click()
    expect(page.locator(CARD)).to_have_count(2)
    assert page.locator(CARD).evaluate_all("all => all.map(c => c.job.name)") == ["storm", "storm"]
    heads = page.locator(".heads p:not([hidden])")
    expect(heads).to_have_count(2)
    page.locator("[data-filter=mode]").get_by_text("fun").click()
    expect(page.locator(CARD)).to_have_count(1)
    expect(heads).to_have_text(["fun · 6"])  # no column stands empty
    expect(page.locator(".row:not([hidden]) .cell:not([hidden])")).to_have_count(1)
    expect(shown).to_have_text(f"1 of {len(jobs)} jobs")
    states.get_by_text("succeeded").click()  # one or the other
    succeeded = sum(job["status"] == "succeeded" for job in jobs) // 2
    expect(page.locator(CARD)).to_have_count(succeeded + 1)
    page.locator("#search").fill("no such text")
    expect(page.locator(CARD)).to_have_count(0)
    page.get_by_role("button", name="Clear them").click()
    expect(page.locator(CARD)).to_have_count(len(jobs))
    page.locator("#search").fill("FOG boat")
    expect(page.locator(CARD)).to_have_count(4)
    page.locator("#search").fill(jobs[0]["id"][:12])
    expect(page.locator(CARD)).to_have_count(1)


def test_the_grid_stands_by_the_axes_that_one_chooses(watch: Watch, bought: Bench) -> None:
    page = watch().page
    jobs = bought.jobs()
    heads = page.locator(".heads p")
    expect(page.locator(".row h3 bdi")).to_have_text(list(dict.fromkeys(job["name"] for job in jobs)))
    assert heads.all_inner_texts()[:2] == ["normal · 6", "fun · 6"]
    page.locator("#columns").select_option("mode")
    assert heads.all_inner_texts() == ["mode normal", "mode fun"]
    page.locator("#rows").select_option("take")
    assert page.locator(".row h3 bdi").all_text_contents() == ["take 1", "take 2"]
    cells = page.locator(".row").nth(1).locator(".cell")
    assert [cells.nth(n).locator(".card").count() for n in range(2)] == [1, 1]
    # What a card says is the job's, wherever it stands.
    found = page.locator(".card").evaluate_all("all => all.map(c => [c.job.id, c.textContent])")
    assert Counter(job_id for job_id, _ in found) == Counter(job["id"] for job in jobs)
    for job_id, text in found:
        [job] = [job for job in jobs if job["id"] == job_id]
        assert job_id[:12] in text
        assert f"take {job['take']} · " in text
        assert (job["result_path"] is None) or Path(job["result_path"]).name in text


def test_texts_from_outside_stay_texts(watch: Watch) -> None:
    page = watch().page
    expect(page).to_have_title("batcher report: All campaigns, from the beginning")
    hostile = card(page, HOSTILE_NAME)
    assert hostile.locator(".prompt").evaluate("p => p.textContent") == HOSTILE
    assert page.locator("img, b >> text=bold").count() == 0
    page.locator(".row h3").filter(has_text=HOSTILE_NAME).first.wait_for()
    hostile.get_by_role("button", name="Everything").click()
    assert page.locator("#job .prompt").evaluate("p => p.textContent") == HOSTILE
    assert page.locator("#job-title").inner_text() == HOSTILE_NAME


def test_nothing_but_the_pages_own_script_would_run(watch: Watch) -> None:
    watched = watch(quiet=False)
    page = watched.page
    tries = [
        "document.body.setAttribute('onclick', 'document.title = 1')",
        "document.body.innerHTML = '<img src=x>'",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))",
    ]
    for each in tries:
        done = page.evaluate(f"() => {{ try {{ {each}; return 'done'; }} catch {{ return 'refused'; }} }}")
        assert (each, done) == (each, "refused")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        asked = page.evaluate(
            "url => fetch(url, {signal: AbortSignal.timeout(3000)}).then(() => 'got', e => e.name)", url
        )
        seen = page.evaluate(
            "url => new Promise(done => { const it = new Image(); it.onload = it.onerror = e => done(e.type);"
            " setTimeout(done, 3000); it.src = url; })",
            url,
        )
        assert (asked, seen) == ("TypeError", "error")  # refused at once, not given up
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has knocked
            server.accept()
    assert page.title().startswith("batcher report")
    assert sum("Content Security Policy" in text for text in watched.complaints) >= 2


def test_axe_finds_nothing(watch: Watch) -> None:
    """In a wide window, in the dark, and in a narrow window; each with dialogs."""
    page = watch(bypass_csp=True).page  # axe makes elements from markup, which the page's policy forbids
    page.evaluate("document.querySelectorAll('.row').forEach(row => { row.style.contentVisibility = 'visible'; })")
    favour(page, "boat")
    page.locator("details").first.locator("summary").click()

    def check(dialogs: str, **options: Any) -> None:
        check_with_axe(page, **options)
        for opens in dialogs:
            card(page, "doubt").focus()
            page.keyboard.press({"E": "Enter"}.get(opens, opens))
            page.locator("dialog[open]").wait_for()
            check_with_axe(page, "dialog[open]", **options)
            page.keyboard.press("Escape")

    check("?mE")
    page.emulate_media(color_scheme="dark")
    check("m", **COLORS)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    check("E", **NO_COLORS)


def test_nothing_is_wider_than_the_window(watch: Watch) -> None:
    page = watch().page
    for columns in ("", "mode", "status"):
        page.locator("#columns").select_option(columns)
        for width in (390, 700, 1024):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (columns, width)


def test_a_person_sees_what_is_to_be_decided(watch: Watch, bought: Bench) -> None:
    page = watch().page
    [doubtful] = [job for job in bought.jobs() if job["status"] == "doubtful"]
    section = page.locator("section.decide")
    expect(section).to_contain_text(f"batcher resolve {doubtful['id'][:12]} --as submitted --task ID")
    expect(card(page, "doubt")).to_contain_text(doubtful["error_message"])
    card(page, "doubt").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#job pre")).to_contain_text(f"batcher resolve {doubtful['id'][:12]} --as again")


def test_page_and_results_move_together(bought: Bench, watch: Watch, tmp_path: Path) -> None:
    there = tmp_path / "a folder & more #1"
    shutil.copytree(bought.folder, there / "x")
    write_page(bought, bought.folder / "moved.html")
    shutil.move(bought.folder / "moved.html", there / "x" / "moved.html")
    page = watch(there / "x" / "moved.html").page
    card(page, "boat").locator(".media").hover()
    wait_for_film(page, "boat")
    assert "a%20folder" in page.evaluate("document.querySelector('.card video').currentSrc")


GONE, UNPLAYABLE = "The file is not there any more.", "This browser does not play it."


def test_a_file_that_is_gone_is_told_from_one_that_does_not_play(bought: Bench, watch: Watch, tmp_path: Path) -> None:
    shutil.copy(bought.folder / "report.html", tmp_path / "alone.html")
    (picture, *_) = (job["result_path"] for job in bought.jobs() if job["name"] == "picture")
    (tmp_path / "state" / picture).parent.mkdir(parents=True)
    (tmp_path / "state" / picture).write_bytes(b"\0\0\0\x18ftyphvc1" + bytes(2000))
    page = watch(tmp_path / "alone.html", quiet=False).page
    for name, why in (("boat", GONE), ("picture", UNPLAYABLE)):
        card(page, name).scroll_into_view_if_needed()
        expect(card(page, name).locator(".why")).to_contain_text(why)
    # what is gone when a page is made is known beforehand
    bench = copy_of(bought, tmp_path)
    (bench.state / picture).unlink()
    write_page(bench, bench.folder / "late.html")
    page = watch(bench.folder / "late.html").page
    expect(card(page, "picture").locator(".why")).to_have_text(GONE)
    assert card(page, "picture").locator("[data-film]").count() == 0


def test_hundreds_of_films_have_few_players(watch: Watch, bought: Bench, tmp_path: Path) -> None:
    bench = copy_of(bought, tmp_path)
    changes = {"name": "printf('many-%03d', i / 8)", "prompt": "prompt || i"}
    multiply(bench.ledger_path, 600, "status = 'succeeded'", **changes)
    made = write_page(bench, bench.folder / "many.html")
    assert made.jobs == 614
    assert len(made.text) < 1_000_000
    page = watch(bench.folder / "many.html").page
    expect(page.locator(".card")).to_have_count(614)
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") < 5_000  # it takes 1/5 s
    for place in (0.2, 0.9, 0.5):
        page.evaluate("place => scrollTo(0, document.body.scrollHeight * place)", place)
        wait(
            page,
            "[...document.querySelectorAll('.card video')].some(v => v.readyState >= 2"
            " && v.getBoundingClientRect().top < innerHeight && v.getBoundingClientRect().bottom > 0)",
        )
        assert page.locator("video").count() <= 40
    page.locator("#search").fill("many-074")
    expect(page.locator(CARD)).to_have_count(8)


def test_a_spreadsheets_results_are_one_dense_grid(watch: Watch, bought: Bench, tmp_path: Path) -> None:
    bench = copy_of(bought, tmp_path)
    several = [{"reference": "a/first.png", "sha256": "0"}, {"reference": "https://x.test/last.png", "sha256": None}]
    bench.edit(
        "UPDATE wanted SET name = 'row-' || seq, prompt = 'گھڑی ' || seq, reference_list = ?,"
        " vars = json_object('tone', iif(seq % 2, 'calm', 'stern'), 'sku', seq), tags = json_object('client', seq % 3)",
        json.dumps(several),
    )
    bench.edit("UPDATE files SET width = 854, height = 480 WHERE attempt_id % 2")
    write_page(bench, bench.folder / "sheet.html")
    page = watch(bench.folder / "sheet.html").page
    assert [page.locator(f"#{name}").input_value() for name in ("rows", "columns")] == ["", ""]
    # of one height in a line, whatever their shapes, and nothing left over between them
    lines: dict[int, list[dict[str, float]]] = {}
    for box in page.locator(f"{CARD} .media").evaluate_all("all => all.map(m => m.getBoundingClientRect().toJSON())"):
        lines.setdefault(round(box["top"]), []).append(box)
    assert len({round(box["width"] / box["height"], 1) for boxes in lines.values() for box in boxes}) == 3
    for boxes in lines.values():
        assert max(box["height"] for box in boxes) - min(box["height"] for box in boxes) < 1
        gaps = [after["left"] - before["right"] for before, after in itertools.pairwise(boxes)]
        assert all(abs(gap - 10) < 1 for gap in gaps)
    assert page.locator("[data-filter=sku]").count() == 0  # no two have the same
    page.locator("[data-filter=tone]").get_by_text("calm").click()
    page.locator("[data-filter=client]").get_by_text("1").click()
    assert {sku % 6 for sku in page.locator(CARD).evaluate_all("all => all.map(c => c.job.vars.sku)")} == {1}
    first = page.locator(CARD).first
    assert first.locator(".prompt").evaluate("p => getComputedStyle(p).direction") == "rtl"
    assert first.locator("a bdi").evaluate("b => getComputedStyle(b).direction") == "ltr"
    first.hover()
    page.keyboard.press("Enter")
    assert page.locator("#job dt:has-text('reference') + dd").all_inner_texts() == [
        "a/first.png",
        "https://x.test/last.png",
    ]
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.keyboard.press("m")
    manifest = page.locator("#m-text").input_value()
    assert 'references: [["a/first.png", "https://x.test/last.png"]]' in manifest
    page.keyboard.press("Escape")
    # the choice is remembered
    page.locator("#rows").select_option("tone")
    page.locator("#columns").select_option("mode")
    page.locator("#size").select_option("small")
    page.reload()
    page.locator("#shown:not(:empty)").wait_for(state="attached")
    assert [page.locator(f"#{name}").input_value() for name in ("rows", "columns", "size")] == ["tone", "mode", "150"]
    assert page.locator(".row h3 bdi").all_text_contents() == ["tone calm", "tone stern"]
