"""The books of both halves side by side: what was issued, redeemed, certified, uploaded, published.

Counts only: no row of one half is ever matched with one of the other, and nothing finer than a day or a
batch comes out. Reads; must never write.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import Malformed
from registry.lifecycle.counts import DayCounts, counts
from registry.models import Batch, BatchState, Receipt
from registry.protocol.index import manifest_path
from registry.protocol.manifest import decode_manifest, manifest_digest
from registry.protocol.receipt import all_receipt_leaves

LEAD_DAYS = 3
"""A code is good for a day, the token for another: what was uploaded may have been issued so long before."""


@dataclass(frozen=True, slots=True)
class Day:
    """One UTC day. An upload counts on the day on which its window ended."""

    day: date
    issued: int
    redeemed: int
    certified: int
    uploaded: int
    published: int


@dataclass(frozen=True, slots=True)
class Reckoning:
    """The retained days, newest first, and their sums. `pending` uploads wait for their window's end."""

    days: tuple[Day, ...]
    issued: int
    redeemed: int
    certified: int
    uploaded: int
    published: int
    pending: int

    def holds(self) -> bool:
        """issued ≥ redeemed ≥ certified ≥ uploaded ≥ published, over all days that are retained."""
        row = (self.issued, self.redeemed, self.certified, self.uploaded, self.published)
        return all(before >= after for before, after in pairwise(row))


@dataclass(frozen=True, slots=True)
class BatchReceipts:
    """A batch's receipts: how many uploads there were, and how many decoys hide how many.

    `agrees`: the published manifest is the recorded one, and holds exactly the commitments of the stored
    receipts and the decoys of the stored seed. `is_lost`: that cannot be told, for the seed went with a
    database that was lost; all leaves that are no stored receipt then count as decoys. `year` and `number`
    name the batch's leaf.
    """

    region: str
    sequence: int
    window_end: int
    year: int | None
    number: int | None
    real: int
    decoys: int
    agrees: bool
    is_lost: bool


def reckon(issuing: Session, collecting: Session, now: float) -> Reckoning:
    """The books at `now`: from the first day of which a receipt is still there, a few days ahead of it."""
    uploaded: dict[date, int] = defaultdict(int)
    published: dict[date, int] = defaultdict(int)
    pending = collecting.scalar(select(func.count()).where(Receipt.batch_id.is_(None))) or 0
    first = _day(now)
    for window_end, state, log_number, n in collecting.execute(
        select(Batch.window_end, Batch.state, Batch.log_number, func.count())
        .join(Receipt, Receipt.batch_id == Batch.id)
        .group_by(Batch.window_end, Batch.state, Batch.log_number)
    ):
        day = _day(window_end - 1)
        first = min(first, day)
        uploaded[day] += n
        if state == BatchState.PUBLISHED and log_number is not None:
            published[day] += n
    issued = {row.day: row for row in counts(issuing, first - timedelta(days=LEAD_DAYS))}
    days = tuple(
        Day(day, row.issued, row.redeemed, row.certified, uploaded[day], published[day])
        for day in sorted({*issued, *uploaded}, reverse=True)
        for row in [issued.get(day, DayCounts(day))]
    )
    return Reckoning(
        days=days,
        issued=sum(row.issued for row in days),
        redeemed=sum(row.redeemed for row in days),
        certified=sum(row.certified for row in days),
        uploaded=sum(row.uploaded for row in days) + pending,
        published=sum(row.published for row in days),
        pending=pending,
    )


def batches_with_manifest(collecting: Session) -> Sequence[int]:
    """Ids of the batches whose manifest is still kept, newest first."""
    kept = select(Batch.id).where(Batch.manifest_sha256.is_not(None))
    return collecting.scalars(kept.order_by(Batch.window_end.desc(), Batch.region, Batch.id)).all()


def receipts_of(
    collecting: Session, read: Callable[[str], bytes | None], batch_ids: Sequence[int]
) -> list[BatchReceipts]:
    """Real against decoy in each of these batches, in their order. `read` gives a public file, or None."""
    real: dict[int | None, list[bytes]] = defaultdict(list)
    for batch_id, commitment in collecting.execute(
        select(Receipt.batch_id, Receipt.commitment).where(Receipt.batch_id.in_(batch_ids))
    ):
        real[batch_id].append(commitment)
    rows = {row.id: row for row in collecting.scalars(select(Batch).where(Batch.id.in_(batch_ids)))}
    return [
        _compared(rows[batch_id], real[batch_id], _published_leaves(rows[batch_id], read))
        for batch_id in batch_ids
        if batch_id in rows
    ]


def _published_leaves(batch: Batch, read: Callable[[str], bytes | None]) -> tuple[bytes, ...]:
    """None of them where the manifest is gone, or not the one that was recorded."""
    if batch.manifest_sha256 is None:
        return ()
    content = read(manifest_path(batch.region, batch.manifest_sha256.hex()))
    if content is None or manifest_digest(content) != batch.manifest_sha256:
        return ()
    try:
        return decode_manifest(content).receipts
    except Malformed:
        return ()


def _compared(batch: Batch, real: list[bytes], leaves: tuple[bytes, ...]) -> BatchReceipts:
    return BatchReceipts(
        region=batch.region,
        sequence=batch.sequence,
        window_end=batch.window_end,
        year=batch.log_year,
        number=batch.log_number,
        real=len(real),
        decoys=max(0, len(leaves) - len(real)),
        # Brought back from the public files, a batch has no seed, and perhaps not all of its receipts.
        agrees=bool(batch.seed)
        and leaves == all_receipt_leaves(real, batch.seed, decoy_users=sum(batch.decoys.values())),
        is_lost=not batch.seed,
    )


def _day(unix_seconds: float) -> date:
    return datetime.fromtimestamp(unix_seconds, UTC).date()
