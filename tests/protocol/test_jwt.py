"""Tokens: one form is written, and every way around its signature is refused."""

import hmac
import json
from base64 import urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import CertificateInvalid, Malformed
from registry.protocol.encoding import encode_base64url, encode_json
from registry.protocol.jwt import encode_jwt, jwk_of, load_public_key, read_jwt, verify_jwt
from tests.protocol.made_signer import MadeSigner

SIGNER = MadeSigner()


def part(members: dict[str, object]) -> str:
    return encode_base64url(encode_json(members))


def raw_json_part(text: str) -> str:
    return encode_base64url(text.encode())


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.text("xyz")))
def test_claims_come_back_once_the_signature_holds(claims: dict[str, object]) -> None:
    token = encode_jwt(claims, SIGNER)
    assert read_jwt(token) == ({"alg": "ES256", "typ": "JWT", "kid": "v1"}, claims)
    assert verify_jwt(token, SIGNER.public_key) == claims


def test_the_signature_is_r_then_s_in_64_bytes_however_small_they_are() -> None:
    """DER drops leading zeros; a JWT keeps them. One token in 128 or so has such a number."""
    for n in range(300):
        signature = encode_jwt({"n": n}, SIGNER).split(".")[2]
        assert len(urlsafe_b64decode(signature + "==")) == 64
        verify_jwt(encode_jwt({"n": n}, SIGNER), SIGNER.public_key)


TOKEN = encode_jwt({"iss": "x", "exp": 1}, SIGNER)


def test_another_key_s_signature_does_not_hold() -> None:
    with pytest.raises(CertificateInvalid):
        verify_jwt(encode_jwt({"iss": "x"}, MadeSigner()), SIGNER.public_key)


@given(st.data())
def test_no_character_can_be_changed(data: st.DataObject) -> None:
    # Made once: a signature is random, and an example must say the same when it is tried again.
    token = TOKEN
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABab01-_.=").filter(lambda letter: letter != token[at]))
    with pytest.raises((CertificateInvalid, Malformed)):
        verify_jwt(token[:at] + letter + token[at + 1 :], SIGNER.public_key)


def test_claims_cannot_be_exchanged_under_a_signature() -> None:
    mine, other = (
        encode_jwt({"sub": "mine"}, SIGNER).split("."),
        encode_jwt({"sub": "other"}, SIGNER).split("."),
    )
    with pytest.raises(CertificateInvalid):
        verify_jwt(".".join((mine[0], other[1], mine[2])), SIGNER.public_key)


def test_a_token_without_algorithm_is_no_token() -> None:
    for signature in ("", encode_base64url(bytes(64))):
        for alg in ("none", "None", "NONE", ""):
            with pytest.raises(Malformed):
                verify_jwt(f"{part({'alg': alg, 'kid': 'v1'})}.{part({})}.{signature}", SIGNER.public_key)


def test_the_public_key_is_no_hmac_secret() -> None:
    """HS256 with the PEM as secret: the classic confusion."""
    signed = f"{part({'alg': 'HS256', 'kid': 'v1'})}.{part({'iss': 'x'})}"
    mac = hmac.digest(SIGNER.public_key_pem.encode(), signed.encode(), "sha256")
    for signature in (mac, mac * 2):
        with pytest.raises(Malformed):
            verify_jwt(f"{signed}.{encode_base64url(signature)}", SIGNER.public_key)


def test_a_properly_signed_rs256_token_is_refused() -> None:
    signed = f"{part({'alg': 'RS256', 'kid': 'v1'})}.{part({'iss': 'x'})}"
    key = rsa.generate_private_key(65537, 2048)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    with pytest.raises(Malformed, match="ES256"):
        verify_jwt(f"{signed}.{encode_base64url(signature)}", SIGNER.public_key)


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64, bytes(72)])
def test_a_signature_of_another_shape_never_verifies(signature: bytes) -> None:
    signed = encode_jwt({"iss": "x"}, SIGNER).rsplit(".", 1)[0]
    with pytest.raises((CertificateInvalid, Malformed)):
        verify_jwt(f"{signed}.{encode_base64url(signature)}", SIGNER.public_key)


