"""How leaves lie in files: whatever way a log grew, its tiles are those of its size, and each is checked."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import StorageConflict
from registry.protocol.index import shard_tile_path
from registry.protocol.merkle import EMPTY_ROOT, leaf_hash, tree_root
from registry.protocol.tiles import Tile
from registry.transparency.layout import first_of_bundle, lay_out, stored_root
from tests.publishing import MemoryStorage

YEAR = 2026


def entries_of(size: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(size)]


def never() -> bool:
    raise AssertionError("nothing differs")


def grow(storage: MemoryStorage, *sizes: int) -> bytes:
    """Lay out a log that was signed at each of these sizes; its root."""
    entries, root = entries_of(sizes[-1]), EMPTY_ROOT
    for old, new in pairwise((0, *sizes)):
        root = lay_out(
            storage,
            YEAR,
            old_size=old,
            old_root=root,
            new_size=new,
            entries=entries[first_of_bundle(old) : new],
            may_replace=never,
        )
        assert root == tree_root([leaf_hash(entry) for entry in entries[:new]])
    return root


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, 1500), min_size=1, max_size=6))
def test_every_way_to_a_size_leads_to_the_same_files_for_it(sizes: set[int]) -> None:
    stepwise, at_once = MemoryStorage(), MemoryStorage()
    steps = sorted(sizes)
    assert grow(stepwise, *steps) == grow(at_once, steps[-1])
    assert at_once.content.items() <= stepwise.content.items()


def test_seventy_thousand_leaves_make_the_tiles_that_the_format_says() -> None:
    storage = MemoryStorage()
    root = grow(storage, 69_000, 70_000)
    for level in ("0", "entries"):
        names = storage.names(f"log/{YEAR}/tile/{level}/")
        assert sum(".p/" not in name for name in names) == 273
        assert shard_tile_path(YEAR, Tile(None if level == "entries" else 0, 273, 112)) in names
    above = storage.names(f"log/{YEAR}/tile/1/")
    assert [name for name in above if ".p/" not in name] == [shard_tile_path(YEAR, Tile(1, 0))]
    assert shard_tile_path(YEAR, Tile(1, 1, 17)) in above
    assert storage.names(f"log/{YEAR}/tile/2/") == [shard_tile_path(YEAR, Tile(2, 0, 1))]
    assert storage.names(f"log/{YEAR}/tile/3/") == []
    assert stored_root(storage, YEAR, 70_000) == root


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_536, 65_537])
def test_work_is_that_of_the_new_leaves_and_the_right_edge(size: int) -> None:
    storage = MemoryStorage()
    root = grow(storage, size)
    reads: list[str] = []
    read = storage.read

    def counted(path: str) -> bytes | None:
        reads.append(path)
        return read(path)

    storage.read = counted  # type: ignore[method-assign]
    before = len(storage.content)
    entries = entries_of(size + 2)[first_of_bundle(size) :]
    lay_out(
        storage, YEAR, old_size=size, old_root=root, new_size=size + 2, entries=entries, may_replace=never
    )
    assert len(storage.content) - before <= 8
    assert len(reads) <= 30


def test_a_signed_root_that_the_tiles_do_not_lead_to_stops_everything() -> None:
    storage = MemoryStorage()
    grow(storage, 300)
    files = dict(storage.content)
    with pytest.raises(StorageConflict, match="do not lead to the root of 300 leaves"):
        lay_out(
            storage,
            YEAR,
            old_size=300,
            old_root=bytes(32),
            new_size=302,
            entries=entries_of(302)[256:],
            may_replace=never,
        )
    assert storage.content == files


@pytest.mark.parametrize("tile", [Tile(0, 1, 44), Tile(1, 0, 1)])
def test_a_tile_of_the_right_edge_that_is_gone_or_cut_is_told(tile: Tile) -> None:
    storage = MemoryStorage()
    root = grow(storage, 300)
    path = shard_tile_path(YEAR, tile)
    content = storage.content.pop(path)
    with pytest.raises(StorageConflict, match="is gone"):
        stored_root(storage, YEAR, 300)
    storage.content[path] = content[:-1]
    with pytest.raises(StorageConflict, match="is damaged"):
        stored_root(storage, YEAR, 300)
    storage.content[path] = content
    assert stored_root(storage, YEAR, 300) == root
