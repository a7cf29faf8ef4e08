"""The recipes of docs/overnight.md: units, plist and Dockerfile as their tools read them; cron's line as cron does."""

from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from cli.helpers import ROOT, Cli, environment, refused, site

from batcher.cli import app

RECIPES = ROOT / "recipes"
PAGE = (ROOT / "docs/overnight.md").read_text("utf-8")


def text(name: str) -> str:
    return (RECIPES / name).read_text("utf-8")


def commands() -> list[str]:
    """Every command line of batcher in recipes and page."""
    plist = plistlib.loads(text("com.example.batcher-night.plist").encode())
    found = [shlex.join(plist["ProgramArguments"])]
    found += re.findall(r"^ExecStart=(.*)$", text("batcher-night.service"), re.MULTILINE)
    return found + re.findall(r"^[^#\n]*batcher (?:run|plan|watch)[^#\n;>&]*", PAGE + text("Dockerfile"), re.MULTILINE)


def test_every_command_of_the_recipes_is_one() -> None:
    lines = commands()
    assert len(lines) > 6
    for line in lines:
        found = re.search(r"batcher`? (run|plan|watch)\b([^;'`]*)", line)
        if found is None:
            continue
        command = app.cli.get_command(click.Context(app.cli), found[1])
        assert command
        known = {option for param in command.params for option in param.opts}
        assert {word for word in found[2].split() if word.startswith("--")} <= known, line


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in ("batcher-night.service", "batcher-night.timer"):
        (tmp_path / name).write_text(text(name).replace("%h/.local/bin/batcher", "/usr/bin/env batcher"))
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir()))]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_launchd_and_docker_find_what_they_name() -> None:
    plist = plistlib.loads(text("com.example.batcher-night.plist").encode())
    assert plist["Label"] == "com.example.batcher-night"
    assert plist["StartCalendarInterval"] == {"Hour": 22, "Minute": 0}
    for line in re.findall(r"^COPY (.*) \S+$", text("Dockerfile"), re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split())
    assert all((ROOT / "docs" / target).exists() for target in re.findall(r"\]\((\.\./recipes/[^)]+)\)", PAGE))


def test_the_line_for_cron_runs_as_cron_runs_it(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "50% off"
    folder.mkdir()
    (tmp_path / "m.yaml").rename(folder / "m.yaml")
    monkeypatch.chdir(folder)
    ran = cli("plan", "m.yaml", "--cron", "--only", "reveal", "--limit", "1")
    assert ran.code == 0
    minute, hour, *rest, command = ran.out.rstrip("\n").split(" ", 5)
    assert "%" not in command.replace(r"\%", ""), "cron would end the command there"
    assert (minute, hour, rest) == ("0", "22", ["*", "*", "*"])
    with site() as place:
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in environment(place).items()))
        plain = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "PYTHONPATH": str(ROOT)}
        words = ["/bin/sh", "-c", command.replace(r"\%", "%")]  # as cron takes it out
        done = subprocess.run(words, cwd=tmp_path, env=plain, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert len(place.world.oracle().tasks) == 1
    assert "1 succeeded" in (folder / "night.log").read_text()
    refused(cli("plan", "m.yaml", "--cron", "--jobs"), "--cron prints a line for crontab and nothing else")
    refused(cli("plan", "bad.yaml", "--cron"), "bad.yaml")
