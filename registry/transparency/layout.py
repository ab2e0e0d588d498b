"""Lays leaves out as tiles and bundles, and derives their root again from what was really stored.

Work is that of the new leaves and of the tree's right edge, whatever the log's size. A root that is to be
signed must come from here: computed from bytes that were read back, never from those that were to be written.
"""

from collections.abc import Callable, Mapping, Sequence

from registry.errors import LogForked, Malformed, StorageConflict, WrongProof
from registry.protocol.index import shard_tile_path
from registry.protocol.merkle import (
    CompactRange,
    NodeReader,
    check_consistency,
    consistency_path,
    leaf_hash,
    root_at,
    tree_root,
)
from registry.protocol.tiles import (
    WIDTH,
    Tile,
    decode_bundle,
    encode_bundle,
    new_tiles,
    node_reader,
    split_tile,
    tiles_at,
)
from registry.storage import Storage

Fetch = Callable[[Tile], bytes]


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
    try:
        return root_at(size, stored_nodes(storage, year, size))
    except Malformed as error:
        raise StorageConflict(f"a tile of log/{year} is damaged ({error}): bring it back") from error


def lay_out(
    storage: Storage, year: int, *, old_size: int, old_root: bytes, new_size: int, entries: Sequence[bytes]
) -> bytes:
    """Store what the log of `new_size` has and that of `old_size` had not; the root, from what was stored.

    `entries` are the leaves [first_of_bundle(old_size), new_size); (old_size, old_root) was signed. A crash
    in between leaves files that no checkpoint leads to, and the next call makes the same ones. Raises
    StorageConflict if the stored tiles do not lead to the signed root, or not to that of the leaves.
    """
    fetch = tile_fetcher(storage, year)
    if stored_root(storage, year, old_size) != old_root:
        raise StorageConflict(f"the stored tiles of log/{year} do not lead to the root of {old_size} leaves")
    made = _make_tiles(old_size, new_size, entries, fetch)
    for tile in new_tiles(old_size, new_size):
        _store(storage, shard_tile_path(year, tile), made[tile])
    frontier = CompactRange.at(old_size, stored_nodes(storage, year, old_size))
    new_entries = entries[old_size - first_of_bundle(old_size) :]
    expected = frontier.extended(leaf_hash(entry) for entry in new_entries).root()
    found = _root_as_stored(storage, year, old_size, old_root, new_size)
    if found != expected:
        raise StorageConflict(f"log/{year} as stored has another root than its {new_size} leaves")
    return found


def _make_tiles(old_size: int, new_size: int, entries: Sequence[bytes], fetch: Fetch) -> Mapping[Tile, bytes]:
    """Every tile and bundle from the old right edge on, by what is new and what the old edge held."""
    if len(entries) != new_size - first_of_bundle(old_size):
        raise LogForked(f"the database has not the {new_size} leaves that it says it has")
    first_bundle = old_size // WIDTH
    made: dict[Tile, bytes] = {}
    for at in range(0, len(entries), WIDTH):
        bundle = entries[at : at + WIDTH]
        made[Tile(None, first_bundle + at // WIDTH, len(bundle))] = encode_bundle(bundle)
    nodes = [leaf_hash(entry) for entry in entries]
    level = 0
    while nodes:
        first, width = tiles_at(level, old_size)
        if width and split_tile(fetch(Tile(level, first, width)), width) != nodes[:width]:
            raise StorageConflict(f"a stored tile of level {level} does not go with the log's leaves")
        above: list[bytes] = []
        for at in range(0, len(nodes), WIDTH):
            part = nodes[at : at + WIDTH]
            made[Tile(level, first + at // WIDTH, len(part))] = b"".join(part)
            if len(part) == WIDTH:
                above.append(tree_root(part))
        level += 1
        if not above:
            break  # nothing new above either
        number, width = tiles_at(level, old_size)
        before = split_tile(fetch(Tile(level, number, width)), width) if width else []
        nodes = before + above
    return made


def _store(storage: Storage, path: str, content: bytes) -> None:
    if storage.put_new(path, content):
        return
    if storage.read(path) != content:
        # Beyond what the database, the stored checkpoint and every witness know as signed: nobody was ever
        # pointed to it. It is left over from leaves that an older backup has forgotten again.
        storage.replace(path, content)


def _root_as_stored(storage: Storage, year: int, old_size: int, old_root: bytes, new_size: int) -> bytes:
    """The root by what lies in storage now, once bundles, tiles and the old root agree with each other."""
    fetch = tile_fetcher(storage, year)
    read: dict[Tile, bytes] = {}

    def once(tile: Tile) -> bytes:
        if tile not in read:
            read[tile] = fetch(tile)
        return read[tile]

    try:
        for tile in new_tiles(old_size, new_size):
            if tile.level is None:
                hashes = [leaf_hash(entry) for entry in decode_bundle(once(tile), tile.width)]
                _check(hashes, split_tile(once(Tile(0, tile.number, tile.width)), tile.width), year)
            elif tile.level:
                _, old_width = tiles_at(tile.level, old_size)
                is_old_edge = tile.number == tiles_at(tile.level, old_size)[0]
                for place in range(old_width if is_old_edge else 0, tile.width):
                    below = Tile(tile.level - 1, tile.number * WIDTH + place)
                    stored = split_tile(once(tile), tile.width)[place]
                    _check([tree_root(split_tile(once(below), WIDTH))], [stored], year)
        node = node_reader(once, new_size)
        root = root_at(new_size, node)
        if old_size:
            path = consistency_path(old_size, new_size, node)
            check_consistency(
                old_size=old_size, old_root=old_root, new_size=new_size, new_root=root, path=path
            )
    except (Malformed, WrongProof) as error:
        raise StorageConflict(f"log/{year} is not stored as it was written: {error}") from error
    return root


def _check(derived: Sequence[bytes], stored: Sequence[bytes], year: int) -> None:
    if list(derived) != list(stored):
        raise StorageConflict(
            f"log/{year} is not stored as it was written: a tile and what is under it differ"
        )
