"""A published key set is read with suspicion: what signs certificates is taken, nonsense refused whole."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.errors import Malformed
from registry.protocol.jwks import LARGEST_SET_BYTES, read_key_set
from registry.protocol.jwt import jwk_of


def public_pem(curve: ec.EllipticCurve | None = None) -> str:
    public_key = ec.generate_private_key(curve or ec.SECP256R1()).public_key()
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PEM = public_pem()
KEY: dict[str, Any] = jwk_of(PEM, "k1")


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys, "issuer": "other members do no harm"}).encode()


def test_a_key_comes_back_as_the_pem_that_it_was_made_of() -> None:
    assert read_key_set(key_set(KEY, KEY | {"kid": "k2"})) == {"k1": PEM, "k2": PEM}
    bare = {name: KEY[name] for name in ("kty", "crv", "kid", "x", "y")}
    assert read_key_set(key_set(bare)) == {"k1": PEM}


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
        KEY | {"crv": "P-384"},
        KEY | {"alg": "ES384"},
        KEY | {"use": "enc"},
        KEY | {"key_ops": ["deriveKey"]},
        {name: value for name, value in KEY.items() if name != "kid"},
        KEY | {"kid": ""},
        KEY | {"kid": "x" * 65},
        KEY | {"kid": 7},
    ],
)
def test_a_key_for_something_else_is_passed_over(other: dict[str, Any]) -> None:
    assert read_key_set(key_set(other)) == {}
    assert list(read_key_set(key_set(other, KEY | {"kid": "good"}))) == ["good"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b"{}", "keys"),
        (b'{"keys": [7]}', "objects"),
        (key_set(KEY, KEY), "two keys of one"),
        (key_set(KEY | {"d": "AQAB"}), "secret half"),
        (key_set({"kty": "RSA", "d": "AQAB"}), "secret half"),
        (key_set(KEY | {"x": "AQAB"}), "no point of P-256"),
        (key_set(KEY | {"y": 7}), "no point of P-256"),
        (key_set({name: value for name, value in KEY.items() if name != "x"}), "no point of P-256"),
        (key_set(*({"kty": "RSA", "kid": str(n)} for n in range(21))), "more than 20"),
        (key_set(KEY) + b" " * LARGEST_SET_BYTES, "larger than"),
        (b'{"keys": ' + b"[" * 50_000, "JSON"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_whole(content: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        read_key_set(content)
