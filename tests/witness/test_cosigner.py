"""The witness's rules: what is cosigned, what is refused and why, what is kept of it."""

from pathlib import Path

import pytest

from registry.errors import Malformed, Unavailable
from registry.protocol.checkpoint import Checkpoint, cosignatures, decode_checkpoint, sign_checkpoint
from registry.protocol.encoding import encode_base64
from registry.protocol.merkle import EMPTY_ROOT
from registry.protocol.note import (
    Note,
    NoteSignature,
    decode_note,
    decode_signatures,
    encode_note,
    sign_text,
    verifier_key,
)
from registry.protocol.witness_request import MAX_READ_BYTES, encode_request, origin_hash
from registry.witness.cosigner import CLOCK_STEP_SECONDS, Witness
from registry.witness.refusals import (
    ImpossibleSize,
    Inconsistent,
    NotTheLogs,
    OtherSize,
    UnknownLog,
)
from registry.witness.state import MAX_EVIDENCE, EvidenceKind
from tests.clock import NOON_OF_JUNE_15 as NOON
from tests.protocol.note_signers import MadeNoteSigner, ed25519_signer, ml_dsa_signer, witness_signer
from tests.witness.conftest import NAME
from tests.witness.shown_log import ORIGIN, ShownLog

# ------------------------------------------------------------- what is cosigned


def test_a_first_checkpoint_is_cosigned_by_both_keys_with_the_time(witness: Witness, log: ShownLog) -> None:
    lines = decode_signatures(witness.add_checkpoint(log.request(0, 7), NOON))

    note = Note(log.note(7).text, lines)
    found = cosignatures(note, log.head(7), witness.keys)
    assert [(cosignature.key, cosignature.time) for cosignature in found] == [
        (key, int(NOON)) for key in witness.keys
    ]


def test_a_log_grows_by_proofs_and_stays_by_heartbeats(witness: Witness, log: ShownLog) -> None:
    held = 0
    for size in (1, 1, 2, 8, 8, 9, 16, 17, 20):
        witness.add_checkpoint(log.request(held, size), NOON)
        held = size
    assert [head.size for _, head in witness.logs() if head] == [20]


def test_a_heartbeat_brings_a_fresh_time(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0), NOON)
    again = decode_signatures(witness.add_checkpoint(log.request(20), NOON + 600))

    times = [c.time for c in cosignatures(Note(log.note().text, again), log.head(), witness.keys)]
    assert times == [int(NOON) + 600] * 2


def test_monitors_see_what_was_cosigned_last(witness: Witness, log: ShownLog) -> None:
    digest = origin_hash(ORIGIN)
    assert witness.last_cosigned(digest) is None

    for old, size in ((0, 5), (5, 12)):
        witness.add_checkpoint(log.request(old, size), NOON)

    note = decode_note(witness.last_cosigned(digest) or b"")
    assert decode_checkpoint(note.text) == log.head(12)
    log_keys = [verifier_key(signer) for signer in log.signers]
    assert len(cosignatures(note, log.head(12), [*log_keys, *witness.keys])) == 4


def test_lines_of_strangers_are_neither_believed_nor_kept(witness: Witness, log: ShownLog) -> None:
    stranger = sign_text(log.note(5).text, ed25519_signer("elsewhere.example"))
    own = log.note(5)
    note = Note(own.text, (stranger, *own.signatures))

    witness.add_checkpoint(encode_request(0, [], encode_note(note)), NOON)

    assert stranger not in decode_note(witness.last_cosigned(origin_hash(ORIGIN)) or b"").signatures


def test_one_of_the_logs_keys_is_enough(witness: Witness, log: ShownLog) -> None:
    for old, size, signer in ((0, 3, log.signers[0]), (3, 4, log.signers[1])):
        note = sign_checkpoint(log.head(size), [signer], now=NOON)
        witness.add_checkpoint(encode_request(old, log.prove(old, size), encode_note(note)), NOON)


def test_a_log_whose_key_has_another_name_is_known_by_its_origin(witness: Witness) -> None:
    signer = ed25519_signer("key.example/a")
    other = ShownLog(3, origin="log.example/b", signers=())
    witness.add_log(signer.key, "log.example/b", "mailto:b@log.example")
    text = other_text(other.head())

    witness.add_checkpoint(encode_request(0, [], encode_note(Note(text, (sign_text(text, signer),)))), NOON)

    assert ("log.example/b", "mailto:b@log.example") in [
        (known.origin, known.contact) for known, head in witness.logs() if head
    ]


def other_text(checkpoint: Checkpoint) -> str:
    return sign_checkpoint(checkpoint, [ed25519_signer(checkpoint.origin)], now=1).text


