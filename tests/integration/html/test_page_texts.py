"""What is hostile in a ledger stays text on its page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from xml.etree import ElementTree

from integration.html.helpers import HOSTILE, HOSTILE_NAME, Parsed, copy_of, parse, write_page
from support import KEY, Bench

from batcher.ledger.queries.gallery import Span
from batcher.ledger.queries.spend import WaitingTimes
from batcher.report.html import charts
from batcher.report.html.charts import Cost
from batcher.report.html.gallery import script_json

SVG = "{http://www.w3.org/2000/svg}"


def test_one_file_that_asks_for_nothing(parsed: Parsed, report: Path) -> None:
    linking = [(tag, name, value) for tag, given in parsed.tags for name, value in given.items() if name in _LINKS]
    assert {(tag, name) for tag, name, _ in linking} == {("a", "href")}
    assert all(value.startswith("#") for _, _, value in linking)
    assert not {"link", "iframe", "object", "embed", "base", "img", "video"} & {tag for tag, _ in parsed.tags}
    text = report.read_text("utf-8")
    assert re.findall(r"url\(|@import|//[a-z]+\.[a-z]", "".join(parsed.inside["style"])) == []
    assert KEY not in text
    assert str(report.parent) not in text.replace(json.dumps(str(report.parent / "refs"))[1:-1], "")


_LINKS = ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "formaction")


def test_the_policy_names_the_script_and_the_style_and_nothing_else_runs(parsed: Parsed) -> None:
    [policy] = [given["content"] for tag, given in parsed.tags if given.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    data, script = parsed.inside["script"]
    [style] = parsed.inside["style"]
    for text, rule in ((script, "script-src"), (style, "style-src")):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert not [name for _, given in parsed.tags for name in given if name.startswith("on") or name == "style"]
    assert not set(data) & set("<>&\u2028\u2029")


def test_hostile_texts_are_in_the_data_and_in_no_markup(parsed: Parsed) -> None:
    assert HOSTILE in parsed.data["shared"]["prompt"]
    assert HOSTILE_NAME in parsed.data["shared"]["name"]
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert "b" not in {tag for tag, _ in parsed.tags}


def test_a_hostile_ledger(bought: Bench, tmp_path: Path) -> None:
    bench = copy_of(bought, tmp_path)
    nasty = "</script><svg onload=alert(1)>\x00\u2028\"'`"
    bench.edit(
        "UPDATE wanted SET name = ?, error_code = ?, error_message = ?, params = ?",
        nasty,
        nasty,
        nasty,
        json.dumps({"mode": nasty, nasty: nasty}),
    )
    bench.edit("UPDATE wanted SET params = '{}' WHERE seq = 1")
    bench.edit("UPDATE attempts SET price_class = ?, account = ?", nasty, nasty)
    write_page(bench, tmp_path / "nasty.html", by=["prompt", "mode"])
    parsed = parse((tmp_path / "nasty.html").read_text("utf-8"))
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert not [name for _, given in parsed.tags for name in given if name.startswith("on")]
    assert nasty in parsed.data["shared"]["name"]
    assert any("<svg onload=alert(1)>" in cell for row in parsed.tables["Credits"] for cell in row)
    assert any("<svg onload=alert(1)>" in cell for row in parsed.tables["Cost by mode"] for cell in row)


def test_json_in_a_script_cannot_end_it() -> None:
    value = {"</script>": ["<!--", "&amp;", "\u2028\u2029", "\udcff", "ü🎬"]}
    text = script_json(value)
    assert not set(text) & set("<>&\u2028\u2029\udcff")
    assert "ü🎬" in text
    assert json.loads(text) == value


def test_charts_are_drawings_of_text() -> None:
    nasty = "</text><script>alert(1)</script><a href='javascript:1'>&"
    drawn = [
        charts.cost_by_param(nasty, [Cost(nasty, 1, 1, 10, 0), Cost(None, 1, 0, 0, 10)]),
        charts.credits_by_day([Cost(nasty, 1, 1, 10, 0), Cost("b", 1, 1, 20, 5)], 30),
        charts.credits_over_time(nasty, [], 10, Span(0, 10)),
        charts.waiting([1.0, 2.0, 3.0, 7.0], WaitingTimes(4, 2.5, 7.0)),
    ]
    for chart in drawn:
        root = ElementTree.fromstring(chart.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {"svg", "g", "path", "rect", "line", "text"}
        for each in root.iter():
            assert not [name for name in each.attrib if name.startswith("on") or name in ("style", "href")]
            for name in ("fill", "stroke"):
                # Whatever the theme, it can be seen: nothing has a colour of its own.
                assert each.get(name, "none") in ("none", "transparent", "currentColor") or each.attrib[
                    name
                ].startswith("var(--")
    labels = [text.text for text in ElementTree.fromstring(drawn[0].svg).iter() if text.tag == "text"]
    assert any(label and "<script>" in label for label in labels)
