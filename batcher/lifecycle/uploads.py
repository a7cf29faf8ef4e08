"""A reference file reaches the API once a file and account, however many jobs use it and however often we restart.

How long the API keeps an upload, its URL and its duration token is not documented (rivya-api.md, section 4). So an
upload is looked at again after a while, and at once when a create that names it is refused.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import anyio

from batcher.catalog import get_model
from batcher.filetypes import HEAD_BYTES, UNKNOWN, sniff
from batcher.jobs import FileReference, Job, OneReference, ResultReference, SeveralReferences, Upload, sources_of
from batcher.providers import Fatal, Refused, Retryable

from .context import Context
from .steps import JobRunState

#: An upload that the API vouched for less than this many seconds ago is used without asking again.
VERIFIED_SECONDS = 900.0
#: A time of the ledger may be rounded up; what lies further in the future was written by a clock that was wrong.
_ROUNDING_SECONDS = 1.0
#: An upload that was renewed after a refusal is not blamed for the next ones for so long; each time twice as long, up
#: to the maximum, until renewing it has helped. So bad prompts do not send a file up again and again.
INNOCENT_SECONDS = 60.0
INNOCENT_SECONDS_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Changed:
    """The file is not what the manifest's expansion saw."""

    message: str


@dataclass(frozen=True, slots=True)
class Held:
    """Another job has had trouble with this file: nobody asks again for so many seconds."""

    seconds: float


@dataclass(slots=True)
class _File:
    """What this run knows of a file beside its upload; the jobs that share it wait for each other here.

    `turn` counts the trouble with it once for all of them, `held` (monotonic seconds) is until when they wait,
    `given_up` why they wait no more. `suspect` is the URL that a refused create has named; `renewed` (monotonic
    seconds) is when the upload was made or its URL taken anew, `innocent` for how many seconds it is trusted then.
    """

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    state: JobRunState = field(default_factory=JobRunState)
    held: float = -math.inf
    given_up: Retryable | None = None
    suspect: str = ""
    renewed: float = -math.inf
    innocent: float = 0.0


