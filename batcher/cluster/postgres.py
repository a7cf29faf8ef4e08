"""One connection to PostgreSQL, as the ledger's store takes a connection of SQLite; its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, Self, cast

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from batcher.errors import StorageError
from batcher.ledger.store.connection import AlreadyThere, Away, Locked, Torn

from .connections import ANSWER_SECONDS, PARAMETERS, Connection, keeps_its_session
from .dialect import translate
from .prepared import Prepared
from .round_trips import Answered, PutOff, Statement
from .rows import Row, RowCursor, Sum, rows

#: The lock under which all writing is serial; any number will do, as long as every version takes the same.
LEDGER_LOCK = 0x6261_7463
#: A worker that is stopped within a transaction holds up everybody: so long, in seconds, the server waits for it.
IDLE_SECONDS = 1.5
#: How long a statement waits for the lock in one piece.
LOCK_SECONDS = 10.0
_SESSION = (
    "SET search_path = batcher; SET idle_in_transaction_session_timeout = {idle};"
    f" SET lock_timeout = {round(LOCK_SECONDS * 1000)}; SET timezone = 'UTC'; SET tcp_keepalives_idle = 30"
)
#: What changes something is never asked twice.
_CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE)\b").search
#: One state of the ledger for several questions.
_SNAPSHOT = {"SAVEPOINT snapshot": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "RELEASE snapshot": "COMMIT"}
#: A transaction that writes: from here to its end nobody else does.
_BEGIN = f"BEGIN; SELECT pg_advisory_xact_lock({LEDGER_LOCK}); SELECT extract(epoch FROM clock_timestamp())::float8"


def _given(values: Sequence[Any], numbered: bool) -> Any:
    """Values as psycopg takes them: a truth is a number, as SQLite has it."""
    plain = [int(value) if isinstance(value, bool) else value for value in values]
    return {f"p{number}": value for number, value in enumerate(plain, 1)} if numbered else plain


def is_readable(conninfo: str) -> bool:
    """Whether libpq can read a connection string at all; what it says of one that it cannot may hold the password."""
    try:
        conninfo_to_dict(conninfo)
    except (psycopg.Error, UnicodeError):
        return False
    return True


def shown(conninfo: str) -> str:
    """Which database that is, for messages: without a password."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.Error:
        return "postgresql://…"
    user = f"{parts['user']}@" if parts.get("user") else ""
    port = f":{parts['port']}" if parts.get("port") else ""
    service = f"?service={parts['service']}" if parts.get("service") else ""
    return f"postgresql://{user}{parts.get('host') or ''}{port}/{parts.get('dbname') or ''}{service}"


