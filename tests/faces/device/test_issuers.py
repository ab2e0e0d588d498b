"""/api/issue, batch-issue, checkcodestatus, expirecode as a laboratory's system meets them."""

from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device import IssuingFace, create_issuing_app
from registry.faces.device.answers import ANSWER_SIZE
from registry.faces.device.calls import BODY_LIMIT
from registry.lifecycle.activity import acts_of, check_chain
from registry.lifecycle.authorize import hash_api_key
from registry.models import ApiKey, Authorization, QuotaUse, VerificationCode, transaction
from registry.protocol.activity import decode_act
from registry.protocol.codes import is_well_formed
from tests.authority import ADMIN_KEY, AUTHORITY, DEVICE_KEY, LOOKUP_KEY
from tests.clock import FakeClock
from tests.faces.device.conftest import Post, padding, poster, size_of

STATEMENT = {"testType": "confirmed", "testDate": "2026-06-14"}


def code_of(answer: TestResponse) -> str:
    """The error code, which stands there twice."""
    assert answer.json is not None
    assert answer.json["errorCode"] == answer.json["error_code"]
    assert size_of(answer) == ANSWER_SIZE
    return str(answer.json["errorCode"])


def granted(answer: TestResponse) -> dict[str, Any]:
    """A granted answer without its padding."""
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert size_of(answer) == ANSWER_SIZE
    assert answer.json is not None
    return {name: value for name, value in answer.json.items() if name != "padding"}


def test_a_code_is_issued_with_its_times(lab: Post, clock: FakeClock) -> None:
    issued = granted(
        lab("/api/issue", {**STATEMENT, "symptomDate": "2026-06-12", "tzOffset": -480, "padding": padding()})
    )
    assert set(issued) == {
        "uuid", "code", "expiresAt", "expiresAtTimestamp", "longExpiresAt", "longExpiresAtTimestamp",
    }  # fmt: skip
    assert is_well_formed(issued["code"])
    assert UUID(issued["uuid"])
    ends = issued["expiresAtTimestamp"]
    assert ends % 900 == 0
    assert clock() + 86_400 <= ends < clock() + 86_400 + 900
    assert parsedate_to_datetime(issued["expiresAt"]).timestamp() == ends
    assert issued["expiresAt"] == "Tue, 16 Jun 2026 12:00:00 UTC"
    assert (issued["longExpiresAt"], issued["longExpiresAtTimestamp"]) == (issued["expiresAt"], ends)


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        ({"testType": "positive", "testDate": "2026-06-14"}, 400, "invalid_test_type"),
        ({"testDate": "2026-06-14"}, 400, "invalid_test_type"),
        ({"testType": "user-report", "testDate": "2026-06-14"}, 400, "unsupported_test_type"),
        ({"testType": "confirmed"}, 400, "missing_date"),
        ({"testType": "confirmed", "testDate": "2026-05-16"}, 400, "invalid_date"),
        ({"testType": "confirmed", "symptomDate": "2026-06-17"}, 400, "invalid_date"),
        ({"testType": "confirmed", "testDate": "14.6.2026"}, 400, "unparsable_request"),
        ({"testType": "confirmed", "testDate": "2026-02-30"}, 400, "unparsable_request"),
        ({"testType": "confirmed", "testDate": "20260614"}, 400, "unparsable_request"),
        ({**STATEMENT, "uuid": "not-a-uuid"}, 400, "unparsable_request"),
        ({**STATEMENT, "uuid": "1_2_3_4_5_6_7_8_9_0_1_2_3_4_5_6_7_8_9_0_1_2_3_4_5_6_7_8_9_0_1_2"}, 400,
         "unparsable_request"),
        ({**STATEMENT, "uuid": "0a1b2c3d4e5f60718293a4b5c6d7e8f9"}, 400, "unparsable_request"),
        ({**STATEMENT, "externalIssuerID": "x" * 256}, 400, "unparsable_request"),
        ({**STATEMENT, "onlyGenerateSMS": True}, 400, "unparsable_request"),
        ({**STATEMENT, "onlyGenerateSMS": "true"}, 400, "unparsable_request"),
        ({**STATEMENT, "phone": "+8613800000000"}, 400, ""),
    ],
)  # fmt: skip
def test_statements_that_cannot_stand(
    lab: Post, issuing_session: Session, statement: dict[str, Any], status: int, code: str
) -> None:
    answer = lab("/api/issue", statement)
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert issuing_session.scalar(select(func.count()).select_from(Authorization)) == 0