def test_the_empty_tree_has_one_root(witness: Witness, log: ShownLog) -> None:
    text = f"{ORIGIN}\n0\n{encode_base64(bytes(32))}\n"
    wrong = Note(text, (sign_text(text, log.signers[0]),))
    with pytest.raises(Malformed, match="empty tree"):
        witness.add_checkpoint(encode_request(0, [], encode_note(wrong)), NOON)

    assert log.head(0).root == EMPTY_ROOT
    witness.add_checkpoint(log.request(0, 0), NOON)
    witness.add_checkpoint(log.request(0, 0), NOON)
    witness.add_checkpoint(log.request(0, 1), NOON)


# -------------------------------------------------------------- what is refused


def test_an_unknown_origin_is_refused(witness: Witness) -> None:
    with pytest.raises(UnknownLog):
        witness.add_checkpoint(ShownLog(3, origin="other.example/2026").request(0), NOON)


def test_a_removed_log_is_unknown_and_goes_on_when_it_is_back(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 5), NOON)
    assert witness.remove_log(ORIGIN)
    assert not witness.remove_log(ORIGIN)
    with pytest.raises(UnknownLog):
        witness.add_checkpoint(log.request(5, 6), NOON)

    witness.add_log(verifier_key(log.signers[0]))

    fork = log.forked(4, 8, "other")
    with pytest.raises(OtherSize):
        witness.add_checkpoint(fork.request(0), NOON)
    witness.add_checkpoint(log.request(5, 6), NOON)


def test_anothers_signature_is_none(witness: Witness, log: ShownLog) -> None:
    for signers in ([ed25519_signer(ORIGIN)], [ml_dsa_signer(ORIGIN)], [witness_signer(ORIGIN)]):
        note = Note(log.note(5).text, sign_for(log.head(5), signers))
        with pytest.raises(NotTheLogs):
            witness.add_checkpoint(encode_request(0, [], encode_note(note)), NOON)


def sign_for(checkpoint: Checkpoint, signers: list[MadeNoteSigner]) -> tuple[NoteSignature, ...]:
    return sign_checkpoint(checkpoint, signers, now=NOON).signatures


def test_a_wrong_line_of_a_known_key_condemns_the_note(witness: Witness, log: ShownLog) -> None:
    good, other = log.note(5), log.note(6)
    note = Note(good.text, (good.signatures[1], other.signatures[0]))
    with pytest.raises(NotTheLogs):
        witness.add_checkpoint(encode_request(0, [], encode_note(note)), NOON)


def test_an_old_size_beyond_the_checkpoint_is_impossible(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 9), NOON)
    body = encode_request(9, [], encode_note(log.note(5)))
    with pytest.raises(ImpossibleSize):
        witness.add_checkpoint(body, NOON)


@pytest.mark.parametrize("old", [0, 4, 6])
def test_another_old_size_is_answered_with_ours(witness: Witness, log: ShownLog, old: int) -> None:
    witness.add_checkpoint(log.request(0, 5), NOON)
    with pytest.raises(OtherSize) as refusal:
        witness.add_checkpoint(log.request(old, 9), NOON)
    assert refusal.value.held == 5


def test_a_first_checkpoint_cannot_begin_anywhere_else(witness: Witness, log: ShownLog) -> None:
    with pytest.raises(OtherSize) as refusal:
        witness.add_checkpoint(log.request(3, 9), NOON)
    assert refusal.value.held == 0


def test_nothing_is_proven_from_nothing(witness: Witness, log: ShownLog) -> None:
    with pytest.raises(Inconsistent, match="empty"):
        witness.add_checkpoint(encode_request(0, [bytes(32)], encode_note(log.note(5))), NOON)


def test_a_fork_is_refused_however_it_is_dressed(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 8), NOON)
    fork = log.forked(6, 12, "other")
    proofs: dict[str, tuple[int, list[bytes]]] = {
        "its own proof": (12, fork.prove(8)),
        "the honest tree's proof": (12, log.prove(8, 12)),
        "no proof": (12, []),
        "a long proof": (12, [bytes(32)] * 63),
        "the same size": (8, []),
        "the same size with a proof": (8, [bytes(32)]),
    }
    for size, path in proofs.values():
        with pytest.raises(Inconsistent):
            witness.add_checkpoint(encode_request(8, path, encode_note(fork.note(size))), NOON)
    witness.add_checkpoint(log.request(8, 12), NOON)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n\n",
        b"old 0\n\nno note at all\n",
        b"\xff\n\n",
        b"x" * (MAX_READ_BYTES + 1),
    ],
)
def test_what_is_no_request_is_malformed(witness: Witness, body: bytes) -> None:
    with pytest.raises(Malformed):
        witness.add_checkpoint(body, NOON)


# ---------------------------------------------------------------- evidence


def test_two_roots_for_one_size_are_kept_as_evidence(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 8), NOON)
    fork = log.forked(6, 8, "other")
    body = encode_request(8, [], encode_note(fork.note(8)))
    for later in (5, 10, 15):
        with pytest.raises(Inconsistent):
            witness.add_checkpoint(body, NOON + later)

    [evidence] = witness.evidence()
    assert (evidence.origin, evidence.kind, evidence.time) == (ORIGIN, EvidenceKind.FORK, int(NOON) + 5)
    assert evidence.request == body
    assert_convicts(evidence.held or b"", evidence.request.partition(b"\n\n")[2], log)


