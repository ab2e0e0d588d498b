"""An authority's public certificate keys as it publishes them: a JWK set (RFC 7517), read with suspicion.

Nothing but P-256 keys for ES256 signatures with a key id counts; others in the set are passed over, for they
serve something else. What cannot be meant seriously is refused whole: too much, a secret half, one id twice.
"""

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import Malformed
from registry.protocol.encoding import decode_base64url, decode_json_object

LARGEST_SET_BYTES = 64_000
MOST_KEYS = 20
_LONGEST_KEY_ID = 64


def read_key_set(content: bytes) -> dict[str, str]:
    """Public keys as PEM, by their ids; maybe none. Raises Malformed."""
    if len(content) > LARGEST_SET_BYTES:
        raise Malformed(f"the key set is larger than {LARGEST_SET_BYTES} bytes")
    listed = [key.as_dict() for key in decode_json_object(content, "the key set").children("keys")]
    if len(listed) > MOST_KEYS:
        raise Malformed(f"the key set has more than {MOST_KEYS} keys")
    found: dict[str, str] = {}
    for key in listed:
        if "d" in key:
            raise Malformed("the key set holds a secret half: that key is lost and must be replaced")
        if _is_for_certificates(key):
            key_id = key["kid"]
            if key_id in found:
                raise Malformed("the key set has two keys of one 'kid'")
            found[key_id] = _pem(key)
    return found


def _is_for_certificates(key: Mapping[str, Any]) -> bool:
    operations = key.get("key_ops", ["verify"])
    key_id = key.get("kid")
    return (
        key.get("kty") == "EC"
        and key.get("crv") == "P-256"
        and key.get("alg", "ES256") == "ES256"
        and key.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(key_id, str)
        and 1 <= len(key_id) <= _LONGEST_KEY_ID
        and key_id.isascii()
        and key_id.isprintable()
    )


def _pem(key: Mapping[str, Any]) -> str:
    try:
        x, y = (int.from_bytes(decode_base64url(key[name])) for name in ("x", "y"))
        public_key = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except (KeyError, TypeError, AttributeError, ValueError, Malformed) as error:
        raise Malformed(f"the key {key['kid']!r} is no point of P-256") from error
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
