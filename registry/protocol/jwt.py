"""JSON Web Tokens in the one form that apps and servers of this field exchange: compact, ES256, with `kid`.

RFC 7515, RFC 7518 §3.4, RFC 7519. No other algorithm is known here, so none can be chosen by whoever
writes the header. Reading checks the form only; nothing read may be believed before `verify_jwt`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from registry.errors import CertificateInvalid, Malformed
from registry.protocol.encoding import (
    JsonObject,
    decode_base64url,
    decode_json_object,
    encode_base64url,
    encode_json,
)

MAX_TOKEN_CHARACTERS = 8192
_COORDINATE_BYTES = 32


class CertificateSigner(Protocol):
    """Signs certificates and tokens. Whatever holds the signing key stays behind this."""

    @property
    def key_id(self) -> str:
        """Goes into `kid`, by which the reader finds the public key."""

    def sign(self, message: bytes) -> bytes:
        """ECDSA on P-256 over the SHA-256 of `message`, as DER."""


def encode_jwt(claims: Mapping[str, object], signer: CertificateSigner) -> str:
    """The compact form of `claims`, signed. Header: alg ES256, typ JWT, kid."""
    header = {"alg": "ES256", "typ": "JWT", "kid": signer.key_id}
    signed = f"{encode_base64url(encode_json(header))}.{encode_base64url(encode_json(claims))}"
    r, s = decode_dss_signature(signer.sign(signed.encode("ascii")))
    raw = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
    return f"{signed}.{encode_base64url(raw)}"


def read_jwt(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, claims), unverified: good only for finding the key to verify with.

    Raises Malformed for a token over 8192 characters, not of three base64url parts, of another algorithm
    than ES256, without a `kid`, or with critical header extensions, of which we know none.
    """
    header, claims, _signed, _raw = _parts(token)
    return header.as_dict(), claims.as_dict()


def verify_jwt(token: str, public_key: EllipticCurvePublicKey) -> dict[str, Any]:
    """The claims, once the signature holds. Checks no claim, not even the expiry.

    Raises Malformed as `read_jwt` does, CertificateInvalid if the signature is not by this key.
    """
    _header, claims, signed, raw = _parts(token)
    r, s = (int.from_bytes(half, "big") for half in (raw[:_COORDINATE_BYTES], raw[_COORDINATE_BYTES:]))
    try:
        public_key.verify(encode_dss_signature(r, s), signed, ECDSA(SHA256()))
    except InvalidSignature as error:
        raise CertificateInvalid("the signature does not verify with the key that 'kid' names") from error
    return claims.as_dict()


def _parts(token: str) -> tuple[JsonObject, JsonObject, bytes, bytes]:
    """(header, claims, the signed text, the 64 signature bytes r then s)."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise Malformed(f"a token may have {MAX_TOKEN_CHARACTERS} characters, this one has {len(token)}")
    parts = token.split(".")
    if len(parts) != 3:
        raise Malformed("a token must have three parts between two dots")
    header = decode_json_object(decode_base64url(parts[0]), "token header")
    claims = decode_json_object(decode_base64url(parts[1]), "token claims")
    raw = decode_base64url(parts[2])
    if header.text("alg") != "ES256":
        raise Malformed("a token must be signed with ES256")
    header.text("kid")
    if "crit" in header:
        raise Malformed("the token header demands extensions that are not known here")
    if len(raw) != 2 * _COORDINATE_BYTES:
        raise Malformed("an ES256 signature must be 64 bytes long")
    return header, claims, f"{parts[0]}.{parts[1]}".encode("ascii"), raw


def load_public_key(pem: str) -> EllipticCurvePublicKey:
    """A P-256 public key from PEM (SubjectPublicKeyInfo). Raises Malformed for anything else."""
    try:
        public_key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("not a public key in PEM") from error
    if not isinstance(public_key, EllipticCurvePublicKey) or not isinstance(public_key.curve, SECP256R1):
        raise Malformed("not a public key on the curve P-256")
    return public_key


def jwk_of(public_key_pem: str, key_id: str) -> dict[str, str]:
    """The public key as a member of a JWK Set (RFC 7517, RFC 7518 §6.2). Raises Malformed."""
    point = load_public_key(public_key_pem).public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
        "use": "sig",
        "kid": key_id,
        "x": encode_base64url(point.x.to_bytes(_COORDINATE_BYTES, "big")),
        "y": encode_base64url(point.y.to_bytes(_COORDINATE_BYTES, "big")),
    }
