"""A reference file reaches the API once a file and account, however many jobs use it and however often we restart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import anyio

from batcher.clock import Clock
from batcher.jobs import FileReference, Upload
from batcher.ledger import Ledger
from batcher.providers import Halt, Later, Provider, Refused

from .steps import Gate

#: An upload that the API vouched for less than this many seconds ago is used without asking again. How long the
#: API keeps uploads is not documented (rivya-api.md, section 4).
VOUCHED_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Changed:
    """The file is not what the manifest's expansion saw."""

    message: str


class References:
    """Uploads of one account. Safe to call from many tasks: one upload a file, the others wait for it."""

    def __init__(self, ledger: Ledger, provider: Provider, gate: Gate, clock: Clock) -> None:
        self._ledger = ledger
        self._provider = provider
        self._gate = gate
        self._clock = clock
        self._locks: dict[str, anyio.Lock] = {}
        self._refused: dict[tuple[str, str], Refused] = {}

    async def upload(self, reference: FileReference, model: str) -> Upload | Changed | Refused | Halt | Later:
        """The upload of a reference file, made now if the API does not have it."""
        async with self._locks.setdefault(reference.sha256, anyio.Lock()):
            if refused := self._refused.get((reference.sha256, model)):
                return refused
            known = self._ledger.read.upload(self._provider.account, reference.sha256)
            if known:
                there = await self._still_there(known)
                if isinstance(there, Later):
                    return there
                if there:
                    return known
            content = _read(reference)
            if isinstance(content, Changed):
                return content
            async with self._gate.slot("upload") as slot:
                await slot.stamp()
                made = await self._provider.upload(reference, content, model)
                slot.heard(made)
            if isinstance(made, Upload):
                self._ledger.remember_upload(self._provider.account, made)
            if isinstance(made, Refused):
                self._refused[reference.sha256, model] = made
            return made

    async def _still_there(self, known: Upload) -> bool | Later:
        """Whether an upload may be used; Later when the API says "too many"."""
        if self._clock.wall() - known.checked_at < VOUCHED_SECONDS or not known.file_id:
            return True
        async with self._gate.slot("file") as slot:
            await slot.stamp()
            there = await self._provider.vouch(known)
            slot.heard(there)
        match there:
            case True:
                self._ledger.vouched(self._provider.account, known.sha256)
                return True
            case False | Later(throttled=True):
                return there
            case _:
                return True  # nobody knows: a create that names a lost upload is refused at no cost


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
