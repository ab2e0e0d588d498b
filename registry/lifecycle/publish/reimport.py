"""Brings what was published back into a database that has forgotten it: leaves, windows, files, keys.

Everything here comes from our own public files, and the leaves were led to a root that we signed. In one
transaction, so that a crash leaves the old state or the new. Must never let a key be published twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from registry.lifecycle.publish.found import Found, find_published
from registry.lifecycle.publish.run import Run
from registry.lifecycle.shelves import NOW
from registry.models import (
    Batch,
    BatchShelf,
    BatchState,
    DayFile,
    DiagnosisKey,
    ExportFile,
    ExportSigningKey,
    HealthAuthority,
    KeyRevision,
    LogEntry,
    LogKey,
    LogShard,
    Receipt,
    RegionIndex,
    Shelf,
    TrustFile,
    Withdrawal,
)
from registry.models.key_day import day_of, make_days
from registry.models.shelf import region_set_of, regions_of_set
from registry.protocol.checkpoint import Checkpoint
from registry.protocol.index import EXPOSURES, number_in_name
from registry.protocol.intervals import utc_date
from registry.protocol.keys import TemporaryExposureKey
from registry.protocol.leaves import (
    ActivityLeaf,
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    KeyLeaf,
    Leaf,
    PolicyLeaf,
    WithdrawLeaf,
    decode_leaf,
)
from registry.protocol.recall import recall_tags

_ASKED_AT_ONCE = 1_000
"""Databases take a limited number of values in one statement."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Leaves [first, ...) of a shard, up to a checkpoint that we signed, that the database lacks."""

    year: int
    checkpoint: Checkpoint
    own_note: bytes
    first: int
    entries: tuple[bytes, ...]
    published_size: int
    """What phones were pointed to; less than the checkpoint's if that still waits for its witnesses."""


def bring_back(run: Run, shard: LogShard | None, missing: Sequence[Missing]) -> None:
    """Take the missing leaves, and what they stand for, into the database. Raises StorageConflict."""
    leaves = [decode_leaf(entry) for part in missing for entry in part.entries]
    found = find_published(run, leaves)
    with run.fenced() as session:
        loose = _undo_unsigned(session, shard)
        for part in missing:
            _bring_back_shard(session, part, found, int(run.now))
        _bring_back_keys(session, leaves, found)
        _bring_back_days(session, found)
        _bring_back_indexes(session, found)
        _bring_back_export_keys(session, found)
        kept = set(session.scalars(select(ExportFile.path)))
    # What an unsigned batch had left in public was never named anywhere, and is made again if need be.
    for path in loose - kept:
        run.storage.delete(f"{EXPOSURES}/{path}")


def _undo_unsigned(session: Session, shard: LogShard | None) -> set[str]:
    """Take back what this database had begun and never signed: published leaves take its place.

    Sealed batches without a signed leaf let go of their keys. Returns the files that they had, relative to
    /exposures/.
    """
    unsigned: list[ColumnElement[bool]] = [Batch.log_number.is_(None)]
    if shard is not None:
        unsigned.append(and_(Batch.log_year == shard.year, Batch.log_number >= shard.size))
        late = (LogEntry.year == shard.year, LogEntry.number >= shard.size)
        for entry in session.scalars(select(LogEntry.entry).where(*late).order_by(LogEntry.number)).all():
            _take_back(session, decode_leaf(entry))
        session.execute(delete(LogEntry).where(*late))
        session.execute(
            update(Withdrawal)
            .where(Withdrawal.log_year == shard.year, Withdrawal.log_number >= shard.size)
            .values(log_year=None, log_number=None)
        )
        session.get_one(LogShard, shard.year).is_closed = False
    ids = list(session.scalars(select(Batch.id).where(or_(*unsigned))))
    paths = set(session.scalars(select(ExportFile.path).where(ExportFile.batch_id.in_(ids))))
    session.execute(delete(ExportFile).where(ExportFile.batch_id.in_(ids)))
    _let_go_of_shelves(session, ids)
    session.execute(update(Receipt).where(Receipt.batch_id.in_(ids)).values(batch_id=None))
    session.execute(delete(Batch).where(Batch.id.in_(ids)))
    session.expire_all()
    return paths


def _let_go_of_shelves(session: Session, batch_ids: Sequence[int]) -> None:
    """Shelves that left with these batches alone are pending again."""
    left = list(session.scalars(select(BatchShelf.shelf_id).where(BatchShelf.batch_id.in_(batch_ids))))
    session.execute(delete(BatchShelf).where(BatchShelf.batch_id.in_(batch_ids)))
    session.execute(
        update(Shelf)
        .where(Shelf.id.in_(left), ~exists().where(BatchShelf.shelf_id == Shelf.id))
        .values(window_end=None)
        .execution_options(synchronize_session=False)
    )


def _take_back(session: Session, leaf: Leaf) -> None:
    if isinstance(leaf, PolicyLeaf):
        session.execute(delete(TrustFile).where(TrustFile.sequence == leaf.sequence))
    if isinstance(leaf, KeyLeaf):
        row = session.get(LogKey, (leaf.purpose, leaf.name, leaf.digest))
        if row is not None and leaf.action == "added":
            session.delete(row)
        elif row is not None:
            row.is_retired = False
        session.flush()


