"""Putting keys on shelves: which shelf a release belongs on, and holding it there until the commit.

Whoever puts something on a shelf holds its row locked against sealing until the commit, and sealing takes
only shelves that nobody holds. So what commits late is on a shelf that has not left, and no key falls between
two windows. Must never wait for sealing, nor let sealing wait for more than uploads that are under way.
"""

import secrets
from collections.abc import Collection

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from registry.lifecycle.inserts import insert_new
from registry.models import Shelf, ShelfUpload
from registry.protocol.intervals import EMBARGO_INTERVALS
from registry.protocol.keys import TemporaryExposureKey

NOW = 0
"""`releasable_at` of a shelf whose keys have waited long enough already: it says no more than that."""


def release_of(key: TemporaryExposureKey, present: int) -> int:
    """When the key may leave, as a shelf says it; `present` is the interval that it is now."""
    releasable_at = key.end_interval_number + EMBARGO_INTERVALS
    return NOW if releasable_at <= present else releasable_at


def new_mark() -> bytes:
    """A mark of one more upload on a shelf (`ShelfUpload`)."""
    return secrets.token_bytes(16)


def open_shelves(
    session: Session, region_set: str, releases: Collection[int], *, is_revision: bool = False
) -> dict[int, int]:
    """An open shelf for each of `releases` (`releasable_at`), by it; made where there is none.

    Locked until the caller's commit against being sealed; others may put keys there meanwhile.
    """
    wanted = set(releases)
    found: dict[int, int] = {}
    while True:
        found |= _locked(session, region_set, wanted - found.keys(), is_revision=is_revision)
        missing = sorted(wanted - found.keys())
        if not missing:
            return found
        rows: list[dict[str, object]] = [
            {
                "region_set": region_set,
                "releasable_at": releasable_at,
                "is_revision": is_revision,
                "is_open": True,
                "revisions": 0,
            }
            for releasable_at in missing
        ]
        # One that another upload makes at this moment is waited for, and found the next time round.
        insert_new(session, Shelf, rows, Shelf.id)


def add_revision(session: Session, shelf_id: int, uploads: int = 1) -> None:
    """One more upload's revisions lie on the shelf, or as many as are named."""
    session.execute(
        update(Shelf)
        .where(Shelf.id == shelf_id)
        .values(revisions=Shelf.revisions + uploads)
        .execution_options(synchronize_session=False)
    )


def forget_uploads(session: Session, shelf_id: int, uploads: int) -> None:
    """So many uploads have no key on the shelf any more. Any mark will do: none can be told to be whose."""
    some = (
        select(ShelfUpload.mark)
        .where(ShelfUpload.shelf_id == shelf_id)
        .order_by(ShelfUpload.mark)
        .limit(uploads)
        .with_for_update(skip_locked=True)
    )
    session.execute(
        delete(ShelfUpload)
        .where(ShelfUpload.shelf_id == shelf_id, ShelfUpload.mark.in_(session.scalars(some).all()))
        .execution_options(synchronize_session=False)
    )


def shelves_that_left(session: Session, shelf_ids: Collection[int]) -> set[int]:
    """Those of the shelves that were sealed. The others cannot be until the caller's commit."""
    rows = session.execute(
        select(Shelf.id, Shelf.window_end)
        .where(Shelf.id.in_(shelf_ids))
        .order_by(Shelf.id)
        .with_for_update(read=True, key_share=True)
    )
    return {shelf_id for shelf_id, window_end in rows if window_end is not None}


def _locked(
    session: Session, region_set: str, releases: Collection[int], *, is_revision: bool
) -> dict[int, int]:
    rows = session.execute(
        select(Shelf.releasable_at, Shelf.id)
        .where(
            Shelf.is_open,
            Shelf.region_set == region_set,
            Shelf.releasable_at.in_(releases),
            Shelf.is_revision.is_(is_revision),
        )
        .order_by(Shelf.id)
        .with_for_update(read=True, key_share=True)
    )
    return {row.releasable_at: row.id for row in rows}
