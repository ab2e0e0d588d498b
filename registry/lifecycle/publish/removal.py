"""Takes public files away: those whose time has come, those that were withdrawn, those that were replaced.

A file goes only when no public index lists it any more; before its row does, so that a crash in between is
found again. Leaves and full tiles of the log never go.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Delete, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from registry.errors import Malformed
from registry.lifecycle.publish.policy import PublicationPolicy
from registry.lifecycle.publish.run import Run
from registry.models import (
    Batch,
    BatchShelf,
    BatchState,
    DayFile,
    DiagnosisKey,
    ExportFile,
    KeyRevision,
    Receipt,
    Shelf,
)
from registry.models.day_file import holds_withdrawn_window
from registry.protocol.index import (
    EXPOSURES,
    decode_index,
    decode_legacy_index,
    index_digest_path,
    index_path,
    legacy_index_path,
    manifest_path,
    shard_tile_path,
)
from registry.protocol.intervals import seconds_at
from registry.protocol.tiles import MAX_LEVEL, Tile, tiles_at


def remove_old(run: Run, region: str) -> int:
    """Files, manifests and receipts of the region's batches whose keys are all beyond the retention.

    How many files are gone. What an index still lists stays for the next time.
    """
    last_end = run.policy.last_end_retired(run.now)
    # A batch without keys has nothing that goes by a key's age: its window's own end counts.
    has_aged = or_(
        Batch.newest_key_end <= last_end,
        Batch.newest_key_end.is_(None) & (Batch.window_end <= seconds_at(last_end)),
    )
    return _remove(run, region, has_aged, with_receipts=True)


def remove_withdrawn(run: Run, region: str) -> int:
    """Files and manifests of the region's withdrawn batches, receipts kept. How many files are gone."""
    return _remove(run, region, Batch.is_withdrawn.is_(True), with_receipts=False)


def remove_days(run: Run, region: str) -> int:
    """Files of the region's days that hold a withdrawn window, or whose keys are all beyond the retention.

    How many files are gone. What an index still lists stays for the next time.
    """
    gone = list(
        run.session.scalars(
            select(DayFile.path).where(
                DayFile.region == region,
                or_(
                    DayFile.newest_key_end <= run.policy.last_end_retired(run.now),
                    holds_withdrawn_window(),
                ),
            )
        )
    )
    run.session.rollback()  # no transaction stays open while files are deleted
    listed = _listed(run, region) if gone else set()
    gone = [path for path in gone if path not in listed]
    for path in gone:
        run.storage.delete(f"{EXPOSURES}/{path}")
    # A crash here leaves rows without files, to which the next run comes back.
    if gone:
        with run.fenced() as session:
            delete_rows(session, delete(DayFile).where(DayFile.path.in_(gone)))
    return len(gone)


def regions_with_withdrawn_files(session: Session) -> list[str]:
    """Regions that a withdrawn batch has left files or a manifest in."""
    has_files = exists().where(ExportFile.batch_id == Batch.id)
    is_rolled_up = exists().where(DayFile.region == Batch.region, holds_withdrawn_window())
    regions = session.scalars(
        select(Batch.region)
        .where(Batch.is_withdrawn, or_(has_files, is_rolled_up, Batch.manifest_sha256.is_not(None)))
        .distinct()
        .order_by(Batch.region)
    ).all()
    session.rollback()
    return list(regions)


def remove_batches(session: Session, region: str, policy: PublicationPolicy, now: float) -> int:
    """Old batches without files and keys, from the oldest on up to the first that must stay.

    A region's newest batch always stays, for windows, sequence and the chain of leaves go on from it, and so
    does all that follows one that stays: the index has no gaps.
    """
    too_young = Batch.window_end > seconds_at(policy.last_end_retired(now))
    must_stay = or_(
        too_young,
        Batch.state == BatchState.SEALED,
        Batch.log_number.is_(None),
        Batch.manifest_sha256.is_not(None),
        exists().where(ExportFile.batch_id == Batch.id),
        exists().where(BatchShelf.batch_id == Batch.id, DiagnosisKey.shelf_id == BatchShelf.shelf_id),
        exists().where(BatchShelf.batch_id == Batch.id, KeyRevision.shelf_id == BatchShelf.shelf_id),
        exists().where(Receipt.batch_id == Batch.id),
    )
    newest = select(func.max(Batch.sequence)).where(Batch.region == region, Batch.log_number.is_not(None))
    first_to_stay = session.scalar(
        select(func.min(Batch.sequence)).where(
            Batch.region == region, or_(must_stay, Batch.sequence == newest.scalar_subquery())
        )
    )
    if first_to_stay is None:
        return 0
    old = select(Batch.id).where(Batch.region == region, Batch.sequence < first_to_stay)
    delete_rows(session, delete(BatchShelf).where(BatchShelf.batch_id.in_(old)))
    gone = delete_rows(session, delete(Batch).where(Batch.region == region, Batch.sequence < first_to_stay))
    _remove_empty_shelves(session)
    return gone


def _remove_empty_shelves(session: Session) -> None:
    """Shelves that left with batches which are all forgotten, once no key lies on them."""
    delete_rows(
        session,
        delete(Shelf).where(
            Shelf.window_end.is_not(None),
            ~exists().where(BatchShelf.shelf_id == Shelf.id),
            ~exists().where(DiagnosisKey.shelf_id == Shelf.id),
            ~exists().where(KeyRevision.shelf_id == Shelf.id),
        ),
    )


