"""Results and references where all workers of a ledger see them: a shared folder, or S3 through obstore.

A download grows and is judged in the worker's own state folder, as on one machine. When its hash and target are
committed it is put there whole, by a create that fails where something has the name; what a crash left between the
two is adopted by its bytes. References lie there by their hash, so a worker needs no manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from batcher import fs
from batcher.errors import StorageError, UsageError
from batcher.jobs import FileReference
from batcher.storage import SIDECAR_OF, Artifacts, Sidecar

if TYPE_CHECKING:
    from obstore.store import S3Store

#: Where references lie, by their hash.
REFERENCES = "refs"
#: For so many seconds a request to S3 is repeated before it counts as trouble.
_RETRY_SECONDS = 60
_SIDECAR_BYTES = 1024**2
#: A longer file goes to S3 in pieces of so many bytes, some at a time, so it is never in memory whole.
PIECE_BYTES = 16 * 1024**2
_PIECES = 2
#: Where it lies until all of it is there.
_UPLOADS = ".batcher/uploads"
_HINT = "Check BATCHER_RESULTS, its permissions and credentials; nothing bought is lost."


class SharedFiles(Protocol):
    """Files by name, whole or absent. Every method raises StorageError when they cannot be had."""

    def create(self, source: Path, target: str) -> bool:
        """Put a file there, durably; False where something has that name."""
        ...

    def overwrite(self, content: bytes, target: str) -> None: ...

    def chunks(self, target: str) -> Iterator[bytes]:
        """The bytes of a file. Raises FileNotFoundError at the first one."""
        ...

    def size(self, target: str) -> int | None:
        """Its bytes; None where nothing has that name."""
        ...

    def sizes(self, folder: str) -> Mapping[str, int]:
        """The files below a folder by their paths from there, with their bytes."""
        ...


def shared_files(place: str) -> SharedFiles:
    """What `BATCHER_RESULTS` names. Raises UsageError for no place at all, StorageError for a folder that is absent."""
    if place.startswith("s3://"):
        return Bucket(place)
    if "://" in place or not place.startswith("/"):
        raise UsageError(
            f"BATCHER_RESULTS: {place!r} is no place for results",
            hint="Give a folder that all workers see by the same absolute path, or s3://BUCKET/PREFIX.",
        )
    if not Path(place).is_dir():  # a mount that is missing must not become a folder of this machine alone
        raise StorageError(f"{place} is not there", hint="BATCHER_RESULTS names a folder that exists. " + _HINT)
    return SharedFolder(Path(place))


class SharedFolder:
    """A folder that all workers see."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self, source: Path, target: str) -> bool:
        path = fs.below(self._root, target)
        with fs.disk_errors(path, _HINT):
            fs.make_folder(path.parent)
            try:
                with fs.whole_file(path) as part:
                    shutil.copyfile(source, part)
            except FileExistsError:
                return False
        return True

    def overwrite(self, content: bytes, target: str) -> None:
        path = fs.below(self._root, target)
        with fs.disk_errors(path, _HINT), fs.whole_file(path, replace=True) as part:
            part.write_bytes(content)

    def chunks(self, target: str) -> Iterator[bytes]:
        path = fs.below(self._root, target)
        with open(fs.open_regular(path), "rb") as file:  # noqa: PTH123  (a descriptor)
            while chunk := file.read(1 << 20):
                yield chunk

    def size(self, target: str) -> int | None:
        path = fs.below(self._root, target)
        with fs.disk_errors(path, _HINT), suppress(FileNotFoundError, NotADirectoryError):
            return path.lstat().st_size
        return None

    def sizes(self, folder: str) -> Mapping[str, int]:
        path = fs.below(self._root, f"{folder}/file").parent
        found = dict[str, int]()
        with fs.disk_errors(path, _HINT):
            for place, _, names in os.walk(path):
                inner = Path(place).relative_to(path)
                for name in names:
                    with suppress(FileNotFoundError):
                        found[str(inner / name)] = os.lstat(f"{place}/{name}").st_size
        return found


