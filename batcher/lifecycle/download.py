"""From result URL to file: one step of a succeeded job. Every window of a crash here is shut by the ledger's
order: validator, then hash and target, then the name, then `saved` (design.md, "Crash windows").
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from batcher import fs
from batcher.catalog import Model, get_model
from batcher.errors import UsageError
from batcher.events import Event
from batcher.filetypes import FileType
from batcher.jobs import SHORT_ID, Job, ResultFile, Status, Succeeded, TaskState
from batcher.ledger import Store
from batcher.measures import Inspection, Measures, Requested, inspect
from batcher.providers import Fatal, Gone, Incoming, Redirected, Refused, Retryable, TransferCut
from batcher.storage import Artifacts, TooSlow, Unusable, Whole

from .context import Context
from .steps import Abort, Done, JobRunState, Reschedule, Stage, Step, backoff

_REDIRECTS = 5
#: Second answers that may differ from the first one, or not be had, before what came is left to a person.
_UNLIKE = 3


class _Fetch(NamedTuple):
    """A file of a succeeded job that is to be fetched, and where it grows; `row` is its key in the ledger."""

    job: Job
    phase: Succeeded
    file: ResultFile
    part: Path

    @property
    def row(self) -> tuple[int, int]:
        return self.phase.attempt_id, self.file.number


class _Arrived(NamedTuple):
    """All of a file has come: `content` is None where the part file has it; `total` bytes were announced, if any."""

    content: bytes | None
    total: int | None


class Downloader:
    """Downloads results into the state folder: `limits.downloads` at a time, while others that came are put away."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._ledger, self._commits, self._disk = context.ledger, context.commits, context.disk
        self._provider, self._limiter, self._artifacts = context.provider, context.limiter, context.artifacts
        self._times = context.settings.retries.times

    async def step(self, job: Job, phase: Succeeded, state: JobRunState) -> Step:
        """Fetch the first file that is not saved yet; after these, one that was whole once and is not as it was."""
        unsaved = [file for file in phase.files if not file.saved and not file.forgotten]
        fetched = Reschedule(Stage.FETCH) if len(unsaved) + len(state.restore) > 1 else Done(Status.SUCCEEDED)
        file = unsaved[0] if unsaved else self._damaged(phase, state)
        if file is None:
            return fetched
        fetch = _Fetch(job, phase, file, self._artifacts.part(phase.attempt_id, file.number))
        if not file.saved and await self._adopt(fetch):
            return fetched
        if not file.url:
            return await self._ask_again(fetch, state, "the API named no URL for the result")
        trouble = await self._download(fetch)
        if not file.saved:
            state.barred = trouble.local if trouble else ""
        if trouble is None:
            state.answered()
            if file.saved:
                del state.restore[file.number]
            state.unlike = 0
            return fetched
        if not file.saved and (step := await self._aside(fetch, state, trouble)):
            return step
        if isinstance(trouble, Gone):
            return await self._ask_again(fetch, state, trouble.message)
        return self._repeat(state, trouble)

    def _damaged(self, phase: Succeeded, state: JobRunState) -> ResultFile | None:
        """The next file to bring back; None where it is as it was, or its original lies beside it already."""
        number = next(iter(state.restore), None)
        if number is None:
            return None
        for file in phase.files:
            if file.number == number and file.saved and file.target and file.sha256:
                names = (file.target, next(_originals(file.target)))
                if not any(self._artifacts.holds(name, file.sha256) for name in names):
                    return file
        del state.restore[number]
        return None

    async def _put_back(self, fetch: _Fetch, whole: Whole) -> None:
        """Name what was fetched again: as before where nothing stands there, else beside it."""
        file, part = fetch.file, fetch.part
        assert file.target
        assert file.sha256
        changed = self._artifacts.stands(file.target)
        if whole.sha256 != file.sha256:
            why = "the API gives other bytes than at first: the original cannot be had any more"
            if not changed:  # better than none: it is what was paid for
                await self._claim(fetch, file.target, whole)
            await self._tell(fetch, Event.ODD_FILE, why=why)
            if changed:
                self._artifacts.drop(part, all_of_it=True)
                return
        for target in _originals(file.target) if changed else (file.target, *islice(_originals(file.target), 9)):
            if await self._named(part, target, whole.sha256):
                await self._tell(fetch, Event.RESTORED, path=target)
                return

    async def _adopt(self, fetch: _Fetch) -> bool:
        """Finish what a crash interrupted between committing hash and target and recording the file."""
        file = fetch.file
        if not (file.target and file.sha256 and fs.is_result(file.target)):
            return False
        if not self._artifacts.adopt(fetch.part, file.target, file.sha256):
            return False
        await self._saved(fetch)
        return True

    async def _download(self, fetch: _Fetch) -> Gone | Retryable | None:
        """Fetch a file and put it away; None when it is saved."""
        async with self._limiter.transfers:
            found = await self._transfer(fetch)
        return await self._keep(fetch, found) if isinstance(found, _Arrived) else found

    async def _transfer(self, fetch: _Fetch) -> _Arrived | Gone | Retryable:
        """One transfer, over redirects."""
        file, part, url = fetch.file, fetch.part, fetch.file.url
        for _ in range(_REDIRECTS):
            offset = self._artifacts.size(part) if file.validator else 0
            slot = None
            if self._provider.is_own_host(url):
                async with self._limiter.slot("download") as slot:
                    await slot.stamp()
            else:
                await self._limiter.calm()
            async with self._provider.result(url, offset=offset, validator=file.validator) as incoming:
                if slot:
                    slot.heard(incoming)
                elif isinstance(incoming, Retryable) and incoming.outage:
                    self._limiter.trouble()  # this host is dead, or the network is; all else it says is about one file
                match incoming:
                    case Incoming():
                        return await self._take(fetch, incoming)
                    case Redirected(url):
                        continue
                    case Refused(code, bare, request_id):
                        return Retryable(code, bare, request_id=request_id)
                    case Gone():
                        # A part that is whole already cannot go on either: begin anew next time.
                        self._artifacts.drop(part)
                        return incoming
                    case Retryable():
                        return incoming
        return Gone("the result redirects too often")

    async def _aside(self, fetch: _Fetch, state: JobRunState, trouble: Gone | Retryable) -> Step | None:
        """After three answers that did not show what came to be whole: keep the longest for a person to judge."""
        part = fetch.part
        if not self._artifacts.has_kept(part) or (
            isinstance(trouble, Retryable) and (trouble.outage or trouble.throttled)
        ):
            return None
        state.unlike += 1
        # The first answer is one that a second one is held against.
        if state.unlike <= _UNLIKE and state.repeats < self._times:
            return None
        aside = await self._disk(lambda _: self._artifacts.set_aside(part, partial(_aside_names, fetch)))
        if aside is None:
            return None
        path, whole = aside
        self._artifacts.drop(part, all_of_it=True)
        keep = partial(self._ledger.set_aside, fetch.job.id, *fetch.row)
        await self._commits(partial(keep, path=path, sha256=whole.sha256, why=trouble.message))
        kept = f"the longest that came is kept as {path} (`batcher fetch --accept` takes it)"
        return Done(Status.SUCCEEDED, left=f"no file yet: {trouble.message}; {kept}")

    async def _take(self, fetch: _Fetch, incoming: Incoming) -> _Arrived | Retryable:
        file, part = fetch.file, fetch.part
        total = file.announced if incoming.total is None and incoming.offset else incoming.total
        if incoming.offset and file.announced is not None and total != file.announced:
            self._artifacts.drop(part)
            return Retryable("changed", f"{file.announced} bytes were announced at first, now it is {total}")
        content = await self._receive(fetch, incoming)
        return content if isinstance(content, Retryable) else _Arrived(content, total)

    async def _keep(self, fetch: _Fetch, came: _Arrived) -> Gone | Retryable | None:
        """Judge what has come, and give it its name; None when it is saved."""
        file, part = fetch.file, fetch.part
        try:
            model = _model(fetch.job)
            kind = model.result if model else ""
            whole = await self._disk(lambda _: self._artifacts.finish(part, came.content, total=came.total, kind=kind))
            if (
                whole.doubt
                and whole.sha256 != file.sha256
                and not await self._disk(lambda _: self._artifacts.settle(part, whole))
            ):
                return Retryable("doubtful_file", whole.doubt) if whole.again else Gone(whole.doubt)
        except Unusable as fault:
            return Gone(str(fault))
        if file.saved:
            await self._put_back(fetch, whole)
            return None
        await self._save(fetch, whole)
        for note in filter(None, (whole.note, self._odd_size(fetch, whole.measures))):
            await self._tell(fetch, Event.ODD_FILE, why=note)
        return None

    def _odd_size(self, fetch: _Fetch, measures: Measures) -> str:
        """Where it has other pixels than the last file of its price class: no rule is broken by it, so it is a note."""
        size = (measures.width, measures.height)
        if fetch.job.reference is not None or None in size:
            return ""
        model = _model(fetch.job)
        usual = self._ledger.read.usual_size(*fetch.row, model.ratio if model else None)
        if usual is None or usual == size:
            return ""
        return f"it has {size[0]}×{size[1]} pixels, the last one of its price class {usual[0]}×{usual[1]}"

    async def _receive(self, fetch: _Fetch, incoming: Incoming) -> bytes | Retryable | None:
        """All of it, if the part file does not have it yet; or why it is not whole."""
        file, part = fetch.file, fetch.part
        announced = incoming.total if incoming.validator else None  # without a validator nothing goes on
        if incoming.offset == 0 and (incoming.validator, announced) != (file.validator, file.announced):
            # The old part belongs to another version of the file: it goes before the new validator is kept.
            self._artifacts.drop(part)
            await self._commits(partial(self._ledger.begin_file, *fetch.row, incoming.validator, announced))
        try:
            return await self._artifacts.receive(
                part, incoming.chunks, offset=incoming.offset, aside=self._disk.offload
            )
        except TransferCut as cut:
            return Retryable("cut", f"the download broke off: {cut}")
        except TooSlow as slow:
            return Retryable("slow", f"the download is too slow, and gives its place to others: {slow}")
        except Unusable as fault:
            self._artifacts.drop(part)
            return Retryable("too_long", str(fault))

    async def _save(self, fetch: _Fetch, whole: Whole) -> None:
        for target in _targets(fetch.job, *fetch.row, whole.type.extension):
            if await self._claim(fetch, target, whole) and await self._named(fetch.part, target, whole.sha256):
                await self._saved(fetch)
                return
        raise AssertionError("a counted name is always free in the end")  # pragma: no cover

    async def _claim(self, fetch: _Fetch, target: str, whole: Whole) -> bool:
        found = _inspected(fetch.job, whole.type, whole.measures)
        claim = partial(self._ledger.claim_file, *fetch.row)
        return await self._commits(partial(claim, target=target, sha256=whole.sha256, size=whole.size, found=found))

    async def _named(self, part: Path, target: str, sha256: str) -> bool:
        named = await self._disk(lambda dirty: self._artifacts.name(part, target, sha256, dirty))
        if named:
            self._artifacts.drop(part, all_of_it=True)
        return named

    async def _tell(self, fetch: _Fetch, event: Event, **detail: str) -> None:
        told = partial(self._ledger.file_event, fetch.job.id, event, number=fetch.file.number, **detail)
        await self._commits(told)

    async def _saved(self, fetch: _Fetch) -> None:
        await self._commits(partial(self._ledger.file_saved, fetch.job.id, *fetch.row))
        if self._context.settings.writes_sidecars(fetch.job.campaign):
            # A crash before this line leaves no sidecar; `results --sidecars` makes it from the ledger at any time.
            for saved in self._ledger.saved(*fetch.row):
                self._artifacts.beside(saved.target, saved.sidecar)

    async def _ask_again(self, fetch: _Fetch, state: JobRunState, why: str) -> Step:
        """The URL is of no use: ask the API for the task, which may name a fresh one."""
        found = await self._context.poll(fetch.phase.task_id)
        match found:
            case TaskState(status=Status.SUCCEEDED):
                await self._commits(partial(self._ledger.record, fetch.phase.attempt_id, found))
                return self._repeat(state, Retryable("no_file", why))
            case Fatal():
                return Abort(found, Status.SUCCEEDED)
            case Retryable():
                return self._repeat(state, found)
            case _:
                return self._repeat(state, Retryable("no_file", why))

    def _repeat(self, state: JobRunState, trouble: Retryable) -> Step:
        state.repeats += 1
        if state.repeats > self._times:
            return Done(Status.SUCCEEDED, left=f"no file yet: {trouble.bare}")
        return Reschedule(Stage.FETCH, backoff(state.repeats, self._context.rng, least=trouble.retry_after))