@pytest.mark.parametrize("day", ["2026-05-17", "2026-06-16"])
def test_a_day_more_is_allowed_at_both_ends(lab: Post, day: str) -> None:
    granted(lab("/api/issue", {"testType": "LIKELY", "testDate": day}))


def test_a_repeated_uuid_is_a_conflict_always(lab: Post) -> None:
    handle = str(uuid4())
    assert granted(lab("/api/issue", {**STATEMENT, "uuid": handle}))["uuid"] == handle
    for again in (handle, handle.upper()):
        answer = lab("/api/issue", {**STATEMENT, "uuid": again})
        assert (answer.status_code, code_of(answer)) == (409, "uuid_already_exists")


def test_status_and_end_of_a_code(lab: Post, device: Post, clock: FakeClock) -> None:
    first, second = (granted(lab("/api/issue", STATEMENT)) for _ in range(2))
    ends = first["expiresAtTimestamp"]
    waiting = {"claimed": False, "expiresAtTimestamp": ends, "longExpiresAtTimestamp": ends}
    assert granted(lab("/api/checkcodestatus", {"uuid": first["uuid"]})) == waiting
    granted(device("/api/verify", {"code": first["code"]}))
    assert granted(lab("/api/checkcodestatus", {"uuid": first["uuid"]})) == {**waiting, "claimed": True}

    claimed = lab("/api/expirecode", {"uuid": first["uuid"]})
    assert (claimed.status_code, code_of(claimed)) == (400, "")
    assert (claimed.json or {})["error"] == "bad request"

    ended = granted(lab("/api/expirecode", {"uuid": second["uuid"]}))
    assert ended["uuid"] == second["uuid"]
    assert ended["expiresAtTimestamp"] == ended["longExpiresAtTimestamp"] <= clock()
    assert code_of(device("/api/verify", {"code": second["code"]})) == "code_expired"
    clock.advance(5000)
    assert granted(lab("/api/expirecode", {"uuid": second["uuid"]})) == ended


def test_codes_issued_and_expired_are_on_record_by_the_key_that_did_it(
    lab: Post, issuing_session: Session
) -> None:
    handle = str(uuid4())
    assert lab("/api/issue", {**STATEMENT, "uuid": handle}).status_code == 200
    assert lab("/api/issue", {**STATEMENT, "uuid": handle}).status_code == 409
    assert lab("/api/expirecode", {"uuid": handle}).status_code == 200
    assert lab("/api/expirecode", {"uuid": str(uuid4())}).status_code == 404
    rows = acts_of(issuing_session, AUTHORITY)
    check_chain(rows)
    acts = [decode_act(row.content) for row in rows]
    lab_key = "api-key:" + hash_api_key(LOOKUP_KEY, ADMIN_KEY).hex()
    assert [(act.kind, act.actor) for act in acts] == [("code_issued", lab_key), ("code_expired", lab_key)]
    authorization = issuing_session.scalars(select(Authorization.id)).one()
    assert [dict(act.detail) for act in acts] == [{"authorization": authorization}] * 2
    assert not any(handle.encode() in row.content for row in rows), "the handle is its issuer's"


