"""A batch's leaf, looked for from the newest bundle back, and proven by the log's hash tiles.

So that a proof about a file of yesterday needs a few kilobytes of a log of years. Nothing of a bundle is
believed before all of it has been proven to be under a signed root, and the checkpoints that a search comes
by are proven to be of one history, that of the index's proof among them.
"""

from dataclasses import dataclass, field

from registry.client.monitor.faults import Fault, FaultKind, TwoHistories, WrongTree
from registry.client.monitor.leaf_rules import compare_with_opening
from registry.client.monitor.shard import Entry, Read, must_read, read_entry, tile_nodes
from registry.client.remembered import LogHead
from registry.errors import Malformed, WrongProof
from registry.protocol.checkpoint import Checkpoint, decode_checkpoint, open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, shard_checkpoint_path, shard_tile_path
from registry.protocol.leaves import BatchLeaf, OpenLeaf, WithdrawLeaf
from registry.protocol.merkle import (
    NodeReader,
    check_inclusion,
    inclusion_path,
    leaf_hash,
    root_at,
    tree_root,
)
from registry.protocol.note import decode_note, decode_vkey
from registry.protocol.tiles import HEIGHT, WIDTH, Tile, decode_bundle, tiles_at
from registry.protocol.trust import TrustMaterial, shard_year


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """The batch's leaf as it stands in the log, and the withdrawal that names it, if any.

    `in_proven_tree`: it is in the tree of the index's proof, not only in one that the log alone has signed.
    """

    entry: Entry
    leaf: BatchLeaf
    checkpoint: Checkpoint
    path: tuple[bytes, ...]
    withdrawn_by: Entry | None
    in_proven_tree: bool


@dataclass(frozen=True, slots=True)
class _Bundle:
    """Entries that are all proven to be under the root; subtrees by them and, outside, by the tiles."""

    entries: list[Entry]
    node: NodeReader = field(repr=False)


def find_batch(
    read: Read, trust: TrustMaterial, region: str, window_start: int, *, proven: LogHead | None = None
) -> FoundBatch | None:
    """The newest leaf about that window, proven by the log's tiles; None if there is none.

    `proven` is the tree of the index's proof: what is found is of its history. Raises NotThere, Malformed,
    UntrustedKey, BadSignature, WrongTree, or TwoHistories with the notes that prove it.
    """
    return _Search(read, trust, region, window_start, proven).run()


