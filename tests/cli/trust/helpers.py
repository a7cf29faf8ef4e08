"""What the tests of trust share: an API that says what no API should, and a look for what must not be anywhere."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, quote_plus

import pytest
from cli.helpers import Site, site

from batcher.simulator.app import Simulator
from batcher.simulator.serve import running

#: Made to have another look in a URL, in JSON and in Base64.
KEY = "rvya_sk_made+up/for=these%tests"

#: Everything that a terminal obeys or that hides what is there, with words of its own to be found by.
NASTY = (
    "[red]x[/][link=https://x.example]y[/link]:smile:\x1b[666mz\x1b]0;owned\x07\x9b666m\x08\x7f\x00\r\n2nd\tline\v"
    "\u202erl\u2066iso\u200bzero\ufeffbom\u2028ls\u061calm\U000e0041tag\u00adshy"
)
#: The same without what no YAML and no prompt takes.
NASTY_PROMPT = "".join(c for c in NASTY if c == "\n" or unicodedata.category(c) not in ("Cc", "Zl")).replace(
    "\ufeff", ""
)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True)
class Request:
    """What was asked: `path` is decoded, header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]

    @property
    def key(self) -> str:
        """The key that came along; empty for none."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def kind(self) -> str:
        """`POST generations`, `GET generations`, `POST files`, `GET result` …"""
        parts = self.path.removeprefix("/api/v1/").strip("/").split("/")
        return f"{self.method} {parts[0]}"


@dataclass(frozen=True)
class Said:
    """An answer: `body` is JSON, or bytes as they are."""

    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


#: Says something in the place of the API, or None to leave it to the simulator.
Speaker = Callable[[Request], Said | None]


class Hostile:
    """The simulator behind somebody who answers first."""

    def __init__(self, app: Simulator, speak: Speaker) -> None:
        self._app = app
        self.speak = speak
        self.heard: list[Request] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope["method"], scope["path"], headers)
        self.heard.append(request)
        said = self.speak(request)
        if said is None:
            await self._app(scope, receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        sent = {"content-type": "application/json", "content-length": str(len(body)), **said.headers}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": said.status, "headers": raw})
        await send({"type": "http.response.body", "body": body, "more_body": False})


@contextmanager
def hostile(speak: Speaker, monkeypatch: pytest.MonkeyPatch, key: str = KEY) -> Iterator[Hostile]:
    """An API that the environment names, with this key."""
    with site(api_key=key) as found:
        api = Hostile(found.app, speak)
        with running(cast(Simulator, api)) as base_url:
            monkeypatch.setenv("RIVYA_API_KEY", key)
            monkeypatch.setenv("RIVYA_BASE_URL", base_url)
            yield api


def task(identity: str, status: str, **more: object) -> dict[str, object]:
    """A task as the API shows it."""
    price = 10 if status == "succeeded" else 0  # a success that names none is waited for
    empty = {"reserved_credits": 10, "final_credits": price, "result": None, "error": None}
    return {"id": identity, "status": status, "model": "grok-imagine-video", **empty, **more}


def error(code: str, message: str, request_id: str = "req_1") -> dict[str, object]:
    """The envelope of an error."""
    return {"error": {"code": code, "message": message, "requestId": request_id}}


def forms(key: str) -> set[str]:
    """A key as it is, and as others may have written it, in lower case."""
    texts = [key, quote(key, safe=""), quote(key), quote_plus(key), json.dumps(key)[1:-1], repr(key)[1:-1]]
    # the last character of Base64 depends on what follows
    encoded = base64.b64encode(key.encode()).decode().rstrip("=")[:-1]
    return {text.lower() for text in (*texts, encoded, key.removeprefix("rvya_sk_"))}


def leaks(folder: Path, *texts: str, key: str = KEY, but: tuple[str, ...] = (".env",)) -> list[str]:
    """Where the key is: in a text, or in a file below the folder (ledger, WAL, results, logs, parts, all of them)."""
    found = [f"text {number}" for number, text in enumerate(texts) if any(form in text.lower() for form in forms(key))]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in but:
            data = path.read_bytes().lower()
            found += [str(path.relative_to(folder)) for form in forms(key) if form.encode() in data][:1]
    return found


def raw(text: str) -> set[str]:
    """The characters of an output that a terminal would obey, or that hide what is there."""
    return {
        character
        for character in text
        if character not in "\n\u200c\u200d" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }


__all__ = [
    "KEY",
    "NASTY",
    "NASTY_PROMPT",
    "Hostile",
    "Request",
    "Said",
    "Site",
    "error",
    "hostile",
    "leaks",
    "raw",
    "task",
]
