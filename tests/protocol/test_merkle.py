"""The tree and its proofs, against RFC 6962 word for word, and against everything a liar might change."""

from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed, WrongProof
from registry.protocol.merkle import (
    EMPTY_ROOT,
    CompactRange,
    NodeReader,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_at,
    tree_root,
)
from tests.protocol.log_vectors import load
from tests.protocol.naive_tree import naive_consistency, naive_inclusion, naive_root

LARGEST = 70
LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(LARGEST)]

sizes = st.integers(1, LARGEST)


def node_of(leaves: Sequence[bytes]) -> NodeReader:
    """Reads complete subtrees out of a list, and refuses to read past its end."""

    def node(level: int, index: int) -> bytes:
        below = leaves[index << level : (index + 1) << level]
        assert len(below) == 1 << level, "not a complete subtree of this log"
        return naive_root(below)

    return node


# ------------------------------------------------------------------ roots


def test_the_hashes_are_those_of_rfc_6962() -> None:
    assert EMPTY_ROOT == sha256().digest() == tree_root([])
    assert leaf_hash(b"") == sha256(b"\x00").digest()
    assert node_hash(b"l", b"r") == sha256(b"\x01lr").digest()


@pytest.mark.parametrize("size", range(LARGEST + 1))
def test_a_root_is_the_naive_recursion_s(size: int) -> None:
    leaves = LEAVES[:size]
    assert tree_root(leaves) == naive_root(leaves)
    assert root_at(size, node_of(LEAVES)) == naive_root(leaves)


@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_tree_grows_in_steps_of_any_size(steps: list[int]) -> None:
    tree = CompactRange()
    for step in steps:
        tree = tree.extended(leaf_hash(b"grown %d" % (tree.size + number)) for number in range(step))
    grown = [leaf_hash(b"grown %d" % number) for number in range(sum(steps))]
    assert tree.root() == naive_root(grown)
    assert tree == CompactRange.at(len(grown), node_of(grown))


def test_a_root_of_published_size() -> None:
    # The root that another implementation's suite asserts for these 66,000 entries.
    entries = (b"\x00\x00\x00\x01entry-%d-%s" % (n, b"x" * (n % 37)) for n in range(66_000))
    root = tree_root([leaf_hash(entry) for entry in entries])
    assert root == b64decode("+AWMUCk19n0KCYumG1DKQ4dW3hcS8C/ygvZB7mP5NOU=")


@pytest.mark.parametrize(
    ("size", "hashes"),
    [(0, (LEAVES[0],)), (1, ()), (3, (LEAVES[0],)), (2, (LEAVES[0], LEAVES[1])), (1, (b"short",))],
)
def test_a_range_needs_one_hash_per_complete_subtree(size: int, hashes: tuple[bytes, ...]) -> None:
    with pytest.raises(Malformed):
        CompactRange(size, hashes)


# ------------------------------------------------------------------ proofs


@given(st.data(), sizes)
def test_every_leaf_is_proven_by_the_path_of_the_rfc(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, node_of(LEAVES))
    assert path == naive_inclusion(index, LEAVES[:size])
    check_inclusion(index=index, size=size, leaf=LEAVES[index], path=path, root=naive_root(LEAVES[:size]))


