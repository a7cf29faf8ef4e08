"""The nouns: what a job is, how it is identified, which phases it passes; with `statuses`, which moves are legal.

Pure values; nothing here reads a file, a clock or the network.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring_ascii
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from batcher.clock import Moment

from .statuses import MOVES as MOVES
from .statuses import SHORT_ID as SHORT_ID
from .statuses import UNCHECKED as UNCHECKED
from .statuses import UNPRICED as UNPRICED
from .statuses import UNSETTLED as UNSETTLED
from .statuses import JobId as JobId
from .statuses import Status as Status
from .statuses import is_unpriced as is_unpriced

#: How the text of a reference begins that is the result of a job; its id follows.
RESULT = "result:"

ParamValue = str | int | float | bool
#: A param as it goes on the wire; a list has objects of texts.
WireValue = ParamValue | list[dict[str, str]]

#: Changing what goes into the hash changes every id and would buy every job again, so it is versioned.
IDENTITY_VERSION = 1


@dataclass(frozen=True, slots=True)
class FileReference:
    """An input file, known by the hash of its bytes; the path only says where they are now."""

    path: Path
    sha256: str
    size: int
    mime: str
    kind: str = "image"

    @property
    def text(self) -> str:
        return str(self.path)

    @property
    def each(self) -> tuple[FileReference]:
        return (self,)


@dataclass(frozen=True, slots=True)
class UrlReference:
    """An input that the API fetches itself; known by its text."""

    url: str
    kind: str = "image"

    @property
    def text(self) -> str:
        return self.url

    @property
    def each(self) -> tuple[UrlReference]:
        return (self,)


@dataclass(frozen=True, slots=True)
class ResultReference:
    """The result of another job of the campaign, known by that job's id: its file may be still to come, and change.

    `gate`: a person has to approve the file first. `name` is that of the other job's prompt.
    """

    job_id: JobId
    kind: str = "image"
    name: str = field(default="", compare=False)
    gate: bool = field(default=False, compare=False)

    @property
    def text(self) -> str:
        return f"{RESULT}{self.job_id}"

    @property
    def each(self) -> tuple[ResultReference]:
        return (self,)

    @property
    def gated(self) -> ResultReference:
        """The same, once a person has approved it."""
        return replace(self, gate=True)


OneReference = FileReference | UrlReference | ResultReference


@dataclass(frozen=True, slots=True)
class SeveralReferences:
    """Two inputs or more of one job; their order counts (first and last frame)."""

    each: tuple[OneReference, ...]

    @property
    def text(self) -> str:
        return self.each[0].text


Reference = OneReference | SeveralReferences


def sources_of(reference: Reference | None) -> list[ResultReference]:
    """The results among a job's references, in their order."""
    return [one for one in (reference.each if reference else ()) if isinstance(one, ResultReference)]


def clean_prompt(text: str) -> str:
    """The prompt as it is hashed and sent: line ends are newlines, outer white space is gone."""
    if "\r" not in text:
        return text.strip()
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def params_text(params: Mapping[str, WireValue]) -> str:
    """Params (in wire type, without catalogue defaults) as the identity has them."""
    return _canonical(dict(params))


def source_text(reference: Reference | None) -> str:
    """A reference as the identity has it: a file's bytes, a URL's text, a result's job; a list of these for several."""
    match reference:
        case None:
            return "null"
        case FileReference(sha256=digest):
            return _canonical(["file", digest])
        case UrlReference(url=url):
            return _canonical(["url", url])
        case ResultReference(job_id=job_id):
            return _canonical(["result", job_id])
        case SeveralReferences(each=each):
            return f"[{','.join(map(source_text, each))}]"


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Identities:
    """The ids of the jobs of one campaign and model (product.md, "Identity"): 32 hexadecimal digits.

    Position, names and paths are left out on purpose: moving or renaming must buy nothing. What is hashed is the list
    of all that makes a job what it is, as canonical JSON; it is put together from parts, for many jobs share these.
    """

    def __init__(self, campaign: str, model: str) -> None:
        self._head = _canonical([IDENTITY_VERSION, campaign, model])[:-1]

    def of(self, prompt: str, params: str, source: str, take: int) -> JobId:
        """The id of a job: its clean prompt (`clean_prompt`), `params_text`, `source_text`, and its take."""
        canonical = f"{self._head},{encode_basestring_ascii(prompt)},{params},{source},{take}]"
        return JobId(hashlib.sha256(canonical.encode()).hexdigest()[:32])


