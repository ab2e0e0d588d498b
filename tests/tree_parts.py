"""Parts of a made registry: signers of notes, the same in every run, witnesses, batches, shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256

from registry.protocol.checkpoint import Checkpoint, cosign
from registry.protocol.index import IndexFile
from registry.protocol.keys import TemporaryExposureKey
from registry.protocol.manifest import Manifest
from registry.protocol.merkle import tree_root
from registry.protocol.note import KeyKind, Note, encode_note
from registry.protocol.trust import shard_origin
from tests.protocol.note_signers import MadeNoteSigner, ed25519_signer, ml_dsa_signer, witness_signer

ORIGIN = "registry.example/keys"
HOUR = 3600
DAY = 86_400
YEAR = 366 * DAY
NOTE_LIFE = 30 * DAY
INDEX_LIFE = DAY

Keys = Mapping[str, Sequence[TemporaryExposureKey]]


# ------------------------------------------------------------ who signs notes


def note_signer(name: str, kind: int, secret: str = "") -> MadeNoteSigner:
    """The signer of that name, the same in every run; another `secret` is another key under the name."""
    seed = sha256(f"{name} {kind} {secret}".encode()).digest()
    makers = {
        KeyKind.ED25519: ed25519_signer,
        KeyKind.COSIGNATURE_V1: witness_signer,
        KeyKind.ML_DSA_44: ml_dsa_signer,
    }
    return makers[KeyKind(kind)](name, seed)


@cache
def log_signers(year: int, secret: str = "", origin: str = ORIGIN) -> tuple[MadeNoteSigner, ...]:
    """The two keys of a year's shard."""
    name = shard_origin(origin, year)
    return tuple(note_signer(name, kind, secret) for kind in (KeyKind.ED25519, KeyKind.ML_DSA_44))


@dataclass
class MadeWitness:
    """Cosigns whatever goes on from what it cosigned before; `signer` is its one key.

    `latest` holds, by origin, the note that it cosigned last: what its monitoring address serves.
    """

    signer: MadeNoteSigner
    awake: bool = True
    latest: dict[str, tuple[Checkpoint, bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.signer.name

    def see(self, note: Note, checkpoint: Checkpoint, now: float) -> Note:
        """The note with this witness's line, or as it was if the witness sleeps."""
        if not self.awake:
            return note
        line = cosign(note, self.signer, now=now)
        own = [one for one in note.signatures if one.name.startswith(checkpoint.origin)]
        self.latest[checkpoint.origin] = (checkpoint, encode_note(Note(note.text, (*own, line))))
        return Note(note.text, (*note.signatures, line))

    def read(self, path: str) -> bytes | None:
        """What its monitoring address serves: `<hex SHA-256 of an origin>/checkpoint`."""
        for origin, (_, content) in self.latest.items():
            if path == f"{sha256(origin.encode()).hexdigest()}/checkpoint":
                return content
        return None


# ------------------------------------------------------------ what is kept of a batch


@dataclass
class MadeBatch:
    """A batch as its registry knows it."""

    region: str
    sequence: int
    start: int
    end: int
    files: tuple[IndexFile, ...]
    newest_key_end: int | None
    manifest: Manifest
    manifest_bytes: bytes
    receipts: tuple[bytes, ...]
    """Encoded receipts of real uploads."""
    seed: bytes
    withdrawn: bool = False


@dataclass
class MadeShard:
    """A year's log: entries, hashes, and the last checkpoint with all its lines."""

    year: int
    entries: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    size: int = 0
    """Of the last published checkpoint."""
    last_index: int | None = None
    note: bytes = b""

    def node(self, level: int, index: int) -> bytes:
        return tree_root(self.hashes[index << level : (index + 1) << level])