class _Search:
    """From the newest shard back to the one that holds the leaf, and to that of the index's proof."""

    def __init__(
        self, read: Read, trust: TrustMaterial, region: str, window_start: int, proven: LogHead | None
    ) -> None:
        self._read = read
        self._trust = trust
        self._keys = [decode_vkey(vkey) for vkey in trust.log_vkeys]
        self._wanted = (region, window_start)
        self._proven = proven
        self._withdrawals: dict[tuple[str, int], Entry] = {}
        self._found: FoundBatch | None = None

    def run(self) -> FoundBatch | None:
        signed = must_read(self._read, LOG_CHECKPOINT_PATH)
        year = self._year(decode_checkpoint(decode_note(signed).text).origin)
        proven_year = year if self._proven is None else self._year(self._proven.origin)
        if year < proven_year:
            what = f"is of the year {year}, and the index's proof of {proven_year}"
            raise TwoHistories(Fault(FaultKind.ROLLED_BACK, LOG_CHECKPOINT_PATH, what))
        while True:
            signed, checkpoint = self._head(year, signed)
            opening = self._walk(year, checkpoint, proven_year)
            if opening is None or (self._found is not None and year <= proven_year):
                return self._found
            older = self._year(opening.origin)
            if older >= year:
                raise Malformed(f"log/{year} goes on from {opening.origin}, which is no earlier year's")
            before = must_read(self._read, shard_checkpoint_path(older))
            head = open_checkpoint(before, self._keys)[1]
            fault = compare_with_opening(opening, head, year=year, notes=(before, signed))
            if fault is not None:
                raise TwoHistories(fault)
            self._check_final(opening, year, signed)
            year, signed = older, before

    def _year(self, origin: str) -> int:
        return shard_year(self._trust.log_origin, origin)

    def _check_final(self, opening: OpenLeaf, year: int, signed: bytes) -> None:
        """The index's proof is of no larger tree than that with which its year ended."""
        proven = self._proven
        if proven is not None and proven.origin == opening.origin and proven.size > opening.size:
            what = f"goes on from {opening.origin} at size {opening.size}, the proof's tree has {proven.size}"
            advice = "Keep both notes: together they prove that history was rewritten."
            notes = (proven.checkpoint, signed)
            raise TwoHistories(Fault(FaultKind.INCONSISTENT, f"log/{year}", what, advice, notes))

    def _head(self, year: int, signed: bytes) -> tuple[bytes, Checkpoint]:
        """The larger of the shard's checkpoint and that of the index's proof, once one contains the other."""
        checkpoint = open_checkpoint(signed, self._keys)[1]
        proven = self._proven
        if proven is None or proven.origin != checkpoint.origin:
            return signed, checkpoint
        other = Checkpoint(proven.origin, proven.size, proven.root)
        pair = sorted([(other, proven.checkpoint), (checkpoint, signed)], key=lambda one: one[0].size)
        (small, small_note), (large, large_note) = pair
        evidence, where = (small_note, large_note), f"log/{year}/checkpoint and the index's proof"
        advice = "Keep both notes: together they prove to anybody that two histories were signed."
        if small.size == large.size:
            if small.root != large.root:
                what = f"have two roots at size {small.size}"
                raise TwoHistories(Fault(FaultKind.SPLIT_VIEW, where, what, advice, evidence))
            return large_note, large
        node = tile_nodes(self._read, year, large.size)
        if root_at(large.size, node) != large.root:
            raise WrongTree(f"the tiles of {large.origin} do not lead to the root at size {large.size}")
        if root_at(small.size, node) != small.root:
            what = f"are of sizes {small.size} and {large.size}, and one does not contain the other"
            raise TwoHistories(Fault(FaultKind.INCONSISTENT, where, what, advice, evidence))
        return large_note, large

    def _walk(self, year: int, checkpoint: Checkpoint, proven_year: int) -> OpenLeaf | None:
        """Look through the shard. What its first leaf says of the shard before, if one must go on there."""
        full, width = tiles_at(None, checkpoint.size)
        node = tile_nodes(self._read, year, checkpoint.size)
        number = full if width else full - 1
        while number >= 0:
            bundle = self._bundle(
                year, checkpoint, node, Tile(None, number, width if number == full else WIDTH)
            )
            for entry in reversed(bundle.entries):
                if self._found is None:
                    self._take(entry, checkpoint, bundle.node, proven_year)
            if number == 0:
                first = bundle.entries[0].leaf
                return first if isinstance(first, OpenLeaf) else None
            if self._found is not None and year <= proven_year:
                return None
            number = number - 1 if self._found is None else 0
        return None

    def _take(self, entry: Entry, checkpoint: Checkpoint, node: NodeReader, proven_year: int) -> None:
        match entry.leaf:
            case WithdrawLeaf(region=of, sequence=sequence):
                self._withdrawals[of, sequence] = entry
            case BatchLeaf() as leaf if (leaf.region, leaf.window_start) == self._wanted:
                path = tuple(inclusion_path(entry.number, checkpoint.size, node))
                check_inclusion(
                    index=entry.number,
                    size=checkpoint.size,
                    leaf=entry.hash,
                    path=path,
                    root=checkpoint.root,
                )
                known = self._proven is not None and (
                    entry.year < proven_year
                    or (entry.year == proven_year and entry.number < self._proven.size)
                )
                withdrawn_by = self._withdrawals.get((leaf.region, leaf.sequence))
                self._found = FoundBatch(entry, leaf, checkpoint, path, withdrawn_by, known)

    def _bundle(self, year: int, checkpoint: Checkpoint, node: NodeReader, tile: Tile) -> _Bundle:
        """The bundle, once every entry in it is under the root: the path of the first hangs on all others."""
        where = shard_tile_path(year, tile)
        contents = decode_bundle(must_read(self._read, where), tile.width)
        hashes = [leaf_hash(content) for content in contents]
        first = tile.number * WIDTH

        def own(level: int, index: int) -> bytes:
            begin = index << level
            if level < HEIGHT and begin >> HEIGHT == tile.number:
                return tree_root(hashes[begin - first : begin - first + (1 << level)])
            return node(level, index)

        path = inclusion_path(first, checkpoint.size, own)
        try:
            check_inclusion(
                index=first, size=checkpoint.size, leaf=hashes[0], path=path, root=checkpoint.root
            )
        except WrongProof as error:
            origin, size = checkpoint.origin, checkpoint.size
            raise WrongTree(f"{where} does not lead to the root of {origin} at size {size}") from error
        return _Bundle([read_entry(year, first + at, one) for at, one in enumerate(contents)], own)
