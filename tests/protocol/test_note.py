"""Signed notes: what is written is read, what is malformed is refused, and who signed is never guessed."""

from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import shake_128
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from dilithium_py.ml_dsa import ML_DSA_44
from hypothesis import assume, given
from hypothesis import strategies as st

from registry.errors import BadSignature, Malformed
from registry.protocol.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    KeyKind,
    Note,
    NoteSignature,
    VerifierKey,
    decode_note,
    decode_signatures,
    decode_vkey,
    encode_note,
    encode_signature,
    sign_text,
    verify_note,
    verify_raw,
)
from tests.protocol.log_vectors import load
from tests.protocol.note_signers import ed25519_signer, ml_dsa_signer, signer_of, witness_signer

SUMDB: dict[str, Any] = load("sumdb/notes.json")
C2SP: dict[str, Any] = load("c2sp/examples.json")
FORMATS: dict[str, Any] = load("formats/notes.json")

PETER = decode_vkey(SUMDB["peter"]["vkey"])
ENOCH = decode_vkey(SUMDB["enoch"]["vkey"])
TWO_SIGNED = (SUMDB["text"] + "\n" + SUMDB["peter"]["line"] + SUMDB["enoch"]["line"]).encode()

characters = st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+")
names = st.text(characters, min_size=1, max_size=20).filter(lambda name: not any(c.isspace() for c in name))
lines = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=0x20), max_size=30)
signatures = st.builds(
    NoteSignature,
    name=names,
    key_id=st.binary(min_size=4, max_size=4),
    signature=st.binary(min_size=1, max_size=100),
)
texts = st.lists(lines, max_size=6).map(lambda many: "".join(f"{line}\n" for line in many) or "\n")


# -------------------------------------------------------- write and read


@given(texts, st.lists(signatures, min_size=1, max_size=20))
def test_every_note_is_read_as_it_was_written(text: str, lines_under_it: list[NoteSignature]) -> None:
    note = Note(text, tuple(lines_under_it))
    assert decode_note(encode_note(note)) == note


@given(st.binary(max_size=200) | st.text(alphabet="\n\u2014 ab+/=\r\t", max_size=40).map(str.encode))
def test_whatever_is_read_has_one_spelling(content: bytes) -> None:
    try:
        note = decode_note(content)
    except Malformed:
        return
    assert encode_note(note) == content


def test_the_text_ends_at_the_last_empty_line() -> None:
    line = SUMDB["peter"]["line"]
    assert decode_note(f"a\n\nb\n\n{line}".encode()).text == "a\n\nb\n"
    assert decode_note(f"a\n\n\n{line}".encode()).text == "a\n\n"
    # Lines like signatures above the last empty line are text.
    inner = f"a\n\n{line}"
    assert decode_note(f"{inner}\n{line}".encode()).text == inner


@pytest.mark.parametrize("count", [1, 2, 16, MAX_SIGNATURES])
def test_sixteen_signatures_and_more_are_read(count: int) -> None:
    content = (SUMDB["text"] + "\n" + SUMDB["peter"]["line"] * count).encode()
    assert len(decode_note(content).signatures) == count


def test_a_hundred_post_quantum_signatures_fit_into_a_note() -> None:
    line = encode_signature(NoteSignature("example.org/log/2026", bytes(4), bytes(8 + 2420)))
    assert len(decode_note(("text\n\n" + line * 100).encode()).signatures) == 100


@pytest.mark.parametrize(
    "content",
    [
        (SUMDB["text"] + "\n" + SUMDB["peter"]["line"] * (MAX_SIGNATURES + 1)).encode(),
        b"x" * MAX_NOTE_BYTES + b"\n\n" + SUMDB["peter"]["line"].encode(),
    ],
    ids=["signatures", "bytes"],
)
def test_a_note_that_is_too_large_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode_note(content)


@pytest.mark.parametrize("content", [b64decode(one) for one in SUMDB["malformed_notes"]])
def test_published_malformed_notes_are_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode_note(content)


