"""Signers of notes whose keys live as long as the test: Ed25519 and ML-DSA-44, for logs and witnesses."""

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from registry.protocol.note import KeyKind, VerifierKey, verifier_key


@dataclass(frozen=True)
class MadeNoteSigner:
    """One key under one name; `kind` says what it signs and how."""

    name: str
    kind: int
    public_key: bytes
    sign_raw: Callable[[bytes], bytes]

    def sign(self, message: bytes) -> bytes:
        return self.sign_raw(message)

    @property
    def key(self) -> VerifierKey:
        return verifier_key(self)


def ed25519_signer(name: str, seed: bytes | None = None) -> MadeNoteSigner:
    """A log's plain key (0x01)."""
    return _ed25519(name, KeyKind.ED25519, seed)


def witness_signer(name: str, seed: bytes | None = None) -> MadeNoteSigner:
    """A witness's key of type cosignature/v1 (0x04)."""
    return _ed25519(name, KeyKind.COSIGNATURE_V1, seed)


def _ed25519(name: str, kind: KeyKind, seed: bytes | None) -> MadeNoteSigner:
    key = Ed25519PrivateKey.from_private_bytes(seed) if seed else Ed25519PrivateKey.generate()
    return MadeNoteSigner(name, kind, key.public_key().public_bytes_raw(), key.sign)


def ml_dsa_signer(name: str, seed: bytes | None = None) -> MadeNoteSigner:
    """A log's or a witness's key of type ML-DSA-44 (0x06)."""
    key = MLDSA44PrivateKey.from_seed_bytes(seed) if seed else MLDSA44PrivateKey.generate()
    return MadeNoteSigner(name, KeyKind.ML_DSA_44, key.public_key().public_bytes_raw(), key.sign)


def signer_of(private_key: str) -> MadeNoteSigner:
    """The signer in a published test key, PRIVATE+KEY+name+id+base64(0x01 and 32-byte seed)."""
    _, _, name, key_id, content = private_key.split("+", 4)
    kind_and_seed = b64decode(content)
    assert kind_and_seed[0] == KeyKind.ED25519
    signer = ed25519_signer(name, kind_and_seed[1:])
    assert signer.key.key_id.hex() == key_id
    return signer
