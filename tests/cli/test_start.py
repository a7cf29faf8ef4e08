"""How little a command imports before it answers, and that what is printed without Rich looks like Rich's."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import click
import pytest
from cli.helpers import Cli, Site
from hypothesis import given
from hypothesis import strategies as st

from batcher.cli.app import COMMANDS
from batcher.cli.commands.jobs import cut, width_of
from batcher.cli.console import make_console, print_on
from batcher.cli.terminal import Grid, Terminal, table

#: Imports by hand what the command imports, and tells on stderr what that was.
CODE = """
import sys
from batcher.__main__ import main
sys.argv[0] = "batcher"
code = main()
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(code)
"""
#: Slow to import, and needed by no command that only looks.
HEAVY = {
    *("rich", "pydantic", "jinja2", "yaml", "httpx2", "anyio", "trio", "sqlite_utils", "asyncio", "ssl", "tomllib"),
    *("difflib", "tempfile", "traceback", "importlib.metadata", "importlib.resources", "secrets"),
    *(
        "batcher.jobs",
        "batcher.catalog",
        "batcher.manifest",
        "batcher.planning",
        "batcher.providers",
        "batcher.lifecycle",
    ),
    *(
        "batcher.engine",
        "batcher.report",
        "batcher.settings",
        "batcher.ledger.store.writer",
        "batcher.ledger.cap_room",
        "batcher.ledger.decisions",
    ),
    *("batcher.cli.crash", "batcher.cli.console"),
    *("psycopg", "procrastinate", "obstore", "batcher.cluster"),
}
LIGHT = HEAVY | {"click", "json", "sqlite3", "dataclasses", "inspect", "pathlib", "batcher.errors", "batcher.cli"}


def imported(*words: str) -> set[str]:
    """The modules of a command's process whose stdout is a terminal, without those that any process has."""
    ours, theirs = pty.openpty()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", CODE, *words],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            # Measuring coverage would import half of the library by itself.
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        )
        assert os.read(ours, 100_000)
    finally:
        os.close(ours)
        os.close(theirs)
    return set(ran.stderr.splitlines()[-1].split()) - _bare()


@cache
def _bare() -> set[str]:
    """What the interpreter imports by itself, by site-packages' start-up files for example."""
    code = "import sys; print(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return set(told.stdout.split())


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--version"], LIGHT),
        (["--help"], HEAVY | {"sqlite3", "batcher.ledger"}),
        (["status"], HEAVY),
        (["jobs"], HEAVY),
        (["status", "--json"], HEAVY),
    ],
    ids=["version", "help", "status", "jobs", "status as JSON"],
)
def test_what_only_looks_imports_little(cli: Cli, place: Site, words: list[str], heavy: set[str]) -> None:
    if words[0] in ("status", "jobs"):
        assert cli("run", "m.yaml", "--no-download").code == 0
    modules = imported(*words)
    assert "batcher" in modules
    assert modules & heavy == set()


def test_the_help_page_says_what_the_commands_say() -> None:
    for name, text in COMMANDS.items():
        command: click.Command = import_module(f"batcher.cli.commands.{name}").command
        assert command.get_short_help_str(200) == text, name
    folder = Path(str(import_module("batcher.cli.commands").__file__)).parent
    assert set(COMMANDS) == {path.stem for path in folder.glob("*.py")} - {"__init__"}


# Without Rich it looks the same

cells = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).map(str.strip)


listed = st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=6)


@given(listed, st.sets(st.integers(0, 2)), st.booleans(), st.integers(10, 60))
def test_a_table_that_fits_has_the_lines_of_rich(
    listed: list[tuple[str, str, str]], right: set[int], total: bool, width: int
) -> None:
    headers, *rows = listed
    grid = table(headers, rows, right={headers[place] for place in right}, total=total)
    lines = grid.lines(width, ("", ""))
    out = io.StringIO()
    print_on(make_console(out, terminal=False, plain=True, width=width), grid)
    if lines is not None:
        assert lines == [line.rstrip() for line in out.getvalue().splitlines()]
    else:
        assert max(map(len, out.getvalue().splitlines())) <= width


@pytest.mark.parametrize("rows", [[["é", "1"]], [["a\x1bb", "1"]], [["x" * 80, "1"]]])
def test_another_table_is_a_matter_of_rich(rows: list[list[str]]) -> None:
    assert Grid(["name", "n"], rows, frozenset("n"), total=False).lines(80, ("", "")) is None


def test_headers_and_sums_are_bold() -> None:
    lines = table(("a", "b"), [(1, 2), ("sum", 30)], right=("b",), total=True).lines(80, ("<", ">"))
    assert lines == ["<a      b>", "────────", "1      2", "<sum   30>"]


class Screen(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("ab \n", max_size=60)


@given(texts, st.sampled_from([io.StringIO, Screen]))
def test_a_text_is_printed_as_rich_prints_it(text: str, kind: type[io.StringIO]) -> None:
    ours, out = kind(), kind()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", ours)
        patch.setenv("COLUMNS", "12")
        terminal = Terminal()
        terminal.show(text)
        print_on(make_console(out, terminal=out.isatty(), plain=True, width=terminal.room or 4000), text)
    assert [line.rstrip() for line in ours.getvalue().split("\n")] == [
        line.rstrip() for line in out.getvalue().split("\n")
    ]


printable = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=20)


@given(printable, st.integers(0, 20))
def test_widths_are_those_of_rich(text: str, width: int) -> None:
    from rich.cells import cell_len, set_cell_size

    assert text.isprintable()
    assert width_of(text) == cell_len(text)
    assert cut(text, width) == set_cell_size(text, width)