GOOD_LINE = "\u2014 a " + b64encode(bytes(5)).decode() + "\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "\n\n",
        "text\n\n",
        f"text\n{GOOD_LINE}",
        f"text{GOOD_LINE}",
        f"text\n\n{GOOD_LINE}\n",
        f"text\r\n\r\n{GOOD_LINE}",
        f"te\rxt\n\n{GOOD_LINE}",
        f"te\txt\n\n{GOOD_LINE}",
        f"te\0xt\n\n{GOOD_LINE}",
        f"text\n\n{GOOD_LINE[:-1]}\r\n",
        f"text\n\n-{GOOD_LINE[1:]}",
        f"text\n\n\u2014{GOOD_LINE[2:]}",
        f"text\n\n {GOOD_LINE}",
        f"text\n\n{GOOD_LINE[:-1]} \n",
        f"text\n\n{GOOD_LINE[:4]} {GOOD_LINE[4:]}",
        "text\n\n\u2014 AAAAAAA=\n",
        "text\n\n\u2014  AAAAAAA=\n",
        "text\n\n\u2014 a \n",
        "text\n\n\u2014 a AAAAAA==\n",  # a key id without a signature
        "text\n\n\u2014 a AAAAAAA\n",  # no padding
        "text\n\n\u2014 a AAAAAAB=\n",  # stray bits
        "text\n\n\u2014 a AAAAA-_=\n",  # the URL's alphabet
        "text\n\n\u2014 a AAAAAAA=AAAA\n",
        "text\n\n\u2014 a+b AAAAAAA=\n",
        "text\n\n\u2014 a\u00a0b AAAAAAA=\n",
        "text\n\n\u2014 a\u2028b AAAAAAA=\n",
        "text\n\n\u2014 a\u3000b AAAAAAA=\n",
        "text\n\n\u2014 a\u0085b AAAAAAA=\n",
    ],
)
def test_malformed_notes_are_refused(content: str) -> None:
    with pytest.raises(Malformed):
        decode_note(content.encode())


def test_control_characters_beyond_ascii_s_first_32_are_text() -> None:
    # The specification forbids those below U+0020 and no others.
    assert decode_note(f"te\x7fxt\u0085\n\n{GOOD_LINE}".encode()).text == "te\x7fxt\u0085\n"


@pytest.mark.parametrize(
    "note",
    [
        Note("no newline", (NoteSignature("a", bytes(4), b"s"),)),
        Note("text\n", ()),
        Note("text\n", (NoteSignature("a b", bytes(4), b"s"),)),
        Note("text\n", (NoteSignature("", bytes(4), b"s"),)),
        Note("text\n", (NoteSignature("a", bytes(3), b"sig"),)),
        Note("text\n", (NoteSignature("a", bytes(4), b""),)),
        Note("te\0xt\n", (NoteSignature("a", bytes(4), b"s"),)),
        Note("te\ud800xt\n", (NoteSignature("a", bytes(4), b"s"),)),
        Note("text\n", (NoteSignature("\udcff", bytes(4), b"s"),)),
    ],
)
def test_what_could_not_be_read_is_not_written(note: Note) -> None:
    with pytest.raises(Malformed):
        encode_note(note)


def test_a_witness_s_answer_is_signature_lines_alone() -> None:
    answer = C2SP["witness_answer"]
    found = decode_signatures(answer)
    assert [line.name for line in found] == ["witness.example/w1"] * 2 + ["witness.example/w2"]
    assert "".join(map(encode_signature, found)) == answer
    for wrong in ("", "\n", answer[:-1], answer + "\n", "text\n" + answer):
        with pytest.raises(Malformed):
            decode_signatures(wrong)


# ------------------------------------------------------------------- keys


def test_published_keys_are_read_and_written_the_same() -> None:
    for known in FORMATS["vkeys"]:
        key = decode_vkey(known["vkey"])
        assert (key.kind, key.vkey) == (known["kind"], known["vkey"])


@pytest.mark.parametrize(
    "vkey",
    [
        *SUMDB["malformed_vkeys"],
        *FORMATS["malformed_vkeys"],
        *FORMATS["vkeys_of_other_kinds"],
        FORMATS["vkey_with_an_id_of_another_key"],  # its own library does not compare them
    ],
)
def test_published_malformed_keys_and_kinds_that_are_not_verified_here_are_refused(vkey: str) -> None:
    with pytest.raises(Malformed):
        decode_vkey(vkey)