def remove_old_indexes(run: Run, region: str) -> int:
    """Indexes kept under their digests, once they have expired; how many. Never one that is pointed to."""
    folder = index_digest_path(region, "0" * 64).rpartition("/")[0]
    names = run.storage.names(f"{folder}/")
    # Read after the names: an index that became current since is none of them.
    current = run.storage.read(index_path(region))
    kept = None if current is None else index_digest_path(region, sha256(current).hexdigest())
    gone = 0
    for name in names:
        if name != kept and _has_expired(run.storage.read(name), run.now):
            run.storage.delete(name)
            gone += 1
    return gone


def remove_unnamed_manifests(run: Run, region: str) -> None:
    """Manifests of the region that no batch names: of a run that died before it recorded what it had stored,
    where the next one made other bytes, and of batches that were taken back.

    Only for a database that knows all that was published: what it has forgotten, nothing in it names.
    """
    folder = manifest_path(region, "0" * 64).rpartition("/")[0]
    there = run.storage.names(f"{folder}/")
    # Asked after the names. While a batch has no leaf, its manifest may be stored and not recorded yet, be it
    # by a publisher that has taken our lease meanwhile. What any other batch has stored is recorded by now.
    of_region = Batch.region == region
    waits = run.session.scalar(select(exists().where(of_region, Batch.log_number.is_(None))))
    digests = run.session.scalars(
        select(Batch.manifest_sha256).where(of_region, Batch.manifest_sha256.is_not(None))
    )
    named = {manifest_path(region, digest.hex()) for digest in digests if digest is not None}
    run.session.rollback()  # no transaction stays open while files are deleted
    if not waits:
        for path in sorted(set(there) - named):
            run.storage.delete(path)


def remove_superseded_tiles(run: Run, year: int, published_size: int) -> int:
    """Partial tiles of the shard whose full ones are published; how many.

    From the newest full tile back to the first that has none left, so that a log of any length costs little.
    """
    gone = 0
    for level in (None, *range(MAX_LEVEL + 1)):
        full, _ = tiles_at(level, published_size)
        for number in reversed(range(full)):
            names = run.storage.names(f"{shard_tile_path(year, Tile(level, number))}.p/")
            for name in names:
                run.storage.delete(name)
            gone += len(names)
            if not names:
                break
    return gone


def delete_rows(session: Session, statement: Delete) -> int:
    """How many rows the statement deleted."""
    done = session.execute(statement.execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", done).rowcount


def _remove(run: Run, region: str, which: ColumnElement[bool], *, with_receipts: bool) -> int:
    batches = run.session.execute(
        select(Batch.id, Batch.manifest_sha256).where(
            Batch.region == region, Batch.state == BatchState.PUBLISHED, Batch.log_number.is_not(None), which
        )
    ).all()
    files: dict[int, list[str]] = {batch_id: [] for batch_id, _ in batches}
    rows = select(ExportFile.batch_id, ExportFile.path).join(Batch).where(Batch.region == region, which)
    for batch_id, path in run.session.execute(rows):
        if batch_id in files:
            files[batch_id].append(path)
    left = _with_anything_left(run.session, list(files), with_receipts=with_receipts)
    run.session.rollback()  # no transaction stays open while files are deleted
    listed = _listed(run, region) if left else set()
    gone: list[int] = []
    count = 0
    for batch_id, manifest in batches:
        if batch_id not in left or listed & set(files[batch_id]):
            continue
        for path in files[batch_id]:
            run.storage.delete(f"{EXPOSURES}/{path}")
        if manifest is not None:
            run.storage.delete(manifest_path(region, manifest.hex()))
        gone.append(batch_id)
        count += len(files[batch_id])
    # A crash here leaves rows without files, to which the next run comes back.
    if gone:
        with run.fenced() as session:
            delete_rows(session, delete(ExportFile).where(ExportFile.batch_id.in_(gone)))
            if with_receipts:
                delete_rows(session, delete(Receipt).where(Receipt.batch_id.in_(gone)))
            session.execute(
                update(Batch)
                .where(Batch.id.in_(gone))
                .values(manifest_sha256=None)
                .execution_options(synchronize_session=False)
            )
    return count


def _with_anything_left(session: Session, batch_ids: Sequence[int], *, with_receipts: bool) -> set[int]:
    """Which of these batches still have a file, a manifest or, if asked, a receipt."""
    there = [
        Batch.manifest_sha256.is_not(None),
        exists().where(ExportFile.batch_id == Batch.id),
        *([exists().where(Receipt.batch_id == Batch.id)] if with_receipts else []),
    ]
    return set(session.scalars(select(Batch.id).where(Batch.id.in_(batch_ids), or_(*there))))


def _listed(run: Run, region: str) -> set[str]:
    """Files that phones are told of now. Raises Malformed while that cannot be read: then nothing goes."""
    index = run.storage.read(index_path(region))
    text = run.storage.read(legacy_index_path(region))
    listed = set() if text is None else set(decode_legacy_index(text))
    if index is not None:
        decoded = decode_index(index)
        listed |= {file.path for window in decoded.windows for file in window.files}
        listed |= {file.path for day in decoded.days for file in day.files}
    return listed


def _has_expired(index: bytes | None, now: float) -> bool:
    """An index that cannot be read is of no use to anybody, so it counts as expired."""
    try:
        return index is not None and decode_index(index).expires_at <= now
    except Malformed:
        return True
