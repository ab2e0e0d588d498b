"""Paths and contents of tiles, and whole logs laid out, read back and proven from tiles alone."""

import random
from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed, WrongProof
from registry.protocol.merkle import (
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    leaf_hash,
    root_at,
)
from registry.protocol.note import encode_note
from registry.protocol.tiles import (
    MAX_LEVEL,
    Tile,
    decode_bundle,
    encode_bundle,
    new_tiles,
    node_reader,
    read_tile_path,
    split_tile,
    tile_path,
    tiles_at,
)
from tests.protocol.log_vectors import load
from tests.protocol.made_log import MadeLog
from tests.protocol.naive_tree import naive_consistency, naive_inclusion, naive_root
from tests.protocol.note_signers import signer_of

tiles = st.builds(
    Tile,
    level=st.none() | st.integers(0, MAX_LEVEL),
    number=st.integers(0, 2**55 - 1) | st.integers(0, 2000),
    width=st.integers(1, 256),
)


# ------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 1234067, 3), "tile/0/x001/x234/067.p/3"),
        (Tile(1, 1, 1), "tile/1/001.p/1"),
        (Tile(2, 0, 255), "tile/2/000.p/255"),
        (Tile(2, 10), "tile/2/010"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(None, 0), "tile/entries/000"),
        (Tile(None, 0, 1), "tile/entries/000.p/1"),
        (Tile(None, 273, 112), "tile/entries/273.p/112"),
        (Tile(None, 1234067, 6), "tile/entries/x001/x234/067.p/6"),
    ],
)
def test_paths_are_spelled_as_the_specification_does(tile: Tile, path: str) -> None:
    assert tile_path(tile) == path
    assert read_tile_path(path) == tile


@given(tiles)
def test_every_tile_has_one_path(tile: Tile) -> None:
    assert read_tile_path(tile_path(tile)) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "not/a/tile",
        "tile/data/000",  # the Go checksum database's name for bundles
        "tile/8/0/000",  # and its height
        "tile/-1/000",
        "tile//000",
        "tile/64/000",
        "tile/01/000",
        "tile/00/000",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/1234",
        "tile/0/001/234",
        "tile/0/x001/x234",
        "tile/0/x000/123",
        "tile/0/x000/x001/234",
        "tile/0/X001/234",
        "tile/0/000.p/0",
        "tile/0/000.p/07",
        "tile/0/000.p/256",
        "tile/0/000.p/1000",
        "tile/0/000.p/",
        "tile/0/000.p/-1",
        "tile/0/000.p",
        "tile/0/000.p/1/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/000?x=1",
        "tile/0/../0/000",
        "tile/entries/000.p/256",
        "tile/Entries/000",
        "tile/0/" + "x999/" * 400 + "999",
        "tile/٠/000",
        "tile/0/٠٠٠",
        "tile/0/000.p/٣",
    ],
)
def test_every_other_spelling_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        read_tile_path(path)


@given(st.text(alphabet="tile/entries0123.px", max_size=30))
def test_what_is_read_is_written_the_same(path: str) -> None:
    try:
        tile = read_tile_path(path)
    except Malformed:
        return
    assert tile_path(tile) == path


# --------------------------------------------------------------- contents


