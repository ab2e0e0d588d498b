"""The trust material that phones read before they believe a file."""

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.trust import (
    TrustedKey,
    TrustMaterial,
    decode_trust,
    encode_trust,
    shard_origin,
    shard_year,
)
from registry.protocol.witness_policy import PolicyLog, PolicyWitness, WitnessPolicy, encode_policy
from tests.protocol.made_signer import MadeSigner
from tests.protocol.note_signers import ed25519_signer, ml_dsa_signer, witness_signer

KEY = TrustedKey("xa", "1", MadeSigner().public_key_pem, 1_781_000_000, 1_790_000_000)
POLICY = {"window_seconds": 60, "floor": 1, "embargo_seconds": 7200, "retention_days": 21}
ORIGIN = "keys.example/keys"
ROOT = ed25519_signer(f"{ORIGIN}/trust", bytes(31) + b"\1").key
LOG_KEYS = (
    ed25519_signer(f"{ORIGIN}/2026", bytes(31) + b"\2").key,
    ml_dsa_signer(f"{ORIGIN}/2026", bytes(31) + b"\3").key,
    ed25519_signer(f"{ORIGIN}/2027", bytes(31) + b"\4").key,
)
WITNESS = witness_signer("witness.example", bytes(31) + b"\5").key
STRANGER = bytes(31) + b"\6"
"""Seed of keys that fit nothing here. Fixed, for such keys stand in the tests' names."""
OTHER_LOG = ed25519_signer("elsewhere.example/keys/2026", STRANGER).key
WITNESSES = WitnessPolicy((PolicyLog(LOG_KEYS[0]),), (PolicyWitness("one", WITNESS),), (), "one")
TRUST = TrustMaterial(
    profile="demo",
    regions=("XA", "CN-HB"),
    export_signing_keys=(KEY,),
    publication=POLICY,
    trust_vkey=ROOT.vkey,
    log_origin=ORIGIN,
    log_vkeys=tuple(key.vkey for key in LOG_KEYS),
    witness_policy=encode_policy(WITNESSES).decode(),
    sequence=7,
    issued_at=1_781_524_800,
)
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
    trust = replace(TRUST, profile=profile, regions=regions, publication=policy)
    assert decode_trust(encode_trust(trust)) == trust
    assert decode_trust(encode_trust(trust)).policy() == WITNESSES


def test_the_names_of_members() -> None:
    members = json.loads(encode_trust(TRUST))
    assert members["profile"] == "demo"
    assert members["regions"] == ["XA", "CN-HB"]
    assert members["publication"] == POLICY
    assert members["witness_policy"].endswith("\nquorum one\n")
    assert members["log_vkeys"] == [key.vkey for key in LOG_KEYS]
    assert members["trust_vkey"] == ROOT.vkey
    assert members["log_origin"] == ORIGIN
    assert members["sequence"] == 7
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
        {"witness_policy": "none"},
        {"witness_policy": f"log {OTHER_LOG.vkey}\nquorum none\n"},
        {"log_vkeys": {}},
        {"log_vkeys": []},
        {"log_vkeys": ["log+1+x"]},
        {"log_vkeys": [LOG_KEYS[1].vkey]},
        {"log_vkeys": [LOG_KEYS[0].vkey, LOG_KEYS[0].vkey]},
        {"log_vkeys": [LOG_KEYS[0].vkey, WITNESS.vkey]},
        {"log_vkeys": [LOG_KEYS[0].vkey, witness_signer(f"{ORIGIN}/2026", STRANGER).key.vkey]},
        {"log_vkeys": [ed25519_signer(f"{ORIGIN}/26", STRANGER).key.vkey]},
        {"trust_vkey": None},
        {"trust_vkey": LOG_KEYS[0].vkey},
        {"trust_vkey": ed25519_signer("elsewhere.example/keys/trust", STRANGER).key.vkey},
        {"trust_vkey": ml_dsa_signer(f"{ORIGIN}/trust", STRANGER).key.vkey},
        {"log_origin": "elsewhere.example/keys"},
        {"sequence": 0},
        {"sequence": None},
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


@given(st.integers(0, 9999))
def test_a_shard_is_named_by_its_year(year: int) -> None:
    assert shard_year(ORIGIN, shard_origin(ORIGIN, year)) == year


@pytest.mark.parametrize(
    "origin", [ORIGIN, f"{ORIGIN}/", f"{ORIGIN}/trust", f"{ORIGIN}/20266", "x/2026", "2026"]
)
def test_what_is_no_shard_of_this_log(origin: str) -> None:
    with pytest.raises(Malformed):
        shard_year(ORIGIN, origin)
