"""The note beside the trust material: the root key says which material is the newest, and until when.

A signed note (C2SP signed-note) of six lines, by the Ed25519 key `<log origin>/trust`. Also the fingerprint
by which people compare that key. Must never say anything about material that it does not name by its digest.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from registry.errors import Malformed, UntrustedKey
from registry.protocol.note import (
    Note,
    NoteSigner,
    VerifierKey,
    decode_note,
    decode_vkey,
    encode_note,
    sign_text,
    verify_note,
)
from registry.protocol.trust import trust_key_name

MAX_TRUST_NOTE_BYTES = 16_384
FINGERPRINT_BYTES = 16

_NUMBER = r"(?:0|[1-9][0-9]{0,15})"
_TEXT = re.compile(
    r"(?P<name>[^\s+]+)/trust\n"
    rf"sequence (?P<sequence>{_NUMBER})\n"
    r"digest (?P<digest>[0-9a-f]{64})\n"
    rf"issued_at (?P<issued_at>{_NUMBER})\n"
    rf"expires_at (?P<expires_at>{_NUMBER})\n"
    r"previous (?P<previous>none|[0-9a-f]{64})\n"
)
_GROUP = 4
_SEPARATORS = str.maketrans("", "", " :-\t\r\n")


@dataclass(frozen=True, slots=True)
class TrustNote:
    """Material number `sequence` of the registry whose log is `origin`, by the SHA-256 of its file.

    Holds in [issued_at, expires_at), unix seconds. `previous` is the SHA-256 of the file before, if any.
    """

    origin: str
    sequence: int
    digest: bytes
    issued_at: int
    expires_at: int
    previous: bytes | None


def encode_trust_note(note: TrustNote, *signers: NoteSigner) -> bytes:
    """The note's file, signed by the root key; by the old one and the new one when the root changes.

    Raises Malformed for what `open_trust_note` would not read back.
    """
    name = trust_key_name(note.origin)
    previous = "none" if note.previous is None else note.previous.hex()
    text = (
        f"{name}\nsequence {note.sequence}\ndigest {note.digest.hex()}\nissued_at {note.issued_at}\n"
        f"expires_at {note.expires_at}\nprevious {previous}\n"
    )
    if _read(text) != note or any(signer.name != name for signer in signers):
        raise Malformed("a trust note that cannot be written")
    return encode_note(Note(text, tuple(sign_text(text, signer) for signer in signers)))


def open_trust_note(content: bytes, key: VerifierKey) -> TrustNote:
    """What the note says, signed by `key`, the root of that name.

    Raises Malformed, UntrustedKey if the key did not sign it, BadSignature if its signature does not verify.
    Whether the note has expired is the caller's to decide.
    """
    if len(content) > MAX_TRUST_NOTE_BYTES:
        raise Malformed(f"a trust note has at most {MAX_TRUST_NOTE_BYTES} bytes")
    signed = decode_note(content)
    note = _read(signed.text)
    if trust_key_name(note.origin) != key.name or not verify_note(signed, [key]):
        raise UntrustedKey(f"the trust note of {note.origin} is not signed by the root key that is known")
    return note


def _read(text: str) -> TrustNote:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise Malformed("not the six lines of a trust note")
    note = TrustNote(
        origin=match["name"],
        sequence=int(match["sequence"]),
        digest=bytes.fromhex(match["digest"]),
        issued_at=int(match["issued_at"]),
        expires_at=int(match["expires_at"]),
        previous=None if match["previous"] == "none" else bytes.fromhex(match["previous"]),
    )
    if note.sequence < 1 or note.expires_at <= note.issued_at:
        raise Malformed("a trust note counts from 1, and expires after it was issued")
    if (note.previous is None) != (note.sequence == 1):
        raise Malformed("only the first trust note has none before it")
    return note


def trust_digest(content: bytes) -> bytes:
    """The 32 bytes by which a note names the trust material with these bytes."""
    return sha256(content).digest()


def fingerprint(trust_vkey: str) -> str:
    """First 16 bytes of SHA-256(vkey text, ASCII), as 8 groups of 4 hex digits: `0f3a-...`.

    Raises Malformed for what is no vkey.
    """
    decode_vkey(trust_vkey)
    digits = sha256(trust_vkey.encode()).digest()[:FINGERPRINT_BYTES].hex()
    return "-".join(digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))


def same_fingerprint(first: str, second: str) -> bool:
    """Whether two people read the same one. Case, spaces, colons and hyphens do not matter."""
    one, other = (text.translate(_SEPARATORS).lower() for text in (first, second))
    return one == other and re.fullmatch(r"[0-9a-f]{32}", one) is not None
