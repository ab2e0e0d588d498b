"""What key and withdraw leaves commit to: names and digests of keys, and why a batch was taken away.

Whoever holds the key, or the salt and the words, makes the same 32 bytes; whoever holds the leaf alone
learns nothing more than it says.
"""

from hashlib import sha256
from typing import Literal, get_args

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import Malformed
from registry.protocol.jwt import load_public_key
from registry.protocol.note import VerifierKey

WithdrawReason = Literal["wrong_keys", "legal_order", "other"]
WITHDRAW_REASONS: tuple[str, ...] = get_args(WithdrawReason)

_REFERENCE_LABEL = b"positive-key-registry withdrawal v1\n"
_SALT_BYTES = 32


def export_key_name(key_id: str, key_version: str) -> str:
    """How a key leaf names an export signing key: `id-version`."""
    return f"{key_id}-{key_version}"


def export_key_digest(public_key_pem: str) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo in DER. Raises Malformed for what is no P-256 key."""
    key = load_public_key(public_key_pem)
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def note_key_digest(key: VerifierKey) -> bytes:
    """SHA-256 of the raw public key of a log's or the trust root's key; its leaf bears the key's name."""
    return sha256(key.public_key).digest()


def withdrawal_reference(salt: bytes, words: str) -> bytes:
    """SHA-256 over label, `salt` (32 random bytes) and the words in UTF-8. Raises Malformed."""
    if len(salt) != _SALT_BYTES:
        raise Malformed(f"the salt of a withdrawal must be {_SALT_BYTES} bytes")
    return sha256(_REFERENCE_LABEL + salt + words.encode()).digest()
