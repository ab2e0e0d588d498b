"""Checkpoints: one spelling, signed by the log for its own origin alone, cosigned with a time."""

import struct
from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

import pytest
from dilithium_py.ml_dsa import ML_DSA_44
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import BadSignature, Malformed, UntrustedKey
from registry.protocol.checkpoint import (
    MAX_TIME,
    Checkpoint,
    Cosignature,
    cosign,
    cosignatures,
    decode_checkpoint,
    encode_checkpoint,
    open_checkpoint,
    sign_checkpoint,
)
from registry.protocol.merkle import EMPTY_ROOT, MAX_SIZE, leaf_hash
from registry.protocol.note import (
    KeyKind,
    Note,
    NoteSignature,
    VerifierKey,
    decode_note,
    decode_vkey,
    encode_note,
    sign_text,
)
from tests.protocol.log_vectors import load
from tests.protocol.note_signers import (
    MadeNoteSigner,
    ed25519_signer,
    ml_dsa_signer,
    witness_signer,
)

C2SP: dict[str, Any] = load("c2sp/examples.json")
FORMATS: dict[str, Any] = load("formats/notes.json")
MALFORMED: dict[str, Any] = load("formats/malformed.json")
SUNLIGHT: list[dict[str, Any]] = load("sunlight/cosignatures.json")
TESSERA: dict[str, Any] = load("tessera/log.json")

ORIGIN = "registry.example.org/keys/2026"
ROOT = leaf_hash(b"root")
HEAD = Checkpoint(ORIGIN, 70_000, ROOT)
ROOT_TEXT = b64encode(ROOT).decode()
NOW = 1_781_524_800.75

LOG = ed25519_signer(ORIGIN, b"\x01" * 32)
LOG_ML_DSA = ml_dsa_signer(ORIGIN, b"\x02" * 32)
WITNESS = witness_signer("witness.example.com/w1", b"\x03" * 32)
WITNESS_ML_DSA = ml_dsa_signer("witness.example.com/w1", b"\x04" * 32)
COSIGNERS = [WITNESS, WITNESS_ML_DSA]

origins = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"), min_size=1, max_size=40
)
checkpoints = st.builds(
    Checkpoint,
    origin=origins,
    size=st.integers(1, MAX_SIZE),
    root=st.binary(min_size=32, max_size=32),
)


def by_name(signer: MadeNoteSigner) -> str:
    return KeyKind(signer.kind).name


# --------------------------------------------------------------- the text


@given(checkpoints)
def test_every_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert decode_checkpoint(encode_checkpoint(checkpoint)) == checkpoint


@given(st.text(alphabet="a0123456789\n=+-/ AB", max_size=60))
def test_whatever_is_read_without_extensions_has_one_spelling(text: str) -> None:
    try:
        checkpoint = decode_checkpoint(text)
    except Malformed:
        return
    assert text.startswith(encode_checkpoint(checkpoint))


def test_the_specification_s_example_is_read() -> None:
    checkpoint = decode_checkpoint(decode_note(C2SP["checkpoint"].encode()).text)
    assert checkpoint == Checkpoint(
        "example.com/behind-the-sofa", 20852163, b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    )


def test_an_origin_need_not_look_like_an_address() -> None:
    checkpoint = replace(HEAD, origin="Gesundheitsamt_Köln:the.log")
    assert decode_checkpoint(encode_checkpoint(checkpoint)) == checkpoint


@pytest.mark.parametrize(
    "origin", ["a space/log", "a+plus/log", "a\ttab/log", "a\u00a0space/log", "a\u2003b"]
)
def test_an_origin_that_can_be_no_key_s_name_is_refused(origin: str) -> None:
    with pytest.raises(Malformed, match="no white space and no plus"):
        decode_checkpoint(f"{origin}\n1\n{ROOT_TEXT}\n")
    with pytest.raises(Malformed):
        encode_checkpoint(replace(HEAD, origin=origin))


def test_extension_lines_are_passed_over() -> None:
    assert decode_checkpoint(encode_checkpoint(HEAD) + "an extension\nanother 1\n") == HEAD


