"""What the tests of manifests share: a folder with a manifest and its files, and the two ways to read it."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from textwrap import dedent

from batcher.errors import ManifestError, Problem
from batcher.jobs import JobSpec
from batcher.manifest import Problems, load

#: One text in the two spellings that look the same.
NFC, NFD = (unicodedata.normalize(form, "Übung é") for form in ("NFC", "NFD"))


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A chunk of a PNG; nobody looks at its checksum."""
    return len(content).to_bytes(4, "big") + kind + content + b"\0" * 4


PNG = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0" * 13) + chunk(b"IDAT", b"\0" * 20) + chunk(b"IEND")
JPEG = b"\xff\xd8\xff\xe0\0\4xx\xff\xc0\0\4xx\xff\xda\0\4xx" + b"\1" * 60 + b"\xff\xd9"
WEBP = b"RIFF\x48\0\0\0WEBPVP8 \x3c\0\0\0" + b"\2" * 60
HEAD = "campaign: c\nmodel: grok-imagine-video\n"


def write(folder: Path, manifest: str, files: dict[str, bytes | str] | None = None, *, head: bool = True) -> Path:
    """A manifest beside its files; `head` puts campaign and model in front, which are lines 1 and 2."""
    for name, content in (files or {}).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    path = folder / "m.yaml"
    path.write_text((HEAD if head else "") + dedent(manifest), "utf-8")
    return path


def jobs_of(path: Path, *allow: Path) -> list[JobSpec]:
    """All jobs; raises ManifestError when there is a problem."""
    problems = Problems()
    jobs = list(load(path, allow_paths=allow).expand(problems))
    problems.raise_if_any()
    return jobs


def problems_of(path: Path, *allow: Path) -> list[Problem]:
    """Everything that is wrong, as `batcher validate` would tell it."""
    try:
        jobs_of(path, *allow)
    except ManifestError as error:
        return error.problems
    return []


def places(path: Path, *allow: Path) -> list[str]:
    """The problems as texts, with file names instead of paths."""
    return [str(problem).replace(f"{path.parent}/", "") for problem in problems_of(path, *allow)]


def told(path: Path) -> list[str]:
    """The notes, as `validate` tells them, of a manifest without an error."""
    problems = Problems()
    manifest = load(path)
    list(manifest.expand(problems))
    problems.raise_if_any()
    return [str(note).replace(f"{path.parent}/", "") for note in (*manifest.notes, *problems.notes.values)]


def read(folder: Path, name: str, content: bytes | str) -> list[tuple[str, str]]:
    """Name and text of each job of a file of prompts."""
    return [(job.name, job.prompt) for job in jobs_of(write(folder, f"prompts: [{{file: {name}}}]", {name: content}))]
