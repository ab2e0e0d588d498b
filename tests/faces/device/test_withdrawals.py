"""/v1/withdraw as a phone meets it: one token, an answer that says nothing, and what is then in the rows."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device import CollectingFace
from registry.faces.device.answers import ANSWER_SIZE
from registry.faces.device.calls import BODY_LIMIT
from registry.models import CollectedAnswer, CollectingChaff, DiagnosisKey, transaction
from registry.protocol.keys import ReportType
from tests.authority import MadeSigner, made_key, made_upload
from tests.clock import FakeClock
from tests.faces.device.conftest import Stopwatch, padding, poster, size_of

Call = Callable[..., TestResponse]


@pytest.fixture
def withdraw(collecting_app: Flask) -> Call:
    """A phone's withdrawals: (body, …) → response."""
    post = poster(collecting_app)
    return lambda body, **more: post("/v1/withdraw", body, **more)


@pytest.fixture
def token(phone: Call, certificate_signer: MadeSigner, clock: FakeClock) -> str:
    """What the registry gave for an upload of three keys."""
    keys = [made_key(clock(), day) for day in range(3)]
    answer = phone(made_upload(certificate_signer, keys, clock()))
    assert answer.json is not None
    return str(answer.json["revisionToken"])


def kinds(session: Session) -> set[int]:
    """Report types of what is stored."""
    session.rollback()
    return set(session.scalars(select(DiagnosisKey.report_type)))


def members(answer: TestResponse) -> dict[str, Any]:
    """The answer without its padding."""
    return {name: value for name, value in (answer.json or {}).items() if name != "padding"}


def test_what_the_token_names_is_taken_back_and_the_answer_says_nothing(
    withdraw: Call, token: str, collecting_session: Session
) -> None:
    for _ in range(2):
        answer = withdraw({"revisionToken": token, "padding": padding(3000)})
        assert (answer.status_code, members(answer)) == (200, {})
        assert kinds(collecting_session) == {ReportType.REVOKED}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_revision_token"),
        ({"revisionToken": None}, "missing_revision_token"),
        ({"revisionToken": "%%%"}, "missing_revision_token"),
        ({"revisionToken": "AAAA"}, "invalid_revision_token"),
        ({"revisionToken": 7}, "bad_request"),
    ],
)
def test_who_cannot_prove_it_is_refused(
    withdraw: Call, token: str, collecting_session: Session, body: dict[str, Any], code: str
) -> None:
    answer = withdraw(body)
    assert (answer.status_code, members(answer)["code"]) == (400, code)
    assert kinds(collecting_session) == {ReportType.CONFIRMED_TEST}


def test_a_changed_token_is_refused(withdraw: Call, token: str, collecting_session: Session) -> None:
    changed = token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]
    assert members(withdraw({"revisionToken": changed}))["code"] == "invalid_revision_token"
    assert kinds(collecting_session) == {ReportType.CONFIRMED_TEST}


def test_success_refusals_and_chaff_look_like_an_upload(
    withdraw: Call, phone: Call, token: str, stopwatch: Stopwatch, collecting_face: CollectingFace
) -> None:
    stopwatch.slept.clear()
    answers = {
        "chaff": withdraw({"revisionToken": token}, headers={"X-Chaff": "1"}),
        "200": withdraw({"revisionToken": token}),
        "400": withdraw({}),
        "413": withdraw(b"x" * (BODY_LIMIT + 1)),
        "415": withdraw(b"{}", content_type="text/plain"),
        "upload": phone({}),
    }
    assert {size_of(answer) for answer in answers.values()} == {ANSWER_SIZE}
    assert {answer.headers["x-api-version"] for answer in answers.values()} == {"v1"}
    assert members(answers["chaff"]) == members(answers["200"]) == {}
    assert stopwatch.slept == [collecting_face.hold_milliseconds / 1000] * len(answers)


def test_chaff_writes_what_is_emptied_unseen_and_withdraws_nothing(
    withdraw: Call, token: str, collecting_session: Session
) -> None:
    assert withdraw({"revisionToken": token}, headers={"X-Chaff": "1"}).status_code == 200
    assert kinds(collecting_session) == {ReportType.CONFIRMED_TEST}
    assert collecting_session.scalar(select(func.count()).select_from(CollectingChaff)) == 1


def test_of_who_withdrew_nothing_is_stored(withdraw: Call, token: str, collecting_session: Session) -> None:
    def counted() -> list[int]:
        collecting_session.rollback()
        tables = (CollectedAnswer, CollectingChaff)
        return [collecting_session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]

    before = counted()
    withdraw({"revisionToken": token})
    assert counted() == before


def test_after_retirement_there_is_nothing_to_take_back_and_that_is_no_fault(
    withdraw: Call, token: str, collecting_session: Session
) -> None:
    with transaction(collecting_session):
        collecting_session.query(DiagnosisKey).delete()
    assert withdraw({"revisionToken": token}).status_code == 200
