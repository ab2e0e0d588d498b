"""The rules that the log's leaves must follow among themselves, whatever else is served. Pure.

1. Every entry is a leaf that can be decoded.
2. A region's batches count up without a gap, each window begins where the one before ended, and each leaf
   names the hash of the one before.
3. Index leaves name the one before them, and their issue times do not go back.
4. A withdrawal names a batch that is in the log, once.
5. A key is added before it is retired, and neither twice in a row.
6. Trust material counts up without a gap and names its predecessor.
7. Officials' acts are anchored once on every UTC day on which an index was issued, the present one excepted.
8. A shard is closed by its last leaf, which names the next one; that begins by its predecessor's final
   checkpoint, and nothing else stands in those places.
9. The newest checkpoint ends with an index leaf, or is a shard's final one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.shard import Entry, Shard, opening_of
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.protocol.checkpoint import Checkpoint
from registry.protocol.intervals import utc_date
from registry.protocol.leaves import (
    ActivityLeaf,
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    KeyLeaf,
    OpenLeaf,
    PolicyLeaf,
    WithdrawLeaf,
)


def check_leaves(shards: Sequence[Shard], *, now: float) -> list[Fault]:
    """Every breach of the rules above in these shards, oldest first.

    Where an older shard cannot be read, what builds upon it is a breach too: nobody can check it.
    """
    walk = _Walk(now=now)
    for at, shard in enumerate(shards):
        walk.begin_shard(shard, shards[at - 1] if at else None)
        for entry in shard.entries:
            walk.take(entry)
        walk.end_shard(shard, shards[at + 1] if at + 1 < len(shards) else None)
    walk.end()
    return walk.faults


def leaf_name(entry: Entry) -> str:
    """How a fault names an entry: `log/2026 leaf 17`."""
    return f"log/{entry.year} leaf {entry.number}"


def compare_with_opening(
    opening: OpenLeaf, head: Checkpoint, *, year: int, notes: tuple[bytes, bytes]
) -> Fault | None:
    """Whether `head` is the checkpoint that the first leaf of the shard of `year` commits to.

    `notes` are the signed ones of `head` and of that shard. A smaller head may be that of before the last
    leaves, out of a cache, and is proof of nothing.
    """
    where = f"log/{year}"
    if (opening.origin, opening.size, opening.root) == (head.origin, head.size, head.root):
        return None
    what = (
        f"goes on from {opening.origin} at size {opening.size}, "
        f"but the checkpoint that is shown of it is of size {head.size} and root {head.root.hex()}"
    )
    if opening.origin == head.origin and head.size < opening.size:
        return Fault(FaultKind.ROLLED_BACK, where, what, "Its last leaves are held back, or were cut off.")
    advice = "Keep both checkpoints: together they prove that history was rewritten."
    return Fault(FaultKind.INCONSISTENT, where, what, advice, notes)


@dataclass(frozen=True, slots=True)
class _Last:
    """A region's newest batch so far."""

    sequence: int
    window_end: int
    hash: bytes


