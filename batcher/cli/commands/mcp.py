"""`batcher mcp`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli import options
from batcher.errors import UsageError
from batcher.install import install_hint


@click.command(short_help="Serve plan, status, report, jobs and approved plans to an agent (MCP).")
@options.state
@click.pass_obj
def command(_: object, *, state: Path) -> int:
    """Serve the Model Context Protocol on stdin and stdout, for the agent that has started it.

    It plans and looks freely, and buys nothing but a saved plan that a person has approved (`plan --approve`), once.
    """
    try:
        from batcher.cli.mcp_server import make_server
    except ImportError:
        raise UsageError("serving an agent needs the MCP SDK", hint=install_hint("mcp")) from None
    make_server(state, Path.cwd()).run()
    return 0
