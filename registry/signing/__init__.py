"""Who holds a signing key. Whatever holds one gives signatures away and never the key itself.

Nothing that faces the Internet may reach this package by any chain of imports, except through a signer
that `app.py` hands to it.
"""

from collections.abc import Mapping
from typing import Protocol


class Signer(Protocol):
    """Signs with one ECDSA P-256 key, wherever that key lies.

    `key_id` and `key_version` are what an export file names (GAEN SignatureInfo, fields 4 and 3);
    `public_key_pem` is the SubjectPublicKeyInfo of the same key.
    """

    @property
    def key_id(self) -> str:
        """The field's `verification_key_id`; `kid` where the key signs certificates."""
        ...

    @property
    def key_version(self) -> str:
        """The field's `verification_key_version`."""
        ...

    @property
    def public_key_pem(self) -> str:
        """PEM, ends with a newline."""
        ...

    def sign(self, message: bytes) -> bytes:
        """ECDSA over SHA-256 of `message`, as an ASN.1 DER sequence {r, s} (X9.62)."""
        ...


class NoteSigner(Protocol):
    """Signs signed notes and cosignatures with one key, wherever that key lies.

    The same key bytes under another `name` or `kind` are another key to a verifier (C2SP signed-note).
    """

    @property
    def name(self) -> str:
        """The key's name in the note: a schema-less URL, without spaces and plus."""
        ...

    @property
    def kind(self) -> int:
        """The signature type: 1 Ed25519, 4 Ed25519 cosignature/v1, 6 ML-DSA-44 cosignature."""
        ...

    @property
    def public_key(self) -> bytes:
        """The raw public key: 32 bytes (Ed25519) or 1,312 (ML-DSA-44)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The raw signature over exactly `message`: 64 bytes (Ed25519) or 2,420 (ML-DSA-44).

        Raises Unavailable where the key lies in a token that does not answer.
        """
        ...


class KeyRing(Protocol):
    """Where the registry's signing keys lie, all kinds together: in files, or in a token and files.

    `app.py` opens one a process and keeps it. Every `create_` leaves alone what is there already, so that
    one that was cut off is simply called again. All raise ConfigurationError for a key that is missing,
    open to others or of another kind; those of a token raise Unavailable when it does not answer.
    """

    def export_signers(self) -> list[Signer]:
        """Every export signing key at hand, by id and version. Looked up anew at each call."""
        ...

    def create_export_key(self, key_id: str, key_version: str) -> Signer:
        """The export key of this id and version, made if it is not there."""
        ...

    def has_log_keys(self, year: int) -> bool:
        """Whether both keys of this year's shard are there."""
        ...

    def create_log_keys(self, year: int) -> None:
        """Make this year's log keys: Ed25519 and ML-DSA-44."""
        ...

    def log_signers(self, year: int, origin: str) -> list[NoteSigner]:
        """The shard's two signers, Ed25519 (kind 1) first, ML-DSA-44 (kind 6) second.

        `origin` is the registry's; both are named `<origin>/<year>`, which is the shard's.
        """
        ...

    def create_trust_key(self) -> None:
        """Make the trust root, which signs the note beside the trust material."""
        ...

    def trust_signer(self, origin: str) -> NoteSigner:
        """The trust root: Ed25519, kind 1, named `<origin>/trust`."""
        ...

    def create_witness_keys(self) -> None:
        """Make the keys of our own witness: Ed25519 and ML-DSA-44."""
        ...

    def witness_signers(self, name: str) -> list[NoteSigner]:
        """Our witness's signers, both called `name`: Ed25519 (kind 4) first, ML-DSA-44 (kind 6) second."""
        ...

    def places(self) -> Mapping[str, str]:
        """Where each key lies, in words for an operator, by label.

        Labels: `export-<id>-<version>`, `log-<year>`, `log-<year>-mldsa44`, `trust`, `witness`,
        `witness-mldsa44`.
        """
        ...
