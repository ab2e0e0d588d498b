"""What a publisher must be given to keep a log: names, keys, witnesses and how long to wait for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from registry.errors import FetchFailed
from registry.protocol.note import NoteSigner
from registry.protocol.witness_policy import WitnessPolicy
from registry.transparency.witnesses import SendToWitness, WitnessAnswer


class Acts(Protocol):
    """The record of officials' and operators' acts, and its daily commitment; the other half's affair."""

    def due(self, now: float) -> bytes | None:
        """The 32 bytes that the log must get today (UTC), the same until `logged` is called; else None."""
        ...

    def logged(self, now: float, year: int, number: int) -> None:
        """Today's commitment is leaf `number` of the shard `year`."""
        ...

    def passed_over(self, now: float, year: int, number: int) -> None:
        """The log has another commitment of today, leaf `number` of the shard `year`: none more gets in.

        So it is when the acts' database was set back since. Must be put on record where auditors find it.
        """
        ...

    def policy_changed(self, now: float, sequence: int) -> None:
        """Trust material number `sequence` says something else than the one before. May be told twice."""
        ...


def send_to_nobody(url: str, body: bytes) -> WitnessAnswer:
    """A `SendToWitness` for a log that has no witnesses. Raises FetchFailed."""
    raise FetchFailed(f"{url} is not asked: this process has no way to send {len(body)} bytes")


@dataclass(frozen=True, slots=True)
class TransparencyLog:
    """One registry's log. A shard's origin, and the name of its keys, is `<origin>/<year>`."""

    origin: str
    signers: Callable[[int], Sequence[NoteSigner]]
    """The signers of a year's shard, Ed25519 first; its keys are made if they are not there."""
    trust_signer: NoteSigner
    policy: WitnessPolicy = field(default_factory=WitnessPolicy)
    """The operator's: witnesses, groups and quorum. Its logs are ours alone, whatever it names."""
    send: SendToWitness = send_to_nobody
    fail_open_seconds: int = 3600
    """How long after its signing a checkpoint waits for the quorum before it is published without."""
    heartbeat_seconds: int = 600
    """How old the newest answers of witnesses may be before the same checkpoint is sent to them again."""
    acts: Acts | None = None