class _Walk:
    """The log as far as it has been walked, oldest leaf first."""

    def __init__(self, *, now: float) -> None:
        self.faults: list[Fault] = []
        self._now = now
        self._regions: dict[str, _Last] = {}
        self._batches: set[tuple[str, int]] = set()
        self._withdrawn: set[tuple[str, int]] = set()
        self._keys: dict[tuple[str, str, bytes], str] = {}
        self._policy: PolicyLeaf | None = None
        self._index: Entry | None = None
        """The shard's newest index leaf."""
        self._issued_at = 0
        self._waiting: list[Entry] = []
        """Activity leaves whose index leaf, which dates them, is still to come."""
        self._days: dict[date, Entry | None] = {}
        """UTC days on which an index was issued, in order, and the day's activity leaf."""
        self._shard: Shard | None = None

    # ------------------------------------------------------------ shards

    def begin_shard(self, shard: Shard, before: Shard | None) -> None:
        self._shard, self._index = shard, None
        opening = opening_of(shard)
        if before is None or opening is None:
            return  # an older shard was read because an opening leaf names it
        notes = (before.signed, shard.signed)
        fault = compare_with_opening(opening, before.checkpoint, year=shard.year, notes=notes)
        if fault is not None:
            self.faults.append(fault)

    def end_shard(self, shard: Shard, after: Shard | None) -> None:
        last = shard.last
        closing = last.leaf if last is not None else None
        if after is not None:
            if not isinstance(closing, CloseLeaf):
                self._fault_at(
                    FaultKind.GAP, shard, "was never closed, and yet another shard goes on from it"
                )
            elif closing.next_origin != after.checkpoint.origin:
                named, there = closing.next_origin, after.checkpoint.origin
                self._fault_at(FaultKind.GAP, shard, f"names {named} as the next shard, but {there} is")
        elif not isinstance(closing, IndexLeaf | CloseLeaf):
            self._fault_at(
                FaultKind.INDEX_NOT_LAST,
                shard,
                f"the newest checkpoint, of size {shard.checkpoint.size}, does not end with an index leaf",
                "Phones cannot know from it which index is the newest; ask the operator what happened.",
            )

    def end(self) -> None:
        """Rule 7, once all days are known."""
        today = utc_date(self._now)
        for day, anchor in self._days.items():
            if anchor is None and day < today:
                where = f"log, {day.isoformat()}"
                self.faults.append(
                    Fault(
                        FaultKind.ACTIVITY,
                        where,
                        "the officials' acts were not anchored on a day on which indexes were issued",
                        "Ask the operator for the reason: acts of that day could be changed without a trace.",
                    )
                )

    # ------------------------------------------------------------ leaves

    def take(self, entry: Entry) -> None:
        match entry.leaf:
            case None:
                self._fault(FaultKind.MALFORMED, entry, entry.problem)
            case BatchLeaf():
                self._batch(entry, entry.leaf)
            case IndexLeaf():
                self._take_index(entry, entry.leaf)
            case WithdrawLeaf():
                self._withdrawal(entry, entry.leaf)
            case KeyLeaf():
                self._key(entry, entry.leaf)
            case PolicyLeaf():
                self._policy_change(entry, entry.leaf)
            case ActivityLeaf():
                self._waiting.append(entry)
            case CloseLeaf():
                if self._shard is not None and entry is not self._shard.last:
                    self._fault(FaultKind.GAP, entry, "closes the shard, and yet leaves follow it")
            case OpenLeaf():
                if entry.number != 0:
                    self._fault(FaultKind.GAP, entry, "opens the shard, but is not its first leaf")

    def _batch(self, entry: Entry, leaf: BatchLeaf) -> None:
        last = self._regions.get(leaf.region)
        wrong: list[str] = []
        if last is None:
            if leaf.sequence != 1 or leaf.previous is not None:
                wrong.append(f"is the first batch of {leaf.region} to be read, with number {leaf.sequence}")
        else:
            if leaf.sequence != last.sequence + 1:
                wrong.append(f"is batch {leaf.sequence} of {leaf.region}, after batch {last.sequence}")
            if leaf.window_start != last.window_end:
                wrong.append(
                    f"begins at {leaf.window_start}, but the window before it ended at {last.window_end}"
                )
            if leaf.previous != last.hash:
                wrong.append(f"does not name the hash of the batch of {leaf.region} before it")
        if leaf.window_end <= leaf.window_start:
            wrong.append("ends before it starts")
        if leaf.window_end > self._now + CLOCK_TOLERANCE_SECONDS:
            self._fault(FaultKind.TIMES, entry, "is of a window that lies in the future")
        for what in wrong:
            self._fault(
                FaultKind.GAP, entry, what, "A batch was left out or put in: ask the operator which one."
            )
        self._regions[leaf.region] = _Last(leaf.sequence, leaf.window_end, entry.hash)
        self._batches.add((leaf.region, leaf.sequence))

    def _take_index(self, entry: Entry, leaf: IndexLeaf) -> None:
        expected = None if self._index is None else self._index.number
        if leaf.previous != expected:
            self._fault(
                FaultKind.GAP,
                entry,
                f"names leaf {leaf.previous} as the index before it, which was {expected}",
            )
        if leaf.issued_at < self._issued_at:
            self._fault(FaultKind.TIMES, entry, "was issued before the index leaf that precedes it")
        if leaf.issued_at > self._now + CLOCK_TOLERANCE_SECONDS:
            self._fault(FaultKind.TIMES, entry, "was issued in the future: check both clocks")
        self._index, self._issued_at = entry, max(self._issued_at, leaf.issued_at)
        day = utc_date(min(leaf.issued_at, self._now))
        self._days.setdefault(day, None)
        for anchor in self._waiting:
            if self._days[day] is not None:
                self._fault(FaultKind.ACTIVITY, anchor, f"anchors the acts of {day} a second time")
            self._days[day] = anchor
        self._waiting = []

    def _withdrawal(self, entry: Entry, leaf: WithdrawLeaf) -> None:
        batch = (leaf.region, leaf.sequence)
        if batch not in self._batches:
            self._fault(
                FaultKind.GAP,
                entry,
                f"withdraws batch {leaf.sequence} of {leaf.region}, which is not in the log",
            )
        if batch in self._withdrawn:
            self._fault(FaultKind.GAP, entry, f"withdraws batch {leaf.sequence} of {leaf.region} again")
        self._withdrawn.add(batch)

    def _key(self, entry: Entry, leaf: KeyLeaf) -> None:
        key = (leaf.purpose, leaf.name, leaf.digest)
        known = self._keys.get(key)
        if leaf.action == known or (leaf.action == "retired" and known is None):
            self._fault(FaultKind.GAP, entry, f"says that the key {leaf.name} was {leaf.action}, which it is")
        self._keys[key] = leaf.action

    def _policy_change(self, entry: Entry, leaf: PolicyLeaf) -> None:
        last = self._policy
        expected = 1 if last is None else last.sequence + 1
        if leaf.sequence != expected:
            self._fault(
                FaultKind.TRUST, entry, f"is trust material number {leaf.sequence}, and {expected} was due"
            )
        elif last is not None and leaf.previous != last.digest:
            self._fault(FaultKind.TRUST, entry, "does not name the trust material before it")
        self._policy = leaf

    # ------------------------------------------------------------ faults

    def _fault(self, kind: FaultKind, entry: Entry, what: str, advice: str = "") -> None:
        self.faults.append(Fault(kind, leaf_name(entry), what, advice))

    def _fault_at(
        self, kind: FaultKind, shard: Shard, what: str, advice: str = "", evidence: tuple[bytes, ...] = ()
    ) -> None:
        self.faults.append(Fault(kind, f"log/{shard.year}", what, advice, evidence))