class Bucket:
    """A prefix of an S3 bucket. Credentials, region and endpoint are those of the environment (`AWS_…`).

    The server has to know `If-None-Match: *` on a PUT, as S3 and MinIO do; `check` tells one that does not.
    """

    def __init__(self, url: str) -> None:
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError as error:  # pragma: no cover
            raise UsageError("s3:// needs the extra `cluster`", hint="pip install 'batcher-cli[cluster]'") from error
        self._obstore = obstore
        self._url = url
        with self._errors(url):
            self._store: S3Store = S3Store.from_url(
                url,
                copy_if_not_exists="multipart",
                retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
            )

    def create(self, source: Path, target: str) -> bool:
        # A repeat inside obstore whose first try did arrive finds its own file: whoever asks compares the bytes.
        with self._errors(target):
            try:
                if source.stat().st_size > PIECE_BYTES:
                    return self._create_in_pieces(source, target)
                self._obstore.put(self._store, _key(target), source, mode="create", use_multipart=False)
            except self._obstore.exceptions.AlreadyExistsError:
                return False
        return True

    def _create_in_pieces(self, source: Path, target: str) -> bool:
        """Bring a long file there piece by piece, under a name that nobody else uses, and name it then: an upload in
        pieces has no create of its own in obstore, but a copy within the bucket has."""
        if self.size(target) is not None:
            return False
        part = f"{_UPLOADS}/{secrets.token_hex(16)}"
        put, store = self._obstore.put, self._store
        try:
            put(store, part, source, use_multipart=True, chunk_size=PIECE_BYTES, max_concurrency=_PIECES)
            self._obstore.copy(self._store, part, _key(target), overwrite=False)
        finally:
            with suppress(self._obstore.exceptions.BaseError):
                self._obstore.delete(self._store, part)
        return True

    def overwrite(self, content: bytes, target: str) -> None:
        with self._errors(target):
            self._obstore.put(self._store, _key(target), content, use_multipart=False)

    def chunks(self, target: str) -> Iterator[bytes]:
        with self._errors(target):
            for chunk in self._obstore.get(self._store, _key(target)).stream(min_chunk_size=1 << 20):
                yield bytes(chunk)

    def size(self, target: str) -> int | None:
        with self._errors(target):
            try:
                return int(self._obstore.head(self._store, _key(target))["size"])
            except FileNotFoundError:
                return None

    def sizes(self, folder: str) -> Mapping[str, int]:
        start, found = len(f"{_key(folder)}/"), dict[str, int]()
        with self._errors(folder):
            for page in self._obstore.list(self._store, folder, chunk_size=1000):
                found.update((str(each["path"])[start:], int(each["size"])) for each in page)
        return found

    @contextmanager
    def _errors(self, target: str) -> Iterator[None]:
        """obstore's errors as StorageError, in one line; FileNotFoundError stays."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (self._obstore.exceptions.BaseError, ValueError, OSError) as error:
            said = str(error).strip().partition("\n")[0][:300]
            raise StorageError(f"{self._url}: {target}: {said}", hint=_HINT) from error


def check_create(files: SharedFiles, spool: Path, mark: str) -> None:
    """Raises StorageError where a second create of one name is not refused: two workers could overwrite each other.

    `mark` names the little file that this leaves.
    """
    with fs.whole_file(spool / f".check-{mark}", replace=True) as part:
        part.write_text("batcher was here\n")
        files.create(part, f".batcher/{mark}")
        if files.create(part, f".batcher/{mark}"):
            raise StorageError(
                "BATCHER_RESULTS overwrites files that exist (it does not know `If-None-Match`)",
                hint="Use S3, a current MinIO, or a shared folder.",
            )


class SharedArtifacts(Artifacts):
    """Results in `files`; what becomes a result grows in `spool`, the state folder of this worker."""

    def __init__(self, spool: Path, files: SharedFiles) -> None:
        super().__init__(spool)
        self._spool = spool
        self._files = files
        self._listed: dict[str, Mapping[str, int]] = {}  # folders, as `look` has met them

    def name(self, part: Path, target: str, sha256: str, dirty: set[Path]) -> bool:  # noqa: ARG002
        """Put a whole part file there, durably; False when another file has the name. `dirty` gets nothing."""
        if fs.is_own(part) and self._files.create(part, target):
            return True
        return self.holds(target, sha256)

    def holds(self, target: str, sha256: str) -> bool:
        digest = hashlib.sha256()
        try:
            for chunk in self._files.chunks(target):
                digest.update(chunk)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror or error}", hint=_HINT) from error
        return digest.hexdigest() == sha256

    def look(self, target: str, size: int) -> str:
        """As `fs.look`; each folder is read once, for a request a file takes long in S3."""
        folder, _, name = target.rpartition("/")
        if folder not in self._listed:
            self._listed[folder] = self._files.sizes(folder)
        found = self._listed[folder].get(name)
        return "missing" if found is None else "" if found == size else "changed"

    def stands(self, target: str) -> bool:
        return self._files.size(target) is not None

    def path(self, target: str) -> Path:
        """A copy of a target in the spool, made anew if its size is another; absent where the target is."""
        local = fs.below(self._spool, target)
        size = self._files.size(target)
        with fs.disk_errors(local):
            if size is None:
                local.unlink(missing_ok=True)
            elif not fs.is_own(local) or local.stat().st_size != size:
                self._fetch(target, local)
        return local

    def reference(self, path: Path, sha256: str) -> Path:  # noqa: ARG002
        """A copy of a reference's file in the spool; its `path` is one of the machine that enrolled it."""
        name = f"{REFERENCES}/{sha256}"
        local = fs.below(self._spool, name)
        with fs.disk_errors(local):
            if fs.is_own(local) and self.digest(local) == sha256:
                return local
            if self._files.size(name) is None:
                local.unlink(missing_ok=True)
            else:
                self._fetch(name, local)
        return local

    def _fetch(self, target: str, local: Path) -> None:
        fs.make_folder(local.parent)
        with fs.whole_file(local, replace=True) as part, part.open("wb") as file:
            for chunk in self._files.chunks(target):
                file.write(chunk)

    def beside(self, target: str, facts: Mapping[str, object]) -> Sidecar:
        name = target.rpartition("/")[2]
        text = json.dumps({SIDECAR_OF: name, **facts}, indent=2, ensure_ascii=False) + "\n"
        if not self.stands(target):
            return Sidecar.ALONE
        found = self._text(f"{target}.json")
        if found == text:
            return Sidecar.SAME
        if found is not None and not _is_sidecar(found, name):
            return Sidecar.FOREIGN
        self._files.overwrite(text.encode(), f"{target}.json")
        return Sidecar.WRITTEN

    def _text(self, target: str) -> str | None:
        """What stands there, "" for what is no text or too long; None where nothing does."""
        size = self._files.size(target)
        if size is None or size > _SIDECAR_BYTES:
            return None if size is None else ""
        with suppress(UnicodeDecodeError):
            return b"".join(self._files.chunks(target)).decode()
        return ""


def keeper(files: SharedFiles, spool: Path) -> Callable[[FileReference], None]:
    """What puts reference files where workers find them, each once a run; it raises UsageError for one that changed."""
    kept = set[str]()

    def keep(reference: FileReference) -> None:
        target = f"{REFERENCES}/{reference.sha256}"
        if reference.sha256 in kept:
            return
        if files.size(target) is None:
            with fs.disk_errors(reference.path):
                content = reference.path.read_bytes()
            if hashlib.sha256(content).hexdigest() != reference.sha256:
                raise UsageError(f"{reference.path} is not the file any more that the plan saw")
            copy = fs.below(spool, target)
            with fs.disk_errors(copy):
                fs.make_folder(copy.parent)
                with fs.whole_file(copy, replace=True) as part:
                    part.write_bytes(content)
            files.create(copy, target)
        kept.add(reference.sha256)

    return keep


def _key(target: str) -> str:
    """The name in a bucket. Raises Outside where it leads elsewhere."""
    if not fs.is_below(target):
        raise fs.Outside(f"{target!r} is no name of a file", hint="The ledger says so, and was changed.")
    return target


def _is_sidecar(text: str, name: str) -> bool:
    try:
        found = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get(SIDECAR_OF) == name
