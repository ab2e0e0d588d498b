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

from registry.models import DiagnosisKey

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
        statement = _insert_arrays(model, tuple(rows[0]), returning)
        return list(session.scalars(statement, _arrays(rows)))
    statement = insert_into(session, model).on_conflict_do_nothing().returning(returning)
    return list(session.scalars(statement, rows))


def insert_unknown_keys(session: Session, rows: Sequence[Mapping[str, object]]) -> list[bytes]:
    """Insert those diagnosis keys that are not stored yet, whatever their day, in one statement; which.

    On PostgreSQL each key stays locked against others who store it until the caller's commit.
    """
    if not rows or session.get_bind().dialect.name != "postgresql":
        return insert_new(session, DiagnosisKey, rows, DiagnosisKey.key_data)
    return list(session.scalars(_insert_unknown_keys(tuple(rows[0])), _arrays(rows)))


def _arrays(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@lru_cache
def _insert_unknown_keys(names: tuple[str, ...]) -> ReturningInsert[tuple[bytes]]:
    """As `_insert_arrays`, but past the keys that `known_diagnosis_keys` finds."""
    columns = [table_of(DiagnosisKey).columns[name] for name in names]
    arrays = {name: bindparam(name, type_=ARRAY(table_of(DiagnosisKey).columns[name].type)) for name in names}
    given = select(*(func.unnest(arrays[name]).label(name) for name in names)).subquery()
    known = select(func.known_diagnosis_keys(arrays["key_data"]))
    statement = postgresql.insert(table_of(DiagnosisKey)).from_select(
        columns, select(given).where(given.c.key_data.not_in(known))
    )
    return statement.on_conflict_do_nothing().returning(DiagnosisKey.key_data)


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
