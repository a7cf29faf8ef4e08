"""Alerts of a run on the command line: real mail and HTTP servers, commands, and targets that are of no use."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from cli.helpers import DOUBT, MANIFEST, Cli, go, refused, site
from support import edit

from batcher.alerts.causes import KINDS
from batcher.alerts.targets import CommandTarget, NotDelivered, read_urls
from batcher.cli.options import ALERT_KINDS
from batcher.errors import UsageError
from batcher.simulator.switches import DEFAULT_KEY

CAPPED = MANIFEST.replace("limits: {", "limits: {in_flight: 1, ") + "budget: {campaign: 35}\n"
#: Writes what it gets on stdin, and the names of its environment, as a line of a file.
KEEP = "import json, os, sys; print(json.dumps([json.load(sys.stdin), sorted(os.environ)]), file=open('told', 'a'))"


class Mails(Message):
    """Keeps mails."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Any] = []

    def handle_message(self, message: Any) -> None:
        self.mails.append(message)


@contextmanager
def web() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A web server that keeps the JSON that is posted to it: its port, and what came."""
    posts: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port, posts
        server.shutdown()
        thread.join()


def told() -> list[tuple[dict[str, Any], list[str]]]:
    return [tuple(json.loads(line)) for line in Path("told").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Apprise imports
def test_mail_web_and_commands_are_told_each_thing_once_also_over_a_resume(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.yaml").write_text(CAPPED)
    monkeypatch.setattr("apprise.plugins.email.NotifyEmail.request_rate_per_sec", 0)  # it spares servers by itself
    hook = ("--on", "any", f'{sys.executable} -c "{KEEP}"')
    mails = Mails()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    controller = Controller(mails, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        with web() as (web_port, posts), site(faults=list(DOUBT)) as place:
            go(place, monkeypatch)
            urls = tmp_path / "urls"
            urls.write_text(f"# phones\njson://user:hunter2@127.0.0.1:{web_port}/hook?verify=no\n")
            urls.chmod(0o600)
            mail = f"mailto://127.0.0.1:{port}/?from=a@example.com&to=b@example.com&mode=insecure"
            monkeypatch.setenv("BATCHER_NOTIFY", mail)
            first = cli("run", "m.yaml", "--notify-file", "urls", *hook)
            again = cli("run", "m.yaml", "--notify-file", "urls", *hook)
    finally:
        controller.stop()
    assert (first.code, again.code) == (3, 3), again.err
    kinds = [each["event"] for each, _ in told()]
    assert kinds == ["cap", "doubtful", "end", "end"]
    assert sorted(post["title"] for post in posts) == sorted(each["title"] for each, _ in told())
    assert sorted(str(found["Subject"]) for found in mails.mails) == sorted(each["title"] for each, _ in told())
    bodies = [found.get_payload(decode=True).decode() for found in mails.mails]
    assert any("`batcher resolve` decides" in body for body in bodies)
    assert not {"RIVYA_API_KEY", "BATCHER_NOTIFY"} & set(told()[0][1]), "a command gets no secret of ours"
    assert "PATH" in told()[0][1]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "urls":
            assert not {
                word for word in ("hunter2", "b@example.com", DEFAULT_KEY) if word.encode() in path.read_bytes()
            }
    assert "hunter2" not in first.err + first.out


def test_a_dead_target_neither_stops_nor_holds_up_a_run(
    cli: Cli, place: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batcher.alerts.END_SECONDS", 0.2)
    ran = cli("run", "m.yaml", "--on", "end", "sh -c 'echo no such host >&2; exit 1'")
    assert ran.code == 0
    assert "alerts not delivered yet to sh (end " in ran.err


def test_a_target_that_cannot_be_used_is_told_before_anything_is_sent(
    cli: Cli, place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(cli("run", "m.yaml", "--on", "end", "no-such-program x"), "there is no program 'no-such-program'")
    refused(cli("run", "m.yaml", "--on", "end", "sh -c 'x"), "No closing quotation")
    refused(cli("run", "m.yaml", "--on", "never", "true"), "'never' is not one of 'end'")
    assert (*KINDS, "any") == ALERT_KINDS
    urls = tmp_path / "urls"
    refused(cli("run", "m.yaml", "--notify-file", "urls"), "urls cannot be read: No such file")
    urls.write_text("json://user:hunter2@127.0.0.1/\n\nnonsense://user:hunter2@there\n")
    refused(cli("run", "m.yaml", "--notify-file", "urls"), "can be read by others")
    urls.chmod(0o600)
    ran = cli("run", "m.yaml", "--notify-file", "urls")
    refused(ran, "urls:3: Apprise knows no such service or the URL lacks something (nonsense://…)")
    assert "hunter2" not in ran.err
    monkeypatch.setitem(sys.modules, "apprise", None)
    monkeypatch.setenv("BATCHER_NOTIFY", "json://127.0.0.1/")
    refused(cli("run", "m.yaml"), "alerts by URL need Apprise")
    assert place.world.oracle().tasks == {}


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batcher.alerts.targets.SECONDS", 0.3)
    pid = tmp_path / "pid"
    target = CommandTarget("end", f"sh -c 'sleep 60 & echo $! >{pid}; sleep 60'", {"PATH": "/usr/bin:/bin"})
    with pytest.raises(NotDelivered, match="longer than"):
        target.send({"event": "end"})
    stat = Path(f"/proc/{pid.read_text().strip()}/stat")
    until = time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until, "what it began still runs"


def test_a_file_of_urls_that_is_a_link_or_too_long_is_not_read(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text("x" * 100_001)
    real.chmod(0o600)
    (tmp_path / "link").symlink_to(real)
    for name, words in (("real", "longer than"), ("link", "cannot be read"), (".", "cannot be read")):
        with pytest.raises(UsageError, match=words):
            read_urls(tmp_path / name)


def test_a_ledger_of_which_somebody_spoilt_the_alerts_ends_them_not_the_run(cli: Cli, place: object) -> None:
    assert cli("run", "m.yaml", "--limit", "1", "--on", "end", "true").code == 0
    edit(Path("state/ledger.db"), "UPDATE alerts SET targets = 'no json'")
    ran = cli("run", "m.yaml", "--on", "end", "true")
    assert ran.code == 0
    assert "alerts ended: " in ran.err
