"""What a proof says, apart from any poll: by when a quorum had cosigned, and how little a phone fetches."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.failures import Frozen, QuorumMissing
from registry.client.proof import ProofLimits, check_witnesses, open_index_proof
from registry.errors import Distrusted, Malformed
from registry.protocol.proof import decode_proof, encode_proof
from registry.protocol.trust import TrustMaterial, decode_trust
from tests.clock import FakeClock
from tests.protocol.note_signers import witness_signer
from tests.simulator import REGION, Simulator

LIMITS = ProofLimits(warn_age=6 * 3600, fail_age=48 * 3600, grace=48 * 3600)
SEEN = list(range(0, 6000, 600))


def registry_with(count: int, quorum: int | None) -> tuple[Simulator, FakeClock]:
    """A registry whose log has `count` witnesses, `quorum` of which are asked for."""
    clock = FakeClock()
    simulator = Simulator(clock)
    simulator.log.witnesses = [witness_signer(f"witness.example/{number}") for number in range(count)]
    simulator.log.quorum = quorum
    simulator.publish()
    simulator.newest_index()
    return simulator, clock


def trust_of(simulator: Simulator) -> TrustMaterial:
    return decode_trust(simulator.trust())


@given(st.lists(st.sampled_from(SEEN), min_size=1, max_size=5), st.data())
def test_a_quorum_is_as_old_as_its_oldest_cosignature(ages: list[int], data: st.DataObject) -> None:
    quorum = data.draw(st.integers(1, len(ages)))
    simulator, clock = registry_with(len(ages), quorum)
    clock.advance(SEEN[-1])
    for witness, age in zip(simulator.log.witnesses, ages, strict=True):
        simulator.log.awake_until[witness.name] = clock() - age
    proof = open_index_proof(simulator.log.proof(), trust_of(simulator), region=REGION, now=clock())
    assert proof.head.cosigned_at == clock() - sorted(ages)[quorum - 1]
    assert (proof.cosigned, proof.witnesses, proof.has_quorum) == (len(ages), len(ages), True)


def test_without_a_quorum_there_is_no_time() -> None:
    simulator, clock = registry_with(3, 3)
    simulator.log.awake_until["witness.example/2"] = 0
    proof = open_index_proof(simulator.log.proof(), trust_of(simulator), region=REGION, now=clock())
    assert (proof.head.cosigned_at, proof.cosigned, proof.has_quorum) == (None, 2, False)
    with pytest.raises(QuorumMissing, match="2 of the log's 3 witnesses"):
        check_witnesses(proof, LIMITS, now=clock())


def test_a_policy_that_asks_for_none_sets_no_age() -> None:
    simulator, clock = registry_with(3, None)
    proof = open_index_proof(simulator.log.proof(), trust_of(simulator), region=REGION, now=clock())
    assert (proof.asks_witnesses, proof.has_quorum, proof.head.cosigned_at) == (False, True, None)
    assert check_witnesses(proof, LIMITS, now=clock() + 10**9) is None


@pytest.mark.parametrize(
    ("age", "warns"), [(0, False), (6 * 3600, False), (6 * 3600 + 1, True), (48 * 3600, True)]
)
def test_the_age_of_a_quorum(age: int, warns: bool) -> None:
    simulator, clock = registry_with(3, 2)
    proof = open_index_proof(simulator.log.proof(), trust_of(simulator), region=REGION, now=clock())
    assert isinstance(check_witnesses(proof, LIMITS, now=clock() + age), Frozen) == warns


def test_an_age_beyond_the_limit() -> None:
    simulator, clock = registry_with(3, 2)
    proof = open_index_proof(simulator.log.proof(), trust_of(simulator), region=REGION, now=clock())
    with pytest.raises(Frozen):
        check_witnesses(proof, LIMITS, now=clock() + LIMITS.fail_age + 1)


def test_limits_are_the_registrys_or_those_of_the_protocol() -> None:
    simulator, _ = registry_with(1, 1)
    assert ProofLimits.of(trust_of(simulator)) == LIMITS
    simulator.publication = {"proof_grace_seconds": 5, "cosignature_fail_seconds": 4}
    assert ProofLimits.of(trust_of(simulator)) == replace(LIMITS, grace=5, fail_age=4)


def test_a_proof_without_the_index_leaf_is_none() -> None:
    simulator, clock = registry_with(1, 1)
    bare = replace(decode_proof(simulator.log.proof()), extra=None)
    with pytest.raises(Malformed, match="does not carry the index leaf"):
        open_index_proof(encode_proof(bare), trust_of(simulator), region=REGION, now=clock())


def test_every_byte_of_a_proof_counts() -> None:
    """Whatever is changed: it is refused, or says the same, or a cosignature is missing."""
    simulator, clock = registry_with(2, 2)
    trust, content = trust_of(simulator), simulator.log.proof()
    true = open_index_proof(content, trust, region=REGION, now=clock())
    lost = 0
    for place in range(len(content)):
        bent = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            found = open_index_proof(bent, trust, region=REGION, now=clock())
        except (Malformed, Distrusted):
            continue
        assert (found.leaf, found.index_sha256, found.head.root) == (
            true.leaf,
            true.index_sha256,
            true.head.root,
        )
        assert not found.is_plain
        lost += found.cosigned < true.cosigned
    assert lost, "a changed witness's name is an unknown signer's"
