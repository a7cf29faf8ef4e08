"""A folder, or a ZIP, for a client: a gallery, the files, a contact sheet and a list. Nothing of it is of others.

No credits, no task ids, no tags, no paths of this machine. Where a provider wrote the task's id into a file, it is
blanked there. It is whole or absent: made under another name, which it changes when all is on the disk.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO, Any

from batcher.clock import iso_seconds
from batcher.errors import UsageError
from batcher.file_names import finish, safe
from batcher.fs import below, disk_errors, fsync, look, open_regular, sync, whole_file
from batcher.install import install_hint
from batcher.jobs import Status
from batcher.ledger import LedgerReader
from batcher.ledger.queries import export, spend
from batcher.ledger.queries import gallery as ledger
from batcher.ledger.queries.export import Saved
from batcher.ledger.queries.selectors import Condition, own

from .question import Question
from .table import csv_lines

FOLDER, PAGE, SHEET, LIST = "files", "index.html", "contact-sheet.jpg", "files.csv"
_NEEDED = ("av", "PIL")
#: Files that are named where something is wrong with them.
_TOLD = 5
_CHUNK = 1 << 20
#: An id of fewer characters may stand in a film by chance.
_LEAST = 8


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written. `left_out` jobs have no card, `not_drawn` files are not on the contact sheet.

    In `blanked` files stood the id of their task; `to_fetch` jobs succeeded and have no file yet.
    """

    files: int
    left_out: int
    not_drawn: int
    blanked: int
    to_fetch: int


class _Piece:
    """A saved file under its name in the bundle."""

    def __init__(self, number: int, digits: int, file: Saved, state: Path) -> None:
        path, padded = PurePosixPath(file.target), f"{number:0{digits}}"
        self.file = file
        self.source = below(state, file.target)
        # by number, so that it is as unique on a disk that takes A for a, and stands where the list has it
        self.name = finish([(f"{padded}-", True), (safe(path.stem), False), (safe(path.suffix), True)])
        self.label = f"{padded} {file.name}"
        self.secrets = [file.task_id or "", file.client_request_id, str(state.resolve())]


