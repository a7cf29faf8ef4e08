"""The simulator of `--simulate`: its process, its port, and what is said when it does not start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from cli.helpers import ROOT, Cli

from batcher import simulated
from batcher.errors import StorageError, UsageError
from batcher.install import install_hint
from batcher.simulator.switches import DEFAULT_KEY


def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Start this Python script in the simulator's place."""
    program = tmp_path / "fake"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nport = sys.argv[sys.argv.index('--port') + 1]\n{script}"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))


LISTENS = "print(json.dumps({'base_url': f'http://127.0.0.1:{port if port != \"0\" else 4711}'}), flush=True)\n"
WAITS = "sys.stdin.read()\n"


def test_the_port_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake(monkeypatch, tmp_path, LISTENS + WAITS)
    with simulated.running(tmp_path) as base_url:
        assert base_url == "http://127.0.0.1:4711"
    (tmp_path / "simulator/port").write_text("4712")
    with simulated.running(tmp_path) as base_url:
        assert base_url == "http://127.0.0.1:4712"
    (tmp_path / "simulator/port").write_text("nonsense")
    with simulated.running(tmp_path) as base_url:
        assert base_url == "http://127.0.0.1:4711"


def test_a_port_that_is_taken_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake(monkeypatch, tmp_path, "if port != '0': sys.exit(2)\n" + LISTENS + WAITS)
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator/port").write_text("4712")
    with simulated.running(tmp_path) as base_url:
        assert base_url == "http://127.0.0.1:4711"
    assert (tmp_path / "simulator/port").read_text() == "4711"


@pytest.mark.parametrize(
    ("script", "said"), [("print('bad luck', file=sys.stderr)\n", "bad luck"), ("", "no reason given")]
)
def test_a_simulator_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str
) -> None:
    fake(monkeypatch, tmp_path, script)
    with pytest.raises(StorageError, match=f"did not start: {said}"), simulated.running(tmp_path):
        pass


def test_a_simulator_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake(monkeypatch, tmp_path, WAITS)
    monkeypatch.setattr(simulated, "_START_SECONDS", 0.01)
    with pytest.raises(StorageError, match="did not start"), simulated.running(tmp_path):
        pass


def test_it_does_not_get_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RIVYA_API_KEY", "rvya_sk_real")
    fake(monkeypatch, tmp_path, f"open({str(tmp_path / 'env')!r}, 'w').write(str(dict(os.environ)))\n" + LISTENS)
    with simulated.running(tmp_path):
        pass
    assert "rvya_sk_real" not in (tmp_path / "env").read_text()
    assert str(ROOT) in (tmp_path / "env").read_text()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "simulator").write_text("")
    with pytest.raises(StorageError, match="simulator"), simulated.running(tmp_path):
        pass


def test_without_the_extra(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "find_spec", lambda name: None if name == "av" else object())
    with pytest.raises(UsageError, match=r"not installed \(av\)"):
        simulated.need_extra()
    for words in (["run", "m.yaml", "--simulate"], ["simulator"]):
        ran = cli(*words)
        assert ran.code == 2
        assert install_hint("simulator") in ran.err


def test_its_constants_are_those_of_the_simulator() -> None:
    assert simulated.SIMULATED_KEY == DEFAULT_KEY


def test_the_simulator_command_hands_its_words_on(cli: Cli) -> None:
    ran = cli("simulator", "--help")
    assert ran.code == 0
    assert "--queue-seconds" in ran.out
    ran = cli("simulator", "--port", "x")
    assert ran.code == 2
    assert cli("simulator", "--nonsense").code == 2
    assert os.environ.get("RIVYA_API_KEY") is None
