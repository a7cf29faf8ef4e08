"""`version_1` was edited eight times under one name; a ledger of an early text gets the shape of the last one."""

from __future__ import annotations

import sqlite3

from batcher.errors import StorageError
from batcher.ledger.store import shape

from . import version_1


def mend(connection: sqlite3.Connection) -> None:
    """Give each table the columns and constraints of the last text, and make indexes, triggers and the view anew.

    No early text had a column that the last one lacks: whoever put one there would lose it, so StorageError is raised.
    A value that the stricter text refuses (two targets that differ in case only) is sqlite3.IntegrityError.
    """
    wanted = shape.made_by((version_1.SQL,))
    there = shape.of(connection)
    if not shape.differences(there, wanted):
        return
    tables = [made for made in wanted.values() if made.kind == "table"]
    for table in tables:
        if strange := shape.columns(connection, table.name) - shape.columns_of(table):
            raise StorageError(
                f"the table {table.name} has what no batcher has made: {', '.join(sorted(strange))}",
                hint="Keep the file, and put back a copy from before that change.",
            )
    for made in there.values():
        if made.kind != "table" and (made.name in wanted or made.table in wanted):
            connection.execute(f"DROP {made.kind} {made.name}")
    for table in tables:
        if table.name not in there:
            connection.execute(table.sql)
        elif not table.same(there[table.name]):
            shape.rebuild(connection, table.name, table.sql)
    for made in wanted.values():
        if made.kind != "table":
            connection.execute(made.sql)
    connection.execute(
        "UPDATE campaigns SET files = (SELECT count(*) FROM files AS f JOIN attempts AS a ON a.id = f.attempt_id"
        " JOIN wanted AS w ON w.id = a.job_id WHERE w.campaign = campaigns.name AND f.saved_at IS NOT NULL)"
    )
