"""Which shelves leave: all regions' windows are closed in one transaction, the commit point of publishing.

In one, because a key that left in one region and was held back in another would tell by the difference
where its person has been. A region's batch leaves at a window's end if it holds the floor of uploads, and in
any case at the end of its slot; a window whose batch waits is closed without a file. Never lets a shelf go
whose regions do not all publish, nor one with a key whose embargo is not over.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from registry.lifecycle.publish.decoys import add_decoys, group_revisions, revise_decoys
from registry.lifecycle.publish.policy import PublicationPolicy
from registry.lifecycle.shelves import NOW
from registry.lifecycle.upload_figures import count_leaving
from registry.models import Batch, BatchShelf, BatchState, DiagnosisKey, Receipt, Shelf, ShelfUpload
from registry.models.batch import newest_batch
from registry.models.diagnosis_key import newest_key_end
from registry.models.shelf import regions_of_set
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at


def close_shelves(session: Session, *, policy: PublicationPolicy, now: float) -> None:
    """Let nothing more be put on the shelves that are due, so that sealing finds them free.

    The caller commits, before it seals. Waits for nobody: uploads that hold a shelf keep it until they
    commit, and later ones begin a new one. A crash in between leaves closed shelves, which leave like others.
    """
    session.execute(
        update(Shelf)
        .where(Shelf.is_open, Shelf.releasable_at <= interval_at(policy.window_end(now)))
        .values(is_open=False)
        .execution_options(synchronize_session=False)
    )


def seal_windows(session: Session, regions: Collection[str], *, policy: PublicationPolicy, now: float) -> int:
    """Close each region's window that ended last, unless it is closed; how many were closed.

    Call it inside `fenced`. After downtime a window covers the gap. A crash before the commit leaves the
    keys pending; after it, sealed batches that the next run finishes.
    """
    window_end = policy.window_end(now)
    batches = {
        region: batch
        for region in sorted(set(regions))
        if (batch := _new_batch(session, region, window_end, policy)) is not None
    }
    if not batches:
        return 0
    session.add_all(batches.values())
    session.flush()
    revise_decoys(session, batches, policy)
    leaving, publishing = _leaving(session, batches, policy)
    if publishing:
        # Only now is it known whose batches go out; what is added to their shelves leaves with them.
        group_revisions(session, {region: batches[region] for region in publishing}, policy)
        leaving, publishing = _leaving(session, batches, policy)
    fresh = Counter[str]()
    for shelf in leaving:
        fresh[shelf.region_set] += shelf.fresh_uploads
    made = add_decoys(session, {region: batches[region] for region in publishing}, fresh, policy)
    shelves = dict([*((shelf.id, shelf.region_set) for shelf in leaving), *made])
    for shelf_id, region_set in shelves.items():
        session.execute(
            update(Shelf)
            .where(Shelf.id == shelf_id)
            .values(is_open=False, window_end=window_end)
            .execution_options(synchronize_session=False)
        )
        session.add_all(
            BatchShelf(batch_id=batches[region].id, shelf_id=shelf_id)
            for region in sorted(regions_of_set(region_set))
        )
    # The marks are what is counted, and decoy users leave none.
    count_leaving(session, list(shelves), window_end)
    session.execute(delete(ShelfUpload).where(ShelfUpload.shelf_id.in_(shelves)))
    session.flush()
    for region, batch in batches.items():
        own = [shelf_id for shelf_id, region_set in shelves.items() if region in regions_of_set(region_set)]
        batch.newest_key_end = newest_key_end(session, own, newer_than=policy.last_end_retired(window_end))
        _take_receipts(session, batch, own)
    return len(batches)


def is_window_due(
    session: Session, regions: Collection[str], *, policy: PublicationPolicy, now: float
) -> bool:
    """Whether `seal_windows` would close a window of any of these regions."""
    window_end = policy.window_end(now)
    return any(_new_batch(session, region, window_end, policy) for region in regions)


def is_clock_behind(
    session: Session, regions: Collection[str], *, policy: PublicationPolicy, now: float
) -> bool:
    """Whether a window of these regions was closed that, by `now`, has not even begun.

    Then the clock was set back, or had been ahead, and nothing is sealed there until it has caught up.
    """
    newest = (newest_batch(session, region) for region in regions)
    return any(batch is not None and now <= batch.window_end - policy.window_seconds for batch in newest)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A shelf that may leave: free, its time come, no key under embargo. `uploads` have keys on it."""

    id: int
    region_set: str
    releasable_at: int
    is_revision: bool
    uploads: int

    @property
    def regions(self) -> frozenset[str]:
        return regions_of_set(self.region_set)

    @property
    def fresh_uploads(self) -> int:
        """Of people who are in no file yet. Whoever's key an embargo kept back, or is revised, was counted
        with an earlier one, and hides nobody who is new.
        """
        return 0 if self.is_revision or self.releasable_at != NOW else self.uploads


