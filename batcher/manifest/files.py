"""Reference files: found by globs, kept inside the allowed folders, known by the hash of their bytes."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar
from urllib.parse import urlsplit

from batcher.catalog import Model
from batcher.containers import picture_fault
from batcher.filetypes import HEAD_BYTES, sniff
from batcher.jobs import FileReference, Reference, ResultReference, SeveralReferences, UrlReference
from batcher.spelling import nfc

from .globs import MAGIC, MAX_MATCHES, matches, prefix
from .open_inputs import open_regular
from .problems import Fault, listed
from .values import shown, unsafe_character

MAX_URL = 2048
#: Characters of a path or a glob; Linux takes no longer ones.
MAX_PATH = 4096
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|(?:blob|data|file|mailto|javascript):", re.IGNORECASE)
_K = TypeVar("_K")
_V = TypeVar("_V")


class Cache(dict[_K, _V], Generic[_K, _V]):
    """A dict that forgets everything when it is full: memory stays bounded however many rows come."""

    LIMIT = 20_000

    def __init__(self, limit: int = LIMIT) -> None:
        super().__init__()
        self._limit = limit

    def keep(self, key: _K, value: _V) -> _V:
        """Stores a value and returns it."""
        if len(self) >= self._limit:
            self.clear()
        self[key] = value
        return value


class Files:
    """The files that a manifest may read: its own folder and what `--allow-path` adds."""

    def __init__(self, folder: Path, allow: Sequence[Path]) -> None:
        self.as_given = folder
        self.folder = folder.resolve()
        self.roots = (self.folder, *(path.resolve() for path in allow))
        self._known: Cache[tuple[str, str, int, int, int], FileReference] = Cache()
        self._listings: Cache[Path, dict[str, list[str]]] = Cache(100)

    def shown(self, text: str) -> str:
        """A path of the manifest as messages show it."""
        return str(self.as_given / text)

    def inside(self, text: str) -> Path:
        """The resolved path of a file named relative to the manifest. Raises Fault when it leads outside."""
        if (bad := unsafe_character(text)) is not None or "\n" in text:
            raise Fault(f"a path cannot hold the character {bad or 'U+000A'}")
        try:
            path = (self.folder / self.spelled(text)).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise Fault(f"{shown(text)} cannot be read: {error}") from None
        if not any(path.is_relative_to(root) for root in self.roots):
            raise Fault(
                f"{shown(text)} leads out of the manifest's folder",
                f"{path} is not in {listed([str(root) for root in self.roots])}; --allow-path DIR adds a folder",
            )
        return path

    def spelled(self, text: str) -> str:
        """A path as it is spelled on disk: `é` may be one character here and two there. Raises Fault for two such."""
        if text.isascii() or os.path.lexists(self.folder / text):
            return text
        found = Path()
        for part in Path(text).parts:
            here = self.folder / found
            alike = [] if part.isascii() or os.path.lexists(here / part) else self._alike(here).get(nfc(part), [])
            if len(alike) > 1:
                raise Fault(f"{shown(text)}: there are {len(alike)} files of this name, which look alike", "rename one")
            found /= alike[0] if alike else part
        return str(found)

    def _alike(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder that are not ASCII, by their composed spelling."""
        known = self._listings.get(folder)
        if known is None:
            known = self._listings.keep(folder, {})
            with suppress(OSError):  # told when it is opened
                for name in islice((each.name for each in folder.iterdir() if not each.name.isascii()), MAX_MATCHES):
                    known.setdefault(nfc(name), []).append(name)
        return known

    def find(self, text: str, model: Model) -> tuple[FileReference | UrlReference, ...]:
        """The references that a text (a URL, a path or a glob) names, sorted, as a model takes them. Raises Fault."""
        text = text.strip()
        if not text:
            raise Fault("the reference is empty", "for no reference write null")
        if len(text) > MAX_PATH:
            raise Fault(f"the reference has {len(text):,} characters; at most {MAX_PATH:,}")
        if _SCHEME.match(text):
            return (UrlReference(check_url(text), _kind_of(text, model)),)
        return tuple(self._file(name, model) for name in self.names(text))

    def names(self, text: str) -> list[str]:
        """The files that a path or a glob names, sorted. Raises Fault when there are none."""
        # a file whose name happens to hold * ? [ is that file
        if not MAGIC.search(text) or os.path.lexists(self.inside(text)):
            return [self.spelled(text)]
        # checked before anything is listed: a glob must not walk over the whole disk to find itself refused
        start = prefix(text)
        self.inside(start)
        found = matches(self.spelled(start) + text[len(start) :] if text.startswith(start) else text, self.folder)
        if not found:
            raise Fault(f"no file matches {shown(text)}", f"looked in {self.folder}")
        return found

    def opened(self, text: str) -> BinaryIO:
        """A source file for reading, as it is named relative to the manifest. Raises Fault."""
        return open_regular(self.inside(text))

    def _file(self, text: str, model: Model) -> FileReference:
        path = self.inside(text)
        try:
            with open_regular(path) as file:
                status = os.fstat(file.fileno())
                key = (model.id, str(path), status.st_mtime_ns, status.st_size, status.st_ino)
                if (known := self._known.get(key)) is not None:
                    return known
                head = file.read(HEAD_BYTES)
                found = sniff(head)
                allowed = model.references.rule_for(found.mime) if found else None
                if allowed is None:
                    rules = model.references.kinds.values()
                    mimes = [mime.partition("/")[2].upper() for rule in rules for mime in rule.mime_types]
                    types = listed(mimes or ["nothing"])
                    what = f"is {found.mime}" if found else "is empty" if not head else "is of an unknown type"
                    raise Fault(f"{what} by its bytes; {model.id} takes {types}")
                if status.st_size > allowed.max_bytes:
                    raise Fault(f"has {status.st_size:,} bytes; {model.id} takes at most {allowed.max_bytes:,}")
                data = head + file.read(max(0, status.st_size + 1 - len(head)))
                size = len(data)
                if found and size == status.st_size and (lacks := picture_fault(file, size, found)):
                    raise Fault(lacks, "save or copy it again")
                digest = hashlib.sha256(data)
        except OSError as error:
            raise Fault(f"{shown(text)} cannot be read: {error.strerror or error}") from None
        except Fault as fault:
            raise Fault(f"{shown(text)} {fault.message}", fault.hint or _path_hint(text)) from None
        if size != status.st_size:
            raise Fault(f"{shown(text)} changed while it was read")
        assert found is not None
        return self._known.keep(key, FileReference(path, digest.hexdigest(), size, found.mime, found.kind))


