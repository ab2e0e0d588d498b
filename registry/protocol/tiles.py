"""How a log lies in files: tiles of hashes, bundles of entries (C2SP tlog-tiles). All paths are built here.

A tile at level L holds up to 256 hashes, each of a complete subtree of 256**L leaves; a bundle holds the
entries under one tile of level 0. What is not full is partial, has its width in its name, and is replaced by
the full one once there is one: no bytes under a name ever change.
"""

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from registry.errors import Malformed
from registry.protocol.merkle import EMPTY_ROOT, HASH_BYTES, NodeReader, parents, tree_root

WIDTH = 256
HEIGHT = 8
"""A tile's subtree has 2**HEIGHT leaves of its level."""
MAX_ENTRY_BYTES = 2**16 - 1
MAX_LEVEL = 7
"""A log of 2**63 leaves needs no more."""

_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]{1,2})/(?P<number>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One file: tile `number` of `level` (None for a bundle of entries), `width` of its 256 places filled."""

    level: int | None
    number: int
    width: int = WIDTH


def tile_path(tile: Tile) -> str:
    """`tile/0/x001/x234/067.p/5`, relative to the log's prefix."""
    groups = f"{tile.number:03d}"
    groups = groups.zfill(-(-len(groups) // 3) * 3)
    parts = [groups[at : at + 3] for at in range(0, len(groups), 3)]
    number = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    level = "entries" if tile.level is None else str(tile.level)
    partial = "" if tile.width == WIDTH else f".p/{tile.width}"
    return f"tile/{level}/{number}{partial}"


def read_tile_path(path: str) -> Tile:
    """The tile that `path` names. Raises Malformed for every other spelling than `tile_path`'s."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise Malformed(f"{path[:80]!r} is not the path of a tile")
    level = None if match["level"] == "entries" else int(match["level"])
    tile = Tile(level, int(match["number"].replace("x", "").replace("/", "")), int(match["width"] or WIDTH))
    fits = (level is None or level <= MAX_LEVEL) and 1 <= tile.width <= WIDTH and tile.number < 2**55
    if not fits or tile_path(tile) != path:
        raise Malformed(f"{path[:80]!r} is not the path of a tile")
    return tile


def tiles_at(level: int | None, size: int) -> tuple[int, int]:
    """(how many full tiles, width of the partial one after them or 0) of `level` in a log of `size`."""
    count = size >> (HEIGHT * (level or 0))
    return count >> HEIGHT, count & (WIDTH - 1)


def new_tiles(old_size: int, new_size: int) -> list[Tile]:
    """The tiles and bundles that a log of `new_size` has and one of `old_size` had not, bundles first.

    Partial ones of sizes in between are left out: nobody is shown those sizes.
    """
    if not 0 <= old_size <= new_size:
        raise Malformed(f"a log does not grow from {old_size} to {new_size}")
    found: list[Tile] = []
    levels: list[int | None] = [None, *range(MAX_LEVEL + 1)]
    for level in levels:
        old_full, old_width = tiles_at(level, old_size)
        full, width = tiles_at(level, new_size)
        found += [Tile(level, number) for number in range(old_full, full)]
        if width and (full, width) != (old_full, old_width):
            found.append(Tile(level, full, width))
    return found


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Each entry behind its length as a big-endian u16 (tlog-tiles, "Log Entries"). Raises Malformed."""
    lengths = list(map(len, entries))
    if max(lengths, default=0) > MAX_ENTRY_BYTES:
        raise Malformed(f"a log entry has at most {MAX_ENTRY_BYTES} bytes")
    heads = {length: length.to_bytes(2, "big") for length in set(lengths)}
    parts: list[bytes] = [b""] * (2 * len(lengths))
    parts[::2] = map(heads.__getitem__, lengths)
    parts[1::2] = entries
    return b"".join(parts)


def decode_bundle(content: bytes, width: int | None = None) -> list[bytes]:
    """The entries of a bundle. Raises Malformed for another number than `width`, and for bytes left over."""
    entries: list[bytes] = []
    add = entries.append
    at, end = 0, len(content)
    # Two bytes of length are looked at, so the last place where an entry can begin is two before the end.
    while at < end - 1:
        begin = at + 2
        at = begin + (content[at] << 8 | content[at + 1])
        add(content[begin:at])
    if at != end:
        raise Malformed("the bundle ends within an entry")
    if width is not None and len(entries) != width:
        raise Malformed(f"the bundle holds {len(entries)} entries, not {width}")
    return entries


def split_tile(content: bytes, width: int) -> list[bytes]:
    """The `width` hashes of a tile. Raises Malformed for any other length."""
    if len(content) != width * HASH_BYTES:
        raise Malformed(f"a tile of {width} hashes has not {len(content)} bytes")
    return list(struct.unpack(f"{HASH_BYTES}s" * width, content))


def nodes_within(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """The nodes of the tiles that these hashes fill, the first of which begins a tile: by height, 0 to 8.

    Those of height 8 stand for the full tiles in the level above.
    """
    return extended_nodes([[] for _ in range(HEIGHT + 1)], hashes)


def extended_nodes(nodes: Sequence[Sequence[bytes]], hashes: Sequence[bytes]) -> list[list[bytes]]:
    """`nodes_within` of the hashes that `nodes` are of and these after them; only new nodes are hashed."""
    grown = [[*nodes[0], *hashes]]
    for height in range(HEIGHT):
        known, below = nodes[height + 1], grown[height]
        fresh = parents(below[2 * len(known) :]) if len(below) > 2 * len(known) + 1 else ()
        grown.append([*known, *fresh])
    return grown


def edge_within(nodes: Sequence[Sequence[bytes]], count: int) -> list[bytes]:
    """Of `nodes_within`: the complete subtrees, largest first, of what the first `count` leave in a tile."""
    return [
        nodes[height][(count >> height) - 1] for height in range(HEIGHT - 1, -1, -1) if count >> height & 1
    ]


def tile_roots(hashes: Sequence[bytes]) -> list[bytes]:
    """What stands in the level above for each full tile of these hashes, the first of which begins a tile."""
    return nodes_within(hashes[: len(hashes) // WIDTH * WIDTH])[HEIGHT]


def tile_levels(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """By tile level: the hashes of all complete subtrees of 256**level leaves, as a log's tiles hold them."""
    levels = [list(leaf_hashes)]
    while len(levels[-1]) >= WIDTH:
        levels.append(tile_roots(levels[-1]))
    return levels


def root_of_edge(edge: Iterable[Sequence[bytes]]) -> bytes:
    """A log's root by the hashes in the partial tiles of its right edge, level 0 first, empty ones included.

    Full tiles are not needed: each is one hash of the level above.
    """
    root: bytes | None = None
    for hashes in edge:
        below = [] if root is None else [root]
        if hashes or below:
            root = tree_root([*hashes, *below])
    return EMPTY_ROOT if root is None else root


def node_reader(fetch: Callable[[Tile], bytes], size: int) -> NodeReader:
    """Reads complete subtrees of a log of `size` from its tiles. `fetch` gives a tile's bytes or raises.

    Each tile is fetched once. What is read is not proven by anything but the root it leads to.
    """
    known: dict[Tile, list[bytes]] = {}

    def node(level: int, index: int) -> bytes:
        height, within = divmod(level, HEIGHT)
        first = index << within
        full, width = tiles_at(height, size)
        number, place = divmod(first, WIDTH)
        there = WIDTH if number < full else (width if number == full else 0)
        if place + (1 << within) > there:
            raise Malformed(f"a log of {size} has no complete subtree {index} of level {level}")
        tile = Tile(height, number, there)
        if tile not in known:
            known[tile] = split_tile(fetch(tile), tile.width)
        # Within a tile the hashes are leaves of a small tree of their own, but are hashed as nodes.
        return tree_root(known[tile][place : place + (1 << within)])

    return node