def test_codes_that_are_not_there_or_not_ones_own(lab: Post, issuing_session: Session) -> None:
    issued = granted(lab("/api/issue", STATEMENT))
    with transaction(issuing_session):
        other = hash_api_key(LOOKUP_KEY, "another lab")
        issuing_session.add(ApiKey(key_hash=other, authority_id=AUTHORITY, kind="admin", preview="anot"))
    for path in ("/api/checkcodestatus", "/api/expirecode"):
        for nobody in (str(uuid4()), "not-a-uuid", "", uuid4().hex, f"{{{issued['uuid']}}}"):
            answer = lab(path, {"uuid": nobody})
            assert (answer.status_code, code_of(answer)) == (404, "code_not_found")
        answer = lab(path, {"uuid": issued["uuid"]}, api_key="another lab")
        assert (answer.status_code, code_of(answer)) == (401, "code_user_unauthorized")


def test_a_phones_api_key_issues_nothing(lab: Post, issuing_session: Session) -> None:
    for path in ("/api/issue", "/api/checkcodestatus", "/api/expirecode"):
        answer = lab(path, STATEMENT, api_key=DEVICE_KEY)
        assert (answer.status_code, code_of(answer)) == (401, "")
    assert issuing_session.scalar(select(func.count()).select_from(VerificationCode)) == 0


@pytest.mark.parametrize("path", ["/api/issue", "/api/checkcodestatus", "/api/expirecode"])
def test_what_cannot_be_read(lab: Post, path: str) -> None:
    for body in (b"", b"nonsense", b'{"uuid": 5}', b'{"uuid": "\\u0000"}'):
        answer = lab(path, body)
        assert (answer.status_code, code_of(answer)) == (400, "unparsable_request")
    answer = lab(path, STATEMENT, content_type="application/xml")
    assert (answer.status_code, code_of(answer)) == (400, "unparsable_request")


def test_the_issuer_is_kept_verbatim(lab: Post, issuing_session: Session) -> None:
    granted(lab("/api/issue", {**STATEMENT, "externalIssuerID": "Station 7 / 急诊"}))
    assert issuing_session.scalars(select(Authorization.external_issuer_id)).one() == "Station 7 / 急诊"


def test_an_issued_code_names_the_key_that_issued_it(
    lab: Post, issue: Callable[..., str], issuing_session: Session
) -> None:
    issue()
    assert len(issuing_session.scalars(select(Authorization.api_key_hash)).one() or b"") == 32


# ---------------------------------------------------------------- in batches


def batch(lab: Post, *requests: object, **more: Any) -> TestResponse:
    """A call for several codes at once."""
    return lab("/api/batch-issue", {"codes": list(requests), "padding": padding(), **more})


def test_a_batch_of_ten_gives_ten_codes_in_an_answer_like_any_other(
    lab: Post, issuing_session: Session
) -> None:
    handles = [str(uuid4()) for _ in range(10)]
    issued = granted(batch(lab, *({**STATEMENT, "uuid": handle, "padding": "AAAA"} for handle in handles)))
    assert set(issued) == {"codes"}
    assert [one["uuid"] for one in issued["codes"]] == handles
    assert len({one["code"] for one in issued["codes"]}) == 10
    assert set(issued["codes"][0]) == {
        "uuid", "code", "expiresAt", "expiresAtTimestamp", "longExpiresAt", "longExpiresAtTimestamp",
    }  # fmt: skip
    assert issuing_session.scalar(select(func.count()).select_from(VerificationCode)) == 10


