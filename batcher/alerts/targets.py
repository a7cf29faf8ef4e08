"""Where alerts go: services by their Apprise URLs, and commands of the user's. A target may be dead: it raises, or it
takes some seconds; nobody but its own thread waits for it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from batcher.errors import UsageError
from batcher.fs import open_regular
from batcher.install import install_hint

#: A command gets so many seconds, a service for one request.
SECONDS = 30.0
_MAX_BYTES = 100_000
_STDERR_SHOWN = 200


class NotDelivered(Exception):
    """A target did not take an alert; says why, without any address."""


class AlertTarget(Protocol):
    """One place where alerts go. `name` tells it from others and says nothing secret."""

    @property
    def name(self) -> str: ...

    def takes(self, kind: str) -> bool:
        """Whether it is told of alerts of that kind."""
        ...

    def send(self, document: Mapping[str, Any]) -> None:
        """Hand over an alert. Raises NotDelivered; takes `SECONDS` at most."""
        ...

    def close(self) -> None:
        """End what is still under way."""
        ...


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class CommandTarget:
    """A command that gets the alert as JSON on stdin, without a shell; its output goes nowhere."""

    def __init__(self, kind: str, command: str, environ: Mapping[str, str]) -> None:
        """`kind` is one of `causes.KINDS`, or `any`; `environ` is what the command gets. Raises UsageError."""
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--on {kind}: {error}: {command!r}") from None
        if not self._words or shutil.which(self._words[0], path=environ.get("PATH")) is None:
            raise UsageError(
                f"--on {kind}: there is no program {self._words[0] if self._words else ''!r}",
                hint="No shell is asked: name a program and its words, or `sh -c '…'`.",
            )
        self.kind = kind
        self.name = f"{Path(self._words[0]).name} ({kind} {_mark(command)})"
        self._environ = dict(environ)
        self._going: set[subprocess.Popen[bytes]] = set()

    def takes(self, kind: str) -> bool:
        return self.kind in ("any", kind)

    def send(self, document: Mapping[str, Any]) -> None:
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(  # noqa: S603  (it is the user's own)
                    self._words,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=self._environ,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotDelivered(error.strerror or str(error)) from None
            self._going.add(process)
            try:
                process.communicate(json.dumps(document).encode() + b"\n", timeout=SECONDS)
            except subprocess.TimeoutExpired:
                raise NotDelivered(f"it took longer than {SECONDS:.0f} s") from None
            finally:
                _end(process)
                self._going.discard(process)
            if process.returncode:
                errors.seek(max(0, errors.seek(0, os.SEEK_END) - _STDERR_SHOWN))
                said = errors.read().decode(errors="replace").strip()
                raise NotDelivered(f"exit code {process.returncode}{f': {said}' if said else ''}")

    def close(self) -> None:
        for process in tuple(self._going):
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, and what it has started in its session."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class ServiceTarget:
    """A service by its Apprise URL: mail, ntfy, a webhook and many more."""

    def __init__(self, url: str, place: str) -> None:
        """`place` says where the URL stands, for messages: it is secret itself. Raises UsageError."""
        apprise = _apprise()
        asset = apprise.AppriseAsset(app_id="batcher", app_desc="batcher", app_url="", secure_logging=True)
        found = apprise.Apprise.instantiate(url, asset=asset)
        scheme = url.partition("://")[0] if "://" in url else ""
        if found is None:
            raise UsageError(
                f"{place}: Apprise knows no such service or the URL lacks something"
                + (f" ({scheme}://…)" if scheme.isalnum() else ""),
                hint="https://appriseit.com/services/ has how the URL of each service is written.",
            )
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(found)
        self._format = apprise.NotifyFormat.TEXT
        self.name = f"{scheme} ({_mark(url)})"

    def takes(self, kind: str) -> bool:
        del kind
        return True

    def send(self, document: Mapping[str, Any]) -> None:
        try:
            taken = self._apprise.notify(
                body=document["message"], title=document["title"], body_format=self._format, timeout=SECONDS
            )
        except Exception as error:  # a plugin of a library; what it says may name the address
            raise NotDelivered(type(error).__name__) from None
        if not taken:
            raise NotDelivered("the service did not take it")

    def close(self) -> None:
        pass


def _apprise() -> Any:
    # It tells what went wrong with URLs in its log, which nobody is to see.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", module=r"apprise\b")  # about what it imports itself, as late as it can
    try:
        import apprise
    except ImportError:
        raise UsageError("alerts by URL need Apprise", hint=install_hint("notify")) from None
    return apprise


def read_urls(path: Path) -> list[tuple[str, str]]:
    """The URLs of a file, a line each, with where they stand; `#` begins a comment. Raises UsageError.

    Such a URL is a secret, so only its owner may read the file.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if found.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(
            f"{path} has secrets in it and can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}"
        )
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path} is longer than {_MAX_BYTES:,} bytes: it is no list of URLs")
    return split_urls(data.decode("utf-8-sig", "replace"), lambda number: f"{path}:{number}")


def split_urls(text: str, place: Callable[[int], str]) -> list[tuple[str, str]]:
    """URLs with where they stand, from lines; several may stand on one."""
    lines = enumerate(text.splitlines(), 1)
    return [(url, place(n)) for n, line in lines if not line.lstrip().startswith("#") for url in line.split()]


def make_targets(
    urls: Iterable[tuple[str, str]], commands: Sequence[tuple[str, str]], environ: Mapping[str, str]
) -> list[AlertTarget]:
    """The targets of URLs (each with where it stands) and of commands (each with its kind). Raises UsageError.

    The same one twice is one.
    """
    found: list[AlertTarget] = [CommandTarget(kind, command, environ) for kind, command in commands]
    found += [ServiceTarget(url, place) for url, place in urls]
    return list({target.name: target for target in found}.values())
