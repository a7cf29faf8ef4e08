"""The ledger's database, if the environment names one, and its mirror on this machine, which readers work on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from batcher.clock import SystemClock
from batcher.errors import UsageError
from batcher.install import install_hint
from batcher.state import LEDGER, prepare_folder

if TYPE_CHECKING:
    from batcher.ledger import LedgerWriter
    from batcher.storage import Artifacts

LEDGER_VARIABLE = "BATCHER_LEDGER"
#: A URL as libpq reads it, but nothing in it that it would take for another part: what it then says of a host or a
#: number that it cannot make sense of would be a part of the password.
_CHARACTER = r"(?:[^\s:@/?#%,\[\]]|%[0-9A-Fa-f]{2})"
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|{_CHARACTER}*)(?::\d{{1,5}})?"
_URL = (
    rf"postgres(?:ql)?://(?:(?P<user>{_CHARACTER}*)(?::(?P<password>{_CHARACTER}*))?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:/(?P<database>{_CHARACTER}*))?(?:\?(?P<query>(?:{_CHARACTER}|[/:,])*))?"
)
_ENCODED = (
    "What is no letter or digit in a name or a password is written as its bytes there: @ is %40, / is %2F, % is %25."
)
RESULTS_VARIABLE = "BATCHER_RESULTS"


def named_database(state: Path | None = None) -> str | None:
    """The connection string of the ledger's database; None where the ledger is a file.

    Raises UsageError where it is no such string, where `state` names another ledger, and where the extra is missing.
    """
    named = os.environ.get(LEDGER_VARIABLE, "").strip()
    if not named:
        return None
    if not named.startswith(("postgresql://", "postgres://")):
        raise UsageError(f"{LEDGER_VARIABLE} is no postgresql://… URL", hint="Leave it unset for SQLite (--state).")
    if not re.fullmatch(_URL, named):
        raise UsageError(f"{LEDGER_VARIABLE} cannot be read as USER:PASSWORD@HOST:PORT/DATABASE", hint=_ENCODED)
    if state is not None:
        raise UsageError(
            f"--state (or BATCHER_STATE) and {LEDGER_VARIABLE} name two ledgers",
            hint=f"Leave one of them out: {state}, or the database.",
        )
    try:
        from batcher.cluster.postgres import is_readable  # brings psycopg along, or what libpq lacks
    except ImportError as error:
        raise UsageError(
            f"a ledger on PostgreSQL needs the extra `cluster` ({error})", hint=install_hint("cluster")
        ) from None
    if not is_readable(named):
        raise UsageError(
            f"libpq cannot read {LEDGER_VARIABLE}: its NAME=VALUE after the `?`, or bytes that are no UTF-8",
            hint=_ENCODED,
        )
    return named


def passwords() -> list[str]:
    """The passwords of databases that this environment holds, for taking them out of what is written down."""
    from urllib.parse import parse_qs, unquote

    found = re.fullmatch(_URL, os.environ.get(LEDGER_VARIABLE, "").strip())
    within = [found["password"] or "", *parse_qs(found["query"] or "").get("password", ())] if found else []
    # One that is a name, too, as on many a developer's machine, is in every text about the database.
    names = {"", found["user"], found["hosts"], found["database"]} if found else {""}
    return sorted({os.environ.get("PGPASSWORD", ""), *within, *map(unquote, within)} - names)


def mirror_folder(conninfo: str, base: Path | None) -> Path:
    """The folder of the mirror of a database's ledger, brought up to date. Raises StorageError, UsageError.

    `base` is the user's folder for such things, None where there is none.
    """
    import hashlib

    from batcher.cluster.mirror import pull
    from batcher.cluster.postgres import shown

    if base is None:
        raise UsageError("there is no home folder to keep a mirror in", hint="Set XDG_STATE_HOME to a folder.")
    folder = base / "mirrors" / hashlib.sha256(shown(conninfo).encode()).hexdigest()[:16]
    prepare_folder(folder)
    pull(conninfo, folder / LEDGER)
    return folder


def results_root(state: Path) -> str:
    """What stands before the path of a saved file: the state folder; for a database's, what BATCHER_RESULTS names."""
    root = str(state) if named_database() is None else os.environ.get(RESULTS_VARIABLE, "").strip()
    return f"{root.rstrip('/')}/" if root and root != "." else ""


def saved_files(state: Path) -> Artifacts | None:
    """The files of a state folder's ledger, or of its mirror; None where BATCHER_RESULTS does not say where they lie.

    Raises UsageError, StorageError.
    """
    from batcher.storage import Artifacts

    if named_database() is None:
        return Artifacts(state)
    if not (results := os.environ.get(RESULTS_VARIABLE, "").strip()):
        return None
    from batcher.cluster.files import SharedArtifacts, shared_files

    return SharedArtifacts(state, shared_files(results))


def open_decisive(state: Path) -> LedgerWriter:
    """The ledger that a person's decisions are written to, be there a run or not: a state folder's, or the database's.

    What is asked outside of a decision the mirror in `state` answers then. Raises StorageError.
    """
    conninfo = named_database()
    if conninfo is None:
        from batcher.ledger.decisions import open_ledger

        return open_ledger(state / LEDGER, SystemClock())
    from batcher.cluster.store import PostgresLedger

    return PostgresLedger.beside(conninfo, state / LEDGER)