def need_extra() -> None:
    """Raises UsageError when what draws the contact sheet is not installed."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UsageError(f"--bundle needs what is not installed ({', '.join(missing)})", hint=install_hint("report"))


def check_target(target: Path, state: Path) -> None:
    """Raises UsageError where a bundle cannot be put without touching what is there."""
    here = target.parent
    if target.name in ("", ".."):
        raise UsageError(
            f"{target} is no name for a bundle", hint="Name a new folder, or a new file that ends in .zip."
        )
    if not here.is_dir():
        raise UsageError(f"there is no folder {here}", hint="Make it first.")
    if target.resolve().is_relative_to(state.resolve()):
        raise UsageError(f"{target} lies in the state folder", hint="Name a place outside of it.")
    kept = "It stays as it is: name another."
    with disk_errors(target):
        if target.is_symlink() or (target.exists() and (_is_zip(target) or not target.is_dir())):
            raise UsageError(f"{target} exists already", hint=kept)
        if target.is_dir() and any(target.iterdir()):
            raise UsageError(f"the folder {target} is not empty", hint=kept)


def make_bundle(read: LedgerReader, question: Question, *, state: Path, target: Path, now: float) -> Bundle:
    """Write the bundle of a question's succeeded jobs. Raises UsageError and StorageError, and leaves nothing behind.

    `target` is a folder that is not there or empty, or a ZIP that is not there; `now` is in seconds since the epoch.
    """
    from .contact_sheet import MOST, contact_sheet
    from .html.client_page import CARDS, client_page

    check_target(target, state)
    scope = question.scope
    with spend.snapshot(read):
        if not scope.campaigns and not scope.conditions and len(spend.campaign_names(read)) > 1:
            raise UsageError(
                "a bundle of all campaigns would show each client the others",
                hint="Say whose it is: --campaign, --where or --marked.",
            )
        found = list(export.saved(read, scope, [Status.SUCCEEDED]))
        wanted = {file.id for file in found}
        done = replace(scope, conditions=(*scope.conditions, Condition(own("status"), Status.SUCCEEDED)))
        every = list(ledger.cards(read, done, -1))
        cards = [card for card in every if card.id in wanted]
        ledger_id = read.ledger_id
    if not found:
        raise UsageError("no job of these has a file", hint="`batcher jobs` shows how they stand.")
    pieces = [_Piece(number, len(str(len(found))), file, state) for number, file in enumerate(found, 1)]
    _check(pieces, state)
    title = target.name.removesuffix(target.suffix) if _is_zip(target) else target.name
    drawn = contact_sheet(title, [(piece.label, piece.source) for piece in pieces])
    page = client_page(
        cards[:CARDS],
        links={piece.file.target: f"{FOLDER}/{piece.name}" for piece in pieces},
        title=title,
        files=len(pieces),
        sheet=SHEET,
        table=LIST,
        made=iso_seconds(now),
        ledger_id=ledger_id,
    )
    with _zip(target, now) if _is_zip(target) else _folder(target) as add:
        blanked = sum(_add_file(add, piece) for piece in pieces)
        for name, content in ((SHEET, drawn), (LIST, _list(pieces)), (PAGE, page.encode(errors="replace"))):
            with add(name) as file:
                file.write(content)
    return Bundle(
        files=len(pieces),
        left_out=max(0, len(cards) - CARDS),
        not_drawn=max(0, len(pieces) - MOST),
        blanked=blanked,
        to_fetch=len(every) - len(cards),
    )


def _is_zip(target: Path) -> bool:
    return target.suffix.lower() == ".zip"


def _check(pieces: Sequence[_Piece], state: Path) -> None:
    """Raises UsageError for files that are not as they were saved: what is handed over is whole."""
    wrong = [(p.file.target, how) for p in pieces if (how := look(state, p.file.target, p.file.size))]
    if wrong:
        raise _damaged(wrong)


def _damaged(wrong: Sequence[tuple[str, str]]) -> UsageError:
    told = [f"  {target}: {how}" for target, how in wrong[:_TOLD]]
    more = [f"  … and {len(wrong) - _TOLD:,} more"] if len(wrong) > _TOLD else []
    return UsageError(
        "\n".join(["files are not as they were saved, and nothing was written:", *told, *more]),
        hint="`batcher fetch` brings back what is missing.",
    )


# The list


def _list(pieces: Sequence[_Piece]) -> bytes:
    """A row a file, as CSV that a spreadsheet reads in any script: with a mark of UTF-8 at its beginning."""
    own = ("file", "name", "campaign", "model", "prompt", "take")
    names = dict.fromkeys(name for p in pieces for name in (*p.file.params, *p.file.vars))
    kept = {name: name if name not in own else f"{name} (variable)" for name in names}
    lines = csv_lines([*own, *kept.values()], (_row(piece.file, piece.name, list(kept)) for piece in pieces))
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8-sig", errors="replace")


def _row(file: Saved, name: str, kept: Sequence[str]) -> list[Any]:
    values = {**file.params, **file.vars}
    return [name, file.name, file.campaign, file.model, file.prompt, file.take, *(values.get(each) for each in kept)]


# Files


_Add = Callable[[str], AbstractContextManager[IO[bytes]]]


def _add_file(add: _Add, piece: _Piece) -> bool:
    """Copy a file with its secrets blanked; whether there were any. Raises UsageError where it was changed."""
    digest, place = hashlib.sha256(), 0
    with disk_errors(piece.source):
        descriptor = open_regular(piece.source)
    with os.fdopen(descriptor, "rb") as source, add(f"{FOLDER}/{piece.name}") as copy:
        blanks = list(_found(source, piece.secrets))
        while chunk := bytearray(source.read(_CHUNK)):
            digest.update(chunk)
            for start, end in blanks:
                first, last = max(start, place), min(end, place + len(chunk))
                if first < last:
                    chunk[first - place : last - place] = b"x" * (last - first)
            copy.write(chunk)
            place += len(chunk)
    if digest.hexdigest() != piece.file.sha256:
        raise _damaged([(piece.file.target, "changed")])
    return bool(blanks)


def _found(source: IO[bytes], words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where in an open file words stand, in the spellings that metadata come in."""
    spelled = {w.encode(code, "replace") for w in words if len(w) >= _LEAST for code in ("utf-8", "utf-16-le")}
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for word in spelled:
            at = content.find(word)
            while at >= 0:
                yield at, at + len(word)
                at = content.find(word, at + 1)


@contextmanager
def _folder(target: Path) -> Iterator[_Add]:
    """A folder that is whole or absent."""
    part = target.with_name(f".{secrets.token_hex(8)}.part")

    @contextmanager
    def add(name: str) -> Iterator[IO[bytes]]:
        with (part / name).open("xb") as file:
            yield file
            file.flush()
            fsync(file.fileno())

    try:
        with disk_errors(target):
            (part / FOLDER).mkdir(parents=True)
            yield add
            sync(part / FOLDER)
            sync(part)
            part.rename(target)
            sync(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _zip(target: Path, now: float) -> Iterator[_Add]:
    """A ZIP that is whole or absent, of one folder. Media are stored: they are packed already."""
    year, month, day, hour, minute, second, *_ = time.localtime(now)
    top = finish([(safe(target.stem), False)])
    try:
        with (
            whole_file(target) as part,
            zipfile.ZipFile(part, "w") as made,
        ):

            def add(name: str) -> AbstractContextManager[IO[bytes]]:
                entry = zipfile.ZipInfo(f"{top}/{name}", (year, month, day, hour, minute, second))
                entry.external_attr = 0o644 << 16
                return made.open(entry, "w", force_zip64=True)

            yield add
    except FileExistsError:  # it came meanwhile
        raise UsageError(f"{target} exists already", hint="It stays as it is: name another.") from None
