"""An upload that brought keys leaves one receipt: the phone makes it too, and no row can be tied to it."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from sqlalchemy.orm import Session

from registry.errors import RefusalCode
from registry.models import open_database
from registry.protocol.certificate import encode_jwt, read_certificate, read_jwt
from registry.protocol.encoding import decode_base64
from registry.protocol.receipt import commitment, decode_receipt, encode_receipt, receipt_of
from tests.authority import REGIONS, made_key
from tests.clock import FakeClock
from tests.lifecycle.upload_desk import UploadDesk

EVIDENCE = {"attestation": b"a" * 32, "consent_hash": b"h" * 32, "consent_version": "2026-11"}


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> UploadDesk:
    return UploadDesk(collecting_url, collecting_session, clock)


def test_the_phone_makes_the_very_bytes_that_the_registry_keeps(desk: UploadDesk) -> None:
    body = desk.body([made_key(desk.clock(), day) for day in (2, 3)], evidence=EVIDENCE)
    desk.collect(body)
    (row,) = desk.receipts()
    token, secret = body["verificationPayload"], decode_base64(body["hmacKey"])
    made = encode_receipt(receipt_of(token, read_certificate(token), secret))
    assert row.content == made
    assert row.commitment == commitment(made)
    assert (row.region, row.batch_id) == (min(REGIONS), None)
    receipt = decode_receipt(row.content)
    assert (receipt.attestation, receipt.consent_hash, receipt.consent_version) == tuple(EVIDENCE.values())
    assert receipt.certificate == sha256(token.encode()).digest()


def test_a_receipt_holds_nothing_that_another_row_holds(desk: UploadDesk) -> None:
    key = made_key(desk.clock())
    body = desk.body([key], evidence=EVIDENCE)
    desk.collect(body)
    (row,) = desk.receipts()
    (stored,) = desk.rows()
    for shared in (
        stored.key_data,
        key["key"].encode(),
        body["hmacKey"].encode(),
    ):
        assert shared not in row.content
    numbers = [value for value in json.loads(row.content).values() if isinstance(value, int)]
    assert numbers == [1], "no time, no count: the format's version alone"


@pytest.mark.parametrize("spelling", ["as sent", "bare", "url"])
def test_a_repeated_upload_leaves_no_second_receipt(desk: UploadDesk, spelling: str) -> None:
    body = desk.body([made_key(desk.clock())], evidence=EVIDENCE)
    first = desk.collect(body)
    before = desk.picture()
    spell = {
        "as sent": str,
        "bare": lambda text: text.rstrip("="),
        "url": lambda text: text.replace("+", "-").replace("/", "_"),
    }[spelling]
    assert desk.collect({**body, "hmacKey": spell(body["hmacKey"])}) == first
    assert desk.picture() == before


def test_only_what_brings_a_key_leaves_a_receipt(desk: UploadDesk) -> None:
    key = made_key(desk.clock(), 3)
    token = desk.upload([key], "likely").revision_token
    assert len(desk.receipts()) == 1
    token = desk.upload([key], "confirmed", revisionToken=token).revision_token
    assert len(desk.receipts()) == 1, "a revision alone"
    desk.upload([made_key(desk.clock(), 2)], "negative")
    assert len(desk.receipts()) == 1, "a negative result for unknown keys"
    far = made_key(desk.clock(), 15)
    desk.upload([far], symptomOnsetInterval=int(desk.clock()) // 600 - 1)
    assert len(desk.receipts()) == 1, "keys too far from the onset"
    desk.upload([key, made_key(desk.clock(), 4)], revisionToken=token)
    assert len(desk.receipts()) == 2, "one key new, one known"


def test_a_refused_upload_leaves_none(desk: UploadDesk) -> None:
    key = made_key(desk.clock())
    desk.upload([key])
    assert desk.refused([key, made_key(desk.clock(), 3)]) == RefusalCode.MISSING_REVISION_TOKEN
    assert len(desk.receipts()) == 1


def test_a_certificate_of_another_software_has_a_receipt_without_evidence(desk: UploadDesk) -> None:
    desk.upload([made_key(desk.clock())])
    (row,) = desk.receipts()
    assert set(json.loads(row.content)) == {"v", "certificate", "ekeyhmac", "salt"}


@pytest.mark.parametrize(
    "claims",
    [
        {"attestation": {"by": "somebody"}, "consentHash": 7, "consentVersion": ["x"]},
        {"attestation": "AAAA", "consentHash": "not base64", "consentVersion": "words of a person"},
        {"attestation": None, "consentHash": "", "consentVersion": ""},
    ],
)
def test_claims_that_mean_something_else_elsewhere_refuse_no_key_and_stand_in_no_receipt(
    desk: UploadDesk, claims: dict[str, object]
) -> None:
    body = desk.body([made_key(desk.clock())])
    _header, known = read_jwt(body["verificationPayload"])
    desk.collect({**body, "verificationPayload": encode_jwt({**known, **claims}, desk.signer)})
    (row,) = desk.receipts()
    assert set(json.loads(row.content)) == {"v", "certificate", "ekeyhmac", "salt"}


def test_an_upload_that_arrives_several_times_at_once_leaves_one(desk: UploadDesk) -> None:
    body = desk.body([made_key(desk.clock())], evidence=EVIDENCE)

    def collected(_number: int) -> None:
        engine = open_database(desk.url)
        with Session(engine) as session:
            desk.collect(body, session)
        engine.dispose()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(collected, range(6)))
    assert len(desk.receipts()) == 1


def test_rows_lie_in_the_order_of_their_commitments_not_of_their_coming(desk: UploadDesk) -> None:
    for day in range(8):
        desk.upload([made_key(desk.clock(), day)])
    found = [row.commitment for row in desk.receipts()]
    if desk.url.startswith("sqlite"):
        assert found == sorted(found)
    assert len(set(found)) == 8


def test_without_the_commit_there_is_neither_key_nor_receipt(desk: UploadDesk) -> None:
    body = desk.body([made_key(desk.clock())])

    def fail_before_the_commit() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(desk.session, "commit", _power_cut)
            desk.collect(body)

    with pytest.raises(KeyboardInterrupt):
        fail_before_the_commit()
    assert (desk.rows(), desk.receipts()) == ([], [])


def _power_cut() -> None:
    raise KeyboardInterrupt
