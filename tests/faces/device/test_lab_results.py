"""/api/fhir as a laboratory's system meets it."""

import json
import logging
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.faces.device.answers import ANSWER_SIZE
from registry.models import Authorization, VerificationCode
from registry.protocol.codes import is_well_formed
from tests.authority import ADMIN_KEY, DEVICE_KEY
from tests.faces.device.conftest import Post, poster, size_of
from tests.protocol.test_lab_result import BUNDLE, FORMS, NEGATIVE, OBSERVATION, REPORT, changed


def codes(session: Session) -> int:
    session.rollback()
    return session.scalar(select(func.count()).select_from(VerificationCode)) or 0


@pytest.mark.parametrize("message", FORMS)
@pytest.mark.parametrize("content_type", ["application/fhir+json", "application/json; charset=utf-8"])
def test_a_positive_result_gets_a_code_that_a_phone_can_use(
    lab: Post, device: Post, message: dict[str, Any], content_type: str
) -> None:
    answer = lab("/api/fhir", message, content_type=content_type)
    assert answer.status_code == 200
    assert size_of(answer) == ANSWER_SIZE
    assert answer.json is not None
    assert is_well_formed(answer.json["code"])
    assert answer.json["expiresAt"] == "Tue, 16 Jun 2026 12:00:00 UTC"
    verified = device("/api/verify", {"code": answer.json["code"]})
    assert verified.json is not None
    assert (verified.json["testtype"], verified.json["testDate"]) == ("confirmed", "2026-06-14")
    assert lab("/api/checkcodestatus", {"uuid": answer.json["uuid"]}).status_code == 200


def test_the_same_message_sent_twice_under_one_handle_is_one_code(
    lab: Post, issuing_session: Session
) -> None:
    handle = str(uuid4())
    answers = [lab("/api/fhir", REPORT, headers={"X-Request-Id": handle}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[0].json is not None
    assert answers[1].json is not None
    assert answers[0].json["uuid"] == handle
    assert answers[1].json["errorCode"] == "uuid_already_exists"
    assert codes(issuing_session) == 1
    odd = lab("/api/fhir", REPORT, headers={"X-Request-Id": "order of Wang Fang"})
    assert (odd.status_code, odd.json and odd.json["errorCode"]) == (400, "unparsable_request")


def test_a_negative_result_gets_one_only_if_it_is_asked_for(lab: Post, issuing_session: Session) -> None:
    negative = changed(BUNDLE, valueCodeableConcept=NEGATIVE)
    answer = lab("/api/fhir", negative)
    assert (answer.status_code, answer.json and answer.json["errorCode"]) == (400, "unsupported_test_type")
    assert codes(issuing_session) == 0
    assert lab("/api/fhir?negative=true", negative).status_code == 200
    assert lab("/api/fhir?negative=true", OBSERVATION).status_code == 200
    issuing_session.rollback()
    types = issuing_session.scalars(select(Authorization.report_type))
    assert sorted(types) == ["confirmed", "negative"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"<Observation/>", "unparsable_request"),
        (b"[]", "unparsable_request"),
        (b"[" * 50_000, "unparsable_request"),
        ({**OBSERVATION, "status": "preliminary"}, "unsupported_test_type"),
        ({**OBSERVATION, "valueCodeableConcept": {}}, "invalid_test_type"),
        ({**OBSERVATION, "effectiveDateTime": "2026-06"}, "invalid_date"),
        ({**OBSERVATION, "effectiveDateTime": "2026-01-01"}, "invalid_date"),
        ({**OBSERVATION, "effectiveDateTime": None}, "missing_date"),
    ],
)
def test_what_leads_to_no_code_says_why_and_stores_nothing(
    lab: Post, issuing_session: Session, message: dict[str, Any] | bytes, code: str
) -> None:
    answer = lab("/api/fhir", message)
    assert (answer.status_code, answer.json and answer.json["errorCode"]) == (400, code)
    assert size_of(answer) == ANSWER_SIZE
    assert codes(issuing_session) == 0


def test_who_may_call_it_and_how(lab: Post) -> None:
    assert lab("/api/fhir", OBSERVATION, api_key=DEVICE_KEY).status_code == 401
    assert lab("/api/fhir", OBSERVATION, api_key=None).status_code == 401
    assert lab("/api/fhir", OBSERVATION, content_type="application/fhir+xml").status_code == 400
    assert lab("/api/fhir", {**OBSERVATION, "note": "x" * 64_000}).status_code == 413


def test_nothing_of_the_person_is_stored_logged_or_said(
    lab: Post, issuing_session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    planted = {
        "subject": {"display": "Wang Fang", "identifier": {"value": "110101199003074233"}},
        "performer": [{"display": "Dr Li"}],
        "text": {"div": "<div>13812345678</div>"},
        "identifier": [{"value": "order-4711"}],
    }
    with caplog.at_level(logging.DEBUG):
        said = [
            lab("/api/fhir", changed(BUNDLE, **planted)).text,
            lab("/api/fhir", changed(BUNDLE, **planted, status="cancelled")).text,
        ]
    issuing_session.rollback()
    connection = issuing_session.connection()
    rows = [str(connection.execute(select(table)).all()) for table in VerificationCode.metadata.sorted_tables]
    for text in (*said, *rows, caplog.text):
        for secret in ("Wang Fang", "110101199003074233", "Dr Li", "13812345678", "order-4711"):
            assert secret not in text


anything = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(FORMS),
    st.dictionaries(st.sampled_from(sorted({*OBSERVATION, *REPORT, *BUNDLE})), anything, max_size=3),
    st.binary(max_size=30),
)
def test_no_message_is_a_fault_of_ours(
    issuing_app: Flask, message: dict[str, Any], members: dict[str, Any], noise: bytes
) -> None:
    call = poster(issuing_app, ADMIN_KEY)
    whole = json.dumps({**message, **members}).encode()
    for body in (whole, json.dumps(changed(message, **members)).encode(), whole[:-20] + noise, noise):
        assert call("/api/fhir", body).status_code in {200, 400}
