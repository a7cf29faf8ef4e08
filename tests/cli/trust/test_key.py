"""The key is nowhere: not in ledger, logs, messages, tracebacks, whatever goes wrong and whoever repeats it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import httpx2 as httpx
import pytest
from cli.helpers import MANIFEST, Cli, clean, site
from cli.trust.helpers import KEY, Hostile, Request, Said, error, forms, hostile, leaks, task
from forking import started
from support import KEY as BENCH_KEY
from support import Bench
from unit.manifest.helpers import PNG

from batcher import run
from batcher.cli.crash import redact
from batcher.errors import StorageError

#: One job with a reference, that is given up at once.
ONE = """\
campaign: tiny
model: grok-imagine-video
prompts: [{name: one, prompt: a text, references: [a.png]}]
limits: {submit: 1000/second, requests: 1000/second}
polling: {first: 10ms, every: 10ms, max: 10ms, give_up: 1s}
retries: {times: 0, outage: 1s}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in which also the temporary files are."""
    (tmp_path / "m.yaml").write_text(ONE)
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path


def look_everywhere(cli: Cli, folder: Path, *first: str) -> list[str]:
    """Where the key is after a run: in what it said, in all its files, in what the other commands say of them."""
    said = list(first)
    with closing(sqlite3.connect(folder / "state/ledger.db")) as ledger:
        jobs = [row[0] for row in ledger.execute("SELECT id FROM jobs")]
    commands = [["status"], ["jobs"], ["doctor"], ["plan", "m.yaml"], *(["show", job] for job in jobs)]
    commands += [["report"], ["watch", "--once"]]
    for words in commands:
        for more in ([], ["--json"]):
            ran = cli(*words, *more)
            said += [ran.out, ran.err]
    said += [cli("export", what, "--format", "jsonl").out for what in ("jobs", "attempts", "events", "runs", "uploads")]
    return look_at_files(folder, *said)


def look_at_files(folder: Path, *said: str) -> list[str]:
    """Where the key is: in what was said, in the ledger (no command knows more), in any file."""
    with closing(sqlite3.connect(folder / "state/ledger.db")) as ledger:
        return leaks(folder, *said, "".join(ledger.iterdump()))


def echoes(key: str) -> dict[str, Callable[[Request], Said | None]]:
    """An API that repeats the key, in each answer where it can."""

    def only(kind: str, said: Said) -> Callable[[Request], Said | None]:
        return lambda request: said if request.kind == kind else None

    def refuse(status: int, code: str) -> Callable[[Request], Said | None]:
        words = f"no: Authorization: Bearer {key}"
        body = error(code, words, f"req_{key}")
        return only("POST generations", Said(status, body, {"x-echo": key, "retry-after": key}))

    def poll(**said: object) -> Callable[[Request], Said | None]:
        def speak(request: Request) -> Said | None:
            if request.kind == "POST generations":
                return Said(200, task("task_1", "queued"))
            if request.kind == "GET generations":
                return Said(200, task("task_1", "succeeded", **said))
            return None

        return speak

    def named(request: Request) -> Said | None:
        """The key is the task's id."""
        if request.kind in ("POST generations", "GET generations"):
            return Said(200, task(f"task_{key}", "queued"))
        return None

    def moved(request: Request) -> Said | None:
        if request.path == "/result":
            return Said(302, b"", {"location": f"/elsewhere?key={quote(key)}&{key}"})
        if request.path == "/elsewhere":
            return Said(404, b"nothing here for " + key.encode())
        where = {"primary_url": f"http://{request.headers['host']}/result", "urls": []}
        return poll(result=where, final_credits=10)(request)

    return {
        "401": refuse(401, "api_key_invalid"),
        "403": refuse(403, "api_scope_denied"),
        "402": refuse(402, "insufficient_credits"),
        "422": refuse(422, "validation_failed"),
        "429": refuse(429, "rate_limited"),
        "500": refuse(500, "internal_error"),
        "503": refuse(503, "public_api_disabled"),
        "unknown code": refuse(418, f"no_{key}"),
        "page of a proxy": only("POST generations", Said(502, f"<h1>{key}</h1>".encode())),
        "garbage": only("POST generations", Said(200, b"{" + key.encode())),
        "redirect": only("POST generations", Said(307, b"", {"location": f"https://x.example/{key}?{key}"})),
        "upload refused": only("POST files", Said(413, error("too_large", f"{key} is too much"))),
        "upload's URL": only("POST files", Said(200, {"id": f"file_{key}", "url": f"https://x.example/{key}"})),
        "task's id": named,
        "task's word": poll(status=f"lost {key}"),
        "task's failure": poll(status="failed", error={"code": f"bad_{key}", "message": f"no {key}"}),
        "result's URL": poll(result={"primary_url": f"ftp://x.example/{key}", "urls": [f"https://[{key}"]}),
        "result's redirect": moved,
    }  # fmt: skip