@given(st.data(), sizes)
def test_every_growth_is_proven_by_the_path_of_the_rfc(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    path = consistency_path(old, new, node_of(LEAVES))
    assert path == naive_consistency(old, LEAVES[:new])
    check_consistency(
        old_size=old,
        old_root=naive_root(LEAVES[:old]),
        new_size=new,
        new_root=naive_root(LEAVES[:new]),
        path=path,
    )


def test_from_an_empty_tree_everything_grows_and_nothing_is_proven() -> None:
    assert consistency_path(0, 5, node_of(LEAVES)) == []
    with pytest.raises(WrongProof):
        check_consistency(
            old_size=0, old_root=EMPTY_ROOT, new_size=5, new_root=naive_root(LEAVES[:5]), path=[]
        )


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_there_is_no_path_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(Malformed):
        inclusion_path(index, size, node_of(LEAVES))


@pytest.mark.parametrize(("old", "new"), [(-1, 4), (5, 4)])
def test_there_is_no_path_for_a_log_that_shrinks(old: int, new: int) -> None:
    with pytest.raises(Malformed):
        consistency_path(old, new, node_of(LEAVES))


# ------------------------------------------------------------------- lies


def flipped(content: bytes, bit: int) -> bytes:
    number = int.from_bytes(content, "big") ^ (1 << bit)
    return number.to_bytes(len(content), "big")


changed_paths = st.sampled_from(["flip", "drop", "repeat", "swap", "cut", "append", "shorten"])


def change_path(data: st.DataObject, path: list[bytes]) -> list[bytes]:
    """One change of a path: none of them may still prove the same thing."""
    changed = list(path)
    how = data.draw(changed_paths)
    at = data.draw(st.integers(0, max(len(path) - 1, 0)))
    if how == "append" or not path:
        more = data.draw(st.sampled_from([*LEAVES, b"", bytes(32)]))
        changed.insert(data.draw(st.integers(0, len(path))), more)
    elif how == "flip":
        changed[at] = flipped(changed[at], data.draw(st.integers(0, 255)))
    elif how == "drop":
        del changed[at]
    elif how == "repeat":
        changed.insert(at, changed[at])
    elif how == "cut":
        changed = changed[:at]
    elif how == "shorten":
        changed[at] = changed[at][:-1]
    else:
        changed.reverse()
    return changed


@given(st.data(), sizes)
def test_no_changed_path_proves_a_leaf(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, node_of(LEAVES))
    changed = change_path(data, path)
    if changed == path:  # a path of one hash reads the same in both directions
        return
    with pytest.raises(WrongProof):
        check_inclusion(
            index=index, size=size, leaf=LEAVES[index], path=changed, root=naive_root(LEAVES[:size])
        )


@given(st.data(), sizes)
def test_no_changed_path_proves_a_growth(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    path = consistency_path(old, new, node_of(LEAVES))
    changed = change_path(data, path)
    if changed == path:
        return
    with pytest.raises(WrongProof):
        check_consistency(
            old_size=old,
            old_root=naive_root(LEAVES[:old]),
            new_size=new,
            new_root=naive_root(LEAVES[:new]),
            path=changed,
        )


@given(st.data(), sizes)
def test_a_leaf_s_path_proves_nothing_else(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, node_of(LEAVES))
    said: dict[str, Any] = {
        "index": index,
        "size": size,
        "leaf": LEAVES[index],
        "root": naive_root(LEAVES[:size]),
    }
    what = data.draw(st.sampled_from(sorted(said)))
    bit = data.draw(st.integers(0, 255))
    other = {
        "index": data.draw(st.integers(-2, LARGEST + 2)),
        # A path of the same length may serve another size of the same root: a root says nothing of its
        # size, the checkpoint does. These sizes cannot be.
        "size": data.draw(st.sampled_from([0, -size, 2**63, 2**64 + size])),
        "leaf": flipped(LEAVES[index], bit),
        "root": flipped(said["root"], bit),
    }[what]
    if other == said[what]:
        return
    with pytest.raises(WrongProof):
        check_inclusion(path=path, **{**said, what: other})


@given(st.data(), sizes, sizes)
def test_a_leaf_s_path_fits_the_root_of_its_own_size_alone(
    data: st.DataObject, size: int, other: int
) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, node_of(LEAVES))
    if other == size:
        return
    with pytest.raises(WrongProof):
        check_inclusion(
            index=index, size=size, leaf=LEAVES[index], path=path, root=naive_root(LEAVES[:other])
        )


@given(st.data(), sizes)
def test_a_growth_s_path_proves_nothing_else(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new))
    said: dict[str, Any] = {
        "old_size": old,
        "old_root": naive_root(LEAVES[:old]),
        "new_size": new,
        "new_root": naive_root(LEAVES[:new]),
    }
    path = consistency_path(old, new, node_of(LEAVES))
    bit = data.draw(st.integers(0, 255))
    what = data.draw(st.sampled_from(sorted(said)))
    other = {
        "old_size": data.draw(st.integers(-1, 0) | st.integers(new + 1, 2 * new + 2)),
        "old_root": flipped(said["old_root"], bit),
        "new_size": data.draw(st.integers(-1, old - 1) | st.sampled_from([2**63, 2**64 + new])),
        "new_root": flipped(said["new_root"], bit),
    }[what]
    with pytest.raises(WrongProof):
        check_consistency(path=path, **{**said, what: other})


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_hashes_of_another_length_are_refused(length: int) -> None:
    # Equal on both sides, so that a mere comparison would be content.
    wrong = b"\x07" * length
    with pytest.raises(WrongProof):
        check_inclusion(index=0, size=1, leaf=wrong, path=[], root=wrong)
    with pytest.raises(WrongProof):
        check_consistency(old_size=3, old_root=wrong, new_size=3, new_root=wrong, path=[])


