"""A signing key in a file that only its owner can read. The embedded default.

The file is unencrypted PKCS #8 PEM, so its mode is its lock: anything looser than 0600 is refused.
"""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from registry.errors import ConfigurationError
from registry.signing.key_file import create_private, read_private


class FileKey:
    """An ECDSA P-256 key read from a file once. Is a `Signer`, and signs verification certificates too."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey, key_id: str, key_version: str) -> None:
        self._private_key = private_key
        self.key_id = key_id
        self.key_version = key_version
        self.public_key_pem = (
            private_key.public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            .decode("ascii")
        )

    @classmethod
    def load(cls, path: Path, key_id: str, key_version: str) -> "FileKey":
        """The key in `path`. Raises ConfigurationError if it is missing, open to others, or no P-256 key."""
        try:
            key = load_pem_private_key(read_private(path), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # The parser's own words may quote the file; they must not reach a log.
            raise ConfigurationError(f"{path} holds no unencrypted PKCS #8 key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ConfigurationError(f"{path} holds a key of another kind; ECDSA P-256 is needed")
        return cls(key, key_id, key_version)

    def sign(self, message: bytes) -> bytes:
        """ECDSA over SHA-256 of `message`, DER. Every call gives other bytes."""
        return self._private_key.sign(message, ec.ECDSA(hashes.SHA256()))


def create_key_file(path: Path) -> None:
    """Make a new P-256 key in `path`, mode 0600, durable when this returns.

    Raises ConfigurationError if anything lies there already: a signing key is never written over.
    """
    create_private(
        path,
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    )
