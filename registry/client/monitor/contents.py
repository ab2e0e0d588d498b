"""Whether what the log commits to is there: proofs, indexes by digest, manifests, and every listed file.

Files are checked as phones check them (`client.verify`), and then against their manifest. Nothing is believed
that a leaf does not commit to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from registry.client.monitor.batches import LoggedBatch, may_have_expired, newest_unlisted, read_manifest
from registry.client.monitor.faults import Fault, FaultKind, fault_of
from registry.client.monitor.manifests import (
    check_counts,
    check_manifest,
    file_fault,
    manifest_fault,
)
from registry.client.monitor.shard import Progress, Read, must_read, silent
from registry.client.monitor.view import LogView
from registry.client.proof import open_index_proof
from registry.client.verify import trusted_keys, verify_file
from registry.errors import Distrusted, Malformed
from registry.protocol.export_file import read_zip
from registry.protocol.index import (
    EXPOSURES,
    GAEN_ZIP,
    LOG_POLICY_PATH,
    Index,
    IndexFile,
    IndexWindow,
    decode_legacy_index,
    index_digest_path,
    index_path,
    index_proof_path,
    legacy_index_path,
)
from registry.protocol.manifest import Manifest

NOT_BELIEVED = (Malformed, Distrusted)

Ends = dict[str, int]
"""Digest of a file (hex) to the end interval of its newest key."""


@dataclass
class Contents:
    """What was found. `ends` holds every file that was read or known and is as it must be."""

    faults: list[Fault] = field(default_factory=list)
    ends: Ends = field(default_factory=dict)
    files_read: int = 0
    keys_read: int = 0


def check_contents(
    read: Read, view: LogView, now: float, *, known: Mapping[str, int], progress: Progress = silent
) -> Contents:
    """Fetch and check all that the newest indexes and the log commit to.

    `known` are files that need not be fetched again. A file that is too large, or of a name that is none, is
    a fault of its own, and all others are looked into. May raise FetchFailed, as `read`.
    """
    found = Contents()
    found.faults += _check_policy_file(read, view)
    total = sum(len(window.files) for index in view.indexes.values() for window in index.windows)
    for region, index in view.indexes.items():
        found.faults += check_pointers(read, view, region, now)
        check = _RegionCheck(read, view, index, now, known, found)
        check.listed(lambda: progress(len(found.ends), total))
        check.unlisted()
    return found


def _check_policy_file(read: Read, view: LogView) -> list[Fault]:
    try:
        content = read(LOG_POLICY_PATH)
    except Malformed as error:
        return [fault_of(error, LOG_POLICY_PATH)]
    if content is None:
        return [Fault(FaultKind.TRUST, LOG_POLICY_PATH, "the witness policy is not there")]
    if content != view.stated_policy.encode():
        what = "is another policy than the one in the trust material"
        return [Fault(FaultKind.TRUST, LOG_POLICY_PATH, what)]
    return []


def check_pointers(read: Read, view: LogView, region: str, now: float) -> list[Fault]:
    """What phones follow: the region's proof, the index by its digest, and the legacy list."""
    content = view.index_contents[region]
    digest = sha256(content).hexdigest()
    faults = []
    where = index_digest_path(region, digest)
    try:
        if read(where) != content:
            faults.append(Fault(FaultKind.INDEX, where, "the index is not there under its digest"))
    except Malformed as error:
        faults.append(fault_of(error, where))
    windows = view.indexes[region].windows
    listed = sorted(file.path for window in windows for file in window.files if file.format == GAEN_ZIP)
    try:
        legacy = read(legacy_index_path(region))
        if legacy is None or sorted(decode_legacy_index(legacy)) != listed:
            what = "lists other files than index.json"
            faults.append(Fault(FaultKind.INDEX, legacy_index_path(region), what))
    except Malformed as error:
        faults.append(fault_of(error, legacy_index_path(region)))
    return faults + _check_proof(read, view, region, digest, now)


def _check_proof(read: Read, view: LogView, region: str, digest: str, now: float) -> list[Fault]:
    where = index_proof_path(region)
    try:
        proof = open_index_proof(must_read(read, where), view.trust, region=region, now=now)
    except NOT_BELIEVED as error:
        return [fault_of(error, where, missing=FaultKind.UNLOGGED)]
    conflict = view.conflict_with(proof.head.origin, proof.head.size, proof.head.root)
    if conflict is not None:
        what = "its checkpoint is of another history than the log's"
        advice = "Keep both notes: together they prove the split."
        return [Fault(conflict, where, what, advice, (proof.head.checkpoint, view.current.signed))]
    newest = view.index_entries[-1] if view.index_entries else None
    is_current = proof.head.origin == view.current.checkpoint.origin
    if newest is not None and is_current and proof.head.size <= newest.number:
        what = f"proves the index of leaf {proof.head.size - 1}, and leaf {newest.number} is in the log"
        return [Fault(FaultKind.ROLLED_BACK, where, what, "Read again in a minute.")]
    if proof.index_sha256 != digest:
        what = "proves another index than index.json"
        return [Fault(FaultKind.UNLOGGED, where, what, "Read again in a minute.")]
    return []


