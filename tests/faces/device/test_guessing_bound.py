"""/api/verify when somebody guesses: what is not looked at, and what an honest person meets meanwhile."""

import json
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device import IssuingFace, create_issuing_app
from registry.faces.device.answers import ANSWER_SIZE, BODY_ROOM
from registry.lifecycle.authorize import hash_code
from registry.lifecycle.guessing import wrong_codes_since
from registry.lifecycle.retire import retire_issuing
from registry.models import Authority, VerificationCode, transaction
from registry.protocol.guessing import GuessBudget
from tests.authority import AUTHORITY, DEVICE_KEY, LOOKUP_KEY
from tests.clock import FakeClock
from tests.faces.device.conftest import padding, size_of

BUDGET = GuessBudget(of_network=3, when_guessed=1, of_authority=100)
Verify = Callable[..., TestResponse]


def verifier(app: Flask) -> Verify:
    """(code, address, …) → answer."""
    client = app.test_client()

    def verify(code: str, address: str = "192.0.2.1", body: bytes = b"", **headers: str) -> TestResponse:
        return client.post(
            "/api/verify",
            data=body or json.dumps({"code": code, "padding": padding()}),
            content_type="application/json",
            headers={"X-API-Key": DEVICE_KEY, **headers},
            environ_base={"REMOTE_ADDR": address},
        )

    return verify


@pytest.fixture
def verify(issuing_face: IssuingFace) -> Verify:
    """Phones' calls from addresses of choice, to a process with a small budget."""
    return verifier(create_issuing_app(replace(issuing_face, guess_budget=BUDGET)))


def use_up(verify: Verify, address: str = "192.0.2.1") -> None:
    """Guess wrong until nothing is looked at any more."""
    for _ in range(3):
        assert verify("00000000", address).status_code == 400


def link_code_of(session: Session) -> str:
    """Give the one code there is a link of the test's own."""
    link = "LINK" * 6 + "AB"
    with transaction(session):
        row = session.scalars(select(VerificationCode)).one()
        row.link_hash = hash_code(LOOKUP_KEY, AUTHORITY, link)
    return link


def test_what_is_not_looked_at_is_told_so_like_any_other_answer_and_the_code_stays_good(
    verify: Verify, issue: Callable[..., str], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    code = issue()
    clock.advance(600)
    use_up(verify)
    for tried in (code, "00000000"):
        answer = verify(tried)
        assert answer.status_code == 429
        assert answer.json is not None
        assert answer.json["errorCode"] == answer.json["error_code"] == ""
        assert "try again later" in answer.json["error"]
        assert size_of(answer) == ANSWER_SIZE
        assert len(answer.get_data()) == BODY_ROOM
        assert answer.headers["X-Retry-After"] == answer.headers["Retry-After"]
        assert parsedate_to_datetime(answer.headers["Retry-After"]).timestamp() == clock() - 600 + 3600
    assert verify(code, "198.51.100.1").status_code == 200, "from another network it is taken at once"
    other = issue()
    clock.advance(3000)
    assert verify(other).status_code == 200
    assert caplog.text == ""


def test_a_wrong_check_digit_an_unknown_and_an_expired_code_count_alike(
    verify: Verify, issue: Callable[..., str], clock: FakeClock
) -> None:
    code, expired = issue(), issue()
    slip = code[:-1] + str((int(code[-1]) + 1) % 10)
    answers = [verify(slip), verify("000000000000000")]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert [answer.json and answer.json["error"] for answer in answers] == [answers[0].json["error"]] * 2  # type: ignore[index]
    clock.advance(2 * 86_400)
    answers = [verify(expired) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 429]
    assert {answer.json["errorCode"] for answer in answers[:3] if answer.json} == {"code_expired"}


def test_chaff_and_what_cannot_be_read_are_no_guesses(verify: Verify, issue: Callable[..., str]) -> None:
    for _ in range(10):
        assert verify("00000000", **{"X-Chaff": "1"}).status_code == 200
        assert verify("", body=b"nonsense").status_code == 400
        assert verify("", body=b'{"code": "00000000", "accept": ["x"]}').status_code == 400
        assert verify("00000000", **{"X-API-Key": "none"}).status_code == 401
    assert verify(issue()).status_code == 200


def test_a_lost_answer_is_repeated_though_nothing_is_looked_at_any_more(
    verify: Verify, issue: Callable[..., str]
) -> None:
    code = issue()
    body = json.dumps({"code": code, "padding": padding()}).encode()
    first = verify(code, body=body)
    use_up(verify)
    again = verify(code, body=body)
    assert again.status_code == 200
    assert again.json is not None
    assert first.json is not None
    assert again.json["token"] == first.json["token"]
    assert verify(code).status_code == 429, "other padding is another request"
    assert verify(code, body=json.dumps({"code": code, "padding": "AAAA"}).encode()).status_code == 429


def test_a_person_whose_network_guesses_can_use_the_link(
    verify: Verify, issue: Callable[..., str], issuing_session: Session
) -> None:
    issue()
    link = link_code_of(issuing_session)
    use_up(verify)
    assert verify(link).status_code == 200
    assert verify(link).status_code == 400, "it is used now, and told so"


def test_long_codes_leave_room_for_a_carriers_customers_and_eight_digits_do_not(
    issuing_face: IssuingFace, issue: Callable[..., str], issuing_session: Session, clock: FakeClock
) -> None:
    roomy = replace(BUDGET, of_network=8)
    verify = verifier(create_issuing_app(replace(issuing_face, guess_budget=BUDGET, guess_room=roomy)))
    issue()
    answers = [verify("00000000").status_code for _ in range(9)]
    assert answers == [400] * 8 + [429]
    with transaction(issuing_session):
        issuing_session.scalars(select(VerificationCode)).one().code_form = "short"
    clock.advance(60)
    answers = [verify("00000000", "203.0.113.9").status_code for _ in range(4)]
    assert answers == [400] * 3 + [429], "within a minute of the first code of eight digits"
    with transaction(issuing_session):
        issuing_session.scalars(select(VerificationCode)).one().expires_at = int(clock())
    clock.advance(60)
    assert verify("00000000", "203.0.113.9").status_code == 400, "it cannot be used any more"
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).code_form = "short"
    clock.advance(60)
    assert verify("00000000", "203.0.113.9").status_code == 429, "the next one will be of eight digits"


