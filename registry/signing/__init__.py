"""Who holds a signing key. Whatever holds one gives signatures away and never the key itself.

Nothing that faces the Internet may reach this package by any chain of imports, except through a signer
that `app.py` hands to it.
"""

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
