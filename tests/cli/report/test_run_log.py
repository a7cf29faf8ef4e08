"""The summary that each run leaves under `<state>/logs/`, through the real command."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest
from cli.helpers import DOUBT, MANIFEST, Cli, Ran, Site, environment, site

from batcher import run
from batcher.cli.run_log import plain
from batcher.errors import StorageError
from batcher.simulator.switches import DEFAULT_KEY
from batcher.state import keep_log


def logs(state: Path = Path("state")) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in sorted((state / "logs").iterdir())}


def test_the_summary_is_kept_as_it_was_told(cli: Cli, place: Site) -> None:
    told: Ran = cli("run", "m.yaml")
    found = logs()
    document_name, text_name = found
    assert re.fullmatch(r"run-1-\d{8}T\d{6}Z\.json", document_name)
    assert text_name == document_name.replace(".json", ".txt")
    head, empty, *rest = found[text_name].splitlines()
    began = cli("status", "--json").document["last_run"]["started_at"]
    assert head.endswith(f"run 1, begun {began}: batcher run m.yaml")
    assert re.sub(r"[-:]|\.\d+", "", began) in text_name
    assert (empty, rest) == ("", told.out.splitlines())
    document = json.loads(found[document_name])
    assert (document["version"], document["run_id"], document["credits"]["settled"]) == (1, 1, 40)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [Path("state/logs"), *Path("state/logs").iterdir()]}
    assert set(modes.values()) == {0o600, 0o700}
    assert [path for path, mode in modes.items() if mode == 0o700] == [Path("state/logs")]


def test_the_document_is_that_of_json_and_every_run_has_its_own(cli: Cli, place: Site) -> None:
    for _ in range(2):
        told = cli("run", "m.yaml", "--json").document
        document = json.loads(next(text for name, text in logs().items() if name.startswith(f"run-{told['run_id']}-")))
        assert document == told
    assert [name.split("-")[1] for name in logs()] == ["1", "1", "2", "2"]


def test_a_stopped_run_leaves_its_summary_too(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(run, "begin_enrolment", interrupted)
    assert cli("run", "m.yaml").code == 130
    document, text = logs().values()
    assert "Stopped in 0 s: interrupted.\n" in text
    assert json.loads(document)["exit_code"] == 130


def test_a_signal_while_something_is_under_way(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(run_seconds=600) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        place.app.on_event = lambda _, name: os.kill(os.getpid(), signal.SIGTERM) if name == "status:answered" else None
        assert cli("run", "m.yaml", "--only", "dunes").code == 143
    document, text = logs().values()
    assert "asked to end (SIGTERM)" in text
    assert json.loads(document)["credits"]["held"] > 0


def test_nothing_is_left_where_nothing_was_sent(cli: Cli, place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(run, "hold_lock", interrupted)
    assert cli("run", "m.yaml").code == 143
    assert not Path("state/logs").exists()


@pytest.mark.parametrize(("budget", "code"), [("", 0), ("budget: {campaign: 25}\n", 3)])
def test_a_folder_that_cannot_be_written_is_a_warning(cli: Cli, place: Site, budget: str, code: int) -> None:
    Path("m.yaml").write_text(MANIFEST + budget)
    Path("state").mkdir()
    Path("state/logs").write_text("somebody's file")
    ran = cli("run", "m.yaml", "--json")
    assert ran.code == ran.document["exit_code"] == code
    assert "warning: this summary could not be kept: state/logs: File exists\n" in ran.err
    assert "Traceback" not in ran.err
    assert Path("state/logs").read_text() == "somebody's file"


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(StorageError, match="No space left"):
            keep_log(tmp_path, "run-1-x.txt", "summary")
    assert list((tmp_path / "logs").iterdir()) == []
    target = tmp_path / "elsewhere"
    (tmp_path / "logs/run-1-x.txt").symlink_to(target)
    keep_log(tmp_path, "run-1-x.txt", "summary")
    assert not target.exists()
    assert (tmp_path / "logs/run-1-x.txt").read_text() == "summary"


def test_the_key_is_not_in_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("m.yaml").write_text(
        MANIFEST.replace("campaign: tiny", "campaign: tiny\n# the name of a prompt is outside text")
    )
    text = Path("m.yaml").read_text().replace("name: reveal", f"name: a-{DEFAULT_KEY}")
    Path("m.yaml").write_text(text)
    with site(faults=list(DOUBT)) as place:
        for name, value in environment(place).items():
            monkeypatch.setenv(name, value)
        ran = cli("run", "m.yaml", "--limit", "1")
    assert DEFAULT_KEY in ran.out  # on the screen of who wrote it into the manifest
    assert len(logs()) == 2
    for kept in logs().values():
        assert DEFAULT_KEY not in kept
        assert "a-[key]" in kept


def test_nothing_that_a_terminal_obeys_is_in_it() -> None:
    assert plain(["a \x1b[31mred\x1b]0;x [bold]word[/] \u202eend", "x" * 5000]) == (
        "a \\x1b[31mred\\x1b]0;x [bold]word[/] \\u202eend\n" + "x" * 5000 + "\n"
    )
