"""A monitor's own copy of a log: bundles, hash tiles, checkpoints, indexes and trust material as they came.

Written into the same public paths, so that every command that reads a folder reads a mirror. Names that are
written once come first and checkpoints last: a crash in between leaves a mirror of the size before.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from registry.client.monitor.memory import write_file
from registry.client.monitor.shard import Shard
from registry.client.monitor.view import LogView
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    LOG_POLICY_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    index_path,
    shard_checkpoint_path,
    shard_tile_path,
)
from registry.protocol.tiles import MAX_LEVEL, WIDTH, Tile, encode_bundle, new_tiles, tile_levels, tiles_at


def write_mirror(
    folder: Path, view: LogView, before: LogView | None, *, without: Collection[str] = ()
) -> None:
    """Bring the mirror in `folder` from the state that `before` is of to that of `view`.

    Indexes of the regions `without` stay what they were, and so do those that cannot be read now.
    """
    old = {shard.year: shard.checkpoint.size for shard in before.shards} if before else {}
    for shard in view.shards:
        for path, content in shard_files(shard, min(old.get(shard.year, 0), shard.checkpoint.size)):
            write_file(folder / path, content)
    stay = {index_path(region) for region in view.index_contents if region not in view.indexes}
    stay |= {index_path(region) for region in without}
    for path, content in pointer_files(view).items():
        if path not in stay and not _holds(folder / path, content):
            write_file(folder / path, content)
    for shard in view.shards:
        _drop_superseded(folder, shard, old.get(shard.year, 0))


def shard_files(shard: Shard, old_size: int) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of each bundle and hash tile that the shard has and one of `old_size` had not."""
    levels = tile_levels([entry.hash for entry in shard.entries])
    for tile in new_tiles(old_size, shard.checkpoint.size):
        first = tile.number * WIDTH
        if tile.level is None:
            entries = shard.entries[first : first + tile.width]
            content = encode_bundle([entry.content for entry in entries])
        else:
            content = b"".join(levels[tile.level][first : first + tile.width])
        yield shard_tile_path(shard.year, tile), content


def pointer_files(view: LogView) -> dict[str, bytes]:
    """The small files that change, by path; the current shard's checkpoint is the last of them."""
    files = {TRUST_PATH: view.trust_content, LOG_POLICY_PATH: view.stated_policy.encode()}
    if view.note_content is not None:
        files[TRUST_NOTE_PATH] = view.note_content
    files.update({index_path(region): content for region, content in view.index_contents.items()})
    files.update({shard_checkpoint_path(shard.year): shard.signed for shard in view.shards})
    files[LOG_CHECKPOINT_PATH] = view.current.signed
    return files


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _drop_superseded(folder: Path, shard: Shard, old_size: int) -> None:
    """Partial tiles of the old size that the new one has fuller."""
    levels: tuple[int | None, ...] = (None, *range(MAX_LEVEL + 1))
    for level in levels:
        full, width = tiles_at(level, old_size)
        if width and (full, width) != tiles_at(level, shard.checkpoint.size):
            (folder / shard_tile_path(shard.year, Tile(level, full, width))).unlink(missing_ok=True)
