"""Manifests: YAML, CSV, JSONL and TXT in, a stream of job specs out. Nobody else reads YAML.

load(path) → Manifest          raises ManifestError with every problem that can be found
manifest.expand(problems)      a stream of JobSpec; faulty rows and combinations go into `problems`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from batcher.catalog import Model
from batcher.errors import ManifestError
from batcher.jobs import JobSpec
from batcher.settings import Settings

from .build import Plan, build_plan
from .check import check_document
from .expand import check_names, expand_plan
from .problems import Problems
from .references import Files
from .schema import json_schema
from .starter import STARTER
from .yamlmarks import read

__all__ = ["STARTER", "Manifest", "Problems", "json_schema", "load"]

# How far rows and files are searched for more faults once the document itself has some.
_SEARCH = 100_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest without faults of its own. What its rows, globs and combinations hold shows in `expand`."""

    path: Path
    campaign: str
    model: Model
    settings: Settings
    _plan: Plan = field(repr=False)
    _files: Files = field(repr=False)

    def expand(self, problems: Problems) -> Iterator[JobSpec]:
        """Every job in the manifest's order, as a stream; twins are not removed.

        What is wrong goes into `problems` and makes no job; look at them when the stream is at its end.
        """
        return expand_plan(self._plan, self._files, problems)


def load(path: Path, *, allow_paths: Sequence[Path] = ()) -> Manifest:
    """Reads and checks a manifest. Raises ManifestError with every problem of it, and of what it names."""
    problems = Problems()
    found = read(path, problems)
    checked = check_document(*found, problems) if found else None
    if found is None or checked is None:
        raise ManifestError(problems.values, more=problems.more)
    document, blind = checked
    plan = build_plan(document, found[1], problems, blind=blind)
    files = Files(path.parent, allow_paths, plan.model)
    check_names(plan, files, problems)
    if problems.count:
        for _ in islice(expand_plan(plan, files, problems), _SEARCH):
            pass
        problems.raise_if_any()
    return Manifest(path, plan.campaign, plan.model, document.settings(), plan, files)
