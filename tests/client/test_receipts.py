"""What the phone writes down of an agreement, and the receipts it keeps. Both ends: test_against_registry."""

import json
from datetime import date
from hashlib import sha256

import pytest

from registry.client import Phone
from registry.client.failures import NoAnswer
from registry.client.receipts import consent_hash, make_receipt, receipt_members
from registry.client.remembered import KeptReceipt
from registry.client.texts import LANGUAGES, UPLOAD_TEXTS, UPLOAD_TEXTS_VERSION
from registry.errors import Malformed
from registry.protocol.certificate import CONSENT_VERSION, VerificationCertificate, encode_certificate
from registry.protocol.codes import new_code
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.receipt import decode_receipt
from tests.client.conftest import MakePhone
from tests.clock import FakeClock
from tests.protocol.made_signer import MadeSigner
from tests.simulator import Simulator, answer_json

CODE = new_code(lambda limit: 12_345_678_901_234 % limit)
DAY = 86_400
SIGNER = MadeSigner("authority-1")
SHOWN = ("heading", "day", "today", "details", "meaning", "staged", "question")
"""What a person reads before they agree."""


@pytest.fixture
def demo(simulator: Simulator) -> Simulator:
    """A demonstration registry that has given out one code."""
    simulator.profile = "demo"
    simulator.codes[CODE] = "confirmed"
    return simulator


def test_a_new_wording_is_a_new_version() -> None:
    words = json.dumps([[UPLOAD_TEXTS[language][name] for name in SHOWN] for language in LANGUAGES])
    assert (UPLOAD_TEXTS_VERSION, sha256(words.encode()).hexdigest()[:16]) == (
        "2026-11",
        "fe52441d443c7065",
    ), "people agreed to these words under this version: give new words a new one"
    assert CONSENT_VERSION.fullmatch(UPLOAD_TEXTS_VERSION)


