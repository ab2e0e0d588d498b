"""aics-witness cosigns what our modules sign and prove, and refuses what it must, as specified."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from registry.protocol.checkpoint import Cosignature, cosignatures, open_checkpoint, sign_checkpoint
from registry.protocol.merkle import consistency_path
from registry.protocol.note import (
    Note,
    NoteSignature,
    VerifierKey,
    decode_signatures,
    encode_note,
    encode_signature,
    verifier_key,
)
from registry.protocol.witness_request import SIZE_TYPE, decode_size, encode_request
from tests.peer.peers import HttpAnswer, Peers, RunningWitness
from tests.peer.served_log import served
from tests.protocol.made_log import MadeLog
from tests.protocol.note_signers import ed25519_signer


def forked(log: MadeLog, size: int) -> MadeLog:
    """Another history under the same origin and keys."""
    fork = MadeLog(log.origin, log.signers)
    fork.append(b"another history %d" % number for number in range(size))
    return fork


def log_key(log: MadeLog) -> VerifierKey:
    """Its Ed25519 key, the only one that they verify."""
    return verifier_key(log.signers[0])


def submit(theirs: RunningWitness, log: MadeLog, old_size: int) -> HttpAnswer:
    """The log's head, with our proof that it goes on from `old_size`."""
    path = consistency_path(old_size, log.size, log.node())
    note = encode_note(log.checkpoint(now=time.time()))
    return theirs.add_checkpoint(encode_request(old_size, path, note))


def cosigned_by(theirs: RunningWitness, log: MadeLog, answer: HttpAnswer) -> Cosignature:
    """The cosignature in a witness's answer, verified."""
    assert answer.status == 200, answer
    note = Note(log.checkpoint(now=0).text, decode_signatures(answer.body.decode()))
    (found,) = cosignatures(note, log.head(), [theirs.key])
    return found


def test_it_cosigns_our_first_checkpoint(theirs: RunningWitness, log: MadeLog) -> None:
    before = int(time.time())
    cosignature = cosigned_by(theirs, log, submit(theirs, log, 0))
    assert cosignature.key == theirs.key
    assert before <= cosignature.time <= time.time()


def test_it_cosigns_our_growth_by_our_consistency_proof(theirs: RunningWitness, log: MadeLog) -> None:
    sizes = [log.size]
    cosigned_by(theirs, log, submit(theirs, log, 0))
    for count in (1, 211, 512, 5):
        log.append(b"more %d" % number for number in range(count))
        cosigned_by(theirs, log, submit(theirs, log, sizes[-1]))
        sizes.append(log.size)
    assert sizes == [300, 301, 512, 1024, 1029]


def test_it_gives_an_idle_log_a_fresh_time(theirs: RunningWitness, log: MadeLog) -> None:
    first = cosigned_by(theirs, log, submit(theirs, log, 0))
    again = cosigned_by(theirs, log, submit(theirs, log, log.size))
    assert again.time >= first.time


def test_it_names_the_size_from_which_to_prove(theirs: RunningWitness, log: MadeLog) -> None:
    submit(theirs, log, 0)
    log.append([b"more"])
    answer = submit(theirs, log, 0)
    assert (answer.status, answer.content_type) == (409, SIZE_TYPE)
    assert decode_size(answer.body) == 300
    cosigned_by(theirs, log, submit(theirs, log, decode_size(answer.body)))


def test_it_refuses_a_log_that_forks(theirs: RunningWitness, log: MadeLog) -> None:
    submit(theirs, log, 0)
    answer = submit(theirs, forked(log, 301), 300)
    assert answer.status == 422
    # And it goes on with the one that it has seen.
    log.append([b"more"])
    cosigned_by(theirs, log, submit(theirs, log, 300))


def test_it_refuses_another_root_of_the_size_that_it_cosigned(theirs: RunningWitness, log: MadeLog) -> None:
    submit(theirs, log, 0)
    answer = submit(theirs, forked(log, 300), 300)
    assert answer.status in (409, 422)
    assert answer.content_type != SIZE_TYPE, "there is no size from which this could be proven"


