"""What phones are told of each region: its index, the proof that leads to it, and the list of old.

An index follows from the rows alone. It is made when its leaf is sequenced, and from then on only written
where its bytes do not lie already, so that a phone that asks again is told "not modified".
"""

import secrets
from dataclasses import replace
from hashlib import sha256

from sqlalchemy.orm import Session

from registry.errors import Malformed, StorageConflict
from registry.lifecycle.publish.policy import PHONES_TOLERATE_SECONDS, PublicationPolicy
from registry.lifecycle.publish.run import Run
from registry.models import RegionIndex
from registry.models.batch import index_windows, newest_batch, sealed_batches
from registry.models.day_file import index_days
from registry.protocol.index import (
    EXPOSURES,
    GAEN_ZIP,
    SALT_BYTES,
    Index,
    daily_index_path,
    decode_index,
    encode_index,
    encode_legacy_index,
    index_digest_path,
    index_path,
    legacy_index_path,
)
from registry.storage import Storage
from registry.transparency.notes import write_changed


def next_index(
    session: Session, run: Run, region: str, row: RegionIndex | None, *, earlier: bytes | None
) -> RegionIndex | None:
    """The region's index by the rows as they are; None while the one in `row` says all that it would.

    `earlier` is one of before the log, that phones may have seen. The salt is new each time: the digest in
    the log tells nothing about what the index says.
    """
    index = _index(session, region, run.policy, int(run.now))
    before = _readable(row.content if row else earlier)
    # An index that was issued when the clock was far ahead is of no use to phones, and is issued anew.
    if before is not None and before.issued_at <= run.now + PHONES_TOLERATE_SECONDS:
        # After a small step back of the clock too, none may look older than one that phones have seen.
        issued_at = max(index.issued_at, before.issued_at)
        index = replace(index, issued_at=issued_at, expires_at=issued_at + run.policy.index_life_seconds)
        same = replace(index, issued_at=before.issued_at, expires_at=before.expires_at, salt=before.salt)
        if row is not None and same == before and run.now < (before.issued_at + before.expires_at) / 2:
            return None
    content = encode_index(replace(index, salt=secrets.token_bytes(SALT_BYTES)))
    return RegionIndex(region=region, content=content, sha256=sha256(content).hexdigest())


def store_index(storage: Storage, row: RegionIndex) -> None:
    """Let the index lie under its digest. Raises StorageConflict if other bytes do."""
    path = index_digest_path(row.region, row.sha256)
    # An earlier try may have stored it, and its answer been lost.
    if not storage.put_new(path, row.content) and storage.read(path) != row.content:
        raise StorageConflict(f"{path} does not hold the bytes that its name says")


def point_to_index(storage: Storage, row: RegionIndex) -> Index:
    """Let index.json and index.txt be this index's. Call it in a fenced block, after the proof is there.

    The lease's row stays locked while files are replaced, so that a publisher that slept cannot put an
    older index over a newer one. A crash in between leaves index.json ahead of index.txt; both list only
    files that exist, and the next run evens them out.
    """
    index = decode_index(row.content)
    write_changed(storage, index_path(row.region), row.content)
    write_changed(storage, daily_index_path(row.region), _daily(index))
    # Last of all: what every existing app polls names a file only when all else about it is in place.
    write_changed(storage, legacy_index_path(row.region), _legacy(index))
    return index


def check_listed(storage: Storage, index: Index) -> None:
    """Raises StorageConflict if a file that `index` lists is not there.

    It is not made again: phones and copies may hold the one that was, and another signature is another file.
    Looks at the names in the region's own folder alone, not into files.
    """
    listed = [f"{EXPOSURES}/{file.path}" for window in index.windows for file in window.files]
    listed += [f"{EXPOSURES}/{file.path}" for day in index.days for file in day.files]
    if not listed:
        return
    there = set(storage.names(f"{EXPOSURES}/{index.region}/", deep=False))
    there.update(storage.names(f"{EXPOSURES}/{index.region}/daily/", deep=False))
    missing = [path for path in listed if path not in there]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StorageConflict(f"{missing[0]}{others}, listed and gone: bring it back from a copy or a backup")


def _index(session: Session, region: str, policy: PublicationPolicy, now: int) -> Index:
    newer_than = policy.last_end_unlisted(now)
    windows = index_windows(session, region, files_newer_than=newer_than)
    last_end = windows[-1].end if windows else now // policy.window_seconds * policy.window_seconds
    return Index(
        region=region,
        sequence=windows[-1].last_sequence if windows else _sequence_before_all(session, region),
        issued_at=now,
        next_window_end=last_end + policy.window_seconds,
        expires_at=now + policy.index_life_seconds,
        windows=windows,
        days=index_days(session, region, files_newer_than=newer_than, windows=windows),
    )


def _sequence_before_all(session: Session, region: str) -> int:
    """With no window to list, the count stands before the first one that a crash left sealed."""
    unfinished = sealed_batches(session, region)
    if unfinished:
        return unfinished[0].sequence - 1
    newest = newest_batch(session, region)
    return newest.sequence if newest else 0


def _legacy(index: Index) -> bytes:
    # Names begin with their window's start in unix seconds: their order is the order of time.
    return encode_legacy_index(
        sorted(file.path for window in index.windows for file in window.files if file.format == GAEN_ZIP)
    )


def _daily(index: Index) -> bytes:
    return encode_legacy_index(
        sorted(file.path for day in index.days for file in day.files if file.format == GAEN_ZIP)
    )


def _readable(content: bytes | None) -> Index | None:
    """None for an index that is not there or not readable: either way it is to be written anew."""
    try:
        return None if content is None else decode_index(content)
    except Malformed:
        return None
