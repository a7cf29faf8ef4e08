"""Key and base URL, from the environment or from `.env` of the working folder.

A cloned folder may bring an `.env` of its own. So a base URL from there is used only with a key from there: else it
could send a key of the real environment to a stranger.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from batcher.access import VARIABLES, Access
from batcher.errors import UsageError
from batcher.providers.keys import check_key
from batcher.providers.registry import KNOWN, RIVYA, KnownProvider

DOTENV = Path(".env")
#: Where a value was found that is not from `.env`.
ENVIRONMENT = "the environment"
_LINE = re.compile(rf"\s*(?:export\s+)?({'|'.join(VARIABLES)})\s*=\s*(.*?)\s*")
_MAX_BYTES = 1_000_000


def read_access(
    warn: Callable[[str], None], provider: KnownProvider = RIVYA, *, environ: Mapping[str, str] | None = None
) -> Access:
    """What the environment and `.env` say. Raises UsageError for what cannot be a key or a line of `.env`."""
    real = os.environ if environ is None else environ
    key_name, url_name = provider.key_variable, provider.base_url_variable
    found = {name: value for name in (key_name, url_name) if (value := real.get(name, "").strip())}
    path = DOTENV
    written = _read_file(path)
    if written and key_name not in found and _is_foreign(path):
        raise UsageError(
            f"{path} belongs to another user than this folder and you, and is not used",
            hint=f"Make it yours (chown), or set {key_name} and remove it.",
        )
    key = found.get(key_name) or written.get(key_name)
    base_url = found.get(url_name)
    if base_url is None and url_name in written:
        if key is not None and key_name not in found:
            base_url = written[url_name]
        elif key is not None:
            warn(f"{url_name} in {path} is ignored: the key is not from there, and a folder may not say where it goes.")
    if key is not None:
        check_key(key, key_name)
    return Access(
        base_url or provider.base_url,
        key,
        key_from="" if key is None else ENVIRONMENT if key_name in found else str(path),
        base_url_from=ENVIRONMENT if url_name in found else str(path) if base_url else "the default",
        provider=provider,
    )


def need_no_loop() -> None:
    """Raises UsageError where an event loop is going: there cannot be two in a thread. For whoever will ask the API."""
    if "asyncio" not in sys.modules:
        return
    import asyncio

    with suppress(RuntimeError):  # there is none
        asyncio.get_running_loop()
        raise UsageError(
            "an event loop is going in this thread already, as in a notebook",
            hint="Run batcher as a command of its own (`!batcher …`), or in another thread.",
        )


def secrets() -> list[str]:
    """Every key that could be in use, for taking it out of what is written down. Never raises."""
    try:
        written = _read_file(DOTENV)
    except UsageError:
        written = {}
    names = [known.key_variable for known in KNOWN.values()]
    return [key for name in names for key in (os.environ.get(name, "").strip(), written.get(name, "")) if key]


def _is_foreign(path: Path) -> bool:
    """Whether somebody put it into a folder of this user or of the system, such as /tmp."""
    try:
        return path.stat().st_uid not in (os.geteuid(), 0, path.absolute().parent.stat().st_uid)
    except OSError:
        return True


def _read_file(path: Path) -> dict[str, str]:
    """Our names from an `.env` file; the lines of other programs are none of our business."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return {}
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or error
        raise UsageError(
            f"{path} cannot be read: {why}", hint=f"Mend it, or set {VARIABLES[0]} and remove it."
        ) from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        hint = f"Save it as UTF-8, or set {VARIABLES[0]} and remove it."
        raise UsageError(f"{path} cannot be read: it is UTF-16", hint=hint)
    # the lines of other programs may be in any encoding
    lines = data.decode("utf-8-sig", "replace").splitlines()
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if match := _LINE.fullmatch(line):
            found[match[1]] = _value(match[2], f"{path}:{number}", match[1])
    return {name: value for name, value in found.items() if value}


def _value(text: str, place: str, name: str) -> str:
    # The value itself never goes into a message: it may be the key.
    quote = text[:1]
    if quote in ("'", '"') and quote:
        value, closing, rest = text[1:].partition(quote)
        if not closing or (rest.strip() and not rest.lstrip().startswith("#")):
            raise UsageError(f"{place}: the value of {name} has a quote that is not closed, or a text after it")
        return value.strip()
    return re.split(r"\s#", f" {text}", maxsplit=1)[0].strip()
