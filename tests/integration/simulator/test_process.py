"""`python -m batcher.simulator`: as a process of its own, killed and started again."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from integration.simulator.helpers import AUTH, JOB

from batcher.simulator.__main__ import main


@contextmanager
def simulator(*options: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    command = [sys.executable, "-m", "batcher.simulator", *options]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            assert process.stdout
            hello = json.loads(process.stdout.readline())
            assert hello == {"base_url": hello["base_url"], "pid": process.pid}
            with httpx2.Client(base_url=hello["base_url"], headers=AUTH, trust_env=False, timeout=10) as client:
                yield process, client
            process.terminate()
            process.wait(10)
        finally:
            process.kill()


def test_killed_and_started_again_it_goes_on(tmp_path: Path) -> None:
    options = ("--folder", str(tmp_path), "--credits", "50", "--queue-seconds", "0", "--run-seconds", "0")
    key = {"Idempotency-Key": "a"}
    with simulator(*options) as (process, http):
        task = http.post("/api/v1/generations", json=JOB, headers=key).json()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with simulator(*options, "--credits", "9", "--verbose") as (process, http):
        again = http.post("/api/v1/generations", json=JOB, headers=key).json()
        assert again["id"] == task["id"]
        assert http.get("/api/v1/credits").json() == {"current_credits": 40}
        video = http.get(again["result"]["primary_url"])
        assert b"ftyp" in video.content[:12]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr
        told = process.stderr.read().splitlines()
        assert told[0] == "1 create:arrived"
        assert told[-1] == "10 result:answered"
    assert [path.name for path in (tmp_path / "results").iterdir()] == [f"{task['id']}.mp4"]


def test_the_log_tells_every_request_and_how_it_ended_over_restarts(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    faults = ("--fault", "create:lost:nth=1", "--fault", "status:lost_before:nth=1", "--fault", "result:cut:nth=1")
    options = ("--folder", str(tmp_path), "--log", str(log), "--result-bytes", "5000", *faults)
    times = ("--queue-seconds", "0", "--run-seconds", "0", "--limits", "credits=1/60")
    key = {"Idempotency-Key": "a"}
    with simulator(*options, *times) as (process, http):
        with pytest.raises(httpx2.RemoteProtocolError):
            http.post("/api/v1/generations", json=JOB, headers=key)
        made = http.post("/api/v1/generations", json=JOB, headers=key)
        task = made.json()
        with pytest.raises(httpx2.RemoteProtocolError):
            http.get(f"/api/v1/generations/{task['id']}")
        with pytest.raises(httpx2.RemoteProtocolError):
            http.get(task["result"]["primary_url"])
        whole = http.get(task["result"]["primary_url"]).content
        http.post("/_simulator/orders", json={"outage": "errors"})
        http.get("/api/v1/models")
        http.post("/_simulator/orders", json={"outage": "none"})
        assert [http.get("/api/v1/credits").status_code for _ in range(2)] == [200, 429]
        process.send_signal(signal.SIGKILL)
        process.wait()
    with simulator(*options) as (_, http):
        http.get("/api/v1/models")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    starts = [n for n, record in enumerate(records) if record["op"] == "started"]
    assert len(starts) == 2
    arrived = {r["number"]: r for r in records[: starts[1]] if r["op"] == "arrived"}
    ended = {r["number"]: r for r in records[: starts[1]] if r["op"] == "ended"}
    assert [(arrived[n]["kind"], ended[n]["did"], ended[n]["status"]) for n in arrived] == [
        ("create", "lost", 200),
        ("create", "", 200),
        ("status", "lost_before", 0),
        ("result", "cut", 200),
        ("result", "", 200),
        ("models", "outage", 502),
        ("credits", "", 200),
        ("credits", "", 429),
    ]
    assert all(arrived[n]["at"] <= ended[n]["at"] for n in arrived)
    assert {arrived[n]["key"] for n in (1, 2)} == {"a"}
    assert {arrived[n]["body"] for n in (1, 2)} == {hashlib.sha256(made.request.content).hexdigest()}
    assert {ended[n]["sha256"] for n in (4, 5)} == {hashlib.sha256(whole).hexdigest()}
    assert len(whole) > 5000
    assert [r["number"] for r in records[starts[1] :] if r["op"] == "arrived"] == [1]


def test_it_ends_with_its_stdin_and_not_with_an_interrupt() -> None:
    with simulator("--exit-with-stdin") as (process, http):
        process.send_signal(signal.SIGINT)
        assert http.get("/api/v1/models").status_code == 200
        assert process.stdin
        process.stdin.write("anything")
        process.stdin.close()
        assert process.wait(10) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_an_interrupt_ends_it_otherwise() -> None:
    with simulator() as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_faults_and_switches_from_the_command_line(tmp_path: Path) -> None:
    rules = tmp_path / "faults.json"
    rules.write_text('[{"on": "models", "do": "status", "status": 503, "nth": 1}]')
    options = ("--faults", str(rules), "--fault", "credits:status:status=502", "--set", "create_status=202")
    with simulator(*options) as (_, http):
        assert http.get("/api/v1/models").status_code == 503
        assert http.get("/api/v1/models").status_code == 200
        assert http.get("/api/v1/credits").status_code == 502
        assert http.post("/api/v1/generations", json=JOB).status_code == 202


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "loopback only"),
        (["--port", "70000"], "65535"),
        (["--queue-seconds", "x"], "queue_seconds: must be a valid number"),
        (["--set", "nonsense"], "must look like NAME=VALUE"),
        (["--set", "nonsense=1"], "unknown name"),
        (["--fault", "create:lots"], "do: must be one of"),
        (["--faults", "no-such-file.json"], "no-such-file.json"),
    ],
)
def test_wrong_arguments(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(options) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("{}", "must be a list")])
def test_a_file_of_faults_that_cannot_be_read(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    assert main(["--faults", str(path)]) == 2
    assert f"{path}: {message}" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "journal.jsonl").write_text("nonsense\n")
    assert main(["--folder", str(tmp_path)]) == 2
    assert "journal.jsonl:1" in capsys.readouterr().err


def test_main_can_be_called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("os.read", lambda *_: b"")
    assert main(["--exit-with-stdin"]) == 0
    assert json.loads(capsys.readouterr().out)["base_url"].startswith("http://127.0.0.1:")
