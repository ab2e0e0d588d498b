"""What phones are told: each region's index, and the trust material. Both follow from the rows alone.

Nothing is written where the right bytes lie already, so that a phone that asks again is told "not
modified", and everything is written where they do not, so that a crash is mended by the next run.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import ConfigurationError, Malformed, StorageConflict
from registry.lifecycle.publish.policy import PHONES_TOLERATE_SECONDS, PublicationPolicy
from registry.models import ExportSigningKey
from registry.models.batch import index_windows, newest_batch, sealed_batches
from registry.protocol.index import (
    EXPOSURES,
    TRUST_PATH,
    Index,
    decode_index,
    encode_index,
    encode_legacy_index,
    index_digest_path,
    index_path,
    legacy_index_path,
)
from registry.protocol.intervals import EMBARGO_INTERVALS, INTERVAL_SECONDS
from registry.protocol.trust import Profile, TrustedKey, TrustMaterial, decode_trust, encode_trust
from registry.storage import Storage

_DAY_SECONDS = 86_400


def ensure_first_files(
    new_session: Callable[[], Session],
    storage: Storage,
    *,
    regions: Collection[str],
    policy: PublicationPolicy,
    profile: Profile,
    now: float,
) -> None:
    """Let index.txt, index.json and the trust material exist before anything is served.

    Fills free names only, so it needs no lease: whatever a publisher has written stays. Raises
    ConfigurationError as `write_trust`.
    """
    with new_session() as session:
        storage.put_new(TRUST_PATH, _readable_trust(_trust(session, regions, policy, profile, int(now))))
        for region in sorted(set(regions)):
            index = _index(session, region, policy, int(now))
            content = encode_index(index)
            storage.put_new(index_digest_path(region, sha256(content).hexdigest()), content)
            storage.put_new(index_path(region), content)
            storage.put_new(legacy_index_path(region), _legacy(index))


def write_index(
    session: Session, storage: Storage, region: str, *, policy: PublicationPolicy, now: float
) -> Index:
    """Bring the region's index into line with the rows, and return it.

    Call it inside `fenced`: the lease's row stays locked while files are replaced, so that a publisher
    that slept cannot put an older index over a newer one. A crash in between leaves index.json ahead of
    index.txt; both list only files that exist, and the next run evens them out.

    Raises StorageConflict if the index is ahead of the rows, as after a restored backup.
    """
    index = _index(session, region, policy, int(now))
    stored = storage.read(index_path(region))
    before = _readable_index(stored)
    if before is not None:
        _refuse_set_back(before, index.sequence)
        # An index that was issued when the clock was far ahead is of no use to phones, and is issued anew.
        if before.issued_at <= now + PHONES_TOLERATE_SECONDS:
            # After a small step back of the clock too, none may look older than one that phones have seen.
            issued_at = max(index.issued_at, before.issued_at)
            index = replace(index, issued_at=issued_at, expires_at=issued_at + policy.index_life_seconds)
            same = replace(index, issued_at=before.issued_at, expires_at=before.expires_at)
            if encode_index(same) == stored and now < (before.issued_at + before.expires_at) / 2:
                index = same
    content = encode_index(index)
    digest_path = index_digest_path(region, sha256(content).hexdigest())
    if storage.read(digest_path) != content and not storage.put_new(digest_path, content):
        raise StorageConflict(f"{digest_path} does not hold the bytes that its name says")
    _write(storage, index_path(region), content)
    # Last of all: what every existing app polls names a file only when all else about it is in place.
    _write(storage, legacy_index_path(region), _legacy(index))
    return index


def check_listed(storage: Storage, index: Index) -> None:
    """Raises StorageConflict if a file that `index` lists is not there.

    It is not made again: phones and copies may hold the one that was, and another signature is another file.
    Looks at names alone, not into files.
    """
    there = set(storage.names(f"{EXPOSURES}/{index.region}/"))
    listed = [f"{EXPOSURES}/{file.path}" for window in index.windows for file in window.files]
    missing = [path for path in listed if path not in there]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StorageConflict(f"{missing[0]}{others}, listed and gone: bring it back from a copy or a backup")


def check_not_set_back(session: Session, storage: Storage, region: str) -> None:
    """Raises StorageConflict if the stored index knows windows that the database does not.

    Then the database was restored from a backup, or lost: its pending keys may have been published, and
    its next window would bear the number of one that phones have seen. Ask before anything is sealed.
    """
    before = _readable_index(storage.read(index_path(region)))
    newest = newest_batch(session, region)
    if before is not None:
        _refuse_set_back(before, newest.sequence if newest else 0)


def _refuse_set_back(before: Index, sequence: int) -> None:
    if before.sequence > sequence:
        raise StorageConflict(
            f"the index of {before.region} is at window {before.sequence}, the database only at {sequence}: "
            "it was set back; bring its missing batches back to go on"
        )


def write_trust(
    session: Session,
    storage: Storage,
    regions: Collection[str],
    *,
    policy: PublicationPolicy,
    profile: Profile,
    now: float,
) -> None:
    """Bring the trust material into line with keys and policy. Call it inside `fenced`, as `write_index`.

    Raises ConfigurationError, and writes nothing, if phones would refuse it.
    """
    trust = _trust(session, regions, policy, profile, int(now))
    stored = storage.read(TRUST_PATH)
    issued_at = _issue_time(stored)
    if issued_at is not None and encode_trust(replace(trust, issued_at=issued_at)) == stored:
        return
    _write(storage, TRUST_PATH, _readable_trust(trust))


def _write(storage: Storage, path: str, content: bytes) -> None:
    if storage.read(path) != content:
        storage.replace(path, content)


def _index(session: Session, region: str, policy: PublicationPolicy, now: int) -> Index:
    unfinished = sealed_batches(session, region)
    newest = newest_batch(session, region)
    # With no window to list, the count stands before the first one that a crash left sealed.
    before_all = unfinished[0].sequence - 1 if unfinished else (newest.sequence if newest else 0)
    windows = index_windows(session, region, files_newer_than=policy.last_end_unlisted(now))
    last_end = windows[-1].end if windows else now // policy.window_seconds * policy.window_seconds
    return Index(
        region=region,
        sequence=windows[-1].last_sequence if windows else before_all,
        issued_at=now,
        next_window_end=last_end + policy.window_seconds,
        expires_at=now + policy.index_life_seconds,
        windows=windows,
    )


def _legacy(index: Index) -> bytes:
    # Names begin with their window's start in unix seconds: their order is the order of time.
    return encode_legacy_index(sorted(file.path for window in index.windows for file in window.files))


def _trust(
    session: Session, regions: Collection[str], policy: PublicationPolicy, profile: Profile, now: int
) -> TrustMaterial:
    # A key is listed until the last file that it can have signed is gone, and before its time comes, so
    # that phones know it when the first file needs it.
    last_needed = now - (policy.retention_days + 1) * _DAY_SECONDS
    keys = session.scalars(
        select(ExportSigningKey)
        .where(ExportSigningKey.not_after > last_needed)
        .order_by(ExportSigningKey.not_before.desc(), ExportSigningKey.key_id, ExportSigningKey.key_version)
    )
    return TrustMaterial(
        profile=profile,
        regions=tuple(sorted(set(regions))),
        export_signing_keys=tuple(
            TrustedKey(key.key_id, key.key_version, key.public_key_pem, key.not_before, key.not_after)
            for key in keys
        ),
        publication={
            "window_seconds": policy.window_seconds,
            "floor": policy.floor,
            "embargo_seconds": EMBARGO_INTERVALS * INTERVAL_SECONDS,
            "retention_days": policy.retention_days,
            "index_life_seconds": policy.index_life_seconds,
        },
        issued_at=now,
    )


def _readable_trust(trust: TrustMaterial) -> bytes:
    """`trust` encoded, once it was read back as a phone will read it."""
    content = encode_trust(trust)
    try:
        decode_trust(content)
    except Malformed as error:
        raise ConfigurationError(f"phones would refuse what is registered here: {error}") from error
    return content


def _readable_index(content: bytes | None) -> Index | None:
    """None for an index that is not there or not readable: either way it is to be written anew."""
    try:
        return None if content is None else decode_index(content)
    except Malformed:
        return None


def _issue_time(content: bytes | None) -> int | None:
    try:
        return None if content is None else decode_trust(content).issued_at
    except Malformed:
        return None
