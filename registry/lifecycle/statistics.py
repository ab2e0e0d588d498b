"""Issuing half: what is counted of codes, how it leaves, and what officials' own acts add up to.

Of phones there are counts by day, authority and bin, which become figures when the day is over and are
destroyed with that (`registry.models.statistics`). Of officials and systems there are statements, counted as
they lie there: those are their own acts, exact, and no patient's. Must never count what became of one
official's codes: who hands out three a day would learn which of three people's phones called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.lifecycle.inserts import insert_into, table_of
from registry.lifecycle.noise import RandomBelow, release, secrets_below
from registry.models import (
    Authority,
    Authorization,
    ClaimCount,
    ReleasedFigures,
    SmsErrorCount,
    VerificationCode,
)
from registry.protocol.intervals import utc_date

REDEEMED, DELAY, CERTIFIED, EXPIRED = "redeemed", "delay", "certified", "expired"
"""Tables of figures: codes that a phone used, after how long, certificates given, codes that ended unused."""
UPLOADS, REGIONS, ONSET, OLDEST = "uploads", "regions", "onset", "oldest"
"""Of the other half: uploads, by region, by days since the onset, by the age of their oldest key."""
ONSET_DAYS, OLDEST_DAYS = 30, 16
"""Bins of whole days; the last one of each holds what is more."""
NO_ONSET = "none"
ALL = "all"
"""The one cell of a table that is a number alone."""

DELAY_BINS = {
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "2h": 7200,
    "3h": 10_800,
    "6h": 21_600,
    "12h": 43_200,
    "24h": 86_400,
}
"""By name, seconds that the delay did not exceed. The grain is the expiry's, a quarter of an hour."""
LONGER = "longer"
_GRAIN_SECONDS = 900

DAY_IS_OVER_AFTER_SECONDS = 3600
"""What is under way at midnight has committed by then."""
CATCH_UP_DAYS = 30
"""Days further back are not made up for, should nothing have run for so long."""


@dataclass(frozen=True, slots=True)
class IssuedBy:
    """How many codes somebody, or something, issued on a UTC day. Exact: their own acts."""

    day: date
    issuer: str
    n: int


def count_redeemed(
    session: Session, authority_id: str, *, expires_at: int, life_seconds: int, now: float
) -> None:
    """One more code was used, in the caller's transaction. Its day's row stays locked until the commit."""
    _count(session, authority_id, DELAY, delay_bin(expires_at, life_seconds, now), now)


def count_certified(session: Session, authority_id: str, now: float) -> None:
    """One more certificate was given, in the caller's transaction."""
    _count(session, authority_id, CERTIFIED, ALL, now)


def count_sms_error(session: Session, authority_id: str, code: str, now: float) -> None:
    """An SMS did not go out as wanted; `code` is a word of ours, of 32 characters at most."""
    rows = table_of(SmsErrorCount)
    session.execute(
        insert_into(session, SmsErrorCount)
        .values(day=utc_date(now), authority_id=authority_id, code=code[:32], n=1)
        .on_conflict_do_update(index_elements=["day", "authority_id", "code"], set_={"n": rows.c.n + 1})
    )


def delay_bin(expires_at: int, life_seconds: int, now: float) -> str:
    """The bin of a code that is used now, by the longest that it can have been good for.

    When it was issued is not known but to a quarter of an hour, from its expiry: so the answer may be a bin
    too late, never one too early. Of a code that was extended the delay counts from the extension.
    """
    longest = now - (expires_at - life_seconds) + _GRAIN_SECONDS
    return next((name for name, bound in DELAY_BINS.items() if longest <= bound), LONGER)


def last_day_over(now: float) -> date:
    """The newest UTC day of which figures may leave."""
    return utc_date(now - DAY_IS_OVER_AFTER_SECONDS) - timedelta(days=1)


def release_claims(session: Session, now: float, random_below: RandomBelow = secrets_below) -> int:
    """Make figures of every day that is over and has none yet, and destroy its counts; how many days.

    The caller commits: a crash before that leaves the counts, and no figure that anybody has seen.
    """
    last, released = last_day_over(now), 0
    for authority_id in session.scalars(select(Authority.id).order_by(Authority.id)).all():
        for day in due_days(_newest(session, authority_id, REDEEMED), last):
            _release_day(session, authority_id, day, random_below)
            released += 1
    session.execute(delete(ClaimCount).where(ClaimCount.day <= last))
    return released


def days_without_uploads(session: Session, authority_id: str, now: float) -> list[date]:
    """The days of which the other half's figures are still to be taken over, oldest first."""
    return due_days(_newest(session, authority_id, UPLOADS), last_day_over(now))


def due_days(newest: date | None, last: date) -> list[date]:
    """The days without figures up to `last`, oldest first; of an authority that has none yet, that day."""
    if newest is None:
        return [last]
    first = max(newest + timedelta(days=1), last - timedelta(days=CATCH_UP_DAYS))
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def keep_figures(session: Session, authority_id: str, day: date, name: str, cells: Mapping[str, int]) -> None:
    """Write a table down, once: one that is there stays as it is."""
    session.execute(
        insert_into(session, ReleasedFigures)
        .values(day=day, authority_id=authority_id, name=name, cells=dict(cells))
        .on_conflict_do_nothing()
    )


