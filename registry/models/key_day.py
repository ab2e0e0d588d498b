"""Collecting half, on PostgreSQL: keys lie in a table a UTC day, so that a day is forgotten at once.

A day's table holds the keys whose validity ended in it, a midnight counting to the day that it ends. There is
none for all other days, for it would have to be looked through whenever a day is made: a key whose day was
not made is refused by the database, and with it all that came in one transaction. SQLite keeps all keys in
one table, and nothing is done there.
"""

from collections.abc import Collection
from datetime import date
from typing import Final

from sqlalchemy import Connection, Table, event, text
from sqlalchemy.orm import Session

from registry.models.diagnosis_key import DiagnosisKey
from registry.protocol.intervals import INTERVALS_PER_DAY

_EPOCH: Final = date(1970, 1, 1).toordinal()
_PREFIX: Final = "diagnosis_key_"

_PRIMARY_KEY: Final = (
    "ALTER TABLE diagnosis_key ADD CONSTRAINT pk_diagnosis_key PRIMARY KEY (key_data, end_interval_number)"
)

# A unique index spans one day only. Whoever stores keys that others may name asks by this function: of two
# that do so at once for one key, with whatever days, the second waits for the first's commit, and its look at
# the keys, taken after that (READ COMMITTED, VOLATILE), finds the first's.
_KNOWN_KEYS: Final = """
CREATE FUNCTION known_diagnosis_keys(asked bytea[]) RETURNS SETOF bytea LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- One order for all: they wait for each other, never in a circle.
    PERFORM pg_advisory_xact_lock(number) FROM (
        SELECT hashtextextended(encode(one, 'hex'), 0) AS number FROM unnest(asked) AS one ORDER BY 1
    ) AS numbers;
    RETURN QUERY SELECT key_data FROM diagnosis_key WHERE key_data = ANY (asked);
END
$$
"""


@event.listens_for(DiagnosisKey.__table__, "after_create")
def _complete(_table: Table, connection: Connection, **_: object) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(_PRIMARY_KEY))
        connection.execute(text(_KNOWN_KEYS))


def day_of(end_interval_number: int) -> int:
    """The UTC day, counted from 1970, in whose table a key lies that ended at this interval."""
    return (end_interval_number - 1) // INTERVALS_PER_DAY


def last_end_of(day: int) -> int:
    """The newest end interval number of the day's keys: the midnight after it."""
    return (day + 1) * INTERVALS_PER_DAY


def has_days(session: Session) -> bool:
    """Whether keys lie in a table a day here."""
    return session.get_bind().dialect.name == "postgresql"


def days_made(session: Session) -> set[int]:
    """The days that have a table; none on SQLite."""
    if not has_days(session):
        return set()
    names = session.scalars(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = CAST('diagnosis_key' AS regclass)"
        )
    )
    return {date.fromisoformat(name.removeprefix(_PREFIX)).toordinal() - _EPOCH for name in names}


def make_days(session: Session, days: Collection[int]) -> None:
    """Make those of the days' tables that there are not yet, in the caller's transaction.

    Neither waits for uploads nor keeps them waiting.
    """
    if not has_days(session) or days_made(session).issuperset(days):
        return
    # What ATTACH takes too, and what nobody who reads or writes keys does. Of two that make days at once the
    # second waits here, and finds them made.
    session.execute(text("LOCK TABLE ONLY diagnosis_key IN SHARE UPDATE EXCLUSIVE MODE"))
    for day in sorted(set(days) - days_made(session)):
        # Made apart and attached: PARTITION OF would lock all keys against everybody.
        session.execute(text(f"CREATE TABLE {_name(day)} (LIKE diagnosis_key INCLUDING ALL)"))
        session.execute(
            text(
                f"ALTER TABLE diagnosis_key ATTACH PARTITION {_name(day)}"
                f" FOR VALUES FROM ({last_end_of(day - 1) + 1}) TO ({last_end_of(day) + 1})"
            )
        )


def drop_day(session: Session, day: int, *, lock_milliseconds: int) -> None:
    """Forget a day's keys, however many, with their table. The caller commits at once, for until then nobody
    else reads or stores any key.

    Raises OperationalError if somebody uses the keys for longer than `lock_milliseconds`: uploads that come
    meanwhile wait behind us for so long and no longer.
    """
    session.execute(text(f"SET LOCAL lock_timeout = {lock_milliseconds}"))
    session.execute(text(f"DROP TABLE {_name(day)}"))


def _name(day: int) -> str:
    return f"{_PREFIX}{date.fromordinal(_EPOCH + day):%Y%m%d}"