def test_the_end_of_a_larger_tree_s_path_proves_nothing_of_a_smaller_tree() -> None:
    # Leaf 1 of two is not leaf 0 of one, though the hashes would lead to the same root.
    with pytest.raises(WrongProof):
        check_inclusion(index=0, size=1, leaf=LEAVES[1], path=[LEAVES[0]], root=naive_root(LEAVES[:2]))
    # Nor is the growth from 7 to 8 one from 3 to 4.
    with pytest.raises(WrongProof):
        check_consistency(
            old_size=3,
            old_root=naive_root(LEAVES[:7]),
            new_size=4,
            new_root=naive_root(LEAVES[:8]),
            path=consistency_path(7, 8, node_of(LEAVES)),
        )


@pytest.mark.parametrize(("size", "fits"), [(2**62, True), (2**63 - 1, True), (2**63, False), (2**64, False)])
def test_a_tree_has_fewer_than_two_to_the_63_leaves(size: int, fits: bool) -> None:
    path = [LEAVES[number] for number in range((size - 1).bit_length())]
    root = LEAVES[-1]
    for sibling in path:
        root = node_hash(root, sibling)
    old_root = LEAVES[-1]
    if fits:
        check_inclusion(index=0, size=size, leaf=LEAVES[-1], path=path, root=root)
        check_consistency(old_size=1, old_root=old_root, new_size=size, new_root=root, path=path)
        return
    with pytest.raises(WrongProof):
        check_inclusion(index=0, size=size, leaf=LEAVES[-1], path=path, root=root)
    with pytest.raises(WrongProof):
        check_consistency(old_size=1, old_root=old_root, new_size=size, new_root=root, path=path)


# ------------------------------------------------- published, mostly attacks


def bytes_of(texts: list[str]) -> list[bytes]:
    return [b64decode(text) for text in texts]


INCLUSION: list[dict[str, Any]] = load("merkle/inclusion.json")
CONSISTENCY: list[dict[str, Any]] = load("merkle/consistency.json")

WITH_ROOTS_OF_12_BYTES = ("additional", "sizes are equal (one) and proof is empty")
"""The one published proof that is good there and refused here: its equal roots are no hashes at all."""


def name_of(vector: dict[str, Any]) -> str:
    return f"{vector['folder']}: {vector['desc']}"


def test_the_published_proofs_are_all_there() -> None:
    assert (len(INCLUSION), len(CONSISTENCY)) == (98, 98)
    assert sum(not vector["wantErr"] for vector in INCLUSION) == 6
    assert sum(not vector["wantErr"] for vector in CONSISTENCY) == 6


@pytest.mark.parametrize("vector", INCLUSION, ids=name_of)
def test_published_inclusion_proofs(vector: dict[str, Any]) -> None:
    def check() -> None:
        check_inclusion(
            index=vector["leafIdx"],
            size=vector["treeSize"],
            leaf=b64decode(vector["leafHash"]),
            path=bytes_of(vector["proof"]),
            root=b64decode(vector["root"]),
        )

    if not vector["wantErr"]:
        check()
        return
    with pytest.raises(WrongProof):
        check()


@pytest.mark.parametrize("vector", CONSISTENCY, ids=name_of)
def test_published_consistency_proofs(vector: dict[str, Any]) -> None:
    def check() -> None:
        check_consistency(
            old_size=vector["size1"],
            new_size=vector["size2"],
            old_root=b64decode(vector["root1"]),
            new_root=b64decode(vector["root2"]),
            path=bytes_of(vector["proof"]),
        )

    if not vector["wantErr"] and (vector["folder"], vector["desc"]) != WITH_ROOTS_OF_12_BYTES:
        check()
        return
    with pytest.raises(WrongProof):
        check()
