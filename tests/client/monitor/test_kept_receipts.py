"""A receipt that a phone kept is found in the batch it went out with; nothing else passes for one."""

import json
from hashlib import sha256

import pytest

from registry.client.monitor.kept_receipts import read_kept_receipts, search_receipt
from registry.client.monitor.view import read_log
from registry.errors import Malformed
from registry.protocol.encoding import encode_base64
from registry.protocol.receipt import Receipt, commitment, encode_receipt
from tests.client.monitor.conftest import publish_one
from tests.public_tree import DAY, PublicTree


def printed(content: bytes, **more: object) -> dict[str, object]:
    """As `registry phone receipt` prints it."""
    return {"commitment": encode_base64(commitment(content)), "content": content.decode(), **more}


def test_a_receipt_is_found_in_its_batch(tree: PublicTree) -> None:
    content = tree.batches["XA"][3].receipts[0]
    (kept,) = read_kept_receipts(json.dumps({"receipts": [printed(content)]}).encode())
    search = search_receipt(tree.read, read_log(tree.read), kept)

    assert search.found
    assert search.faults == []
    assert "in batch 4 of XA, 2026-06-15 15:00:00 UTC to 2026-06-15 16:00:00 UTC" in search.sentences[0]


def test_the_record_of_the_agreement_is_held_against_it() -> None:
    record, salt = b'{"v":1}', b"s" * 32
    receipt = Receipt(b"c" * 32, b"e" * 32, b"h" * 32, consent_hash=sha256(salt + record).digest())
    consent = {"record": record.decode(), "salt": encode_base64(salt)}
    good = printed(encode_receipt(receipt), consent=consent)
    other = printed(encode_receipt(receipt), consent={**consent, "record": '{"v":2}'})

    assert read_kept_receipts(json.dumps(good).encode())[0].record == '{"v":1}'
    with pytest.raises(Malformed, match="agreement"):
        read_kept_receipts(json.dumps(other).encode())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"receipts":[1]}', '{"receipts":[{}]}', '{"commitment":"AAAA","content":"{}"}']
)
def test_what_no_phone_printed_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read_kept_receipts(text.encode())


def test_a_receipt_that_does_not_hash_to_its_commitment_is_refused(tree: PublicTree) -> None:
    content = tree.batches["XA"][3].receipts[0]
    with pytest.raises(Malformed, match="does not hash"):
        read_kept_receipts(json.dumps({**printed(content), "commitment": encode_base64(bytes(32))}).encode())


def test_a_receipt_of_nobody_is_not_found_nor_one_that_has_been_retired(tree: PublicTree) -> None:
    strange = encode_receipt(Receipt(b"x" * 32, b"x" * 32, b"x" * 32))
    mine = tree.batches["XA"][1].receipts[0]
    tree.clock.advance(40 * DAY)
    publish_one(tree, 7)
    view = read_log(tree.read)
    for content in (strange, mine):
        (kept,) = read_kept_receipts(json.dumps(printed(content)).encode())
        search = search_receipt(tree.read, view, kept)
        assert not search.found
        assert "No manifest" in search.sentences[0]
