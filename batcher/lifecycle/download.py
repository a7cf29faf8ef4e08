"""From result URL to file: one step of a succeeded job. Every window of a crash here is shut by the ledger's
order: validator, then hash and target, then the name, then `saved` (design.md, "Crash windows").
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path, PurePosixPath

from batcher import fs
from batcher.catalog import get_model
from batcher.errors import UsageError
from batcher.events import Event
from batcher.jobs import SHORT_ID, Job, ResultFile, Status, Succeeded, TaskState
from batcher.ledger import Store
from batcher.providers import Fatal, Gone, Incoming, Provider, Redirected, Refused, Retryable, TransferCut
from batcher.settings import Settings
from batcher.storage import Artifacts, TooSlow, Unusable, Whole

from .group_commit import Commits, Disk
from .steps import Abort, Done, JobRunState, Limiter, Reschedule, Stage, Step, backoff

_REDIRECTS = 5
#: So many second answers may differ from the first one, or not be had, before what came is left to a person.
_UNLIKE = 3


class Downloader:
    """Downloads results into the state folder."""

    def __init__(
        self,
        ledger: Store,
        commits: Commits,
        disk: Disk,
        provider: Provider,
        limiter: Limiter,
        artifacts: Artifacts,
        rng: random.Random,
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._commits = commits
        self._disk = disk
        self._provider = provider
        self._limiter = limiter
        self._artifacts = artifacts
        self._rng = rng
        self._times = settings.retries.times
        self._settings = settings

    async def step(self, job: Job, phase: Succeeded, state: JobRunState) -> Step:
        """Fetch the first file that is not saved yet."""
        unsaved = [file for file in phase.files if not file.saved and not file.forgotten]
        if not unsaved:
            return await self._bring_back(job, phase, state)
        more = len(unsaved) > 1 or state.restore
        file, fetched = unsaved[0], Reschedule(Stage.FETCH) if more else Done(Status.SUCCEEDED)
        part = self._artifacts.part(phase.attempt_id, file.number)
        if await self._adopt(job, phase, file, part):
            return fetched
        if not file.url:
            return await self._ask_again(job, phase, state, "the API named no URL for the result")
        trouble = await self._download(job, phase, file, part)
        state.barred = trouble.local if isinstance(trouble, Gone) else ""
        if trouble is None:
            state.answered()
            state.unlike = 0
            return fetched
        if step := await self._aside(job, phase, file, part, state, trouble):
            return step
        if isinstance(trouble, Gone):
            return await self._ask_again(job, phase, state, trouble.message)
        return self._repeat(state, trouble)

    async def _bring_back(self, job: Job, phase: Succeeded, state: JobRunState) -> Step:
        """Fetch again a file that was whole once and is missing or changed; the file itself is never written over."""
        number = next(iter(state.restore), None)
        if number is None:
            return Done(Status.SUCCEEDED)
        fetched = Reschedule(Stage.FETCH) if len(state.restore) > 1 else Done(Status.SUCCEEDED)
        file = next((f for f in phase.files if f.number == number and f.saved and f.target and f.sha256), None)
        if file is None or self._is_back(file):
            del state.restore[number]
            return fetched
        part = self._artifacts.part(phase.attempt_id, number)
        trouble = (
            await self._download(job, phase, file, part) if file.url else Gone("the API named no URL for the result")
        )
        if trouble is None:
            state.answered()
            del state.restore[number]
            return fetched
        if isinstance(trouble, Gone):
            return await self._ask_again(job, phase, state, trouble.message)
        return self._repeat(state, trouble)

    def _is_back(self, file: ResultFile) -> bool:
        """Whether a file is as it was, or its original lies beside it already."""
        assert file.target
        assert file.sha256
        return self._artifacts.holds(file.target, file.sha256) or self._artifacts.holds(
            next(_originals(file.target)), file.sha256
        )

    async def _put_back(self, job: Job, phase: Succeeded, file: ResultFile, part: Path, whole: Whole) -> None:
        """Name what was fetched again: as before where nothing stands there, else beside it."""
        assert file.target
        assert file.sha256
        changed = self._artifacts.stands(file.target)
        if whole.sha256 != file.sha256:
            why = "the API gives other bytes than at first: the original cannot be had any more"
            if not changed:  # better than none: it is what was paid for
                claim = partial(self._ledger.claim_file, phase.attempt_id, file.number, target=file.target)
                await self._commits(partial(claim, sha256=whole.sha256, size=whole.size))
            await self._tell_odd(job, file, why)
            if changed:
                self._artifacts.drop(part, all_of_it=True)
                return
        for target in _originals(file.target) if changed else (file.target, *islice(_originals(file.target), 9)):
            if await self._named(part, target, whole.sha256):
                told = partial(self._ledger.file_event, job.id, Event.RESTORED, number=file.number, path=target)
                await self._commits(told)
                return

    async def _adopt(self, job: Job, phase: Succeeded, file: ResultFile, part: Path) -> bool:
        """Finish what a crash interrupted between committing hash and target and recording the file."""
        if not (file.target and file.sha256 and fs.is_result(file.target)):
            return False
        if not self._artifacts.adopt(part, file.target, file.sha256):
            return False
        await self._saved(job, phase, file)
        return True

    async def _download(self, job: Job, phase: Succeeded, file: ResultFile, part: Path) -> Gone | Retryable | None:
        """One transfer, over redirects; None when the file is saved."""
        url = file.url
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
                        return await self._take(job, phase, file, part, incoming)
                    case Redirected(url):
                        continue
                    case Refused(code, message, request_id):
                        return Retryable(code, message, request_id=request_id)
                    case Gone():
                        # A part that is whole already cannot go on either: begin anew next time.
                        self._artifacts.drop(part)
                        return incoming
                    case Retryable():
                        return incoming
        return Gone("the result redirects too often")

    async def _aside(
        self, job: Job, phase: Succeeded, file: ResultFile, part: Path, state: JobRunState, trouble: Gone | Retryable
    ) -> Step | None:
        """After three answers that did not show what came to be whole: keep the longest for a person to judge."""
        if not self._artifacts.has_kept(part) or (
            isinstance(trouble, Retryable) and (trouble.outage or trouble.throttled)
        ):
            return None
        state.unlike += 1
        # The first answer is one that a second one is held against.
        if state.unlike <= _UNLIKE and state.repeats < self._times:
            return None
        names = partial(_aside_names, job, phase, file)
        aside = await self._disk(lambda _: self._artifacts.set_aside(part, names))
        if aside is None:
            return None
        path, whole = aside
        self._artifacts.drop(part, all_of_it=True)
        why = trouble.message
        await self._commits(
            partial(
                self._ledger.set_aside,
                *(job.id, phase.attempt_id, file.number),
                path=path,
                sha256=whole.sha256,
                why=why,
            )
        )
        left = f"no file yet: {why}; the longest that came is kept as {path} (`batcher fetch --accept` takes it)"
        return Done(Status.SUCCEEDED, left=left)

    async def _take(
        self, job: Job, phase: Succeeded, file: ResultFile, part: Path, incoming: Incoming
    ) -> Gone | Retryable | None:
        total = file.announced if incoming.total is None and incoming.offset else incoming.total
        if incoming.offset and file.announced is not None and total != file.announced:
            self._artifacts.drop(part)
            return Retryable("changed", f"{file.announced} bytes were announced at first, now it is {total}")
        content = await self._receive(phase, file, part, incoming)
        if isinstance(content, Retryable):
            return content
        try:
            kind = _result_kind(job.model)
            whole = await self._disk(lambda _: self._artifacts.finish(part, content, total=total, kind=kind))
            if (
                whole.doubt
                and whole.sha256 != file.sha256
                and not await self._disk(lambda _: self._artifacts.settle(part, whole))
            ):
                return Retryable("doubtful_file", whole.doubt) if whole.again else Gone(whole.doubt)
        except Unusable as fault:
            return Gone(str(fault))
        if file.saved:
            await self._put_back(job, phase, file, part, whole)
            return None
        await self._save(job, phase, file, part, whole)
        if whole.note:
            await self._tell_odd(job, file, whole.note)
        return None

    async def _receive(
        self, phase: Succeeded, file: ResultFile, part: Path, incoming: Incoming
    ) -> bytes | Retryable | None:
        """All of it, if the part file does not have it yet; or why it is not whole."""
        announced = incoming.total if incoming.validator else None  # without a validator nothing goes on
        if incoming.offset == 0 and (incoming.validator, announced) != (file.validator, file.announced):
            # The old part belongs to another version of the file: it goes before the new validator is kept.
            self._artifacts.drop(part)
            begin = partial(self._ledger.begin_file, phase.attempt_id, file.number, incoming.validator, announced)
            await self._commits(begin)
        try:
            return await self._artifacts.receive(part, incoming.chunks, offset=incoming.offset)
        except TransferCut as cut:
            return Retryable("cut", f"the download broke off: {cut}")
        except TooSlow as slow:
            return Retryable("slow", f"the download is too slow, and gives its place to others: {slow}")
        except Unusable as fault:
            self._artifacts.drop(part)
            return Retryable("too_long", str(fault))

    async def _save(self, job: Job, phase: Succeeded, file: ResultFile, part: Path, whole: Whole) -> None:
        for target in _targets(job, phase.attempt_id, file.number, whole.type.extension):
            claim = partial(
                self._ledger.claim_file,
                *(phase.attempt_id, file.number),
                target=target,
                sha256=whole.sha256,
                size=whole.size,
            )
            if await self._commits(claim) and await self._named(part, target, whole.sha256):
                await self._saved(job, phase, file)
                return
        raise AssertionError("a counted name is always free in the end")  # pragma: no cover

    async def _named(self, part: Path, target: str, sha256: str) -> bool:
        named = await self._disk(lambda dirty: self._artifacts.name(part, target, sha256, dirty))
        if named:
            self._artifacts.drop(part, all_of_it=True)
        return named

    async def _tell_odd(self, job: Job, file: ResultFile, why: str) -> None:
        await self._commits(partial(self._ledger.file_event, job.id, Event.ODD_FILE, number=file.number, why=why))

    async def _saved(self, job: Job, phase: Succeeded, file: ResultFile) -> None:
        await self._commits(partial(self._ledger.file_saved, job.id, phase.attempt_id, file.number))
        if self._settings.writes_sidecars(job.campaign):
            # A crash before this line leaves no sidecar; `results --sidecars` makes it from the ledger at any time.
            for saved in self._ledger.saved(phase.attempt_id, file.number):
                self._artifacts.beside(saved.target, saved.sidecar)

    async def _ask_again(self, job: Job, phase: Succeeded, state: JobRunState, why: str) -> Step:
        """The URL is of no use: ask the API for the task, which may name a fresh one."""
        async with self._limiter.slot("poll") as slot:
            await slot.stamp()
            found = await self._provider.poll(phase.task_id)
            slot.heard(found)
        match found:
            case TaskState(status=Status.SUCCEEDED):
                await self._commits(partial(self._ledger.record, job.id, phase.attempt_id, found))
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
        return Reschedule(Stage.FETCH, backoff(state.repeats, self._rng, least=trouble.retry_after))


def _result_kind(model: str) -> str:
    try:
        return get_model(model).result
    except UsageError:
        return ""  # a model that left the catalogue: its results are still ours to save


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
                job.phase.attempt_id, file.number, target=target, sha256=sha256, size=artifacts.size(kept)
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


def _aside_names(job: Job, phase: Succeeded, file: ResultFile, extension: str) -> Iterator[str]:
    """Names below `unverified/` for what may not be whole."""
    for target in _targets(job, phase.attempt_id, file.number, extension):
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
