"""Signed notes (C2SP signed-note): a text, and lines of signatures under it that name who made them.

Who made a line is decided by name and key id together. Lines of unknown signers are passed over; one of a
known signer that does not verify condemns the note. Must never trust the order or the number of lines.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from registry.errors import BadSignature, Malformed
from registry.protocol.encoding import decode_base64, encode_base64

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
KEY_ID_BYTES = 4

_DASH = "\u2014"
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]+")
_SIGNATURE_LINE = re.compile(rf"{_DASH} (?P<name>[^\s+]+) (?P<bytes>[A-Za-z0-9+/]+={{0,2}})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VKEY = re.compile(r"(?P<name>[^+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")


class KeyKind(IntEnum):
    """Signature types (signed-note, "Signature types"): the byte before the key in a vkey."""

    ED25519 = 0x01
    ECDSA_P256 = 0x02
    COSIGNATURE_V1 = 0x04
    ML_DSA_44 = 0x06


PUBLIC_KEY_BYTES = {KeyKind.ED25519: 32, KeyKind.COSIGNATURE_V1: 32, KeyKind.ML_DSA_44: 1312}
"""Of the kinds that are verified here. Lines of any other kind count as an unknown signer's."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name and the public key, raw bytes, that speaks for it. Raises Malformed when it cannot be one."""

    name: str
    kind: int
    public_key: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or not _is_utf8(self.name):
            raise Malformed("a key name has no white space, no plus and at least one character")
        expected = PUBLIC_KEY_BYTES.get(KeyKind(self.kind)) if self.kind in list(KeyKind) else None
        if expected is not None and len(self.public_key) != expected:
            raise Malformed(f"a key of type {self.kind} has {expected} bytes, not {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ newline ‖ type ‖ key)."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:4]

    @property
    def vkey(self) -> str:
        """`name+8 hex digits+base64(type ‖ key)`."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.kind]) + self.public_key)}"


def decode_vkey(text: str) -> VerifierKey:
    """The key that a vkey names. Raises Malformed, also when its id is not that of its key."""
    match = _VKEY.fullmatch(text)
    if match is None:
        raise Malformed(f"{text[:80]!r} is not a verifier key (name+id+base64)")
    content = _strict_base64(match["key"])
    if len(content) < 2:
        raise Malformed("a verifier key holds a type and a key")
    key = VerifierKey(match["name"], content[0], content[1:])
    if key.kind not in PUBLIC_KEY_BYTES:
        raise Malformed(f"keys of type {key.kind} are not known here")
    if key.key_id.hex() != match["id"]:
        raise Malformed(f"the id of {key.name}'s verifier key is not that of its key")
    return key


class NoteSigner(Protocol):
    """Holds one key and gives raw signatures: Ed25519 (64 bytes) or pure ML-DSA-44 (2,420 bytes)."""

    @property
    def name(self) -> str:
        """The key name under which it signs."""
        ...

    @property
    def kind(self) -> int:
        """A `KeyKind`."""
        ...

    @property
    def public_key(self) -> bytes:
        """Raw bytes, as in a `VerifierKey`."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature of `message`, raw."""
        ...


def verifier_key(signer: NoteSigner) -> VerifierKey:
    """The public half of `signer`."""
    return VerifierKey(signer.name, signer.kind, signer.public_key)


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line: who claims to have signed, and bytes whose meaning is the key type's."""

    name: str
    key_id: bytes
    signature: bytes

    def is_by(self, key: VerifierKey) -> bool:
        """Whether this line claims to be `key`'s."""
        return (self.name, self.key_id) == (key.name, key.key_id)


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a newline, and its signature lines in their order."""

    text: str
    signatures: tuple[NoteSignature, ...]


def encode_signature(signature: NoteSignature) -> str:
    """The line, with its newline."""
    return f"{_DASH} {signature.name} {encode_base64(signature.key_id + signature.signature)}\n"


def encode_note(note: Note) -> bytes:
    """Text, an empty line, signature lines; UTF-8. Raises Malformed for a text that no note can hold."""
    text = note.text + "\n" + "".join(map(encode_signature, note.signatures))
    content = text.encode() if _is_utf8(text) else b""
    if decode_note(content) != note:
        raise Malformed("the text or a signature cannot be written as a note")
    return content


def decode_note(content: bytes) -> Note:
    """The note, nothing of it verified. Raises Malformed.

    At most 1 MB and 100 signatures, at least one; no control characters but newlines; the text ends at the
    last empty line.
    """
    if len(content) > MAX_NOTE_BYTES:
        raise Malformed(f"a note has at most {MAX_NOTE_BYTES} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Malformed("the note is not UTF-8") from error
    if _CONTROL.search(text):
        raise Malformed("the note holds a control character")
    body, gap, lines = text.rpartition("\n\n")
    if not gap or not lines.endswith("\n"):
        raise Malformed("the note has no signatures after an empty line")
    return Note(body + "\n", decode_signatures(lines))


def decode_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Signature lines, each with its newline. Raises Malformed."""
    if lines and not lines.endswith("\n"):
        raise Malformed("the last signature line has no end")
    found = tuple(_read_signature(line) for line in lines.split("\n")[:-1])
    if not 1 <= len(found) <= MAX_SIGNATURES:
        raise Malformed(f"a note has 1 to {MAX_SIGNATURES} signatures, not {len(found)}")
    return found


def _read_signature(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise Malformed("a signature line is not of the form: dash, name, base64")
    content = _strict_base64(match["bytes"])
    if len(content) <= KEY_ID_BYTES:
        raise Malformed("a signature line holds a key id and a signature")
    return NoteSignature(match["name"], content[:KEY_ID_BYTES], content[KEY_ID_BYTES:])


def _is_utf8(text: str) -> bool:
    """Half a surrogate pair stands for an octet that was no UTF-8; no note can hold it."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _strict_base64(text: str) -> bytes:
    content = decode_base64(text)
    if encode_base64(content) != text:
        raise Malformed("base64 in a note is standard and padded")
    return content


def sign_text(text: str, signer: NoteSigner) -> NoteSignature:
    """An Ed25519 signature (type 0x01) over a note's text."""
    key = verifier_key(signer)
    if key.kind != KeyKind.ED25519:
        raise Malformed(f"a key of type {key.kind} does not sign a note's text as it is")
    return NoteSignature(key.name, key.key_id, signer.sign(text.encode()))


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Which of `keys` (all of type 0x01) signed the note's text; perhaps none.

    Raises BadSignature if a line is one of theirs and does not verify.
    """
    signed = []
    for key in keys:
        lines = [line for line in note.signatures if line.is_by(key)]
        for line in lines:
            verify_raw(key, line.signature, note.text.encode())
        if lines:
            signed.append(key)
    return tuple(signed)


def verify_raw(key: VerifierKey, signature: bytes, message: bytes) -> None:
    """Raises BadSignature unless `signature` is the key's over exactly `message` (RFC 8032, FIPS 204)."""
    try:
        if key.kind == KeyKind.ML_DSA_44:
            MLDSA44PublicKey.from_public_bytes(key.public_key).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature(f"the signature of {key.name} does not verify") from error
