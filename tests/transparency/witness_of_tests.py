"""Witnesses in this process that keep to C2SP tlog-witness, and can be told to misbehave."""

from collections.abc import Callable
from typing import Any

from registry.errors import FetchFailed, WrongProof
from registry.protocol.checkpoint import Checkpoint, cosign, decode_checkpoint
from registry.protocol.encoding import decode_base64
from registry.protocol.merkle import check_consistency
from registry.protocol.note import KeyKind, decode_note, encode_signature, verifier_key
from registry.protocol.witness_policy import PolicyGroup, PolicyWitness, WitnessPolicy
from registry.transparency.witnesses import WitnessAnswer
from tests.clock import FakeClock
from tests.publishing import NoteKey

SIZE_TYPE = "text/x.tlog.size"


class FakeWitness:
    """One witness. Remembers the newest checkpoint of each log; `is_down` gives no answer at all."""

    def __init__(self, name: str, clock: FakeClock, kind: int = KeyKind.COSIGNATURE_V1) -> None:
        self.name = name
        self.key = NoteKey(f"{name}.example/witness", kind)
        self.clock = clock
        self.held: dict[str, Checkpoint] = {}
        self.is_down = False
        self.asked = 0

    @property
    def url(self) -> str:
        return f"https://{self.name}.example"

    def answer(self, body: bytes) -> WitnessAnswer:
        head, _, note_bytes = body.partition(b"\n\n")
        old, *hashes = head.decode().split("\n")
        note = decode_note(note_bytes)
        checkpoint = decode_checkpoint(note.text)
        held = self.held.get(checkpoint.origin)
        size = held.size if held else 0
        if int(old.removeprefix("old ")) != size:
            return WitnessAnswer(409, SIZE_TYPE, f"{size}\n".encode())
        try:
            if held is not None:
                check_consistency(
                    old_size=held.size,
                    old_root=held.root,
                    new_size=checkpoint.size,
                    new_root=checkpoint.root,
                    path=[decode_base64(one) for one in hashes],
                )
        except WrongProof:
            return WitnessAnswer(422, "text/plain", b"")
        self.held[checkpoint.origin] = checkpoint
        line = cosign(note, self.key, now=self.clock())
        return WitnessAnswer(200, "text/plain", encode_signature(line).encode())


class Witnesses:
    """Some witnesses, the policy that names them, and the way to them."""

    def __init__(self, clock: FakeClock, *names: str, quorum: int) -> None:
        self.by_name = {name: FakeWitness(name, clock) for name in names}
        self.quorum = quorum
        self.spoil: Callable[[], None] | None = None
        """Called before each answer."""

    def __getitem__(self, name: str) -> FakeWitness:
        return self.by_name[name]

    @property
    def policy(self) -> WitnessPolicy:
        listed = tuple(
            PolicyWitness(name, verifier_key(one.key), one.url) for name, one in self.by_name.items()
        )
        group = PolicyGroup("all", self.quorum, tuple(self.by_name))
        return WitnessPolicy((), listed, (group,), "all")

    def send(self, url: str, body: bytes) -> WitnessAnswer:
        (witness,) = (one for one in self.by_name.values() if url == f"{one.url}/add-checkpoint")
        witness.asked += 1
        if witness.is_down:
            raise FetchFailed(f"{url}: no answer")
        if self.spoil is not None:
            self.spoil()
        return witness.answer(body)

    def settings(self) -> dict[str, Any]:
        """What a `TransparencyLog` needs of them."""
        return {"policy": self.policy, "send": self.send}