def test_an_empty_log_has_the_root_of_the_empty_tree() -> None:
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert decode_checkpoint(encode_checkpoint(empty)) == empty
    with pytest.raises(Malformed):
        decode_checkpoint(f"{ORIGIN}\n0\n{ROOT_TEXT}\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "\n\n\n",
        f"{ORIGIN}\n1\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}",
        f"\n1\n{ROOT_TEXT}\n",
        f"\n{ORIGIN}\n1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n1\n\n",
        f"{ORIGIN}\n01\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n00\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n-1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n-0\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n+1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n 1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n1 \n{ROOT_TEXT}\n",
        f"{ORIGIN}\n1_000\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n1.0\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n0x1\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n١\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n²\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n{MAX_SIZE + 1}\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n{'9' * 10_000}\n{ROOT_TEXT}\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT[:-1]}\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}=\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT} \n",
        f"{ORIGIN}\n1\nAAAA\n",
        f"{ORIGIN}\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
        f"{ORIGIN}\n1\nCsUYapGGPo4dkMgIAUqom_Xajj7h2fB2MPA3j2jxq2I=\n",
        f"{ORIGIN}\n1\nCsUY\rapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        f"{ORIGIN}\n1\n!!!notbase64!!!\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}\n\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}\n\nextension\n",
        f"{ORIGIN}\n1\n{ROOT_TEXT}\nextension",
        f"{ORIGIN}\n1\n{ROOT_TEXT}\n\n\u2014 {ORIGIN} AAAAAAA=\n",
        f"{ORIGIN}\r\n1\r\n{ROOT_TEXT}\r\n",
        *MALFORMED["checkpoints"].values(),
        *MALFORMED["checkpoints_with_roots_of_other_lengths"],
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        decode_checkpoint(text)


@pytest.mark.parametrize(
    "checkpoint",
    [
        replace(HEAD, origin=""),
        replace(HEAD, origin="two\nlines"),
        replace(HEAD, size=-1),
        replace(HEAD, size=MAX_SIZE + 1),
        replace(HEAD, size=0),
        replace(HEAD, root=b"short"),
    ],
)
def test_what_could_not_be_read_is_not_written(checkpoint: Checkpoint) -> None:
    with pytest.raises(Malformed):
        encode_checkpoint(checkpoint)


# ------------------------------------------------- signed by the log itself


def test_a_log_signs_with_both_keys_and_either_opens() -> None:
    note = sign_checkpoint(HEAD, [LOG, LOG_ML_DSA], now=NOW)
    content = encode_note(note)
    for keys in ([LOG.key], [LOG_ML_DSA.key], [LOG.key, LOG_ML_DSA.key]):
        assert open_checkpoint(content, keys) == (note, HEAD)
    assert cosignatures(note, HEAD, [LOG_ML_DSA.key]) == [Cosignature(LOG_ML_DSA.key, int(NOW))]


@pytest.mark.parametrize("size", [str(number) for number in range(16)])
def test_another_implementation_s_checkpoints_open(size: str) -> None:
    _, checkpoint = open_checkpoint(TESSERA["checkpoints"][size].encode(), [decode_vkey(TESSERA["vkey"])])
    assert checkpoint.size == int(size)


def test_a_log_s_key_speaks_for_its_own_origin_alone() -> None:
    other = ed25519_signer("registry.example.org/keys/2027")
    # Signed, and well: but by the key of another shard.
    content = encode_note(sign_checkpoint(HEAD, [other], now=NOW))
    with pytest.raises(UntrustedKey):
        open_checkpoint(content, [LOG.key, other.key])


def test_grease_and_unknown_lines_do_no_harm() -> None:
    grease = NoteSignature("grease.invalid", b"\xde\xad\xbe\xef", b"\x00" * 70)
    namesake = ed25519_signer(ORIGIN)
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    lines = (grease, sign_text("another text\n", namesake), *note.signatures, grease)
    assert open_checkpoint(encode_note(Note(note.text, lines)), [LOG.key])[1] == HEAD
    with pytest.raises(UntrustedKey):
        open_checkpoint(encode_note(Note(note.text, (grease,))), [LOG.key])


@pytest.mark.parametrize("signer", [LOG, LOG_ML_DSA], ids=by_name)
def test_one_bad_line_of_a_known_key_condemns_a_checkpoint(signer: MadeNoteSigner) -> None:
    good = sign_checkpoint(HEAD, [LOG, LOG_ML_DSA], now=NOW)
    bad = sign_checkpoint(replace(HEAD, size=70_001), [signer], now=NOW).signatures
    with pytest.raises(BadSignature):
        open_checkpoint(encode_note(Note(good.text, (*good.signatures, *bad))), [LOG.key, LOG_ML_DSA.key])


def test_a_note_that_is_no_checkpoint_does_not_open() -> None:
    content = encode_note(Note("not a checkpoint\n", (sign_text("not a checkpoint\n", LOG),)))
    with pytest.raises(Malformed):
        open_checkpoint(content, [LOG.key])


def test_only_the_log_s_kinds_sign_for_the_log() -> None:
    with pytest.raises(Malformed):
        sign_checkpoint(HEAD, [MadeNoteSigner(ORIGIN, KeyKind.ECDSA_P256, b"key", bytes)], now=NOW)


