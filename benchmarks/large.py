"""Large results beside curl: bytes a second from the first request for a file to the last byte that was taken.

By the server's stamps, so start-up is nobody's burden; four at once; scratch in memory, since what a disk takes is the
same for both. curl neither checks nor syncs nor hashes what it fetches. What syncing costs on the disk is told apart.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

from .figures import Figure, at_least, middle
from .running import Server, buy, scratch, server
from .throughput import write_manifest

#: How many files of how many MB.
CASES = ((40, 5), (8, 50))
AT_ONCE, ROUNDS = 4, 2
_LIMITS = f"limits: {{submit: 100000/second, requests: 300000/second, in_flight: 100, downloads: {AT_ONCE}}}\n"


def measure(full: bool) -> Iterator[Figure]:
    """Two rounds of each, by turns; with `full` six."""
    if not which("curl"):
        print("   large files are left out: no curl here (apt-get install curl)")
        return
    for files, size in CASES:
        name = f"{files} × {size} MB"
        ours, curl = list[float](), list[float]()
        with scratch(memory=True) as folder:
            for number in range(ROUNDS * (3 if full else 1)):
                ours.append(_batcher(folder / f"batcher-{number}", files, size))
                curl.append(_curl(folder / f"curl-{number}", files, size))
        with scratch() as folder:
            disk = _batcher(folder / "batcher", files, size)
        yield Figure(f"{name}: batcher, in memory", middle(ours), "MB/s")
        yield Figure(f"{name}: batcher, on the disk", disk, "MB/s")
        yield Figure(f"{name}: curl, in memory", middle(curl), "MB/s")
        yield at_least(f"{name}: batcher / curl", middle(ours) / middle(curl), 0.6, "×")


def _batcher(folder: Path, files: int, size: int) -> float:
    path = write_manifest(folder, files, _LIMITS)
    with server("--bytes", str(size * 1_000_000)) as api:
        buy(["run", str(path), "--state", str(folder / "state"), "--quiet"], api)
        return _pace(api, files, size)


def _curl(folder: Path, files: int, size: int) -> float:
    folder.mkdir()
    with server("--bytes", str(size * 1_000_000)) as api:
        wanted = [word for n in range(files) for word in ("-o", str(folder / f"{n}.mp4"), f"{api.url}/results/{n}.mp4")]
        words = [
            "curl",
            "-s",
            "--no-progress-meter",
            "--fail",
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            str(AT_ONCE),
        ]
        subprocess.run([*words, *wanted], check=True)  # noqa: S603
        return _pace(api, files, size)


def _pace(api: Server, files: int, size: int) -> float:
    stamps = api.truth()["stamps"]
    assert len(stamps["sent"]) == files
    seconds: float = max(stamps["sent"]) - min(stamps["download"])
    return files * size / seconds
