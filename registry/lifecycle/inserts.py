"""INSERT statements for many rows, or with ON CONFLICT, in the dialect of the session's database.

SQLite and PostgreSQL spell ON CONFLICT alike, but SQLAlchemy keeps one class for each.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar, cast

from sqlalchemy import ARRAY, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session
from sqlalchemy.sql.dml import ReturningInsert

T = TypeVar("T")


def table_of(model: type[DeclarativeBase]) -> Table:
    """The model's table: statements on it go past the session's objects, of which there are none."""
    return cast("Table", model.__table__)


def insert_into(session: Session, model: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into the table of `model`, with `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table_of(model))
    return sqlite.insert(table_of(model))


def insert_new(
    session: Session,
    model: type[DeclarativeBase],
    rows: Sequence[Mapping[str, object]],
    returning: InstrumentedAttribute[T],
) -> list[T]:
    """Insert those of `rows` that are new, in one statement; the named column of what really went in.

    Every row must have the same columns; defaults are not filled in.
    """
    if not rows:
        return []
    if session.get_bind().dialect.name == "postgresql":
        names = tuple(rows[0])
        arrays = {name: [row[name] for row in rows] for name in names}
        return list(session.scalars(_insert_arrays(model, names, returning), arrays))
    statement = insert_into(session, model).on_conflict_do_nothing().returning(returning)
    return list(session.scalars(statement, rows))


@lru_cache
def _insert_arrays(
    model: type[DeclarativeBase], names: tuple[str, ...], returning: InstrumentedAttribute[T]
) -> ReturningInsert[tuple[T]]:
    """One array a column: the text is the same for any number of rows, so driver and server prepare it once.

    The arrays are unnested side by side (PostgreSQL 10 and later).
    """
    columns = [table_of(model).columns[name] for name in names]
    arrays = [func.unnest(bindparam(column.name, type_=ARRAY(column.type))) for column in columns]
    statement = postgresql.insert(table_of(model)).from_select(columns, select(*arrays))
    return statement.on_conflict_do_nothing().returning(returning)
