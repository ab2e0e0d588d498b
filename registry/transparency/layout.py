"""Lays leaves out as tiles and bundles, and derives their root again from what was really stored.

Work is that of the new leaves and of the tree's right edge, whatever the log's size. A root that is to be
signed must come from here: computed from bytes that were read back, never from those that were to be written.
"""

from collections.abc import Callable, Mapping, Sequence

from registry.errors import LogForked, Malformed, StorageConflict
from registry.protocol.index import shard_tile_path
from registry.protocol.merkle import CompactRange, NodeReader, leaf_hashes_of
from registry.protocol.tiles import (
    HEIGHT,
    WIDTH,
    Tile,
    decode_bundle,
    edge_within,
    encode_bundle,
    extended_nodes,
    new_tiles,
    node_reader,
    nodes_within,
    root_of_edge,
    split_tile,
    tiles_at,
)
from registry.storage import Storage

Fetch = Callable[[Tile], bytes]
Edge = Sequence[list[bytes]]
"""The hashes in the partial tiles of a size's right edge, level 0 first; a level that has none is empty."""
Nodes = Sequence[Sequence[Sequence[bytes]]]
"""For each level of such an edge, the nodes that its hashes lead to, by height."""
NO_NODES: Sequence[Sequence[bytes]] = nodes_within(())


def first_of_bundle(size: int) -> int:
    """The first leaf of the bundle that the leaf `size` goes into: what is laid out begins here."""
    return size // WIDTH * WIDTH


def tile_fetcher(storage: Storage, year: int) -> Fetch:
    """Reads the shard's tiles. What it returns raises StorageConflict for one that is not there."""

    def fetch(tile: Tile) -> bytes:
        path = shard_tile_path(year, tile)
        content = storage.read(path)
        if content is None:
            raise StorageConflict(f"{path} is gone: bring the log's tiles back from a copy or a backup")
        return content

    return fetch


def stored_nodes(storage: Storage, year: int, size: int) -> NodeReader:
    """Hashes of complete subtrees of the shard at `size`, from its stored tiles."""
    return node_reader(tile_fetcher(storage, year), size)


def stored_root(storage: Storage, year: int, size: int) -> bytes:
    """The root of the shard's first `size` leaves by its stored tiles. Raises StorageConflict."""
    return root_of_edge(_stored_edge(storage, year, size))


def lay_out(
    storage: Storage,
    year: int,
    *,
    old_size: int,
    old_root: bytes,
    new_size: int,
    entries: Sequence[bytes],
    may_replace: Callable[[], bool],
    signed_root: bytes | None = None,
) -> bytes:
    """Store what the log of `new_size` has and that of `old_size` had not; the root, from what was stored.

    `entries` are the leaves [first_of_bundle(old_size), new_size); (old_size, old_root) was signed.
    `may_replace` says whether other bytes under a name may give way, because nobody can have signed them; it
    is asked only if there are such. With `signed_root`, the root that the new size is known to have, other
    leaves are refused before anything is written. A crash in between leaves files that no checkpoint leads
    to, and the next call makes the same ones.

    Raises StorageConflict if the stored tiles do not lead to the signed root, or not to that of the leaves,
    or would have to give way and may not; LogForked for leaves that are not those of `new_size`.
    """
    if len(entries) != new_size - first_of_bundle(old_size):
        raise LogForked(f"the database has not the {new_size} leaves that it says it has")
    edge = [nodes_within(hashes) for hashes in _stored_edge(storage, year, old_size)]
    if _root(edge, old_size) != old_root:
        raise StorageConflict(f"the stored tiles of log/{year} do not lead to the root of {old_size} leaves")
    bundle = _stored_bundle(storage, year, old_size)
    # Neither here nor below is anything hashed that the old edge holds: its tiles lead to a signed root.
    fresh = leaf_hashes_of(entries[old_size - first_of_bundle(old_size) :])
    levels = _grown(edge, fresh)
    if signed_root is not None and root_of_edge(map(_partial, levels)) != signed_root:
        raise LogForked(f"the leaves of log/{year} in the database do not lead to the root that was signed")
    made = _contents(levels, entries, old_size, new_size)
    if not next(iter(made.values()), b"").startswith(bundle):
        raise StorageConflict(f"a stored bundle of log/{year} does not go with the log's leaves")
    paths = {tile: shard_tile_path(year, tile) for tile in made}
    for tile, content in made.items():
        _store(storage, paths[tile], content, may_replace)
    return _root_as_stored(storage, year, edge, bundle, paths, old_size=old_size, new_size=new_size)


def _stored_edge(storage: Storage, year: int, size: int) -> Edge:
    """What the partial tiles of the shard at `size` hold, one entry a level. Raises StorageConflict."""
    fetch = tile_fetcher(storage, year)
    edge: list[list[bytes]] = []
    for level in range(_height(size)):
        number, width = tiles_at(level, size)
        try:
            edge.append(split_tile(fetch(Tile(level, number, width)), width) if width else [])
        except Malformed as error:
            raise StorageConflict(f"a tile of log/{year} is damaged ({error}): bring it back") from error
    return edge


