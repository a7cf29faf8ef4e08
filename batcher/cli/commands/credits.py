"""`batcher credits`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from batcher.cli import options
from batcher.cli.environment import read_access
from batcher.cli.terminal import Terminal, table
from batcher.cli.wallet import read_wallet
from batcher.ledger import CreditSum
from batcher.state import open_reader


@click.command("credits", short_help="Ask for the wallet; show it beside the ledger's sums.")
@options.ledger
def command(terminal: Terminal, *, state: Path) -> int:
    """Ask the API for the wallet, and show it beside the ledger's sums."""
    wallet = read_wallet(read_access(terminal.warn), state)
    sums = _sums(state)
    ledger = sums and {"held": sums.held, "settled": sums.settled}
    rows = [("wallet, says the API", wallet.credits)]
    if sums:
        rows += [("held in this ledger", sums.held), ("settled in this ledger", sums.settled)]
    terminal.answer(
        {"account": wallet.account, "wallet": wallet.credits, "ledger": ledger},
        table(("credits", ""), rows),
    )
    return 0


def _sums(state: Path) -> CreditSum | None:
    """Held and settled credits of the ledger, if there is one."""
    reader = open_reader(state)
    if reader is None:
        return None
    with closing(reader):
        return reader.spent()
