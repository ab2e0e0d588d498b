"""What a quorum gives, against the plain definition: every pair of quorums is looked at."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from registry.faces.audit.quorum import quorum_of
from registry.protocol.note import KeyKind
from registry.protocol.witness_policy import PolicyGroup, PolicyWitness, WitnessPolicy
from tests.public_tree import note_signer

WITNESSES = tuple(
    PolicyWitness(f"w{n}", note_signer(f"w{n}.example", KeyKind.COSIGNATURE_V1).key) for n in range(6)
)


@st.composite
def policies(draw: st.DrawFn) -> WitnessPolicy:
    """Two groups of witnesses and a group over them, or over what is left."""
    count = draw(st.integers(2, 6))
    names = [witness.name for witness in WITNESSES[:count]]
    cut = draw(st.integers(1, count - 1))
    left, right = tuple(names[:cut]), tuple(names[cut:])
    groups = (
        PolicyGroup("left", draw(st.integers(1, len(left))), left),
        PolicyGroup("right", draw(st.integers(1, len(right))), right),
        PolicyGroup("both", draw(st.integers(1, 2)), ("left", "right")),
    )
    quorum = draw(st.sampled_from(["left", "right", "both", "w0"]))
    return WitnessPolicy((), WITNESSES[:count], groups, quorum)


@given(policies())
def test_needed_and_overlap_are_those_of_every_pair_of_quorums(policy: WitnessPolicy) -> None:
    if policy.quorum == "w0":
        policy = WitnessPolicy((), policy.witnesses, (), "w0")
    everyone = [
        set(some)
        for size in range(len(policy.witnesses) + 1)
        for some in combinations([witness.key for witness in policy.witnesses], size)
    ]
    quorums = [some for some in everyone if policy.is_met(some)]
    found = quorum_of(policy)
    assert found is not None
    assert found.needed == min(map(len, quorums))
    assert found.overlap == min(len(one & other) for one in quorums for other in quorums)
    assert found.witnesses == len(policy.counted())


def test_the_figures_of_the_usual_policies() -> None:
    for needed, overlap in ((4, 3), (3, 1), (2, 0)):
        names = tuple(witness.name for witness in WITNESSES[:5])
        policy = WitnessPolicy((), WITNESSES[:5], (PolicyGroup("g", needed, names),), "g")
        found = quorum_of(policy)
        assert found is not None
        assert (found.needed, found.witnesses, found.overlap) == (needed, 5, overlap)


def test_no_quorum_gives_nothing() -> None:
    assert quorum_of(WitnessPolicy()) is None
