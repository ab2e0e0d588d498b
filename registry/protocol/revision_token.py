"""The revision token: by it a phone proves later that these published keys are its own.

The registry keeps no list of whose key is whose; the phone carries the list, sealed, and only the
registry can open it. Every token has one size, whatever it holds: its length tells nothing, not even
whether a person ever uploaded. The sealing keys must never leave the collecting half.
"""

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registry.errors import ConfigurationError, Distrusted, Malformed
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.keys import KEY_BYTES

MAX_ENTRIES = 60
"""Two uploads of 30 keys; a phone makes no more than three keys a day in 15 days."""

_SEALING_KEY_BYTES = 32
_KID_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_ENTRY = struct.Struct(">16sIH")
_COUNT = struct.Struct(">H")
_VERSION = b"\x01"
_PURPOSE = b"exposure-registry revision token"
_HEAD_BYTES = len(_VERSION) + _KID_BYTES
_PLAIN_BYTES = _COUNT.size + MAX_ENTRIES * _ENTRY.size
_TOKEN_BYTES = _HEAD_BYTES + _NONCE_BYTES + _PLAIN_BYTES + _TAG_BYTES


@dataclass(frozen=True, slots=True)
class RevisableKey:
    """A key that may be revised, with its validity as it was published."""

    key_data: bytes
    rolling_start_interval_number: int
    rolling_period: int


@dataclass(frozen=True, slots=True)
class RevisionKeyRing:
    """The sealing keys, 32 bytes each, by key id; new tokens are sealed with `current`.

    An older key must stay for as long as a token that it sealed can be of use. Raises ConfigurationError.
    """

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if self.current not in self.keys:
            raise ConfigurationError("the current revision key is not among the revision keys")
        for kid, key in self.keys.items():
            if len(key) != _SEALING_KEY_BYTES:
                raise ConfigurationError(f"revision key {kid!r} must be {_SEALING_KEY_BYTES} bytes long")
            if not kid.isascii() or not kid.isprintable() or not 1 <= len(kid) <= _KID_BYTES:
                raise ConfigurationError(f"a revision key id has 1 to {_KID_BYTES} ASCII letters or digits")


def encode_revision_token(
    keys: Iterable[RevisableKey],
    ring: RevisionKeyRing,
    *,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> str:
    """Base64 (standard, padded) of 1,367 bytes, whatever `keys` holds.

    Layout: version 1, key id (16 bytes, zero-filled), nonce (12), AES-256-GCM of: count (uint16), then 60
    entries of key (16), start (uint32), period (uint16), the unused ones zero, big-endian.
    Of more than 60 keys the oldest are left out and can then no longer be revised. Raises Malformed for a
    key that is not 16 bytes long.
    """
    newest_first = sorted(set(keys), key=_age, reverse=True)[:MAX_ENTRIES]
    if any(len(key.key_data) != KEY_BYTES for key in newest_first):
        raise Malformed(f"a revisable key must be {KEY_BYTES} bytes long")
    entries = b"".join(
        _ENTRY.pack(key.key_data, key.rolling_start_interval_number, key.rolling_period)
        for key in reversed(newest_first)
    )
    plain = (_COUNT.pack(len(newest_first)) + entries).ljust(_PLAIN_BYTES, b"\0")
    head = _VERSION + ring.current.encode("ascii").ljust(_KID_BYTES, b"\0")
    # Nonces are random, 96 bits: a sealing key must be replaced long before 2^32 tokens.
    nonce = random_bytes(_NONCE_BYTES)
    sealed = AESGCM(ring.keys[ring.current]).encrypt(nonce, plain, _PURPOSE + head)
    return encode_base64(head + nonce + sealed)


def _age(key: RevisableKey) -> tuple[int, int, bytes]:
    return key.rolling_start_interval_number, key.rolling_period, key.key_data


def decode_revision_token(text: str, ring: RevisionKeyRing) -> tuple[RevisableKey, ...]:
    """The keys that the token holds, oldest first.

    Raises Malformed if it is not a token of this form, Distrusted if none of our keys sealed it.
    """
    token = decode_base64(text)
    if len(token) != _TOKEN_BYTES or token[:1] != _VERSION:
        raise Malformed("not a revision token of this registry")
    head, nonce, sealed = (
        token[:_HEAD_BYTES],
        token[_HEAD_BYTES:][:_NONCE_BYTES],
        token[_HEAD_BYTES:][_NONCE_BYTES:],
    )
    sealing_key = ring.keys.get(head[len(_VERSION) :].rstrip(b"\0").decode("ascii", "replace"))
    if sealing_key is None:
        raise Distrusted("the revision token was sealed with a key that is not known here")
    try:
        plain = AESGCM(sealing_key).decrypt(nonce, sealed, _PURPOSE + head)
    except InvalidTag as error:
        raise Distrusted("the revision token was not sealed here, or was changed") from error
    (count,) = _COUNT.unpack_from(plain)
    entries = plain[_COUNT.size :][: count * _ENTRY.size]
    return tuple(RevisableKey(*entry) for entry in _ENTRY.iter_unpack(entries))
