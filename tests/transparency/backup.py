"""A backup of a database, to be restored when time has gone on; of the collecting one unless told."""

from typing import Any

from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.orm import DeclarativeBase, Session

from registry.models import CollectingBase, DiagnosisKey, make_days
from registry.models.key_day import day_of


class Backup:
    """Every row as it was when this was made."""

    def __init__(self, engine: Engine, base: type[DeclarativeBase] = CollectingBase) -> None:
        self._tables = base.metadata.sorted_tables
        with engine.connect() as connection:
            self._rows: list[list[dict[str, Any]]] = [
                [dict(row) for row in connection.execute(select(table)).mappings()] for table in self._tables
            ]

    def restore(self, engine: Engine) -> None:
        """Set the database back, as an operator does."""
        with engine.begin() as connection:
            for table in reversed(self._tables):
                connection.execute(delete(table))
            for table, rows in zip(self._tables, self._rows, strict=True):
                if table is DiagnosisKey.__table__:
                    # A backup brings the days' tables with it, dropped since or not.
                    make_days(Session(connection), {day_of(row["end_interval_number"]) for row in rows})
                if rows:
                    connection.execute(insert(table), rows)


def wipe(engine: Engine) -> None:
    """Lose the database: tables without rows."""
    with engine.begin() as connection:
        for table in reversed(CollectingBase.metadata.sorted_tables):
            connection.execute(delete(table))