def test_what_can_be_issued_is_and_the_first_failure_speaks_for_all(
    lab: Post, issuing_session: Session
) -> None:
    handle = str(uuid4())
    answer = batch(
        lab,
        {**STATEMENT, "uuid": handle},
        {**STATEMENT, "uuid": handle},
        {"testType": "confirmed"},
        {**STATEMENT, "testDate": 14},
        "no request at all",
        None,
        {**STATEMENT, "onlyGenerateSMS": True},
        {**STATEMENT, "phone": "+8613800000000"},
        STATEMENT,
    )
    assert (answer.status_code, code_of(answer)) == (409, "uuid_already_exists")
    codes = (answer.json or {})["codes"]
    assert [one.get("errorCode") for one in codes] == [
        None, "uuid_already_exists", "missing_date", "unparsable_request", "unparsable_request",
        "unparsable_request", "unparsable_request", "", None,
    ]  # fmt: skip
    for one in codes:
        assert ("code" in one) != ("error" in one)
        assert one.get("errorCode") == one.get("error_code")
    assert (answer.json or {})["error"] == codes[1]["error"]
    kept = issuing_session.scalars(select(VerificationCode.uuid)).all()
    assert sorted(kept) == sorted([handle, codes[-1]["uuid"]])


def test_the_longest_answer_of_a_batch_still_has_the_one_size(lab: Post) -> None:
    answer = batch(
        lab, *[{**STATEMENT, "testType": ["x"], "symptomDate": ["x"], "phone": {"x" * 90: 1}}] * 10
    )
    assert (answer.status_code, code_of(answer)) == (400, "unparsable_request")


@pytest.mark.parametrize("requests", [[], [STATEMENT] * 11])
def test_a_batch_has_one_to_ten_requests(lab: Post, issuing_session: Session, requests: list[object]) -> None:
    answer = batch(lab, *requests)
    assert (answer.status_code, code_of(answer)) == (400, "")
    assert "codes" not in (answer.json or {})
    assert issuing_session.scalar(select(func.count()).select_from(VerificationCode)) == 0


def test_codes_that_were_issued_before_a_fault_of_ours_reach_their_caller(
    issuing_face: IssuingFace, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter([clock(), clock()])
    broken = replace(issuing_face, clock=lambda: next(times))
    answer = batch(poster(create_issuing_app(broken), ADMIN_KEY), *[STATEMENT] * 4)
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    codes = (answer.json or {})["codes"]
    assert ["code" in one for one in codes] == [True, True, False, False]
    assert {one["errorCode"] for one in codes[2:]} == {"internal_error"}
    assert caplog.text.count("unexpected fault endpoint=batch_issue type=StopIteration") == 1


def test_a_batch_is_read_like_any_other_call(lab: Post) -> None:
    for body in (b"", b"[]", b'{"codes": 5}', b'{"codes": {}}'):
        answer = lab("/api/batch-issue", body)
        assert (answer.status_code, code_of(answer)) == (400, "unparsable_request")
    answer = lab("/api/batch-issue", b"x" * (BODY_LIMIT + 1))
    assert (answer.status_code, code_of(answer)) == (413, "unparsable_request")
    answer = batch(lab, STATEMENT, STATEMENT)
    assert answer.status_code == 200
    for key in (DEVICE_KEY, "nobody's", None):
        answer = lab("/api/batch-issue", {"codes": [STATEMENT]}, api_key=key)
        assert (answer.status_code, code_of(answer)) == (401, "")


def test_when_the_days_codes_are_used_up_the_answer_says_from_when_there_are_more(
    lab: Post, issuing_session: Session, issue: Callable[..., str], clock: FakeClock
) -> None:
    issue()
    with transaction(issuing_session):
        issuing_session.execute(update(QuotaUse).values(most=1))
    statement = {"testType": "confirmed", "testDate": "2026-06-14"}
    answer = lab("/api/issue", statement)
    assert (answer.status_code, answer.json["errorCode"]) == (429, "quota_exceeded")
    assert answer.headers["Retry-After"] == "Tue, 16 Jun 2026 00:00:00 GMT"
    assert size_of(answer) == size_of(lab("/api/issue", {}))
    several = batch(lab, statement, statement)
    assert (several.status_code, several.headers["Retry-After"]) == (429, answer.headers["Retry-After"])
    issuing_session.rollback()
    assert issuing_session.scalar(select(func.count()).select_from(VerificationCode)) == 1
    clock.advance(86_400 / 2)
    assert lab("/api/issue", statement).status_code == 200