def test_the_record_says_what_was_agreed_to_and_only_its_hash_leaves_the_phone(
    make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    left_out = date(2026, 6, 3)
    alice.agree(CODE, leave_out=[left_out], language="zh")
    alice.upload()
    posts = {request.path: request.body for request in demo.requests if request.method == "POST"}
    certificate = json.loads(posts["api/certificate"])
    assert certificate["consentVersion"] == UPLOAD_TEXTS_VERSION
    assert len(decode_base64(certificate["consentHash"])) == 32
    assert not any(b"agreed_on" in body or b"language" in body for body in posts.values())


def test_the_record_is_made_when_the_person_agrees_and_completed_when_the_result_is_known(
    make_phone: MakePhone, demo: Simulator, clock: FakeClock
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE, leave_out=[date(2026, 6, 3)], language="zh")
    pending = alice.store.pending_upload()
    assert pending is not None
    assert pending.consent_record is not None
    agreed = json.loads(pending.consent_record)
    assert agreed == {
        "v": 1,
        "version": "2026-11",
        "language": "zh",
        "region": "XA",
        "agreed_on": "2026-06-15",
        "days": [f"2026-06-{day:02}" for day in range(1, 16) if day != 3],
    }
    clock.advance(DAY)  # the code is typed in today, the network is there tomorrow
    demo.faults["api/certificate"] = NoAnswer("the network is down")
    with pytest.raises(NoAnswer):
        alice.upload()
    pending = alice.store.pending_upload()
    assert pending is not None
    assert pending.consent_record is not None
    assert pending.consent_salt is not None
    assert json.loads(pending.consent_record) == {**agreed, "report_type": "confirmed"}
    sent = json.loads(pending.certificate_request or b"")
    assert decode_base64(sent["consentHash"]) == consent_hash(pending.consent_salt, pending.consent_record)


def test_two_agreements_alike_hash_differently(make_phone: MakePhone, demo: Simulator) -> None:
    hashes = set()
    for name in ("alice", "bob"):
        phone = make_phone(name, staged=True)
        demo.codes[CODE] = "confirmed"
        phone.agree(CODE)
        phone.upload()
        (sent,) = [r.body for r in demo.requests if r.path == "api/certificate"]
        hashes.add(json.loads(sent)["consentHash"])
        demo.requests.clear()
    assert len(hashes) == 2


def test_a_certificate_of_another_form_makes_no_receipt_and_the_upload_goes_on(
    make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    assert alice.upload().keys_taken == 15
    assert alice.receipts() == []


def certificate(stated: bytes | None) -> str:
    return encode_certificate(
        VerificationCertificate(
            issuer="i",
            audience="a",
            report_type="confirmed",
            tekmac=encode_base64(b"m" * 32),
            symptom_onset_interval=None,
            issued_at=1,
            not_before=1,
            expires_at=2,
            consent_hash=stated,
        ),
        SIGNER,
    )


def test_a_certificate_that_states_another_agreement_is_the_registrys_fault(
    make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    pending = alice.store.pending_upload()
    assert pending is not None
    assert pending.consent_record is not None
    assert pending.consent_salt is not None
    agreed = consent_hash(pending.consent_salt, pending.consent_record)
    content = make_receipt(pending, certificate(agreed))
    assert content is not None
    assert decode_receipt(content).consent_hash == agreed
    content = make_receipt(pending, certificate(None))
    assert content is not None
    assert decode_receipt(content).consent_hash is None, "an older registry says nothing of it"
    with pytest.raises(Malformed, match="another agreement"):
        make_receipt(pending, certificate(b"x" * 32))


@pytest.mark.parametrize(
    ("inserted", "kept"), [({}, 0), ({"insertedExposures": 0}, 0), ({"insertedExposures": 1}, 1)]
)
def test_an_upload_that_brought_no_new_key_leaves_no_receipt_that_no_manifest_will_hold(
    make_phone: MakePhone, demo: Simulator, inserted: dict[str, int], kept: int
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults["api/certificate"] = answer_json(200, {"certificate": certificate(None)})
    demo.faults["v1/publish"] = answer_json(200, {"revisionToken": "AAAA", **inserted})
    assert alice.upload().keys_taken == kept
    assert len(alice.receipts()) == kept


def kept(phone: Phone, number: int, *, end_days_ago: float, now: float) -> None:
    """A receipt whose newest key ended so long ago."""
    receipt = KeptReceipt(
        commitment=bytes([number]) * 32,
        content=b'{"v":1}',
        consent_record=b"{}",
        consent_salt=bytes(32),
        newest_key_end=int(now // 600 - end_days_ago * 144),
    )
    with phone.store.all_or_nothing():
        phone.store.keep_receipt(receipt)


def test_receipts_are_forgotten_21_days_after_the_newest_key_and_when_the_person_wants_it(
    make_phone: MakePhone, clock: FakeClock
) -> None:
    alice = make_phone("alice")
    for number, days in enumerate((-0.5, 20, 21, 22)):
        kept(alice, number, end_days_ago=days, now=clock())
    assert [receipt.commitment[0] for receipt in alice.receipts()] == [0, 1]
    clock.advance(DAY)
    assert [receipt.commitment[0] for receipt in alice.receipts()] == [0]
    assert alice.forget_receipts() == 1
    assert alice.receipts() == []


def test_what_is_shown_can_be_checked_by_any_program() -> None:
    shown = receipt_members(
        KeptReceipt(
            sha256(b'{"v":1}').digest(), b'{"v":1}', '{"language":"中"}'.encode(), bytes(range(32)), 1
        )
    )
    assert decode_base64(str(shown["commitment"])) == sha256(str(shown["content"]).encode()).digest()
    consent = shown["consent"]
    assert isinstance(consent, dict)
    hashed = decode_base64(consent["salt"]) + consent["record"].encode()
    assert decode_base64(consent["hash"]) == sha256(hashed).digest()
    bare = receipt_members(KeptReceipt(b"c" * 32, b'{"v":1}', None, None, 1))
    assert "consent" not in bare
