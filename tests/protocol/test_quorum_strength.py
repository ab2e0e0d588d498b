"""What a quorum gives: held against every pair of sets of witnesses that there is."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.protocol.note import KeyKind, VerifierKey
from registry.protocol.witness_policy import (
    PolicyGroup,
    PolicyWitness,
    WitnessPolicy,
    quorum_strength,
)


def witness(number: int, operator: str | None = None) -> PolicyWitness:
    key = VerifierKey(operator or f"w{number}.example", KeyKind.COSIGNATURE_V1, bytes([number]) * 32)
    return PolicyWitness(f"w{number}", key)


def k_of_n(k: int, n: int) -> WitnessPolicy:
    witnesses = tuple(witness(number) for number in range(n))
    group = PolicyGroup("group", k, tuple(one.name for one in witnesses))
    return WitnessPolicy(witnesses=witnesses, groups=(group,), quorum="group")


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("m", range(4))
def test_k_of_n_prevents_if_k_is_more_than_half_of_n_and_m(n: int, m: int) -> None:
    for k in range(1, n + 1):
        assert quorum_strength(k_of_n(k, n), dishonest=m).prevents == (2 * k > n + m), (k, n, m)


@pytest.mark.parametrize(
    ("k", "n", "said"),
    [
        (4, 5, "prevents split views even if one"),
        (3, 5, "while every witness is honest"),
        (2, 5, "only detects"),
    ],
)
def test_it_says_in_words_which(k: int, n: int, said: str) -> None:
    assert said in quorum_strength(k_of_n(k, n)).words


def test_no_quorum_gives_nothing() -> None:
    strength = quorum_strength(WitnessPolicy(witnesses=(witness(1),)))
    assert (strength.prevents, strength.shared) == (False, 0)
    assert "No witness is needed" in strength.words


def test_one_witness_alone_is_enough_only_if_it_is_honest() -> None:
    policy = WitnessPolicy(witnesses=(witness(1), witness(2)), quorum="w1")
    assert quorum_strength(policy, dishonest=0).prevents
    assert not quorum_strength(policy, dishonest=1).prevents


def test_one_operator_with_two_keys_is_one_operator() -> None:
    """Three of four keys, two of them in one hand: that hand and one honest witness each make two quorums."""
    in_one_hand = (witness(1, "one.example"), witness(2, "one.example"), witness(3), witness(4))
    group = PolicyGroup("g", 3, ("w1", "w2", "w3", "w4"))
    policy = WitnessPolicy(witnesses=in_one_hand, groups=(group,), quorum="g")
    assert not quorum_strength(policy, dishonest=1).prevents
    assert quorum_strength(k_of_n(3, 4), dishonest=1).prevents


@st.composite
def policies(draw: st.DrawFn) -> WitnessPolicy:
    """Up to seven witnesses in groups of groups."""
    witnesses = tuple(witness(number) for number in range(draw(st.integers(1, 7))))
    free = [one.name for one in witnesses]
    groups: list[PolicyGroup] = []
    while len(free) > 1 or not groups:
        members = draw(st.lists(st.sampled_from(free), min_size=1, max_size=len(free), unique=True))
        threshold = draw(st.integers(1, len(members)))
        groups.append(PolicyGroup(f"g{len(groups)}", threshold, tuple(members)))
        free = [name for name in free if name not in members] + [groups[-1].name]
        if len(groups) > 8:
            break
    return WitnessPolicy(witnesses=witnesses, groups=tuple(groups), quorum=groups[-1].name)


@settings(max_examples=60)
@given(policies())
def test_no_two_quorums_share_fewer_and_two_share_just_so_many(policy: WitnessPolicy) -> None:
    keys = {one.name: one.key for one in policy.witnesses}
    enough = [
        set(names)
        for size in range(len(keys) + 1)
        for names in combinations(keys, size)
        if policy.is_met([keys[name] for name in names])
    ]
    assert quorum_strength(policy).shared == min(len(a & b) for a in enough for b in enough)
