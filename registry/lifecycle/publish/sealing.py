"""Which keys go: all regions' windows are closed in one transaction, the commit point of publishing.

In one, because a key that left in one region and was held back in another would tell by the difference
where its person has been. Never gives a batch a key whose releases in these regions do not go together.
"""

from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.lifecycle.publish.policy import PublicationPolicy
from registry.models import Batch, BatchState, Receipt
from registry.models.batch import newest_batch
from registry.models.diagnosis_key import (
    assign_pending_releases,
    hold_back_divided_keys,
    newest_key_end,
)
from registry.protocol.intervals import interval_at


def seal_windows(session: Session, regions: Collection[str], *, policy: PublicationPolicy, now: float) -> int:
    """Close each region's window that ended last, unless it is closed; how many were closed.

    Call it inside `fenced`. After downtime a window covers the gap. A crash before the commit leaves the
    keys pending; after it, sealed batches that the next run finishes.
    """
    window_end = int(now // policy.window_seconds) * policy.window_seconds
    batches = [
        batch for region in sorted(regions) if (batch := _new_batch(session, region, window_end, policy))
    ]
    session.add_all(batches)
    session.flush()
    at = interval_at(window_end)
    for batch in batches:
        assign_pending_releases(
            session, batch.id, batch.region, at=at, newer_than=policy.last_end_retired(window_end)
        )
    hold_back_divided_keys(session, [batch.id for batch in batches], regions, at=at)
    for batch in batches:
        batch.newest_key_end = newest_key_end(session, batch.id)
        _assign_pending_receipts(session, batch)
    return len(batches)


def is_window_due(
    session: Session, regions: Collection[str], *, policy: PublicationPolicy, now: float
) -> bool:
    """Whether `seal_windows` would close a window of any of these regions."""
    window_end = int(now // policy.window_seconds) * policy.window_seconds
    return any(_new_batch(session, region, window_end, policy) for region in regions)


def is_clock_behind(
    session: Session, regions: Collection[str], *, policy: PublicationPolicy, now: float
) -> bool:
    """Whether a window of these regions was closed that, by `now`, has not even begun.

    Then the clock was set back, or had been ahead, and nothing is sealed there until it has caught up.
    """
    newest = (newest_batch(session, region) for region in regions)
    return any(batch is not None and now <= batch.window_end - policy.window_seconds for batch in newest)


def _assign_pending_receipts(session: Session, batch: Batch) -> None:
    """Give the region's pending receipts to the batch. One that an upload holds locked waits for the next."""
    pending = (
        select(Receipt.commitment)
        .where(Receipt.region == batch.region, Receipt.batch_id.is_(None))
        .with_for_update(skip_locked=True)
    )
    session.execute(
        update(Receipt)
        .where(Receipt.commitment.in_(pending))
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
