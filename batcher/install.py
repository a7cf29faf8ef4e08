"""How batcher was installed, and so how an extra is added. The name `batcher` on the package index is a stranger's."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAME = "batcher-cli"


def install_hint(extra: str) -> str:
    """The command that installs an extra of this batcher, the way batcher itself was installed."""
    source, editable = _source()
    target = shlex.quote(f"{NAME}[{extra}] @ {source}" if "://" in source else f"{source}[{extra}]")
    prefix = Path(sys.prefix).parts
    if editable:
        return f"pip install -e {target}"
    if "pipx" in prefix:
        return f"pipx inject {NAME} {target}"
    if {"uv", "tools"} <= set(prefix):
        return f"uv tool install {target}"
    return f"pip install {target}"


def _source() -> tuple[str, bool]:
    """Where batcher came from (its name on the index, a folder, a URL), and whether it is used in place."""
    from importlib.metadata import PackageNotFoundError, distribution  # slow to import, and seldom asked

    try:
        told = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        clone = Path(__file__).parents[1]
        return (str(clone), True) if (clone / "pyproject.toml").is_file() else (NAME, False)
    url = urlsplit(str(told.get("url", "")))
    folder = url.scheme == "file" and "dir_info" in told
    editable = folder and bool(told["dir_info"].get("editable"))
    return unquote(url.path) if folder else url.geturl() or NAME, editable
