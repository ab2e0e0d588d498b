"""The whole log computed anew: one flipped byte is found wherever it is, and its file is named."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.monitor import shard
from registry.client.monitor.faults import FaultKind
from registry.client.monitor.rebuild import rebuild_shard
from registry.protocol.checkpoint import Checkpoint
from registry.protocol.index import shard_checkpoint_path
from tests.client.monitor.conftest import flipped, kinds, look_at, publish_one
from tests.clock import FakeClock
from tests.public_tree import PublicTree

SIZE_OF_TWO_LEVELS = 700


def grown(leaves: int) -> PublicTree:
    """A tree whose shard has at least so many leaves: several tiles on two levels."""
    tree = PublicTree(FakeClock(), regions=[f"CN-{number:02d}" for number in range(40)])
    while tree.shard.size < leaves:
        tree.next_window()
    return tree


@pytest.fixture(scope="module")
def large() -> PublicTree:
    return grown(SIZE_OF_TWO_LEVELS)


def current_files(tree: PublicTree) -> list[str]:
    """Bundles and tiles of the present size."""
    read: set[str] = set()

    def noted(path: str) -> bytes | None:
        read.add(path)
        return tree.read(path)

    assert rebuild_shard(noted, 2026, tree.log_keys()).faults == []
    return sorted(path for path in read if "/tile/" in path)


def test_an_honest_log_is_rebuilt(large: PublicTree) -> None:
    rebuilt = rebuild_shard(large.read, 2026, large.log_keys(), look_for_old_tiles=True)

    assert rebuilt.faults == []
    assert rebuilt.entries == large.shard.size
    # 17 sizes were published: their partial bundles and tiles lie there still.
    assert rebuilt.tiles == len(current_files(large))
    assert rebuilt.partial_tiles > 20


@given(st.data())
def test_one_flipped_byte_is_found_and_its_file_named(large: PublicTree, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*current_files(large), shard_checkpoint_path(2026)]))
    at = data.draw(st.integers(0, len(large.files[name]) - 1))
    damaged = {**large.files, name: flipped(large.files[name], at)}

    faults = rebuild_shard(damaged.get, 2026, large.log_keys()).faults

    assert [fault.where for fault in faults] == [name] or _is_grease(large, name, at, faults)


def _is_grease(tree: PublicTree, name: str, at: int, faults: list[object]) -> bool:
    """A flipped byte in the lines of witnesses, or in a log line's name, is no concern of the tree's."""
    body = tree.files[name].index(b"\n\n")
    return name.endswith("checkpoint") and at > body and faults == []


def test_a_flipped_byte_in_an_old_partial_tile_is_found(large: PublicTree) -> None:
    current = set(current_files(large))
    old = [path for path in large.files if ".p/" in path and path not in current]
    for name in random.Random(1).sample(old, 10):
        damaged = {**large.files, name: flipped(large.files[name], 40)}
        rebuilt = rebuild_shard(damaged.get, 2026, large.log_keys(), look_for_old_tiles=True)
        assert [fault.where for fault in rebuilt.faults] == [name]


def test_a_missing_tile_is_named(large: PublicTree) -> None:
    for name in current_files(large):
        there = {path: content for path, content in large.files.items() if path != name}
        assert [fault.where for fault in rebuild_shard(there.get, 2026, large.log_keys()).faults] == [name]


@pytest.mark.parametrize(
    "cut", [lambda content: content[:-1], lambda content: content + b"\0", lambda _: b""]
)
def test_a_tile_of_another_length_is_named(large: PublicTree, cut: Callable[[bytes], bytes]) -> None:
    for name in current_files(large):
        damaged = {**large.files, name: cut(large.files[name])}
        assert [fault.where for fault in rebuild_shard(damaged.get, 2026, large.log_keys()).faults] == [name]


def test_bundles_and_tiles_that_agree_on_another_log_than_was_signed(large: PublicTree) -> None:
    other = grown(SIZE_OF_TWO_LEVELS)
    other.shard.entries[3] = other.shard.entries[4]
    tiles = {path: content for path, content in _laid_out(other).items() if "/tile/" in path}
    files = {**large.files, **tiles}

    faults = rebuild_shard(files.get, 2026, large.log_keys()).faults

    assert [fault.where for fault in faults] == [shard_checkpoint_path(2026)]


def _laid_out(tree: PublicTree) -> dict[str, bytes]:
    entries, size = tree.shard.entries, tree.shard.size
    tree.shard.entries, tree.shard.hashes, tree.files = [], [], {}
    tree._sequence(tree.shard, entries[:size])  # bytes are sequenced as they are
    return tree.files


def test_past_shards_are_rebuilt(tree: PublicTree) -> None:
    tree.clock.advance(200 * 86_400)
    publish_one(tree, 6)
    bundle = next(
        path
        for path in tree.files
        if path.startswith("log/2026/tile/entries") and path.endswith(f".p/{tree.shards[2026].size}")
    )

    assert rebuild_shard(tree.read, 2026, tree.log_keys()).faults == []
    tree.files[bundle] = flipped(tree.files[bundle])
    assert [fault.where for fault in rebuild_shard(tree.read, 2026, tree.log_keys()).faults] == [bundle]


@pytest.mark.parametrize("size", [2**32 - 1, 2**32, 2**62])
def test_a_size_that_was_signed_to_exhaust_its_readers_exhausts_nobody(tree: PublicTree, size: int) -> None:
    tree.bend["checkpoint"] = lambda head: Checkpoint(head.origin, size, head.root)
    tree.heartbeat()
    asked: list[str] = []

    def noted(path: str) -> bytes | None:
        asked.append(path)
        return tree.read(path)

    faults = rebuild_shard(noted, 2026, tree.log_keys()).faults
    assert {fault.kind for fault in faults} == {FaultKind.DAMAGED_LOG}
    assert len(asked) < 50


def test_a_log_of_more_bytes_than_a_machine_holds_is_left(
    tree: PublicTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "MOST_BYTES", 2_000)

    assert [fault.kind for fault in rebuild_shard(tree.read, 2026, tree.log_keys()).faults] == [
        FaultKind.MALFORMED
    ]
    assert kinds(look_at(tree)) == {FaultKind.MALFORMED}
