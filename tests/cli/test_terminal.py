"""What is printed fits a terminal: its width, its colours, its end."""

from __future__ import annotations

import io
import sys
from typing import cast

import pytest
from cli.helpers import Tty, real_terminal, written
from rich.cells import cell_len

from batcher.cli.commands.jobs import aligned
from batcher.cli.terminal import Terminal, table
from batcher.jobs import Status


def test_no_color_means_no_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = real_terminal(monkeypatch)
    terminal.say("words", style="bold red")
    assert "\x1b[" in written()
    monkeypatch.setattr(sys, "stderr", Tty())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    plain.say("words", style="bold red")
    plain.say(table(("a", "b"), [(1, 2), ("sum", 3)], right=("b",), total=True))
    plain.warn("careful [bold]now[/bold]\x1b")
    assert "\x1b" not in written()
    assert "warning: careful [bold]now[/bold]\\x1b\n" in written()
    assert plain.live


def test_messages_wrap_between_words_and_paths_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = real_terminal(monkeypatch)
    terminal.say("word " * 30, "/" + "x" * 150)
    lines = written().splitlines()
    assert max(map(len, lines[:-1])) <= 100
    assert lines[-1] == "/" + "x" * 150


def test_rows_fit_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    real_terminal(monkeypatch)

    row = ("0123456789ab", "c" * 30, "日本" * 30, "succeeded", "1", "10", "f" * 90)
    for width in (45, 60, 80, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = list(aligned(iter([row]), Terminal()))
        assert all(line.startswith(("id  ", "0123456789ab")) for line in lines)
        assert "…" in lines[1]
        assert "  succeeded  " in lines[1]
        assert " 10" in lines[1]
        assert all(cell_len(line) <= width for line in lines)
        path = (*row[:1], "tiny", "reveal", *row[3:6], "results/tiny/" + "x" * 60 + ".mp4")
        (_, line) = aligned(iter([path]), Terminal())
        assert line.endswith("x.mp4" if width > 45 else " 10")


@pytest.mark.parametrize("width", range(40, 101, 10))
def test_no_number_of_a_table_breaks(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """What has no room goes into a table below, with the names in front, whose letters may be as wide as two."""
    real_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    names = ["شہر کی رات ۱", "東京の夜の腕時計", "دنيا-007", "Armbanduhr"]
    headers = ["campaign", *(status for status in Status), "credits a file", "file or error"]
    rows = [
        [name, *(1_234_560 + n + 9 * at for n in range(len(Status))), "10.00", "no"] for at, name in enumerate(names)
    ]
    Terminal().show(table(headers, rows, right=["credits a file"]))
    lines = cast("io.StringIO", sys.stdout).getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    words = " ".join(lines).split()
    assert {f"{cell:,}" for row in rows for cell in row if isinstance(cell, int)} <= {*words}
    assert words.count("10.00") == len(rows)
    assert words.count("東京の夜の腕時計") == words.count("Armbanduhr") == sum("campaign" in line for line in lines)


def test_a_terminal_that_is_gone_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise OSError(5, "gone")

    monkeypatch.setattr(sys, "stderr", Gone())
    terminal = Terminal()
    terminal.say("nobody hears this")
    terminal.err.file.flush()
    sys.stderr.close()
    assert not Terminal().live
    assert not terminal.err.file.isatty()
    with pytest.raises(OSError, match="fileno"):
        terminal.err.file.fileno()
