"""A log laid out in memory by the protocol alone: no database, no files, every size that was published."""

from collections.abc import Iterable, Sequence

from registry.protocol.checkpoint import Checkpoint, sign_checkpoint
from registry.protocol.merkle import CompactRange, NodeReader, leaf_hash, tree_root
from registry.protocol.note import Note, NoteSigner
from registry.protocol.tiles import (
    WIDTH,
    Tile,
    encode_bundle,
    new_tiles,
    node_reader,
    tile_path,
)


class MadeLog:
    """Grows by `append`: what one checkpoint publishes. `files` are its tiles and bundles by path."""

    def __init__(self, origin: str, signers: Sequence[NoteSigner] = ()) -> None:
        self.origin = origin
        self.signers = signers
        self.entries: list[bytes] = []
        self.files: dict[str, bytes] = {}
        self._tree = CompactRange()
        self._levels: list[list[bytes]] = [[]]
        """By tile level: the hashes of all complete subtrees of 256**level leaves."""

    @property
    def size(self) -> int:
        return self._tree.size

    def append(self, entries: Iterable[bytes]) -> None:
        """Lay out what these entries add. Nothing that lies there changes."""
        old_size, new = self.size, list(entries)
        hashes = [leaf_hash(entry) for entry in new]
        self.entries += new
        self._tree = self._tree.extended(hashes)
        self._levels[0] += hashes
        for level in range(8):
            full = len(self._levels[level]) // WIDTH
            if not full:
                break
            if len(self._levels) == level + 1:
                self._levels.append([])
            above = self._levels[level + 1]
            above += [
                tree_root(self._levels[level][number * WIDTH : (number + 1) * WIDTH])
                for number in range(len(above), full)
            ]
        for tile in new_tiles(old_size, self.size):
            path = tile_path(tile)
            assert path not in self.files, "a name is written once"
            self.files[path] = self._content(tile)

    def _content(self, tile: Tile) -> bytes:
        begin = tile.number * WIDTH
        if tile.level is None:
            return encode_bundle(self.entries[begin : begin + tile.width])
        return b"".join(self._levels[tile.level][begin : begin + tile.width])

    def fetch(self, tile: Tile) -> bytes:
        """A tile's bytes; of a partial one that no checkpoint showed, the full one's beginning."""
        content = self.files.get(tile_path(tile))
        if content is None:
            full = self.files[tile_path(Tile(tile.level, tile.number))]
            content = full[: tile.width * 32]
        return content

    def node(self, size: int | None = None) -> NodeReader:
        """Reads complete subtrees of the log as it was at `size` (now), from tiles alone."""
        return node_reader(self.fetch, self.size if size is None else size)

    def head(self) -> Checkpoint:
        return Checkpoint(self.origin, self.size, self._tree.root())

    def checkpoint(self, now: float) -> Note:
        """The head, signed by all of the log's keys."""
        return sign_checkpoint(self.head(), self.signers, now=now)
