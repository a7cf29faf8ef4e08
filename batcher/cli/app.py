"""The commands, each loaded when it is called, and what becomes of errors: a message and an exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import click

from batcher import __version__, own_models
from batcher.errors import BatcherError, Kind, ManifestError, StorageError, UsageError, exit_code
from batcher.text import did_you_mean, safe

from .examples import epilog
from .model_folder import model_folder
from .terminal import OutputLost, ReaderGone, Terminal

#: In the order of the help page, which says this of them; else it would have to import them all.
COMMANDS = {
    "init": "Write a commented manifest to begin with.",
    "validate": "Find every error of the manifests and of the files they name.",
    "plan": "Show what a run would do and cost.",
    "run": "Buy, wait for and fetch what the manifests ask for.",
    "worker": "Work at the runs of a ledger on PostgreSQL, until SIGTERM or Ctrl-C.",
    "fetch": "Poll and download what is bought, bring back missing files; without a manifest.",
    "status": "Show how every campaign stands.",
    "jobs": "List jobs, in the order of their manifests.",
    "show": "Show everything about one job.",
    "claim": "Write down what a support desk asks for about a job.",
    "retry": "Buy jobs again at the next run.",
    "resolve": "Decide what became of doubtful jobs.",
    "approve": "Say that files will do for what is made from them.",
    "reject": "Say that files will not do for what is made from them.",
    "cancel": "Do not send planned jobs, until a retry.",
    "ctl": "Pause, resume or drain the run that goes on; change its limits and budgets.",
    "report": "Show what came of it and what it cost, what is left, and what the rest will cost.",
    "watch": "Watch a run that goes on elsewhere, until it ends.",
    "listen": "Take the API's webhooks as hints, so that a run asks at once.",
    "mcp": "Serve plan, status, report, jobs and approved plans to an agent (MCP).",
    "export": "Jobs, attempts, events … as CSV or JSONL; a copy of the ledger.",
    "results": "Print the paths of saved files, for scripts.",
    "models": "List the models of the catalogue, or all about one.",
    "credits": "Ask for the wallet; show it beside the ledger's sums.",
    "cluster": "Set up and look at a ledger on PostgreSQL, for many machines.",
    "doctor": "Check whether everything is in order.",
    "schema": "Print the JSON Schema of manifests, for editors.",
    "simulator": "Run the simulator of the API on loopback, until Ctrl-C.",
    "help": "Show what batcher, or one of its commands, takes.",
}


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
        command.epilog = epilog(cmd_name)
        if "_BATCHER_COMPLETE" in os.environ:
            from .completion import teach

            teach(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        room = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, click.Command(name, help=text).get_short_help_str(room)) for name, text in COMMANDS.items()]
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and (near := did_you_mean(name, COMMANDS)):
            ctx.fail(f"No such command {name!r}; {near}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="batcher", message="%(prog)s %(version)s")
@click.option(
    "--catalog",
    multiple=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder of model files of your own, which add to the catalogue or stand in place of its files.",
)
def cli(catalog: tuple[Path, ...]) -> None:
    """Buys many generations from a paid API: manifests in, files and a bill out, nothing paid twice.

    Begin with `batcher init`, then `batcher run campaign.yaml --simulate`.
    """
    own = model_folder()
    own_models.use([*([own] if own and own.is_dir() else []), *catalog])


def main(argv: Sequence[str]) -> int:
    """Run a command line; its exit code."""
    terminal = Terminal(argv)
    code = _run(argv, terminal)
    try:
        terminal.flush()
    except OutputLost as lost:
        return _lost(terminal, lost) if code == 0 else code
    except ReaderGone:
        pass
    return code


def _run(argv: Sequence[str], terminal: Terminal) -> int:
    as_json = _wants_json(argv)
    try:
        return int(cli.main(list(argv), "batcher", standalone_mode=False, obj=terminal) or 0)
    except BatcherError as error:
        return _end(terminal, error, as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        terminal.say(safe(error.format_message(), lines=True))
        return exit_code(Kind.USAGE)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"`{context.command_path} --help` lists what it takes." if context else ""
        return _end(terminal, UsageError(error.format_message(), hint=hint), as_json)
    except (click.Abort, KeyboardInterrupt):
        terminal.say("Interrupted.")
        return exit_code(Kind.INTERRUPTED)
    except OutputLost as lost:
        return _lost(terminal, lost)
    except ReaderGone:
        return 0
    except Exception as error:
        from .crash import report

        return _end(terminal, report(error, argv), as_json)


def _wants_json(argv: Sequence[str]) -> bool:
    """Whether errors are told as documents too; read from the words, for they may not even be a command."""
    options = list(argv[: argv.index("--")] if "--" in argv else argv)
    return "--json" in options or "--format=json" in options or ("--format", "json") in pairwise(options)


def _end(terminal: Terminal, error: BatcherError, as_json: bool) -> int:
    """Tell an error: words to stderr, under `--json` a document to stdout; returns the exit code."""
    from .crash import redact

    code = exit_code(error.kind)
    message, hint = redact(error.message), redact(error.hint)
    terminal.say(f"error: {safe(message, lines=True)}", style="bold red")
    if hint:
        terminal.say(safe(hint, lines=True))
    if as_json:
        told: dict[str, object] = {"kind": error.kind.value, "exit_code": code, "message": message, "hint": hint}
        if isinstance(error, ManifestError):
            names = ("file", "line", "column", "row", "sheet", "message", "hint")
            told["problems"] = [{name: getattr(problem, name) for name in names} for problem in error.problems]
            told["more"] = error.more
        with suppress(ReaderGone):
            terminal.document({"error": told})
    return code


def _lost(terminal: Terminal, lost: OutputLost) -> int:
    hint = "What was printed is not whole: do it again."
    return _end(terminal, StorageError(f"stdout: {lost}", hint=hint), as_json=False)
