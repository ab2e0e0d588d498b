"""Where PostgreSQL keeps a table a day: the days' tables are there before keys come, and go when keys go.

On SQLite there are no such tables, and nothing happens here. Must never let an upload wait for more than a
moment, nor take away a key of which a file is still to be made.
"""

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from registry.lifecycle.publish.run import Run
from registry.lifecycle.upload_rules import CollectionPolicy
from registry.models import Batch, BatchShelf, BatchState, DiagnosisKey, KeyRevision, make_days, transaction
from registry.models.key_day import day_of, days_made, drop_day, has_days, last_end_of
from registry.protocol.intervals import interval_at
from registry.protocol.keys import MAX_ROLLING_PERIOD

DAYS_AHEAD = 7
"""For how long uploads are taken while no publisher runs."""

LOCK_MILLISECONDS = 500
"""For how long uploads may have to wait behind a day that is to be dropped."""

_LOCK_NOT_AVAILABLE = "55P03"


def make_due_days(session: Session, now: float) -> None:
    """Let every day have its table that a key may fall into which is accepted now, or within a week.

    A transaction of its own. A crash leaves the tables made or not; the next run makes them.
    """
    oldest = day_of(interval_at(now) - CollectionPolicy().max_age_intervals)
    newest = day_of(interval_at(now) + MAX_ROLLING_PERIOD)
    if has_days(session):
        with transaction(session):
            make_days(session, range(oldest, newest + DAYS_AHEAD + 1))


def drop_due_days(run: Run) -> int:
    """Drop the tables of days whose keys have all come to their time; how many keys were in them.

    A day in which a key waits for its file stays, and so does one that somebody reads: its keys are then to
    be deleted one by one, and a later run drops what is left. Day by day: a crash leaves each whole or gone,
    and revisions of keys that are gone.
    """
    gone = 0
    for day in sorted(days_made(run.session)):
        if last_end_of(day) <= run.policy.last_end_retired(run.now):
            gone += _drop_day(run, day)
    return gone


def is_held() -> ColumnElement[bool]:
    """That a key is on its way into the file of a batch that is sealed, itself or a revision of it."""
    revised = select(KeyRevision.key_data).where(KeyRevision.shelf_id.in_(_sealed_shelves()))
    return or_(
        and_(DiagnosisKey.shelf_id.is_not(None), DiagnosisKey.shelf_id.in_(_sealed_shelves())),
        DiagnosisKey.key_data.in_(revised),
    )


def _sealed_shelves() -> Select[int]:
    return select(BatchShelf.shelf_id).join(Batch).where(Batch.state == BatchState.SEALED)


def _drop_day(run: Run, day: int) -> int:
    first, last = last_end_of(day - 1) + 1, last_end_of(day)
    try:
        with run.fenced() as session:
            sealed = session.scalars(_sealed_shelves()).all()
            for kind in (DiagnosisKey, KeyRevision):
                held = exists().where(
                    kind.shelf_id.in_(sealed), kind.end_interval_number.between(first, last)
                )
                if sealed and session.scalar(select(held)):
                    return 0
            # Beside everybody else: only the drop itself, which costs the same for any number, locks.
            of_day = DiagnosisKey.end_interval_number.between(first, last)
            count = session.scalar(select(func.count()).select_from(DiagnosisKey).where(of_day)) or 0
            drop_day(session, day, lock_milliseconds=LOCK_MILLISECONDS)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        return 0
    return count
