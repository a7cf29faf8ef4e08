"""The simulator as a process of its own: started, ordered about, killed, started again on the same port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: A key as the simulator takes it; it must turn up nowhere in what batcher leaves behind.
KEY = "rvya_sk_simulated_soak"

_STARTED_SECONDS = 30.0


class Api:
    """One simulator over its lives. Its account, its books and its log are in `folder`."""

    def __init__(self, folder: Path, switches: tuple[str, ...], root: Path) -> None:
        self._folder = folder
        self._switches = switches
        self._root = root
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""

    def start(self) -> None:
        """Start it and wait until it listens. Raises RuntimeError when it does not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "batcher.simulator", "--port", str(self._port), "--key", KEY]
        command += ["--folder", str(self._folder), "--log", str(self._folder / "requests.jsonl"), *self._switches]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(self._root)}
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the simulator did not start")
        self.base_url = json.loads(line)["base_url"]
        self._port = urlsplit(self.base_url).port or 0

    def kill(self) -> None:
        """SIGKILL: from now on nobody listens."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def order(self, **orders: object) -> None:
        """Change switches of the running simulator."""
        self._ask("orders", json.dumps(orders).encode())

    def wallet(self) -> int:
        """The credits that are left, by the simulator's own word."""
        return int(self._ask("state", None)["wallet"])

    def _ask(self, what: str, body: bytes | None) -> Any:
        request = urllib.request.Request(f"{self.base_url}/_simulator/{what}", data=body)  # noqa: S310 (loopback)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_STARTED_SECONDS) as answer:
            return json.load(answer)
