"""The database has SQLite's tables, columns, indexes and triggers, and its own beside them; versions are told apart."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from core_helpers import ManualClock

from batcher.cluster import dialect
from batcher.cluster import schema as ours
from batcher.cluster.postgres import PostgresConnection
from batcher.cluster.store import PostgresLedger, create
from batcher.errors import StorageError
from batcher.ledger.store import schema, shape


def test_both_databases_have_the_same_tables_columns_indexes_and_triggers(postgres: str) -> None:
    made = shape.made_by(tuple(step for _, step in schema.MIGRATIONS)).values()
    with psycopg.connect(postgres) as there:
        for table in schema.tables():
            found = there.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'batcher' AND table_name = %s"
                " ORDER BY ordinal_position",
                (table.name,),
            )
            assert [row[0] for row in found] == [*table.columns, "rev"], table.name
        indexes = {row[0] for row in there.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'batcher'")}
        assert {each.name for each in made if each.kind == "index"} <= indexes
        triggers = {row[0] for row in there.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")}
    # A new trigger of SQLite has to be written for PostgreSQL, too (`schema._TRIGGERS`).
    assert {each.name for each in made if each.kind == "trigger"} == ours.TRIGGERS <= triggers


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("INSERT INTO batcher.migrations VALUES ('version_99')", "newer version of batcher \\(version_99\\)"),
        ("DELETE FROM batcher.migrations WHERE name = 'version_15_chains'", "older version.*without version_15_chains"),
        ("DROP SCHEMA batcher CASCADE", "holds no ledger"),
    ],
)
def test_another_version_is_refused(postgres: str, change: str, told: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as there:
        there.execute(change)
    with pytest.raises(StorageError, match=told):
        PostgresLedger.connect(postgres)


def test_a_version_without_a_way_is_left_as_it_is(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as there:
        there.execute("DELETE FROM batcher.migrations WHERE name = 'version_15_chains'")
        with pytest.raises(StorageError, match="has no way from there"):
            create(postgres, ManualClock())
        assert there.execute("SELECT count(*) FROM batcher.meta").fetchall() == [(1,)]


_SHAPE = """
SELECT 'column', table_name, column_name, concat_ws(' ', ordinal_position - (SELECT count(*) FROM pg_attribute
    WHERE attrelid = ('batcher.' || table_name)::regclass AND attisdropped AND attnum < ordinal_position),
    data_type, collation_name, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'batcher'
UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'batcher'
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
    WHERE NOT tgisinternal AND tgenabled = 'O'
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'batcher'::regnamespace
ORDER BY 1, 2, 3, 4
"""


@pytest.mark.parametrize("versions", range(20, len(schema.MIGRATIONS)))
def test_a_database_of_an_older_version_is_brought_up_to_date(bare_postgres: str, postgres: str, versions: int) -> None:
    with psycopg.connect(bare_postgres, autocommit=True) as there:
        there.execute("CREATE SCHEMA batcher")
        there.execute("SET search_path = batcher")
        there.execute(ours.baseline(versions).encode())
        there.execute("INSERT INTO meta (id, ledger_id, created_at, timezone) VALUES (1, 'an id', '2026', 'UTC')")
        there.execute("INSERT INTO accounts VALUES ('a', 'rivya', 'credits')")
        for name in ours.versions()[:versions]:
            there.execute("INSERT INTO migrations (name) VALUES (%s)", (name,))
        revs = there.execute("SELECT rev FROM accounts").fetchall()
    with pytest.raises(StorageError, match="older version"):  # before: workers of this version are refused
        PostgresLedger.connect(bare_postgres)
    assert create(bare_postgres, ManualClock())
    assert not create(bare_postgres, ManualClock())
    PostgresLedger.connect(bare_postgres).close()
    found = []
    for each in (bare_postgres, postgres):
        with psycopg.connect(each) as there:
            found.append(there.execute(_SHAPE).fetchall())
            if each == bare_postgres:
                assert there.execute("SELECT rev FROM batcher.accounts").fetchall() == revs
                assert there.execute("SELECT ledger_id FROM batcher.meta").fetchall() == [("an id",)]
    assert found[0] == found[1]


def test_a_transaction_that_has_failed_is_not_taken_for_a_commit(postgres: str) -> None:
    """PostgreSQL takes a COMMIT of it for a ROLLBACK, and says nothing."""
    with closing(PostgresConnection(postgres)) as there:
        there.execute("BEGIN IMMEDIATE")
        there.execute("INSERT INTO accounts VALUES (?, ?, ?)", ("a", "rivya", "credits"))
        with pytest.raises(StorageError):
            there.execute("SELECT nonsense")
        with pytest.raises(StorageError, match="the transaction has failed"):
            there.execute("COMMIT")
        there.execute("ROLLBACK")
        assert there.execute("SELECT count(*) FROM accounts").fetchall() == [(0,)]


@pytest.mark.parametrize("after", ["it is lost", "it is lost, and goes on", "it fails"])
def test_a_transaction_that_is_over_is_not_gone_on_with(postgres: str, after: str) -> None:
    """What it had written is gone; what a COMMIT would confirm then, of a new connection too, is nothing."""

    def lose(there: PostgresConnection) -> None:
        there.query("INSERT INTO accounts VALUES ('a', 'rivya', 'credits') RETURNING 1")
        if "lost" in after:
            with psycopg.connect(postgres, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (there.raw.info.backend_pid,))
        with pytest.raises(StorageError):
            there.query("SELECT nonsense")  # of another thread, say: this is where it is met
        if "goes on" in after:
            there.query("INSERT INTO accounts VALUES ('b', 'rivya', 'credits') RETURNING 1")

    with closing(PostgresConnection(postgres)) as there:
        with pytest.raises(StorageError, match="transaction"), there.transaction():
            lose(there)
        assert there.query("SELECT count(*) FROM accounts")[0][0] == 0


@pytest.mark.parametrize(
    ("sqlite", "postgres"),
    [
        ("SELECT '?' WHERE a = ? AND b LIKE '50%'", "SELECT '?' WHERE a = %s AND b LIKE '50%%'"),
        ("SELECT ?1 WHERE a = ?1 OR b = ?2", "SELECT %(p1)s WHERE a = %(p1)s OR b = %(p2)s"),
        ("outcome IS NOT 'doubtful' OR x IS NOT NULL", "outcome IS DISTINCT FROM 'doubtful' OR x IS NOT NULL"),
        ("FROM a INDEXED BY b WHERE NOT c.begun", "FROM a WHERE NOT c.begun = 1"),
        ("INSERT OR IGNORE INTO a VALUES (?)", "INSERT INTO a VALUES (%s) ON CONFLICT DO NOTHING"),
        ("a CROSS JOIN b AS c ON c.id = a.id", "a JOIN b AS c ON c.id = a.id"),
    ],
)
def test_statements_are_translated(sqlite: str, postgres: str) -> None:
    assert dialect.translate(sqlite).sql == postgres