class _RegionCheck:
    """One region's batches against index, manifests and files."""

    def __init__(
        self,
        read: Read,
        view: LogView,
        index: Index,
        now: float,
        known: Mapping[str, int],
        found: Contents,
    ) -> None:
        self._read = read
        self._view = view
        self._index = index
        self._now = now
        self._known = known
        self._found = found
        self._batches = {batch.leaf.sequence: batch for batch in view.batches.get(index.region, ())}
        self._newest_unlisted = newest_unlisted(view.trust, index.issued_at)

    def listed(self, tell: Callable[[], None]) -> None:
        """Every window with files: its leaf, its manifest, its files."""
        for window in self._index.windows:
            if not window.files:
                continue
            batch = self._batches.get(window.sequence)
            manifest = None
            if batch is not None:
                manifest = self._manifest(batch, must_be_there=True)
            else:
                what = f"lists window {window.sequence}, which no leaf that can be read commits to"
                self._fault(FaultKind.UNLOGGED, index_path(self._index.region), what)
            if batch is not None and manifest is not None:
                self._compare(batch, manifest, window)
            for file in window.files:
                self._file(file, window, manifest)
                tell()

    def unlisted(self) -> None:
        """Every batch that the index shows as a window without files, and that was not withdrawn."""
        for sequence, batch in self._batches.items():
            if batch.state not in ("empty", "expired") or sequence > self._index.sequence:
                continue
            young = not may_have_expired(batch.leaf, self._view.trust, self._index.issued_at)
            manifest = self._manifest(batch, must_be_there=young)
            if manifest is None or not manifest.files:
                continue
            # Every format holds the same keys.
            zips = [file for file in manifest.files if file.format == GAEN_ZIP]
            ends = [self._end_of(file.path, file.sha256) for file in zips]
            if young or any(end is not None and end > self._newest_unlisted for end in ends):
                what = f"leaves out batch {sequence}, which has not expired and was not withdrawn"
                self._fault(FaultKind.INDEX, index_path(self._index.region), what)

    def _end_of(self, path: str, digest: str) -> int | None:
        """When the newest key of a file that is not listed any more ended; None if it cannot be known."""
        if digest in self._known:
            return self._known[digest]
        try:
            content = self._read(f"{EXPOSURES}/{path}")
            if content is None or sha256(content).hexdigest() != digest:
                return None
            export = read_zip(content)[0]
        except Malformed:
            return None
        return max((key.end_interval_number for key in (*export.keys, *export.revised_keys)), default=None)

    def _manifest(self, batch: LoggedBatch, *, must_be_there: bool) -> Manifest | None:
        try:
            manifest = read_manifest(self._read, batch)
        except NOT_BELIEVED as error:
            self._found.faults.append(manifest_fault(self._read, batch, error))
            return None
        if manifest is None:
            if must_be_there:
                self._fault(FaultKind.MANIFEST, batch.manifest_path, "the manifest is not there")
            return None
        self._found.faults += check_manifest(manifest, batch)
        return manifest

    def _compare(self, batch: LoggedBatch, manifest: Manifest, window: IndexWindow) -> None:
        stated = {(file.path, file.sha256, file.size, file.format) for file in manifest.files}
        listed = {(file.path, file.sha256, file.size, file.format) for file in window.files}
        if stated != listed:
            what = f"lists other files of batch {batch.leaf.sequence} than its manifest"
            self._fault(FaultKind.INDEX, index_path(self._index.region), what)

    def _file(self, file: IndexFile, window: IndexWindow, manifest: Manifest | None) -> None:
        where = f"{EXPOSURES}/{file.path}"
        end = self._known.get(file.sha256)
        if end is None:
            trusted = trusted_keys(self._view.trust, window, now=self._now)
            try:
                found = verify_file(
                    must_read(self._read, where),
                    file,
                    window,
                    region=self._index.region,
                    trusted=trusted,
                    now=self._now,
                )
            except NOT_BELIEVED as error:
                self._found.faults.append(file_fault(error, where))
                return
            self._found.files_read += 1
            self._found.keys_read += found.key_count + found.revised_key_count
            self._found.faults += check_counts(found, file, manifest)
            end = found.newest_end or 0
        self._found.ends[file.sha256] = end
        if end <= self._newest_unlisted:
            what = f"lists {file.path}, whose newest key expired before the index was issued"
            self._fault(FaultKind.INDEX, index_path(self._index.region), what)

    def _fault(self, kind: FaultKind, where: str, what: str) -> None:
        self._found.faults.append(Fault(kind, where, what))
