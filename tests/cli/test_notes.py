"""What is told and stops nothing: twins in spelling, comments, names in another spelling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.helpers import MANIFEST, Cli, Site

NFC, NFD = "Ein Caf\u00e9", "Ein Cafe\u0301"


def _prompts(tmp_path: Path, *texts: str) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST.partition("matrix:")[0] + f"prompts: {json.dumps(texts)}\n")


@pytest.mark.parametrize(
    ("texts", "twins"),
    [((NFC, NFD), 1), ((NFD, NFC), 1), ((NFC, NFC), 0), ((NFC, "Ein Cafe"), 0), (("\u4e00\u8258", "\u8258"), 0)],
)
def test_a_twin_in_another_spelling_is_told(texts: tuple[str, ...], twins: int, cli: Cli, tmp_path: Path) -> None:
    _prompts(tmp_path, *texts)
    for command in ("validate", "plan"):
        ran = cli(command, "m.yaml", "--json")
        assert ran.code == 0
        assert len(ran.document["notes"]) == twins
        assert ran.err.count("note: m.yaml: two jobs") == twins
    assert ran.document["new"] == len(set(texts)), "identity is the text as it was typed"


def test_a_twin_of_what_is_bought_is_told(cli: Cli, place: Site, tmp_path: Path) -> None:
    _prompts(tmp_path, NFC)
    assert cli("run", "m.yaml").code == 0
    assert cli("plan", "m.yaml").err == ""
    _prompts(tmp_path, NFD)
    ran = cli("plan", "m.yaml")
    assert ran.code == 0
    assert "differ only in how their letters are spelled" in ran.err


def test_notes_are_told_and_change_nothing(cli: Cli, place: Site, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        MANIFEST.partition("matrix:")[0] + "prompts:\n  - A boat # at dawn\n  - file: p.txt\n"
    )
    (tmp_path / "p.txt").write_text("# cars\nA car\n")
    notes = [
        {
            "file": "m.yaml",
            "message": "YAML takes '# at dawn' for a comment and ends the text before it",
            "line": 4,
            "column": 12,
            "row": 0,
            "hint": "put the text in quotes if it belongs to it",
            "sheet": "",
        },
        {
            "file": "p.txt",
            "message": "no prompt: '# cars'",
            "line": 1,
            "column": 0,
            "row": 0,
            "hint": "a text that begins with # goes into a .csv",
            "sheet": "",
        },
    ]
    for argv in (["validate", "m.yaml"], ["plan", "m.yaml"], ["run", "m.yaml", "--dry-run"]):
        ran = cli(*argv, "--json")
        assert (ran.code, ran.document["notes"]) == (0, notes)
        assert ran.err.count("note: ") == 2
    ran = cli("run", "m.yaml")
    assert (ran.code, ran.err.count("note: ")) == (0, 2)
    assert cli("plan", "m.yaml").err.count("note: ") == 2, "also where nothing is expanded for a run any more"
    assert cli("run", "m.yaml", "--only", "a-*").code == 0


def test_only_takes_names_however_they_are_spelled(cli: Cli, tmp_path: Path) -> None:
    text = MANIFEST.partition("matrix:")[0] + f"prompts: [{{name: {NFD}, prompt: x}}, y]\n"
    (tmp_path / "m.yaml").write_text(text, "utf-8")
    for name in (NFC, NFD, f"*{NFC[-1:]}", f"*{NFD[-2:]}"):
        assert cli("plan", "m.yaml", "--only", name, "--json").document["new"] == 1
