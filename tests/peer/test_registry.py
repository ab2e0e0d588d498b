"""A registry as its user starts it, witnessed by their witness and read by their reader, over HTTP alone."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.protocol.checkpoint import Checkpoint, cosignatures, decode_checkpoint, open_checkpoint
from registry.protocol.leaves import IndexLeaf, decode_leaf
from registry.protocol.merkle import leaf_hash
from registry.protocol.note import KeyKind, VerifierKey, decode_note
from registry.protocol.tiles import Tile, decode_bundle, tile_path
from registry.protocol.witness_policy import decode_policy
from tests.peer.peers import Peers, RunningWitness
from tests.running import Running

PATIENCE_SECONDS = 120.0
MAX_AGE = 600


class WitnessedRegistry:
    """A demonstration whose windows last a second, so that its log grows while one looks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running = Running(folder / "var", REGISTRY_WINDOW_SECONDS="1")

    @property
    def log_keys(self) -> list[VerifierKey]:
        """The Ed25519 keys in the published policy: this year's and next year's."""
        policy = decode_policy(self.running.get("/log/policy"))
        return [log.key for log in policy.logs if log.key.kind == KeyKind.ED25519]

    def restart_under(self, witness: RunningWitness) -> None:
        """With a policy that asks for this witness."""
        self.running.stop()
        policy = self.folder / "policy"
        policy.write_text(f"witness theirs {witness.vkey} {witness.url}\nquorum theirs\n")
        self.running.environment["REGISTRY_WITNESS_POLICY_FILE"] = str(policy)
        self.running.start()

    @property
    def tiles(self) -> str:
        return f"http://127.0.0.1:{self.running.port}/log/"

    def head(self) -> Checkpoint:
        return decode_checkpoint(decode_note(self.running.get("/log/checkpoint")).text)

    def key_of(self, head: Checkpoint) -> VerifierKey:
        return next(key for key in self.log_keys if key.name == head.origin)

    def is_cosigned(self, witness: RunningWitness) -> bool:
        note = decode_note(self.running.get("/log/checkpoint"))
        return bool(cosignatures(note, decode_checkpoint(note.text), [witness.key]))


@pytest.fixture(scope="module")
def witnessed(
    peers: Peers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WitnessedRegistry, RunningWitness]]:
    folder = tmp_path_factory.mktemp("witnessed")
    registry = WitnessedRegistry(folder)
    try:
        registry.running.start()
        registry.running.wait_until(lambda: registry.head().size > 0, PATIENCE_SECONDS)
        vkeys = [key.vkey for key in registry.log_keys]
        assert len(vkeys) == 2
        with peers.start_witness(folder, *vkeys) as witness:
            registry.restart_under(witness)
            registry.running.wait_until(lambda: registry.is_cosigned(witness), PATIENCE_SECONDS)
            yield registry, witness
    finally:
        if registry.running.process is not None and registry.running.process.poll() is None:
            registry.running.stop()


def test_their_reader_verifies_the_served_log_with_their_witness_s_word(
    peers: Peers, witnessed: tuple[WitnessedRegistry, RunningWitness]
) -> None:
    registry, witness = witnessed
    head = registry.head()
    answer = peers.verify_checkpoint(
        registry.tiles,
        log_vkey=registry.key_of(head).vkey,
        witness_vkeys=[witness.vkey],
        quorum=1,
        max_age=MAX_AGE,
        origin=head.origin,
    )
    assert answer.ok, answer
    assert answer.said["size"] >= head.size


def test_their_reader_proves_the_leaves_that_are_served(
    peers: Peers, witnessed: tuple[WitnessedRegistry, RunningWitness]
) -> None:
    registry, _ = witnessed
    head = registry.head()
    vkey = registry.key_of(head).vkey
    year = head.origin.rpartition("/")[2]
    width = min(head.size, 256)
    bundle = registry.running.get(f"/log/{year}/{tile_path(Tile(None, 0, width))}")
    entries = decode_bundle(bundle, width)
    for index in {0, 1, width // 2, width - 1}:
        tiles = f"{registry.tiles}{year}/"
        assert peers.verify_inclusion(
            tiles, log_vkey=vkey, index=index, leaf_hash=leaf_hash(entries[index])
        ).ok
    if head.size == width:
        assert isinstance(decode_leaf(entries[-1]), IndexLeaf)


def test_the_log_goes_on_growing_under_their_eyes(
    peers: Peers, witnessed: tuple[WitnessedRegistry, RunningWitness], tmp_path: Path
) -> None:
    registry, witness = witnessed
    seen = tmp_path / "seen"
    seen.write_bytes(registry.running.get("/log/checkpoint"))
    old = registry.head()
    registry.running.wait_until(lambda: registry.head().size > old.size, PATIENCE_SECONDS)
    vkey = registry.key_of(old).vkey
    assert peers.verify_consistency(registry.tiles, log_vkey=vkey, old_checkpoint=seen).ok
    # Nothing is served that the witness has not seen: the quorum comes first.
    assert registry.is_cosigned(witness)
    served = registry.head()
    _, cosigned = open_checkpoint(witness.last_cosigned(old.origin).body, [registry.key_of(old)])
    assert cosigned.size >= served.size > old.size


def test_the_trust_material_names_the_witness(
    witnessed: tuple[WitnessedRegistry, RunningWitness],
) -> None:
    registry, witness = witnessed
    trust = json.loads(registry.running.get("/.well-known/exposure-registry.json"))
    policy = decode_policy(trust["witness_policy"].encode())
    assert [one.key for one in policy.counted()] == [witness.key]
    assert policy == decode_policy(registry.running.get("/log/policy"))
