"""Manifests: YAML, CSV, JSONL and TXT in, a stream of job specs out. Nobody else reads YAML.

load(path) → Manifest          raises ManifestError with every problem that can be found
manifest.expand(problems)      a stream of JobSpec; faulty rows and combinations go into `problems`
manifest.fingerprint, .holds   whether another expansion would come to the same
"""

from __future__ import annotations

import gc
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from batcher.catalog import Model
from batcher.errors import ManifestError, Problem
from batcher.jobs import JobSpec
from batcher.settings import Settings

from .check import check_document
from .compiler import CompiledManifest, compile_manifest
from .expand import check_names, expand
from .expansion_inputs import Input, InputRecorder, fingerprint, still
from .files import Files
from .problems import Problems
from .schema import json_schema
from .starter import STARTER
from .yaml_loader import parse, read

__all__ = ["STARTER", "InputRecorder", "Manifest", "Problems", "campaign_of", "json_schema", "load"]

# How far rows and files are searched for more faults once the document itself has some.
_SEARCH = 100_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest without faults of its own. What its rows, globs and combinations hold shows in `expand`."""

    path: Path
    campaign: str
    model: Model
    settings: Settings
    notes: tuple[Problem, ...]  # what its texts lose, and is no fault
    _text: str = field(repr=False)  # hash of the bytes that were read
    _plan: CompiledManifest = field(repr=False)
    _files: Files = field(repr=False)

    def expand(
        self, problems: Problems, witness: InputRecorder | None = None, *, named: bool = True
    ) -> Iterator[JobSpec]:
        """Every job in the manifest's order, as a stream; twins are not removed.

        What is wrong goes into `problems` and makes no job; look at them when the stream is at its end. A `witness`
        then knows what files it looked at, and `problems.notes` has what rows lose. Not `named`: names of prompts and
        files are left empty where that tells the
        same faults, for who counts only.
        """
        return expand(self._plan, witness or self._files, problems, named=named)

    def witness(self) -> InputRecorder:
        """For one expansion."""
        return InputRecorder(self._files)

    @property
    def fingerprint(self) -> str:
        """Of all that an expansion depends on but for what a witness sees."""
        return fingerprint(self.path, self._text, self._files)

    def holds(self, inputs: Iterable[Input]) -> bool:
        """Whether everything that a witness saw is as it was."""
        return still(self._files, inputs)


def load(path: Path, *, allow_paths: Sequence[Path] = ()) -> Manifest:
    """Reads and checks a manifest. Raises ManifestError with every problem of it, and of what it names."""
    with _nothing_collected():
        return _load(path, allow_paths)


def campaign_of(path: Path) -> str | None:
    """The campaign that a manifest names, which may be faulty; None where no line of it does."""
    found = re.search(rb"^campaign:[ \t]*[\"']?([a-z0-9][a-z0-9._-]*)", read(path, Problems()) or b"", re.MULTILINE)
    return found[1].decode() if found else None


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """No garbage collection: it would go through the growing tree of a long manifest again and again, for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(path: Path, allow_paths: Sequence[Path]) -> Manifest:
    problems = Problems()
    data = read(path, problems)
    found = None if data is None else parse(data, str(path), problems)
    checked = check_document(*found, problems) if found else None
    if data is None or found is None or checked is None:
        raise ManifestError(problems.values, more=problems.more)
    document, blind = checked
    plan = compile_manifest(document, found[1], problems, blind=blind)
    files = Files(path.parent, allow_paths, plan.model)
    check_names(plan, files, problems)
    if problems.count:
        for _ in islice(expand(plan, files, problems), _SEARCH):
            pass
        problems.raise_if_any()
    text = hashlib.sha256(data).hexdigest()
    notes = tuple(problems.notes.values)
    return Manifest(path, plan.campaign, plan.model, document.settings(), notes, text, plan, files)