def test_no_part_of_a_key_is_a_key() -> None:
    vkey = SUMDB["peter"]["vkey"]
    for begin in range(len(vkey) + 1):
        for end in range(begin, len(vkey) + 1):
            if (begin, end) != (0, len(vkey)):
                with pytest.raises(Malformed):
                    decode_vkey(vkey[begin:end])


def test_no_key_with_one_character_changed_is_a_key() -> None:
    vkey = SUMDB["peter"]["vkey"]
    for at, character in enumerate(vkey):
        with pytest.raises(Malformed):
            decode_vkey(vkey[:at] + chr(ord(character) + 1) + vkey[at + 1 :])


@given(names, st.sampled_from([(1, 32), (4, 32), (6, 1312)]), st.data())
def test_every_key_is_read_as_it_was_written(name: str, kind: tuple[int, int], data: st.DataObject) -> None:
    key = VerifierKey(name, kind[0], data.draw(st.binary(min_size=kind[1], max_size=kind[1])))
    assert decode_vkey(key.vkey) == key


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2003b", "a\nb", "a\x1fb", "\ud800"])
def test_names_that_no_line_could_carry_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        VerifierKey(name, KeyKind.ED25519, bytes(32))
    with pytest.raises(Malformed):
        decode_vkey(f"{name}+00000000+AQ==")


@pytest.mark.parametrize(("kind", "length"), [(1, 31), (1, 33), (4, 0), (4, 64), (6, 1311), (6, 1313)])
def test_keys_of_another_length_are_refused(kind: int, length: int) -> None:
    with pytest.raises(Malformed):
        VerifierKey("a", kind, bytes(length))


def test_the_same_key_bytes_have_another_id_under_another_name_or_kind() -> None:
    ids = {
        VerifierKey(name, kind, bytes(32)).key_id
        for name in ("a", "b")
        for kind in (KeyKind.ED25519, KeyKind.COSIGNATURE_V1)
    }
    assert len(ids) == 4


# ------------------------------------------------------------ who signed


def test_the_specification_s_example_verifies() -> None:
    example = C2SP["signed_note"]
    key = decode_vkey(example["vkey"])
    note = decode_note(example["note"].encode())
    assert verify_note(note, [key]) == (key,)
    with pytest.raises(BadSignature):
        verify_note(replace(note, text=note.text.replace("example", "exemple")), [key])


def test_the_specification_s_poem_is_read() -> None:
    # Its key is not published.
    note = decode_note(C2SP["poem"].encode())
    assert note.text.endswith("\ned è subito sera.\n")
    assert [(line.name, line.key_id.hex()) for line in note.signatures] == [
        ("quasimodo.example/salvatore", "367ba04b")
    ]


def test_published_signatures_verify_and_are_made_again_to_the_byte() -> None:
    note = decode_note(TWO_SIGNED)
    assert verify_note(note, [PETER, ENOCH]) == (PETER, ENOCH)
    assert verify_note(note, [ENOCH]) == (ENOCH,)
    assert verify_note(note, []) == ()
    signer = signer_of(SUMDB["peter"]["private_key"])
    assert signer.key == PETER
    assert encode_signature(sign_text(SUMDB["text"], signer)) == SUMDB["peter"]["line"]


def test_lines_of_unknown_keys_are_passed_over() -> None:
    signer = ed25519_signer("example.org/log")
    namesake = ed25519_signer("example.org/log")
    good = sign_text("text\n", signer)
    grease = NoteSignature("grease.invalid/\u2603", b"\xff\x00\xff\x00", b"\x01" * 3000)
    unknown = [
        grease,
        replace(good, name="example.com/log"),  # the id of ours under another name
        sign_text("other\n", namesake),  # our name with another key
        replace(good, key_id=bytes(4)),
    ]
    note = Note("text\n", (*unknown, good, *unknown))
    assert verify_note(decode_note(encode_note(note)), [signer.key]) == (signer.key,)
    assert verify_note(replace(note, signatures=tuple(unknown)), [signer.key]) == ()
    assert verify_note(decode_note(FORMATS["note_by_another_kind"].encode()), [signer.key]) == ()


