"""What the simulator has written down: its journal (what was sold, to whom, for how much) and its log of requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Sold:
    """A task that was charged for. `key` and `body` as they came in, `final` is what it costs in the end."""

    task: str
    key: str
    body: bytes
    at: float
    reserved: int
    final: int
    succeeds: bool

    @property
    def trace(self) -> str:
        """The `client_request_id` in the body."""
        return str(json.loads(self.body).get("client_request_id", ""))


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived and how it ended; `status` is 0 without an answer, -1 if the simulator was killed."""

    at: float
    kind: str
    subject: str
    key: str
    body: str
    did: str = ""
    status: int = -1
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """All of it. `uploads` counts the files taken, by SHA-256."""

    sold: list[Sold]
    uploads: dict[str, int]
    requests: list[Request] = field(repr=False)

    def count(self, *, did: str = "", kinds: tuple[str, ...] = (), low: int = 0, high: int = 999) -> int:
        """Requests that met a fault (or none, with ""), of some kinds or all, with a status in a range."""
        return sum(r.did == did and (not kinds or r.kind in kinds) and low <= r.status <= high for r in self.requests)


def read(folder: Path) -> Truth:
    """Read a simulator's folder after its end."""
    sold, uploads = [], dict[str, int]()
    for record in _lines(folder / "journal.jsonl"):
        if record["op"] == "task":
            sold.append(
                Sold(
                    task=record["id"],
                    key=record["key"],
                    body=record["body"].encode(),
                    at=record["at"],
                    reserved=record["reserved"],
                    final=record["final"],
                    succeeds=record["succeeds"],
                )
            )
        elif record["op"] == "upload":
            uploads[record["sha256"]] = uploads.get(record["sha256"], 0) + 1
    return Truth(sold, uploads, list(_requests(folder / "requests.jsonl")))


def _requests(path: Path) -> Iterator[Request]:
    arrived: dict[int, dict[str, Any]] = {}
    for record in _lines(path):
        match record.pop("op"):
            case "started":
                yield from (Request(**each) for each in arrived.values())
                arrived = {}
            case "arrived":
                arrived[record.pop("number")] = record
            case "ended":
                del record["at"]
                yield Request(**arrived.pop(record.pop("number")), **record)
    yield from (Request(**each) for each in arrived.values())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):  # a killed simulator may leave half a line
                yield json.loads(line)


def sha256(data: bytes) -> str:
    """Of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