@given(st.lists(st.binary(max_size=40), max_size=256))
def test_bundles_give_their_entries_back(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


def test_an_entry_has_at_most_65535_bytes() -> None:
    longest = b"e" * 65_535
    assert decode_bundle(encode_bundle([longest]), 1) == [longest]
    with pytest.raises(Malformed):
        encode_bundle([longest + b"e"])


@pytest.mark.parametrize(
    ("content", "width"),
    [
        (b"\x00", 1),
        (b"\x00\x05\x01", 1),
        (b"\xff", 1),
        (b"", 1),
        (b"\x00\x01a", 2),
        (b"\x00\x01a\x00\x01b\x00\x01c", 2),
        (b"\x00\x01a\x00", 1),
        (b"\x00\x00", 0),
    ],
)
def test_bundles_that_do_not_fit_their_width_are_refused(content: bytes, width: int) -> None:
    with pytest.raises(Malformed):
        decode_bundle(content, width)


@pytest.mark.parametrize(("length", "width"), [(0, 1), (31, 1), (33, 1), (64, 1), (64, 3), (8192, 255)])
def test_tiles_that_do_not_fit_their_width_are_refused(length: int, width: int) -> None:
    with pytest.raises(Malformed):
        split_tile(bytes(length), width)


def test_a_reader_refuses_subtrees_that_the_log_has_not() -> None:
    log = MadeLog("example.org/log")
    log.append(b"%d" % number for number in range(300))
    node = log.node()
    for level, index in [(0, 300), (1, 150), (8, 1), (9, 0), (16, 0), (2, 75)]:
        with pytest.raises(Malformed):
            node(level, index)


def test_a_reader_fetches_each_tile_once() -> None:
    log = MadeLog("example.org/log")
    log.append(b"%d" % number for number in range(1000))
    fetched: list[Tile] = []

    def fetch(tile: Tile) -> bytes:
        fetched.append(tile)
        return log.fetch(tile)

    node = node_reader(fetch, log.size)
    for index in range(0, 1000, 7):
        inclusion_path(index, log.size, node)
    assert len(fetched) == len(set(fetched))


# ----------------------------------------------------------- which tiles


def tiles_of(size: int) -> set[Tile]:
    """Every tile and bundle of a log of `size`, from the specification's formula."""
    found: set[Tile] = set()
    for level in [None, *range(8)]:
        count = size // 256 ** (level or 0)
        found |= {Tile(level, number) for number in range(count // 256)}
        if count % 256:
            found.add(Tile(level, count // 256, count % 256))
    return found


@given(st.integers(0, 140_000), st.integers(0, 700))
def test_what_is_new_is_what_the_log_had_not(old: int, step: int) -> None:
    new = new_tiles(old, old + step)
    assert len(new) == len(set(new))
    assert set(new) == tiles_of(old + step) - tiles_of(old)
    levels = [tile.level for tile in new]
    assert levels == sorted(levels, key=lambda level: -1 if level is None else level), "bundles first"


def test_a_log_does_not_shrink() -> None:
    for old, new in [(5, 4), (-1, 3)]:
        with pytest.raises(Malformed):
            new_tiles(old, new)


# --------------------------------------------------- a log of 70,000 leaves


@pytest.fixture(scope="module")
def large() -> MadeLog:
    """70,000 leaves, published in seven checkpoints."""
    log = MadeLog("example.org/log")
    for begin in range(0, 70_000, 10_000):
        log.append(b"leaf %d of the tree" % number for number in range(begin, begin + 10_000))
    return log


PUBLISHED: dict[str, Any] = load("sumdb/log_of_70000.json")


def test_70_000_leaves_lie_as_the_specification_counts_them(large: MadeLog) -> None:
    assert [tiles_at(level, 70_000) for level in (0, 1, 2, 3)] == [(273, 112), (1, 17), (0, 1), (0, 0)]
    for name in ("0", "entries"):
        full = [path for path in large.files if path.startswith(f"tile/{name}/") and ".p/" not in path]
        assert len(full) == 273
        assert f"tile/{name}/273.p/112" in large.files
    assert {"tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} < large.files.keys()
    assert not any(path.startswith("tile/3/") for path in large.files)


def test_70_000_leaves_lie_byte_for_byte_as_another_implementation_lays_them(large: MadeLog) -> None:
    wanted = {tile_path(tile) for tile in tiles_of(70_000)}
    listing = "".join(f"{path} {sha256(large.files[path]).hexdigest()}\n" for path in sorted(wanted))
    assert len(wanted) == PUBLISHED["files"]
    assert sha256(listing.encode()).hexdigest() == PUBLISHED["files_sha256"]


def test_70_000_leaves_have_the_roots_that_everyone_computes(large: MadeLog) -> None:
    hashes = [leaf_hash(entry) for entry in large.entries]
    assert large.head().root == root_at(70_000, large.node()) == naive_root(hashes)
    for size, root in PUBLISHED["roots"].items():
        assert root_at(int(size), large.node()) == b64decode(root)
    for size in range(10_000, 70_000, 10_000):  # from the tiles that this checkpoint's readers had
        assert root_at(size, large.node(size)) == naive_root(hashes[:size])


def test_proofs_from_tiles_are_another_implementation_s_to_the_byte(large: MadeLog) -> None:
    for known in PUBLISHED["inclusion"]:
        path = inclusion_path(known["index"], known["size"], large.node())
        assert path == [b64decode(one) for one in known["path"]]
    for known in PUBLISHED["consistency"]:
        path = consistency_path(known["old"], known["new"], large.node())
        assert path == [b64decode(one) for one in known["path"]]


def test_random_leaves_and_growths_are_proven_from_tiles_alone(large: MadeLog) -> None:
    hashes = [leaf_hash(entry) for entry in large.entries]
    draw = random.Random(70_000)
    for _ in range(12):
        old, new = sorted(draw.sample(range(1, 70_001), 2))
        index = draw.randrange(new)
        node = large.node()
        old_root, new_root = root_at(old, node), root_at(new, node)
        path = inclusion_path(index, new, node)
        assert path == naive_inclusion(index, hashes[:new])
        check_inclusion(index=index, size=new, leaf=hashes[index], path=path, root=new_root)
        path = consistency_path(old, new, node)
        assert path == naive_consistency(old, hashes[:new])
        check_consistency(old_size=old, old_root=old_root, new_size=new, new_root=new_root, path=path)


@pytest.mark.parametrize(
    "path", ["tile/0/123", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
)
def test_one_bit_in_one_tile_is_noticed(large: MadeLog, path: str) -> None:
    tile, whole, head = read_tile_path(path), large.files[path], large.head()
    at = random.Random(path).randrange(len(whole))
    level = tile.level or 0
    # The first leaf under the hash beside the changed one: its path leads through the changed one.
    beside = ((tile.number * 256 + at // 32) ^ 1) << (8 * level)
    large.files[path] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    try:
        root = root_at(head.size, large.node())
        proof = inclusion_path(min(beside, head.size - 1), head.size, large.node())
    finally:
        large.files[path] = whole
    if ".p/" in path:
        assert root != head.root, "the right edge is what the root is made of"
    if beside < head.size:
        with pytest.raises(WrongProof):
            check_inclusion(
                index=beside,
                size=head.size,
                leaf=leaf_hash(large.entries[beside]),
                path=proof,
                root=head.root,
            )


# ------------------------------------------- another implementation's log


TESSERA: dict[str, Any] = load("tessera/log.json")


def test_another_implementation_s_log_is_reproduced_byte_for_byte() -> None:
    signer = signer_of(TESSERA["private_key"])
    assert signer.key.vkey == TESSERA["vkey"]
    log = MadeLog(signer.name, [signer])
    made = {}
    for size, entry in enumerate([None, *TESSERA["entries"]]):
        if entry is not None:
            log.append([entry.encode()])
        made[str(size)] = encode_note(log.checkpoint(now=0)).decode()
    assert made == TESSERA["checkpoints"]
    assert made["15"] == TESSERA["checkpoint"]
    assert log.files == {path: b64decode(content) for path, content in TESSERA["files"].items()}
