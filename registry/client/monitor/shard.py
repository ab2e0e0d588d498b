"""One year's log, read whole: its signed checkpoint, and every leaf under it, decoded.

What comes out has hashed to the root that the log's own keys signed, so an entry is what the registry is
bound to, whoever delivered it. Whether leaves follow the rules, and whether witnesses saw the same, are
other modules' questions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain

from registry.client.failures import TooLarge
from registry.client.monitor.faults import NotThere, WrongTree
from registry.errors import Malformed
from registry.protocol.checkpoint import Checkpoint, decode_checkpoint, open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, shard_checkpoint_path, shard_tile_path
from registry.protocol.leaves import Leaf, OpenLeaf, decode_leaf
from registry.protocol.merkle import CompactRange, NodeReader, inclusion_path, leaf_hash
from registry.protocol.note import Note, VerifierKey, decode_note
from registry.protocol.proof import LogProof
from registry.protocol.tiles import WIDTH, Tile, decode_bundle, node_reader, tiles_at
from registry.protocol.trust import shard_year

Read = Callable[[str], bytes | None]
"""A public path to the bytes there; None if nothing is. May raise FetchFailed."""

Progress = Callable[[int, int], None]
"""Told how many of how many things have been dealt with."""


MOST_BYTES = 2**30
"""Of one shard, with what an object costs for each entry: what a desk machine holds. Two million leaves of
ours, several years' worth for forty regions."""
OVERHEAD_BYTES = 256


class Budget:
    """How much of a shard may still be read. A log that signs millions of leaves must not eat the reader."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._left = MOST_BYTES

    def spend(self, content: bytes, pieces: int) -> None:
        """Count `content`, which falls into so many `pieces`. Raises TooLarge when nothing is left."""
        self._left -= len(content) + OVERHEAD_BYTES * pieces
        if self._left < 0:
            raise TooLarge(f"{self._where} holds more than {MOST_BYTES} bytes, which no log of ours does")


def silent(done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Leaf `number` (from 0) of a year's shard; `content` is what was hashed.

    `leaf` is None for bytes that are no leaf of ours: then `problem` says why.
    """

    year: int
    number: int
    content: bytes
    leaf: Leaf | None
    problem: str = ""

    @property
    def hash(self) -> bytes:
        """The leaf hash, 32 bytes."""
        return leaf_hash(self.content)


@dataclass(frozen=True, slots=True)
class Shard:
    """A year's log as of one checkpoint. `signed` is the checkpoint's file, `note` the same, read."""

    year: int
    signed: bytes
    note: Note
    checkpoint: Checkpoint
    entries: tuple[Entry, ...] = field(repr=False)
    tree: CompactRange = field(repr=False)

    @property
    def last(self) -> Entry | None:
        """The newest leaf; None in an empty log."""
        return self.entries[-1] if self.entries else None

    def root_at(self, size: int) -> bytes:
        """The root that the shard had at `size`, at most its present one."""
        if size == self.checkpoint.size:
            return self.checkpoint.root
        return CompactRange().extended(entry.hash for entry in self.entries[:size]).root()


def must_read(read: Read, path: str) -> bytes:
    """The bytes at `path`. Raises NotThere."""
    content = read(path)
    if content is None:
        raise NotThere(f"{path} is not there")
    return content


def current_year(read: Read, log_origin: str) -> int:
    """Which year's shard `log/checkpoint` is of. Raises NotThere or Malformed; verifies nothing."""
    checkpoint = decode_checkpoint(decode_note(must_read(read, LOG_CHECKPOINT_PATH)).text)
    return shard_year(log_origin, checkpoint.origin)


def read_signed_checkpoint(read: Read, year: int, *, is_current: bool) -> bytes:
    """The checkpoint's file; for the current shard `log/checkpoint`, the pointer that is followed."""
    return must_read(read, LOG_CHECKPOINT_PATH if is_current else shard_checkpoint_path(year))


