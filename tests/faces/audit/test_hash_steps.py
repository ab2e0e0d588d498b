"""The steps from a leaf to the root: each is an honest hash of neighbours, and the last is the root."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import WrongProof
from registry.faces.audit.hash_steps import hash_steps
from registry.protocol.merkle import inclusion_path, leaf_hash, tree_root

HASHES = [leaf_hash(number.to_bytes(4, "big")) for number in range(300)]


def node(level: int, index: int) -> bytes:
    return tree_root(HASHES[index << level : (index + 1) << level])


@given(st.integers(1, len(HASHES)).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_the_last_step_is_the_root_and_every_step_says_what_it_covers(place: tuple[int, int]) -> None:
    size, index = place
    path = inclusion_path(index, size, node)
    steps = hash_steps(index=index, size=size, leaf=HASHES[index], path=path)
    assert ([HASHES[index]] + [step.result for step in steps])[-1] == tree_root(HASHES[:size])
    for step in steps:
        assert step.result == tree_root(HASHES[step.begin : step.end])
        assert step.sibling == tree_root(HASHES[step.sibling_begin : step.sibling_end])
        assert step.begin <= index < step.end
        assert step.sibling_is_left == (step.sibling_end <= index)


def test_a_path_that_is_too_short_or_too_long_is_no_way() -> None:
    path = inclusion_path(5, 9, node)
    for wrong in (path[:-1], [*path, path[0]]):
        with pytest.raises(WrongProof):
            hash_steps(index=5, size=9, leaf=HASHES[5], path=wrong)


def test_a_wrong_hash_on_the_way_leads_to_another_root() -> None:
    path = inclusion_path(5, 9, node)
    steps = hash_steps(index=5, size=9, leaf=HASHES[5], path=[HASHES[0], *path[1:]])
    assert steps[-1].result != tree_root(HASHES[:9])
