"""What a witness policy's quorum gives, in numbers: how many must cosign, and how many would have to lie.

Pure. Exact for nested groups too, because a policy's names form a tree: each is in one group at most.
"""

from dataclasses import dataclass

from registry.protocol.witness_policy import NO_QUORUM, WitnessPolicy, quorum_strength


@dataclass(frozen=True, slots=True)
class Quorum:
    """`needed` of `witnesses` must cosign. Any two quorums share at least `overlap` witnesses.

    Two histories can both be cosigned only if every witness that two quorums share is dishonest: so many lies
    a split view takes. With an overlap of 0 the policy detects one, and does not prevent it.
    """

    needed: int
    witnesses: int
    overlap: int


def quorum_of(policy: WitnessPolicy) -> Quorum | None:
    """The quorum in numbers; None for a policy that asks for no witness."""
    if policy.quorum == NO_QUORUM:
        return None
    needed = {witness.name: 1 for witness in policy.witnesses}
    for group in policy.groups:  # each names only what stands before it
        needed[group.name] = sum(sorted(needed[name] for name in group.members)[: group.threshold])
    return Quorum(needed[policy.quorum], len(policy.counted()), quorum_strength(policy).shared)
