"""Batches by region as the log has them, and what became of each by the newest index."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from registry.client.failures import HashMismatch
from registry.client.monitor.shard import Entry, Read, Shard
from registry.protocol.index import Index, IndexFile, IndexWindow, manifest_path
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.leaves import BatchLeaf, IndexLeaf, WithdrawLeaf
from registry.protocol.manifest import Manifest, decode_manifest, manifest_digest
from registry.protocol.trust import TrustMaterial

DAY = 86_400
LONGEST_KEY_AGE_DAYS = 16
"""Keys are taken for 15 days after their end, and may wait a day for their window."""
LISTED_LESS_DAYS = 1
"""Files leave the index a day before they go."""
DEFAULT_RETENTION_DAYS = 21

BatchState = Literal["live", "pending", "empty", "expired", "withdrawn"]


@dataclass(frozen=True, slots=True)
class LoggedBatch:
    """A batch leaf and what became of its window.

    `live`: the index lists its files. `pending`: in the log, not in the index yet. `empty`: it held nothing.
    `expired`: nothing is listed, and it is so old that it may have held something. `withdrawn`: a leaf says
    so. `published_at` is the issue time of the first index leaf after it; None as long as there is none.
    """

    entry: Entry
    leaf: BatchLeaf
    state: BatchState
    files: tuple[IndexFile, ...]
    published_at: int | None
    withdrawn_by: Entry | None = None

    @property
    def manifest_path(self) -> str:
        """Where its manifest lies for as long as its files are kept."""
        return manifest_path(self.leaf.region, self.leaf.manifest.hex())


def read_manifest(read: Read, batch: LoggedBatch) -> Manifest | None:
    """The batch's manifest, which the log commits to; None once it is gone.

    Raises HashMismatch for other bytes, Malformed for what the log commits to and is none.
    """
    content = read(batch.manifest_path)
    if content is None:
        return None
    if manifest_digest(content) != batch.leaf.manifest:
        raise HashMismatch(f"{batch.manifest_path} is not the manifest that the log commits to")
    return decode_manifest(content)


def retention_days(trust: TrustMaterial) -> int:
    """How long files are kept after the end of their newest key."""
    return trust.publication.get("retention_days", DEFAULT_RETENTION_DAYS)


def newest_unlisted(trust: TrustMaterial, issued_at: float) -> int:
    """The end interval of the newest key with which a file is not in an index of that time any more."""
    days = retention_days(trust) - LISTED_LESS_DAYS
    return interval_at(issued_at) - days * INTERVALS_PER_DAY


def may_have_expired(leaf: BatchLeaf, trust: TrustMaterial, now: float) -> bool:
    """Whether any batch of this window can be out of the index by age at `now`.

    Every key was releasable or uploaded within the window: its end is not much older than that one's start.
    """
    days = retention_days(trust) - LONGEST_KEY_AGE_DAYS - LISTED_LESS_DAYS
    return leaf.window_start + max(0, days) * DAY <= now


def issue_times(shards: Iterable[Shard]) -> dict[tuple[int, int], int]:
    """By (year, number): when the first index leaf at or after the entry was issued, unix seconds."""
    found: dict[tuple[int, int], int] = {}
    for shard in shards:
        issued: int | None = None
        for entry in reversed(shard.entries):
            if isinstance(entry.leaf, IndexLeaf):
                issued = entry.leaf.issued_at
            if issued is not None:
                found[entry.year, entry.number] = issued
    return found


def logged_batches(
    shards: Iterable[Shard],
    indexes: Mapping[str, Index],
    trust: TrustMaterial,
    issued: Mapping[tuple[int, int], int],
) -> dict[str, tuple[LoggedBatch, ...]]:
    """By region, sorted by code: its batches, oldest first. Age counts from each index's issue time."""
    entries = [entry for shard in shards for entry in shard.entries]
    withdrawn = {
        (entry.leaf.region, entry.leaf.sequence): entry
        for entry in entries
        if isinstance(entry.leaf, WithdrawLeaf)
    }
    windows = {region: _windows_by_sequence(index) for region, index in indexes.items()}
    found: dict[str, list[LoggedBatch]] = defaultdict(list)
    for entry in entries:
        leaf = entry.leaf
        if not isinstance(leaf, BatchLeaf):
            continue
        index = indexes.get(leaf.region)
        window = windows.get(leaf.region, {}).get(leaf.sequence)
        taken_back = withdrawn.get((leaf.region, leaf.sequence))
        files = window.files if window else ()
        found[leaf.region].append(
            LoggedBatch(
                entry=entry,
                leaf=leaf,
                state=_state(leaf, index, files, taken_back, trust),
                files=files,
                published_at=issued.get((entry.year, entry.number)),
                withdrawn_by=taken_back,
            )
        )
    return {region: tuple(found[region]) for region in sorted(found)}


def _windows_by_sequence(index: Index) -> dict[int, IndexWindow]:
    # Only windows with files are looked up, and those are no runs: a run can span more than is there.
    return {window.sequence: window for window in index.windows if window.files}


def _state(
    leaf: BatchLeaf,
    index: Index | None,
    files: tuple[IndexFile, ...],
    withdrawn_by: Entry | None,
    trust: TrustMaterial,
) -> BatchState:
    if withdrawn_by is not None:
        return "withdrawn"
    if files:
        return "live"
    if index is None or leaf.sequence > index.sequence:
        return "pending"
    return "expired" if may_have_expired(leaf, trust, index.issued_at) else "empty"
