"""How many codes were issued and redeemed and certificates given, by the day: what auditors compare.

Nothing is redeemed that was not issued, nothing certified that was not redeemed; what was uploaded and
published in the other half can be no more. A count holds no one's act and no time finer than the day.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.lifecycle.inserts import insert_into, table_of
from registry.models import IssuingCount
from registry.protocol.intervals import utc_date


class CountKind(StrEnum):
    """What is counted. Repeated answers are not."""

    ISSUED = "issued"
    REDEEMED = "redeemed"
    CERTIFIED = "certified"


@dataclass(frozen=True, slots=True)
class DayCounts:
    """One UTC day's counts. A code may be redeemed on a later day than it was issued."""

    day: date
    issued: int = 0
    redeemed: int = 0
    certified: int = 0


def count_one(session: Session, kind: CountKind, now: float) -> None:
    """One more of `kind` today, in the caller's transaction, whose last lock but a chain's head this is.

    The day's row stays locked until the commit, so whoever held it must wait for nobody but a chain.
    """
    rows = table_of(IssuingCount)
    session.execute(
        insert_into(session, IssuingCount)
        .values(day=utc_date(now), kind=kind.value, n=1)
        .on_conflict_do_update(index_elements=["day", "kind"], set_={"n": rows.c.n + 1})
    )


def uncount_one(session: Session, kind: CountKind, day: date) -> None:
    """One less of `kind` on that day, for what was undone; locks as `count_one` does."""
    session.execute(
        update(IssuingCount)
        .where(IssuingCount.day == day, IssuingCount.kind == kind.value, IssuingCount.n > 0)
        .values(n=IssuingCount.n - 1)
        .execution_options(synchronize_session=False)
    )


def counts(session: Session, since_day: date) -> tuple[DayCounts, ...]:
    """The days from `since_day` on that anything was counted on, oldest first."""
    by_day: dict[date, dict[str, int]] = {}
    for day, kind, n in session.execute(
        select(IssuingCount.day, IssuingCount.kind, IssuingCount.n)
        .where(IssuingCount.day >= since_day)
        .order_by(IssuingCount.day)
    ):
        by_day.setdefault(day, {})[kind] = n
    return tuple(DayCounts(day, **found) for day, found in by_day.items())
