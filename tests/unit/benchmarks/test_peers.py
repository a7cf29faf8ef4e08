"""The counting of benchmarks/peers: what a kill cost is told for batcher and its peers alike, whatever it was."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import batcher

ROOT = Path(batcher.__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the benchmarks are not installed
    sys.path.insert(0, str(ROOT))

from benchmarks.peers.contest import Contestant, files, killed, speed  # noqa: E402
from benchmarks.peers.damage import Damage, damage  # noqa: E402

WANTED = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("asked", "charged", "saved", "found"),
    [
        ("abcd", "abcd", "abcd", Damage(0, 0, 0, 0)),
        ("abcdb", "abcd", "abcd", Damage(1, 0, 0, 0)),  # the key saved it
        ("abcdbb", "abcdb", "abcd", Damage(1, 1, 0, 0)),
        ("abcd", "abcd", "abc", Damage(0, 0, 1, 0)),
        ("abc", "abc", "abc", Damage(0, 0, 0, 1)),
        ("abcd", "abc", "abc", Damage(0, 0, 0, 1)),  # refused
        ("abb", "abb", "a", Damage(1, 1, 1, 2)),
    ],
)
def test_damage(asked: str, charged: str, saved: str, found: Damage) -> None:
    assert damage(WANTED, asked, charged, set(saved)) == found
    assert found.survived == (found.charged_again == found.lost == found.dropped == 0)


@pytest.mark.parametrize(("asked", "charged", "saved"), [("x", "", ""), ("a", "b", ""), ("a", "a", "x")])
def test_what_nobody_wanted_or_asked_for_is_no_result(asked: str, charged: str, saved: str) -> None:
    with pytest.raises(ValueError, match=r"nobody wanted|without a request"):
        damage(WANTED, asked, charged, set(saved))


# A peer that stands still the first time when it has asked for two jobs of five, so that the kill finds it there on any
# machine. At the next start it asks for every line again, or (SKIPS) for those only that it cannot have a file of.
_PEER = """
import json, signal, sys, urllib.request
from pathlib import Path
base, folder = sys.argv[1], Path(sys.argv[2])
lines = (folder / "work.jsonl").read_text().splitlines()
again = (folder / "begun").exists()
(folder / "begun").touch()
for number, line in enumerate(lines, 1):
    if not again and number > 0.4 * len(lines):
        signal.pause()
    headers = {"Idempotency-Key": line} if KEY else {}
    if SKIPS and again and number < 0.4 * len(lines):
        continue
    asked = urllib.request.Request(base + "/api/v1/generations", line.encode(), headers)
    url = json.load(urllib.request.urlopen(asked))["result"]["primary_url"]
    film = urllib.request.urlopen(url).read()
    (folder / "files" / f"{number}.mp4").write_bytes(film if number != TORN else film[:-1])
"""


def peer(*, key: bool = False, skips: bool = False, torn: int = 0) -> Contestant:
    code = f"KEY, SKIPS, TORN = {key}, {skips}, {torn}\n{_PEER}"
    words: Callable[[str, Path], list[str]] = lambda base, folder: [sys.executable, "-c", code, base, str(folder)]  # noqa: E731
    return Contestant("peer", words, files, str)


def test_a_kill_shows_who_pays_twice() -> None:
    assert killed(peer(), 50).damage == Damage(asked_again=20, charged_again=20, lost=0, dropped=0)


def test_a_kill_shows_who_is_saved_by_a_key() -> None:
    assert killed(peer(key=True), 50).damage == Damage(asked_again=20, charged_again=0, lost=0, dropped=0)


def test_a_kill_shows_who_loses_a_file() -> None:
    assert killed(peer(key=True, skips=True, torn=7), 50).damage == Damage(
        asked_again=1, charged_again=0, lost=1, dropped=0
    )


def test_a_speed_is_only_told_of_work_that_was_done() -> None:
    code = "import signal; raise SystemExit(0)"
    idle = Contestant("idle", lambda base, folder: [sys.executable, "-c", code], files, str)
    with pytest.raises(RuntimeError, match="which nobody disturbed"):
        speed(idle, 5)


def test_who_fails_is_told_with_what_it_said() -> None:
    code = "raise SystemExit('out of paper')"
    failing = Contestant("failing", lambda base, folder: [sys.executable, "-c", code], files, str)
    with pytest.raises(RuntimeError, match="out of paper"):
        speed(failing, 5)
    with pytest.raises(RuntimeError, match="by itself"):
        killed(failing, 5)
