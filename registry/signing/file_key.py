"""A signing key in a file that only its owner can read. The embedded default.

The file is unencrypted PKCS #8 PEM, so its mode is its lock: anything looser than 0600 is refused.
"""

import os
import secrets
import stat
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

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_FILE_BYTES = 10_000


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
            key = load_pem_private_key(_read_private(path), password=None)
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
    content = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    # Written aside and linked: a crash leaves either no key or a whole one, never half a key under its name.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(aside, path)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists already; a signing key is never written over") from error
    finally:
        aside.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Asked of the open file, not of its name: nobody can swap the one for the other in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise ConfigurationError(
                    f"{path} can be used by others (mode {mode:04o}); run: chmod 600 {path}"
                )
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(f"cannot read the signing key {path}: {error.strerror}") from error