def test_a_header_that_nobody_of_ours_wrote_changes_nothing(
    issuing_face: IssuingFace, issue: Callable[..., str]
) -> None:
    face = replace(issuing_face, guess_budget=BUDGET)
    direct, behind = (
        verifier(create_issuing_app(replace(face, trusted_proxies=proxies))) for proxies in (0, 1)
    )
    for number in range(3):
        assert direct("0" * 8, **{"X-Forwarded-For": f"10.0.{number}.1"}).status_code == 400
    assert direct("0" * 8, **{"X-Forwarded-For": "10.0.9.1"}).status_code == 429
    for number in range(3):
        forwarded = f"10.0.{number}.1, 198.51.100.1"
        assert behind("0" * 8, **{"X-Forwarded-For": forwarded}).status_code == 400
    assert behind("0" * 8, **{"X-Forwarded-For": "198.51.100.2"}).status_code == 429
    assert behind(issue(), **{"X-Forwarded-For": "10.0.0.1"}).status_code == 200


def test_each_process_writes_down_how_many_there_were_when_the_next_hour_s_first_code_comes(
    issuing_face: IssuingFace, issue: Callable[..., str], issuing_session: Session, clock: FakeClock
) -> None:
    face, began = replace(issuing_face, guess_budget=BUDGET), int(clock())
    processes = [verifier(create_issuing_app(face)) for _ in range(2)]
    for verify in processes:
        use_up(verify)
        assert verify(issue()).status_code == 429
    assert wrong_codes_since(issuing_session, AUTHORITY, 0) == (0, 0)
    issuing_session.rollback()
    clock.advance(3600)
    codes = [issue() for _ in processes]
    for verify, code in zip(processes, codes, strict=True):
        assert verify(code).status_code == 200
    assert wrong_codes_since(issuing_session, AUTHORITY, began) == (6, 2)
    assert wrong_codes_since(issuing_session, AUTHORITY, began + 1) == (0, 0)
    assert wrong_codes_since(issuing_session, "another", began) == (0, 0)
    issuing_session.rollback()
    clock.advance(48 * 3600 - 3601)
    with transaction(issuing_session):
        assert retire_issuing(issuing_session, clock()).wrong_code_counts == 0
    clock.advance(1)
    with transaction(issuing_session):
        assert retire_issuing(issuing_session, clock()).wrong_code_counts == 1
