"""Export and log keys that lie in a PKCS#11 token, and the key ring of a registry that has one.

Nothing signed leaves here before it has verified with the key's public half: a token that errs, or a
label that came to mean another key, must not publish. No token in use makes ML-DSA signatures yet, so that
half of a log's signatures stays in a file, as do the trust root and the witness's keys.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import ConfigurationError, Unavailable
from registry.signing import NoteSigner, Signer
from registry.signing.keyring import LOG_KIND, FilesKeyRing
from registry.signing.pkcs11_token import EDWARDS25519, P256, Pkcs11Token

_NUMBER_BYTES = 32


class TokenExportKey:
    """An ECDSA P-256 key in a token. Is a `Signer`."""

    def __init__(self, token: Pkcs11Token, label: str, key_id: str, key_version: str) -> None:
        """Raises ConfigurationError if the token has no such key, Unavailable if it does not answer."""
        self._token = token
        self._label = label
        self.key_id = key_id
        self.key_version = key_version
        try:
            self._public_key = ec.EllipticCurvePublicKey.from_encoded_point(
                ec.SECP256R1(), token.public_point(label, P256)
            )
        except ValueError as error:
            raise ConfigurationError(f"the key {label} of the token {token.label} is no P-256 key") from error
        self.public_key_pem = self._public_key.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ).decode("ascii")

    def sign(self, message: bytes) -> bytes:
        """ECDSA over SHA-256 of `message`, DER. Raises Unavailable if the token fails."""
        # Hashed here: not every token takes the mechanism that hashes and signs in one.
        numbers = self._token.sign(self._label, P256, hashlib.sha256(message).digest())
        r, s = numbers[:_NUMBER_BYTES], numbers[_NUMBER_BYTES:]
        signature = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        try:
            self._public_key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise _erred(self._token, self._label) from error
        return signature


class TokenNoteKey:
    """An Ed25519 key in a token. Is a `NoteSigner`."""

    def __init__(self, token: Pkcs11Token, label: str, name: str, kind: int) -> None:
        """Raises ConfigurationError if the token has no such key, Unavailable if it does not answer."""
        self._token = token
        self._label = label
        self.name = name
        self.kind = kind
        self.public_key = token.public_point(label, EDWARDS25519)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 over `message`, 64 bytes (RFC 8032). Raises Unavailable if the token fails."""
        signature = self._token.sign(self._label, EDWARDS25519, message)
        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature as error:
            raise _erred(self._token, self._label) from error
        return signature


class TokenKeyRing:
    """Export keys and the logs' Ed25519 keys in a token, all others in files. Is a `KeyRing`.

    Labels in the token: `export-<id>-<version>`, `log-<year>`. Export and log keys that lie in files since
    before there was a token go on signing until they end; new ones are made in the token.
    """

    def __init__(self, token: Pkcs11Token, files: FilesKeyRing) -> None:
        self._token = token
        self._files = files

    def export_signers(self) -> list[Signer]:
        """The token's keys, then those of files. Raises ConfigurationError if one name lies in both."""
        labels = [label for label in self._token.labels() if label.startswith("export-")]
        in_token: list[Signer] = [
            TokenExportKey(self._token, label, *label.removeprefix("export-").rsplit("-", 1))
            for label in labels
        ]
        in_files = self._files.export_signers()
        for signer in in_files:
            self._refuse_two_places(_export_label(signer.key_id, signer.key_version), labels)
        return in_token + in_files

    def create_export_key(self, key_id: str, key_version: str) -> Signer:
        """The key in the token, made there if it is in neither place."""
        label = _export_label(key_id, key_version)
        labels, in_file = self._token.labels(), label in self._files.places()
        if in_file:
            self._refuse_two_places(label, labels)
            return self._files.create_export_key(key_id, key_version)
        if label not in labels:
            self._token.create_key(label, P256)
        return TokenExportKey(self._token, label, key_id, key_version)

    def has_log_keys(self, year: int) -> bool:
        """Whether the ML-DSA file is there, and the Ed25519 key in either place."""
        places = self.places()
        return f"log-{year}" in places and f"log-{year}-mldsa44" in places

    def create_log_keys(self, year: int) -> None:
        """Ed25519 in the token, unless it lies in a file already; ML-DSA-44 in a file."""
        self._files.create_ml_dsa_log_key(year)
        if f"log-{year}" not in self.places():
            self._token.create_key(f"log-{year}", EDWARDS25519)

    def log_signers(self, year: int, origin: str) -> list[NoteSigner]:
        """Ed25519 (1) of the token, or of a file from before it; ML-DSA-44 (6) of a file."""
        label, labels = f"log-{year}", self._token.labels()
        if label in self._files.places():
            self._refuse_two_places(label, labels)
            return self._files.log_signers(year, origin)
        return [
            TokenNoteKey(self._token, label, f"{origin}/{year}", LOG_KIND),
            self._files.ml_dsa_log_signer(year, origin),
        ]

    def create_trust_key(self) -> None:
        """In a file: the root is best kept where the publisher's machine cannot reach it at all."""
        self._files.create_trust_key()

    def trust_signer(self, origin: str) -> NoteSigner:
        """Of a file."""
        return self._files.trust_signer(origin)

    def create_witness_keys(self) -> None:
        """In files."""
        self._files.create_witness_keys()

    def witness_signers(self, name: str) -> list[NoteSigner]:
        """Of files."""
        return self._files.witness_signers(name)

    def places(self) -> Mapping[str, str]:
        """Label to `token <label>` or `file <path>`; both, where a key lies in two places."""
        places = dict(self._files.places())
        for label in self._token.labels():
            if label.startswith(("export-", "log-")):
                here = f"token {self._token.label}"
                places[label] = f"{places[label]} and {here}" if label in places else here
        return places

    def _refuse_two_places(self, label: str, labels: list[str]) -> None:
        """One name must mean one key."""
        if label in labels:
            raise ConfigurationError(
                f"the key {label} lies in the token {self._token.label} and also in "
                f"{self._files.places()[label]}: take the file away"
            )


def open_token_ring(module: Path, token_label: str, pin: str, files: FilesKeyRing) -> TokenKeyRing:
    """Log in to the token and join it with `files`. Raises ConfigurationError as `Pkcs11Token.open` does."""
    return TokenKeyRing(Pkcs11Token.open(module, token_label, pin), files)


def _export_label(key_id: str, key_version: str) -> str:
    return f"export-{key_id}-{key_version}"


def _erred(token: Pkcs11Token, label: str) -> Unavailable:
    return Unavailable(
        f"the token {token.label} gave a signature that is not by the key {label} as it was when we started"
    )
