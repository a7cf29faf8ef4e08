"""Manifests: YAML, CSV, XLSX, JSONL and TXT in, a stream of job specs out. Nobody else reads YAML.

load(path) → Manifest          raises ManifestError with every problem that can be found
manifest.expand(problems)      a stream of JobSpec; faulty rows and combinations go into `problems`
manifest.fingerprint, .holds   whether another expansion would come to the same
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from batcher import own_models
from batcher.catalog import Model
from batcher.errors import ManifestError, Problem
from batcher.jobs import JobSpec
from batcher.settings import Settings
from batcher.statuses import DATA_MANIFEST

from .check import check_document
from .compiler import CompiledManifest, compile_manifest
from .expand import check_names, expand, has_chains
from .expansion_inputs import Input, InputRecorder, fingerprint, still
from .files import Files
from .problems import Problems, SourceMap
from .schema import Document, json_schema
from .starter import STARTER
from .yaml_loader import parse, read

__all__ = ["STARTER", "InputRecorder", "Manifest", "Problems", "campaign_of", "json_schema", "load"]

# How far rows and files are searched for more faults once the document itself has some.
_SEARCH = 100_000


@dataclass(frozen=True, slots=True, init=False)
class Manifest:
    """A manifest without faults of its own: what a file says (`load`), or the same from data.

        Manifest(campaign="spring", model="grok-imagine-video", prompts=["A boat", {"name": "k", "prompt": "A kite"}])

    `campaign` is its identity in the ledger, `prompts` what an entry of a file's `prompts` may be, `keys` are a
    manifest's other keys (docs/manifest.md) with plain values: `matrix`, `params`, `budget`, `limits` … References and
    files of prompts are looked for below `folder`, and below `allow_paths`; `catalog` are folders of model files of
    your own, for this process; `unchecked` lets in models without a file. Raises ManifestError with every fault.

    What its rows, globs and combinations hold shows in `expand`.
    """

    path: Path
    campaign: str
    model: Model
    models: tuple[Model, ...]  # of its prompts
    settings: Settings
    notes: tuple[Problem, ...]  # what its texts lose, and is no fault
    warnings: tuple[Problem, ...]  # models without a file, where they are let in
    _text: str = field(repr=False)  # hash of the bytes that were read
    _plan: CompiledManifest = field(repr=False)
    _files: Files = field(repr=False)

    def __init__(
        self,
        *,
        campaign: str,
        model: str,
        prompts: Sequence[str | Mapping[str, Any]],
        folder: str | os.PathLike[str] = ".",
        allow_paths: Sequence[str | os.PathLike[str]] = (),
        catalog: Sequence[str | os.PathLike[str]] = (),
        unchecked: bool = False,
        **keys: Any,
    ) -> None:
        own_models.add(catalog)
        path, problems = Path(folder) / DATA_MANIFEST, Problems()
        try:
            document = {"campaign": campaign, "model": model, "prompts": prompts, **keys}
            data = json.dumps(document, allow_nan=False, default=_plain).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ManifestError([Problem(str(path), f"this is no plain data: {error}")]) from None
        with _nothing_collected():
            checked = _checked((json.loads(data), SourceMap(str(path))), problems)
            self._fill(path, _hash(data), checked, problems, allow_paths, unchecked)

    def _fill(
        self,
        path: Path,
        text: str,
        checked: tuple[Document, bool, SourceMap],
        problems: Problems,
        allow_paths: Sequence[str | os.PathLike[str]],
        unchecked: bool,
    ) -> None:
        document, blind, source_map = checked
        plan = compile_manifest(document, source_map, problems, blind=blind, unchecked=unchecked)
        files = Files(path.parent, [Path(each) for each in allow_paths])
        check_names(plan, files, problems)
        if problems.count:
            for _ in islice(expand(plan, files, problems), _SEARCH):
                pass
            problems.raise_if_any()
        values = {
            "path": path,
            "campaign": plan.campaign,
            "model": plan.model,
            "models": plan.models,
            "settings": document.settings(),
            "notes": tuple(problems.notes.values),
            "warnings": tuple(problems.warnings.values),
            "_text": text,
            "_plan": plan,
            "_files": files,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)  # it is frozen from here on

    def expand(
        self, problems: Problems, recorder: InputRecorder | None = None, *, named: bool = True
    ) -> Iterator[JobSpec]:
        """Every job in the manifest's order, as a stream; twins are not removed.

        What is wrong goes into `problems` and makes no job; look at them when the stream is at its end. A `recorder`
        then knows what files it looked at, and `problems.notes` has what rows lose. Not `named`: names of prompts and
        files are left empty where that tells the
        same faults, for who counts only.
        """
        return expand(self._plan, recorder or self._files, problems, named=named)

    def specs(self, recorder: InputRecorder) -> Iterator[JobSpec]:
        """The same for who has planned it. Raises ManifestError at the end when a file has become faulty since."""
        problems = Problems()
        yield from self.expand(problems, recorder)
        problems.raise_if_any()

    @property
    def has_chains(self) -> bool:
        """Whether jobs are made from results of others."""
        return has_chains(self._plan)

    def input_recorder(self) -> InputRecorder:
        """For one expansion."""
        return InputRecorder(self._files)

    @property
    def fingerprint(self) -> str:
        """Of all that an expansion depends on but for what a recorder sees."""
        return fingerprint(self.path, self._text, self._files, self.models)

    def holds(self, inputs: Iterable[Input]) -> bool:
        """Whether everything that a recorder saw is as it was."""
        return still(self._files, inputs)


def load(
    path: str | os.PathLike[str],
    *,
    allow_paths: Sequence[str | os.PathLike[str]] = (),
    catalog: Sequence[str | os.PathLike[str]] = (),
    unchecked: bool = False,
) -> Manifest:
    """Read and check a manifest's file. References may lie below its folder and below `allow_paths`.

    `catalog` are folders of model files of your own, for this process; `unchecked` lets in models without a file
    (`Manifest.warnings`). Raises ManifestError with every problem of it, and of what it names.
    """
    own_models.add(catalog)
    file, problems = Path(path), Problems()
    manifest = object.__new__(Manifest)
    with _nothing_collected():
        data = read(file, problems)
        # in no variable: a long manifest's data need not stay while it is compiled
        checked = _checked(None if data is None else parse(data, str(file), problems), problems)
        text = _hash(data or b"")
        del data
        manifest._fill(file, text, checked, problems, allow_paths, unchecked)
    return manifest


def _checked(parsed: tuple[Any, SourceMap] | None, problems: Problems) -> tuple[Document, bool, SourceMap]:
    """What `check_document` makes of it, and where it stands. Raises ManifestError where there is nothing to go on."""
    checked = None if parsed is None else check_document(*parsed, problems)
    if parsed is None or checked is None:
        raise ManifestError(problems.values, more=problems.more)
    return (*checked, parsed[1])


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(value: object) -> object:
    """What JSON does not know: a path is its text, a mapping a dict, and other sequences are lists."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} {value!r}")


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
