"""Names that escape, collide, differ in case only or are too long: each result has a file of its own, in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from cli.helpers import Cli, Site

NAMES = [
    "..", ".", "../../escaped", "/etc/passwd", "~root", "a/b", "a\\b", "con", "NUL.txt", "-rf", "--state", ".hidden",
    "trailing.", "trailing...", "space end .", "x" * 100, "é" * 100, "😀" * 100, "Case", "CASE", "case", "Straße",
    "STRASSE", "é", "e\u0301", "a\u202eb", "a\u200bb", "a\u2066b", "$(id)", "`id`", "a;b|c&d", "*?", "%00",
    "\U000e0041", "[red]x[/]", "\u00a0", "\u3000",
]  # fmt: skip
MANIFEST = """\
campaign: tiny
model: grok-imagine-video
prompts: %s
results: {name: "{{ prompt_name }}"}
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 10ms, every: 10ms, max: 50ms}
"""


def test_every_result_has_a_safe_name_of_its_own(cli: Cli, place: Site, tmp_path: Path) -> None:
    prompts = [{"prompt": f"text {n}", "name": name} for n, name in enumerate(NAMES) if name.strip()]
    (tmp_path / "m.yaml").write_text(MANIFEST % json.dumps(prompts, ensure_ascii=False), "utf-8")
    before = set(tmp_path.rglob("*"))
    ran = cli("run", "m.yaml", "--quiet")
    assert ran.code == 0, ran.err
    folder = tmp_path / "state/results/tiny"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == len(prompts)
    assert all(path.parent == folder for path in files)
    names = [path.name for path in files]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert len(name.encode()) <= 255
        assert name.isprintable()
        assert name[0] not in ".- "
        assert not set(name) & set('/\\:*?"<>|')
        assert name.removesuffix(".mp4")[-1] not in ". "
    elsewhere = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "state")}
    assert elsewhere == before
    rows = cli("jobs", "--json").document["jobs"]
    assert {row["result_path"] for row in rows} == {f"results/tiny/{name}" for name in names}
