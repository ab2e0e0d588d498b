"""Where PostgreSQL keeps a table a day: the days' tables are there before keys come, and go when keys go.

On SQLite there are no such tables, and nothing happens here. Must never let an upload wait for more than a
moment, nor take away a key of which a file is still to be made.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from registry.lifecycle.publish.days import days_to_come
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


def drop_due_days(run: Run, held: Collection[int]) -> int:
    """Drop the tables of days whose keys have all come to their time; how many keys were in them. `held` are
    the shelves of which a file is to be made.

    A day in which a key waits for its file stays, and so does one that somebody reads: its keys are then to
    be deleted one by one, and a later run drops what is left. Day by day: a crash leaves each whole or gone,
    and revisions of keys that are gone.
    """
    gone = 0
    for day in sorted(days_made(run.session)):
        if last_end_of(day) <= run.policy.last_end_retired(run.now):
            gone += _drop_day(run, day, held)
    return gone


def held_shelves(run: Run) -> list[int]:
    """The shelves of which a file is still to be made: a sealed batch's, or that of a day."""
    session = run.session
    batches = set(session.scalars(select(Batch.id).where(Batch.state == BatchState.SEALED)))
    for region in session.scalars(select(Batch.region).distinct()).all():
        days = days_to_come(session, run, region)
        batches.update(batch.id for windows in days for batch in windows)
    shelves = session.scalars(
        select(BatchShelf.shelf_id).where(BatchShelf.batch_id.in_(batches)).distinct()
    ).all()
    session.expunge_all()
    session.rollback()
    return list(shelves)


def is_on(held: Collection[int]) -> ColumnElement[bool]:
    """That a key lies on one of these shelves, itself or a revision of it."""
    revised = select(KeyRevision.key_data).where(KeyRevision.shelf_id.in_(held))
    return or_(
        and_(DiagnosisKey.shelf_id.is_not(None), DiagnosisKey.shelf_id.in_(held)),
        DiagnosisKey.key_data.in_(revised),
    )


def _drop_day(run: Run, day: int, held: Collection[int]) -> int:
    first, last = last_end_of(day - 1) + 1, last_end_of(day)
    try:
        with run.fenced() as session:
            for kind in (DiagnosisKey, KeyRevision):
                waits = exists().where(kind.shelf_id.in_(held), kind.end_interval_number.between(first, last))
                if held and session.scalar(select(waits)):
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
