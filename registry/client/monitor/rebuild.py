"""The whole log computed anew from its bundles, and every other file of it held against that.

A flipped byte is found wherever it is, and its file is named: hash tiles and bundles state the same hashes
twice, so whichever of two that disagree leads to the signed root is the good one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from registry.client.failures import TooLarge
from registry.client.monitor.faults import Fault, FaultKind, NotThere, fault_of
from registry.client.monitor.shard import Budget, Progress, Read, must_read, silent
from registry.errors import Distrusted, Malformed
from registry.protocol.checkpoint import Checkpoint, open_checkpoint
from registry.protocol.index import shard_checkpoint_path, shard_tile_path
from registry.protocol.leaves import IndexLeaf, decode_leaf
from registry.protocol.merkle import leaf_hashes_of, tree_root
from registry.protocol.note import VerifierKey
from registry.protocol.tiles import (
    MAX_LEVEL,
    WIDTH,
    Tile,
    decode_bundle,
    root_of_edge,
    split_tile,
    tile_levels,
    tiles_at,
)

MOST_MISSING = 20
"""Tiles that are named before the rest is not asked for: a size can be signed to exhaust its readers."""

_LEVELS: tuple[int | None, ...] = (None, *range(MAX_LEVEL + 1))


@dataclass
class Rebuilt:
    """What came of it: the faults, and how much was held against how much."""

    year: int
    checkpoint: Checkpoint | None = None
    faults: list[Fault] = field(default_factory=list)
    entries: int = 0
    tiles: int = 0
    partial_tiles: int = 0
    """Superseded ones that an archive still holds."""


def rebuild_shard(
    read: Read,
    year: int,
    keys: Iterable[VerifierKey],
    *,
    signed: bytes | None = None,
    look_for_old_tiles: bool = False,
    progress: Progress = silent,
) -> Rebuilt:
    """Recompute the shard of `year` under its checkpoint (`signed`, or the one in the shard's own folder).

    `look_for_old_tiles` also checks partial tiles of every size that was published and that are still there:
    many questions, so for folders. May raise FetchFailed.
    """
    found = Rebuilt(year)
    path = shard_checkpoint_path(year)
    try:
        content = signed if signed is not None else must_read(read, path)
        _, found.checkpoint = open_checkpoint(content, keys)
    except (Malformed, Distrusted) as error:
        found.faults.append(fault_of(error, path))
        return found
    contents = _read_tiles(read, found, found.checkpoint, progress)
    found.tiles = len(contents)
    entries, hashes = _read_bundles(found, contents)
    if not found.faults:
        _hold_together(found, found.checkpoint.root, contents, hashes)
    if look_for_old_tiles and not found.faults:
        _check_old_tiles(read, found, entries, hashes)
    return found


def _read_tiles(read: Read, found: Rebuilt, checkpoint: Checkpoint, progress: Progress) -> dict[Tile, bytes]:
    """Every tile and bundle of the shard, one by one: what is missing is a fault, up to a number of them."""
    contents: dict[Tile, bytes] = {}
    budget = Budget(checkpoint.origin)
    total = sum(full + bool(width) for full, width in (tiles_at(one, checkpoint.size) for one in _LEVELS))
    tiles = (tile for level in _LEVELS for tile in _tiles(level, checkpoint.size))
    for done, tile in enumerate(tiles, start=1):
        progress(done, total)
        path = shard_tile_path(found.year, tile)
        try:
            content = must_read(read, path)
            budget.spend(content, tile.width)
        except (NotThere, Malformed) as error:
            found.faults.append(fault_of(error, path))
            if isinstance(error, TooLarge) or len(found.faults) > MOST_MISSING:
                break
            continue
        contents[tile] = content
    return contents


def _tiles(level: int | None, size: int) -> Iterator[Tile]:
    full, width = tiles_at(level, size)
    yield from (Tile(level, number) for number in range(full))
    if width:
        yield Tile(level, full, width)


def _read_bundles(found: Rebuilt, contents: dict[Tile, bytes]) -> tuple[list[bytes], list[bytes]]:
    """(entries, their hashes); a bundle that cannot be read is a fault, and there are fewer then."""
    entries: list[bytes] = []
    for tile, content in contents.items():
        if tile.level is None:
            try:
                entries += decode_bundle(content, tile.width)
            except Malformed as error:
                found.faults.append(
                    Fault(FaultKind.DAMAGED_LOG, shard_tile_path(found.year, tile), str(error))
                )
    found.entries = len(entries)
    return entries, leaf_hashes_of(entries)


def _hold_together(found: Rebuilt, root: bytes, contents: dict[Tile, bytes], hashes: list[bytes]) -> None:
    """Compare every tile with what the bundles give, and say which side leads to the signed root."""
    levels = tile_levels(hashes)
    expected = {tile: _slice(levels, tile) for tile in contents if tile.level is not None}
    wrong = [tile for tile, content in expected.items() if contents[tile] != content]
    if root_of_edge(level[len(level) // WIDTH * WIDTH :] for level in levels) == root:
        for tile in wrong:
            what = "is not what the bundles below it hash to, and they lead to the signed root"
            _damaged(found, tile, what)
        return
    stated = _stated_hashes(contents)
    if stated is not None and tree_root(stated) == root:
        for tile in wrong:
            if tile.level == 0:
                what = "does not hash to its tile, and the tiles lead to the signed root"
                _damaged(found, Tile(None, tile.number, tile.width), what)
        return
    for tile in wrong:
        _damaged(
            found, tile, "is not what the bundles below it hash to, and neither leads to the signed root"
        )
    if not wrong:
        where = shard_checkpoint_path(found.year)
        what = "signs another root than bundles and tiles lead to, which agree with each other"
        found.faults.append(Fault(FaultKind.DAMAGED_LOG, where, what))


def _damaged(found: Rebuilt, tile: Tile, what: str) -> None:
    found.faults.append(Fault(FaultKind.DAMAGED_LOG, shard_tile_path(found.year, tile), what))


def _stated_hashes(contents: dict[Tile, bytes]) -> list[bytes] | None:
    """The leaf hashes by the tiles of level 0; None if one cannot be read."""
    try:
        return [
            one
            for tile, content in contents.items()
            if tile.level == 0
            for one in split_tile(content, tile.width)
        ]
    except Malformed:
        return None


def _slice(levels: Sequence[Sequence[bytes]], tile: Tile) -> bytes:
    level = tile.level or 0
    if level >= len(levels):
        return b""
    first = tile.number * WIDTH
    return b"".join(levels[level][first : first + tile.width])


def _check_old_tiles(read: Read, found: Rebuilt, entries: list[bytes], hashes: list[bytes]) -> None:
    """Partial tiles of sizes that were published before, as far as they are still there."""
    levels = tile_levels(hashes)
    seen = {tile for level in _LEVELS for tile in _tiles(level, len(entries))}
    for number, entry in enumerate(entries[:-1]):
        if not _is_index(entry):
            continue
        for level in _LEVELS:
            full, width = tiles_at(level, number + 1)
            tile = Tile(level, full, width)
            if not width or tile in seen:
                continue
            seen.add(tile)
            content = read(shard_tile_path(found.year, tile))
            if content is None:
                continue
            found.partial_tiles += 1
            if tile.level is None:
                good = _same_bundle(content, entries[full * WIDTH : full * WIDTH + width])
            else:
                good = content == _slice(levels, tile)
            if not good:
                _damaged(found, tile, "is an old partial tile that never was the log's")


def _same_bundle(content: bytes, entries: Sequence[bytes]) -> bool:
    try:
        return decode_bundle(content, len(entries)) == list(entries)
    except Malformed:
        return False


def _is_index(entry: bytes) -> bool:
    try:
        return isinstance(decode_leaf(entry), IndexLeaf)
    except Malformed:
        return False