# -------------------------------------------------------------- cosigned


def cosigned(*signers: MadeNoteSigner, now: float = NOW) -> Note:
    note = sign_checkpoint(HEAD, [LOG], now=now)
    return Note(note.text, (*note.signatures, *(cosign(note, signer, now=now) for signer in signers)))


@pytest.mark.parametrize("vector", SUNLIGHT, ids=["witness", "mirror"])
def test_published_cosignatures_verify(vector: dict[str, Any]) -> None:
    key = decode_vkey(vector["vkey"])
    note = decode_note(vector["note"].encode())
    checkpoint = decode_checkpoint(note.text)
    assert cosignatures(note, checkpoint, [key]) == [Cosignature(key, vector["time"])]
    with pytest.raises(BadSignature):
        cosignatures(replace(note, text=note.text.replace("\n300\n", "\n301\n")), checkpoint, [key])


def test_another_implementation_s_ml_dsa_cosignature_verifies() -> None:
    key = decode_vkey(FORMATS["ml_dsa_44"]["vkey"])
    note = decode_note(FORMATS["ml_dsa_44"]["note"].encode())
    checkpoint = decode_checkpoint(note.text)
    (found,) = cosignatures(note, checkpoint, [key])
    assert found.key == key
    assert found.time == int.from_bytes(note.signatures[0].signature[:8], "big")
    for other in (
        replace(checkpoint, size=checkpoint.size + 1),
        replace(checkpoint, root=ROOT),
        replace(checkpoint, origin="example.com/behind-the-sof"),
    ):
        with pytest.raises(BadSignature):
            cosignatures(note, other, [key])


def test_the_signed_message_is_the_specification_s() -> None:
    said: list[bytes] = []

    def sign(message: bytes) -> bytes:
        said.append(message)
        return bytes(64)

    signer = replace(WITNESS, sign_raw=sign)
    example = decode_note(C2SP["cosigned_checkpoint"].encode())
    line = cosign(example, signer, now=1679315147.9)
    assert said == [C2SP["cosigned_message"].encode()]
    published = example.signatures[1]
    assert line.signature[:8] == published.signature[:8]
    assert (published.name, published.key_id.hex()) == ("witness.example.com/w1", "8d66cf3f")


def test_a_cosigned_checkpoint_says_who_and_when() -> None:
    note = cosigned(*COSIGNERS)
    keys = [signer.key for signer in COSIGNERS]
    assert cosignatures(note, HEAD, keys) == [Cosignature(key, int(NOW)) for key in keys]
    assert cosignatures(note, HEAD, [witness_signer("witness.example.com/w1").key]) == []


@pytest.mark.parametrize("signer", COSIGNERS, ids=by_name)
def test_of_several_cosignatures_the_newest_counts(signer: MadeNoteSigner) -> None:
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    lines = tuple(cosign(note, signer, now=now) for now in (100, 300, 200))
    assert cosignatures(Note(note.text, lines), HEAD, [signer.key]) == [Cosignature(signer.key, 300)]
    # The same key asked for twice is still one witness.
    assert len(cosignatures(Note(note.text, lines), HEAD, [signer.key, signer.key])) == 1


@pytest.mark.parametrize("signer", COSIGNERS, ids=by_name)
@given(place=st.integers(0, 71), bit=st.integers(0, 7))
def test_neither_time_nor_signature_may_change(signer: MadeNoteSigner, place: int, bit: int) -> None:
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    line = cosign(note, signer, now=NOW)
    changed = bytearray(line.signature)
    changed[place] ^= 1 << bit
    with pytest.raises(BadSignature):
        cosignatures(Note(note.text, (replace(line, signature=bytes(changed)),)), HEAD, [signer.key])


@pytest.mark.parametrize("signer", COSIGNERS, ids=by_name)
@pytest.mark.parametrize("time", [0, 1, MAX_TIME])
def test_every_time_that_can_be_is_kept(signer: MadeNoteSigner, time: int) -> None:
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    line = cosign(note, signer, now=time)
    assert cosignatures(Note(note.text, (line,)), HEAD, [signer.key]) == [Cosignature(signer.key, time)]


@pytest.mark.parametrize("signer", COSIGNERS, ids=by_name)
@pytest.mark.parametrize("time", [MAX_TIME + 1, 2**64 - 1])
def test_a_time_beyond_all_times_is_bad_even_if_it_is_signed(signer: MadeNoteSigner, time: int) -> None:
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    if signer.kind == KeyKind.COSIGNATURE_V1:
        message = f"cosignature/v1\ntime {time}\n{note.text}".encode()
    else:
        message = subtree_message(signer.name, time, HEAD)
    line = NoteSignature(signer.name, signer.key.key_id, time.to_bytes(8, "big") + signer.sign(message))
    with pytest.raises(BadSignature):
        cosignatures(Note(note.text, (line,)), HEAD, [signer.key])


