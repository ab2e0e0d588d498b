"""What our own public files still say of what was published, read for a database that has forgotten it.

Every byte is held against a digest that the log commits to. Writes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from registry.errors import Distrusted, Malformed, StorageConflict
from registry.lifecycle.publish.run import Run
from registry.protocol.export_file import read_zip
from registry.protocol.index import (
    EXPOSURES,
    GAEN_ZIP,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    IndexDay,
    decode_index,
    index_path,
    manifest_path,
)
from registry.protocol.keys import TemporaryExposureKey
from registry.protocol.leaves import BatchLeaf, Leaf
from registry.protocol.manifest import decode_manifest, manifest_digest
from registry.protocol.note import verifier_key
from registry.protocol.trust import TrustMaterial, decode_trust
from registry.protocol.trust_note import TrustNote, open_trust_note, trust_digest


@dataclass(frozen=True, slots=True)
class FoundFile:
    """What a published file holds; of a format that holds what zips beside it do, no keys are read."""

    path: str
    sha256: str
    size: int
    format: str
    keys: tuple[TemporaryExposureKey, ...]
    revised_keys: tuple[TemporaryExposureKey, ...]


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """What is still public of a batch: nothing, once it was retired or withdrawn."""

    has_manifest: bool
    receipts: tuple[bytes, ...]
    salt: bytes
    files: tuple[FoundFile, ...]

    @property
    def newest_key_end(self) -> int | None:
        """As `Batch.newest_key_end`."""
        ends = [key.end_interval_number for file in self.files for key in (*file.keys, *file.revised_keys)]
        return max(ends, default=None)


@dataclass(frozen=True, slots=True)
class FoundDay:
    """A day that a public index offers."""

    region: str
    day: IndexDay
    files: tuple[FoundFile, ...]

    @property
    def newest_key_end(self) -> int:
        """As `DayFile.newest_key_end`."""
        return max(key.end_interval_number for file in self.files for key in (*file.keys, *file.revised_keys))


@dataclass(frozen=True, slots=True)
class FoundTrust:
    """The trust material and the note beside it, as they lie in public."""

    content: bytes
    material: TrustMaterial
    note_content: bytes
    note: TrustNote


@dataclass(frozen=True, slots=True)
class Found:
    """All that was read. `batches` by (region, sequence), `indexes` by region."""

    batches: Mapping[tuple[str, int], FoundBatch]
    indexes: Mapping[str, bytes]
    trust: FoundTrust | None
    days: Sequence[FoundDay]


def find_published(run: Run, leaves: Iterable[Leaf]) -> Found:
    """What is public of the batches that these leaves are about. Raises StorageConflict or Malformed."""
    batches = [leaf for leaf in leaves if isinstance(leaf, BatchLeaf)]
    indexes: dict[str, bytes] = {}
    listed: set[str] = set()
    days: list[FoundDay] = []
    for region in sorted({leaf.region for leaf in batches} | set(run.regions)):
        content = run.storage.read(index_path(region))
        try:
            index = None if content is None else decode_index(content)
        except Malformed:
            continue  # a damaged index is made anew by the next run
        if content is not None and index is not None:
            indexes[region] = content
            listed.update(file.path for window in index.windows for file in window.files)
            days += [_find_day(run, region, day) for day in index.days]
    found = {(leaf.region, leaf.sequence): _find_batch(run, leaf, listed) for leaf in batches}
    return Found(found, indexes, _find_trust(run), days)


def _find_batch(run: Run, leaf: BatchLeaf, listed: Collection[str]) -> FoundBatch:
    content = run.storage.read(manifest_path(leaf.region, leaf.manifest.hex()))
    if content is None:
        return FoundBatch(False, (), b"", ())
    if manifest_digest(content) != leaf.manifest:
        raise StorageConflict(f"the manifest of window {leaf.sequence} of {leaf.region} is damaged")
    manifest = decode_manifest(content)
    files: list[FoundFile] = []
    for file in manifest.files:
        stored = run.storage.read(f"{EXPOSURES}/{file.path}")
        if stored is None and file.path in listed:
            raise StorageConflict(f"{file.path}, listed and gone: bring it back from a copy or a backup")
        if stored is None:
            continue  # retired or withdrawn half way: the rest of it goes with the next retirement
        if sha256(stored).hexdigest() != file.sha256:
            raise StorageConflict(f"{file.path} is not the file that was published")
        files.append(_found_file(file.path, file.format, file.sha256, stored))
    return FoundBatch(True, manifest.receipts, manifest.salt, tuple(files))


def _found_file(path: str, form: str, digest: str, stored: bytes) -> FoundFile:
    if form != GAEN_ZIP:
        return FoundFile(path, digest, len(stored), form, (), ())
    export, _, _ = read_zip(stored)
    return FoundFile(path, digest, len(stored), form, export.keys, export.revised_keys)


def _find_day(run: Run, region: str, day: IndexDay) -> FoundDay:
    files = []
    for file in day.files:
        stored = run.storage.read(f"{EXPOSURES}/{file.path}")
        if stored is None or sha256(stored).hexdigest() != file.sha256:
            raise StorageConflict(f"{file.path}, listed, is gone or damaged: bring it back from a copy")
        files.append(_found_file(file.path, file.format, file.sha256, stored))
    return FoundDay(region, day, tuple(files))


def _find_trust(run: Run) -> FoundTrust | None:
    """The public trust material, if it is whole, ours, and the note beside it is about it."""
    content, note = run.storage.read(TRUST_PATH), run.storage.read(TRUST_NOTE_PATH)
    if content is None or note is None:
        return None
    try:
        opened = open_trust_note(note, verifier_key(run.log.trust_signer))
        if opened.digest != trust_digest(content):
            return None
        return FoundTrust(content, decode_trust(content), note, opened)
    except (Malformed, Distrusted):
        return None
