"""Collecting half: uploads counted as they leave, and the figures of the days that are over.

An upload is counted by the mark that it left on the shelf of its first keys, in the transaction that seals
the shelf: the statement that stores an upload waits for no counter, decoy users leave no mark and cannot be
counted, and what was taken back before it left is not. Must never name an upload, nor tell of less than a
day.
"""

from collections import Counter
from collections.abc import Collection
from datetime import date, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from registry.errors import CertificateInvalid, Malformed
from registry.lifecycle.inserts import insert_into, table_of
from registry.lifecycle.noise import RandomBelow, release, secrets_below
from registry.lifecycle.statistics import (
    ALL,
    NO_ONSET,
    OLDEST,
    OLDEST_DAYS,
    ONSET,
    ONSET_DAYS,
    REGIONS,
    UPLOADS,
    due_days,
    last_day_over,
)
from registry.models import (
    HealthAuthority,
    HealthAuthorityKey,
    Shelf,
    ShelfUpload,
    UploadCount,
    UploadFigures,
)
from registry.models.feed import feeds
from registry.models.shelf import regions_of_set
from registry.protocol.certificate import MAX_LIFE_SECONDS, load_public_key, read_jwt, verify_jwt
from registry.protocol.feeds import feeds_of
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at, utc_date

AUDIENCE = "keyserver"
"""Of the tokens by which an authority asks for its figures (the field's word)."""
_ONLY_IN_CERTIFICATES = ("tekmac", "reportType")


def days_before(interval: int, now: float, bins: int) -> int:
    """Whole UTC days from the day of `interval` to today, in so many bins of which the last is open."""
    days = interval_at(now) // INTERVALS_PER_DAY - interval // INTERVALS_PER_DAY
    return max(0, min(days, bins - 1))


def count_leaving(session: Session, shelf_ids: Collection[int], window_end: int) -> None:
    """Count the uploads whose first keys lie on these shelves, in the transaction that seals them."""
    counted: Counter[tuple[str | None, str, str]] = Counter()
    for region_set, authority_id, onset, oldest, n in session.execute(
        select(
            Shelf.region_set,
            ShelfUpload.health_authority_id,
            ShelfUpload.onset_days,
            ShelfUpload.oldest_days,
            func.count(),
        )
        .join(Shelf, Shelf.id == ShelfUpload.shelf_id)
        .where(
            ShelfUpload.shelf_id.in_(shelf_ids),
            ShelfUpload.health_authority_id.is_not(None),
            ShelfUpload.oldest_days.is_not(None),
        )
        .group_by(
            Shelf.region_set,
            ShelfUpload.health_authority_id,
            ShelfUpload.onset_days,
            ShelfUpload.oldest_days,
        )
    ):
        counted[authority_id, UPLOADS, ALL] += n
        counted[authority_id, ONSET, NO_ONSET if onset is None else str(onset)] += n
        counted[authority_id, OLDEST, str(oldest)] += n
        for region in regions_of_set(region_set):
            counted[authority_id, REGIONS, region] += n
    rows, day = table_of(UploadCount), utc_date(window_end - 1)
    for (authority_id, name, cell), n in sorted(counted.items(), key=str):
        session.execute(
            insert_into(session, UploadCount)
            .values(day=day, health_authority_id=authority_id, name=name, cell=cell, n=n)
            .on_conflict_do_update(
                index_elements=["day", "health_authority_id", "name", "cell"], set_={"n": rows.c.n + n}
            )
        )


def release_uploads(session: Session, now: float, random_below: RandomBelow = secrets_below) -> None:
    """Make figures of every day that is over and has none yet, and destroy its counts. The caller commits."""
    last = last_day_over(now)
    stated = feeds(session)
    for authority_id, own in session.execute(
        select(HealthAuthority.id, HealthAuthority.regions).order_by(HealthAuthority.id)
    ).all():
        # All that the authority's uploads can go out in, whoever has travelled and whether or not they did.
        regions = {*feeds_of(own, stated, traveler=False), *feeds_of(own, stated, traveler=True)}
        newest = session.scalar(
            select(func.max(UploadFigures.day)).where(UploadFigures.health_authority_id == authority_id)
        )
        for day in due_days(newest, last):
            _release_day(session, authority_id, day, sorted(regions), random_below)
    session.execute(delete(UploadCount).where(UploadCount.day <= last))