#: Each kind of thing that the ledger keeps of what an API said, and commands show.
SHOWN = ("422", "garbage", "upload's URL", "task's id", "task's word", "task's failure", "result's URL")


@pytest.mark.parametrize("case", echoes(KEY))
def test_the_api_repeats_the_key(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    with hostile(echoes(KEY)[case], monkeypatch) as api:
        ran = cli("run", "m.yaml")
        assert ran.code != 2, ran.err
        assert any(request.key == KEY for request in api.heard)
        assert look_at_files(folder, ran.out, ran.err) == []
        if case in SHOWN:
            assert look_everywhere(cli, folder) == []
        assert "Traceback" not in ran.out + ran.err


def test_a_conflict_that_lasts(bench: Bench) -> None:
    """It is waited for, so on virtual time; then the job is doubtful, with what the API said."""
    body = error("idempotency_conflict", f"Authorization: Bearer {BENCH_KEY}", f"req_{BENCH_KEY}")
    speak = {"POST generations": Said(409, body, {"x-echo": BENCH_KEY, "retry-after": BENCH_KEY})}
    api = Hostile(bench.app, lambda request: speak.get(request.kind))
    bench.api.inner = httpx.ASGITransport(app=api)
    bench.run(bench.write(MANIFEST))
    assert api.heard[-1].key == BENCH_KEY
    assert "idempotency_conflict" in {job["error_code"] for job in bench.jobs()}
    assert leaks(bench.folder, key=BENCH_KEY) == []


#: How else somebody may write it: what is on the wire, byte by byte.
OTHER_FORMS = {
    "escaped in JSON": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "slashes escaped": KEY.replace("/", "\\/"),
    "in a URL": quote(KEY, safe=""),
    "loud": KEY.upper(),
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_the_api_repeats_the_key_in_other_words(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    body = b'{"error": {"code": "validation_failed", "message": "no %b"}}' % OTHER_FORMS[form].encode()
    with hostile(lambda r: Said(422, body) if r.kind == "POST generations" else None, monkeypatch):
        ran = cli("run", "m.yaml")
        assert ran.code == 1
        assert look_everywhere(cli, folder, ran.out, ran.err) == []


@pytest.mark.parametrize("code", ["lost_before", "lost", "cut", "garble"])
def test_answers_that_do_not_arrive(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    with site(faults=[{"on": "create", "do": code}], api_key=KEY) as found:
        monkeypatch.setenv("RIVYA_API_KEY", KEY)
        monkeypatch.setenv("RIVYA_BASE_URL", found.base_url)
        ran = cli("run", "m.yaml")
    assert ran.code in (1, 6)
    assert look_at_files(folder, ran.out, ran.err) == []


class Raw:
    """A server that answers every request with the same bytes, which are no HTTP or bad one."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Raw:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass


RAW = {
    "no HTTP": f"Bearer {KEY}\r\n\r\n",
    "bad header": f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n",
    "bad chunk": f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{KEY}\r\n",
    "bad length": f"HTTP/1.1 200 OK\r\ncontent-length: {KEY}\r\n\r\n",
}


@pytest.mark.parametrize("case", RAW)
def test_answers_that_are_no_http(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    with Raw(RAW[case].encode()) as server:
        monkeypatch.setenv("RIVYA_API_KEY", KEY)
        monkeypatch.setenv("RIVYA_BASE_URL", server.base_url)
        ran = cli("run", "m.yaml")
        told = [cli(*words) for words in (["credits"], ["credits", "--json"], ["doctor", "--online"])]
    assert ran.code in (1, 6)
    assert look_everywhere(cli, folder, ran.out, ran.err, *(t.out + t.err for t in told)) == []


def test_a_download_that_is_no_http(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason why a file is not there is told and comes from what the server said."""
    with Raw(RAW["bad chunk"].encode()) as server:

        def speak(request: Request) -> Said | None:
            where = {"primary_url": f"{server.base_url}/film", "urls": []}
            done = Said(200, task("task_1", "succeeded", result=where, final_credits=10))
            return done if "generations" in request.kind else None

        with hostile(speak, monkeypatch):
            ran = cli("run", "m.yaml")
    assert ran.code == 1
    assert "no file yet" in ran.out
    assert look_everywhere(cli, folder, ran.out, ran.err) == []


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9", "https://nowhere.invalid"])
def test_nobody_there(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, base_url: str) -> None:
    monkeypatch.setenv("RIVYA_API_KEY", KEY)
    monkeypatch.setenv("RIVYA_BASE_URL", base_url)
    ran = cli("run", "m.yaml")
    assert ran.code in (1, 6)
    assert look_everywhere(cli, folder, ran.out, ran.err) == []


@pytest.mark.parametrize(
    "base_url",
    [
        KEY,
        f"https://{KEY}",
        f"https://:{KEY}@x.example",
        f"https://{KEY}@x.example",
        f"https://x.example/?key={KEY}",
        f"https://x.example/#{KEY}",
        f"https://x.example:{KEY}",
        f"http://x.example/{KEY}",
        pytest.param(f"https://127.0.0.1:9/{KEY}", id="in the path"),
        pytest.param("https://127.0.0.1:9/" + quote(KEY, safe=""), id="in the path, quoted"),
    ],
)
def test_the_key_in_the_base_url(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, base_url: str) -> None:
    """Somebody has mistaken one variable for the other."""
    monkeypatch.setenv("RIVYA_API_KEY", KEY)
    monkeypatch.setenv("RIVYA_BASE_URL", base_url)
    said = []
    for words in (["run", "m.yaml"], ["plan", "m.yaml", "--json"], ["credits"], ["doctor"]):
        ran = cli(*words)
        assert ran.code != 0
        said += [ran.out, ran.err]
    assert leaks(folder, *said) == []


@pytest.mark.parametrize(
    "line", [f"'{KEY}", f'"{KEY}" and more', f"{KEY} {KEY}", f"{KEY}\x00", f"{KEY}ü", f"'{KEY}' '{KEY}'"]
)
def test_a_faulty_line_with_the_key(cli: Cli, folder: Path, line: str) -> None:
    (folder / ".env").write_text(f"RIVYA_API_KEY={line}\nRIVYA_BASE_URL=http://127.0.0.1:9\n")
    said = []
    for words in (["run", "m.yaml"], ["plan", "m.yaml"], ["credits", "--json"], ["doctor", "--json"]):
        ran = cli(*words)
        assert ran.code in (1, 2)
        said += [ran.out, ran.err]
    assert leaks(folder, *said) == []


@pytest.mark.parametrize("place", ["state", "ledger", "results", "logs"])
def test_a_disk_that_cannot_be_used(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    with hostile(lambda _: None, monkeypatch):
        if place == "state":
            (folder / "state").write_text("a file where a folder should be")
        else:
            (folder / "state").mkdir()
            (folder / "state" / {"ledger": "ledger.db"}.get(place, place)).write_text("no database, no folder" * 100)
        ran = cli("run", "m.yaml")
        again = cli("status", "--json")
    assert ran.code == {"logs": 0}.get(place, 7)
    assert leaks(folder, ran.out, ran.err, again.out, again.err) == []


def _explode(kind: type[Exception]) -> Callable[..., NoReturn]:
    def explode(*_: object, **__: object) -> NoReturn:
        try:
            raise ValueError({"Authorization": f"Bearer {os.environ['RIVYA_API_KEY']}"})
        except ValueError as cause:
            raise kind(
                f"in the middle: {cause!r}, {quote(KEY, safe='')}, {KEY.upper()}, rvya_sk_another-one.2"
            ) from cause

    return explode


@pytest.mark.parametrize("kind", [RuntimeError, OSError, sqlite3.OperationalError, KeyError])
def test_an_error_that_nobody_foresaw(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """The traceback is written down in full, without the key, and told in a line, without the key."""
    with hostile(lambda _: None, monkeypatch):
        monkeypatch.setattr(run, "RateLimiter", _explode(kind))
        ran = cli("run", "m.yaml", "--json")
    assert ran.code in (1, 7)
    (crash,) = (folder / "state/logs").glob("crash-*")
    assert "in explode" in crash.read_text()
    assert leaks(folder / "state/logs", ran.out, ran.err, crash.read_text()) == []
    assert "another-one" not in ran.out + ran.err + crash.read_text()


@pytest.mark.parametrize("kind", [RuntimeError, StorageError])
def test_why_a_run_broke_off(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """The ledger knows why, without the key."""
    with hostile(lambda _: None, monkeypatch):
        monkeypatch.setattr(run, "RateLimiter", _explode(kind))
        ran = cli("run", "m.yaml", "--json")
        assert look_everywhere(cli, folder, ran.out, ran.err) == []


def test_a_display_that_breaks(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batcher.cli.display.Plain.watch", _explode(RuntimeError))
    with hostile(lambda _: None, monkeypatch):
        ran = cli("run", "m.yaml")
        assert "the display ended" in ran.err
        assert look_everywhere(cli, folder, ran.out, ran.err) == []


def test_a_process_of_its_own_that_is_interrupted(cli: Cli, folder: Path) -> None:
    (folder / "m.yaml").write_text(MANIFEST)
    came = threading.Event()
    with site(run_seconds=600, api_key=KEY) as found:
        found.app.on_event = lambda _, name: came.set() if name == "status:answered" else None
        environ = clean(RIVYA_API_KEY=KEY, RIVYA_BASE_URL=found.base_url, TMPDIR=str(folder / "tmp"))
        with started("run", "m.yaml", cwd=folder, env=environ) as process:
            assert came.wait(30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert look_everywhere(cli, folder, out, err) == []


@pytest.mark.parametrize("key", [KEY, "another kind of key+/'\"\\=%".replace(" ", "")])
def test_a_key_is_taken_out_however_it_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str) -> None:
    monkeypatch.setenv("RIVYA_API_KEY", key)
    for form in forms(key) - {key.removeprefix("rvya_sk_").lower()}:
        for text in (form, form.upper()):
            assert leaks(tmp_path, redact(f"a {text} b"), key=key) == []
    assert redact(f"{key}, {key!r}, {json.dumps(key)}") == "[key], '[key]', \"[key]\""
    assert redact("no key at all: rvya_sk_") == "no key at all: rvya_sk_"


def test_what_is_looked_for_would_be_found(folder: Path) -> None:
    """The tests above can fail."""
    assert leaks(folder, "nothing") == []
    (folder / "log").write_bytes(b"\x00" + quote(KEY, safe="").lower().encode())
    assert leaks(folder, f"x{KEY}x", KEY.upper()) == ["text 0", "text 1", "log"]
