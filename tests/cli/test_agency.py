"""docs/agency.md is typed as it stands: four clients' sheets, a crash, a cap, corrections, bundles, an invoice."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.helpers import ROOT, Cli, Site, clean, environment, go, site

from batcher.simulator.faults import parse_all

PAGE = ROOT / "docs" / "agency.md"
CLIENTS = ("al-noor", "bergmann", "hikari", "zaiqa")
FILES = [f"{client}.yaml" for client in CLIENTS]
#: Done by the fixtures: a simulator in this process, and a copy of the folder.
GIVEN = ("batcher simulator ", "export ", "cp -r ")


def steps() -> Iterator[tuple[str, list[str]]]:
    """Each command of the page with the lines that it is said to print; `…` stands for anything."""
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *said = typed.splitlines()
            if not command.startswith(GIVEN):
                yield command, said


def pattern(said: list[str]) -> re.Pattern[str]:
    """A line `…` stands for any lines, and within a line for any text."""
    lines = [r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*?") + r"[ ]*\n" for line in said]
    return re.compile("".join(lines))


@pytest.fixture
def agency(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The simulator of the page, and the working folder with the clients' files."""
    shutil.copytree(ROOT / "manifests" / "agency", tmp_path / "agency")
    with site(fail_prompt="血", fail_code="moderation_blocked") as place:
        go(place, monkeypatch)
        monkeypatch.chdir(tmp_path / "agency")
        yield place


def test_the_night_as_the_page_has_it(cli: Cli, agency: Site, tmp_path: Path) -> None:
    night: subprocess.Popen[bytes] | None = None
    tasks = agency.world.oracle
    for command, said in steps():
        words = [name for word in shlex.split(command) for name in (FILES if word == "*.yaml" else [word])]
        if words[-1] == "&":
            hanging = {"on": "create", "do": "delay", "seconds": 3600, "nth": list(range(5, 30))}
            agency.app.faults.replace(parse_all([hanging]))
            process = [sys.executable, "-m", "batcher", *words[1:-1]]
            night = subprocess.Popen(process, env=clean(**environment(agency)), stderr=subprocess.DEVNULL)
        elif words[0] == "kill":
            assert night is not None
            end = time.monotonic() + 30
            while len(tasks().tasks) < 8 and time.monotonic() < end:
                time.sleep(0.01)
            night.send_signal(signal.SIGKILL)
            night.wait()
            agency.app.faults.replace([])
        elif words[0] == "batcher":
            ran = cli(*words[1:])
            told = (ran.out or ran.err) if words[1] == "report" else ran.out
            assert pattern(said).fullmatch(told), f"$ {command}\n{told}\n{ran.err}"
        else:
            subprocess.run(words, check=True)
    truth = tasks()
    assert truth.spent == 200
    assert truth.purchases.keys() == {purchase for purchase, times in truth.purchases.items() if times == 1}
    assert len(truth.purchases) == 20 + 1, "and the one that was refused"
    check_bundles(tmp_path / "agency")


def check_bundles(folder: Path) -> None:
    """Each has its client's five films, and no word of another client or of credits."""
    for client in CLIENTS:
        with zipfile.ZipFile(folder / f"{client}.zip") as bundle:
            names = bundle.namelist()
            texts = b"".join(bundle.read(name) for name in names if not name.endswith((".mp4", ".jpg"))).decode()
        assert sum(name.endswith(".mp4") for name in names) == 5
        assert not [other for other in CLIENTS if other != client and other in texts + " ".join(names)]
        assert "credits" not in texts
