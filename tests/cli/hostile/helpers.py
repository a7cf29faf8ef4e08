"""What the hostile tests share: the real command, here or as a process, against a server on raw sockets.

The server knows nothing of HTTP but how to read a request: each answer is bytes, so it may be cut, late, or no HTTP at
all. What a hook leaves alone is answered as the API would: a task for a key, credits, a film.

Neighbouring tools have met most of these kinds in public. Where each is held to the right outcome, here or elsewhere:

| kind (where it was met) | held by |
|---|---|
| a URL that two parsers read apart takes the key to a stranger | fuzz/test_key_stays_home |
| a reserve of 0 or 1, no price, a price that comes late (xorbitsai/xagent 1583, LynxSense 285) | test_money; \
integration/engine/test_price_unnamed |
| a paid request that is answered by a redirect, a page, an empty 202 or half an answer | test_answers \
(a_create_that_was_taken); unit/providers/test_rivya_outcomes |
| only creates are down | test_money; integration/engine/test_creates_down |
| a proxy that wants a login answers everything (nuclei 5189) | integration/engine/test_outage (page) |
| a firewall's page for one prompt (freellmapi 1298, workers-sdk PR 13574) | test_answers (keeps_saying); \
integration/engine/test_creates_down |
| an error in a success (tensorzero 1198) | test_answers (keeps_saying); integration/lifecycle/test_failures \
(stays_unknown) |
| an empty 202 to a poll (vercel/ai 17308), URLs and states in a gateway's own way (ArcReel PR 1889), JSON that is \
packed whatever was asked for, headers that are not ASCII (requests 4187) | test_answers (own_way, \
keeps_saying) |
| the file itself in place of its URL (replicate-python 377, 382) | test_answers (keeps_saying) |
| Retry-After by another clock (smithy-rs PR 4800) or as a moment (clawhub 407) | test_answers (a_wait); \
unit/providers/test_rivya_outcomes |
| films that are cut (rustup 4710), packed (conan 6984, cyberduck 12767), said to be packed (dadi/cdn 368), in unusual \
boxes (filebrowser 763) | test_answers (whole_or_absent); integration/lifecycle/test_whole_or_absent; \
unit/test_containers |
| downloads that drip | integration/lifecycle/test_whole_or_absent (drips) |
| results at an address of a VPN (hermes-agent 87106, swift-claw 26) | integration/providers/test_result_addresses; \
integration/engine/test_downloads_blocked |
| results on another disk (gallery-dl PR 5807) | cli/trust/test_state (another_disk, mounted) |
| proxies, key logs and base URLs that can never work (aider 3048, 3710, wayland 1178) | test_settings; \
integration/providers/test_network_settings |
| an upload that died | integration/lifecycle/test_uploads |
| a wallet that is read late, wrongly or not at all, or that others spend from | integration/engine/test_keep |
| a key that was revoked while a create was on its way | test_money; integration/lifecycle/test_failures |
| a clock that was set, or comes back early | crash/disk/test_clock |
| two hangups, a foreign write lock, a lock that is parted from its ledger, a log that is lost, a state folder that \
came with a clone | test_processes; integration/ledger/test_birth; cli/test_traces; cli/trust/test_state |
| a state folder that is somebody else's | cli/test_places (foreign_folder) |
| a web page that drives the simulator | integration/simulator/test_socket (no_web_page) |
| sheets, lists, manifests and pictures as people have them (renpy PR 2327, seafile-iOS 358, arlo PR 525) | \
unit/manifest/test_inputs; unit/manifest/test_odd_texts; unit/manifest/test_references; unit/test_filetypes |
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from forking import Command, started

from batcher.cli.app import main

KEY = "hostile-tests-only"
PRICE = 10


def film(seed: str, size: int = 4000) -> bytes:
    """A whole MP4 by its boxes; each seed is another one."""
    start = pack(">I4s4sI4s4s", 24, b"ftyp", b"isom", 512, b"isom", b"mp41")
    rest = hashlib.shake_256(seed.encode()).digest(size - len(start) - 8)
    return start + pack(">I4s", len(rest) + 8, b"mdat") + rest


def answer(status: int = 200, body: bytes | str | Mapping[str, Any] = b"", /, **headers: str | None) -> bytes:
    """An answer in bytes; `Content_Type=…` sets or (None) leaves out a header."""
    data = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(data))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[misc]
    lines = [f"{name}: {value}\r\n" for name, value in named.items() if value is not None]
    return f"HTTP/1.1 {status} As-told\r\n{''.join(lines)}\r\n".encode("latin-1") + data


def refusal(status: int, code: str, **headers: str) -> bytes:
    """The API's error envelope."""
    return answer(status, {"error": {"code": code, "message": f"told to say {code}"}}, **headers)