class Uploads:
    """Uploads of one account. Safe to call from many tasks: one upload a file, the others wait for it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ledger, self._commits, self._clock = context.ledger, context.commits, context.clock
        self._provider = context.provider
        self._files: dict[str, _File] = {}
        self._refused: dict[tuple[str, str], Refused] = {}

    def inputs(self, job: Job) -> Job | Changed | None:
        """The job with the files of its sources in their place; None where one has none (any more) that may be used."""
        if not sources_of(job.reference):
            return job
        states = {each.source_id: each for each in self._ledger.read.sources(job.id)}
        found: list[OneReference] = []
        for one in job.reference.each if job.reference else ():
            if isinstance(one, ResultReference):
                state = states.get(one.job_id)
                if state is None or not state.ready or state.path is None or state.sha256 is None or state.size is None:
                    return None
                made = _result(job.model, self._context.artifacts.path(state.path), state.sha256, state.size)
                if not isinstance(made, FileReference):
                    return made
                found.append(made)
            else:
                found.append(one)
        return replace(job, reference=found[0] if len(found) == 1 else SeveralReferences(tuple(found)))

    def _file(self, sha256: str) -> _File:
        return self._files.setdefault(sha256, _File())

    async def upload(
        self, reference: FileReference, model: str
    ) -> Upload | Changed | Refused | Fatal | Retryable | Held:
        """The upload of a reference file, made now if the API does not have it."""
        file = self._file(reference.sha256)
        async with file.lock:
            if refused := self._refused.get((reference.sha256, model)):
                return refused
            if file.given_up:
                return file.given_up
            if (seconds := file.held - self._clock.monotonic()) > 0:
                return Held(seconds)
            found = await self._known(reference.sha256, file) or await self._make(reference, model, file)
            if isinstance(found, Upload):
                file.state.answered()
            elif isinstance(found, Refused):
                self._refused[reference.sha256, model] = found
            return found

    def trouble(self, sha256: str) -> JobRunState:
        """What counts the trouble with a file, once for all jobs that wait for it."""
        return self._file(sha256).state

    def put_off(self, sha256: str, later: Retryable, seconds: float | None) -> None:
        """Let all jobs of a file wait for so many seconds; None: this run does not ask for it any more."""
        file = self._file(sha256)
        if seconds is None:
            file.given_up = later
        else:
            file.held = self._clock.monotonic() + seconds

    def calmed(self) -> None:
        """An outage is over: what it kept from an answer does not count."""
        for file in self._files.values():
            file.state.answered()
            file.given_up = None

    # What a refused create says of an upload

    def at_fault(self, state: JobRunState) -> bool:
        """Whether an upload may be why a create that names it was refused; then the job is to be bought once more.

        Only once a job and run, so that a prompt which is truly bad fails.
        """
        if state.anew:
            return False
        suspected = [self._suspected(upload) for upload in state.uploads]  # each of them, not up to the first
        state.anew = any(suspected)
        return state.anew

    def _suspected(self, upload: Upload) -> bool:
        """Whether an upload that a refused create names may be at fault; it is looked at or made anew then."""
        file = self._file(upload.sha256)
        known = self._ledger.read.upload(self._provider.account, upload.sha256)
        # Else another job has had it renewed already, or is about to.
        if known and _named(known) == _named(upload) and file.suspect != upload.url:
            if self._clock.monotonic() - file.renewed < file.innocent:
                return False
            file.suspect = upload.url
            file.innocent = min(max(INNOCENT_SECONDS, 2 * file.innocent), INNOCENT_SECONDS_MAX)
        return True

    def helped(self, state: JobRunState) -> None:
        """A create was accepted; if that was with a fresh upload, the old one was at fault, and may be so again."""
        for upload in state.uploads if state.anew else ():
            self._file(upload.sha256).innocent = 0.0

    # The upload itself

    async def _known(self, sha256: str, file: _File) -> Upload | Retryable | None:
        """The upload that the API has, as it may be used; None when one has to be made."""
        known = self._ledger.read.upload(self._provider.account, sha256)
        if known is None:
            return None
        suspect = file.suspect == known.url
        if not suspect and -_ROUNDING_SECONDS < self._clock.wall() - known.checked_at < VERIFIED_SECONDS:
            return known
        if not known.file_id:
            return None  # nobody can say whether it is still there
        there = await self._context.ask("file", lambda: self._provider.verify_upload(known))
        match there:
            case Upload() if _named(there) != _named(known):
                await self._remember(there, file)
                return there
            case Upload() if not suspect:
                await self._commits(partial(self._ledger.upload_verified, self._provider.account, sha256))
                return known
            case Retryable() if suspect or there.throttled:
                return there
            case None | Retryable() if not suspect:
                return known  # nobody knows: a create that names a lost upload is refused at no cost
            case _:
                return None

    async def _make(
        self, reference: FileReference, model: str, file: _File
    ) -> Upload | Changed | Refused | Fatal | Retryable:
        path = self._context.artifacts.reference(reference.path, reference.sha256)
        content = _read(replace(reference, path=path))
        if isinstance(content, Changed):
            return content
        made = await self._context.ask("upload", lambda: self._provider.upload(reference, content, model))
        if isinstance(made, Upload):
            await self._remember(made, file)
        return made

    async def _remember(self, upload: Upload, file: _File) -> None:
        await self._commits(partial(self._ledger.remember_upload, self._provider.account, upload))
        file.suspect, file.renewed = "", self._clock.monotonic()


def _result(model: str, path: Path, sha256: str, size: int) -> FileReference | Changed | None:
    """A saved file as a reference; None where it is gone, which a run mends; or why the model does not take it."""
    try:
        with path.open("rb") as file:
            kind = sniff(file.read(HEAD_BYTES)) or UNKNOWN
    except FileNotFoundError:
        return None
    except OSError as error:
        return Changed(f"{path}: {error.strerror or error}")
    rule = get_model(model).references.rule_for(kind.mime)
    if rule is None or size > rule.max_bytes:
        takes = f"{rule.max_bytes:,} bytes" if rule else "another type"
        return Changed(f"{path} is {kind.mime} of {size:,} bytes; {model} takes {takes}")
    return FileReference(path, sha256, size, kind.mime, kind.kind)


def _named(upload: Upload) -> tuple[str, str | None]:
    """What a create names of an upload, and what may die of it."""
    return upload.url, upload.duration_token


def _read(reference: FileReference) -> bytes | Changed:
    try:
        if not reference.path.is_file():  # a pipe would be waited for without end
            return Changed(f"{reference.path} is not a file any more")
        # A byte more than was seen is enough to know that it grew.
        with reference.path.open("rb") as file:
            content = file.read(reference.size + 1)
    except OSError as error:
        return Changed(f"{reference.path}: {error.strerror or error}")
    if hashlib.sha256(content).hexdigest() != reference.sha256:
        return Changed(f"{reference.path} is not the file any more that the plan saw")
    return content
