"""A sealed batch becomes files and a manifest: stored, then recorded, and not yet named anywhere.

Made from the rows alone and adopted where an earlier run left them, so that a crash at any line needs no
other mending than the next run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.errors import Distrusted, Malformed, StorageConflict
from registry.lifecycle.publish.files import Contents, file_jobs
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.lifecycle.publish.side_by_side import Work
from registry.lifecycle.publish.spool import KeySpool
from registry.models import Batch, BatchState, ExportFile, Receipt
from registry.models.batch import sealed_batches, unlogged_batches
from registry.models.diagnosis_key import keys_on, revised_keys_on
from registry.models.shelf import shelves_of
from registry.protocol.compact_file import read_compact
from registry.protocol.export_file import read_zip_rows
from registry.protocol.export_signatures import SignatureInfo, TrustedKeys
from registry.protocol.index import COMPACT, EXPOSURES, GAEN_ZIP, manifest_path, number_in_name
from registry.protocol.manifest import TOOL, Manifest, ManifestFile, encode_manifest
from registry.protocol.receipt import receipt_leaves

_RECEIPTS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class PublishedBatch:
    """A batch whose files were stored and recorded; `key_count` is for the operator's eyes only.

    `files` are those of existing phones.
    """

    region: str
    sequence: int
    window_start: int
    window_end: int
    files: tuple[str, ...]
    key_count: int


def finish_sealed(run: Run, keys: ExportKeys, region: str, finished: list[PublishedBatch]) -> Work:
    """Make, store and record the files and manifests of the region's sealed batches, oldest first.

    Windows without keys get a manifest too; only those with files are added to `finished`, one by one, so
    that they are told even if the next one fails. Raises what `file_jobs` say.
    """
    batches = sealed_batches(run.session, region)
    run.session.expunge_all()  # values from here on: finishing each of them ends a transaction
    for batch in batches:
        yield from _finish(run, keys, batch, finished)


def store_manifests(run: Run, keys: ExportKeys, region: str) -> None:
    """Let every recorded batch of the region that has no leaf yet have its manifest, in storage too.

    A batch of before the log gets one of what its files are. Raises StorageConflict.
    """
    batches = unlogged_batches(run.session, region)
    run.session.expunge_all()
    run.session.rollback()
    for batch in batches:
        content = batch.manifest or _manifest_of_recorded(run, keys, batch)
        path = manifest_path(region, sha256(content).hexdigest())
        # A crash before this line leaves a batch without a leaf, to which the next run comes back.
        if not run.storage.put_new(path, content) and run.storage.read(path) != content:
            raise StorageConflict(f"{path} does not hold the bytes that its name says")


def _finish(run: Run, keys: ExportKeys, batch: Batch, finished: list[PublishedBatch]) -> Work:
    """Make, store and record the files of one sealed batch, and the manifest about them.

    A crash before a file is stored leaves nothing of it; between storing and recording, files that nothing
    names and that the next run finds, checks and adopts; after recording, a batch without a leaf.
    """
    shelves = shelves_of(run.session, batch.id)
    newer_than = run.policy.last_end_retired(batch.window_end)
    with spool_shelves(run.session, shelves, newer_than=newer_than) as (fresh, revised):
        contents = Contents(
            region=batch.region,
            start=batch.window_start,
            end=batch.window_end,
            sequence=batch.sequence,
            last_sequence=batch.sequence,
            keys=fresh,
            revised_keys=revised,
        )
        files = yield file_jobs(
            run.storage, contents, keys, keys_per_file=run.policy.keys_per_file, now=run.now
        )
        key_count = fresh.count + revised.count
    with run.fenced() as session:
        session.add_all(
            ExportFile(
                path=file.path,
                batch_id=batch.id,
                file_number=number_in_name(file.path),
                sha256=file.sha256,
                size=file.size,
                format=file.format,
            )
            for file in files
        )
        _record(session, batch, files)
    if files:
        finished.append(
            PublishedBatch(
                region=batch.region,
                sequence=batch.sequence,
                window_start=batch.window_start,
                window_end=batch.window_end,
                files=tuple(file.path for file in files if file.format == GAEN_ZIP),
                key_count=key_count,
            )
        )


@contextmanager
def spool_shelves(
    session: Session, shelf_ids: Sequence[int], *, newer_than: int
) -> Iterator[tuple[KeySpool, KeySpool]]:
    """All keys and revised keys of these shelves that ended after the interval `newer_than`.

    No transaction stays open in the block.
    """
    with KeySpool() as fresh, KeySpool() as revised:
        fresh.add(keys_on(session, shelf_ids, newer_than=newer_than))
        revised.add(revised_keys_on(session, shelf_ids, newer_than=newer_than))
        session.rollback()
        yield fresh, revised


def _record(session: Session, batch: Batch, files: list[ManifestFile]) -> bytes:
    """Keep the manifest and call the batch published, in the caller's transaction. The manifest's bytes."""
    # Some at a time: a driver's answer takes several times the memory of what it holds.
    commitments = select(Receipt.commitment).where(Receipt.batch_id == batch.id)
    receipts = list(session.scalars(commitments, execution_options={"yield_per": _RECEIPTS_AT_ONCE}))
    manifest = encode_manifest(
        Manifest(
            region=batch.region,
            sequence=batch.sequence,
            window_start=batch.window_start,
            window_end=batch.window_end,
            files=tuple(files),
            receipts=receipt_leaves(receipts, batch.seed, decoy_users=sum(batch.decoys.values())),
            seed_sha256=sha256(batch.seed).digest(),
            salt=batch.salt,
            tool=f"{TOOL} {_own_version()}",
        )
    )
    session.execute(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(state=BatchState.PUBLISHED, manifest=manifest)
        .execution_options(synchronize_session=False)
    )
    return manifest


def _manifest_of_recorded(run: Run, keys: ExportKeys, batch: Batch) -> bytes:
    rows = run.session.scalars(
        select(ExportFile).where(ExportFile.batch_id == batch.id).order_by(ExportFile.file_number)
    ).all()
    run.session.expunge_all()
    run.session.rollback()
    files: list[ManifestFile] = []
    for row in rows:
        content = run.storage.read(f"{EXPOSURES}/{row.path}")
        if content is None:
            raise StorageConflict(f"{row.path}, listed and gone: bring it back from a copy or a backup")
        try:
            count, infos = _what_is_in(content, row.format, keys.registered)
        except (Malformed, Distrusted) as error:
            raise StorageConflict(f"{row.path} is damaged: bring it back from a copy or a backup") from error
        signing_keys = tuple((info.key_id, info.key_version) for info in infos)
        files.append(ManifestFile(row.path, row.sha256, row.size, count, signing_keys, row.format))
    with run.fenced() as session:
        return _record(session, batch, files)


def _what_is_in(content: bytes, form: str, registered: TrustedKeys) -> tuple[int, tuple[SignatureInfo, ...]]:
    """How many keys are in a file, and who signed it."""
    if form == COMPACT:
        compact = read_compact(BytesIO(content), registered)
        return compact.header.key_count + compact.header.revised_key_count, compact.signed_by
    export, _, signatures = read_zip_rows(content)
    return len(export.keys) + len(export.revised_keys), tuple(info for info, _ in signatures)


@cache
def _own_version() -> str:
    try:
        return version(TOOL)
    except PackageNotFoundError:
        return "unpackaged"
