"""The tables on PostgreSQL: those of SQLite's current version in PostgreSQL's words, and what only a cluster has.

There is one place where tables are written down: the migrations of SQLite. A new database gets what they come to,
translated (`baseline`); triggers, which have a language of their own, stand here. A database of an older version gets
what the migrations since then do, translated, too (`upgrade`).

Each row has a `rev`, a number that rises with each change. Writers are serial (`postgres.LEDGER_LOCK`) and only they
take one, so who has seen all up to a number has seen all that there will be up to it; `deleted` has the rows that went.
"""

from __future__ import annotations

import re
import secrets
from functools import cache

from batcher.clock import Clock, iso, machine_zone
from batcher.errors import StorageError
from batcher.ledger.store import schema as sqlite_schema
from batcher.ledger.store import shape

from .dialect import translate
from .postgres import PostgresConnection

SCHEMA = "batcher"
#: The ledger's own triggers of SQLite that stand in `_TRIGGERS` as PostgreSQL has them.
TRIGGERS = frozenset({"attempts_hold", "attempts_settle", "files_added", "files_saved"})
#: How many migrations of SQLite had been made when the first database was; none is older.
_FIRST = 20

_TYPES = ((r"\bINTEGER\b", "bigint"), (r"\bREAL\b", "double precision"), (r"\bBLOB\b", "bytea"))
_TEXT = (r"\bTEXT\b", 'text COLLATE "C"')  # as SQLite compares: byte by byte
_REFERENCE = re.compile(r"(\w+) (?:INTEGER|TEXT)(?: NOT NULL)? REFERENCES (\w+) \((\w+)\)")


@cache
def baseline(versions: int | None = None) -> str:
    """All statements that make an empty schema a ledger of this version, or of the first so many."""
    made = shape.made_by(tuple(step for _, step in sqlite_schema.MIGRATIONS[:versions]))
    every = [_table(each.sql) for each in made.values() if each.kind == "table"]
    for each in made.values():
        if each.kind == "table":
            every += _references(each.name, each.sql)
    every += [_index(each.sql) for each in made.values() if each.kind == "index"]
    every += ["CREATE UNIQUE INDEX files_target ON files (lower(target))"]
    for table in sqlite_schema.tables():
        if table.name in made:
            every += _kept(table)
    return ";\n".join([_FUNCTIONS, *every, _TRIGGERS, _MIGRATIONS, *_CLUSTER.values()])


def _references(table: str, sql: str) -> list[str]:
    return [
        f"ALTER TABLE {table} ADD FOREIGN KEY ({own}) REFERENCES {other} ({column}) DEFERRABLE"
        for own, other, column in _REFERENCE.findall(sql)
    ]


def _kept(table: sqlite_schema.LedgerTable) -> list[str]:
    """What keeps a table's revisions, and what was deleted from it."""
    return [
        f"CREATE INDEX {table.name}_rev ON {table.name} (rev)",
        f"CREATE TRIGGER {table.name}_rev BEFORE UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION take_rev()",
        f"CREATE TRIGGER {table.name}_gone AFTER DELETE ON {table.name} FOR EACH ROW EXECUTE FUNCTION"
        f" keep_deleted({', '.join(repr(column) for column in table.key)})",
    ]


def upgrade(step: shape.Step) -> list[str] | None:
    """What a migration of SQLite does, in PostgreSQL's words; None for one that has to be written by hand.

    That is one in Python, or about triggers. A table with a new column gets its `rev` anew: it is to be the last one,
    for some rows are written without their columns' names.
    """
    if not isinstance(step, str):
        return None
    tables = {table.name: table for table in sqlite_schema.tables()}
    found = list[str]()
    for statement in sqlite_schema.statements(step):
        sql = re.sub(r"--[^\n]*", "", statement).strip().rstrip(";")
        kind = " ".join(sql.split()[:2]).upper()
        name = (re.search(r"\bTABLE (\w+)", sql) or ["", ""])[1]
        if "TRIGGER" in kind:
            return None
        if kind == "CREATE TABLE":
            found += [_table(sql), *_references(name, sql), *(_kept(tables[name]) if name in tables else ())]
        elif kind in ("CREATE INDEX", "CREATE UNIQUE"):
            found.append(_index(sql))
        elif kind == "ALTER TABLE":
            for pattern, replacement in (*_TYPES, _TEXT):
                sql = re.sub(pattern, replacement, sql)
            found += [sql, *(each.format(table=name) for each in _REV_LAST)]
        else:
            found.append(translate(sql).sql.replace("%%", "%"))
    return found


