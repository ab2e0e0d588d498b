"""What a certificate carries for a receipt: a commitment to what was stated, and the person's consent."""

from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.authorize import Statement, authorize
from registry.lifecycle.consent import ConsentEvidence, read_consent
from registry.models import Authorization, Official, VerificationToken, transaction
from registry.protocol.certificate import VerificationCertificate, read_certificate, read_jwt
from registry.protocol.encoding import encode_base64
from registry.protocol.receipt import attestation_commitment
from tests.authority import AUTHORITY, LOOKUP_KEY
from tests.clock import FakeClock
from tests.lifecycle.test_certify import MAC, POLICY, Desk

CONSENT = ConsentEvidence(encode_base64(b"h" * 32), "2026-11")


@pytest.fixture
def desk(issuing_url: str, issuing_session: Session, clock: FakeClock) -> Desk:
    return Desk(issuing_url, issuing_session, clock)


def certificate_of(desk: Desk, **more: Any) -> VerificationCertificate:
    return read_certificate(desk.certify(desk.verify(desk.code()).token, **more))


def authorization(desk: Desk) -> Authorization:
    desk.session.rollback()
    return desk.session.scalars(select(Authorization)).one()


def test_with_its_salt_the_officials_statement_opens_the_commitment_and_no_other_does(desk: Desk) -> None:
    with transaction(desk.session):
        desk.session.add(Official(id="o-1", authority_id=AUTHORITY, name="Wang Fang"))
        desk.session.flush()
        issued = authorize(
            desk.session,
            Statement(
                "confirmed",
                date(2026, 6, 14),
                None,
                official_id="o-1",
                consent_version="2026-11",
                consent_language="zh",
                consent_channel="phone",
            ),
            authority_id=AUTHORITY,
            lookup_key=LOOKUP_KEY,
            policy=POLICY,
            now=desk.clock(),
        )
    certificate = read_certificate(desk.certify(desk.verify(issued.code).token))
    row = authorization(desk)
    assert row.attestation() == {
        "authorization": row.id,
        "authority": AUTHORITY,
        "official": "o-1",
        "report_type": "confirmed",
        "consent_version": "2026-11",
        "consent_language": "zh",
        "consent_channel": "phone",
        "stated_on": "2026-06-15",
    }
    assert row.attestation_salt is not None
    assert certificate.attestation == attestation_commitment(row.attestation_salt, row.attestation())
    row.report_type = "likely"
    assert certificate.attestation != attestation_commitment(row.attestation_salt, row.attestation())


def test_two_statements_alike_have_nothing_in_common(desk: Desk) -> None:
    assert certificate_of(desk).attestation != certificate_of(desk).attestation


def test_the_commitment_goes_with_the_token_and_leaves_this_half_with_the_certificate(desk: Desk) -> None:
    token = desk.verify(desk.code()).token

    def stored() -> bytes | None:
        desk.session.rollback()
        return desk.session.scalars(select(VerificationToken.attestation)).one()

    waiting = stored()
    with pytest.raises(Refusal):
        desk.certify(token, consent=ConsentEvidence("AAAA"))
    assert stored() == waiting, "a refusal burns nothing"
    certificate = read_certificate(desk.certify(token))
    assert certificate.attestation == waiting is not None
    assert stored() is None


def test_what_the_phone_says_is_certified_repeated_and_renewed(desk: Desk) -> None:
    token = desk.verify(desk.code()).token
    first = desk.certify(token, consent=CONSENT)
    certificate = read_certificate(first)
    assert (certificate.consent_hash, certificate.consent_version) == (b"h" * 32, "2026-11")
    other = ConsentEvidence(encode_base64(b"i" * 32), "2027-01")
    assert desk.certify(token, consent=other) == desk.certify(token) == first, "the first one's stands"
    desk.clock.advance(3600)
    renewed = read_certificate(desk.certify(token, consent=CONSENT))
    assert renewed.expires_at > certificate.expires_at
    for name in ("attestation", "consent_hash", "consent_version", "tekmac", "symptom_onset_interval"):
        assert getattr(renewed, name) == getattr(certificate, name)


def test_an_unmodified_app_says_nothing_and_its_certificate_neither(desk: Desk) -> None:
    claims = read_jwt(desk.certify(desk.verify(desk.code()).token))[1]
    assert {"consentHash", "consentVersion"} & set(claims) == set()
    assert claims["tekmac"] == MAC


def test_a_code_from_before_there_were_receipts_still_gives_a_certificate(desk: Desk) -> None:
    code = desk.code()
    with transaction(desk.session):
        authorization(desk).attestation_salt = None
    assert "attestation" not in read_jwt(desk.certify(desk.verify(code).token))[1]


@pytest.mark.parametrize("part", ["hash", "version"])
def test_each_part_may_come_alone(desk: Desk, part: str) -> None:
    alone = ConsentEvidence(CONSENT.hash_text) if part == "hash" else ConsentEvidence(version="2026-11")
    certificate = certificate_of(desk, consent=alone)
    assert (certificate.consent_hash is not None, certificate.consent_version is not None) == (
        part == "hash",
        part == "version",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ConsentEvidence("AAAA"),
        ConsentEvidence("not base64!"),
        ConsentEvidence(encode_base64(bytes(33))),
        ConsentEvidence(CONSENT.hash_text, "x" * 33),
        ConsentEvidence(version="the text I was given by Wang Fang"),
        ConsentEvidence(version="2026\n11"),
        ConsentEvidence(version="版本"),
    ],
)
def test_what_is_no_hash_or_name_of_a_text_is_refused_by_a_code_that_burns_no_token(
    desk: Desk, wrong: ConsentEvidence
) -> None:
    token = desk.verify(desk.code()).token
    with pytest.raises(Refusal) as refused:
        desk.certify(token, consent=wrong)
    assert refused.value.code == RefusalCode.UNPARSABLE_REQUEST
    desk.certify(token, consent=CONSENT)


@given(st.text(max_size=60), st.text(max_size=40))
def test_any_text_is_read_or_refused(hash_text: str, version: str) -> None:
    with suppress(Refusal):
        consent_hash, read_version = read_consent(ConsentEvidence(hash_text, version))
        assert consent_hash is None or len(consent_hash) == 32
        assert read_version is None or read_version == version
