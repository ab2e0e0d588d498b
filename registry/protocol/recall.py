"""How an upload can be found again to be recalled, by two officials and nobody else.

A certificate carries a random handle. The issuing half keeps it sealed (HPKE, RFC 9180) to a key that only
the portal holds; the collecting half keeps none of it, but with each key a tag that only the handle leads
to. Without the handle tags are random numbers, and no two keys of an upload can be told to be its.
"""

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from registry.errors import Distrusted

HANDLE_BYTES = 16
TAG_BYTES = 16
MOST_TAGS = 64
"""More keys than an upload may have: whoever holds a handle looks for so many tags."""

_LABEL = b"positive-key-registry recall tag v1\n"
_MARK_LABEL = b"positive-key-registry recalled v1\n"
_SEAL_LABEL = b"positive-key-registry recall handle v1\n"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


def recall_tags(handle: bytes | None, count: int) -> list[bytes]:
    """The tags of an upload's first `count` keys; random ones if it has no handle, so that all look alike."""
    if handle is None:
        return [secrets.token_bytes(TAG_BYTES) for _ in range(count)]
    return [hmac.digest(handle, _LABEL + number.to_bytes(4), "sha256")[:TAG_BYTES] for number in range(count)]


def recalled_mark(handle: bytes) -> bytes:
    """By which the collecting half knows, 32 bytes, that what comes with this handle was recalled before."""
    return hmac.digest(handle, _MARK_LABEL, "sha256")


def seal_handle(handle: bytes, public_key: X25519PublicKey, authorization_id: str) -> bytes:
    """The handle, for the holder of the private half alone, and bound to its authorization: 64 bytes.

    HPKE in base mode, X25519, HKDF-SHA256, AES-128-GCM: what is encapsulated, then ciphertext and tag.
    """
    return _SUITE.encrypt(handle, public_key, _seal_info(authorization_id))


def open_handle(sealed: bytes, private_key: X25519PrivateKey, authorization_id: str) -> bytes:
    """What was sealed for this authorization. Raises Distrusted if it was not, or not to this key."""
    try:
        handle = _SUITE.decrypt(sealed, private_key, _seal_info(authorization_id))
    except InvalidTag as error:
        raise Distrusted("the recall handle was not sealed to this key, or not for this statement") from error
    if len(handle) != HANDLE_BYTES:
        raise Distrusted("the recall handle has another length")
    return handle


def _seal_info(authorization_id: str) -> bytes:
    return _SEAL_LABEL + authorization_id.encode("utf-8")
