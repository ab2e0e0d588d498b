"""Part of authorizing: how many codes an authority, and each official, may issue on a day.

A day is a UTC day, as in the contract of existing servers and in every statement: the quota starts anew at
00:00 UTC. It is taken in the transaction that makes the code, by one UPDATE that says whether there was one
left, so that of two at once no more than the limit get through; and what is rolled back was not taken. The
day's limit is fixed with the day's first code or look, and then only by hand or by an approved request.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.forecast import HISTORY_DAYS, ForecastBounds, forecast_quota
from registry.lifecycle.inserts import insert_into, table_of
from registry.models import Authorization, IssuingQuota, Official, QuotaUse
from registry.models.official import Permission
from registry.protocol.activity import ActKind
from registry.protocol.intervals import utc_date

WHOLE_AUTHORITY = ""
"""The `issuer` of an authority's own row."""
MOST_A_DAY = 1_000_000
"""That may be fixed by hand."""

_ROWS = table_of(QuotaUse)
# Made once: putting a statement together costs more than running it.
_TAKE = (
    update(_ROWS)
    .where(
        _ROWS.c.authority_id == bindparam("of_authority"),
        _ROWS.c.issuer == bindparam("of_issuer"),
        _ROWS.c.day == bindparam("of_day"),
        _ROWS.c.most.is_(None) | (_ROWS.c.n < _ROWS.c.most),
    )
    .values(n=_ROWS.c.n + 1)
    .returning(_ROWS.c.n)
)


@dataclass(frozen=True, slots=True)
class QuotaPolicy:
    """Codes a day, where an authority has fixed nothing by hand. The default is the demonstration's."""

    authority: ForecastBounds = field(default=ForecastBounds(100_000, 100_000, 100_000))
    official: int = 100_000
    bulk: int = 100_000
    """Of an official who may issue for many at once."""


@dataclass(frozen=True, slots=True)
class Quota:
    """How far a day's quota is used."""

    used: int
    most: int

    @property
    def left(self) -> int:
        """How many codes are left of it."""
        return max(0, self.most - self.used)

    @property
    def is_short(self) -> bool:
        """Whether four fifths are used."""
        return 5 * self.used >= 4 * self.most


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """What is fixed by hand, in codes a day; none goes by forecast and settings."""

    authority: int | None = None
    official: int | None = None
    bulk: int | None = None


def take_one(
    session: Session,
    *,
    authority_id: str,
    official_id: str | None = None,
    api_key_hash: bytes | None = None,
    policy: QuotaPolicy,
    now: float,
) -> None:
    """Take one code from the day's quotas, in the caller's transaction.

    The rows stay locked until the commit: after this come only `count_one` and `record_act`. Refuses with
    `quota_exceeded`, and the caller must roll back.
    """
    day = utc_date(now)
    issuer = _issuer(official_id, api_key_hash, authority_id)
    # The one issuer's first, then everybody's: in this order no two wait for each other.
    for name in dict.fromkeys((issuer, WHOLE_AUTHORITY)):
        if _taken(session, authority_id, name, day):
            continue
        _begin_day(session, authority_id, name, day, policy)
        if not _taken(session, authority_id, name, day):
            whose = "the authority's" if name == WHOLE_AUTHORITY else "the official's"
            raise Refusal(
                RefusalCode.QUOTA_EXCEEDED,
                f"{whose} codes of today are used up: a supervisor can approve more",
                retry_at=starts_anew(now),
            )


def refund_one(session: Session, authorization: Authorization) -> None:
    """Give back what the code of this statement took, for it failed by a fault of ours.

    In the caller's transaction, with which the code goes. Not for what the recipient's network refused.
    """
    issuer = _issuer(authorization.official_id, authorization.api_key_hash, authorization.authority_id)
    for name in dict.fromkeys((issuer, WHOLE_AUTHORITY)):
        session.execute(
            update(QuotaUse)
            .where(*_row(authorization.authority_id, name, authorization.stated_on), QuotaUse.n > 0)
            .values(n=QuotaUse.n - 1)
            .execution_options(synchronize_session=False)
        )


def hold_quotas(
    session: Session,
    authority_id: str,
    official_id: str,
    refunded: Sequence[Authorization],
    now: float,
) -> None:
    """Lock what is going to be taken from and given back to in one transaction, before anything else is.

    One by one, `take_one` and `refund_one` would lock rows of several issuers after the authority's.
    """
    names = {_issuer(each.official_id, each.api_key_hash, authority_id) for each in refunded}
    days = {each.stated_on for each in refunded}
    session.execute(
        select(QuotaUse.n)
        .where(
            QuotaUse.authority_id == authority_id,
            QuotaUse.issuer.in_({*names, officials_issuer(official_id), WHOLE_AUTHORITY}),
            QuotaUse.day.in_({*days, utc_date(now)}),
        )
        .order_by(QuotaUse.issuer.desc(), QuotaUse.day)
        .with_for_update()
    )


def quota_of(
    session: Session, authority_id: str, official_id: str | None, policy: QuotaPolicy, now: float
) -> Quota:
    """Today's quota of an official, or of the authority where none is named. Writes nothing."""
    day = utc_date(now)
    name = WHOLE_AUTHORITY if official_id is None else _issuer(official_id, None, authority_id)
    found = session.execute(
        select(QuotaUse.n, QuotaUse.most).where(*_row(authority_id, name, day))
    ).one_or_none()
    if found is not None and found.most is not None:
        return Quota(found.n, found.most)
    return Quota(0, _limit(session, authority_id, name, day, policy) or 0)