@pytest.mark.parametrize("signer", COSIGNERS, ids=by_name)
@pytest.mark.parametrize("length", [1, 7, 8, 9, 71, 73, 2427, 2429])
def test_cosignatures_of_another_length_are_bad(signer: MadeNoteSigner, length: int) -> None:
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    line = NoteSignature(signer.name, signer.key.key_id, bytes(length))
    with pytest.raises(BadSignature):
        cosignatures(Note(note.text, (line,)), HEAD, [signer.key])


def test_a_plain_key_does_not_verify_cosignatures_nor_the_reverse() -> None:
    # The same Ed25519 key in both roles: the kind is in the id, so neither takes the other's line.
    plain = ed25519_signer("example.org/both", b"\x05" * 32)
    witness = witness_signer("example.org/both", b"\x05" * 32)
    note = sign_checkpoint(replace(HEAD, origin="example.org/both"), [plain], now=NOW)
    checkpoint = decode_checkpoint(note.text)
    cosignature = cosign(note, witness, now=NOW)
    assert cosignatures(note, checkpoint, [witness.key]) == []
    with pytest.raises(UntrustedKey):
        open_checkpoint(encode_note(Note(note.text, (cosignature,))), [plain.key])
    disguised = replace(cosignature, key_id=plain.key.key_id)
    with pytest.raises(BadSignature):
        open_checkpoint(encode_note(Note(note.text, (disguised,))), [plain.key])


def test_extension_lines_are_signed_by_ed25519_and_not_by_ml_dsa() -> None:
    text = encode_checkpoint(HEAD) + "extension\n"
    note = Note(text, ())
    lines = tuple(cosign(note, signer, now=NOW) for signer in COSIGNERS)
    changed = Note(text.replace("extension", "extensions"), lines)
    with pytest.raises(BadSignature):
        cosignatures(changed, HEAD, [WITNESS.key])
    assert len(cosignatures(changed, HEAD, [WITNESS_ML_DSA.key])) == 1


def test_only_a_cosigner_s_kinds_cosign() -> None:
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    with pytest.raises(Malformed):
        cosign(note, LOG, now=NOW)


# ------------------------------- ML-DSA against a second implementation


def subtree_message(name: str, time: int, head: Checkpoint) -> bytes:
    """`cosigned_message` of tlog-cosignature, put together from its structure."""
    return struct.pack(
        f">12sB{len(name.encode())}sQB{len(head.origin.encode())}sQQ32s",
        b"subtree/v1\n\x00",
        len(name.encode()),
        name.encode(),
        time,
        len(head.origin.encode()),
        head.origin.encode(),
        0,
        head.size,
        head.root,
    )


def test_a_second_implementation_verifies_our_ml_dsa_lines() -> None:
    note = cosigned(WITNESS_ML_DSA)
    signature = note.signatures[1].signature
    message = subtree_message(WITNESS_ML_DSA.name, int(NOW), HEAD)
    assert ML_DSA_44.verify(WITNESS_ML_DSA.public_key, message, signature[8:])
    assert not ML_DSA_44.verify(WITNESS_ML_DSA.public_key, message + b"\x00", signature[8:])


def test_a_second_implementation_s_ml_dsa_lines_verify() -> None:
    public_key, secret_key = ML_DSA_44.key_derive(bytes(range(1, 33)))
    key = VerifierKey("oid/1.3.6.1.4.1.32473.9", KeyKind.ML_DSA_44, public_key)
    note = decode_note(C2SP["checkpoint"].encode())
    checkpoint = decode_checkpoint(note.text)
    signature = ML_DSA_44.sign(secret_key, subtree_message(key.name, 0, checkpoint), deterministic=True)
    line = NoteSignature(key.name, key.key_id, bytes(8) + signature)
    assert cosignatures(Note(note.text, (line,)), checkpoint, [key]) == [Cosignature(key, 0)]


def test_names_that_the_message_has_no_room_for_are_refused() -> None:
    long = ml_dsa_signer("n" * 256)
    note = sign_checkpoint(HEAD, [LOG], now=NOW)
    with pytest.raises(Malformed):
        cosign(note, long, now=NOW)
    far = Note(encode_checkpoint(replace(HEAD, origin="o" * 256)), ())
    with pytest.raises(Malformed):
        cosign(far, WITNESS_ML_DSA, now=NOW)
    assert cosign(far, WITNESS, now=NOW)
