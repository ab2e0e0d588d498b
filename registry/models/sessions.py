"""Engines, the one commit, and the statements that are one by themselves.

SQLite runs in WAL mode with synchronous=FULL: a commit that returned survives power loss. Its write
transactions begin IMMEDIATE, so that two writers queue instead of failing half way.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.orm import Session

BUSY_TIMEOUT_MS = 30_000
_FAULTS_OF_A_CONNECTION = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT}
)


def open_database(url: str, *, lock_seconds: int | None = None) -> Engine:
    """An engine on `url` (sqlite:/// or postgresql+psycopg://), prepared as `prepare_engine` says.

    With `lock_seconds`, PostgreSQL gives up waiting for a lock after that long, and ends a transaction that
    does nothing for three times as long: a process that was frozen must not hold up its successor.
    """
    # An error's text reaches a log; what a row held must not.
    engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"), hide_parameters=True)
    prepare_engine(engine)
    if lock_seconds is not None and engine.dialect.name == "postgresql":

        @event.listens_for(engine, "connect")
        def _impatient(dbapi_connection: Any, _record: object) -> None:
            with dbapi_connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = '{lock_seconds}s'")
                cursor.execute(f"SET idle_in_transaction_session_timeout = '{3 * lock_seconds}s'")
            dbapi_connection.commit()

    return engine


def forget_journal(engine: Engine) -> None:
    """Empty SQLite's write-ahead log, in which deleted rows would lie on; nothing on another database.

    Readers at work keep it from being emptied; then the next call does it.
    """
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()


def prepare_engine(engine: Engine) -> None:
    """Give a SQLite engine durable settings and explicit transactions; leave any other as it is."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _durable(dbapi_connection: Any, _record: object) -> None:
        # The driver's own BEGIN is switched off: ours below says which kind of transaction it is.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        # What is deleted is gone from the file too: retirement promises that.
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.close()

    @event.listens_for(engine, "handle_error")
    def _distrust(context: ExceptionContext) -> None:
        # What a connection says after an error of the disk is not to be relied on; and one that SQLite could
        # not open for writing, it has opened for reading only, without a word and for good.
        code = getattr(context.original_exception, "sqlite_errorcode", 0)
        if code & 0xFF not in _FAULTS_OF_A_CONNECTION:
            return
        if context.connection is not None and not context.connection.invalidated:
            # Closing alone would keep its locks for as long as this error's traceback holds a cursor.
            with suppress(sqlite3.Error):
                context.connection.connection.rollback()
        context.is_disconnect = True  # it leaves the pool, and all others with it

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("registry_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def transaction(session: Session) -> Iterator[Session]:
    """The only commit: all of the block's writes become durable together, or none does.

    A crash before the commit leaves nothing; after it, everything. The block must start with a clean
    session (no transaction under way), so that SQLite can take its write lock at the beginning and every
    read in the block sees what it will write upon.
    """
    session.rollback()
    session.connection(execution_options={"registry_writes": True})
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise


@contextmanager
def committing_each(session: Session) -> Iterator[Connection]:
    """A connection to the session's database on which every statement is a transaction of its own.

    For what is one statement as a whole: it is durable when it returns, without a round trip for its
    beginning and one for its end. Beside the session, whose own transaction sees nothing of it.
    """
    with session.get_bind().engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")