#: A row keeps its number: a mirror that has it is told of no change.
_REV_LAST = (
    "ALTER TABLE {table} DISABLE TRIGGER USER",
    "ALTER TABLE {table} ADD COLUMN rev_last bigint",
    "UPDATE {table} SET rev_last = rev",
    "ALTER TABLE {table} DROP COLUMN rev",
    "ALTER TABLE {table} RENAME COLUMN rev_last TO rev",
    "ALTER TABLE {table} ALTER COLUMN rev SET NOT NULL, ALTER COLUMN rev SET DEFAULT nextval('rev')",
    "CREATE INDEX {table}_rev ON {table} (rev)",
    "ALTER TABLE {table} ENABLE TRIGGER USER",
)


def _table(sql: str) -> str:
    sql = re.sub(r"\)\s*STRICT(, WITHOUT ROWID)?\s*$", "", sql)
    sql = re.sub(r" REFERENCES \w+ \(\w+\)", "", sql)
    sql = re.sub(r"\bUNIQUE COLLATE NOCASE\b", "", sql)
    sql = re.sub(
        r"\b(id|seq) INTEGER PRIMARY KEY(?: AUTOINCREMENT)?(?! CHECK)",
        r"\1 BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        sql,
    )
    for pattern, replacement in (*_TYPES, _TEXT):
        sql = re.sub(pattern, replacement, sql)
    rev = "rev bigint NOT NULL DEFAULT nextval('rev')"
    # Columns stand before the constraints of the table; `rev` is the last of them all.
    return f"{sql}, {rev})"


def _index(sql: str) -> str:
    sql = re.sub(r"\bGLOB '\* unpriced'", "LIKE '% unpriced'", sql)
    return re.sub(r"\bAND begun\b", "AND begun = 1", sql)


_FUNCTIONS = """
CREATE SEQUENCE rev;
CREATE TABLE deleted (tab text NOT NULL, key jsonb NOT NULL, rev bigint PRIMARY KEY DEFAULT nextval('rev'));
CREATE FUNCTION take_rev() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.rev = nextval('batcher.rev');
    RETURN NEW;
END $$;
CREATE FUNCTION keep_deleted() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE
    gone jsonb = to_jsonb(OLD);
    key jsonb = '[]';
    col text;
BEGIN
    FOREACH col IN ARRAY TG_ARGV LOOP key = key || jsonb_build_array(gone -> col); END LOOP;
    INSERT INTO batcher.deleted (tab, key) VALUES (TG_TABLE_NAME, key);
    RETURN NULL;
END $$;
CREATE FUNCTION julianday(at text) RETURNS double precision LANGUAGE sql IMMUTABLE AS
    $$ SELECT extract(epoch FROM at::timestamp) / 86400.0 + 2440587.5 $$;
CREATE FUNCTION json_extract(given text, path text) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT given::jsonb #>> string_to_array(substr(path, 3), '.') $$;
CREATE FUNCTION json_type(given text, path text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(v) WHEN 'number' THEN CASE WHEN v::text ~ '^-?[0-9]+$' THEN 'integer' ELSE 'real' END
        WHEN 'string' THEN 'text' ELSE jsonb_typeof(v) END
    FROM (SELECT given::jsonb #> string_to_array(substr(path, 3), '.')) AS found (v) $$;
CREATE FUNCTION json_valid(given text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT given IS JSON $$;
CREATE FUNCTION instr(within text, part text) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    $$ SELECT position(part IN within) $$""".strip()

