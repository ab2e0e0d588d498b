"""An authenticator in software: makes passkeys and answers challenges as WebAuthn Level 3 says, or lies.

Written from the specification (§6.1 authenticator data, §6.5 attestation), not from the library under test.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class Authenticator:
    """One passkey, bound to one relying party."""

    origin: str
    rp_id: str
    flags: int = USER_PRESENT | USER_VERIFIED
    sign_count: int = 0
    counts: bool = True
    """Whether it counts its signatures; synced passkeys do not."""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: bytes | None = None

    def __post_init__(self) -> None:
        self.private_key = generate_private_key(SECP256R1())

    def create(self, options: dict[str, Any]) -> str:
        """What `navigator.credentials.create` gives, as JSON."""
        self.user_handle = base64.urlsafe_b64decode(options["user"]["id"] + "==")
        point = self.private_key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        length = len(self.credential_id).to_bytes(2, "big")
        attested = bytes(16) + length + self.credential_id + cbor2.dumps(cose)
        said = self._data(self.flags | ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": said})
        client = self._client("webauthn.create", options["challenge"])
        return self._written(
            {"clientDataJSON": base64url(client), "attestationObject": base64url(attestation)}
        )

    def get(self, options: dict[str, Any]) -> str:
        """What `navigator.credentials.get` gives, as JSON."""
        self.sign_count += self.counts
        client, said = self._client("webauthn.get", options["challenge"]), self._data(self.flags)
        signature = self.private_key.sign(said + hashlib.sha256(client).digest(), ECDSA(SHA256()))
        response = {
            "clientDataJSON": base64url(client),
            "authenticatorData": base64url(said),
            "signature": base64url(signature),
        }
        if self.user_handle is not None:
            response["userHandle"] = base64url(self.user_handle)
        return self._written(response)

    def _data(self, flags: int) -> bytes:
        return (
            hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.sign_count.to_bytes(4, "big")
        )

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said).encode()

    def _written(self, response: dict[str, str]) -> str:
        name = base64url(self.credential_id)
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})
