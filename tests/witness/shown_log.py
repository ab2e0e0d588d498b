"""A log that can be shown to a witness at any of its sizes, and can lie."""

from collections.abc import Sequence

from registry.protocol.checkpoint import Checkpoint, sign_checkpoint
from registry.protocol.merkle import consistency_path, root_at
from registry.protocol.note import Note, NoteSigner, encode_note
from registry.protocol.witness_request import encode_request
from tests.protocol.made_log import MadeLog
from tests.protocol.note_signers import MadeNoteSigner, ed25519_signer, ml_dsa_signer

ORIGIN = "registry.example/keys/2026"


def two_signers(origin: str = ORIGIN) -> tuple[MadeNoteSigner, MadeNoteSigner]:
    """What a registry's shard signs with."""
    return ed25519_signer(origin), ml_dsa_signer(origin)


class ShownLog:
    """Grows leaf by leaf, so that it has a checkpoint at every size.

    Two logs with the same signers and other `taste` are one log that shows two trees.
    """

    def __init__(
        self,
        size: int = 0,
        *,
        taste: str = "",
        origin: str = ORIGIN,
        signers: Sequence[NoteSigner] | None = None,
    ) -> None:
        self.signers = two_signers(origin) if signers is None else signers
        self._made = MadeLog(origin, self.signers)
        self._taste = taste
        self.grow(size)

    def grow(self, leaves: int) -> "ShownLog":
        for number in range(self._made.size, self._made.size + leaves):
            self._made.append([f"{self._taste}{number}".encode()])
        return self

    @property
    def origin(self) -> str:
        return self._made.origin

    @property
    def size(self) -> int:
        return self._made.size

    def forked(self, at: int, size: int, taste: str) -> "ShownLog":
        """The same log up to size `at`, and other leaves from there to `size`."""
        other = ShownLog(origin=self.origin, signers=self.signers)
        for entry in self._made.entries[:at]:
            other._made.append([entry])
        other._taste = taste
        return other.grow(size - at)

    def head(self, size: int | None = None) -> Checkpoint:
        size = self.size if size is None else size
        return Checkpoint(self.origin, size, root_at(size, self._made.node(size)))

    def note(self, size: int | None = None, now: float = 1.0) -> Note:
        return sign_checkpoint(self.head(size), self.signers, now=now)

    def prove(self, old: int, size: int | None = None) -> list[bytes]:
        size = self.size if size is None else size
        return consistency_path(old, size, self._made.node(size))

    def request(self, old: int, size: int | None = None) -> bytes:
        """The body of add-checkpoint, as an honest client sends it."""
        return encode_request(old, self.prove(old, size), encode_note(self.note(size)))