def _bring_back_shard(session: Session, part: Missing, found: Found, now: int) -> None:
    shard = session.get(LogShard, part.year)
    if shard is None:
        shard = LogShard(year=part.year, origin=part.checkpoint.origin)
        session.add(shard)
        session.flush()
    for number, entry in enumerate(part.entries, start=part.first):
        session.add(LogEntry(year=part.year, number=number, entry=entry))
        _bring_back_leaf(session, shard, number, decode_leaf(entry), found)
    shard.size, shard.root, shard.checkpoint = part.checkpoint.size, part.checkpoint.root, part.own_note
    shard.signed_at, shard.waiting_since = now, now
    shard.published_size = min(part.published_size, part.checkpoint.size)
    session.flush()


def _bring_back_leaf(session: Session, shard: LogShard, number: int, leaf: Leaf, found: Found) -> None:
    match leaf:
        case BatchLeaf():
            _bring_back_batch(session, shard.year, number, leaf, found)
        case IndexLeaf():
            if shard.anchor_number is not None and shard.anchor_number > (shard.index_number or -1):
                shard.anchor_day = utc_date(leaf.issued_at)
            shard.index_number = number
        case KeyLeaf():
            is_retired = leaf.action == "retired"
            session.merge(
                LogKey(purpose=leaf.purpose, name=leaf.name, sha256=leaf.digest, is_retired=is_retired)
            )
        case PolicyLeaf():
            session.merge(_trust_row(leaf, found))
        case WithdrawLeaf():
            _bring_back_withdrawal(session, shard.year, number, leaf)
        case ActivityLeaf():
            shard.anchor, shard.anchor_number = leaf.commitment, number
        case CloseLeaf():
            shard.is_closed = True


def _bring_back_batch(session: Session, year: int, number: int, leaf: BatchLeaf, found: Found) -> None:
    what = found.batches[leaf.region, leaf.sequence]
    batch = Batch(
        region=leaf.region,
        sequence=leaf.sequence,
        window_start=leaf.window_start,
        window_end=leaf.window_end,
        state=BatchState.PUBLISHED,
        newest_key_end=what.newest_key_end,
        salt=what.salt,
        seed=b"",  # known to the lost database alone
        manifest_sha256=leaf.manifest if what.has_manifest else None,
        log_year=year,
        log_number=number,
    )
    session.add(batch)
    session.flush()
    session.add_all(
        ExportFile(
            path=file.path,
            batch_id=batch.id,
            file_number=number_in_name(file.path),
            sha256=file.sha256,
            size=file.size,
            format=file.format,
        )
        for file in what.files
    )
    receipts = list(what.receipts)
    for at in range(0, len(receipts), _ASKED_AT_ONCE):
        some = receipts[at : at + _ASKED_AT_ONCE]
        session.execute(
            update(Receipt)
            .where(Receipt.commitment.in_(some), Receipt.batch_id.is_(None))
            .values(batch_id=batch.id)
        )


@dataclass(slots=True)
class _Left:
    """Keys that were published in the same regions at one window's end, as revisions or not."""

    region_set: str
    window_end: int
    is_revision: bool
    keys: list[TemporaryExposureKey]


def _bring_back_keys(session: Session, leaves: Sequence[Leaf], found: Found) -> None:
    """Let every published key be on a shelf that has left; made for keys that the database has never seen, so
    that one that is uploaded again does not go out again.
    """
    authority_id = session.scalars(select(HealthAuthority.id).order_by(HealthAuthority.id).limit(1)).first()
    if authority_id is None:
        return
    together = _left_together(leaves, found)
    make_days(session, {day_of(key.end_interval_number) for left in together for key in left.keys})
    for left in together:
        batches = select(Batch.id).where(
            Batch.window_end == left.window_end, Batch.region.in_(regions_of_set(left.region_set))
        )
        batch_ids = list(session.scalars(batches))
        shelf = Shelf(
            region_set=left.region_set,
            releasable_at=NOW,
            is_revision=left.is_revision,
            is_open=False,
            window_end=left.window_end,
        )
        session.add(shelf)
        session.flush()
        on = {shelf.id}
        for key in left.keys:
            row = session.get(DiagnosisKey, key.key_data) or _key_row(session, key, authority_id)
            on.add(_put_revision(session, shelf, key) if left.is_revision else _put(session, shelf, row, key))
            session.flush()
        for batch_id in batch_ids:
            for shelf_id in sorted(on):
                session.merge(BatchShelf(batch_id=batch_id, shelf_id=shelf_id))
        session.flush()


