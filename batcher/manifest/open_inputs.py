"""Opening of input files: regular files only, and never a wait."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from .problems import Fault


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file for reading. Raises Fault for all else."""
    try:
        # non-blocking: opening a FIFO must not hang before we can see what it is
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise Fault(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise Fault("is a folder, not a file" if stat.S_ISDIR(mode) else "is no regular file")
    return os.fdopen(handle, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises Fault."""
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Fault(f"cannot be read: {error.strerror or error}") from None
    if len(data) > limit:
        raise Fault(f"is larger than {limit:,} bytes")
    return data