def test_der_is_not_the_form_of_a_jwt() -> None:
    signed = encode_jwt({"iss": "x"}, SIGNER).rsplit(".", 1)[0]
    with pytest.raises(Malformed, match="64 bytes"):
        verify_jwt(f"{signed}.{encode_base64url(SIGNER.sign(signed.encode()))}", SIGNER.public_key)


GOOD_HEADER = part({"alg": "ES256", "typ": "JWT", "kid": "v1"})
NO_SIGNATURE = encode_base64url(bytes(64))
TOO_DEEP = raw_json_part('{"a":' + "[" * 5000)
TWO_ENDS = raw_json_part('{"exp":1,"exp":9}')


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        "a.b.c",
        f"{GOOD_HEADER}.{part({})}",
        f"{GOOD_HEADER}.{part({})}.{NO_SIGNATURE}.{NO_SIGNATURE}",
        f"{part({'alg': 'ES256'})}.{part({})}.{NO_SIGNATURE}",
        f"{part({'alg': 'ES256', 'kid': ''})}.{part({})}.{NO_SIGNATURE}",
        f"{part({'alg': 'ES256', 'kid': 7})}.{part({})}.{NO_SIGNATURE}",
        f"{part({'alg': 'ES256', 'kid': 'v1', 'crit': ['b64']})}.{part({})}.{NO_SIGNATURE}",
        f"{part({'kid': 'v1'})}.{part({})}.{NO_SIGNATURE}",
        f"{raw_json_part('[]')}.{part({})}.{NO_SIGNATURE}",
        f"{GOOD_HEADER}.{raw_json_part('1')}.{NO_SIGNATURE}",
        f"{GOOD_HEADER}.{raw_json_part('{')}.{NO_SIGNATURE}",
        f"{GOOD_HEADER}.{TOO_DEEP}.{NO_SIGNATURE}",
        f"{GOOD_HEADER}.{TWO_ENDS}.{NO_SIGNATURE}",
        f"{GOOD_HEADER}=.{part({})}.{NO_SIGNATURE}",
        f" {GOOD_HEADER}.{part({})}.{NO_SIGNATURE}",
        f"{GOOD_HEADER}.{part({'pad': 'x' * 8000})}.{NO_SIGNATURE}",
        "\ud800.\ud800.\ud800",
        "." * 1_000_000,
    ],
    ids=lambda token: f"{len(token)} characters, {token[:12]!r}",
)
def test_not_a_token(token: str) -> None:
    with pytest.raises(Malformed):
        read_jwt(token)
    with pytest.raises(Malformed):
        verify_jwt(token, SIGNER.public_key)


def test_a_public_key_must_be_on_p_256() -> None:
    assert load_public_key(SIGNER.public_key_pem).public_numbers() == SIGNER.public_key.public_numbers()
    others = (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048))
    for other in others:
        pem = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(Malformed):
            load_public_key(pem)
    for text in ("", "x", SIGNER.public_key_pem[:80], SIGNER.public_key_pem.replace("A", "!"), "\ud800"):
        with pytest.raises(Malformed):
            load_public_key(text)


def test_a_jwk_holds_the_point_and_nothing_secret() -> None:
    jwk = jwk_of(SIGNER.public_key_pem, "v1")
    x, y = (int.from_bytes(urlsafe_b64decode(jwk[name] + "=="), "big") for name in "xy")
    assert ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()) == SIGNER.public_key.public_numbers()
    assert {len(jwk["x"]), len(jwk["y"])} == {43}
    assert jwk.keys() == {"kty", "crv", "alg", "use", "kid", "x", "y"}
    assert json.loads(json.dumps(jwk))["kid"] == "v1"
