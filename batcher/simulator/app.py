"""The API over HTTP: an ASGI app that reads requests, lets faults happen and sends what the world answers.

A `log` gets each request twice: as it `arrived`, and how it `ended`, right before the
answer or the cut goes out (see `requestlog`). Two further paths serve tests and people and take no part in events,
limits or faults:

- `GET /_simulator/state`: the oracle (`records.Oracle.as_json`).
- `POST /_simulator/orders`: a JSON object of switches (`switches.Switches`) and of
  `credits` (the wallet), `expire` (`uploads`, `results` or `all`), `faults` (a list of rules, in place of the old).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Annotated, Any

import anyio
from pydantic import BaseModel, ConfigDict

from .faults import FaultRule, Faults, parse_all
from .media import plain
from .records import ApiAnswer, Call, Json, Rejection, Scene, format_of
from .switches import Count, one_of, read
from .world import World

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Makes the bytes of a result.
Media = Callable[[Scene], Awaitable[bytes]]

#: Results in which there is nothing to see.
stub_media: Media = plain(2_000)

#: Gets the running number of an event (from 1) and its name, such as `create:processed`. Called synchronously.
EventHook = Callable[[int, str], None]

#: Gets what is to be written down of a request.
Log = Callable[[Json], None]

#: Bytes of a request's body; more is refused. The API's own bound is not documented.
MAX_BODY = 64_000_000

_ROUTES = (
    ("POST", r"/api/v1/generations", "create"),
    ("GET", r"/api/v1/generations/([^/]+)", "status"),
    ("POST", r"/api/v1/files", "upload"),
    ("GET", r"/api/v1/files/([^/]+)", "file"),
    ("GET", r"/api/v1/credits", "credits"),
    ("GET", r"/api/v1/models", "models"),
    ("GET", r"/results/([^/]+/[^/]+)", "result"),
)

_PAGE = b"<!doctype html><html><head><title>Gateway</title></head><body><h1>Please try again</h1></body></html>\n"


class ConnectionCut(Exception):
    """The connection was closed on purpose and there is no server that could close it.

    Comes out of the app where no socket is under it (an in-process transport); a test turns it into its
    client's error. `processed` says whether the world took the request; `sent` is how many bytes of the answer's
    body went out.
    """

    def __init__(self, *, processed: bool, sent: int = 0) -> None:
        super().__init__("the simulator cut the connection")
        self.processed = processed
        self.sent = sent


class Orders(BaseModel):
    """What a person or a test orders while the simulator runs; all other names are switches."""

    model_config = ConfigDict(extra="allow")

    credits: Count | None = None
    expire: Annotated[str, one_of("", "uploads", "results", "all")] = ""
    faults: list[object] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer in bytes; `sha256` is that of the whole file, of which it may be a part."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sha256: str = ""
    sized: bool = True


@dataclass(frozen=True, slots=True)
class Wire:
    """One request's way back: ASGI's `send`, and how to close the connection if the server knows."""

    send: Send
    abort: Callable[[str], None] | None

    async def deliver(
        self, reply: Reply, *, cut: bool = False, half: Callable[[], None] | None = None, drip: float = 0.0
    ) -> int:
        """Send a reply, in two halves with `half()` between them, or with `cut` only the first. The bytes sent.

        With `drip` the second half comes a byte every so many seconds. Where no length is announced, a cut one ends
        as if it were whole.
        """
        headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        if reply.sized:
            headers.append((b"content-length", str(len(reply.body)).encode()))
        await self.send({"type": "http.response.start", "status": reply.status, "headers": headers})
        middle = len(reply.body) // 2 if cut or half or drip else 0
        if middle:
            more = reply.sized or not cut
            await self.send({"type": "http.response.body", "body": reply.body[:middle], "more_body": more})
        if cut:
            return middle
        if half:
            half()
        for place in range(middle, len(reply.body) if drip else middle):
            await anyio.sleep(drip)
            await self.send({"type": "http.response.body", "body": reply.body[place : place + 1], "more_body": True})
        rest = b"" if drip else reply.body[middle:]
        await self.send({"type": "http.response.body", "body": rest, "more_body": False})
        return len(reply.body)

    def close(self, how: str, *, processed: bool, sent: int = 0) -> None:
        """Close the connection: `flush` what was written, `drop` it, or `reset`. Raises ConnectionCut in process."""
        if self.abort is None:
            raise ConnectionCut(processed=processed, sent=sent)
        self.abort(how)


class Simulator:
    """The ASGI app. `on_event` and `log` may be changed at any time; `events` is how many there were."""

    def __init__(
        self,
        world: World,
        faults: Faults | None = None,
        media: Media = stub_media,
        on_event: EventHook | None = None,
    ) -> None:
        self.world = world
        self.faults = faults or Faults(seed=world.seed)
        self.media = media
        self.on_event = on_event
        self.log: Log | None = None
        self.events = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("the simulator speaks HTTP only")
        wire = Wire(send, scope.get("state", {}).get("abort"))
        try:
            body = await _read(receive)
        except Rejection as refusal:
            await wire.deliver(self._json(self.world.refuse(refusal, 0)))
            return
        if body is None:
            return
        method, path = scope["method"], scope["path"]
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        base = f"{scope['scheme']}://{headers.get('host', '')}"
        if not _is_ours(scope["server"], base, headers):
            await wire.deliver(
                self._json(ApiAnswer(403, {"error": "the simulator answers no browser and no other name"}))
            )
            return
        if path.startswith("/_simulator/"):
            await wire.deliver(self._control(method, path, body))
            return
        for verb, pattern, kind in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                subject = match[1] if match.groups() else ""
                await self._serve(Call(kind, subject, headers, body, base), wire)
                return
        await wire.deliver(self._json(self.world.refuse(Rejection(404, "not_found", "There is nothing here."), 0)))

    # -- one request

    async def _serve(self, call: Call, wire: Wire) -> None:
        self._event(call, "arrived")
        number = self.world.arrive(call)
        body = hashlib.sha256(call.body).hexdigest() if call.kind == "create" else ""
        self._write("arrived", number, kind=call.kind, subject=call.subject, key=call.key, body=body)
        outage = self.world.switches.outage
        subject = call.subject.rpartition("/")[2] or call.key
        delays, rule = self.faults.fire(call.kind, subject, self.world.prompt_of(call))
        await _wait(delay.seconds for delay in delays if not delay.after)
        did = "outage" if outage != "none" else rule.do
        if outage == "cut" or rule.do == "lost_before":
            self._event(call, "cut")
            self._write("ended", number, did=did, status=0)
            wire.close("reset" if rule.reset else "drop", processed=False)
            return
        reply = self._page(502) if outage == "errors" else self._spoiled(rule, number)
        if reply is None or (rule.after and outage != "errors"):
            processed = await self._process(call, number, rule)
            self._event(call, "processed")
            reply = reply or processed
        await _wait(delay.seconds for delay in delays if delay.after)
        self._write("ended", number, did=did, status=reply.status, **({"sha256": reply.sha256} if reply.sha256 else {}))
        await self._send(call, wire, reply, rule)

    async def _process(self, call: Call, number: int, rule: FaultRule) -> Reply:
        """What the API answers; `expire`, `patch` and `twin` change what it has or says."""
        named = call.subject.rpartition("/")[2].partition(".")[0]
        if rule.do == "expire" and call.kind in ("create", "upload", "file"):
            self.world.expire_uploads()
        if rule.do == "expire" and call.kind == "result":
            self.world.expire_results(named)
        answer = self.world.answer(call, number)
        if rule.do == "expire" and call.kind == "status":
            self.world.expire_results(named)
        if answer.scene is not None:
            return self._file(call, answer.scene, await self.media(answer.scene))
        if rule.do == "patch":
            body = {name: value for name, value in (answer.body | rule.body).items() if name not in rule.omit}
            answer = replace(answer, body=body)
        if rule.do == "twin" and answer.status < 300:
            answer = replace(answer, body=answer.body | {"id": self.world.first_task()})
        return self._json(answer)

    async def _send(self, call: Call, wire: Wire, reply: Reply, rule: FaultRule) -> None:
        if rule.do == "garble":
            reply = _garbled(reply)
        if rule.do == "encode":
            reply = _encoded(reply, rule)
        if rule.do == "unsized" or rule.unsized:
            reply = replace(reply, sized=False)
        if rule.do in ("lost", "cut"):
            sent = await wire.deliver(reply, cut=True) if rule.do == "cut" else 0
            self._event(call, "cut")
            if reply.sized:
                wire.close("reset" if rule.reset else "flush", processed=True, sent=sent)
            return
        half = (lambda: self._event(call, "half")) if call.kind == "result" else None
        await wire.deliver(reply, half=half, drip=rule.seconds if rule.do == "drip" else 0.0)
        self._event(call, "answered")

    def _event(self, call: Call, name: str) -> None:
        self.events += 1
        if self.on_event:
            self.on_event(self.events, f"{call.kind}:{name}")

    def _write(self, op: str, number: int, **facts: Any) -> None:
        if self.log:
            self.log({"op": op, "number": number, "at": self.world.now(), **facts})

    # -- replies

    def _json(self, answer: ApiAnswer) -> Reply:
        headers = {"content-type": "application/json", **self._date(), **answer.headers}
        return Reply(answer.status, headers, json.dumps(answer.body).encode())

    def _page(self, status: int) -> Reply:
        return Reply(status, {"content-type": "text/html; charset=utf-8", **self._date()}, _PAGE)

    def _date(self) -> dict[str, str]:
        return {"date": formatdate(self.world.api_time(), usegmt=True)} if self.world.switches.tell_date else {}

    def _spoiled(self, rule: FaultRule, number: int) -> Reply | None:
        """The reply that a rule puts in the place of the API's."""
        match rule.do:
            case "html":
                return self._page(rule.http_status)
            case "say":
                location = {"location": rule.location} if rule.location else {}
                return Reply(rule.http_status, {**self._date(), **location}, rule.text.encode())
            case "status":
                refusal = Rejection(rule.http_status, rule.code, "The simulator was told to say so.")
            case "429":
                wait = self.world.retry_after(rule.seconds, rule.retry_after)
                refusal = Rejection(rule.http_status, "rate_limited", "Too many requests in the current window.", wait)
            case _:
                return None
        return self._json(self.world.refuse(refusal, number))

    def _file(self, call: Call, scene: Scene, data: bytes) -> Reply:
        """A result, whole or the part that is asked for (RFC 9110 sections 13.1.5 and 14)."""
        switches = self.world.switches
        whole = hashlib.sha256(data).hexdigest()
        tag = f'"{whole[:32]}"'
        headers = {"content-type": format_of(scene.result, scene.params)[1], **self._date()}
        if switches.etags != "none":
            headers["etag"] = tag if switches.etags == "strong" else f"W/{tag}"
        if not switches.ranges:
            return Reply(200, headers, data, whole)
        headers["accept-ranges"] = "bytes"
        wanted = re.fullmatch(r"bytes=(?=.*\d)(\d*)-(\d*)", call.headers.get("range", ""))
        # A weak validator vouches for nothing.
        vouched = call.headers.get("if-range") in (None, headers.get("etag") if switches.etags == "strong" else "")
        if wanted is None or not vouched:
            return Reply(200, headers, data, whole)
        first = int(wanted[1]) if wanted[1] else max(0, len(data) - int(wanted[2]))
        last = min(int(wanted[2]), len(data) - 1) if wanted[1] and wanted[2] else len(data) - 1
        if first > last:
            return Reply(416, headers | {"content-range": f"bytes */{len(data)}"}, b"")
        span = {"content-range": f"bytes {first}-{last}/{len(data)}"}
        return Reply(206, headers | span, data[first : last + 1], whole)

    # -- control

    def _control(self, method: str, path: str, body: bytes) -> Reply:
        if (method, path) == ("GET", "/_simulator/state"):
            return self._json(ApiAnswer(200, self.world.oracle().as_json()))
        if (method, path) != ("POST", "/_simulator/orders"):
            return self._json(ApiAnswer(404, {"error": "GET /_simulator/state or POST /_simulator/orders"}))
        try:
            self.order(json.loads(body))
        except ValueError as error:
            return self._json(ApiAnswer(400, {"error": str(error)}))
        return self._json(ApiAnswer(200, {}))

    def order(self, orders: Mapping[str, object]) -> None:
        """Carry out orders, all or none (see the module's text). Raises ValueError."""
        wanted = read(Orders, orders)
        rules = None if wanted.faults is None else parse_all(wanted.faults)
        self.world.switches.set(wanted.model_extra or {})
        if wanted.credits is not None:
            self.world.set_wallet(wanted.credits)
        if wanted.expire in ("uploads", "all"):
            self.world.expire_uploads()
        if wanted.expire in ("results", "all"):
            self.world.expire_results()
        if rules is not None:
            self.faults.replace(rules)


