"""The trust material that phones read before they believe a file."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.trust import TrustedKey, TrustMaterial, decode_trust, encode_trust
from tests.protocol.made_signer import MadeSigner

KEY = TrustedKey("xa", "1", MadeSigner().public_key_pem, 1_781_000_000, 1_790_000_000)
POLICY = {"window_seconds": 60, "floor": 1, "embargo_seconds": 7200, "retention_days": 21}
TRUST = TrustMaterial("demo", ("XA", "CN-HB"), (KEY,), POLICY, issued_at=1_781_524_800)
OTHER_CURVE = ec.generate_private_key(ec.SECP384R1()).public_key()


def document(**changes: Any) -> bytes:
    return json.dumps(json.loads(encode_trust(TRUST)) | changes).encode()


def key_document(**changes: Any) -> dict[str, Any]:
    key: dict[str, Any] = json.loads(encode_trust(TRUST))["export_signing_keys"][0]
    return key | changes


@given(
    st.sampled_from(["demo", "production"]),
    st.lists(st.sampled_from(["XA", "CN", "CN-HB"]), unique=True).map(tuple),
    st.dictionaries(st.text("abc_", min_size=1), st.integers(0, 2**53 - 1)),
)
def test_what_goes_in_comes_out(profile: Any, regions: tuple[str, ...], policy: dict[str, int]) -> None:
    trust = TrustMaterial(profile, regions, (KEY,), policy, ("log+1+x",), "quorum 2", 5)
    assert decode_trust(encode_trust(trust)) == trust


def test_the_names_of_members() -> None:
    members = json.loads(encode_trust(TRUST))
    assert members["profile"] == "demo"
    assert members["regions"] == ["XA", "CN-HB"]
    assert members["publication"] == POLICY
    assert members["witness_policy"] == "none"
    assert members["log_vkeys"] == []
    assert members["export_signing_keys"] == [
        {
            "key_id": "xa",
            "key_version": "1",
            "public_key": KEY.public_key_pem,
            "not_before": 1_781_000_000,
            "not_after": 1_790_000_000,
        }
    ]


def test_it_holds_no_secret_half() -> None:
    assert b"PRIVATE" not in encode_trust(TRUST)


def test_what_later_versions_add_is_passed_over() -> None:
    assert decode_trust(document(contacts=["x"])) == TRUST


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "test"},
        {"profile": None},
        {"regions": "XA"},
        {"regions": ["xa"]},
        {"regions": [5]},
        {"publication": None},
        {"publication": {"floor": "1"}},
        {"publication": {"floor": -1}},
        {"witness_policy": 0},
        {"log_vkeys": {}},
        {"issued_at": None},
        {"export_signing_keys": None},
        {"export_signing_keys": ["pem"]},
        {"export_signing_keys": [key_document(), key_document(not_before=1)]},
        {"export_signing_keys": [key_document(key_id="")]},
        {"export_signing_keys": [key_document(key_version=1)]},
        {"export_signing_keys": [key_document(public_key="")]},
        {"export_signing_keys": [key_document(public_key="-----BEGIN PUBLIC KEY-----")]},
        {
            "export_signing_keys": [
                key_document(
                    public_key=OTHER_CURVE.public_bytes(
                        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
                    ).decode()
                )
            ]
        },
        {"export_signing_keys": [key_document(not_after=1_781_000_000)]},
        {"export_signing_keys": [key_document(not_before=-1)]},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode_trust(document(**changes))


def test_two_versions_of_a_key_may_stand_side_by_side() -> None:
    """While one takes over from the other."""
    both = [key_document(), key_document(key_version="2")]
    assert len(decode_trust(document(export_signing_keys=both)).export_signing_keys) == 2
