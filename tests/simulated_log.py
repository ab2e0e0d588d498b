"""The log and the trust material of the simulated registry: real keys, real proofs, and a hand in everything.

Honest by itself: every change of the index gets its leaves, every year its shard, and witnesses cosign every
ten minutes. Tests make it lie by replacing its parts, or by serving what it served before.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from registry.errors import Malformed
from registry.protocol.checkpoint import Checkpoint, cosign, sign_checkpoint
from registry.protocol.index import IndexWindow, decode_index
from registry.protocol.leaves import (
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    Leaf,
    OpenLeaf,
    encode_leaf,
    encode_region_proof,
    prove_region,
    regions_root,
)
from registry.protocol.merkle import inclusion_path, leaf_hash, root_at
from registry.protocol.note import Note, encode_note
from registry.protocol.proof import LogProof, encode_proof
from registry.protocol.trust import TrustMaterial, encode_trust, shard_origin, trust_key_name
from registry.protocol.trust_note import TrustNote, encode_trust_note, fingerprint, trust_digest
from registry.protocol.witness_policy import (
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    WitnessPolicy,
    encode_policy,
)
from tests.protocol.made_log import MadeLog
from tests.protocol.note_signers import MadeNoteSigner, ed25519_signer, witness_signer

LOG_ORIGIN = "keys.example/keys"
ROOT = ed25519_signer(trust_key_name(LOG_ORIGIN), sha256(b"the root of every simulated registry").digest())
FINGERPRINT = fingerprint(ROOT.key.vkey)
"""What the health authority gives out, for people to compare."""
HEARTBEAT_SECONDS = 600
NOTE_LIFE_SECONDS = 30 * 86_400
OTHER_REGIONS = {"XB": bytes(32), "XC": bytes(32)}
"""Digests of other regions' indexes, so that a region's path in the index leaf is not empty."""


@dataclass(frozen=True)
class Head:
    """A size that was published: when, and over which indexes by their digests."""

    year: int
    size: int
    published_at: float
    digests: dict[str, bytes]


@dataclass
class SimulatedLog:
    """One region's registry as phones see its log.

    `awake_until` holds, by name, the time from which a witness answers no more. `quorum` of the witnesses are
    asked for; None asks for none. Of the years in `years` the trust material names the keys. `leaf_time`, if
    set, is the issue time in every new index leaf.
    """

    clock: Callable[[], float]
    region: str
    origin: str = LOG_ORIGIN
    quorum: int | None = 2
    years: list[int] = field(default_factory=list)
    witnesses: list[MadeNoteSigner] = field(
        default_factory=lambda: [witness_signer(f"witness.example/{number}") for number in range(3)]
    )
    awake_until: dict[str, float] = field(default_factory=dict)
    roots: list[MadeNoteSigner] = field(default_factory=list)
    keys: dict[int, MadeNoteSigner] = field(default_factory=dict)
    shards: dict[int, MadeLog] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)
    batches: list[bytes] = field(default_factory=list)
    materials: list[bytes] = field(default_factory=list)
    leaf_time: int | None = None
    _said: bytes = b""

    def __post_init__(self) -> None:
        self.years = self.years or [self.year, self.year + 1]
        self.roots = self.roots or [ROOT]

    @property
    def year(self) -> int:
        return time.gmtime(self.clock()).tm_year

    def key(self, year: int) -> MadeNoteSigner:
        """The log's key of that year."""
        return self.keys.setdefault(year, ed25519_signer(shard_origin(self.origin, year)))

    def awake(self, *names: str) -> None:
        """Only these witnesses answer from now on."""
        for witness in self.witnesses:
            if witness.name not in names:
                self.awake_until.setdefault(witness.name, self.clock())
            else:
                self.awake_until.pop(witness.name, None)

    # Leaves

    def follow(self, index_content: bytes, windows: Sequence[IndexWindow]) -> None:
        """Log what is new, with an index leaf as the last, unless the newest one says it all."""
        digests = {**OTHER_REGIONS, self.region: sha256(index_content).digest()}
        newest = self.heads[-1] if self.heads else None
        if newest and newest.year == self.year and newest.digests == digests:
            return
        if self.year not in self.shards:
            self._open_shard()
        shard = self.shards[self.year]
        try:
            issued_at = max(int(self.clock()), decode_index(index_content).issued_at)
        except Malformed:
            issued_at = int(self.clock())
        issued_at = issued_at if self.leaf_time is None else self.leaf_time
        leaves: list[Leaf] = []
        for window in windows[len(self.batches) :]:
            leaves.append(self._batch(window))
            self.batches.append(leaf_hash(encode_leaf(leaves[-1])))
        previous = newest.size - 1 if newest and newest.year == self.year else None
        leaves.append(IndexLeaf(issued_at, len(digests), regions_root(digests), previous))
        shard.append(map(encode_leaf, leaves))
        self.heads.append(Head(self.year, shard.size, self.clock(), digests))

    def _batch(self, window: IndexWindow) -> BatchLeaf:
        manifest = sha256(repr(window).encode()).digest()
        previous = self.batches[-1] if self.batches else None
        return BatchLeaf(self.region, window.sequence, window.start, window.end, manifest, previous)

    def _open_shard(self) -> None:
        shard = MadeLog(shard_origin(self.origin, self.year))
        if self.shards:
            last = self.shards[max(self.shards)]
            last.append([encode_leaf(CloseLeaf(shard.origin))])
            head = last.head()
            shard.append([encode_leaf(OpenLeaf(head.origin, head.size, head.root))])
        self.shards[self.year] = shard

    def branch(self, size: int) -> "SimulatedLog":
        """Another log with the same keys that has only the first `size` leaves of this year in common."""
        shard = MadeLog(shard_origin(self.origin, self.year))
        shard.append(self.shards[self.year].entries[:size])
        heads = [head for head in self.heads if head.year == self.year and head.size <= size]
        return replace(
            self, shards={self.year: shard}, heads=heads, batches=list(self.batches), keys=self.keys
        )

    # What phones fetch

    def proof(self, head: Head | None = None) -> bytes:
        """The proof file for the newest head, or for an older one as it is now."""
        head = head or self.heads[-1]
        shard = self.shards[head.year]
        size = head.size
        checkpoint = Checkpoint(shard.origin, size, root_at(size, shard.node()))
        note = sign_checkpoint(checkpoint, [self.key(head.year)], now=self.clock())
        cosignatures = [
            cosign(note, witness, now=time_of)
            for witness in self.witnesses
            if (time_of := self._cosigned_at(witness, head)) is not None
        ]
        signed = encode_note(Note(note.text, (*note.signatures, *cosignatures)))
        extra = encode_region_proof(prove_region(shard.entries[size - 1], head.digests, self.region))
        path = tuple(inclusion_path(size - 1, size, shard.node()))
        return encode_proof(LogProof(size - 1, path, signed, extra))

    def _cosigned_at(self, witness: MadeNoteSigner, head: Head) -> float | None:
        """The time of the witness's newest cosignature of this head: its first, or its last heartbeat."""
        last = min(self.clock(), self.awake_until.get(witness.name, self.clock()))
        if last < head.published_at:
            return None
        return max(head.published_at, last // HEARTBEAT_SECONDS * HEARTBEAT_SECONDS)

    # Trust

    def policy(self) -> WitnessPolicy:
        logs = tuple(PolicyLog(self.key(year).key) for year in self.years)
        if self.quorum is None:
            return WitnessPolicy(logs)
        witnesses = tuple(PolicyWitness(f"w{at}", one.key) for at, one in enumerate(self.witnesses))
        names = tuple(witness.name for witness in witnesses)
        return WitnessPolicy(logs, witnesses, (PolicyGroup("q", self.quorum, names),), "q")

    def material(self, trust: TrustMaterial) -> bytes:
        """`trust` with the log's part in it; another number if it says anything new."""
        whole = replace(
            trust,
            trust_vkey=self.roots[-1].key.vkey,
            log_origin=self.origin,
            log_vkeys=tuple(self.key(year).key.vkey for year in self.years),
            witness_policy=encode_policy(self.policy()).decode(),
        )
        if self._says(whole) != self._said:
            self._said = self._says(whole)
            numbered = replace(whole, sequence=len(self.materials) + 1, issued_at=int(self.clock()))
            self.materials.append(encode_trust(numbered))
        return self.materials[-1]

    @staticmethod
    def _says(trust: TrustMaterial) -> bytes:
        return encode_trust(replace(trust, sequence=1, issued_at=0))

    def trust_note(self, **changes: object) -> bytes:
        """The note on the newest material, by every root that there is, signed within the hour."""
        now = int(self.clock()) // 3600 * 3600
        note = TrustNote(
            origin=self.origin,
            sequence=len(self.materials),
            digest=trust_digest(self.materials[-1]),
            issued_at=now,
            expires_at=now + NOTE_LIFE_SECONDS,
            previous=trust_digest(self.materials[-2]) if len(self.materials) > 1 else None,
        )
        return encode_trust_note(replace(note, **changes), *self.roots)  # type: ignore[arg-type]
