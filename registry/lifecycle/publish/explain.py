"""Why a key, or an upload, is where it is: for operators who are asked "where are my keys?".

Reads only. A key is named by its SHA-256, an upload by the commitment of its receipt, so that nobody need
paste a key into a terminal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import Malformed
from registry.lifecycle.publish.policy import PublicationPolicy
from registry.models import Batch, BatchShelf, DiagnosisKey, ExportFile, KeyRevision, Receipt, Shelf
from registry.protocol.export_file import read_zip
from registry.protocol.index import EXPOSURES, GAEN_ZIP, manifest_path
from registry.protocol.intervals import EMBARGO_INTERVALS, seconds_at
from registry.protocol.manifest import decode_manifest
from registry.storage import Storage


@dataclass(frozen=True, slots=True)
class Publication:
    """The batch of one region, window [start, end) in unix seconds, and the file of it."""

    region: str
    sequence: int
    start: int
    end: int
    state: str
    path: str | None
    """Relative to /exposures/; None if it cannot be told, or there is none."""
    signers: tuple[str, ...]
    log_number: int | None


@dataclass(frozen=True, slots=True)
class Stay:
    """One stay on a shelf: until when the embargo lasts, and where it went out. Times are unix seconds."""

    is_revision: bool
    regions: tuple[str, ...]
    embargo_ends: int | None
    earliest: int | None
    """When it leaves at the earliest, if it waits; `latest` at the latest."""
    latest: int | None
    publications: tuple[Publication, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`what` was asked about: `key` or `upload`. No stay: it goes out nowhere."""

    what: str
    stays: tuple[Stay, ...]


def explain(
    session: Session, storage: Storage, name: bytes, *, policy: PublicationPolicy, now: float
) -> Explanation | None:
    """What is known under `name` (32 bytes): an upload's receipt, or else a key; None if nothing is."""
    receipt = session.get(Receipt, name)
    if receipt is not None:
        shelf = session.get(Shelf, receipt.shelf_id) if receipt.shelf_id is not None else None
        stays = () if shelf is None else (_stay(session, storage, shelf, None, None, policy, now),)
        return Explanation("upload", stays)
    row = _key_of_hash(session, name)
    if row is None:
        return None
    shelves = [] if row.shelf_id is None else [session.get_one(Shelf, row.shelf_id)]
    revisions = select(KeyRevision.shelf_id).where(KeyRevision.key_data == row.key_data)
    shelves += session.scalars(select(Shelf).where(Shelf.id.in_(revisions)).order_by(Shelf.id))
    end = row.end_interval_number
    return Explanation(
        "key",
        tuple(_stay(session, storage, shelf, row.key_data, end, policy, now) for shelf in shelves),
    )


def _key_of_hash(session: Session, name: bytes) -> DiagnosisKey | None:
    """By looking at each key: no column holds their hashes, which would be one more thing to keep."""
    for (key_data,) in session.execute(select(DiagnosisKey.key_data)).yield_per(10_000):
        if sha256(key_data).digest() == name:
            return session.get(DiagnosisKey, key_data)
    return None


def _stay(
    session: Session,
    storage: Storage,
    shelf: Shelf,
    key_data: bytes | None,
    end: int | None,
    policy: PublicationPolicy,
    now: float,
) -> Stay:
    embargo_ends = None if end is None else seconds_at(end + EMBARGO_INTERVALS)
    publications: tuple[Publication, ...] = ()
    earliest = latest = None
    if shelf.window_end is None:
        waits_until = max(now, embargo_ends or 0, seconds_at(shelf.releasable_at))
        earliest = _next(waits_until, policy.window_seconds)
        latest = _next(waits_until, policy.slot_seconds or policy.window_seconds)
    else:
        batches = session.scalars(
            select(Batch).join(BatchShelf).where(BatchShelf.shelf_id == shelf.id).order_by(Batch.region)
        )
        publications = tuple(
            _publication(session, storage, batch, key_data, shelf.is_revision) for batch in batches
        )
    return Stay(shelf.is_revision, tuple(sorted(shelf.regions)), embargo_ends, earliest, latest, publications)


def _next(unix_seconds: float, grain: int) -> int:
    return int(-(-unix_seconds // grain)) * grain


def _publication(
    session: Session, storage: Storage, batch: Batch, key_data: bytes | None, is_revision: bool
) -> Publication:
    paths = session.scalars(
        select(ExportFile.path)
        .where(ExportFile.batch_id == batch.id, ExportFile.format == GAEN_ZIP)
        .order_by(ExportFile.file_number)
    ).all()
    path = next(iter(paths), None) if key_data is None or len(paths) == 1 else None
    if path is None and key_data is not None:
        path = _file_with(storage, paths, key_data, is_revision)
    return Publication(
        region=batch.region,
        sequence=batch.sequence,
        start=batch.window_start,
        end=batch.window_end,
        state="withdrawn" if batch.is_withdrawn else batch.state,
        path=path,
        signers=_signers(storage, batch, path),
        log_number=batch.log_number,
    )


def _signers(storage: Storage, batch: Batch, path: str | None) -> tuple[str, ...]:
    """Who signed the batch's file, by its manifest; nobody where that is gone or damaged."""
    if batch.manifest_sha256 is None:
        return ()
    try:
        content = storage.read(manifest_path(batch.region, batch.manifest_sha256.hex()))
        files = decode_manifest(content or b"").files
    except Malformed:
        return ()
    return tuple(
        f"{key_id} {version}" for file in files if file.path == path for key_id, version in file.signing_keys
    )


def _file_with(storage: Storage, paths: Iterable[str], key_data: bytes, is_revision: bool) -> str | None:
    for path in paths:
        try:
            export, _, _ = read_zip(storage.read(f"{EXPOSURES}/{path}") or b"")
        except Malformed:
            continue
        keys = export.revised_keys if is_revision else export.keys
        if any(key.key_data == key_data for key in keys):
            return path
    return None