class PostgresConnection:
    """A connection in autocommit, whose transactions begin with the ledger's lock. Raises StorageError.

    It is made again where it was lost, but never within a transaction.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        name: str = "batcher",
        idle_seconds: float = IDLE_SECONDS,
        answer_seconds: float = 0.0,
        prepares: bool = False,
    ) -> None:
        """`prepares`: transactions are many and alike, so their statements are prepared (`Prepared`)."""
        self._conninfo = conninfo
        # A connection that may be idle for long within a transaction may ask long questions.
        self._answer_seconds = answer_seconds or max(idle_seconds, ANSWER_SECONDS)
        self._name, self._prepares = name, prepares
        self._session = _SESSION.format(idle=round(idle_seconds * 1000))
        self.place = shown(conninfo)
        self._owner = 0  # the thread that has begun a transaction
        self._within = False
        self._between_both = False  # after the begin of `transaction` or `writing`, and before its end
        self._slow = False  # each part of a group waits for its own writes
        self._put_off = PutOff()
        self.round_trips = 0  # within transactions, of all time
        self.heard: Callable[[float], None] = lambda _: None  # the database's time, at each transaction's begin
        self._left = False  # closed, though a group of another thread may still be written
        self._open = self._connect()

    def _connect(self) -> psycopg.Connection[Row]:
        with postgres_errors(self.place):
            made, self._prepared = self._connected(), Prepared()
            made.answer_seconds = self._answer_seconds
            made.adapters.register_loader("numeric", Sum)
            session = made.execute(cast(Any, f"{self._session}; SELECT pg_backend_pid()"))
            while session.nextset():
                pass
            if not keeps_its_session(made, session.fetchall()[0][0], self._connected):
                made.close()
                raise StorageError(
                    f"{self.place} is a pooler that gives each transaction another session of the server",
                    hint="Let it pool sessions (pgbouncer: pool_mode = session), or name the server itself.",
                )
            return made

    def _connected(self) -> Connection:
        return Connection.connect(
            self._conninfo,
            autocommit=True,
            row_factory=rows,
            cursor_factory=RowCursor,
            application_name=self._name,
            prepare_threshold=None if self._prepares else 5,  # a rollback takes away all that psycopg has prepared
            **PARAMETERS,
        )

    def begin(self) -> None:
        """Begin a transaction in which nobody else writes. Raises Locked, and Away where nobody can be asked."""
        self._within = False
        self._put_off = PutOff()
        with postgres_errors(self.place):
            try:
                cursor = self._ask(_BEGIN)
                while cursor.nextset():
                    pass
                [[now]] = cursor.fetchall()
            except psycopg.Error as error:
                if not self._open.closed:
                    self._open.execute("ROLLBACK")
                elif isinstance(error, psycopg.OperationalError):
                    raise Away(f"{self.place}: {_words(error)}", hint=_hint(error)) from error
                raise
            except StorageError as error:  # no connection could be made
                raise Away(error.message, hint=error.hint) from error
        self.heard(now)
        self._owner, self._within = get_ident(), True

    def _ask(self, sql: str, values: Any = None) -> psycopg.Cursor[Row]:
        """Run a statement, on a new connection where the old one was lost; never in the midst of a transaction.

        One that changes nothing, or only begins, is asked once more where nobody could know that beforehand.
        """
        if self._between_both:
            self._go_on()
        if self._open.closed:
            self._open = self._connect()
        alone = not self.in_transaction
        try:
            return self._open.execute(cast(Any, sql), values)
        except psycopg.OperationalError:
            if not (alone and self._open.closed and sql.startswith(("SELECT", "WITH", "BEGIN")) and not _CHANGES(sql)):
                raise
        self._open = self._connect()
        return self._open.execute(cast(Any, sql), values)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement that is written for SQLite."""
        if sql == "BEGIN IMMEDIATE":
            self.begin()
            return self._open.cursor()
        sql = _SNAPSHOT.get(sql, sql)
        if sql == "COMMIT" and (self._within or self._between_both) and self._status != "INTRANS":
            # PostgreSQL takes a COMMIT of what has failed for a ROLLBACK, and says nothing.
            raise StorageError(f"{self.place}: the transaction has failed", hint=_AGAIN)
        if self._within:
            return self._within_transaction(Statement(sql, tuple(values)))
        made, numbered = translate(sql)
        with postgres_errors(self.place):
            return self._ask(made, _given(values, numbered) or None)

    def _within_transaction(self, statement: Statement) -> Any:
        """Run a statement after what nobody waits for, or put it off."""
        sql, nothing = statement.sql, Answered([])
        if sql.startswith("SAVEPOINT"):
            self._put_off.begin_part(statement)
            return nothing
        if sql.startswith("RELEASE") and not self._slow:
            self._put_off.end_part(statement)
            return nothing
        if sql.startswith("ROLLBACK TO") and self._put_off.take_back():
            return nothing
        if sql == "ROLLBACK":
            self._put_off = PutOff()
        found = self._sent([statement])
        if sql in ("COMMIT", "ROLLBACK"):
            self._within = False
            if self._left:
                self._open.close()
            elif self._prepares:
                self._prepared.prepare(self._open)
        return found[-1]

    def several(self, questions: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Row]]:
        """The rows of several questions that are written for SQLite; within a transaction in one round trip."""
        if not self._within:
            return [self.execute(*question).fetchall() for question in questions]
        found = self._sent([Statement(sql, tuple(values)) for sql, values in questions])
        return [each.fetchall() for each in found[-len(questions) :]]

    def later(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement whose answer nobody needs: with the next one, or before the commit at the latest."""
        if self._within:
            self._put_off.add(Statement(sql, tuple(values)))
        else:
            self.execute(sql, values)

    def _sent(self, statements: Sequence[Statement]) -> list[Any]:
        """Run statements after what nobody has waited for. Raises Torn where that may be of another part."""
        put_off, self._put_off = self._put_off, PutOff()
        try:
            with postgres_errors(self.place):
                return self._in_one_round_trip([*put_off.statements, *statements])
        except StorageError as error:
            self._prepared = Prepared()  # whatever it was: that cannot be it the next time
            if self._status != "INERROR" or not put_off.of_others:
                raise
            self._open.execute("ROLLBACK")
            torn = Torn(error.message, hint=error.hint)
            torn.slowly = self._slowly
            raise torn from error

    @contextmanager
    def _slowly(self) -> Iterator[None]:
        self._slow = True
        try:
            yield
        finally:
            self._slow = False

    def _in_one_round_trip(self, statements: Sequence[Statement]) -> list[Any]:
        """Run statements of a transaction in one round trip. The first that fails raises, and none after it is done.

        As one text: in libpq's pipeline mode the server does not see that a transaction is idle, so nobody would throw
        out a worker that was stopped within one.
        """
        self._go_on()
        self.round_trips += 1
        asked = [(translate(each.sql), each.values) for each in statements]
        if len(asked) == 1 and not self._prepares:
            [((sql, numbered), values)] = asked
            return [self._open.execute(cast(Any, sql), _given(values, numbered) or None)]
        cursor = psycopg.ClientCursor(self._open, row_factory=rows)
        prepared = self._prepared if self._prepares and not self._slow else Prepared()
        texts = [prepared.text(cursor, made, _given(values, made.numbered)) for made, values in asked]
        cursor.execute(cast(Any, "; ".join(texts)))
        found = []
        for _ in statements:
            found.append(Answered(cursor.fetchall() if cursor.description else [], cursor.rowcount))
            cursor.nextset()
        return found

    def executemany(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each of the rows, in few round trips."""
        made, numbered = translate(sql)
        rows = [_given(row, numbered) for row in values]
        if self._within and rows and self._put_off.statements:
            self._sent(())
        if rows:
            with postgres_errors(self.place):
                self._open.cursor().executemany(cast(Any, made), rows)

    @property
    def in_transaction(self) -> bool:
        return self._status in ("INTRANS", "INERROR")

    def _go_on(self) -> None:
        """Raises StorageError where the transaction under way is none any more."""
        if not self.in_transaction:
            raise StorageError(f"{self.place}: the transaction is over, or its connection lost", hint=_AGAIN)

    @property
    def is_mine(self) -> bool:
        """Whether this thread is within a transaction that writes."""
        return self._owner == get_ident() and self.in_transaction

    @property
    def _status(self) -> str:
        return "" if self._open.closed else self._open.info.transaction_status.name

    def script(self, sql: str) -> None:
        """Run statements of PostgreSQL's own, as they stand."""
        with postgres_errors(self.place):
            self._ask(sql)

    def query(self, sql: str, values: Any = None) -> list[Row]:
        """The rows of a query in PostgreSQL's own words (`%s`)."""
        with postgres_errors(self.place):
            return self._ask(sql, values).fetchall()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One state of the database for several questions."""
        self.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            if self.in_transaction:
                self.script("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that holds up nobody but who wants the same rows."""
        with self._between("BEGIN"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction of the ledger's, in which nobody else writes."""
        with self._between("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def _between(self, begin: str) -> Iterator[None]:
        self.execute(begin)
        self._between_both = True
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise
        finally:
            self._between_both = False

    @property
    def raw(self) -> psycopg.Connection[Row]:
        return self._open

    def close(self) -> None:
        """Close it. A group that another thread is about to write is written on a connection of its own."""
        self._left = True
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class postgres_errors:  # noqa: N801  (a context manager, used like a function)
    """PostgreSQL's errors as StorageError with what to do. A class, for every statement passes here."""

    __slots__ = ("_place",)

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg.Error):
            found = Locked if isinstance(error, errors.LockNotAvailable) else StorageError
            found = AlreadyThere if isinstance(error, errors.UniqueViolation) else found
            raise found(f"{self._place}: {_words(error)}", hint=_hint(error)) from error


def _words(error: psycopg.Error) -> str:
    """The first line of what the server says; libpq's texts may hold a connection string's password."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return re.sub(r"(password=)\S+|(://[^:/@\s]*:)[^@\s]*(?=@)", r"\1\2…", line)


def _hint(error: psycopg.Error) -> str:
    if isinstance(error, errors.LockNotAvailable):
        return "Another worker holds the ledger for writing; run the same command again."
    if isinstance(error, errors.InvalidSchemaName | errors.UndefinedTable):
        return "`batcher cluster init` makes its tables."
    if isinstance(error, errors.InsufficientPrivilege):
        return "Grant this user the schema `batcher`, or connect as its owner."
    if isinstance(error, psycopg.OperationalError):
        return "Is the database up, and its address right (BATCHER_LEDGER)? Nothing is lost; run it again then."
    return _AGAIN


_AGAIN = "Run the same command again once the cause is gone; what was bought is kept."
