"""Officials whose figures look odd, by name, for whoever looks after them: a hint, and never a judgement.

Two rules, both robust: nobody's single busy day moves them. Many codes: a day of 20 or more that lies far
above the official's own days, or, of whom there are few, above the colleagues'. Few used: of 20 or more codes
that have ended, less than half the share that the colleagues' codes have. Nothing here tells when a phone
called: what counts as used was told already, and of ended codes alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from registry.lifecycle.forecast import HISTORY_DAYS
from registry.lifecycle.quota import officials_issuer
from registry.models import Authorization, Official, QuotaUse, VerificationCode
from registry.protocol.intervals import utc_date

LEAST_CODES = 20
"""Of a day, or that have ended: below that no figure is odd."""
LEAST_OWN_DAYS = 10
"""With a code, from which on somebody is held against their own days."""
LEAST_PEERS_DAYS = 10
MOST_SPREADS = 6
"""Above the middle: how far is far."""
LEAST_SHARE = 0.5
"""Of the colleagues' share of used codes."""


@dataclass(frozen=True, slots=True)
class ManyCodes:
    """An official issued `n` on `day`, where `usual` is the middle one of the days it is held against."""

    official_id: str
    name: str
    day: date
    n: int
    usual: float
    is_against_own: bool


@dataclass(frozen=True, slots=True)
class FewUsed:
    """Of an official's `ended` codes `used` were used; of the colleagues' the share `others` (0 to 1)."""

    official_id: str
    name: str
    ended: int
    used: int
    others: float


def is_far_above(n: int, days: Sequence[int]) -> bool:
    """Whether `n` is 20 or more, and six spreads above the middle one of these days.

    A spread is the median distance from the middle, but not less than a tenth of it, nor than one: people
    who always issue thirty may issue thirty-five.
    """
    middle = median(days) if days else 0
    spread = max(median(abs(day - middle) for day in days) if days else 0, middle / 10, 1)
    return n >= LEAST_CODES and n > middle + MOST_SPREADS * spread


def many_codes(session: Session, authority_id: str, now: float) -> list[ManyCodes]:
    """Whose yesterday or today lies far above the days before."""
    today = utc_date(now)
    names = _names(session, authority_id)
    by_official = _counts(session, authority_id, today)
    found = []
    for official_id, name in sorted(names.items(), key=lambda item: item[1]):
        for day in (today - timedelta(days=1), today):
            own = by_official.get(official_id, {})
            n = own.get(day, 0)
            before = [count for when, count in own.items() if when < day]
            is_against_own = len(before) >= LEAST_OWN_DAYS
            days = before if is_against_own else _others(by_official, official_id, day)
            if (is_against_own or len(days) >= LEAST_PEERS_DAYS) and is_far_above(n, days):
                found.append(ManyCodes(official_id, name, day, n, median(days), is_against_own))
    return found


def few_used(session: Session, authority_id: str, now: float) -> list[FewUsed]:
    """Of whose codes far fewer are used than of the colleagues'."""
    rows = session.execute(
        select(
            Authorization.official_id,
            func.count().label("ended"),
            func.sum(case((VerificationCode.claim_told, 1), else_=0)).label("used"),
        )
        .join(Authorization, Authorization.id == VerificationCode.authorization_id)
        .where(
            VerificationCode.authority_id == authority_id,
            VerificationCode.expires_at <= now,
            Authorization.official_id.is_not(None),
        )
        .group_by(Authorization.official_id)
    ).all()
    names = _names(session, authority_id)
    all_ended, all_used = sum(row.ended for row in rows), sum(row.used for row in rows)
    found = []
    for row in rows:
        others_ended = all_ended - row.ended
        if row.ended < LEAST_CODES or others_ended < LEAST_CODES:
            continue
        others = (all_used - row.used) / others_ended
        if row.used / row.ended < LEAST_SHARE * others:
            name = names.get(row.official_id, row.official_id)
            found.append(FewUsed(row.official_id, name, row.ended, row.used, others))
    return sorted(found, key=lambda each: each.name)


def _counts(session: Session, authority_id: str, today: date) -> dict[str, dict[date, int]]:
    """Numbers by official and day, of days on which the official issued any."""
    prefix = officials_issuer("")
    found: dict[str, dict[date, int]] = {}
    for issuer, day, n in session.execute(
        select(QuotaUse.issuer, QuotaUse.day, QuotaUse.n).where(
            QuotaUse.authority_id == authority_id,
            QuotaUse.issuer.startswith(prefix, autoescape=True),
            QuotaUse.day >= today - timedelta(days=HISTORY_DAYS),
            QuotaUse.n > 0,
        )
    ):
        found.setdefault(issuer.removeprefix(prefix), {})[day] = n
    return found


def _others(by_official: dict[str, dict[date, int]], official_id: str, last: date) -> list[int]:
    """The colleagues' days up to `last`."""
    return [
        n
        for other, days in by_official.items()
        if other != official_id
        for day, n in days.items()
        if day <= last
    ]


def _names(session: Session, authority_id: str) -> dict[str, str]:
    wanted = select(Official.id, Official.name).where(Official.authority_id == authority_id)
    return {row.id: row.name for row in session.execute(wanted)}
