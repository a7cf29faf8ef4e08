"""Texts for people: safe, short, counted, with their time."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.helpers import normal

from batcher.cli.terminal import dumps
from batcher.text import count, duration, moment, safe, short

# Texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe 日本 👩‍🎨", "größe 日本 👩‍🎨"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\x07\x00\x7f\x9bb", "a\\x07\\x00\\x7f\\x9bb"),
        ("a\u202eb\u2066c\u200fd", "a\\u202eb\\u2066c\\u200fd"),
        ("a\u2028b\U000e0041", "a\\u2028b\\U000e0041"),
        ("a\r\nb\tc\rd", "a b c d"),
        ("\ud800", "\\ud800"),
        ("[bold]x[/bold] :smile:", "[bold]x[/bold] :smile:"),
        (Path("a\nb"), "a b"),
    ],
)
def test_texts_from_outside_are_made_safe(text: object, shown: str) -> None:
    assert safe(text) == shown


def test_lines_may_be_kept() -> None:
    assert safe("a\r\nb\x1b\n", lines=True) == "a\nb\\x1b\n"


def test_short() -> None:
    assert short("a  long\ntext that goes on", 10) == "a long te…"
    assert short("fits", 10) == "fits"


def test_json_is_ascii() -> None:
    assert dumps({"a": "\x1b\x7f\u202eü"}) == '{\n  "a": "\\u001b\\u007f\\u202e\\u00fc"\n}'


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3599.6, "1 h 00 min"), (90_000, "25 h 00 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts_and_moments() -> None:
    assert (count(1, "job"), count(1234, "job")) == ("1 job", "1,234 jobs")
    assert moment(None) == ""
    assert normal(moment("2026-01-02T03:04:05.678901Z")) == "<time>"
