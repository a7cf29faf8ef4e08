"""`batcher credits`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import anyio
import click

from batcher.cli import options
from batcher.cli.environment import read_access
from batcher.cli.reading import LEDGER, open_reader
from batcher.cli.terminal import Terminal, table
from batcher.cli.words import number
from batcher.clock import SystemClock
from batcher.errors import ApiUnavailable, KeyRefused, UsageError
from batcher.ledger import Ledger
from batcher.providers import Halt, Later, Refused
from batcher.providers.rivya import Rivya


@click.command("credits", short_help="Ask for the wallet; show it beside the ledger's sums.")
@options.state
@options.as_json
@click.pass_obj
def command(terminal: Terminal, *, state: Path, as_json: bool) -> int:
    """Ask the API for the wallet, and show it beside the ledger's sums."""
    access = read_access(terminal.warn)
    account = access.account
    if access.key is None or account is None:
        raise UsageError("RIVYA_API_KEY is not set", hint="Set it in the environment or in .env.")
    sums = _note_and_sum(state)
    wallet = _wallet(anyio.run(_ask, access.base_url, access.key))
    if as_json:
        held, settled = sums or (None, None)
        ledger = None if sums is None else {"held": held, "settled": settled}
        terminal.document({"account": account, "wallet": wallet, "ledger": ledger})
        return 0
    rows = [("wallet, says the API", number(wallet))]
    if sums:
        rows += [("held in this ledger", number(sums[0])), ("settled in this ledger", number(sums[1]))]
    terminal.show(table(("credits", ""), rows, right=("",)))
    return 0


def _note_and_sum(state: Path) -> tuple[int, int] | None:
    """Held and settled credits of the ledger, if there is one; the request to come goes into its send log."""
    reader = open_reader(state)
    if reader is None:
        return None
    with closing(reader):
        sums = reader.spent()
    with closing(Ledger.open(state / LEDGER, SystemClock())) as ledger:
        ledger.stamp("credits")
    return sums.held, sums.settled


async def _ask(base_url: str, key: str) -> int | Halt | Later | Refused:
    provider = Rivya(base_url, key, SystemClock())
    try:
        return await provider.credits()
    finally:
        await provider.aclose()


def _wallet(answer: int | Halt | Later | Refused) -> int:
    """The wallet. Raises BatcherError for any other answer."""
    match answer:
        case int():
            return answer
        case Halt(code=code, message=message):
            raise KeyRefused(f"{code}: {message}", hint="Look at RIVYA_API_KEY and the scopes of that key.")
        case Later(code=code, message=message):
            raise ApiUnavailable(f"the API gave no wallet: {code}: {message}", hint="Try again in a while.")
        case Refused(code, message):
            raise UsageError(f"the API refused: {code}: {message}", hint="Is RIVYA_BASE_URL right?")
