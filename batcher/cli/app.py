"""The commands, each loaded when it is called, and what becomes of errors: a message and an exit code."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise

import click

from batcher import __version__
from batcher.errors import BatcherError, Kind, ManifestError, UsageError, exit_code

from .crash import redact, report
from .terminal import ReaderGone, Terminal
from .text import safe

#: In the order of the help page.
COMMANDS = (
    *("init", "validate", "plan", "run", "status", "jobs", "show"),
    *("retry", "resolve", "cancel"),
    *("report", "watch", "export", "results"),
    *("models", "credits", "doctor", "schema", "simulator"),
)


class _Commands(click.Group):
    """Imports a command's module when the command is called, so that `status` does not pay for `run`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"batcher.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        if close and name not in COMMANDS and not name.startswith("-"):
            ctx.fail(f"No such command {name!r}; did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="batcher", message="%(prog)s %(version)s")
def cli() -> None:
    """Buys many generations from a paid API: manifests in, files and a bill out, nothing paid twice.

    Begin with `batcher init`, then `batcher run campaign.yaml --simulate`.
    """


def main(argv: Sequence[str]) -> int:
    """Run a command line; its exit code."""
    terminal = Terminal(argv)
    code = _run(argv, terminal)
    with suppress(ReaderGone):
        terminal.flush()
        return code
    _hush()
    return code


def _run(argv: Sequence[str], terminal: Terminal) -> int:
    as_json = _wants_json(argv)
    try:
        return int(cli.main(list(argv), "batcher", standalone_mode=False, obj=terminal) or 0)
    except BatcherError as error:
        return _told(terminal, error, as_json)
    except click.ClickException as error:
        return _misused(terminal, error, as_json)
    except (click.Abort, KeyboardInterrupt):
        terminal.say("Interrupted.")
        return exit_code(Kind.INTERRUPTED)
    except ReaderGone:
        return 0
    except Exception as error:
        kind, message, hint = report(error, argv)
        return _end(terminal, as_json, kind, message, hint)


def _wants_json(argv: Sequence[str]) -> bool:
    """Whether errors are told as documents too; read from the words, for they may not even be a command."""
    options = list(argv[: argv.index("--")] if "--" in argv else argv)
    return "--json" in options or "--format=json" in options or ("--format", "json") in pairwise(options)


def _told(terminal: Terminal, error: BatcherError, as_json: bool) -> int:
    problems = None
    if isinstance(error, ManifestError):
        names = ("file", "line", "column", "row", "message", "hint")
        problems = [{name: getattr(problem, name) for name in names} for problem in error.problems]
    return _end(terminal, as_json, error.kind, error.message, error.hint, problems, getattr(error, "more", 0))


def _misused(terminal: Terminal, error: click.ClickException, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        terminal.say(safe(error.format_message(), lines=True))
        return exit_code(Kind.USAGE)
    hint = f"`{context.command_path} --help` lists what it takes." if context else ""
    return _end(terminal, as_json, UsageError.kind, error.format_message(), hint)


def _end(
    terminal: Terminal,
    as_json: bool,
    kind: Kind,
    message: str,
    hint: str,
    problems: list[dict[str, object]] | None = None,
    more: int = 0,
) -> int:
    """Tell an error: words to stderr, under `--json` a document to stdout; returns the exit code."""
    code = exit_code(kind)
    message, hint = redact(message), redact(hint)
    terminal.say(f"error: {safe(message, lines=True)}", style="bold red")
    if hint:
        terminal.say(safe(hint, lines=True))
    if as_json:
        error: dict[str, object] = {"kind": kind.value, "exit_code": code, "message": message, "hint": hint}
        if problems is not None:
            error |= {"problems": problems, "more": more}
        with suppress(ReaderGone):
            terminal.document({"error": error})
    return code


def _hush() -> None:
    """Nobody reads stdout: nothing more is written there, also not by the interpreter's last flush."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # no real file: nothing to hush
        return
