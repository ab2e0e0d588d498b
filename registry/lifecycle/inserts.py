"""INSERT statements that can say ON CONFLICT, in the dialect of the session's database.

SQLite and PostgreSQL spell it alike, but SQLAlchemy keeps one class for each.
"""

from typing import cast

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Session


def insert_into(session: Session, model: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into the table of `model`, with `on_conflict_do_nothing` and `on_conflict_do_update`."""
    table = cast("Table", model.__table__)
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
