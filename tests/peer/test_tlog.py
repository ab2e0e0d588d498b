"""aics-tlog reads the logs that our modules lay out: checkpoints, tiles, bundles and proofs."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry.protocol.checkpoint import cosign
from registry.protocol.merkle import leaf_hash
from registry.protocol.note import Note, NoteSignature, encode_note
from tests.peer.peers import Peers
from tests.peer.served_log import served
from tests.protocol.made_log import MadeLog
from tests.protocol.note_signers import (
    MadeNoteSigner,
    ed25519_signer,
    ml_dsa_signer,
    witness_signer,
)

ORIGIN = "registry.example.org/keys/2026"
GREASE = NoteSignature("grease.invalid/\u2603", b"\xde\xad\xbe\xef", b"\x00" * 100)


@dataclass
class Published:
    """A log of 600 leaves, with its newest checkpoint, behind HTTP."""

    signer: MadeNoteSigner = field(default_factory=lambda: ed25519_signer(ORIGIN))
    checkpoints: dict[str, bytes] = field(default_factory=dict)
    log: MadeLog = field(init=False)
    url: str = ""

    def __post_init__(self) -> None:
        self.log = MadeLog(ORIGIN, [self.signer, ml_dsa_signer(ORIGIN)])
        self.grow(600)

    def grow(self, count: int) -> None:
        begin = self.log.size
        self.log.append(b'{"type":"activity","number":%d}' % n for n in range(begin, begin + count))
        self.publish(self.log.checkpoint(now=time.time()))

    def publish(self, note: Note) -> None:
        self.checkpoints["checkpoint"] = encode_note(note)


@pytest.fixture
def published() -> Iterator[Published]:
    made = Published()
    with served(made.log, made.checkpoints) as made.url:
        yield made


def test_it_verifies_our_checkpoint_and_the_tiles_under_it(peers: Peers, published: Published) -> None:
    answer = peers.verify_checkpoint(published.url, log_vkey=published.signer.key.vkey, origin=ORIGIN)
    assert answer.ok, answer
    assert (answer.said["size"], answer.said["tiles_ok"]) == (600, True)


def test_it_passes_over_ml_dsa_and_grease_lines_as_we_do(peers: Peers, published: Published) -> None:
    note = published.log.checkpoint(now=time.time())
    assert len(note.signatures) == 2
    published.publish(Note(note.text, (GREASE, *note.signatures, GREASE)))
    assert peers.verify_checkpoint(published.url, log_vkey=published.signer.key.vkey).ok


def test_it_counts_our_cosignatures_toward_a_quorum(peers: Peers, published: Published) -> None:
    witnesses = [witness_signer(f"witness.example.org/{number}") for number in range(3)]
    note = published.log.checkpoint(now=time.time())
    lines = [cosign(note, witness, now=time.time()) for witness in witnesses]
    vkeys = [witness.key.vkey for witness in witnesses]

    def verify(count: int, quorum: int) -> bool:
        published.publish(Note(note.text, (*note.signatures, *lines[:count])))
        return peers.verify_checkpoint(
            published.url,
            log_vkey=published.signer.key.vkey,
            witness_vkeys=vkeys,
            quorum=quorum,
            max_age=3600,
        ).ok

    assert verify(3, 3)
    assert verify(2, 2)
    assert not verify(2, 3)


def test_it_finds_an_old_cosignature_too_old(peers: Peers, published: Published) -> None:
    witness = witness_signer("witness.example.org/1")
    note = published.log.checkpoint(now=time.time())
    published.publish(Note(note.text, (*note.signatures, cosign(note, witness, now=time.time() - 7200))))
    asked = {
        "log_vkey": published.signer.key.vkey,
        "witness_vkeys": [witness.key.vkey],
        "quorum": 1,
    }
    assert not peers.verify_checkpoint(published.url, max_age=3600, **asked).ok  # type: ignore[arg-type]
    assert peers.verify_checkpoint(published.url, max_age=10_800, **asked).ok  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [0, 255, 256, 511, 512, 599])
def test_it_proves_our_leaves_from_our_bundles(peers: Peers, published: Published, index: int) -> None:
    vkey = published.signer.key.vkey
    assert peers.verify_inclusion(published.url, log_vkey=vkey, index=index).ok
    of_it = leaf_hash(published.log.entries[index])
    assert peers.verify_inclusion(published.url, log_vkey=vkey, index=index, leaf_hash=of_it).ok
    other = leaf_hash(b"another entry")
    assert not peers.verify_inclusion(published.url, log_vkey=vkey, index=index, leaf_hash=other).ok


def test_it_follows_our_growth(peers: Peers, published: Published, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.write_bytes(published.checkpoints["checkpoint"])
    published.grow(700)
    vkey = published.signer.key.vkey
    assert peers.verify_consistency(published.url, log_vkey=vkey, old_checkpoint=seen).ok


def test_it_notices_a_log_that_did_not_grow_from_what_it_saw(
    peers: Peers, published: Published, tmp_path: Path
) -> None:
    other = MadeLog(ORIGIN, [published.signer])
    other.append(b"another history %d" % number for number in range(500))
    seen = tmp_path / "seen"
    seen.write_bytes(encode_note(other.checkpoint(now=time.time())))
    vkey = published.signer.key.vkey
    assert not peers.verify_consistency(published.url, log_vkey=vkey, old_checkpoint=seen).ok


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2"])
def test_it_notices_one_flipped_byte_in_a_tile(peers: Peers, published: Published, path: str) -> None:
    content = bytearray(published.log.files[path])
    content[5] ^= 1
    published.log.files[path] = bytes(content)
    vkey = published.signer.key.vkey
    if path == "tile/0/000":  # not on the right edge: the root needs it not, its leaves do
        assert not peers.verify_inclusion(published.url, log_vkey=vkey, index=17).ok
    else:
        assert not peers.verify_checkpoint(published.url, log_vkey=vkey).ok


def test_it_notices_one_flipped_byte_in_a_bundle(peers: Peers, published: Published) -> None:
    content = bytearray(published.log.files["tile/entries/001"])
    content[5] ^= 1
    published.log.files["tile/entries/001"] = bytes(content)
    vkey = published.signer.key.vkey
    assert not peers.verify_inclusion(published.url, log_vkey=vkey, index=256).ok


def test_it_refuses_another_key_and_a_changed_checkpoint(peers: Peers, published: Published) -> None:
    assert not peers.verify_checkpoint(published.url, log_vkey=ed25519_signer(ORIGIN).key.vkey).ok
    published.checkpoints["checkpoint"] = published.checkpoints["checkpoint"].replace(b"\n600\n", b"\n599\n")
    assert not peers.verify_checkpoint(published.url, log_vkey=published.signer.key.vkey).ok


def test_it_reads_an_empty_log_and_one_of_a_single_leaf(peers: Peers, published: Published) -> None:
    log, checkpoints = MadeLog(ORIGIN, [published.signer]), {}
    checkpoints["checkpoint"] = encode_note(log.checkpoint(now=0))
    with served(log, checkpoints) as url:
        assert peers.verify_checkpoint(url, log_vkey=published.signer.key.vkey).ok
        log.append([b"one"])
        checkpoints["checkpoint"] = encode_note(log.checkpoint(now=0))
        assert peers.verify_checkpoint(url, log_vkey=published.signer.key.vkey).ok
        assert peers.verify_inclusion(url, log_vkey=published.signer.key.vkey, index=0).ok
