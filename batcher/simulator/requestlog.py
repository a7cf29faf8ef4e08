"""Every request and what became of it, one JSON document a line: what an audit compares a client's word with.

    {"op": "started", "at": 1700000000.0}
    {"op": "arrived", "number": 1, "at": …, "kind": "create", "subject": "", "key": "…", "body": "SHA-256, of a create"}
    {"op": "ended", "number": 1, "at": …, "did": "lost", "status": 200}

`did` is the fault that met the request, or `outage`; `status` the answer's, 0 where there was none to send. A
result's end has the `sha256` of the whole file. Numbers begin anew at each start. A request without an end met a
simulator that was killed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from .records import Json


class RequestLog:
    """Appends to a file and hands each line to the operating system: a killed simulator loses none."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self({"op": "started", "at": time.time()})

    def __call__(self, record: Json) -> None:
        """Append a record."""
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