PAGE = answer(502, "<html><title>Gateway</title></html>", Content_Type="text/html", Server="between")


@dataclass
class Asked:
    """A request: its kind, the `prompt` of the job that it is about, how many of its kind and prompt came before."""

    kind: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    writer: asyncio.StreamWriter = field(repr=False)
    at: float = 0.0
    prompt: str = ""
    before: int = 0


#: What a hook gives: bytes, None to cut the connection, or LEAVE for what the API would say.
LEAVE = object()
Hook = Callable[[Asked], Any]


class Api:
    """A server on loopback in a thread of its own; `tasks` is what it has charged for, by task id."""

    def __init__(self, hook: Hook = lambda asked: LEAVE, *, host: str = "127.0.0.1", wallet: int = 100_000) -> None:
        self.hook = hook
        self.host = host
        self.wallet = wallet
        self.tasks: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.count: Counter[str] = Counter()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Api:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, self.host, 0, limit=2**24)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                asked = await self._read(reader, writer)
                said = self.hook(asked)
                said = await said if isinstance(said, Awaitable) else said
                said = self.say(asked) if said is LEAVE else said
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
                if b"\r\nConnection: close\r\n" in said[:2000]:
                    break

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(_kind(method, path), method, path, headers, body, writer, time.monotonic())
        if asked.kind == "create":
            asked.prompt = json.loads(body)["prompt"]
        elif asked.kind in ("status", "result"):
            asked.prompt = self.tasks.get(path.rpartition("/")[2].partition(".")[0], {}).get("prompt", "")
        asked.before = self._seen[asked.kind, asked.prompt]
        self._seen[asked.kind, asked.prompt] += 1
        self.count[asked.kind] += 1
        self.asked.append(asked)
        return asked

    def say(self, asked: Asked) -> bytes:
        """What the API would say."""
        name = asked.path.rpartition("/")[2]
        match asked.kind:
            case "create":
                key = asked.headers["idempotency-key"]
                if key not in self.keys:
                    self.keys[key] = f"task_{len(self.tasks):04d}"
                    self.tasks[self.keys[key]] = {"prompt": asked.prompt, "body": asked.body, "polls": 0}
                    self.wallet -= PRICE
                return answer(200, self.view(self.keys[key]))
            case "status" if name in self.tasks:
                self.tasks[name]["polls"] += 1
                return answer(200, self.view(name, "succeeded"))
            case "credits":
                return answer(200, {"current_credits": self.wallet})
            case "models":
                return answer(200, {"object": "list", "data": []})
            case "result":
                return answer(200, film(name), Content_Type="video/mp4", ETag=f'"{name}"')
            case _:
                return refusal(404, "not_found")

    def view(self, task: str, status: str = "queued", /, **changes: object) -> dict[str, Any]:
        """A task as the API shows it, with other values for some fields."""
        url = f"{self.url}/result/{task}.mp4"
        done = status == "succeeded"
        return {
            "id": task,
            "status": status,
            "model": "grok-imagine-video",
            "reserved_credits": PRICE,
            "final_credits": PRICE if done else 0,
            "created_at": "2026-05-11T00:00:00.000Z",
            "updated_at": "2026-05-11T00:00:00.000Z",
            "result": {"primary_url": url, "urls": [url]} if done else None,
            "error": None,
            **changes,
        }


