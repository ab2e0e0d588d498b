"""A key in a file that signs notes: of a log, of the trust root, of a witness. Ed25519 or ML-DSA-44.

As with every key file its mode is its lock. What is signed, and with which time in it, is the caller's
affair (`registry/protocol/checkpoint.py`); here are keys and raw signatures only.
"""

from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from registry.errors import ConfigurationError
from registry.signing.key_file import create_private, read_private

NotePrivateKey = ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey


class NoteAlgorithm(StrEnum):
    """What a note key can be made of."""

    ED25519 = "ed25519"
    ML_DSA_44 = "ml-dsa-44"


ALGORITHM_OF_KIND = {
    1: NoteAlgorithm.ED25519,
    4: NoteAlgorithm.ED25519,
    6: NoteAlgorithm.ML_DSA_44,
}
"""By signature type (C2SP signed-note): 1 a log or the trust root, 4 a witness, 6 either, with ML-DSA."""


class NoteKey:
    """An Ed25519 or ML-DSA-44 key read from a file once. Is a `NoteSigner`."""

    def __init__(self, private_key: NotePrivateKey, name: str, kind: int) -> None:
        self._private_key = private_key
        self.name = name
        self.kind = kind
        self.public_key = private_key.public_key().public_bytes_raw()

    @classmethod
    def load(cls, path: Path, name: str, kind: int) -> "NoteKey":
        """The key in `path`, to be called `name` in notes, of signature type `kind` (1, 4 or 6).

        Raises ConfigurationError if the file is missing, open to others or holds a key that does not go
        with `kind`, and if this machine has no ML-DSA and `kind` needs it.
        """
        wanted = ALGORITHM_OF_KIND[kind]
        if wanted is NoteAlgorithm.ML_DSA_44:
            require_ml_dsa()
        try:
            key = load_pem_private_key(read_private(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # The parser's own words may quote the file; they must not reach a log.
            raise ConfigurationError(f"{path} holds no unencrypted PKCS #8 key in PEM") from error
        fits = ed25519.Ed25519PrivateKey if wanted is NoteAlgorithm.ED25519 else mldsa.MLDSA44PrivateKey
        if not isinstance(key, fits):
            raise ConfigurationError(f"{path} holds a key of another kind; {wanted.value} is needed")
        return cls(key, name, kind)

    def sign(self, message: bytes) -> bytes:
        """The raw signature: Ed25519 (RFC 8032), or pure ML-DSA-44 with an empty context (FIPS 204)."""
        return self._private_key.sign(message)


def create_note_key_file(path: Path, algorithm: NoteAlgorithm) -> None:
    """Make a new key in `path`, mode 0600, durable when this returns.

    Raises ConfigurationError if anything lies there already, or if this machine cannot make such a key.
    """
    key = _generate(algorithm)
    create_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def require_ml_dsa() -> None:
    """Raise ConfigurationError unless this machine can sign with ML-DSA-44. Asked by trying it."""
    try:
        mldsa.MLDSA44PrivateKey.from_seed_bytes(bytes(32))
    except UnsupportedAlgorithm as error:
        raise ConfigurationError(
            "this machine cannot sign with ML-DSA-44: install cryptography 48 or newer from its own wheel, "
            "or built with a current OpenSSL"
        ) from error


def _generate(algorithm: NoteAlgorithm) -> NotePrivateKey:
    if algorithm is NoteAlgorithm.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    require_ml_dsa()
    return mldsa.MLDSA44PrivateKey.generate()
