"""`batcher cluster`."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli.database import LEDGER_VARIABLE, named_database
from batcher.cli.terminal import Terminal, table
from batcher.clock import SystemClock
from batcher.errors import UsageError
from batcher.text import count, number, safe


@click.command(short_help="Set up and look at a ledger on PostgreSQL, for many machines.")
@click.argument("what", metavar="WHAT", type=click.Choice(("init", "status", "import")))
@click.argument("ledger", metavar="[LEDGER]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--accept-old-ledger",
    "accept_old",
    is_flag=True,
    help="Of import: take a copy of a database that is lost, though it may not know of all that was bought.",
)
@click.pass_obj
def command(terminal: Terminal, *, what: str, ledger: Path | None, accept_old: bool) -> int:
    """Set up and look at the ledger in the database that BATCHER_LEDGER names: init makes its tables, or brings them up
    to date; status shows what is at work on it; import moves the SQLite ledger at LEDGER there, which refuses from then
    on."""
    if (ledger is None) is (what == "import"):
        raise UsageError("LEDGER goes with import: batcher cluster import state/ledger.db")
    if accept_old and ledger is None:
        raise UsageError("--accept-old-ledger goes with import")
    conninfo = named_database()
    if conninfo is None:
        hint = "postgresql://USER@HOST/DATABASE; the password in PGPASSFILE or a service file."
        raise UsageError(f"{LEDGER_VARIABLE} is not set", hint=hint)
    if ledger is not None:
        return _import(terminal, conninfo, ledger, accept_old=accept_old)
    return _init(terminal, conninfo) if what == "init" else _status(terminal, conninfo)


def _init(terminal: Terminal, conninfo: str) -> int:
    from batcher.cluster.postgres import shown
    from batcher.cluster.store import create

    state = "is ready" if create(conninfo, SystemClock()) else "was ready"
    terminal.say(f"{safe(shown(conninfo))} {state}: the ledger is in its schema `batcher`.")
    return 0


def _import(terminal: Terminal, conninfo: str, ledger: Path, *, accept_old: bool) -> int:
    from batcher.cluster.importing import import_ledger
    from batcher.cluster.postgres import shown

    found = import_ledger(conninfo, ledger, SystemClock(), accept_old=accept_old)
    terminal.say(
        f"{safe(ledger)} has moved to {safe(shown(conninfo))}: {count(found.jobs, 'job')} and"
        f" {count(found.attempts, 'purchase')}, with their keys. It refuses to buy from now on."
    )
    if found.doubted:
        terminal.warn(f"{count(found.doubted, 'purchase')} had no answer yet: their keys will ask for it.")
    terminal.say(f"Copy {safe(ledger.parent / 'results')} to where BATCHER_RESULTS names the files of all workers.")
    return 0


def _status(terminal: Terminal, conninfo: str) -> int:
    from batcher.cluster.overview import overview

    found = overview(conninfo)
    terminal.say(
        f"{safe(found.place)}: PostgreSQL {safe(found.server)}, ledger {found.ledger_id[:8]}…, version"
        f" {safe(found.version)}, days in {safe(found.timezone)}.",
        f"{count(found.jobs, 'job')}, {count(found.under_way, 'job')} under way, of which nobody has"
        f" {number(found.abandoned)}; {count(found.connections, 'connection')}.",
    )
    if found.workers:
        rows = [(safe(each.name), number(each.jobs), f"{each.left:.0f} s") for each in found.workers]
        terminal.say(table(("worker", "jobs", "lease left"), rows))
    return 0
