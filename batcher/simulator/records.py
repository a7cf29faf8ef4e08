"""The simulator's nouns: what arrives, what is kept, what is answered. Pure values.

Times are seconds since the epoch, sums are whole credits, sizes are bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

#: The kinds of request, by the names that faults, limits and events use.
KINDS = ("create", "status", "upload", "file", "credits", "models", "result")

_FORMATS: Mapping[str, tuple[str, str]] = {
    "video": ("mp4", "video/mp4"),
    "image": ("png", "image/png"),
    "audio": ("mp3", "audio/mpeg"),
}


def format_of(result: str, params: Mapping[str, Any]) -> tuple[str, str]:
    """File name ending and MIME type of what a model makes, by the catalogue's `result` and the job's own wish."""
    wish = params.get("output_format", params.get("outputFormat"))
    return ("jpg", "image/jpeg") if result == "image" and wish in ("jpg", "jpeg") else _FORMATS[result]


def iso(at: float) -> str:
    """A time as the API prints it: ISO 8601, UTC, milliseconds, `Z` (rivya-api.md section 2)."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def digest(*parts: object) -> str:
    """32 hexadecimal digits that depend on all parts; ids and tokens are made of it, so they repeat with the seed."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came in. `subject` is what the path names (a task, a file, `token/name` of a result).

    Header names are in lower case; `base` is the URL under which the client sees this server, without a final slash.
    """

    kind: str
    subject: str
    headers: Mapping[str, str]
    body: bytes
    base: str

    @property
    def key(self) -> str:
        """The `Idempotency-Key`, or an empty text."""
        return self.headers.get("idempotency-key", "")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a result shows. `params` has the catalogue's defaults filled in; `reference` is the picture's bytes."""

    task_id: str
    number: int
    model: str
    result: str
    prompt: str
    params: Mapping[str, Any]
    client_request_id: str
    reference: bytes | None


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What the API says to a call. With a `scene` the body is that scene's file instead of `body`."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    scene: Scene | None = None


class Rejection(Exception):
    """An error answer: HTTP status, public code, message and further headers (rivya-api.md section 1)."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def invalid(message: str) -> Rejection:
    """400 `validation_failed`."""
    return Rejection(400, "validation_failed", message)


@dataclass(frozen=True, slots=True)
class Task:
    """One generation, its charge and its fate; both are settled when it is made.

    `body` is the request exactly as it came in, `request` the same, read. `queue` and `run` are in seconds.
    `reserved` was taken from the wallet at `at`; whatever `final` leaves of it goes back at `finished_at`.
    """

    id: str
    number: int
    key: str
    body: bytes
    request: Json
    at: float
    reserved: int
    final: int
    queue: float
    run: float
    succeeds: bool

    @property
    def finished_at(self) -> float:
        return self.at + self.queue + self.run

    def status(self, now: float) -> str:
        """The API's word for where it is (rivya-api.md section 3)."""
        if now < self.at + self.queue:
            return "queued"
        if now < self.finished_at:
            return "processing"
        return "succeeded" if self.succeeds else "failed"

    def updated_at(self, now: float) -> float:
        """When it last changed its status."""
        return max(at for at in (self.at, self.at + self.queue, self.finished_at) if at == self.at or at <= now)


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """A file that the Files API took (rivya-api.md section 4); its bytes are kept by their hash."""

    id: str
    token: str
    name: str
    kind: str
    mime: str
    size: int
    sha256: str
    at: float

    @property
    def duration_token(self) -> str | None:
        """What the API has measured of a film or sound, as a create has to name it."""
        return None if self.kind == "image" else f"duration_{self.token}"


@dataclass(frozen=True, slots=True)
class Issue:
    """The URL of a result as it was last handed out: `number` counts the URLs of a task from 1."""

    number: int
    at: float
    dead: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived: `number` counts from 1; `authorized` says that it carried an Authorization header."""

    number: int
    at: float
    kind: str
    subject: str
    key: str
    body: bytes
    authorized: bool


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that a correct client does not do."""

    at: float
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Oracle:
    """The truth at one moment, for tests to compare with: a copy that no longer changes.

    `charges`: credits of each purchase, by idempotency key ("" for none). `purchases`: how many, by
    `client_request_id`. `uploads`: how often each file was taken, by the SHA-256 of its bytes.
    `states`: each task's status, by task id.
    """

    wallet: int
    spent: int
    charges: Mapping[str, list[int]]
    purchases: Mapping[str, int]
    tasks: Mapping[str, Task]
    states: Mapping[str, str]
    files: Mapping[str, StoredUpload]
    uploads: Mapping[str, int]
    requests: list[Seen]
    violations: list[Violation]

    def times(self, *kinds: str) -> list[float]:
        """When the requests of these kinds arrived (of all kinds, if none is named)."""
        return [seen.at for seen in self.requests if not kinds or seen.kind in kinds]

    def as_json(self) -> Json:
        """The same as a JSON document. Bodies are shown as text."""

        def plain(value: Any) -> Json:
            return {k: v.decode(errors="replace") if isinstance(v, bytes) else v for k, v in asdict(value).items()}

        return {
            "version": 1,
            "wallet": self.wallet,
            "spent": self.spent,
            "charges": dict(self.charges),
            "purchases": dict(self.purchases),
            "tasks": [plain(task) | {"status": self.states[task.id]} for task in self.tasks.values()],
            "files": [plain(upload) for upload in self.files.values()],
            "uploads": dict(self.uploads),
            "requests": [plain(seen) for seen in self.requests],
            "violations": [plain(violation) for violation in self.violations],
        }
