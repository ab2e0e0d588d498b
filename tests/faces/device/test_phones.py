"""/api/verify and /api/certificate as an unmodified app meets them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device import IssuingFace, create_issuing_app
from registry.models import ApiKey, IssuedAnswer, IssuingChaff, VerificationCode, transaction
from registry.protocol.certificate import check_certificate, read_jwt
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.intervals import interval_of_date, utc_date
from tests.authority import ADMIN_KEY, AUDIENCE, AUTHORITY, DEVICE_KEY, ISSUER, MadeSigner, mac_of, made_key
from tests.clock import FakeClock
from tests.faces.device.conftest import Post, padding, poster, size_of

ALL_TYPES = ["confirmed", "likely", "negative", "user-report"]


def code_of(answer: TestResponse) -> str:
    """The error code, which stands there twice."""
    assert answer.json is not None
    assert answer.json["errorCode"] == answer.json["error_code"]
    return str(answer.json["errorCode"])


def body_of(answer: TestResponse) -> dict[str, Any]:
    """A granted answer without its padding."""
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.json is not None
    return {name: value for name, value in answer.json.items() if name != "padding"}


def test_code_to_token_to_certificate(
    device: Post, issue: Callable[..., str], certificate_signer: MadeSigner, clock: FakeClock
) -> None:
    verified = body_of(device("/api/verify", {"code": issue(), "accept": ALL_TYPES, "padding": padding()}))
    assert verified["testtype"] == "confirmed"
    assert verified["symptomDate"] == "2026-06-12"
    assert verified["testDate"] == "2026-06-14"
    header, claims = read_jwt(verified["token"])
    assert header["kid"] == "t1"
    assert claims["iss"] == claims["aud"]
    assert claims["exp"] == claims["iat"] + 86_400
    assert claims["sub"] == "confirmed.2026-06-12.2026-06-14"

    mac = mac_of(b"k" * 16, [made_key(clock())])
    certified = body_of(device("/api/certificate", {"token": verified["token"], "ekeyhmac": mac}))
    assert set(certified) == {"certificate"}
    certificate = check_certificate(
        certified["certificate"],
        public_keys={certificate_signer.key_id: certificate_signer.public_key},
        issuer=ISSUER,
        audience=AUDIENCE,
        now=clock(),
    )
    assert certificate.tekmac == mac
    assert certificate.issued_at == certificate.not_before == int(clock()) - 5
    assert certificate.expires_at == int(clock()) + 900
    assert certificate.symptom_onset_interval == interval_of_date(utc_date(clock())) - 3 * 144
    assert "testDateInterval" not in read_jwt(certified["certificate"])[1]


def test_a_phone_that_knows_of_receipts_says_what_the_person_agreed_to(
    device: Post, issue: Callable[..., str], clock: FakeClock
) -> None:
    token = body_of(device("/api/verify", {"code": issue()}))["token"]
    asked = {"token": token, "ekeyhmac": mac_of(b"k" * 16, [made_key(clock())])}
    evidence = {"consentHash": encode_base64(b"h" * 32), "consentVersion": "2026-11"}
    for wrong in ({"consentHash": "AAAA"}, {"consentVersion": "any words at all"}):
        answer = device("/api/certificate", {**asked, **evidence, **wrong})
        assert (answer.status_code, code_of(answer)) == (400, "unparsable_request")
    answer = device("/api/certificate", {**asked, **evidence})
    claims = read_jwt(body_of(answer)["certificate"])[1]
    assert {name: claims[name] for name in evidence} == evidence
    assert len(decode_base64(claims["attestation"])) == 32
    with_evidence = size_of(answer)
    token = body_of(device("/api/verify", {"code": issue()}))["token"]
    answer = device("/api/certificate", {**asked, "token": token, "consentHash": None})
    assert "consentHash" not in read_jwt(body_of(answer)["certificate"])[1]
    assert size_of(answer) == with_evidence, "nobody on the way can tell who says it"


def test_dates_that_nobody_gave_are_left_out(device: Post, issue: Callable[..., str]) -> None:
    verified = body_of(device("/api/verify", {"code": issue(symptomDate="")}))
    assert "symptomDate" not in verified
    assert read_jwt(verified["token"])[1]["sub"] == "confirmed..2026-06-14"


def test_unknown_used_and_expired_codes(device: Post, issue: Callable[..., str], clock: FakeClock) -> None:
    used, expired = issue(), issue()
    device("/api/verify", {"code": used})
    for wrong in ("000000000000000", "", used, used[:-1] + str((int(used[-1]) + 1) % 10)):
        answer = device("/api/verify", {"code": wrong})
        assert (answer.status_code, code_of(answer)) == (400, "code_invalid")
    clock.advance(86_400 + 900)
    answer = device("/api/verify", {"code": expired})
    assert (answer.status_code, code_of(answer)) == (400, "code_expired")


def test_a_code_may_be_typed_with_spaces_and_hyphens(device: Post, issue: Callable[..., str]) -> None:
    code = issue()
    body_of(device("/api/verify", {"code": f" {code[:3]}-{code[3:6]} {code[6:]} "}))


@pytest.mark.parametrize(
    ("accept", "granted"),
    [
        ([], {"confirmed", "likely", "negative"}),
        (None, {"confirmed", "likely", "negative"}),
        (["confirmed"], {"confirmed"}),
        (["likely"], {"confirmed", "likely"}),
        (["negative"], {"confirmed", "likely", "negative"}),
        (["user-report"], {"confirmed"}),
        (["likely", "user-report"], {"confirmed", "likely"}),
    ],
)
def test_a_type_that_the_app_did_not_accept_leaves_the_code_unused(
    device: Post, issue: Callable[..., str], accept: list[str] | None, granted: set[str]
) -> None:
    for test_type in ("confirmed", "likely", "negative"):
        code = issue(test_type)
        answer = device("/api/verify", {"code": code, "accept": accept})
        if test_type in granted:
            assert body_of(answer)["testtype"] == test_type
        else:
            assert (answer.status_code, code_of(answer)) == (412, "unsupported_test_type")
            assert body_of(device("/api/verify", {"code": code}))["testtype"] == test_type


def test_a_report_type_that_does_not_exist_cannot_be_accepted(
    device: Post, issue: Callable[..., str]
) -> None:
    answer = device("/api/verify", {"code": issue(), "accept": ["positive"]})
    assert (answer.status_code, code_of(answer)) == (400, "invalid_test_type")


def test_a_lost_reply_of_verify_is_repeated_for_a_day_to_the_same_padded_body_only(
    issuing_face: IssuingFace, device: Post, issue: Callable[..., str], clock: FakeClock
) -> None:
    body = {"code": issue(), "padding": padding(16)}
    first = body_of(device("/api/verify", body))
    restarted = poster(create_issuing_app(issuing_face), DEVICE_KEY)
    clock.advance(86_000)
    assert body_of(restarted("/api/verify", body)) == first
    for other in ({**body, "padding": padding(16)}, {"code": body["code"]}, {**body, "accept": []}):
        answer = restarted("/api/verify", other)
        assert (answer.status_code, code_of(answer)) == (400, "code_invalid")
    clock.advance(3600 * 2)
    assert code_of(restarted("/api/verify", body)) == "code_invalid"


def test_a_body_without_enough_padding_is_never_repeated(device: Post, issue: Callable[..., str]) -> None:
    for thin in ({}, {"padding": padding(15)}, {"padding": "not base64 but quite long enough to be!"}):
        body = {"code": issue(), **thin}
        body_of(device("/api/verify", body))
        assert code_of(device("/api/verify", body)) == "code_invalid"


def test_padding_may_be_any_string(device: Post, issue: Callable[..., str]) -> None:
    for noise in ("", "\0", "not base64 ☃", "\ud800"):
        body_of(device("/api/verify", {"code": issue(), "padding": noise}))
    assert code_of(device("/api/verify", {"code": issue(), "padding": 5})) == "unparsable_request"


def test_stored_answers_are_sealed(device: Post, issue: Callable[..., str], issuing_session: Session) -> None:
    verified = body_of(device("/api/verify", {"code": issue(), "padding": padding()}))
    row = issuing_session.scalars(select(IssuedAnswer)).one()
    assert verified["token"].encode() not in row.sealed
    assert b"confirmed" not in row.sealed
    assert row.expires_at % 3600 == 0


def test_the_same_token_and_hmac_get_the_same_certificate(
    issuing_face: IssuingFace, device: Post, issue: Callable[..., str], clock: FakeClock
) -> None:
    token = body_of(device("/api/verify", {"code": issue()}))["token"]
    body = {"token": token, "ekeyhmac": mac_of(b"k" * 16, [made_key(clock())])}
    first = body_of(device("/api/certificate", {**body, "padding": padding()}))
    clock.advance(800)
    restarted = poster(create_issuing_app(issuing_face), DEVICE_KEY)
    assert body_of(restarted("/api/certificate", {**body, "padding": padding()})) == first
    other = device("/api/certificate", {**body, "ekeyhmac": mac_of(b"l" * 16, [made_key(clock())])})
    assert (other.status_code, code_of(other)) == (400, "token_expired")


def test_a_repeated_certificate_that_has_expired_begins_anew_and_says_the_same(
    device: Post, issue: Callable[..., str], clock: FakeClock
) -> None:
    token = body_of(device("/api/verify", {"code": issue()}))["token"]
    body = {"token": token, "ekeyhmac": mac_of(b"k" * 16, [made_key(clock())])}
    first = read_jwt(body_of(device("/api/certificate", body))["certificate"])[1]
    clock.advance(86_000)
    again = read_jwt(body_of(device("/api/certificate", body))["certificate"])[1]
    times = {"iat", "nbf", "exp"}
    assert {name: again[name] for name in again.keys() - times} == {
        name: first[name] for name in first.keys() - times
    }
    assert again["exp"] == int(clock()) + 900
    clock.advance(7200)
    assert code_of(device("/api/certificate", body)) == "token_invalid"


def test_tokens_that_are_not_ours_or_not_any_more(
    device: Post, issue: Callable[..., str], clock: FakeClock, issuing_face: IssuingFace
) -> None:
    mac = mac_of(b"k" * 16, [made_key(clock())])
    stranger = MadeSigner("t1")
    elsewhere = poster(create_issuing_app(replace(issuing_face, token_signer=stranger)), DEVICE_KEY)
    forged = body_of(elsewhere("/api/verify", {"code": issue()}))["token"]
    token = body_of(device("/api/verify", {"code": issue()}))["token"]
    for wrong in (forged, token[:-4] + "AAAA", "a.b.c", ""):
        answer = device("/api/certificate", {"token": wrong, "ekeyhmac": mac})
        assert (answer.status_code, code_of(answer)) == (400, "token_invalid")
    other_issuer = replace(issuing_face, policy=replace(issuing_face.policy, token_issuer="another"))
    answer = poster(create_issuing_app(other_issuer), DEVICE_KEY)(
        "/api/certificate", {"token": token, "ekeyhmac": mac}
    )
    assert code_of(answer) == "token_invalid"
    clock.advance(86_401)
    assert code_of(device("/api/certificate", {"token": token, "ekeyhmac": mac})) == "token_invalid"


@pytest.mark.parametrize("ekeyhmac", ["", "AAAA", "no base64!", "A" * 100])
def test_an_hmac_that_is_not_32_bytes_leaves_the_token_unused(
    device: Post, issue: Callable[..., str], clock: FakeClock, ekeyhmac: str
) -> None:
    token = body_of(device("/api/verify", {"code": issue()}))["token"]
    answer = device("/api/certificate", {"token": token, "ekeyhmac": ekeyhmac})
    assert (answer.status_code, code_of(answer)) == (400, "hmac_invalid")
    good = mac_of(b"k" * 16, [made_key(clock())]).replace("+", "-").replace("/", "_").rstrip("=")
    certificate = body_of(device("/api/certificate", {"token": token, "ekeyhmac": good}))["certificate"]
    assert read_jwt(certificate)[1]["tekmac"] == good


def test_who_may_not_call(device: Post, issuing_session: Session, issue: Callable[..., str]) -> None:
    for key in (None, "", "unknown", ADMIN_KEY):
        for path in ("/api/verify", "/api/certificate"):
            answer = device(path, {"code": "1"}, api_key=key)
            assert answer.status_code == 401
            assert code_of(answer) == ""
            assert (answer.json or {})["error"] == "unauthorized"
    with transaction(issuing_session):
        issuing_session.scalars(select(ApiKey).filter_by(kind="device")).one().disabled = True
    assert device("/api/verify", {"code": issue()}).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'"text"',
        b"[" * 60_000,
        b'{"code": 1}',
        b'{"code": "\\ud800"}',
        b'{"code":"\\u0000"}',
    ],
)
def test_what_cannot_be_read(device: Post, body: bytes) -> None:
    answer = device("/api/verify", body)
    assert (answer.status_code, code_of(answer)) == (400, "unparsable_request")


def test_another_content_type_is_unparsable(device: Post, issue: Callable[..., str]) -> None:
    for path in ("/api/verify", "/api/certificate"):
        answer = device(path, {"code": issue()}, content_type="text/plain")
        assert (answer.status_code, code_of(answer)) == (400, "unparsable_request")


def test_a_body_that_holds_no_token_at_all_is_token_invalid(device: Post) -> None:
    for body in (b"{", b'{"token": 5}', b"{}"):
        assert code_of(device("/api/certificate", body)) == "token_invalid"


def test_unknown_and_null_members_are_passed_over(device: Post, issue: Callable[..., str]) -> None:
    body = {"code": issue(), "accept": None, "nonce": None, "deviceId": {"any": ["thing"]}}
    body_of(device("/api/verify", body, content_type="application/json; charset=utf-8"))


def test_chaff_burns_nothing_and_writes_into_its_own_table(
    device: Post, issue: Callable[..., str], issuing_session: Session
) -> None:
    code = issue()
    for body in ({"code": code, "padding": padding()}, b"no json at all", {"code": 7}):
        assert body_of(device("/api/verify", body, headers={"X-Chaff": "1"})) == {}
    assert device("/api/verify", {}, api_key="unknown", headers={"X-Chaff": "1"}).status_code == 401
    assert issuing_session.scalar(select(func.count()).select_from(IssuingChaff)) == 3
    assert issuing_session.scalars(select(VerificationCode)).one().claimed is False
    body_of(device("/api/verify", {"code": code}))


def test_jwks_lists_the_keys_that_are_valid_now(
    issuing_app: Flask, certificate_signer: MadeSigner, clock: FakeClock
) -> None:
    client = issuing_app.test_client()
    answer = client.get(f"/jwks/{AUTHORITY}")
    assert answer.status_code == 200
    assert answer.json is not None
    (key,) = answer.json["keys"]
    assert (key["kid"], key["kty"], key["crv"], key["alg"]) == ("c1", "EC", "P-256", "ES256")
    assert "Set-Cookie" not in answer.headers
    clock.now = 4_000_000_001.0
    assert client.get(f"/jwks/{AUTHORITY}").json == {"keys": []}
    for nobody in ("/jwks/nobody", "/jwks/%00"):
        assert client.get(nobody).status_code == 404


def test_an_authority_without_a_signing_key_is_our_fault(
    issuing_face: IssuingFace, device: Post, issue: Callable[..., str], clock: FakeClock
) -> None:
    token = body_of(device("/api/verify", {"code": issue()}))["token"]
    keyless = poster(create_issuing_app(replace(issuing_face, certificate_signers={})), DEVICE_KEY)
    body = {"token": token, "ekeyhmac": mac_of(b"k" * 16, [made_key(clock())])}
    assert keyless("/api/certificate", body).status_code == 500
    body_of(device("/api/certificate", body))