_TRIGGERS = """
CREATE FUNCTION attempts_hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO batcher.spent AS s (run_id, campaign, day, allowance, unpriced, held, settled)
        SELECT NEW.run_id, campaign, NEW.day, coalesce(NEW.allowance, ''),
            CASE WHEN NEW.price_class LIKE '% unpriced' THEN 1 ELSE 0 END, NEW.hold_credits, 0
        FROM batcher.wanted WHERE id = NEW.job_id
        ON CONFLICT (run_id, campaign, day, allowance, unpriced) DO UPDATE SET held = s.held + excluded.held;
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_hold AFTER INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION attempts_hold();
CREATE FUNCTION attempts_settle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE batcher.spent SET
        held = held
            - CASE WHEN OLD.final_credits IS NULL THEN OLD.hold_credits ELSE 0 END
            + CASE WHEN NEW.final_credits IS NULL THEN NEW.hold_credits ELSE 0 END,
        settled = settled - coalesce(OLD.final_credits, 0) + coalesce(NEW.final_credits, 0)
    WHERE run_id = NEW.run_id AND day = NEW.day AND allowance = coalesce(NEW.allowance, '')
        AND unpriced = CASE WHEN NEW.price_class LIKE '% unpriced' THEN 1 ELSE 0 END
        AND campaign = (SELECT campaign FROM batcher.wanted WHERE id = NEW.job_id);
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_settle AFTER UPDATE OF hold_credits, final_credits ON attempts
    FOR EACH ROW EXECUTE FUNCTION attempts_settle();
CREATE FUNCTION files_count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE batcher.campaigns SET files = files + (NEW.saved_at IS NOT NULL)::int
            - CASE WHEN TG_OP = 'UPDATE' THEN (OLD.saved_at IS NOT NULL)::int ELSE 0 END
        WHERE name = (SELECT w.campaign FROM batcher.attempts AS a JOIN batcher.wanted AS w ON w.id = a.job_id
            WHERE a.id = NEW.attempt_id);
    RETURN NULL;
END $$;
CREATE TRIGGER files_added AFTER INSERT ON files FOR EACH ROW WHEN (NEW.saved_at IS NOT NULL)
    EXECUTE FUNCTION files_count();
CREATE TRIGGER files_saved AFTER UPDATE OF saved_at ON files FOR EACH ROW EXECUTE FUNCTION files_count()""".strip()

#: What only a cluster has, by versions of its own, which follow SQLite's. `claims`: who works at a job, until when; the
#: epoch rises with each claim; `sent`: see `claims`. `slots`, `throttles`, `pauses`: see the module of `slots`.
#: The others: `runs`.
#: A database of before there were versions has the tables of the first one.
_CLUSTER = {
    "cluster_1": """
CREATE TABLE IF NOT EXISTS claims (
    job_id text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    worker text NOT NULL,
    until timestamptz NOT NULL,
    sent bigint
);
CREATE INDEX IF NOT EXISTS claims_by_worker ON claims (worker);
CREATE TABLE IF NOT EXISTS slots (
    account text NOT NULL,
    limit_name text NOT NULL,
    n bigint NOT NULL,
    at timestamptz NOT NULL,
    seconds float8 NOT NULL,
    PRIMARY KEY (account, limit_name, n)
);
CREATE INDEX IF NOT EXISTS slots_free ON slots (account, limit_name, at);
CREATE TABLE IF NOT EXISTS throttles (
    account text NOT NULL,
    limit_name text NOT NULL,
    state text NOT NULL,
    cut_at float8 NOT NULL DEFAULT '-Infinity',
    PRIMARY KEY (account, limit_name)
);
CREATE TABLE IF NOT EXISTS pauses (account text PRIMARY KEY, until timestamptz, held_until timestamptz);
CREATE TABLE IF NOT EXISTS cluster_runs (
    run_id bigint PRIMARY KEY, kind text NOT NULL, spec text NOT NULL, started timestamptz NOT NULL DEFAULT now(),
    coordinator text, epoch bigint NOT NULL DEFAULT 0, until timestamptz NOT NULL DEFAULT now(),
    halt_kind text, halt_reason text, ending text,
    asks text, answer text, followed timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS cluster_runs_going ON cluster_runs (kind) WHERE ending IS NULL;
CREATE TABLE IF NOT EXISTS workers (
    name text PRIMARY KEY, host text NOT NULL, pid bigint NOT NULL, kind text NOT NULL, version text NOT NULL,
    timezone text NOT NULL, concurrency bigint NOT NULL, lease double precision NOT NULL,
    started timestamptz NOT NULL DEFAULT now(), seen timestamptz NOT NULL DEFAULT now(), left_at timestamptz);
CREATE TABLE IF NOT EXISTS reports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run_id bigint NOT NULL, job_id text NOT NULL,
    said text NOT NULL);
CREATE INDEX IF NOT EXISTS reports_run ON reports (run_id, id)""".strip(),
}
#: The version: the names of what was done.
_MIGRATIONS = (
    "CREATE TABLE migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
)