def add_to_quota(
    session: Session,
    authority_id: str,
    official_id: str | None,
    amount: int,
    *,
    policy: QuotaPolicy,
    now: float,
) -> None:
    """Let there be so many more codes for the rest of the day."""
    day = utc_date(now)
    name = WHOLE_AUTHORITY if official_id is None else _issuer(official_id, None, authority_id)
    _begin_day(session, authority_id, name, day, policy)
    session.execute(
        update(QuotaUse)
        .where(*_row(authority_id, name, day))
        .values(most=QuotaUse.most + amount)
        .execution_options(synchronize_session=False)
    )


def limits_of(session: Session, authority_id: str) -> QuotaLimits:
    """What is fixed by hand."""
    row = session.get(IssuingQuota, authority_id)
    return QuotaLimits() if row is None else QuotaLimits(row.authority_most, row.official_most, row.bulk_most)


def set_limits(
    session: Session,
    authority_id: str,
    limits: QuotaLimits,
    *,
    official_id: str,
    policy: QuotaPolicy,
    now: float,
) -> None:
    """Fix what the quotas are, from now on: today's too, without what was approved for today beside them.

    In the caller's transaction, on record.
    """
    values = {
        "authority_most": limits.authority,
        "official_most": limits.official,
        "bulk_most": limits.bulk,
    }
    session.execute(
        insert_into(session, IssuingQuota)
        .values(authority_id=authority_id, **values)
        .on_conflict_do_update(index_elements=["authority_id"], set_=values)
    )
    session.expire_all()
    day = utc_date(now)
    today = select(QuotaUse).where(
        QuotaUse.authority_id == authority_id, QuotaUse.day == day, QuotaUse.most.is_not(None)
    )
    for row in session.scalars(today.order_by(QuotaUse.issuer.desc()).with_for_update()):
        row.most = _limit(session, authority_id, row.issuer, day, policy)
    session.flush()
    record_act(
        session,
        chain=authority_id,
        kind=ActKind.QUOTA_CHANGED,
        actor=actor_of(official_id=official_id, api_key_hash=None, authority_id=authority_id),
        detail={name: value for name, value in values.items() if value is not None},
        now=now,
    )


def issued_before(session: Session, authority_id: str, issuer: str, day: date) -> list[int]:
    """Numbers issued on each of the `HISTORY_DAYS` before `day`, oldest first."""
    first = day - timedelta(days=HISTORY_DAYS)
    found = session.execute(
        select(QuotaUse.day, QuotaUse.n).where(
            QuotaUse.authority_id == authority_id,
            QuotaUse.issuer == issuer,
            QuotaUse.day >= first,
            QuotaUse.day < day,
        )
    )
    by_day = {row.day: row.n for row in found}
    return [by_day.get(first + timedelta(days=place), 0) for place in range(HISTORY_DAYS)]


def officials_issuer(official_id: str) -> str:
    """How an official's own rows are named."""
    return _issuer(official_id, None, "")


def starts_anew(now: float) -> int:
    """When the next day begins, in unix seconds."""
    return int(datetime.combine(utc_date(now) + timedelta(days=1), time(), UTC).timestamp())


def _issuer(official_id: str | None, api_key_hash: bytes | None, authority_id: str) -> str:
    if official_id is None and api_key_hash is None:
        return WHOLE_AUTHORITY
    return actor_of(official_id=official_id, api_key_hash=api_key_hash, authority_id=authority_id)


def _row(authority_id: str, issuer: str, day: date) -> Sequence[ColumnElement[bool]]:
    return (QuotaUse.authority_id == authority_id, QuotaUse.issuer == issuer, QuotaUse.day == day)


def _taken(session: Session, authority_id: str, issuer: str, day: date) -> bool:
    """Whether there was one left, and now is one less."""
    asked = {"of_authority": authority_id, "of_issuer": issuer, "of_day": day}
    return session.execute(_TAKE, asked).first() is not None


def _begin_day(session: Session, authority_id: str, issuer: str, day: date, policy: QuotaPolicy) -> None:
    """Make the day's row, unless it is there: of two at once one makes it."""
    session.execute(
        insert_into(session, QuotaUse)
        .values(
            authority_id=authority_id,
            issuer=issuer,
            day=day,
            n=0,
            most=_limit(session, authority_id, issuer, day, policy),
        )
        .on_conflict_do_nothing()
    )


def _limit(session: Session, authority_id: str, issuer: str, day: date, policy: QuotaPolicy) -> int | None:
    """The day's limit before more was asked for; none for an API key, which only the authority's bounds."""
    fixed = limits_of(session, authority_id)
    if issuer == WHOLE_AUTHORITY:
        if fixed.authority is not None:
            return fixed.authority
        return forecast_quota(issued_before(session, authority_id, issuer, day), policy.authority)
    kind, _, official_id = issuer.partition(":")
    if kind != "official":
        return None
    official = session.get(Official, official_id)
    if official is not None and Permission.BULK in official.permissions:
        return policy.bulk if fixed.bulk is None else fixed.bulk
    return policy.official if fixed.official is None else fixed.official
