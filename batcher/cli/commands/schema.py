"""`batcher schema`."""

from __future__ import annotations

import click

from batcher.cli.terminal import Terminal, dumps


@click.command()
@click.pass_obj
def command(terminal: Terminal) -> int:
    """Print the JSON Schema of manifests, for editors."""
    from batcher.manifest import json_schema

    terminal.line(dumps(json_schema()))
    return 0