def job_id(
    *,
    campaign: str,
    model: str,
    prompt: str,
    params: Mapping[str, WireValue],
    reference: Reference | None,
    take: int,
) -> JobId:
    """The identity of one job, as `Identities` has it."""
    return Identities(campaign, model).of(prompt, params_text(params), source_text(reference), take)


_NONE: Mapping[str, Any] = MappingProxyType({})


class JobSpec(NamedTuple):
    """One generation that is wanted, as a manifest asks for it. A tuple, for a million of them are made.

    `name` is the prompt's name (for reports, `--only` and file names); `file_name` is the result's name
    without folder and extension. Neither is part of the identity, nor are its variables and tags (plain JSON values).
    """

    id: JobId
    campaign: str
    model: str
    name: str
    prompt: str
    params: Mapping[str, WireValue]
    reference: Reference | None
    take: int
    price_class: str
    catalog_credits: int
    file_name: str
    vars: Mapping[str, Any] = _NONE
    tags: Mapping[str, ParamValue] = _NONE


@dataclass(frozen=True, slots=True)
class Account:
    """Whose money: the API's base URL and a fingerprint of the key (never the key).

    Its amounts are whole numbers of `unit`, as the registry has it for `provider`.
    """

    base_url: str
    fingerprint: str
    provider: str = "rivya"
    unit: str = "credits"

    @property
    def text(self) -> str:
        return f"{self.base_url}#{self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Intent:
    """An attempt that is on disk before it is sent. Only the ledger makes one.

    `key` and `body` are what goes on the wire, byte for byte, however often it is sent.
    `intended` is when it was made, hence no later than its first sending. `maybe_received` is never taken back.
    It must not leave after `expires` (`clock.since_boot`): where many machines share a ledger, each sending is allowed
    for some seconds.
    """

    attempt_id: int
    job_id: JobId
    number: int
    key: str
    body: bytes
    account: str
    intended: Moment
    maybe_received: bool
    expires: float = math.inf


@dataclass(frozen=True, slots=True)
class TaskState:
    """What the API says of a task, sorted into our words. Credits are whole; None means that it did not say.

    `word` is the API's own status text; an unknown one is tolerated, kept here and counts as processing. `model` is
    the one that the API names, `created_at` and `updated_at` are its own texts.
    """

    task_id: str
    status: Status
    word: str
    reserved_credits: int | None = None
    final_credits: int | None = None
    urls: tuple[str, ...] = ()
    error_code: str | None = None
    error_message: str | None = None
    model: str | None = None
    created_at: str | None = None
    updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A reference file that the API has: one a file (`sha256`) and account.

    `checked_at` (seconds since the epoch) is when the API last vouched for it.
    """

    sha256: str
    url: str
    kind: str
    name: str
    mime: str
    file_id: str | None
    duration_token: str | None
    duration_seconds: float | None
    checked_at: float


@dataclass(frozen=True, slots=True)
class Planned:
    """Wanted, nothing bought (or the last attempt was closed at no cost)."""


@dataclass(frozen=True, slots=True)
class Submitting:
    """An intent without the API's answer."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Waiting:
    """The API has the task: queued or processing. `submitted_at` in seconds since the epoch, by the wall clock."""

    attempt_id: int
    task_id: str
    status: Status
    submitted_at: float
    account: str
    intended: Moment


@dataclass(frozen=True, slots=True)
class ResultFile:
    """One file of a result: where it comes from and how far it has come.

    `target` (relative to the state folder) and `sha256` are set before the file gets its name, `saved` after.
    `validator` is the strong ETag under which a cut download may go on, `announced` the length in bytes that was stated
    with it. `unverified` (relative to the state folder, with its hash) is what came and cannot be shown to be whole;
    `forgotten`: a person does not want the file.
    """

    number: int
    url: str
    validator: str | None = None
    target: str | None = None
    sha256: str | None = None
    saved: bool = False
    announced: int | None = None
    unverified: str | None = None
    unverified_sha256: str | None = None
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The API has a result; files that are not `saved` are still to be fetched.

    Its price is to be asked for until it is `settled`; `finished_at` (seconds since the epoch) is when it ended.
    """

    attempt_id: int
    task_id: str
    files: tuple[ResultFile, ...]
    account: str
    settled: bool
    finished_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Failed, doubtful or cancelled: nothing happens until a person or a manifest says so."""

    status: Status


Phase = Planned | Submitting | Waiting | Succeeded | Ended


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the ledger: what is wanted and the phase it is in."""

    id: JobId
    campaign: str
    model: str
    name: str
    prompt: str
    params: Mapping[str, WireValue]
    reference: Reference | None
    take: int
    price_class: str
    catalog_credits: int
    file_name: str
    phase: Phase = field(default_factory=Planned)