def test_a_fork_of_an_older_size_is_evidence_too(witness: Witness, log: ShownLog) -> None:
    """The witness has moved on, the log shows it another tree of a size that it cosigned long ago."""
    for old, size in ((0, 8), (8, 15)):
        witness.add_checkpoint(log.request(old, size), NOON)
    with pytest.raises(OtherSize):
        witness.add_checkpoint(log.forked(6, 8, "other").request(0), NOON)

    [evidence] = witness.evidence()
    assert evidence.kind is EvidenceKind.FORK
    assert_convicts(evidence.held or b"", evidence.request.partition(b"\n\n")[2], log)


def assert_convicts(first: bytes, second: bytes, log: ShownLog) -> None:
    """Two notes, both signed by the log, give one size two roots: no word of the witness is needed."""
    keys = [verifier_key(signer) for signer in log.signers]
    heads = []
    for content in (first, second):
        note = decode_note(content)
        heads.append(decode_checkpoint(note.text))
        assert cosignatures(note, heads[-1], keys)
    assert heads[0].size == heads[1].size
    assert heads[0].root != heads[1].root


def test_a_proof_that_does_not_hold_is_kept_as_a_doubt(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 8), NOON)
    with pytest.raises(Inconsistent):
        witness.add_checkpoint(encode_request(8, [bytes(32)], encode_note(log.note(12))), NOON)
    assert [one.kind for one in witness.evidence()] == [EvidenceKind.UNPROVEN]


def test_honest_mistakes_and_strangers_leave_nothing(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 8), NOON)
    stranger = ShownLog(9, taste="other", signers=[ed25519_signer(ORIGIN)])
    for body in (log.request(0, 9), log.request(4, 8), stranger.request(0), b"old 0\n\nx\n"):
        with pytest.raises((OtherSize, NotTheLogs, Malformed)):
            witness.add_checkpoint(body, NOON)
    assert witness.evidence() == []


def test_evidence_does_not_fill_the_disk(
    witness: Witness, log: ShownLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_EVIDENCE >= 100
    monkeypatch.setattr("registry.witness.state.MAX_EVIDENCE", 3)
    witness.add_checkpoint(log.request(0, 8), NOON)
    for taste in "abcde":
        with pytest.raises(Inconsistent):
            witness.add_checkpoint(log.forked(6, 8, taste).request(8), NOON)
    assert len(witness.evidence()) == 3


# -------------------------------------------------------------------- time


def test_cosigned_times_never_go_back(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 5), NOON)
    lines = decode_signatures(witness.add_checkpoint(log.request(5, 6), NOON - CLOCK_STEP_SECONDS))
    found = cosignatures(Note(log.note(6).text, lines), log.head(6), witness.keys)
    assert {cosignature.time for cosignature in found} == {int(NOON)}


def test_a_clock_that_went_far_back_stops_the_witness(witness: Witness, log: ShownLog) -> None:
    witness.add_checkpoint(log.request(0, 5), NOON)
    with pytest.raises(Unavailable, match="clock"):
        witness.add_checkpoint(log.request(5, 6), NOON - CLOCK_STEP_SECONDS - 1)
    assert [head.size for _, head in witness.logs() if head] == [5]


# -------------------------------------------------------------------- keys


def test_the_witnesss_own_key_is_no_logs_key(witness: Witness, signers: tuple[MadeNoteSigner, ...]) -> None:
    twin = MadeNoteSigner("log.example", 1, signers[0].public_key, signers[0].sign_raw)
    for key in (twin.key, signers[1].key):
        with pytest.raises(Malformed, match="own key"):
            witness.add_log(key)


def test_a_witness_key_is_no_logs_key(witness: Witness) -> None:
    with pytest.raises(Malformed, match="not a log's"):
        witness.add_log(witness_signer("w2.example").key)


@pytest.mark.parametrize("origin", ["a" * 256, "two\nlines", "tab\there"])
def test_an_origin_that_no_checkpoint_could_have_is_refused(witness: Witness, origin: str) -> None:
    with pytest.raises(Malformed, match="origin"):
        witness.add_log(ed25519_signer("log.example").key, origin)


def test_a_machine_that_signs_wrongly_lets_nothing_out(path: Path, witness: Witness, log: ShownLog) -> None:
    good = witness_signer(NAME)
    _ = witness

    faulty = MadeNoteSigner(NAME, good.kind, good.public_key, lambda message: bytes(64))
    broken = object.__new__(Witness)
    broken._path, broken._signers, broken.keys = path, (faulty,), (faulty.key,)
    with pytest.raises(Exception, match="does not verify"):
        broken.add_checkpoint(log.request(0, 5), NOON)
    assert [head for _, head in witness.logs()] == [None]
