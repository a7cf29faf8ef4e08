"""How the tables came to be: one migration a change, each a module here, none edited once another has followed.

A migration is a text of SQL statements, or a function of the connection where what to do depends on what is there.
Triggers are dropped and made anew by the migration that changes them, the view by the last one that changes it: nobody
reads a ledger between two of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from . import (
    version_1,
    version_1_shape,
    version_2_hold,
    version_3_place,
    version_4_clock,
    version_6_files,
    version_7_readings,
    version_8_said,
    version_9_accounts,
    version_10_references,
    version_11_measures,
    version_12_vars,
    version_13_allowance,
    version_14_unpriced,
    version_15_chains,
    version_16_alerts,
    version_18_copies,
    version_19_hints,
    version_20_commands,
    version_21_sends,
    version_22_approvals,
    version_23_class,
    version_24_commands,
)

Step = str | Callable[[sqlite3.Connection], None]

#: In the order in which a new ledger goes through them.
MIGRATIONS: tuple[tuple[str, Step], ...] = (
    ("version_1", version_1.SQL),
    ("version_1_shape", version_1_shape.mend),
    ("version_2_hold", version_2_hold.SQL),
    ("version_3_place", version_3_place.change),
    ("version_4_clock", version_4_clock.SQL),
    ("version_6_files", version_6_files.SQL),
    ("version_7_readings", version_7_readings.SQL),
    ("version_8_said", version_8_said.SQL),
    ("version_9_accounts", version_9_accounts.SQL),
    ("version_10_references", version_10_references.SQL),
    ("version_11_measures", version_11_measures.SQL),
    ("version_12_vars", version_12_vars.SQL),
    ("version_13_allowance", version_13_allowance.SQL),
    ("version_14_unpriced", version_14_unpriced.SQL),
    ("version_15_chains", version_15_chains.SQL),
    ("version_16_alerts", version_16_alerts.SQL),
    ("version_18_copies", version_18_copies.SQL),
    ("version_19_hints", version_19_hints.SQL),
    ("version_20_commands", version_20_commands.SQL),
    ("version_21_sends", version_21_sends.SQL),
    ("version_22_approvals", version_22_approvals.SQL),
    ("version_23_class", version_23_class.SQL),
    ("version_24_commands", version_24_commands.SQL),
)