def _stored_bundle(storage: Storage, year: int, size: int) -> bytes:
    """The partial bundle of the shard at `size`, nothing if there is none. Raises StorageConflict."""
    number, width = tiles_at(None, size)
    return tile_fetcher(storage, year)(Tile(None, number, width)) if width else b""


def _height(size: int) -> int:
    """How many levels of tiles a log of `size` has; at least one."""
    return max(1, -(-size.bit_length() // HEIGHT))


def _grown(edge: Nodes, fresh: Sequence[bytes]) -> list[list[bytes]]:
    """By level, all hashes from the old edge's tile on, once `fresh` leaves follow it."""
    levels: list[list[bytes]] = []
    above = list(fresh)
    while above or len(levels) < len(edge):
        known = edge[len(levels)] if len(levels) < len(edge) else NO_NODES
        hashes = [*known[0], *above]
        levels.append(hashes)
        # What does not fill a tile leads to nothing above.
        full = hashes[len(known[0]) : len(hashes) // WIDTH * WIDTH]
        above = extended_nodes(known, full)[HEIGHT]
    return levels


def _root(edge: Nodes, size: int) -> bytes:
    """The root of the log of `size` by the nodes in the tiles of its edge."""
    found: list[bytes] = []
    for nodes in edge:
        found[:0] = edge_within(nodes, len(nodes[0]))
    return CompactRange(size, tuple(found)).root()


def _partial(hashes: Sequence[bytes]) -> Sequence[bytes]:
    """What does not fill a tile any more."""
    return hashes[len(hashes) // WIDTH * WIDTH :]


def _contents(
    levels: Sequence[Sequence[bytes]], entries: Sequence[bytes], old_size: int, new_size: int
) -> Mapping[Tile, bytes]:
    """Every new tile and bundle, bundles first."""
    made: dict[Tile, bytes] = {}
    for tile in new_tiles(old_size, new_size):
        at = (tile.number - tiles_at(tile.level, old_size)[0]) * WIDTH
        if tile.level is None:
            made[tile] = encode_bundle(entries[at : at + tile.width])
        else:
            made[tile] = b"".join(levels[tile.level][at : at + tile.width])
    return made


def _store(storage: Storage, path: str, content: bytes, may_replace: Callable[[], bool]) -> None:
    if storage.put_new(path, content) or storage.read(path) == content:
        return
    if not may_replace():
        raise StorageConflict(
            f"{path} holds other hashes or leaves than the database, and it cannot be shown that nobody has "
            "signed them: bring back the newest database, or the public files that go with this one"
        )
    # Left over from leaves that an older backup has forgotten again: nobody was ever pointed to them.
    storage.replace(path, content)


def _root_as_stored(
    storage: Storage,
    year: int,
    edge: Nodes,
    bundle: bytes,
    paths: Mapping[Tile, str],
    *,
    old_size: int,
    new_size: int,
) -> bytes:
    """The root by what lies in storage now, all new hashes of it made again from the bytes that were read.

    `paths` are those of all new tiles and bundles. The old edge, whose tiles led to the signed root and whose
    bundle was held against them when it was new, must go on in them: so the tree is the old one's extension.
    Raises StorageConflict.
    """
    read = {tile: storage.read(path) or b"" for tile, path in paths.items()}
    fresh = leaf_hashes_of(_read_back(read, bundle, year))
    grown: list[list[list[bytes]]] = []
    while fresh or len(grown) < len(edge):
        level = len(grown)
        known = edge[level] if level < len(edge) else NO_NODES
        hashes, held = [*known[0], *fresh], 0
        for tile in (tile for tile in read if tile.level == level):
            # What was read must be what is under it, which was hashed from what was read.
            at = (tile.number - tiles_at(level, old_size)[0]) * WIDTH
            if read[tile] != b"".join(hashes[at : at + tile.width]):
                raise _not_as_written(year, "a tile and what is under it differ")
            held += tile.width
        if fresh and held != len(hashes):
            raise _not_as_written(year, f"not all tiles of level {level} are there")
        grown.append(extended_nodes(known, fresh))
        fresh = grown[-1][HEIGHT]
    return _root(grown, new_size)


def _read_back(read: Mapping[Tile, bytes], bundle: bytes, year: int) -> list[bytes]:
    """The new leaves in the bundles that were read, the first of which goes on from `bundle`."""
    entries: list[bytes] = []
    known = bundle
    for tile, content in read.items():
        if tile.level is not None:
            continue
        if not content.startswith(known):
            raise _not_as_written(year, "a bundle does not go on from the one before it")
        try:
            entries += decode_bundle(content[len(known) :])
        except Malformed as error:
            raise _not_as_written(year, str(error)) from error
        known = b""
    return entries


def _not_as_written(year: int, what: str) -> StorageConflict:
    return StorageConflict(f"log/{year} is not stored as it was written: {what}")
