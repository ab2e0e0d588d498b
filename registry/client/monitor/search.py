"""A batch's leaf, looked for from the newest bundle back, and proven by the log's hash tiles.

So that a proof about a file of yesterday needs a few kilobytes of a log of years.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from registry.client.monitor.shard import Entry, Read, must_read, read_entry, tile_nodes
from registry.protocol.checkpoint import Checkpoint, decode_checkpoint, open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, shard_checkpoint_path, shard_tile_path
from registry.protocol.leaves import BatchLeaf, OpenLeaf, WithdrawLeaf
from registry.protocol.merkle import check_inclusion, inclusion_path
from registry.protocol.note import decode_note, decode_vkey
from registry.protocol.tiles import WIDTH, Tile, decode_bundle, tiles_at
from registry.protocol.trust import TrustMaterial, shard_year


@dataclass(frozen=True, slots=True)
class FoundBatch:
    """The batch's leaf as it stands in the log, and the withdrawal that names it, if any."""

    entry: Entry
    leaf: BatchLeaf
    checkpoint: Checkpoint
    path: tuple[bytes, ...]
    withdrawn_by: Entry | None


def find_batch(read: Read, trust: TrustMaterial, region: str, window_start: int) -> FoundBatch | None:
    """The newest leaf about that window, proven by the log's tiles; None if there is none.

    Raises NotThere, Malformed, UntrustedKey, BadSignature or WrongProof.
    """
    keys = [decode_vkey(vkey) for vkey in trust.log_vkeys]
    signed = must_read(read, LOG_CHECKPOINT_PATH)
    year: int | None = shard_year(trust.log_origin, decode_checkpoint(decode_note(signed).text).origin)
    withdrawals: dict[tuple[str, int], Entry] = {}
    while year is not None:
        checkpoint = open_checkpoint(signed, keys)[1]
        older: int | None = None
        for entry in _backwards(read, year, checkpoint.size):
            match entry.leaf:
                case WithdrawLeaf(region=of, sequence=sequence):
                    withdrawals[of, sequence] = entry
                case BatchLeaf() as leaf if (leaf.region, leaf.window_start) == (region, window_start):
                    path = _prove(read, year, checkpoint, entry)
                    withdrawn_by = withdrawals.get((leaf.region, leaf.sequence))
                    return FoundBatch(entry, leaf, checkpoint, path, withdrawn_by)
                case OpenLeaf(origin=origin) if entry.number == 0:
                    _prove(read, year, checkpoint, entry)
                    older = shard_year(trust.log_origin, origin)
        if older is None or older >= year:
            return None
        year = older
        signed = must_read(read, shard_checkpoint_path(year))
    return None


def _backwards(read: Read, year: int, size: int) -> Iterator[Entry]:
    full, width = tiles_at(None, size)
    if width:
        yield from _bundle_backwards(read, year, Tile(None, full, width))
    for number in range(full - 1, -1, -1):
        yield from _bundle_backwards(read, year, Tile(None, number))


def _bundle_backwards(read: Read, year: int, tile: Tile) -> Iterator[Entry]:
    contents = decode_bundle(must_read(read, shard_tile_path(year, tile)), tile.width)
    for at in range(tile.width - 1, -1, -1):
        yield read_entry(year, tile.number * WIDTH + at, contents[at])


def _prove(read: Read, year: int, checkpoint: Checkpoint, entry: Entry) -> tuple[bytes, ...]:
    path = inclusion_path(entry.number, checkpoint.size, tile_nodes(read, year, checkpoint.size))
    check_inclusion(
        index=entry.number, size=checkpoint.size, leaf=entry.hash, path=path, root=checkpoint.root
    )
    return tuple(path)
