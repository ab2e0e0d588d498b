"""What must hold before the newest index counts as proven. Pure: returns, or raises and says why.

 1. The checkpoint is signed by a log key that the pinned trust material names, for a shard of that log.
 2. The proven leaf is the tree's last one, it is an index leaf, and its root covers this region's index.
 3. The log goes on from what this phone has seen: no earlier year, no smaller size, no other root at the
    same size, no older cosignature of the same tree.
 4. Enough witnesses cosigned, by the policy of the trust material, and not too long ago.

Together: this index is the newest in that tree, and that tree was the newest that a quorum of witnesses had
seen at that time. That a larger tree contains a smaller one is for witnesses and monitors to check: a phone
tells nobody which one it has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.client.failures import Frozen, QuorumMissing, RolledBack, SplitView, Unlogged
from registry.client.remembered import LogHead
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.errors import Malformed, WrongProof
from registry.protocol.checkpoint import Checkpoint, Cosignature, cosignatures, open_checkpoint
from registry.protocol.leaves import IndexLeaf, RegionProof, check_region_proof, decode_region_proof
from registry.protocol.merkle import check_inclusion, leaf_hash
from registry.protocol.note import Note, decode_vkey
from registry.protocol.proof import LogProof, decode_proof, encode_proof
from registry.protocol.trust import (
    COSIGNATURE_FAIL_SECONDS,
    COSIGNATURE_WARN_SECONDS,
    PROOF_GRACE_SECONDS,
    TrustMaterial,
    shard_year,
)
from registry.protocol.witness_policy import NO_QUORUM, WitnessPolicy


@dataclass(frozen=True, slots=True)
class IndexProof:
    """What a proof says, once points 1 and 2 hold.

    `index_sha256` (hex) is the digest of this region's index. Of `witnesses` that could make a difference
    `cosigned` did; `head.cosigned_at` is the time by which a quorum of them had, or None. `asks_witnesses`
    is False if the policy asks for none. `is_plain` says that the file holds nothing beside what was
    verified, so that its digest cannot be one of this phone's own.
    """

    head: LogHead
    leaf: IndexLeaf
    index_sha256: str
    cosigned: int
    witnesses: int
    asks_witnesses: bool
    is_plain: bool

    @property
    def has_quorum(self) -> bool:
        """Whether enough witnesses cosigned, whenever that was."""
        return self.head.cosigned_at is not None or not self.asks_witnesses


@dataclass(frozen=True, slots=True)
class ProofLimits:
    """The policy of the trust material about proofs, in seconds."""

    warn_age: int
    fail_age: int
    grace: int

    @classmethod
    def of(cls, trust: TrustMaterial) -> "ProofLimits":
        """What `publication` says, or the defaults of `registry.protocol.trust`."""
        said = trust.publication
        return cls(
            warn_age=said.get("cosignature_warn_seconds", COSIGNATURE_WARN_SECONDS),
            fail_age=said.get("cosignature_fail_seconds", COSIGNATURE_FAIL_SECONDS),
            grace=said.get("proof_grace_seconds", PROOF_GRACE_SECONDS),
        )


def open_index_proof(content: bytes, trust: TrustMaterial, *, region: str, now: float) -> IndexProof:
    """What the proof file says about `region`'s index.

    Raises `Malformed`, `UntrustedKey` (no known log key signed), `BadSignature` (a known key's line does not
    verify) or `Unlogged`.
    """
    proof = decode_proof(content)
    if proof.extra is None:
        raise Malformed("the proof does not carry the index leaf")
    covered = decode_region_proof(proof.extra)
    note, checkpoint = open_checkpoint(proof.checkpoint, map(decode_vkey, trust.log_vkeys))  # 1
    leaf = _check_covered(proof, covered, checkpoint, region)  # 2
    policy = trust.policy()
    found = _timely_cosignatures(note, checkpoint, policy, now)
    return IndexProof(
        head=LogHead(
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=checkpoint.root,
            checkpoint=proof.checkpoint,
            cosigned_at=quorum_time(policy, found),
        ),
        leaf=leaf,
        index_sha256=covered.index_digest.hex(),
        cosigned=len(found),
        witnesses=len(policy.counted()),
        asks_witnesses=policy.quorum != NO_QUORUM,
        is_plain=encode_proof(proof) == content and _is_plain(note, trust, policy),
    )


def _check_covered(proof: LogProof, covered: RegionProof, checkpoint: Checkpoint, region: str) -> IndexLeaf:
    if proof.index != checkpoint.size - 1:
        raise Unlogged(f"the proof is for leaf {proof.index}, not for the last of {checkpoint.size}")
    try:
        check_inclusion(
            index=proof.index,
            size=checkpoint.size,
            leaf=leaf_hash(covered.leaf),
            path=proof.path,
            root=checkpoint.root,
        )
        return check_region_proof(covered, region=region)
    except WrongProof as error:
        raise Unlogged(f"the proof does not show that this index is the log's newest: {error}") from error


def _timely_cosignatures(
    note: Note, checkpoint: Checkpoint, policy: WitnessPolicy, now: float
) -> list[Cosignature]:
    found = cosignatures(note, checkpoint, [witness.key for witness in policy.counted()])
    # A time still to come would keep a held-back checkpoint fresh for as long as somebody likes.
    return [one for one in found if one.time <= now + CLOCK_TOLERANCE_SECONDS]


def quorum_time(policy: WitnessPolicy, found: Sequence[Cosignature]) -> int | None:
    """The latest time such that witnesses who cosigned then or later make a quorum."""
    if policy.quorum == NO_QUORUM:
        return None
    newest_first = sorted(found, key=lambda one: one.time, reverse=True)
    for count, last in enumerate(newest_first, start=1):
        if policy.is_met(one.key for one in newest_first[:count]):
            return last.time
    return None


def _is_plain(note: Note, trust: TrustMaterial, policy: WitnessPolicy) -> bool:
    keys = [*map(decode_vkey, trust.log_vkeys), *(witness.key for witness in policy.counted())]
    signers = [[key for key in keys if line.is_by(key)] for line in note.signatures]
    return all(signers) and len({key for found in signers for key in found}) == len(note.signatures)


def check_head(head: LogHead, seen: LogHead | None, *, log_origin: str) -> None:
    """Point 3. Raises `RolledBack` or `SplitView`; `seen` is the head that this phone remembers."""
    if seen is None:
        return
    year, year_before = shard_year(log_origin, head.origin), shard_year(log_origin, seen.origin)
    if year < year_before:
        raise RolledBack(f"the log went back from the year {year_before} to {year}")
    if year > year_before:
        return
    if head.size < seen.size:
        raise RolledBack(f"the log went back from {seen.size} leaves to {head.size}")
    if head.size > seen.size:
        return
    if head.root != seen.root:
        raise SplitView(
            f"the log's {head.size} leaves have another root than they had: not everybody is shown the same"
        )
    if (head.cosigned_at or 0) < (seen.cosigned_at or 0) and head.cosigned_at is not None:
        raise RolledBack("the cosignatures are older than those that this phone has seen on the same tree")


def check_witnesses(proof: IndexProof, limits: ProofLimits, *, now: float) -> Frozen | None:
    """Point 4. What to warn of, if the cosignatures are getting old.

    Raises `QuorumMissing`, or `Frozen` if they are too old. A policy that asks for no witness sets no age.
    """
    if not proof.asks_witnesses:
        return None
    cosigned_at = proof.head.cosigned_at
    if cosigned_at is None:
        raise QuorumMissing(
            f"{proof.cosigned} of the log's {proof.witnesses} witnesses cosigned: that is not enough"
        )
    age = now - cosigned_at
    time = datetime.fromtimestamp(cosigned_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if age > limits.fail_age:
        raise Frozen(f"no newer checkpoint than that of {time} has been cosigned, or it is held back")
    if age > limits.warn_age:
        return Frozen(f"the newest checkpoint was cosigned at {time}, {int(age // 3600)} hours ago")
    return None