async def _wait(delays: Iterable[float]) -> None:
    for seconds in delays:
        await anyio.sleep(seconds)


def _is_ours(server: tuple[str, int | None], base: str, headers: Mapping[str, str]) -> bool:
    """Whether a request names this server as its host and comes from no web page of another one.

    Any page in a browser can send requests to loopback (with its own Origin), or give its own name this address.
    """
    address, port = server
    names = (f"[{address}]" if ":" in address else address, "localhost")
    hosts = {f"{name}:{port}" for name in names} | ({*names} if port in (None, 80) else set())
    return (
        headers.get("host", "").lower() in hosts
        and headers.get("origin", base) == base
        and headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    )


def _garbled(reply: Reply) -> Reply:
    if reply.headers["content-type"] == "application/json":
        return replace(reply, body=reply.body[: len(reply.body) // 2])
    page = (_PAGE * (len(reply.body) // len(_PAGE) + 1))[: len(reply.body)]
    if reply.status != 206:
        return replace(reply, body=page)
    # Wrong bytes that the right ETag vouches for could be told by nobody.
    headers = {name: value for name, value in reply.headers.items() if name not in ("content-range", "etag")}
    return replace(reply, status=200, headers=headers, body=page)


def _encoded(reply: Reply, rule: FaultRule) -> Reply:
    body = reply.body
    if not rule.lie and rule.encoding in ("gzip", "deflate"):
        body = gzip.compress(body) if rule.encoding == "gzip" else zlib.compress(body)
    return replace(reply, body=body, headers={**reply.headers, "content-encoding": rule.encoding})


async def _read(receive: Receive) -> bytes | None:
    """The request's body; None when the client left before it was complete. Raises Rejection when it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise Rejection(413, "validation_failed", f"The body is larger than {MAX_BODY} bytes.")
        if not message.get("more_body", False):
            return bytes(body)