def upload_figures(
    session: Session, authority_id: str, first: date, last: date
) -> dict[date, dict[str, dict[str, int]]]:
    """By day and name, the tables that were let go from `first` to `last`; the same for ever."""
    found: dict[date, dict[str, dict[str, int]]] = {}
    rows = session.execute(
        select(UploadFigures.day, UploadFigures.name, UploadFigures.cells)
        .where(UploadFigures.health_authority_id == authority_id, UploadFigures.day.between(first, last))
        .order_by(UploadFigures.day, UploadFigures.name)
    )
    for day, name, cells in rows:
        found.setdefault(day, {})[name] = cells
    return found


def authority_of_token(session: Session, token: str, now: float) -> str:
    """The id of the authority that signed this token to ask for its figures.

    ES256 under one of its certificate keys that is live, `iss` its issuer, `aud` `keyserver`, `exp` to come
    and within a day. Never a verification certificate, which every phone has. Raises CertificateInvalid.
    """
    try:
        header, unverified = read_jwt(token)
        rows = session.execute(
            select(HealthAuthority.id, HealthAuthorityKey.public_key_pem)
            .join(HealthAuthorityKey, HealthAuthorityKey.health_authority_id == HealthAuthority.id)
            .where(
                HealthAuthority.certificate_issuer == _text(unverified.get("iss")),
                HealthAuthorityKey.key_id == _text(header["kid"]),
                HealthAuthorityKey.not_before <= now,
                HealthAuthorityKey.not_after > now,
            )
        ).all()
        if len(rows) != 1:
            raise CertificateInvalid("no authority is known by this 'iss' and 'kid'")
        claims = verify_jwt(token, load_public_key(rows[0].public_key_pem))
    except Malformed as error:
        raise CertificateInvalid(str(error)) from error
    if claims.get("aud") not in (AUDIENCE, [AUDIENCE]):
        raise CertificateInvalid(f"the token's 'aud' must be {AUDIENCE}")
    if any(name in claims for name in _ONLY_IN_CERTIFICATES):
        raise CertificateInvalid("a verification certificate asks for no figures")
    ends = claims.get("exp")
    if (
        isinstance(ends, bool)
        or not isinstance(ends, int | float)
        or not now < ends <= now + MAX_LIFE_SECONDS
    ):
        raise CertificateInvalid("the token must end, within a day, and not have ended")
    return str(rows[0].id)


def _text(value: object) -> str:
    # A database's text has no NUL.
    if not isinstance(value, str) or "\0" in value:
        raise CertificateInvalid("'iss' and 'kid' must be texts")
    return value


def _release_day(
    session: Session, authority_id: str, day: date, regions: list[str], random_below: RandomBelow
) -> None:
    counted = {
        (name, cell): n
        for name, cell, n in session.execute(
            select(UploadCount.name, UploadCount.cell, UploadCount.n).where(
                UploadCount.health_authority_id == authority_id, UploadCount.day == day
            )
        )
    }
    cells_of = {
        UPLOADS: [ALL],
        REGIONS: regions,
        ONSET: [*map(str, range(ONSET_DAYS)), NO_ONSET],
        OLDEST: [*map(str, range(OLDEST_DAYS))],
    }
    for name, cells in cells_of.items():
        # One upload is one in each of its regions, and one in one bin of every other table.
        sensitivity = max(1, len(regions)) if name == REGIONS else 1
        table = {cell: counted.get((name, cell), 0) for cell in cells}
        session.execute(
            insert_into(session, UploadFigures)
            .values(
                day=day,
                health_authority_id=authority_id,
                name=name,
                cells=release(table, sensitivity=sensitivity, random_below=random_below),
            )
            .on_conflict_do_nothing()
        )


def newest_days(now: float, days: int) -> tuple[date, date]:
    """The first and the last of so many days that are over."""
    last = last_day_over(now)
    return last - timedelta(days=days - 1), last
