"""`batcher credits`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.environment import read_access
from batcher.cli.terminal import Terminal, table
from batcher.cli.wallet import read_wallet
from batcher.state import open_reader
from batcher.text import number


@click.command("credits", short_help="Ask for the wallet; show it beside the ledger's sums.")
@options.state
@options.as_json
@click.pass_obj
def command(terminal: Terminal, *, state: Path, as_json: bool) -> int:
    """Ask the API for the wallet, and show it beside the ledger's sums."""
    wallet = read_wallet(read_access(terminal.warn), state)
    sums = _sums(state)
    if as_json:
        held, settled = sums or (None, None)
        ledger = None if sums is None else {"held": held, "settled": settled}
        terminal.document({"account": wallet.account, "wallet": wallet.credits, "ledger": ledger})
        return 0
    rows = [("wallet, says the API", number(wallet.credits))]
    if sums:
        rows += [("held in this ledger", number(sums[0])), ("settled in this ledger", number(sums[1]))]
    terminal.show(table(("credits", ""), rows, right=("",)))
    return 0


def _sums(state: Path) -> tuple[int, int] | None:
    """Held and settled credits of the ledger, if there is one."""
    reader = open_reader(state)
    if reader is None:
        return None
    with closing(reader):
        sums = reader.spent()
    return sums.held, sums.settled
