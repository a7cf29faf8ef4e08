"""Where the user's own model files lie: the command line tells the catalogue, which is slow to import."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_folders: tuple[Path, ...] = ()


def use(folders: Iterable[Path]) -> None:
    """Have the catalogue read these folders too; a later one wins over an earlier one, each over what is shipped."""
    global _folders
    _folders = tuple(folders)


def add(folders: Iterable[str | os.PathLike[str]]) -> None:
    """Have the catalogue read these folders beside those in use, which they win over."""
    use([*_folders, *(path for path in map(Path, folders) if path not in _folders)])


def folders() -> tuple[Path, ...]:
    """The folders that are in use."""
    return _folders