def _left_together(leaves: Sequence[Leaf], found: Found) -> list[_Left]:
    regions: dict[tuple[int, bool, bytes], set[str]] = defaultdict(set)
    keys: dict[tuple[int, bool, bytes], TemporaryExposureKey] = {}
    for leaf in leaves:
        if not isinstance(leaf, BatchLeaf):
            continue
        for file in found.batches[leaf.region, leaf.sequence].files:
            for is_revision, published in ((False, file.keys), (True, file.revised_keys)):
                for key in published:
                    name = (leaf.window_end, is_revision, key.key_data)
                    regions[name].add(leaf.region)
                    keys[name] = key
    together: dict[tuple[int, bool, str], _Left] = {}
    # Windows in the order of time, and keys before what was said of them later.
    for name in sorted(keys):
        window_end, is_revision, _ = name
        region_set = region_set_of(regions[name])
        left = together.setdefault(
            (window_end, is_revision, region_set), _Left(region_set, window_end, is_revision, [])
        )
        left.keys.append(keys[name])
    return list(together.values())


def _put(session: Session, shelf: Shelf, row: DiagnosisKey, key: TemporaryExposureKey) -> int:
    """Put the key on the shelf, as it was published; the id of the shelf that it is on.

    One that has left with another region's batch of that window stays where it is.
    """
    if row.shelf_id is not None:
        before = session.get(Shelf, row.shelf_id)
        if before is not None and before.window_end is not None:
            return before.id if before.window_end == shelf.window_end else shelf.id
    row.shelf_id = shelf.id
    row.report_type = int(key.report_type)
    row.days_since_onset_of_symptoms = key.days_since_onset_of_symptoms
    return shelf.id


def _put_revision(session: Session, shelf: Shelf, key: TemporaryExposureKey) -> int:
    """As `_put`, for what was said of the key later."""
    there = session.execute(
        select(KeyRevision, Shelf)
        .join(Shelf, Shelf.id == KeyRevision.shelf_id)
        .where(KeyRevision.key_data == key.key_data)
    ).all()
    for revision, before in there:
        if before.window_end == shelf.window_end:
            return int(before.id)
        if before.window_end is None:
            session.delete(revision)
    session.flush()
    session.add(
        KeyRevision(
            key_data=key.key_data,
            shelf_id=shelf.id,
            end_interval_number=key.end_interval_number,
            report_type=int(key.report_type),
            days_since_onset_of_symptoms=key.days_since_onset_of_symptoms,
        )
    )
    return shelf.id


def _key_row(session: Session, key: TemporaryExposureKey, authority_id: str) -> DiagnosisKey:
    row = DiagnosisKey(
        key_data=key.key_data,
        rolling_start_interval_number=key.rolling_start_interval_number,
        rolling_period=key.rolling_period,
        end_interval_number=key.end_interval_number,
        transmission_risk_level=key.transmission_risk_level,
        report_type=int(key.report_type),
        days_since_onset_of_symptoms=key.days_since_onset_of_symptoms,
        health_authority_id=authority_id,
        traveler=False,
        recall_tag=recall_tags(None, 1)[0],
    )
    session.add(row)
    session.flush()
    return row


def _trust_row(leaf: PolicyLeaf, found: Found) -> TrustFile:
    if found.trust is not None and found.trust.note.digest == leaf.digest:
        return TrustFile(
            sequence=leaf.sequence,
            content=found.trust.content,
            digest=leaf.digest,
            note=found.trust.note_content,
            issued_at=found.trust.note.issued_at,
            expires_at=found.trust.note.expires_at,
        )
    # Replaced since, or not shown to anybody yet: the next run issues the number after it.
    return TrustFile(
        sequence=leaf.sequence, content=b"", digest=leaf.digest, note=b"", issued_at=0, expires_at=0
    )


def _bring_back_withdrawal(session: Session, year: int, number: int, leaf: WithdrawLeaf) -> None:
    session.execute(
        update(Batch)
        .where(Batch.region == leaf.region, Batch.sequence == leaf.sequence)
        .values(is_withdrawn=True)
    )
    session.execute(
        update(Withdrawal)
        .where(Withdrawal.region == leaf.region, Withdrawal.sequence == leaf.sequence)
        .values(log_year=year, log_number=number)
    )


def _bring_back_days(session: Session, found: Found) -> None:
    for one in found.days:
        for file in one.files:
            session.merge(
                DayFile(
                    path=file.path,
                    region=one.region,
                    sequence=one.day.sequence,
                    last_sequence=one.day.last_sequence,
                    window_start=one.day.start,
                    window_end=one.day.end,
                    sha256=file.sha256,
                    size=file.size,
                    format=file.format,
                    newest_key_end=one.newest_key_end,
                )
            )


def _bring_back_indexes(session: Session, found: Found) -> None:
    """The public indexes, so that unchanged ones keep their bytes. If one of them is not the log's newest,
    their root is not the newest index leaf's, and the next run appends one that is theirs.
    """
    for region, content in found.indexes.items():
        session.merge(RegionIndex(region=region, content=content, sha256=sha256(content).hexdigest()))


def _bring_back_export_keys(session: Session, found: Found) -> None:
    """Export keys that were rotated in since the backup: files are signed by them already."""
    if found.trust is None:
        return
    for key in found.trust.material.export_signing_keys:
        session.merge(
            ExportSigningKey(
                key_id=key.key_id,
                key_version=key.key_version,
                public_key_pem=key.public_key_pem,
                not_before=key.not_before,
                not_after=key.not_after,
            )
        )