def test_it_refuses_a_log_that_shrinks(theirs: RunningWitness, log: MadeLog) -> None:
    submit(theirs, log, 0)
    older = MadeLog(log.origin, log.signers)
    older.append(log.entries[:299])
    answer = submit(theirs, older, 0)
    assert (answer.status, decode_size(answer.body)) == (409, 300)
    backwards = encode_request(300, [], encode_note(older.checkpoint(now=0)))
    assert theirs.add_checkpoint(backwards).status == 400


def test_it_refuses_a_proof_with_a_hash_changed(theirs: RunningWitness, log: MadeLog) -> None:
    submit(theirs, log, 0)
    log.append([b"more"])
    path = consistency_path(300, 301, log.node())
    note = encode_note(log.checkpoint(now=0))
    for wrong in ([*path[:-1], bytes(32)], path[:-1], [*path, bytes(32)], []):
        assert theirs.add_checkpoint(encode_request(300, wrong, note)).status == 422


def test_it_refuses_logs_and_keys_that_it_does_not_know(theirs: RunningWitness, log: MadeLog) -> None:
    stranger = ed25519_signer("stranger.example.org/log")
    unknown = encode_note(sign_checkpoint(replace(log.head(), origin=stranger.name), [stranger], now=0))
    assert theirs.add_checkpoint(encode_request(0, [], unknown)).status == 404
    forged = encode_note(sign_checkpoint(log.head(), [ed25519_signer(log.origin)], now=0))
    assert theirs.add_checkpoint(encode_request(0, [], forged)).status == 403
    good = log.checkpoint(now=0)
    line = good.signatures[0]
    bad = replace(line, signature=bytes(64))
    broken = encode_note(Note(good.text, (bad,)))
    assert theirs.add_checkpoint(encode_request(0, [], broken)).status == 403


def test_it_reads_our_requests_at_their_largest(theirs: RunningWitness, log: MadeLog) -> None:
    note = log.checkpoint(now=time.time())
    grease = NoteSignature("grease.invalid", b"\x00" * 4, b"\x01" * 2000)
    body = encode_request(0, [], encode_note(Note(note.text, (grease, *note.signatures))))
    assert len(body) > 6000
    assert theirs.add_checkpoint(body).status == 200


@pytest.mark.parametrize("body", [b"", b"garbage", b"old 00\n\n", b"old 0\n", b"old -1\n\nx"])
def test_it_refuses_what_is_no_request(theirs: RunningWitness, body: bytes) -> None:
    assert theirs.add_checkpoint(body).status == 400


def test_it_shows_monitors_what_it_cosigned(theirs: RunningWitness, log: MadeLog) -> None:
    assert theirs.last_cosigned(log.origin).status == 404
    cosigned = cosigned_by(theirs, log, submit(theirs, log, 0))
    shown = theirs.last_cosigned(log.origin)
    assert shown.status == 200
    note, head = open_checkpoint(shown.body, [log_key(log)])
    assert head == log.head()
    assert cosignatures(note, head, [theirs.key]) == [cosigned]


def test_it_remembers_over_a_restart(peers: Peers, tmp_path: Path, log: MadeLog) -> None:
    with peers.start_witness(tmp_path, log_key(log).vkey) as first:
        cosigned_by(first, log, submit(first, log, 0))
    log.append([b"more"])
    with peers.start_witness(tmp_path, log_key(log).vkey) as again:
        assert again.key == first.key
        assert submit(again, log, 0).status == 409
        cosigned_by(again, log, submit(again, log, 300))


def test_its_cosignature_counts_with_its_own_tools(
    peers: Peers, theirs: RunningWitness, log: MadeLog
) -> None:
    line = submit(theirs, log, 0).body.decode()
    content = encode_note(log.checkpoint(now=time.time())).decode() + line
    assert line == encode_signature(decode_signatures(line)[0])
    with served(log, {"checkpoint": content.encode()}) as url:
        answer = peers.verify_checkpoint(
            url,
            log_vkey=log_key(log).vkey,
            witness_vkeys=[theirs.vkey],
            quorum=1,
            max_age=600,
            origin=log.origin,
        )
    assert answer.ok, answer
