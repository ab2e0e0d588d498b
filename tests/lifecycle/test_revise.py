"""A stored key comes again: who may revise it, to what, and what then leaves the house."""

import base64

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import RefusalCode
from registry.lifecycle.publish.key_days import make_due_days
from registry.models import KeyRevision
from registry.protocol.keys import ReportType
from registry.protocol.revision_token import decode_revision_token
from tests.authority import RING, made_key
from tests.clock import FakeClock
from tests.lifecycle.upload_desk import UploadDesk


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> UploadDesk:
    """The authority's desk."""
    return UploadDesk(collecting_url, collecting_session, clock)


def test_stored_keys_need_a_token_that_names_them(desk: UploadDesk) -> None:
    mine, other = made_key(desk.clock(), 2), made_key(desk.clock(), 2)
    desk.upload([mine], "likely")
    others = desk.upload([other], "likely").revision_token
    assert desk.refused([mine]) == RefusalCode.MISSING_REVISION_TOKEN
    assert desk.refused([mine], revisionToken="not base64!") == RefusalCode.MISSING_REVISION_TOKEN
    assert desk.refused([mine], revisionToken="AAAA") == RefusalCode.INVALID_REVISION_TOKEN
    assert desk.refused([mine], revisionToken=others) == RefusalCode.INVALID_REVISION_TOKEN
    assert desk.upload([made_key(desk.clock(), 3)], revisionToken="AAAA").inserted_exposures == 1


def test_a_stored_key_keeps_its_start_and_period(desk: UploadDesk) -> None:
    key = made_key(desk.clock(), 2)
    token = desk.upload([key], "likely").revision_token
    moved = {**key, "rollingStartNumber": key["rollingStartNumber"] - 144}
    for other in ({**key, "rollingPeriod": 143}, moved):
        assert desk.refused([other], revisionToken=token) == RefusalCode.INVALID_REVISION_TOKEN


def test_the_next_token_holds_the_old_ones_keys_and_these(desk: UploadDesk) -> None:
    first, second = made_key(desk.clock(), 5), made_key(desk.clock(), 4)
    token = desk.upload([first]).revision_token
    token = desk.upload([second], revisionToken=token).revision_token
    assert len(decode_revision_token(token, RING)) == 2
    desk.clock.advance(11 * 86_400)  # the first one ended over 15 days ago now
    make_due_days(desk.session, desk.clock())
    token = desk.upload([made_key(desk.clock(), 1)], revisionToken=token).revision_token
    starts = [key.rolling_start_interval_number for key in decode_revision_token(token, RING)]
    assert starts == [second["rollingStartNumber"], desk.clock() // 86_400 * 144 - 144]


def test_the_same_report_type_again_changes_nothing_and_brings_a_token(desk: UploadDesk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key]).revision_token
    before = desk.picture()[:2]
    collected = desk.upload([key], revisionToken=token)
    assert collected.inserted_exposures == 0
    assert decode_revision_token(collected.revision_token, RING) == decode_revision_token(token, RING)
    assert desk.picture()[:2] == before


@pytest.mark.parametrize("first", ["confirmed", "likely", "user-report"])
@pytest.mark.parametrize("then", ["confirmed", "likely", "user-report", "negative"])
def test_which_report_type_may_follow_which(desk: UploadDesk, first: str, then: str) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], first).revision_token
    permitted = {
        "likely": {"confirmed", "negative"},
        "user-report": {"confirmed", "likely", "negative"},
        "confirmed": set(),
    }[first]
    if then == first or then in permitted:
        desk.upload([key], then, revisionToken=token)
    else:
        refusal = desk.refused([key], then, revisionToken=token)
        assert refusal == RefusalCode.INVALID_REPORT_TYPE_TRANSITION


def test_a_key_is_revised_once(desk: UploadDesk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "user-report").revision_token
    token = desk.upload([key], "likely", revisionToken=token).revision_token
    for then in ("confirmed", "negative", "user-report"):
        assert desk.refused([key], then, revisionToken=token) == RefusalCode.KEY_ALREADY_REVISED
    assert desk.upload([key], "likely", revisionToken=token).inserted_exposures == 0


def test_before_its_release_a_key_is_changed_in_place(desk: UploadDesk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "likely").revision_token
    desk.upload([key], "confirmed", revisionToken=token)
    (row,) = desk.rows()
    assert row.report_type == ReportType.CONFIRMED_TEST
    assert row.revised_before_release
    assert row.transmission_risk_level == 4  # the first one's stays
    assert desk.shelves() == [("XA,XB", False, None)]


def test_a_key_that_proves_negative_before_its_release_never_leaves(desk: UploadDesk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "likely").revision_token
    token = desk.upload([key], "negative", revisionToken=token).revision_token
    assert desk.shelves() == []
    assert desk.upload([key], "negative", revisionToken=token).inserted_exposures == 0
    assert desk.refused([key], "confirmed", revisionToken=token) == RefusalCode.KEY_ALREADY_REVISED


@pytest.mark.parametrize("then", ["confirmed", "negative"])
def test_after_its_release_a_key_goes_out_again_as_revised(desk: UploadDesk, then: str) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "likely").revision_token
    desk.seal()
    desk.upload([key], then, revisionToken=token)
    (row,) = desk.rows()
    assert row.report_type == ReportType.CONFIRMED_CLINICAL_DIAGNOSIS
    revised = {"confirmed": ReportType.CONFIRMED_TEST, "negative": ReportType.REVOKED}[then]
    (revision,) = desk.session.scalars(select(KeyRevision))
    assert (revision.report_type, revision.days_since_onset_of_symptoms) == (revised, 2)
    assert not row.revised_before_release
    assert desk.shelves() == [("XA,XB", False, 60), ("XA,XB", True, None)]


def test_a_key_that_has_left_and_one_that_has_not(desk: UploadDesk) -> None:
    left, pending = made_key(desk.clock(), 2), made_key(desk.clock(), 0)
    token = desk.upload([left], "likely").revision_token
    desk.seal()
    token = desk.upload([pending], "likely", revisionToken=token).revision_token
    desk.upload([left, pending], "negative", revisionToken=token)
    # What has not gone out never will; what has is taken back.
    (revision,) = desk.session.scalars(select(KeyRevision))
    assert revision.key_data == base64.b64decode(left["key"])
    assert desk.shelves() == [("XA,XB", False, 60), ("XA,XB", True, None)]


def test_one_bad_revision_refuses_the_whole_upload(desk: UploadDesk) -> None:
    likely, confirmed = made_key(desk.clock(), 2), made_key(desk.clock(), 3)
    token = desk.upload([likely], "likely").revision_token
    token = desk.upload([confirmed], "confirmed", revisionToken=token).revision_token
    new = made_key(desk.clock(), 4)
    refusal = desk.refused([likely, confirmed, new], "negative", revisionToken=token)
    assert refusal == RefusalCode.INVALID_REPORT_TYPE_TRANSITION
