"""`batcher help`."""

from __future__ import annotations

import click

from batcher.cli.terminal import Terminal


@click.command(short_help="Show what batcher, or one of its commands, takes.")
@click.argument("name", metavar="[COMMAND]", default="")
@click.pass_obj
def command(terminal: Terminal, *, name: str) -> int:
    """Show what batcher, or one of its commands, takes: the same as `--help`."""
    from batcher.cli.app import cli

    return int(cli.main([*filter(None, [name]), "--help"], "batcher", standalone_mode=False, obj=terminal) or 0)
