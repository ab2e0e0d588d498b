"""Whether what the log commits to is there: proofs, indexes by digest, manifests, and every listed file.

Files are checked as phones check them (`client.verify`), and then against their manifest. Nothing is believed
that a leaf does not commit to.
"""

from collections.abc import Callable, Mapping, Sequence
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
from registry.client.monitor.same_keys import Held, day_fault, held_by, hold_the_same
from registry.client.monitor.shard import Progress, Read, must_read, silent
from registry.client.monitor.view import LogView
from registry.client.proof import open_index_proof
from registry.client.unread import windows_of_days
from registry.client.verify import Span, VerifiedFile, spans_of, trusted_keys, verify_file
from registry.errors import Distrusted, Malformed
from registry.protocol.export_file import read_zip
from registry.protocol.index import (
    EXPOSURES,
    GAEN_ZIP,
    LOG_POLICY_PATH,
    Index,
    IndexDay,
    IndexFile,
    IndexWindow,
    daily_index_path,
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
    total = sum(len(span.files) for index in view.indexes.values() for span in spans_of(index))
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
    """What phones follow: the region's proof, the index by its digest, and the lists of existing apps."""
    content = view.index_contents[region]
    digest = sha256(content).hexdigest()
    faults = []
    where = index_digest_path(region, digest)
    try:
        if read(where) != content:
            faults.append(Fault(FaultKind.INDEX, where, "the index is not there under its digest"))
    except Malformed as error:
        faults.append(fault_of(error, where))
    index = view.indexes[region]
    faults += _check_list(read, legacy_index_path(region), index.windows)
    # Of before there were days, the second need not be there.
    faults += _check_list(read, daily_index_path(region), index.days, may_lack=not index.days)
    return faults + _check_proof(read, view, region, digest, now)


def _check_list(read: Read, where: str, spans: Sequence[Span], *, may_lack: bool = False) -> list[Fault]:
    listed = sorted(file.path for span in spans for file in span.files if file.format == GAEN_ZIP)
    try:
        content = read(where)
        if content is None and may_lack:
            return []
        if content is None or sorted(decode_legacy_index(content)) != listed:
            return [Fault(FaultKind.INDEX, where, "lists other files than index.json")]
    except Malformed as error:
        return [fault_of(error, where)]
    return []


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
        """Every window with files: its leaf, its manifest, its files; and every day, against its windows."""
        in_days: set[int] = set()
        for day, windows in windows_of_days(self._index):
            in_days |= {window.sequence for window in windows}
            held = [self._window(window, tell) for window in windows]
            if self._is_known(day):
                for file in day.files:
                    self._keep(file, self._known[file.sha256])
            else:
                self._day(day, windows, held)
            for _ in day.files:
                tell()
        for window in self._index.windows:
            if window.files and window.sequence not in in_days:
                self._window(window, tell)

    def _window(self, window: IndexWindow, tell: Callable[[], None]) -> Held | None:
        """What the window holds, if any of its files had to be read and all are as they must be."""
        batch = self._batches.get(window.sequence)
        manifest = None
        if batch is not None:
            manifest = self._manifest(batch, must_be_there=True)
        else:
            what = f"lists window {window.sequence}, which no leaf that can be read commits to"
            self._fault(FaultKind.UNLOGGED, index_path(self._index.region), what)
        if batch is not None and manifest is not None:
            self._compare(batch, manifest, window)
        if self._is_known(window):
            for file in window.files:
                self._keep(file, self._known[file.sha256])
                tell()
            return None
        found = {}
        for file in window.files:
            verified = self._file(file, window, manifest)
            if verified is not None:
                found[file] = verified
            tell()
        return self._held_alike(window, found)

    def _held_alike(self, span: Span, found: Mapping[IndexFile, VerifiedFile]) -> Held | None:
        """What the span holds; None if a file could not be read, or one format holds other keys."""
        if len(found) < len(span.files):
            return None
        forms = sorted({file.format for file in span.files}, key=lambda form: form != GAEN_ZIP)
        first, *others = [held_by(found[file] for file in found if file.format == form) for form in forms]
        for form, held in zip(forms[1:], others, strict=True):
            if not hold_the_same(first, held):
                self._not_the_same(span, form, f"holds other keys than the {forms[0]} of the same time")
                return None
        return first

    def _not_the_same(self, span: Span, form: str, what: str) -> None:
        """Such a file is not as it must be: the next visit looks at it again."""
        for file in span.files:
            if file.format == form:
                self._found.ends.pop(file.sha256, None)
                self._fault(FaultKind.FILE, f"{EXPOSURES}/{file.path}", what)

    def _day(self, day: IndexDay, windows: Sequence[IndexWindow], held: Sequence[Held | None]) -> None:
        found = {}
        for file in day.files:
            verified = self._file(file, day, None)
            if verified is not None:
                found[file] = verified
        of_day = self._held_alike(day, found)
        again = [one or self._again(window) for window, one in zip(windows, held, strict=True)]
        of_windows = [one for one in again if one is not None]
        if of_day is None or len(of_windows) < len(windows):
            return  # a fault of its own, found above
        what = day_fault(day, of_day, of_windows, self._view.trust, newest_unlisted=self._newest_unlisted)
        if what is not None:
            for form in {file.format for file in day.files}:
                self._not_the_same(day, form, what)

    def _again(self, window: IndexWindow) -> Held | None:
        """What a window holds whose files are known: read once more, for a day that is new."""
        best = min({file.format for file in window.files})
        try:
            return held_by(self._verified(file, window) for file in window.files if file.format == best)
        except NOT_BELIEVED:
            return None

    def _is_known(self, span: Span) -> bool:
        return all(file.sha256 in self._known for file in span.files)

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

    def _file(self, file: IndexFile, span: Span, manifest: Manifest | None) -> VerifiedFile | None:
        """What the file says, None if it is not as it must be."""
        try:
            verified = self._verified(file, span)
        except NOT_BELIEVED as error:
            self._found.faults.append(file_fault(error, f"{EXPOSURES}/{file.path}"))
            return None
        self._found.files_read += 1
        self._found.keys_read += verified.key_count + verified.revised_key_count
        self._found.faults += check_counts(verified, file, manifest)
        self._keep(file, verified.newest_end or 0)
        return verified

    def _verified(self, file: IndexFile, span: Span) -> VerifiedFile:
        return verify_file(
            must_read(self._read, f"{EXPOSURES}/{file.path}"),
            file,
            span,
            region=self._index.region,
            trusted=trusted_keys(self._view.trust, span, now=self._now),
            now=self._now,
        )

    def _keep(self, file: IndexFile, end: int) -> None:
        self._found.ends[file.sha256] = end
        if end <= self._newest_unlisted:
            what = f"lists {file.path}, whose newest key expired before the index was issued"
            self._fault(FaultKind.INDEX, index_path(self._index.region), what)

    def _fault(self, kind: FaultKind, where: str, what: str) -> None:
        self._found.faults.append(Fault(kind, where, what))
