"""Under maintenance no code is made and none is taken; what phones hold already goes on."""

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.faces.device.answers import ANSWER_SIZE
from registry.models import ApiKey, Authority, Authorization, VerificationCode, transaction
from tests.authority import AUTHORITY, mac_of, made_key
from tests.clock import FakeClock
from tests.faces.device.conftest import Post, padding, size_of

STATEMENT = {"testType": "confirmed", "testDate": "2026-06-14"}


def set_maintenance(session: Session, is_on: bool) -> None:
    """As the operator's command does."""
    with transaction(session):
        session.get_one(Authority, AUTHORITY).maintenance = is_on


def test_no_code_is_made_or_taken_and_none_is_used_up(
    lab: Post, device: Post, issue: Callable[..., str], issuing_session: Session, clock: FakeClock
) -> None:
    code, earlier = issue(), issue()
    token = (device("/api/verify", {"code": earlier}).json or {})["token"]
    set_maintenance(issuing_session, True)
    for answer in (
        lab("/api/issue", STATEMENT),
        lab("/api/batch-issue", {"codes": [STATEMENT, {"testType": "nonsense"}]}),
        device("/api/verify", {"code": code, "padding": padding()}),
        device("/api/verify", {"code": "000000000000000"}),
    ):
        assert answer.json is not None
        assert (answer.status_code, answer.json["errorCode"]) == (429, "maintenance_mode")
        assert answer.json["error_code"] == "maintenance_mode"
        assert size_of(answer) == ANSWER_SIZE
    assert issuing_session.scalar(select(func.count()).select_from(Authorization)) == 2
    # A token was given before: its certificate is not held up.
    mac = mac_of(b"k" * 16, [made_key(clock())])
    assert device("/api/certificate", {"token": token, "ekeyhmac": mac}).status_code == 200
    set_maintenance(issuing_session, False)
    assert device("/api/verify", {"code": code}).status_code == 200
    assert lab("/api/issue", STATEMENT).status_code == 200


def test_status_and_end_of_a_code_are_told_all_the_same(lab: Post, issuing_session: Session) -> None:
    uuid = (lab("/api/issue", STATEMENT).json or {})["uuid"]
    set_maintenance(issuing_session, True)
    assert lab("/api/checkcodestatus", {"uuid": uuid}).status_code == 200
    assert lab("/api/expirecode", {"uuid": uuid}).status_code == 200


def test_a_key_that_was_disabled_works_no_more_on_the_next_call(lab: Post, issuing_session: Session) -> None:
    assert lab("/api/batch-issue", {"codes": [STATEMENT]}).status_code == 200
    with transaction(issuing_session):
        issuing_session.scalars(select(ApiKey).filter_by(kind="admin")).one().disabled = True
    for path in ("/api/issue", "/api/batch-issue", "/api/checkcodestatus", "/api/expirecode"):
        assert lab(path, {"codes": [STATEMENT], **STATEMENT}).status_code == 401
    assert issuing_session.scalar(select(func.count()).select_from(VerificationCode)) == 1
