"""Every bad manifest and every bad file through the real command: exit code 2 with a place, and nothing sent."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.helpers import Cli, Site
from unit.manifest.helpers import HEAD, PNG, write
from unit.manifest.test_bad import BYTES, HEADS, IN_THE_DOCUMENT
from unit.manifest.test_bad_rows import IN_A_ROW
from unit.manifest.test_traps import TRAPS

#: Every kind of bad manifest in one table: what its bytes are, and the place that must be told.
KINDS: dict[str, tuple[bytes, str]] = {
    **{f"mistake: {name}": ((HEAD + row[0]).encode(), f"m.yaml:{row[1]}: ") for name, row in IN_THE_DOCUMENT.items()},
    **{f"trap: {name}": ((HEAD + row[0]).encode(), f"m.yaml:{row[1]}: ") for name, row in TRAPS.items()},
    **{f"whole: {name}": (row[0].encode(), f"m.yaml:{row[1].split(' ')[0]} ") for name, row in HEADS.items()},
    **{f"bytes: {name}": (row[0], row[1].split(" ")[0]) for name, row in BYTES.items()},
}


def nothing_was_sent(folder: Path, place: Site) -> bool:
    return not (folder / "state").exists() and not place.world.oracle().requests


def test_there_are_enough_kinds() -> None:
    assert len(IN_THE_DOCUMENT) >= 60
    assert len({data for data, _ in KINDS.values()}) == len(KINDS) >= 180


@pytest.mark.parametrize("some", range(4))
def test_every_kind_of_bad_manifest(cli: Cli, place: Site, tmp_path: Path, some: int) -> None:
    for name, (data, where) in list(KINDS.items())[some::4]:
        (tmp_path / "m.yaml").write_bytes(data)
        ran = cli("run", "m.yaml", "--json")
        assert ran.code == 2, name
        assert ran.err.startswith(f"error: {where}"), (name, ran.err[:200])
        assert "1 error; nothing was sent." in ran.err, name
        assert all(line.isprintable() for line in ran.err.splitlines()), name
        (problem,) = json.loads(ran.out)["error"]["problems"]
        assert problem["file"] == "m.yaml"
        assert (
            where.startswith(f"m.yaml:{problem['line']}:{problem['column']}") or "too large" in name or "bomb" in name
        )
        assert "Traceback" not in ran.err + ran.out
    assert nothing_was_sent(tmp_path, place)


def test_every_kind_of_bad_row(cli: Cli, place: Site, tmp_path: Path) -> None:
    for name, (source, content, message) in IN_A_ROW.items():
        write(tmp_path, f"prompts: [{{file: {source}}}]", {source: content})
        ran = cli("run", "m.yaml")
        assert (ran.code, ran.out) == (2, ""), name
        assert ran.err.startswith(f"error: {message.split(': ')[0]}"), (name, ran.err[:200])
        assert all(line.isprintable() for line in ran.err.splitlines()), name
    assert nothing_was_sent(tmp_path, place)


# Special files: (how one is made, what is said when it is opened)
SPECIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (os.mkfifo, "is no regular file"),
    "folder": (Path.mkdir, "is a folder, not a file"),
    "socket": (lambda path: _bound(path), "cannot be read: No such device or address"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
    "endless link": (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
    "dead link": (lambda path: path.symlink_to("nothing"), "cannot be read: No such file or directory"),
}


def _bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path.relative_to(Path.cwd())))  # a path of a socket is short


@pytest.mark.parametrize("kind", SPECIAL)
def test_special_files(cli: Cli, place: Site, tmp_path: Path, kind: str) -> None:
    """As the manifest, as a source of prompts and as a reference; `--allow-path /dev` lets the device come so far."""
    make, words = SPECIAL[kind]
    for name in ("odd.yaml", "odd.csv", "odd.png"):
        make(tmp_path / name)
    ran = cli("run", "odd.yaml")
    assert ran.code == 2
    assert ran.err.startswith(f"error: odd.yaml: {words}")
    write(tmp_path, "references: [odd.png]\nprompts: [{file: odd.csv}, a text]")
    ran = cli("run", "m.yaml", "--allow-path", "/dev")
    assert ran.code == 2
    reference, source = ran.err.removeprefix("error: ").splitlines()[:2]
    expected = "Symlink loop" if kind == "endless link" else words
    assert reference.startswith("m.yaml:3:14: 'odd.png' ")
    assert source.startswith("m.yaml:4:18: 'odd.csv' ")
    assert expected in reference
    assert expected in source
    assert nothing_was_sent(tmp_path, place)


def test_links_that_lead_out(cli: Cli, place: Site, tmp_path: Path) -> None:
    inner = tmp_path / "in"
    outer = tmp_path / "out"
    write(tmp_path, "", {"out/a.png": PNG, "out/a.csv": "prompt\nsecret of somebody else\n"})
    inner.mkdir()
    (inner / "folder").symlink_to(outer)
    (inner / "root").symlink_to("/")
    (inner / "a.csv").symlink_to(outer / "a.csv")
    (inner / "a.png").symlink_to("../out/a.png")
    named = ["a.png", "folder/a.png", "folder/*.png", "*.png", "root/etc/hostname", "root/dev/zero", "folder/../../x"]
    write(inner, f"references: {json.dumps(named)}\nprompts: [{{file: a.csv}}, {{file: folder/a.csv}}, x]")
    ran = cli("run", "in/m.yaml")
    assert ran.code == 2
    places = [line.removeprefix("error: ").split(": ")[0] for line in ran.err.splitlines()[:-1]]
    assert len(places) == 9
    assert ran.err.count("leads out of the manifest's folder") == 9
    assert "secret of somebody else" not in ran.err
    assert nothing_was_sent(tmp_path, place)


def test_names_of_files_that_nobody_should_have(cli: Cli, place: Site, tmp_path: Path) -> None:
    """A glob finds them; what cannot be a path in a ledger or on a terminal is refused with a place."""
    (tmp_path / "refs").mkdir()
    for number, name in enumerate([b"a\nb.png", b"a\x1b[2Jb.png", b"a\xffb.png", "a\u202eb.png".encode(), b"-rf.png"]):
        Path(os.fsdecode(bytes(tmp_path / "refs") + b"/" + name)).write_bytes(PNG + bytes([number]))
    write(tmp_path, "references: ['refs/*']\nprompts: [x]")
    ran = cli("validate", "m.yaml")
    assert ran.code == 2
    assert ran.err.startswith("error: m.yaml:3:14: a path cannot hold the character U+")
    for name in (b"a\nb.png", b"a\x1b[2Jb.png", b"a\xffb.png"):
        (tmp_path / "refs" / os.fsdecode(name)).unlink()
    ran = cli("validate", "m.yaml")
    assert (ran.code, ran.out) == (0, "m.yaml: campaign c, 2 jobs\n")


def test_a_manifest_with_an_odd_name(cli: Cli, place: Site, tmp_path: Path) -> None:
    for name in ("-m.yaml", "a\nb.yaml", "a\x1b[2Jb.yaml", "a\u202eb.yaml", "[red]x.yaml", os.fsdecode(b"a\xffb.yaml")):
        (tmp_path / name).write_text("campaign: c\n")
        ran = cli("run", "--", name)
        assert ran.code == 2, name
        assert not set(ran.err) & set("\x1b\u202e\udcff"), name
        assert len(ran.err.splitlines()) == 3, ran.err
    assert cli("run", "x" * 300 + ".yaml").code == 2
    assert "File name too long" in cli("run", "x" * 300 + ".yaml").err
    assert nothing_was_sent(tmp_path, place)
