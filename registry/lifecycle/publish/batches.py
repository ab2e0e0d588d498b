"""A sealed batch becomes files and a manifest: stored, then recorded, and not yet named anywhere.

Made from the rows alone and adopted where an earlier run left them, so that a crash at any line needs no
other mending than the next run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.errors import Malformed, StorageConflict
from registry.lifecycle.publish.files import check_embargo, split_batch, store_file
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.models import Batch, BatchState, ExportFile, Receipt
from registry.models.batch import sealed_batches, unlogged_batches
from registry.models.diagnosis_key import keys_of_batch
from registry.protocol.export_file import read_zip
from registry.protocol.index import EXPOSURES, export_name, manifest_path
from registry.protocol.manifest import TOOL, Manifest, ManifestFile, encode_manifest
from registry.protocol.receipt import receipt_leaves


@dataclass(frozen=True, slots=True)
class PublishedBatch:
    """A batch whose files were stored and recorded; `key_count` is for the operator's eyes only."""

    region: str
    sequence: int
    window_start: int
    window_end: int
    files: tuple[str, ...]
    key_count: int


def finish_sealed(run: Run, keys: ExportKeys, region: str) -> Iterator[PublishedBatch]:
    """Make, store and record the files and manifests of the region's sealed batches, oldest first.

    Windows without keys get a manifest too; only those with files are told. Raises what `store_file` raises,
    when all before it are recorded.
    """
    batches = sealed_batches(run.session, region)
    run.session.expunge_all()  # values from here on: finishing each of them ends a transaction
    for batch in batches:
        finished = _finish(run, keys, batch)
        if finished.files:
            yield finished


def store_manifests(run: Run, region: str) -> None:
    """Let every recorded batch of the region that has no leaf yet have its manifest, in storage too.

    A batch of before the log gets one of what its files are. Raises StorageConflict.
    """
    batches = unlogged_batches(run.session, region)
    run.session.expunge_all()
    run.session.rollback()
    for batch in batches:
        content = batch.manifest or _manifest_of_recorded(run, batch)
        path = manifest_path(region, sha256(content).hexdigest())
        # A crash before this line leaves a batch without a leaf, to which the next run comes back.
        if not run.storage.put_new(path, content) and run.storage.read(path) != content:
            raise StorageConflict(f"{path} does not hold the bytes that its name says")


def _finish(run: Run, keys: ExportKeys, batch: Batch) -> PublishedBatch:
    """Make, store and record the files of one sealed batch, and the manifest about them.

    A crash before a file is stored leaves nothing of it; between storing and recording, files that nothing
    names and that the next run finds, checks and adopts; after recording, a batch without a leaf.
    """
    fresh, revised = keys_of_batch(run.session, batch.id)
    run.session.rollback()  # no transaction stays open while files are made
    check_embargo((*fresh, *revised), batch.window_end)
    files: list[ManifestFile] = []
    parts = split_batch(batch, fresh, revised, keys_per_file=run.policy.keys_per_file)
    for number, export in enumerate(parts, start=1):
        name = export_name(batch.region, batch.window_start, batch.window_end, number)
        stored = store_file(
            run.storage,
            f"{EXPOSURES}/{name}",
            export,
            signers=keys.live,
            registered=keys.registered,
            now=run.now,
        )
        files.append(
            ManifestFile(
                path=name,
                sha256=sha256(stored.content).hexdigest(),
                size=len(stored.content),
                keys=len(export.keys) + len(export.revised_keys),
                signing_keys=tuple((info.key_id, info.key_version) for info in stored.signed_by),
            )
        )
    with run.fenced() as session:
        session.add_all(
            ExportFile(
                path=file.path, batch_id=batch.id, file_number=number, sha256=file.sha256, size=file.size
            )
            for number, file in enumerate(files, start=1)
        )
        _record(session, batch, files)
    return PublishedBatch(
        region=batch.region,
        sequence=batch.sequence,
        window_start=batch.window_start,
        window_end=batch.window_end,
        files=tuple(file.path for file in files),
        key_count=len(fresh) + len(revised),
    )


def _record(session: Session, batch: Batch, files: list[ManifestFile]) -> bytes:
    """Keep the manifest and call the batch published, in the caller's transaction. The manifest's bytes."""
    receipts = session.scalars(select(Receipt.commitment).where(Receipt.batch_id == batch.id)).all()
    manifest = encode_manifest(
        Manifest(
            region=batch.region,
            sequence=batch.sequence,
            window_start=batch.window_start,
            window_end=batch.window_end,
            files=tuple(files),
            receipts=receipt_leaves(receipts, batch.seed),
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


def _manifest_of_recorded(run: Run, batch: Batch) -> bytes:
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
            export, _, signatures = read_zip(content)
        except Malformed as error:
            raise StorageConflict(f"{row.path} is damaged: bring it back from a copy or a backup") from error
        signing_keys = tuple((info.key_id, info.key_version) for info, _ in signatures)
        key_count = len(export.keys) + len(export.revised_keys)
        files.append(ManifestFile(row.path, row.sha256, row.size, key_count, signing_keys))
    with run.fenced() as session:
        return _record(session, batch, files)


@cache
def _own_version() -> str:
    try:
        return version(TOOL)
    except PackageNotFoundError:
        return "unpackaged"
