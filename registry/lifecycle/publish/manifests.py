"""A batch's manifest: made piece by piece, stored under its digest, then recorded by that digest alone.

Never holds a whole manifest in memory: a nation's has megabytes of receipts. Stored before it is recorded,
as files are, so that a crash in between leaves a manifest that nothing names. The next run makes the same
bytes and adopts it, or else retirement takes it away.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from registry.errors import Distrusted, Malformed, StorageConflict
from registry.lifecycle.publish.files import digest_and_size
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.models import Batch, BatchState, ExportFile, Receipt
from registry.models.batch import unlogged_batches
from registry.protocol.compact_file import read_compact
from registry.protocol.export_file import read_zip_rows
from registry.protocol.export_signatures import SignatureInfo, TrustedKeys
from registry.protocol.index import COMPACT, EXPOSURES, manifest_path
from registry.protocol.manifest import TOOL, ManifestFile, ManifestHead, manifest_pieces
from registry.protocol.receipt import receipt_leaves
from registry.storage import Storage

_RECEIPTS_AT_ONCE = 10_000


def store_manifest(run: Run, batch: Batch, files: Sequence[ManifestFile]) -> bytes:
    """Make and store the manifest of a batch with these files, or adopt what lies there; its digest.

    No transaction stays open. Raises StorageConflict if other bytes lie under its name.
    """
    head = ManifestHead(
        region=batch.region,
        sequence=batch.sequence,
        window_start=batch.window_start,
        window_end=batch.window_end,
        files=tuple(files),
        seed_sha256=sha256(batch.seed).digest(),
        salt=batch.salt,
        tool=f"{TOOL} {_own_version()}",
    )
    with TemporaryFile() as temporary:
        digest = sha256()
        for piece in manifest_pieces(head, _receipts(run.session, batch)):
            temporary.write(piece)
            digest.update(piece)
        # A sealed batch's receipts do not change any more: nothing need be held while the storage is written.
        run.session.rollback()
        _store(run.storage, manifest_path(batch.region, digest.hexdigest()), cast("BinaryIO", temporary))
    return digest.digest()


def record_manifest(session: Session, batch: Batch, digest: bytes) -> None:
    """Keep the digest of the stored manifest and call the batch published, in the caller's transaction."""
    session.execute(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(state=BatchState.PUBLISHED, manifest_sha256=digest)
        .execution_options(synchronize_session=False)
    )


def store_missing_manifests(run: Run, keys: ExportKeys, region: str) -> None:
    """Let every recorded batch of the region that has neither a leaf nor a manifest have one, of what its
    files are: batches of before the log. Raises StorageConflict.
    """
    batches = [batch for batch in unlogged_batches(run.session, region) if batch.manifest_sha256 is None]
    run.session.expunge_all()
    run.session.rollback()
    for batch in batches:
        digest = store_manifest(run, batch, _recorded_files(run, keys, batch))
        # A crash before this line leaves a batch without a leaf, to which the next run comes back.
        with run.fenced() as session:
            record_manifest(session, batch, digest)


def _receipts(session: Session, batch: Batch) -> Iterator[bytes]:
    """What the manifest lists, read as it is asked for, some at a time."""
    of_batch = Receipt.batch_id == batch.id
    count = session.scalar(select(func.count()).select_from(Receipt).where(of_batch)) or 0
    # Both databases order bytes as Python does. With `yield_per` the driver holds no more than these either.
    real = session.scalars(
        select(Receipt.commitment).where(of_batch).order_by(Receipt.commitment),
        execution_options={"yield_per": _RECEIPTS_AT_ONCE},
    )
    return receipt_leaves(real, count, batch.seed, decoy_users=sum(batch.decoys.values()))


def _store(storage: Storage, path: str, file: BinaryIO) -> None:
    # A crash in here leaves no file, or the whole file under its name, which the next run adopts below.
    if storage.put_new_file(path, file):
        return
    lying = storage.open_file(path)
    if lying is None:
        raise StorageConflict(f"{path} was there and is gone: something else deletes in the public folder")
    with lying:
        if digest_and_size(lying) != digest_and_size(file):
            raise StorageConflict(f"{path} does not hold the bytes that its name says")


def _recorded_files(run: Run, keys: ExportKeys, batch: Batch) -> list[ManifestFile]:
    # As `file_jobs` make them: the zips, then the compact file.
    rows = run.session.scalars(
        select(ExportFile)
        .where(ExportFile.batch_id == batch.id)
        .order_by(ExportFile.format == COMPACT, ExportFile.file_number)
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
    return files


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
