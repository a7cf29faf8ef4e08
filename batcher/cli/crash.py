"""An error that nobody foresaw: written down in full, told in a line. The key is in neither."""

from __future__ import annotations

import os
import re
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from batcher import __version__
from batcher.errors import BatcherError, Kind
from batcher.fs import below
from batcher.providers.registry import KNOWN
from batcher.redact import without
from batcher.text import safe

from .database import passwords
from .environment import secrets
from .open_ledger import DEFAULT_STATE
from .options import STATE_VARIABLE

_KEY_LIKE = re.compile("|".join(known.key_like for known in KNOWN.values()), re.IGNORECASE)


def report(error: Exception, argv: Sequence[str]) -> BatcherError:
    """Write the traceback down; what is told of it."""
    what = redact(_words(error))
    body = redact("".join(traceback.format_exception(error)))
    # SQLite's module belongs to the ledger's room; its errors are known by where they come from.
    storage = isinstance(error, OSError) or any(c.__module__ == "sqlite3" for c in type(error).__mro__)
    told = BatcherError(what, hint="Nothing bought is lost. What happened in full could not be written anywhere.")
    told.kind = Kind.STORAGE if storage else Kind.UNFINISHED
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    for folder in filter(None, (_logs(_state(argv)), _temporary())):
        path = folder / f"crash-{stamp}.txt"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(safe(f"batcher {__version__}, {stamp}\n\n{body}", lines=True))
            path = path.absolute()
        except (OSError, ValueError):  # ValueError: a name that no folder can have
            continue
        told.hint = f"Nothing bought is lost. What happened in full: {path}"
        break
    return told


def _logs(state: Path) -> Path | None:
    """Where logs are kept; None where a link leads elsewhere."""
    try:
        return below(state, "logs/crash").parent
    except (BatcherError, OSError, ValueError):
        return None


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except OSError:  # none that can be written
        return None


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if "can't start new thread" in str(error):
        return "the system lets this process start no more threads (its limit is what `ulimit -u` says)"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {error}"


def redact(text: str) -> str:
    """The text without any key, however it is written: as it is, in a URL, in JSON, as Python shows it, in Base64."""
    return redactor()(text)


def redactor() -> Callable[[str], str]:
    """The same for many texts: the keys of environment and `.env` as they are now, and the database's password."""
    keys = [*secrets(), *passwords()]

    def redacted(text: str) -> str:
        for key in keys:
            text = without(text, key)
        return _KEY_LIKE.sub("[key]", text)

    return redacted


def _state(argv: Sequence[str]) -> Path:
    """The state folder that a command line names; click may not have come so far."""
    for place, word in enumerate(argv):
        if word == "--state" and argv[place + 1 : place + 2]:
            return Path(argv[place + 1])
        if word.startswith("--state="):
            return Path(word.removeprefix("--state="))
    return Path(os.environ.get(STATE_VARIABLE) or DEFAULT_STATE)