def test_a_known_key_s_line_that_fails_condemns_the_note() -> None:
    signer, other = ed25519_signer("example.org/log"), ed25519_signer("example.org/other")
    good, bad = sign_text("text\n", signer), sign_text("other\n", signer)
    # Wherever it stands, and however many good ones stand beside it.
    for order in ([good, bad], [bad, good], [good, sign_text("text\n", other), bad]):
        with pytest.raises(BadSignature):
            verify_note(Note("text\n", tuple(order)), [other.key, signer.key])
    # Another witness's bad line is not ours to judge.
    assert verify_note(Note("text\n", (sign_text("other\n", other), good)), [signer.key]) == (signer.key,)


def test_a_line_twice_counts_its_key_once() -> None:
    signer = ed25519_signer("example.org/log")
    good = sign_text("text\n", signer)
    assert verify_note(Note("text\n", (good, good, good)), [signer.key]) == (signer.key,)


@given(st.integers(0, 63), st.integers(0, 7))
def test_no_bit_of_a_signature_may_change(at: int, bit: int) -> None:
    note = decode_note(TWO_SIGNED)
    line = note.signatures[0]
    changed = bytearray(line.signature)
    changed[at] ^= 1 << bit
    with pytest.raises(BadSignature):
        verify_note(Note(note.text, (replace(line, signature=bytes(changed)),)), [PETER])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_no_other_text_is_signed(text: str) -> None:
    note = decode_note(TWO_SIGNED)
    assume(text != note.text)
    with pytest.raises(BadSignature):
        verify_note(replace(note, text=text), [PETER])


@pytest.mark.parametrize("length", [1, 32, 63, 65, 2420])
def test_signatures_of_another_length_are_bad(length: int) -> None:
    for signer in (ed25519_signer("a"), ml_dsa_signer("a")):
        with pytest.raises(BadSignature):
            verify_raw(signer.key, bytes(length), b"message")


def test_only_an_ed25519_key_signs_a_text_as_it_is() -> None:
    for signer in (witness_signer("example.org/w"), ml_dsa_signer("example.org/log")):
        with pytest.raises(Malformed):
            sign_text("text\n", signer)


# --------------------------------------------- the algorithms underneath


def case(vector: dict[str, Any]) -> str:
    return f"{vector['id']}: {vector['comment']}"


@pytest.mark.parametrize(
    ("kind", "vector"),
    [(KeyKind.ED25519, vector) for vector in load("wycheproof/ed25519.json")]
    + [(KeyKind.ML_DSA_44, vector) for vector in load("wycheproof/ml_dsa_44.json")],
    ids=lambda value: case(value) if isinstance(value, dict) else value.name,
)
def test_published_signatures_of_the_algorithms(kind: KeyKind, vector: dict[str, Any]) -> None:
    def check() -> None:
        key = VerifierKey("a", kind, b64decode(vector["key"]))
        verify_raw(key, b64decode(vector["signature"]), b64decode(vector["message"]))

    if vector["valid"]:
        check()
    else:
        with pytest.raises((BadSignature, Malformed)):
            check()


def test_a_hundred_ml_dsa_keys_and_signatures_have_the_published_digest() -> None:
    # CCTV's accumulated test: a second implementation makes keys and signatures, ours reads every one.
    seeds, made = shake_128().digest(32 * 100), shake_128()
    for at in range(0, len(seeds), 32):
        seed = seeds[at : at + 32]
        public_key, secret_key = ML_DSA_44.key_derive(seed)
        signature = ML_DSA_44.sign(secret_key, b"", deterministic=True)
        made.update(public_key + signature)
        assert MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw() == public_key
        verify_raw(VerifierKey("a", KeyKind.ML_DSA_44, public_key), signature, b"")
        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, b"")
    assert made.hexdigest(32) == "d51148e1f9f4fa1a723a6cf42e25f2a99eb5c1b378b3d2dbbd561b1203beeae4"