def versions() -> tuple[str, ...]:
    """The names of the migrations whose tables this batcher knows, oldest first: SQLite's, then a cluster's."""
    return (*(name for name, _ in sqlite_schema.MIGRATIONS), *_CLUSTER)


def create(connection: PostgresConnection, clock: Clock) -> bool:
    """Make the ledger's tables, or bring those of an older version up to date; whether anything had to be done.

    A ledger's id is made once. Raises StorageError, also for one of a newer version.
    """
    statements = baseline()  # made before everybody is held up
    connection.begin()
    try:
        there = _applied(connection)
        missing = [name for name in versions() if name not in there]
        _refuse_newer(connection, there)
        if not there:
            connection.script(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            connection.script(statements)
            connection.query(
                "INSERT INTO meta (id, ledger_id, created_at, timezone) VALUES (1, %s, %s, %s) RETURNING id",
                (secrets.token_hex(16), iso(clock.wall()), machine_zone()),
            )
        for name in missing if there else ():
            for statement in _upgrade(connection, name):
                connection.script(statement)
        for name in missing:
            connection.query("INSERT INTO migrations (name) VALUES (%s) RETURNING name", (name,))
        connection.script("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.script("ROLLBACK")
        raise
    return bool(missing)


def _upgrade(connection: PostgresConnection, name: str) -> list[str]:
    if name in _CLUSTER:
        return [_CLUSTER[name]]
    found = upgrade(dict(sqlite_schema.MIGRATIONS)[name])
    if found is None or versions().index(name) < _FIRST:
        raise StorageError(
            f"{connection.place} is older than {name}, and this batcher has no way from there",
            hint="Install the version that made it.",
        )
    return found


def check(connection: PostgresConnection) -> None:
    """Raises StorageError for a database without the tables, or of another version."""
    there = _applied(connection)
    if not there:
        raise StorageError(f"{connection.place} holds no ledger", hint="`batcher cluster init` makes its tables.")
    _refuse_newer(connection, there)
    if missing := [name for name in versions() if name not in there]:
        raise StorageError(
            f"{connection.place} is of an older version of batcher (without {missing[0]})",
            hint="Stop the workers, take a backup, then `batcher cluster init` brings it up to date.",
        )


def _refuse_newer(connection: PostgresConnection, there: set[str]) -> None:
    if newer := there - set(versions()):
        raise StorageError(
            f"{connection.place} was written by a newer version of batcher ({', '.join(sorted(newer))})",
            hint="Install that version here, or name another database.",
        )


def _applied(connection: PostgresConnection) -> set[str]:
    if not connection.query("SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'migrations'", (SCHEMA,)):
        return set()
    return {row[0] for row in connection.query("SELECT name FROM migrations")}
