"""Receipts: one spelling, a commitment that shows nothing, and leaves that tell no real one from a decoy."""

import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.certificate import VerificationCertificate
from registry.protocol.encoding import encode_base64
from registry.protocol.receipt import (
    Receipt,
    all_receipt_leaves,
    attestation_commitment,
    commitment,
    decode_receipt,
    decoy_commitment,
    encode_receipt,
    padded_count,
    receipt_leaves,
    receipt_of,
    receipt_salt,
    receipts_root,
)

HASHES = st.binary(min_size=32, max_size=32)
SEED = bytes(range(32))
RECEIPTS = st.builds(
    Receipt,
    certificate=HASHES,
    ekeyhmac=HASHES,
    salt=HASHES,
    attestation=st.none() | HASHES,
    consent_hash=st.none() | HASHES,
    consent_version=st.none() | st.from_regex(r"\A[A-Za-z0-9._:+-]{1,32}\Z"),
)
FULL = Receipt(b"c" * 32, b"e" * 32, b"s" * 32, b"a" * 32, b"h" * 32, "2026-11")


@given(RECEIPTS)
def test_what_was_written_is_what_is_read(receipt: Receipt) -> None:
    assert decode_receipt(encode_receipt(receipt)) == receipt


def test_the_bytes_are_those_that_any_program_can_make() -> None:
    text = json.dumps(
        {
            "v": 1,
            "attestation": encode_base64(b"a" * 32),
            "certificate": encode_base64(b"c" * 32),
            "consent_hash": encode_base64(b"h" * 32),
            "consent_version": "2026-11",
            "ekeyhmac": encode_base64(b"e" * 32),
            "salt": encode_base64(b"s" * 32),
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    assert encode_receipt(FULL) == text.encode()
    assert commitment(text.encode()) == hashlib.sha256(text.encode()).digest()
    bare = Receipt(b"c" * 32, b"e" * 32, b"s" * 32)
    assert set(json.loads(encode_receipt(bare))) == {"v", "certificate", "ekeyhmac", "salt"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v":1,"w":1'),
        (b'{"attestation"', b'{ "attestation"'),
        (b'"salt"', b'"sold"'),
        (b'"certificate":"', b'"certificate":"AAAA'),
        (b"2026-11", b""),
        (b"=", b""),
    ],
)
def test_another_spelling_is_no_receipt(old: bytes, new: bytes) -> None:
    content = encode_receipt(FULL)
    assert old in content
    with pytest.raises(Malformed):
        decode_receipt(content.replace(old, new))


def test_both_ends_make_it_from_certificate_and_secret_alone() -> None:
    secret, token = b"k" * 16, "header.claims.signature"
    certificate = VerificationCertificate(
        issuer="i",
        audience="a",
        report_type="confirmed",
        tekmac=encode_base64(b"e" * 32),
        symptom_onset_interval=None,
        issued_at=None,
        not_before=None,
        expires_at=1,
        attestation=b"a" * 32,
        consent_hash=b"h" * 32,
        consent_version="2026-11",
    )
    salt = hmac.new(secret, b"positive-key-registry receipt v1", "sha256").digest()
    assert receipt_salt(secret) == salt
    wanted = replace(FULL, salt=salt, certificate=hashlib.sha256(token.encode()).digest())
    assert receipt_of(token, certificate, secret) == wanted
    spelled = replace(certificate, tekmac=certificate.tekmac.rstrip("=").replace("+", "-"))
    assert receipt_of(token, spelled, secret) == wanted, "a MAC is its bytes, however it is spelled"
    with pytest.raises(Malformed):
        receipt_of(token, replace(certificate, tekmac="?"), secret)


def test_an_attestation_is_committed_to_under_its_salt() -> None:
    stated = {"official": "o-1", "report_type": "confirmed"}
    label = b"positive-key-registry attestation v1\n"
    content = b'{"official":"o-1","report_type":"confirmed"}'
    assert attestation_commitment(SEED, stated) == hashlib.sha256(label + SEED + content).digest()
    assert attestation_commitment(SEED, stated) != attestation_commitment(bytes(32), stated)
    assert attestation_commitment(SEED, stated) != attestation_commitment(SEED, {**stated, "official": "o-2"})
    with pytest.raises(Malformed):
        attestation_commitment(b"short", stated)


@pytest.mark.parametrize(
    ("real", "leaves"), [(0, 16), (1, 16), (15, 16), (16, 16), (17, 32), (32, 32), (33, 48), (1000, 1008)]
)
def test_leaves_are_a_multiple_of_sixteen_and_never_none(real: int, leaves: int) -> None:
    assert padded_count(real) == leaves


@given(st.sets(HASHES, max_size=40), st.binary(min_size=32, max_size=32))
def test_leaves_hold_every_real_one_among_decoys_in_an_order_that_tells_nothing(
    real: set[bytes], seed: bytes
) -> None:
    leaves = all_receipt_leaves(sorted(real, reverse=True), seed)
    assert len(leaves) == padded_count(len(real))
    assert list(leaves) == sorted(set(leaves))
    decoys = {decoy_commitment(seed, number) for number in range(len(leaves) - len(real))}
    assert set(leaves) - decoys == real, "the seed tells decoys from real ones, and nothing else does"
    assert leaves == all_receipt_leaves(list(real), seed)


@given(st.sets(HASHES, max_size=40), st.integers(min_value=0, max_value=20))
def test_leaves_come_one_by_one_as_they_would_in_one_go(real: set[bytes], decoy_users: int) -> None:
    leaves = receipt_leaves(iter(sorted(real)), len(real), SEED, decoy_users=decoy_users)
    assert tuple(leaves) == all_receipt_leaves(real, SEED, decoy_users=decoy_users)


@pytest.mark.parametrize(
    ("real", "count", "why"),
    [
        ([b"b" * 32, b"a" * 32], 2, "out of its order"),
        ([b"a" * 32, b"a" * 32], 2, "twice"),
        ([decoy_commitment(SEED, 3)], 1, "twice"),
        ([b""], 1, "32 bytes"),
        ([b"a" * 33], 1, "32 bytes"),
        ([b"a" * 32], 2, "1 receipts' commitments, where 2"),
        ([b"a" * 32, b"b" * 32], 1, "2 receipts' commitments, where 1"),
    ],
)
def test_commitments_that_are_not_as_they_were_announced_are_refused(
    real: list[bytes], count: int, why: str
) -> None:
    with pytest.raises(Malformed, match=why):
        list(receipt_leaves(iter(real), count, SEED))


def test_decoys_come_of_the_seed_and_their_number() -> None:
    label = b"positive-key-registry decoy receipt v1\n"
    assert decoy_commitment(SEED, 258) == hashlib.sha256(label + SEED + b"\0\0\1\2").digest()
    assert len({decoy_commitment(SEED, number) for number in range(100)}) == 100


@pytest.mark.parametrize(
    ("real", "seed"), [([b"x" * 31], SEED), ([b"x" * 32] * 2, SEED), ([], b"short"), ([b"x" * 32], b"")]
)
def test_what_is_no_commitment_or_seed_is_refused(real: list[bytes], seed: bytes) -> None:
    with pytest.raises(Malformed):
        all_receipt_leaves(real, seed)


def test_the_root_is_that_of_the_rfcs_tree() -> None:
    leaves = all_receipt_leaves([b"r" * 32], SEED)
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [hashlib.sha256(b"\1" + left + right).digest() for left, right in pairs]
    assert receipts_root(leaves) == level[0]
