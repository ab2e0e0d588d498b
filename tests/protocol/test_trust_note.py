"""The note beside the trust material, and the fingerprint of the key that signs it."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import BadSignature, Malformed, UntrustedKey
from registry.protocol.note import Note, encode_note, sign_text
from registry.protocol.trust_note import (
    MAX_TRUST_NOTE_BYTES,
    TrustNote,
    encode_trust_note,
    fingerprint,
    open_trust_note,
    same_fingerprint,
    trust_digest,
)
from tests.protocol.note_signers import ed25519_signer

ORIGIN = "keys.example/keys"
ROOT = ed25519_signer(f"{ORIGIN}/trust", bytes(range(32)))
NOTE = TrustNote(ORIGIN, 2, b"\x0a" * 32, 1_781_524_800, 1_784_116_800, b"\xb0" * 32)
TEXT = f"""{ORIGIN}/trust
sequence 2
digest {"0a" * 32}
issued_at 1781524800
expires_at 1784116800
previous {"b0" * 32}
"""

times = st.integers(0, 2**50)
digests = st.binary(min_size=32, max_size=32)


@given(st.integers(1, 2**50), digests, times, st.integers(1, 2**30), digests)
def test_what_goes_in_comes_out(
    sequence: int, digest: bytes, issued_at: int, life: int, previous: bytes
) -> None:
    first = None if sequence == 1 else previous
    note = TrustNote(ORIGIN, sequence, digest, issued_at, issued_at + life, first)
    assert open_trust_note(encode_trust_note(note, ROOT), ROOT.key) == note


def test_its_lines() -> None:
    assert encode_trust_note(NOTE, ROOT).decode().startswith(TEXT + "\n\u2014 keys.example/keys/trust ")
    first = encode_trust_note(replace(NOTE, sequence=1, previous=None), ROOT)
    assert b"\nprevious none\n" in first


def signed(text: str) -> bytes:
    return encode_note(Note(text, (sign_text(text, ROOT),)))


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("keys/trust", "keys/2026"),
        TEXT.replace("sequence 2", "sequence 02"),
        TEXT.replace("sequence 2", "sequence 0"),
        TEXT.replace("sequence 2", "sequence -2"),
        TEXT.replace("sequence 2", "sequence \u0662"),
        TEXT.replace("sequence 2", "sequence 1"),
        TEXT.replace("b0" * 32, "none"),
        TEXT.replace("0a" * 32, "0A" * 32),
        TEXT.replace("0a" * 32, "0a" * 31),
        TEXT.replace("expires_at 1784116800", "expires_at 1781524800"),
        TEXT.replace("digest", "sha256"),
        TEXT + "more 1\n",
        TEXT.replace("previous", "\nprevious"),
        "",
    ],
)
def test_other_lines_are_refused_though_they_are_signed(text: str) -> None:
    with pytest.raises(Malformed):
        open_trust_note(signed(text), ROOT.key)


def test_a_note_too_long_to_be_one_is_not_even_read() -> None:
    with pytest.raises(Malformed):
        open_trust_note(bytes(MAX_TRUST_NOTE_BYTES + 1), ROOT.key)


def test_another_root_of_the_same_name_is_not_this_one() -> None:
    content = encode_trust_note(NOTE, ed25519_signer(ROOT.name))
    with pytest.raises(UntrustedKey):
        open_trust_note(content, ROOT.key)


def test_a_root_speaks_for_its_own_log_only() -> None:
    other = ed25519_signer("elsewhere.example/keys/trust")
    content = encode_trust_note(replace(NOTE, origin="elsewhere.example/keys"), other)
    with pytest.raises(UntrustedKey):
        open_trust_note(content, ROOT.key)
    with pytest.raises(Malformed):
        encode_trust_note(NOTE, other)


def test_no_byte_of_it_can_be_changed() -> None:
    content = encode_trust_note(NOTE, ROOT)
    for place in range(len(content)):
        bent = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with pytest.raises((Malformed, BadSignature, UntrustedKey)):
            open_trust_note(bent, ROOT.key)


def test_two_roots_sign_while_one_takes_over_from_the_other() -> None:
    new = ed25519_signer(ROOT.name)
    content = encode_trust_note(NOTE, ROOT, new)
    assert open_trust_note(content, ROOT.key) == open_trust_note(content, new.key) == NOTE


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"expires_at": NOTE.issued_at},
        {"previous": None},
        {"digest": b""},
        {"origin": "two words"},
        {"issued_at": -1},
    ],
)
def test_what_cannot_be_read_back_is_not_written(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        encode_trust_note(replace(NOTE, **changes), ROOT)  # type: ignore[arg-type]


def test_the_digest_of_material() -> None:
    assert trust_digest(b"material") == sha256(b"material").digest()


def test_a_fingerprint_is_eight_groups_of_the_vkeys_hash() -> None:
    shown = fingerprint(ROOT.key.vkey)
    assert shown.replace("-", "") == sha256(ROOT.key.vkey.encode()).hexdigest()[:32]
    assert [len(group) for group in shown.split("-")] == [4] * 8
    assert not same_fingerprint(shown, fingerprint(ed25519_signer(ROOT.name).key.vkey))


@pytest.mark.parametrize("separator", ["", " ", ":", "-", "  ", "\n"])
def test_a_fingerprint_is_read_as_people_write_it(separator: str) -> None:
    shown = fingerprint(ROOT.key.vkey)
    assert same_fingerprint(shown, shown.upper().replace("-", separator))


@pytest.mark.parametrize("typed", ["", "none", "0" * 31, "0" * 33, "g" * 32])
def test_what_is_no_fingerprint_is_like_none(typed: str) -> None:
    assert not same_fingerprint(typed, typed)


def test_what_is_no_key_has_no_fingerprint() -> None:
    with pytest.raises(Malformed):
        fingerprint("not a key")
