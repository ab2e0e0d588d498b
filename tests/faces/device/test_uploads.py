"""/v1/publish as an unmodified app meets it: transport, members, codes. The rules: lifecycle/test_collect."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device import CollectingFace, create_collecting_app
from registry.faces.device.calls import BODY_LIMIT
from registry.models import CollectingChaff, DiagnosisKey, HealthAuthority, transaction
from tests.authority import MadeSigner, made_key, made_upload
from tests.clock import FakeClock
from tests.faces.device.conftest import padding, poster

Phone = Callable[..., TestResponse]


def members(answer: TestResponse, status: int = 200) -> dict[str, Any]:
    """The answer without its padding."""
    assert answer.status_code == status, answer.get_data(as_text=True)
    assert answer.json is not None
    return {name: value for name, value in answer.json.items() if name != "padding"}


def stored(session: Session) -> int:
    """How many keys there are."""
    session.rollback()
    return session.scalar(select(func.count()).select_from(DiagnosisKey)) or 0


def test_an_upload_of_fourteen_keys(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock, collecting_session: Session
) -> None:
    keys = [made_key(clock(), day, risk=1) for day in range(14)]
    answer = members(phone(made_upload(certificate_signer, keys, clock(), padding=padding(3000))))
    assert answer["insertedExposures"] == 14
    assert answer["revisionToken"]
    assert set(answer) == {"insertedExposures", "revisionToken"}
    assert stored(collecting_session) == 14


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_where_no_publisher_has_made_the_day_an_upload_is_500_and_stores_nothing(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock, collecting_session: Session
) -> None:
    clock.advance(10 * 86_400)
    keys = [made_key(clock(), day) for day in range(14)]
    assert phone(made_upload(certificate_signer, keys, clock())).status_code == 500
    assert stored(collecting_session) == 0


def test_members_that_are_unknown_null_or_missing(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock
) -> None:
    key = made_key(clock(), colour="blue")
    upload = made_upload(certificate_signer, [key], clock(), revisionToken=None, symptomOnsetInterval=None)
    del upload["traveler"]
    del key["transmissionRisk"]
    answer = members(phone(upload | {"platform": "android", "regions": ["XA"]}))
    assert answer["insertedExposures"] == 1


def test_partial_failure_is_200_and_names_keys_in_the_clients_order(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock
) -> None:
    keys = [made_key(clock(), 2), made_key(clock(), 3, period=0), made_key(clock(), 4), made_key(clock(), 20)]
    answer = members(phone(made_upload(certificate_signer, keys, clock())))
    assert answer["code"] == "partial_failure"
    assert answer["error"].startswith("key 1: 'rollingPeriod'")
    assert "key 3: ended" in answer["error"]
    assert answer["insertedExposures"] == 2


def test_keys_that_are_all_too_far_from_the_onset_are_200_with_warnings_and_a_token(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock, collecting_session: Session
) -> None:
    """Phones of one make cannot deal with an upload of which a part failed."""
    keys = [made_key(clock(), 15)]
    upload = made_upload(
        certificate_signer, keys, clock(), onset_days_ago=None, symptomOnsetInterval=int(clock()) // 600 - 1
    )
    answer = members(phone(upload))
    assert set(answer) == {"revisionToken", "warnings"}
    assert len(answer["warnings"]) == 1
    assert stored(collecting_session) == 0
    assert members(phone(upload)) == answer


def test_padding_may_be_any_string(phone: Phone, certificate_signer: MadeSigner, clock: FakeClock) -> None:
    for noise in ("", "\0", "not base64 ☃", "\ud800"):
        upload = made_upload(certificate_signer, [made_key(clock())], clock(), padding=noise)
        assert members(phone(upload))["insertedExposures"] == 1
    assert members(phone({"padding": 5}), 400)["code"] == "bad_request"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"[" * 60_000, b'{"temporaryExposureKeys": {}}',
        b'{"temporaryExposureKeys": [1]}', b'{"temporaryExposureKeys": [{"key": 1}]}',
        b'{"temporaryExposureKeys": [{"rollingPeriod": 1.5}]}',
        b'{"temporaryExposureKeys": [{"rollingPeriod": "144"}]}',
        b'{"temporaryExposureKeys": [{"rollingPeriod": true}]}',
        b'{"temporaryExposureKeys": [{"rollingStartNumber": 2147483648}]}',
        b'{"traveler": "yes"}', b'{"healthAuthorityID": "\\u0000"}', b'{"symptomOnsetInterval": NaN}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_bad_request(phone: Phone, body: bytes) -> None:
    assert members(phone(body), 400)["code"] == "bad_request"


def test_content_type_and_size(phone: Phone) -> None:
    for content_type in ("text/plain", "application/x-protobuf", None):
        assert members(phone(b"{}", content_type=content_type), 415)["code"] == "bad_request"
    assert members(phone(b"x" * (BODY_LIMIT + 1)), 413)["code"] == "bad_request"
    assert members(phone(b"x" * 3_000_000), 413)["code"] == "bad_request"
    fits = b'{"padding": "' + b"A" * (BODY_LIMIT - 15) + b'"}'
    assert len(fits) == BODY_LIMIT
    assert members(phone(fits), 401)["code"] == "unknown_health_authority_id"


def test_who_is_not_registered_and_who_has_no_region(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock, collecting_session: Session
) -> None:
    upload = made_upload(certificate_signer, [made_key(clock())], clock())
    unknown = phone({**upload, "healthAuthorityID": "org.example.other"})
    assert members(unknown, 401)["code"] == "unknown_health_authority_id"
    with transaction(collecting_session):
        collecting_session.scalars(select(HealthAuthority)).one().regions = []
    assert members(phone(upload), 500)["code"] == "health_authority_missing_region_config"
    assert stored(collecting_session) == 0


def test_a_certificate_with_other_keys_is_401(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock, collecting_session: Session
) -> None:
    upload = made_upload(certificate_signer, [made_key(clock())], clock())
    other = {**upload, "temporaryExposureKeys": [made_key(clock())]}
    assert members(phone(other), 401)["code"] == "health_authority_verification_certificate_invalid"
    assert stored(collecting_session) == 0


def test_a_lost_reply_is_repeated_for_a_day_and_after_a_restart(
    phone: Phone,
    collecting_face: CollectingFace,
    certificate_signer: MadeSigner,
    clock: FakeClock,
    collecting_session: Session,
) -> None:
    keys = [made_key(clock(), day) for day in range(1, 4)]
    upload = made_upload(certificate_signer, keys, clock(), padding=padding())
    first = members(phone(upload))
    again = {**upload, "temporaryExposureKeys": keys[::-1], "padding": padding(), "traveler": True}
    clock.advance(86_000)  # the certificate has long expired
    restarted = poster(create_collecting_app(collecting_face))
    assert members(restarted("/v1/publish", again)) == first
    clock.advance(7200)
    late = restarted("/v1/publish", upload)
    assert members(late, 401)["code"] == "health_authority_verification_certificate_invalid"
    assert stored(collecting_session) == 3


def test_chaff_stores_noise_and_nothing_else(
    phone: Phone, certificate_signer: MadeSigner, clock: FakeClock, collecting_session: Session
) -> None:
    upload = made_upload(certificate_signer, [made_key(clock())], clock())
    for body in (upload, {}, b"no json"):
        assert members(phone(body, headers={"X-Chaff": "1"})) == {}
    assert stored(collecting_session) == 0
    assert collecting_session.scalar(select(func.count()).select_from(CollectingChaff)) == 3
    assert members(phone(upload))["insertedExposures"] == 1
