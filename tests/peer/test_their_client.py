"""Their client asks our witness, as other authorities' logs do. (Ours with theirs: `test_our_client.py`.)"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from werkzeug.serving import make_server

from registry.faces.witness import WitnessFace, create_witness_app
from registry.protocol.checkpoint import cosignatures
from registry.protocol.merkle import consistency_path
from registry.protocol.note import Note, decode_signatures, encode_note, verifier_key
from registry.witness.beginning import begin_witness
from registry.witness.cosigner import Witness
from tests.peer.peers import Peers, RunningWitness
from tests.protocol.made_log import MadeLog
from tests.protocol.note_signers import ed25519_signer, ml_dsa_signer, witness_signer

NAME = "witness.example.org/ours"


def another(log: MadeLog, size: int, taste: bytes = b"leaf") -> MadeLog:
    """A log under the same origin and keys, of `size` leaves. By its taste it is the same log or another."""
    made = MadeLog(log.origin, log.signers)
    made.append(b"%s %d" % (taste, number) for number in range(size))
    return made


@pytest.fixture
def ours(log: MadeLog, tmp_path: Path) -> Witness:
    """Our witness, which knows the log by its Ed25519 key."""
    signers = (witness_signer(NAME), ml_dsa_signer(NAME))
    witness = begin_witness(tmp_path / "ours.sqlite", NAME, has_keys=False, make_keys=lambda: signers)
    witness.add_log(verifier_key(log.signers[0]))
    return witness


@contextmanager
def at_work(witness: Witness) -> Iterator[str]:
    """The witness behind its face on a loopback port; yields its prefix."""
    app = create_witness_app(WitnessFace(lambda: witness, time.time))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/witness"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_their_client_is_cosigned_by_our_witness(
    peers: Peers, ours: Witness, log: MadeLog, tmp_path: Path
) -> None:
    ed25519 = ours.keys[0]
    with at_work(ours) as url:
        for step in (0, 1, 300, 0):  # from nothing, two growths, a heartbeat
            old = log.size
            log.append(b"more %d" % number for number in range(step))
            note = log.checkpoint(now=time.time())
            said = peers.submit(
                url,
                vkey=ed25519.vkey,
                state=tmp_path / "client.json",
                note=encode_note(note),
                proofs={old: consistency_path(old, log.size, log.node())},
            )
            lines = decode_signatures(said["lines"])
            (found,) = cosignatures(Note(note.text, lines), log.head(), [ed25519])
            assert abs(found.time - time.time()) < 60


def test_their_client_finds_out_where_our_witness_stands(
    peers: Peers, ours: Witness, log: MadeLog, tmp_path: Path
) -> None:
    def submit(made: MadeLog, state: str) -> dict[str, object]:
        known = [old for old in (300, 301) if old <= made.size]
        proofs = {old: consistency_path(old, made.size, made.node()) for old in known}
        note = encode_note(made.checkpoint(now=time.time()))
        return peers.submit(url, vkey=ours.keys[0].vkey, state=tmp_path / state, note=note, proofs=proofs)

    with at_work(ours) as url:
        assert "lines" in submit(log, "a")
        log.append([b"more"])
        assert "lines" in submit(log, "new client"), "it began from 0, and was told the size"
        # A log that forks, one that forks at the size cosigned, and one restored from an old backup.
        assert submit(another(log, 400, b"other"), "a") == {"error": "WitnessRejected", "status": 422}
        assert submit(another(log, 301, b"other"), "a") == {"error": "WitnessRejected", "status": 422}
        assert submit(another(log, 200), "a") == {"error": "WitnessAhead", "status": None}
        stranger = MadeLog("stranger.example.org/log", [ed25519_signer("stranger.example.org/log")])
        stranger.append([b"leaf"])
        assert submit(stranger, "b") == {"error": "WitnessRejected", "status": 404}
        assert "lines" in submit(log, "a"), "it goes on with the log that it knows"


def test_their_reader_reads_what_our_witness_shows_to_monitors(
    peers: Peers, ours: Witness, log: MadeLog, tmp_path: Path
) -> None:
    proofs: dict[int, list[bytes]] = {}
    with at_work(ours) as url:
        note = encode_note(log.checkpoint(now=time.time()))
        peers.submit(url, vkey=ours.keys[0].vkey, state=tmp_path / "a", note=note, proofs=proofs)
        shown = RunningWitness(url, ours.keys[0]).last_cosigned(log.origin)
    assert shown.status == 200
    (tmp_path / "shown").write_bytes(shown.body)
    done = peers.run(
        *("-m", "aics_tlog", "verify-checkpoint", "--note", str(tmp_path / "shown")),
        *("--log-key", verifier_key(log.signers[0]).vkey, "--witness-key", ours.keys[0].vkey),
        *("--quorum", "1", "--max-age", "600"),
    )
    assert done.returncode == 0, done.stdout