def _model(job: Job) -> Model | None:
    try:
        return get_model(job.model)
    except UsageError:
        return None  # it has left the catalogue: its results are still to be saved


def _inspected(job: Job, kind: FileType | None, measures: Measures) -> Inspection:
    model = _model(job)
    requested = model.asked(job.params, has_reference=job.reference is not None) if model else Requested()
    return inspect(requested, kind, measures)


def accept(ledger: Store, artifacts: Artifacts, job: Job) -> list[str]:
    """Take what is kept aside of a job as its result, for a person says so; the paths. The caller holds the run lock.

    Raises UsageError when it is not what was kept.
    """
    taken = list[str]()
    if not isinstance(job.phase, Succeeded):
        return taken
    for file in job.phase.files:
        if file.saved or not (file.unverified and file.unverified_sha256 and fs.is_below(file.unverified)):
            continue
        kept, sha256 = artifacts.path(file.unverified), file.unverified_sha256
        if not artifacts.holds(file.unverified, sha256):
            raise UsageError(f"{kept} is not what was kept there", hint="`batcher fetch` asks for it again.")
        for target in _targets(job, job.phase.attempt_id, file.number, kept.suffix):
            claimed = ledger.claim_file(
                job.phase.attempt_id,
                file.number,
                target=target,
                sha256=sha256,
                size=artifacts.size(kept),
                found=_inspected(job, *artifacts.measured(kept)),
            )
            if claimed and artifacts.place(kept, target, sha256):
                ledger.file_saved(job.id, job.phase.attempt_id, file.number)
                ledger.file_event(job.id, Event.ACCEPTED, number=file.number, path=target)
                taken.append(target)
                break
    return taken


def _originals(target: str) -> Iterator[str]:
    """Names beside a file for what it was: `NAME.original.EXT` first."""
    path = PurePosixPath(target)
    yield str(path.with_name(f"{path.stem}.original{path.suffix}"))
    for more in count(2):
        yield str(path.with_name(f"{path.stem}.original-{more}{path.suffix}"))


def _aside_names(fetch: _Fetch, extension: str) -> Iterator[str]:
    """Names below `unverified/` for what may not be whole."""
    for target in _targets(fetch.job, *fetch.row, extension):
        yield target.partition("/")[2]


def _targets(job: Job, attempt_id: int, number: int, extension: str) -> Iterator[str]:
    """Names for a file, relative to the state folder, the wished one first."""
    base, mark = f"results/{job.campaign}/{job.file_name}" + (f"-{number + 1}" if number else ""), str(job.id)
    if not fs.is_result(f"{base}-{mark}"):  # somebody has edited the ledger
        base, mark = f"results/attempt-{attempt_id}-{number + 1}", str(attempt_id)
    yield f"{base}{extension}"
    yield f"{base}-{mark[:SHORT_ID]}{extension}"
    for more in count(1):
        yield f"{base}-{mark}-{more}{extension}"
