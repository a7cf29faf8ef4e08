"""`batcher listen`: a POST to a real process is a hint in the ledger; what it cannot do is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli.helpers import BATCHER, Cli, clean, refused
from core_helpers import Shelf, job_name, make_spec, make_task

from batcher.ledger import LedgerReader


def answered(url: str, body: bytes) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_process_takes_hints_until_it_is_interrupted(cli: Cli, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    shelf = Shelf(state / "ledger.db")
    shelf.enrol([make_spec(1)])
    shelf.ledger.submitted(shelf.buy(1), make_task(1))
    shelf.ledger.close()
    command = [*BATCHER, "listen", "--port", "0", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        text = b""
        while not text.endswith(b"}\n"):
            text += process.stdout.readline()
        told = json.loads(text)
        assert told["pid"] == process.pid
        assert told["url"].startswith("http://127.0.0.1:")
        assert answered(told["url"], b'{"task": {"id": "task_1", "status": "whatever"}}') == 202
        assert answered(told["url"], b'{"id": "' + b"x" * 70_000 + b'"}') == 413
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert b"Traceback" not in process.stderr.read()
    with closing(LedgerReader.open(state / "ledger.db")) as read:
        assert [job_id for _, job_id in read.hints(0)] == [job_name(1)]
        assert read.row("SELECT * FROM jobs")["status"] == "queued", "it is not believed"  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "example.com"), "--host 'example.com' is no address"),
        (("--signature", "X-Sig"), "--signature HEADER and BATCHER_WEBHOOK_SECRET go together"),
        (("--host", "192.0.2.1"), "192.0.2.1 port 0: "),
    ],
)
def test_what_cannot_be_listened_to_is_told(cli: Cli, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    (tmp_path / "state").mkdir()
    Shelf(tmp_path / "state/ledger.db").ledger.close()
    refused(cli("listen", "--port", "0", *options), words)


def test_without_a_ledger_or_a_web_server_there_is_no_listening(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(cli("listen", "--port", "0"), "there is no ledger", code=7)
    modules: Any = sys.modules
    monkeypatch.setitem(modules, "uvicorn", None)
    (tmp_path / "state").mkdir()
    Shelf(tmp_path / "state/ledger.db").ledger.close()
    refused(cli("listen", "--port", "0"), "listening needs a web server")
