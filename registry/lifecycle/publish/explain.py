"""Why a key, or an upload, is where it is: for operators who are asked "where are my keys?".

Reads only. A key is named by its SHA-256, an upload by the commitment of its receipt, so that nobody need
paste a key into a terminal. Nothing leads from an upload to its keys, on purpose: of an upload no more is
known than the shelf that the first of its keys were put on. Whether they were taken back since, its receipt
cannot tell either, for a recall goes by keys and by a handle that nobody keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import Malformed
from registry.lifecycle.publish.policy import PublicationPolicy
from registry.models import Batch, BatchShelf, DiagnosisKey, ExportFile, KeyRevision, Receipt, Shelf
from registry.protocol.export_file import read_zip_rows
from registry.protocol.index import EXPOSURES, GAEN_ZIP, manifest_path
from registry.protocol.intervals import EMBARGO_INTERVALS, seconds_at
from registry.protocol.manifest import decode_manifest
from registry.storage import Storage

_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class _Key:
    """What is asked of a stored key; `end` is the interval number at which it ended."""

    key_data: bytes
    end: int
    shelf_id: int | None


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A GAEN zip, its path relative to /exposures/, and who signed it (key id and version)."""

    path: str
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """The batch of one region, window [start, end) in unix seconds, and files of it."""

    region: str
    sequence: int
    start: int
    end: int
    state: str
    files: tuple[SignedFile, ...]
    """The one that a key is in; for an upload all that its keys may be in. Empty if none is there."""
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
    """`what` was asked about: `key` or `upload`. No stay: it goes out nowhere.

    An upload's stay is that of the first of its keys, as they came: recalled ones never left, and those that
    were valid still leave from shelves of their own.
    """

    what: str
    stays: tuple[Stay, ...]
    receipt_window: tuple[str, int] | None = None
    """Region and number of the window whose manifest holds the upload's receipt."""


def explain(
    session: Session, storage: Storage, name: bytes, *, policy: PublicationPolicy, now: float
) -> Explanation | None:
    """What is known under `name` (32 bytes): an upload's receipt, or else a key; None if nothing is."""
    receipt = session.get(Receipt, name)
    if receipt is not None:
        shelf = session.get(Shelf, receipt.shelf_id) if receipt.shelf_id is not None else None
        stays = () if shelf is None else (_stay(session, storage, shelf, None, None, policy, now),)
        batch = None if receipt.batch_id is None else session.get(Batch, receipt.batch_id)
        return Explanation("upload", stays, None if batch is None else (batch.region, batch.sequence))
    row = _key_of_hash(session, name)
    if row is None:
        return None
    shelf_ids = [] if row.shelf_id is None else [row.shelf_id]
    shelf_ids += session.scalars(
        select(KeyRevision.shelf_id).where(
            KeyRevision.key_data == row.key_data, KeyRevision.end_interval_number == row.end
        )
    )
    # Files are read next, perhaps for long: until here days of keys could not be dropped.
    session.rollback()
    shelves = session.scalars(
        select(Shelf).where(Shelf.id.in_(shelf_ids)).order_by(Shelf.is_revision, Shelf.id)
    ).all()
    return Explanation(
        "key",
        tuple(_stay(session, storage, shelf, row.key_data, row.end, policy, now) for shelf in shelves),
    )


def _key_of_hash(session: Session, name: bytes) -> _Key | None:
    """By looking at each key: no column holds their hashes, which would be one more thing to keep.

    One look through the table. PostgreSQL drops no day of keys meanwhile; retirement goes on without.
    """
    columns = select(
        DiagnosisKey.key_data, DiagnosisKey.end_interval_number.label("end"), DiagnosisKey.shelf_id
    )
    if session.get_bind().dialect.name == "postgresql":
        rows = session.execute(columns.where(func.sha256(DiagnosisKey.key_data) == name))
    else:
        # SQLite has no such function. It hands rows over as they are asked for.
        rows = session.execute(columns, execution_options={"yield_per": _AT_ONCE})
    found = next((row for row in rows if sha256(row.key_data).digest() == name), None)
    rows.close()
    return None if found is None else _Key(found.key_data, found.end, found.shelf_id)


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
    if key_data is not None:
        paths = _file_with(storage, paths, key_data, is_revision)
    signers = _signers(storage, batch)
    return Publication(
        region=batch.region,
        sequence=batch.sequence,
        start=batch.window_start,
        end=batch.window_end,
        state="withdrawn" if batch.is_withdrawn else batch.state,
        files=tuple(SignedFile(path, signers.get(path, ())) for path in paths),
        log_number=batch.log_number,
    )


def _signers(storage: Storage, batch: Batch) -> dict[str, tuple[str, ...]]:
    """Who signed each of the batch's files, by its manifest; nothing where that is gone or damaged."""
    if batch.manifest_sha256 is None:
        return {}
    try:
        content = storage.read(manifest_path(batch.region, batch.manifest_sha256.hex()))
        files = decode_manifest(content or b"").files
    except Malformed:
        return {}
    return {
        file.path: tuple(f"{key_id} {version}" for key_id, version in file.signing_keys) for file in files
    }


def _file_with(storage: Storage, paths: Sequence[str], key_data: bytes, is_revision: bool) -> Sequence[str]:
    """The one of the paths whose file holds the key."""
    if len(paths) == 1:
        return paths
    wanted = np.frombuffer(key_data, np.uint8)
    for path in paths:
        try:
            export, _, _ = read_zip_rows(storage.read(f"{EXPOSURES}/{path}") or b"")
        except Malformed:
            continue
        rows = export.revised_keys if is_revision else export.keys
        if bool((rows["key_data"] == wanted).all(axis=1).any()):
            return [path]
    return []
