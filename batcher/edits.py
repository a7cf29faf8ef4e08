"""Manifests that are edited while their run goes on: what they say by now of how to run is told, not taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from batcher.errors import BatcherError
from batcher.manifest import Manifest, load
from batcher.settings import Settings


class Edits:
    """Looks at the manifests of a run; `tell` gets what one of them says otherwise since it was read."""

    def __init__(self, manifests: Sequence[Manifest], tell: Callable[[str], object]) -> None:
        self._manifests = {each.path: each for each in manifests}
        self._seen = {path: _state(path) for path in self._manifests}
        self._tell = tell

    def look(self) -> None:
        """Tell of those that have changed since the last look."""
        for path, manifest in self._manifests.items():
            if (state := _state(path)) != self._seen[path]:
                self._seen[path] = state
                for message in _differences(path, manifest):
                    self._tell(message)


def _differences(path: Path, manifest: Manifest) -> Iterator[str]:
    try:
        now = load(path, unchecked=True).settings
    except BatcherError as error:
        yield f"{path} was edited and has errors ({error}); this run goes on with what it began with"
        return
    changed = [
        each.name for each in fields(Settings) if getattr(now, each.name) != getattr(manifest.settings, each.name)
    ]
    what = f"other {', '.join(changed)}" if changed else "perhaps other jobs"
    yield f"{path} was edited and has {what}: the next run takes that; `batcher ctl` changes this one"


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
