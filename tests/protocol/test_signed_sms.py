"""A signed SMS as a phone of old checks it, written here a second time from the contract's words."""

import re
from base64 import b64decode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicNumbers,
    derive_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from registry.protocol.signed_sms import SmsPurpose, sign_sms
from tests.authority import MadeSigner

NUMBER = "+8613800138000"
NOON = 1_781_524_800  # 2026-06-15T12:00:00Z
SIGNER = MadeSigner("v1")


def check(sms: str, number: str, day: str, purpose: str = "EN Report") -> None:
    """Raises InvalidSignature unless the SMS is its authority's."""
    found = re.fullmatch(r"(?s)(.*) \nAuthentication:(\d{4}):([A-Za-z0-9]+):([A-Za-z0-9+/]+)", sms)
    assert found, "no signature"
    text, month_and_day, key_id, signature = found.groups()
    assert month_and_day == day[5:7] + day[8:10]
    assert key_id == "v1"
    assert "=" not in signature
    signed = ".".join([purpose, number, day, text + " \nAuthentication:"]).encode()
    SIGNER.public_key.verify(b64decode(signature + "=" * (-len(signature) % 4)), signed, ECDSA(SHA256()))


@given(st.text(), st.sampled_from(SmsPurpose))
def test_a_phone_takes_what_was_signed_for_it(text: str, purpose: SmsPurpose) -> None:
    sms = sign_sms(text, SIGNER, purpose=purpose, e164=NUMBER, now=NOON)
    assert sms.startswith(text)
    check(sms, NUMBER, "2026-06-15", purpose.value)


def test_the_day_is_that_of_utc() -> None:
    late = sign_sms("code", SIGNER, purpose=SmsPurpose.ISSUED, e164=NUMBER, now=NOON + 12 * 3600 - 1)
    check(late, NUMBER, "2026-06-15")
    check(
        sign_sms("code", SIGNER, purpose=SmsPurpose.ISSUED, e164=NUMBER, now=NOON + 12 * 3600),
        NUMBER,
        "2026-06-16",
    )


@pytest.mark.parametrize(
    ("number", "day", "purpose"),
    [
        ("+8613800138001", "2026-06-15", "EN Report"),
        (NUMBER, "2027-06-15", "EN Report"),
        (NUMBER, "2026-06-15", "User Report"),
    ],
)
def test_it_is_for_one_number_one_day_and_one_purpose(number: str, day: str, purpose: str) -> None:
    sms = sign_sms("code", SIGNER, purpose=SmsPurpose.ISSUED, e164=NUMBER, now=NOON)
    with pytest.raises(InvalidSignature):
        check(sms, number, day, purpose)
    with pytest.raises(InvalidSignature):
        check(sms.replace("code", "kode"), NUMBER, "2026-06-15")


def test_known_answer_what_is_signed_is_these_very_bytes() -> None:
    # The key pair of RFC 6979 §A.2.5; ECDSA's bytes differ each time, what they sign does not.
    x = 0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6
    y = 0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299
    key = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    secret = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721  # RFC 6979 §A.2.5
    signer = MadeSigner("v1", derive_private_key(secret, SECP256R1()))
    assert signer.public_key == key
    sms = sign_sms("This is a message", signer, purpose=SmsPurpose.ISSUED, e164="+11111111111", now=0)
    head, _, signature = sms.rpartition(":")
    assert head == "This is a message \nAuthentication:0101:v1"
    signed = b"EN Report.+11111111111.1970-01-01.This is a message \nAuthentication:"
    key.verify(b64decode(signature + "=" * (-len(signature) % 4)), signed, ECDSA(SHA256()))
