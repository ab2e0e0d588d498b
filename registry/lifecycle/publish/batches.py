"""A sealed batch becomes files and a manifest: stored, then recorded, and not yet named anywhere.

Made from the rows alone and adopted where an earlier run left them, so that a crash at any line needs no
other mending than the next run.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from registry.lifecycle.publish.files import Contents, file_jobs
from registry.lifecycle.publish.manifests import record_manifest, store_manifest
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.lifecycle.publish.side_by_side import Work
from registry.lifecycle.publish.spool import KeySpool
from registry.models import Batch, ExportFile
from registry.models.batch import sealed_batches
from registry.models.diagnosis_key import keys_on, revised_keys_on
from registry.models.shelf import shelves_of
from registry.protocol.index import GAEN_ZIP, number_in_name


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
    that they are told even if the next one fails. Raises what `file_jobs` and `store_manifest` say.
    """
    batches = sealed_batches(run.session, region)
    run.session.expunge_all()  # values from here on: finishing each of them ends a transaction
    for batch in batches:
        yield from _finish(run, keys, batch, finished)


def _finish(run: Run, keys: ExportKeys, batch: Batch, finished: list[PublishedBatch]) -> Work:
    """Make, store and record the files of one sealed batch, and the manifest about them.

    A crash before a file is stored leaves nothing of it; between storing and recording, files and a manifest
    that nothing names and that the next run finds, checks and adopts; after recording, a batch without a
    leaf.
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
    digest = store_manifest(run, batch, files)
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
        record_manifest(session, batch, digest)
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