def _kind(method: str, path: str) -> str:
    base, _, rest = path.partition("?")[0].removeprefix("/api/v1/").partition("/")
    if path.startswith("/result/"):
        return "result"
    return {"generations": "status" if rest else "create", "files": "file" if rest else "upload"}.get(base, base)


def chunked(*pieces: bytes, end: bool = True, **headers: str) -> bytes:
    """An answer whose length nobody has announced; without `end` it is cut."""
    named = {"Content_Type": "video/mp4", "Content_Length": None, "Transfer_Encoding": "chunked", **headers}
    head = answer(200, b"", **named, **({} if end else {"Connection": "close"}))
    return head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + (b"0\r\n\r\n" if end else b"")


@dataclass
class Desk:
    """A folder with a manifest, from which the command is given."""

    folder: Path
    url: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write(self, prompts: Sequence[str], more: str = "", **limits: object) -> None:
        """The manifest: hardly any limits, quick polls, short patience."""
        settings = {
            "limits": {"submit": "1000/second", "requests": "10000/second", **limits},
            "polling": {"first": "30ms", "every": "30ms", "max": "50ms", "give_up": "8s"},
            "retries": {"times": 3, "replay_window": "1h", "outage": "2s"},
        }
        lines = [f"{name}: {json.dumps(value)}" for name, value in settings.items() if f"\n{name}:" not in f"\n{more}"]
        head = ["campaign: hostile", "model: grok-imagine-video", f"prompts: {json.dumps(prompts)}"]
        (self.folder / "m.yaml").write_text("\n".join([*head, *lines, more]) + "\n")

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """All variables that the command sees."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RIVYA_", "BATCHER_"))}
        kept |= {"RIVYA_API_KEY": KEY, "RIVYA_BASE_URL": self.url, "BATCHER_STATE": str(self.state), "NO_COLOR": "1"}
        return kept | {"HOME": str(self.folder)} | self.environment | dict(environment)

    @contextmanager
    def start(self, *argv: str, **environment: str) -> Iterator[Command]:
        """The command as a process, killed at the end of the block; its output goes to `out`."""
        variables = self.variables(environment)
        with (
            (self.folder / "out").open("w") as out,
            started(*argv, cwd=self.folder, env=variables, stdout=out, stderr=out) as process,
        ):
            yield process

    def run(self, *argv: str, **environment: str) -> int:
        """The command in this process, to its end: its exit code. It has printed neither key nor traceback."""
        with pytest.MonkeyPatch.context() as patch, (self.folder / "out").open("w", encoding="utf-8") as out:
            patch.chdir(self.folder)
            patch.setattr(os, "environ", self.variables(environment))
            with redirect_stdout(out), redirect_stderr(out):
                code = main(argv or ("run", "m.yaml"))
        assert "Traceback" not in self.said, self.said
        assert KEY not in self.said
        return code

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text("utf-8", "replace")

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(f"file:{self.state / 'ledger.db'}?mode=ro", uri=True)) as ledger:
            ledger.row_factory = sqlite3.Row
            return [dict(row) for row in ledger.execute(sql)]

    def jobs(self) -> dict[str, dict[str, Any]]:
        """The jobs by their prompts."""
        return {row["prompt"]: row for row in self.rows("SELECT * FROM jobs")}


def wait_for(what: Callable[[], object], seconds: float = 20.0) -> None:
    """Until it is so. Raises AssertionError if it does not come to be."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)


@contextmanager
def desk(folder: Path, hook: Hook = lambda asked: LEAVE, **options: Any) -> Iterator[tuple[Api, Desk]]:
    """A server with a hook, and a folder that finds it."""
    with Api(hook, **options) as api:
        yield api, Desk(folder, api.url)