def _leaving(
    session: Session, batches: Mapping[str, Batch], policy: PublicationPolicy
) -> tuple[list[_Pending], frozenset[str]]:
    """The shelves that leave in this window, and the regions whose batches go out."""
    window_end = next(iter(batches.values())).window_end
    pending = _pending_shelves(session, interval_at(window_end))
    at_slots_end = {
        region for region, batch in batches.items() if policy.ends_slot(batch.window_start, batch.window_end)
    }
    publishing = set(batches)
    while True:
        together = [shelf for shelf in pending if shelf.regions <= publishing]
        short = {
            region
            for region in publishing - at_slots_end
            if _in_region(together, region) < max(1, policy.floor)
        }
        if not short:
            return together, frozenset(publishing)
        # Without these, shelves that they share with others stay as well, which may leave those short too.
        publishing -= short


def _in_region(shelves: Sequence[_Pending], region: str) -> int:
    """Of how many uploads there are keys for the region, at the least, whatever kept them until now."""
    sets = {shelf.region_set for shelf in shelves if region in shelf.regions}
    return sum(_uploads(shelves, region_set) for region_set in sets)


def _uploads(shelves: Sequence[_Pending], region_set: str) -> int:
    """Of how many uploads there are keys for just these regions, at the least.

    One may have keys that come at different times, and counts once; on shelves of one kind it has them once.
    """
    by_kind: Counter[tuple[int, bool]] = Counter()
    for shelf in shelves:
        if shelf.region_set == region_set:
            by_kind[shelf.releasable_at, shelf.is_revision] += shelf.uploads
    return max(by_kind.values(), default=0)


def _pending_shelves(session: Session, at: int) -> list[_Pending]:
    """Shelves that may leave at interval `at`. One that an upload or a revision holds waits its turn."""
    rows = session.execute(
        select(Shelf.id, Shelf.region_set, Shelf.releasable_at, Shelf.is_revision, Shelf.revisions)
        .where(Shelf.window_end.is_(None), Shelf.releasable_at <= at)
        .order_by(Shelf.id)
        .with_for_update(skip_locked=True)
    ).all()
    ids = [row.id for row in rows]
    # The embargo is asked of the keys themselves too, so that a wrong `releasable_at` delays and never leaks.
    newest = dict(
        session.execute(
            select(DiagnosisKey.shelf_id, func.max(DiagnosisKey.end_interval_number))
            .where(DiagnosisKey.shelf_id.in_(ids))
            .group_by(DiagnosisKey.shelf_id)
        ).all()
    )
    uploads = dict(
        session.execute(
            select(ShelfUpload.shelf_id, func.count())
            .where(ShelfUpload.shelf_id.in_(ids))
            .group_by(ShelfUpload.shelf_id)
        ).all()
    )
    return [
        _Pending(
            row.id,
            row.region_set,
            row.releasable_at,
            row.is_revision,
            row.revisions if row.is_revision else uploads.get(row.id, 0),
        )
        for row in rows
        if newest.get(row.id, 0) <= at - EMBARGO_INTERVALS
    ]


def _take_receipts(session: Session, batch: Batch, shelf_ids: Sequence[int]) -> None:
    session.execute(
        update(Receipt)
        .where(Receipt.region == batch.region, Receipt.batch_id.is_(None), Receipt.shelf_id.in_(shelf_ids))
        .values(batch_id=batch.id)
        .execution_options(synchronize_session=False)
    )


def _new_batch(session: Session, region: str, window_end: int, policy: PublicationPolicy) -> Batch | None:
    newest = newest_batch(session, region)
    # Also when the clock was set back: then nothing is due until it has caught up.
    if newest is not None and window_end <= newest.window_end:
        return None
    return Batch(
        region=region,
        sequence=newest.sequence + 1 if newest else 1,
        window_start=newest.window_end if newest else window_end - policy.window_seconds,
        window_end=window_end,
        state=BatchState.SEALED,
    )
