"""How the log is: its size, who has cosigned it when, and when each region last published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from registry.client.monitor.batches import LoggedBatch
from registry.client.proof import ProofLimits, quorum_time
from registry.client.sightings import CLOCK_TOLERANCE_SECONDS
from registry.protocol.checkpoint import Checkpoint, Cosignature
from registry.protocol.trust import TrustMaterial
from registry.protocol.witness_policy import NO_QUORUM, PolicyWitness, WitnessPolicy

Freshness = Literal["fresh", "late", "stale", "unwitnessed"]


@dataclass(frozen=True, slots=True)
class WitnessState:
    """A witness of the policy: when it cosigned the newest checkpoint (unix seconds), or None if not.

    `counts` says whether it can make a difference to the quorum.
    """

    witness: PolicyWitness
    counts: bool
    cosigned_at: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """The log at a moment. Ages are in seconds, None where there is nothing to be old.

    `freshness`: `fresh`, `late` (older than phones warn at), `stale` (older than they accept, or no quorum),
    or `unwitnessed` (the policy asks for no witness, so nobody else says when this was the newest).
    `cosigned_at` is the latest time by which a quorum had seen this tree. `last_published` is by region: when
    the index was issued that brought its newest batch.
    """

    checkpoint: Checkpoint
    witnesses: tuple[WitnessState, ...]
    quorum_met: bool
    cosigned_at: int | None
    cosignature_age: float | None
    freshness: Freshness
    last_published: Mapping[str, int | None]


def limits(trust: TrustMaterial) -> tuple[int, int]:
    """(seconds after which phones warn, after which they refuse): the age of the newest cosignature."""
    found = ProofLimits.of(trust)
    return found.warn_age, found.fail_age


def health_of(
    checkpoint: Checkpoint,
    cosigned: Sequence[Cosignature],
    policy: WitnessPolicy,
    trust: TrustMaterial,
    batches: Mapping[str, Sequence[LoggedBatch]],
    now: float,
) -> Health:
    """The health of a log with this newest checkpoint and these cosignatures, at `now` (unix seconds)."""
    times = {cosignature.key: cosignature.time for cosignature in cosigned}
    counted = {witness.name for witness in policy.counted()}
    # A time still to come would keep an old tree fresh for as long as its witness likes.
    timely = [one for one in cosigned if one.time <= now + CLOCK_TOLERANCE_SECONDS]
    newest = quorum_time(policy, timely)
    age = None if newest is None else now - newest
    return Health(
        checkpoint=checkpoint,
        witnesses=tuple(
            WitnessState(witness, witness.name in counted, times.get(witness.key))
            for witness in policy.witnesses
        ),
        quorum_met=policy.is_met(one.key for one in timely),
        cosigned_at=newest,
        cosignature_age=age,
        freshness=_freshness(policy, age, trust),
        last_published={
            region: next((batch.published_at for batch in reversed(of) if batch.published_at), None)
            for region, of in batches.items()
        },
    )


def _freshness(policy: WitnessPolicy, age: float | None, trust: TrustMaterial) -> Freshness:
    if policy.quorum == NO_QUORUM:
        return "unwitnessed"
    warn, fail = limits(trust)
    if age is None or age > fail:
        return "stale"
    return "late" if age > warn else "fresh"