def figures(
    session: Session, authority_id: str, first: date, last: date
) -> dict[date, dict[str, dict[str, int]]]:
    """By day and name, the tables that were let go from `first` to `last`; the same for ever."""
    found: dict[date, dict[str, dict[str, int]]] = {}
    rows = session.execute(
        select(ReleasedFigures.day, ReleasedFigures.name, ReleasedFigures.cells)
        .where(ReleasedFigures.authority_id == authority_id, ReleasedFigures.day.between(first, last))
        .order_by(ReleasedFigures.day, ReleasedFigures.name)
    )
    for day, name, cells in rows:
        found.setdefault(day, {})[name] = cells
    return found


_IS_SELF_REPORT = Authorization.report_type == "user-report"
"""People's own acts: no exact number of them may leave, nor be had by taking others from a sum."""


def issued(session: Session, authority_id: str, first: date, last: date) -> dict[date, int]:
    """By day, all codes that the authority's officials and systems issued."""
    rows = session.execute(
        select(Authorization.stated_on, func.count())
        .where(
            Authorization.authority_id == authority_id,
            Authorization.stated_on.between(first, last),
            ~_IS_SELF_REPORT,
        )
        .group_by(Authorization.stated_on)
    )
    return {day: n for day, n in rows.all()}  # noqa: C416  # rows are no pairs to a type checker


def issued_by_officials(
    session: Session, authority_id: str, first: date, last: date, official_id: str | None = None
) -> Sequence[IssuedBy]:
    """By day and official's id; of one official alone if one is named."""
    one = () if official_id is None else (Authorization.official_id == official_id,)
    return _issued_by(session, authority_id, first, last, Authorization.official_id, *one)


def issued_by_external_issuers(
    session: Session, authority_id: str, first: date, last: date
) -> Sequence[IssuedBy]:
    """By day and the name that a system gave for who issued through it."""
    return _issued_by(session, authority_id, first, last, Authorization.external_issuer_id)


def issued_by_api_key(
    session: Session, authority_id: str, first: date, last: date, key_hash: bytes | None = None
) -> Sequence[IssuedBy]:
    """By day, through API keys, told by their keyed hash in hex; of one key alone if one is named."""
    one = () if key_hash is None else (Authorization.api_key_hash == key_hash,)
    return _issued_by(session, authority_id, first, last, Authorization.api_key_hash, *one)


def sms_errors(session: Session, authority_id: str, first: date, last: date) -> Sequence[IssuedBy]:
    """By day and the gateway's code."""
    rows = session.execute(
        select(SmsErrorCount.day, SmsErrorCount.code, SmsErrorCount.n)
        .where(SmsErrorCount.authority_id == authority_id, SmsErrorCount.day.between(first, last))
        .order_by(SmsErrorCount.day, SmsErrorCount.code)
    )
    return [IssuedBy(day, code, n) for day, code, n in rows]


def _issued_by(
    session: Session,
    authority_id: str,
    first: date,
    last: date,
    who: InstrumentedAttribute[str | None] | InstrumentedAttribute[bytes | None],
    *more: ColumnElement[bool],
) -> Sequence[IssuedBy]:
    rows = session.execute(
        select(Authorization.stated_on, who, func.count())
        .where(
            Authorization.authority_id == authority_id,
            Authorization.stated_on.between(first, last),
            who.is_not(None),
            ~_IS_SELF_REPORT,
            *more,
        )
        .group_by(Authorization.stated_on, who)
        .order_by(Authorization.stated_on, who)
    )
    return [
        IssuedBy(day, issuer.hex() if isinstance(issuer, bytes) else str(issuer), n)
        for day, issuer, n in rows
    ]


def _count(session: Session, authority_id: str, name: str, cell: str, now: float) -> None:
    rows = table_of(ClaimCount)
    session.execute(
        insert_into(session, ClaimCount)
        .values(day=utc_date(now), authority_id=authority_id, name=name, cell=cell, n=1)
        .on_conflict_do_update(
            index_elements=["day", "authority_id", "name", "cell"], set_={"n": rows.c.n + 1}
        )
    )


def _newest(session: Session, authority_id: str, name: str) -> date | None:
    return session.scalar(
        select(func.max(ReleasedFigures.day)).where(
            ReleasedFigures.authority_id == authority_id, ReleasedFigures.name == name
        )
    )


def _release_day(session: Session, authority_id: str, day: date, random_below: RandomBelow) -> None:
    counted = {
        (name, cell): n
        for name, cell, n in session.execute(
            select(ClaimCount.name, ClaimCount.cell, ClaimCount.n).where(
                ClaimCount.authority_id == authority_id, ClaimCount.day == day
            )
        )
    }
    delays = {cell: counted.get((DELAY, cell), 0) for cell in (*DELAY_BINS, LONGER)}
    tables = {
        REDEEMED: {ALL: sum(delays.values())},
        DELAY: delays,
        CERTIFIED: {ALL: counted.get((CERTIFIED, ALL), 0)},
        EXPIRED: {ALL: _ended_unused(session, authority_id, day)},
    }
    for name, cells in tables.items():
        keep_figures(session, authority_id, day, name, release(cells, random_below=random_below))


def _ended_unused(session: Session, authority_id: str, day: date) -> int:
    begins = int(datetime.combine(day, time(), UTC).timestamp())
    unused = select(func.count()).where(
        VerificationCode.authority_id == authority_id,
        VerificationCode.claimed.is_(False),
        VerificationCode.expires_at > begins,
        VerificationCode.expires_at <= begins + 86_400,
    )
    return session.scalar(unused) or 0