def _kind_of(url: str, model: Model) -> str:
    """The kind of what a URL names, by its ending; else the first that the model takes."""
    mime = mimetypes.guess_type(urlsplit(url).path)[0] or ""
    kinds = model.references.kinds
    return next((kind for kind in kinds if mime.startswith(f"{kind}/")), next(iter(kinds), "image"))


def _path_hint(text: str) -> str:
    if "\\" in text:
        return "folders are divided by /, not by \\"
    return "~ is no folder here; write the path out" if text.startswith("~") else ""


def check_url(text: str) -> str:
    """A URL that the API may fetch itself. Raises Fault for others."""
    if len(text) > MAX_URL:
        raise Fault(f"the URL has {len(text):,} characters; at most {MAX_URL:,}")
    # programs disagree on what these mean, so the URL that is checked would not be the one that is fetched
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in text):
        what = "a backslash" if "\\" in text else "spaces or control characters"
        raise Fault(f"the URL {shown(text)} has {what}", "the filter `urlencode` helps")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        # `port` is checked when it is read
        _ = parts.port
    except ValueError as error:
        raise Fault(f"{shown(text)} is no URL: {error}") from None
    if parts.scheme != "https":
        raise Fault(f"{shown(text)}: a reference is a path or an https URL, not {parts.scheme}:")
    if not host:
        raise Fault(f"{shown(text)} has no host")
    if parts.username is not None or parts.password is not None:
        raise Fault("a URL with a user or a password in it is not allowed", "it would stand in the ledger")
    return text


def reference_name(reference: Reference | None) -> str:
    """The name of a reference without folder and extension; empty for none."""
    match reference:
        case None:
            return ""
        case FileReference(path=path):
            return path.stem
        case SeveralReferences(each=each):
            return reference_name(each[0])
        case ResultReference(name=name):
            return name
        case UrlReference(url=url):
            parts = urlsplit(url)
            return Path(parts.path).stem or parts.hostname or "url"