def read_shard(
    read: Read,
    year: int,
    signed: bytes,
    keys: Iterable[VerifierKey],
    *,
    before: Shard | None = None,
    progress: Progress = silent,
) -> Shard:
    """All leaves under the signed checkpoint `signed`, which one of the log's `keys` must have signed.

    `before` is the same shard as it was read earlier: what it holds is not fetched again. Raises Malformed
    (TooLarge among it), UntrustedKey, BadSignature, NotThere, or WrongTree if the bundles do not hash to the
    signed root.
    """
    note, checkpoint = open_checkpoint(signed, keys)
    if before is not None and before.checkpoint.size <= checkpoint.size:
        try:
            return _extended(read, year, signed, note, checkpoint, before, progress)
        except WrongTree:
            # Either half may be the one that lies: all is read anew, and only that decides.
            pass
    empty = Shard(year, signed, note, Checkpoint(checkpoint.origin, 0, b""), (), CompactRange())
    return _extended(read, year, signed, note, checkpoint, empty, progress)


def _extended(
    read: Read,
    year: int,
    signed: bytes,
    note: Note,
    checkpoint: Checkpoint,
    before: Shard,
    progress: Progress,
) -> Shard:
    size, known = checkpoint.size, len(before.entries)
    full, width = tiles_at(None, size)
    # One by one: a size that was signed to exhaust its readers ends at the first bundle that is not there.
    last = [Tile(None, full, width)] if width and size > known else []
    tiles = chain((Tile(None, number) for number in range(known // WIDTH, full)), last)
    total = max(0, full - known // WIDTH) + len(last)
    entries, tree = list(before.entries), before.tree
    budget = Budget(checkpoint.origin)
    for done, tile in enumerate(tiles, start=1):
        bundle = must_read(read, shard_tile_path(year, tile))
        budget.spend(bundle, tile.width)
        contents = decode_bundle(bundle, tile.width)
        new = contents[max(0, len(entries) - tile.number * WIDTH) :]
        entries += [read_entry(year, len(entries) + at, content) for at, content in enumerate(new)]
        tree = tree.extended(map(leaf_hash, new))
        progress(done, total)
    if tree.root() != checkpoint.root:
        raise WrongTree(
            f"the {size} entries of {checkpoint.origin} do not hash to the root that its checkpoint signs"
        )
    return Shard(year, signed, note, checkpoint, tuple(entries), tree)


def read_entry(year: int, number: int, content: bytes) -> Entry:
    """The entry with its leaf decoded, or with the reason why it is none."""
    try:
        return Entry(year, number, content, decode_leaf(content))
    except Malformed as error:
        return Entry(year, number, content, None, str(error))


def opening_of(shard: Shard) -> OpenLeaf | None:
    """What the shard's first leaf says of the shard before; None if it is the log's first."""
    first = shard.entries[0].leaf if shard.entries else None
    return first if isinstance(first, OpenLeaf) else None


def year_before(shard: Shard, log_origin: str) -> int | None:
    """The year of the shard that this one goes on from, by its first leaf. Raises Malformed."""
    opening = opening_of(shard)
    if opening is None:
        return None
    year = shard_year(log_origin, opening.origin)
    if year >= shard.year:
        raise Malformed(f"goes on from {opening.origin}, which is no earlier year's")
    return year


def tile_nodes(read: Read, year: int, size: int) -> NodeReader:
    """Reads subtree hashes of the shard from its hash tiles. The reader raises NotThere or Malformed."""
    return node_reader(lambda tile: must_read(read, shard_tile_path(year, tile)), size)


def prove_entry(read: Read, shard: Shard, number: int) -> LogProof:
    """The proof that entry `number` is under the shard's checkpoint, which stands in it with all signatures.

    Made from hash tiles: check it (`merkle.check_inclusion`) before relying on it.
    """
    node = tile_nodes(read, shard.year, shard.checkpoint.size)
    path = inclusion_path(number, shard.checkpoint.size, node)
    return LogProof(number, tuple(path), shard.signed, shard.entries[number].content)
