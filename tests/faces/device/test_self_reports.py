"""/api/user-report: a code for a person's own report, which nobody else can use, and an answer that tells
nobody who has reported."""

import base64
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from registry.faces.device import IssuingFace, create_issuing_app
from registry.lifecycle.activity import acts_of
from registry.lifecycle.counts import counts
from registry.lifecycle.retire import retire_issuing
from registry.models import (
    Authority,
    IssuingBase,
    QuotaUse,
    SelfReportDay,
    SelfReportNumber,
    VerificationCode,
    transaction,
)
from tests.authority import ADMIN_KEY, AUTHORITY, DEVICE_KEY, MadeSigner
from tests.clock import FakeClock
from tests.delivery.gateway import SuiteGateway, suite_gateway
from tests.faces.device.conftest import Post, poster, size_of

ADDRESS = "https://keys.health.example"
NUMBER = "+86 138-0013-8000"
OTHER = "+8613900139001"
NONCE = base64.b64encode(bytes(range(256))).decode()
REPORT = {"phone": NUMBER, "nonce": NONCE, "testDate": "2026-06-14"}


@pytest.fixture
def gateway() -> Iterator[SuiteGateway]:
    with suite_gateway() as there:
        yield there


@pytest.fixture
def desk(gateway: SuiteGateway) -> SmsDesk:
    return SmsDesk([gateway.gateway(countries=["CN"])])


@pytest.fixture
def app(issuing_face: IssuingFace, desk: SmsDesk, issuing_session: Session) -> Flask:
    """An issuing application whose authority takes self-reports."""
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).self_report = True
    return create_issuing_app(replace(issuing_face, sms=SmsMaker(desk, {}, "CN", ADDRESS)))


@pytest.fixture
def phone(app: Flask) -> Post:
    return poster(app, DEVICE_KEY)


def refused(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, str(answer.json and answer.json["errorCode"])


def rows(session: Session, table: type) -> list[Any]:
    session.rollback()
    return list(session.scalars(select(table)))


def wait_until(holds: Callable[[], object]) -> None:
    """What goes on behind the answer takes its time."""
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


def code_of(gateway: SuiteGateway, at: int = 0) -> str:
    wait_until(lambda: len(gateway.asked) > at)
    found = re.search(r"(?<!\d)\d{15}(?!\d)", gateway.texts()[at])
    assert found
    return found[0]


def test_the_code_comes_by_sms_and_is_good_with_the_phones_own_nonce_alone(
    phone: Post, gateway: SuiteGateway, issuing_session: Session, clock: FakeClock
) -> None:
    answer = phone("/api/user-report", {**REPORT, "symptomDate": "2026-06-12", "tzOffset": 480})
    assert answer.status_code == 200
    assert answer.json
    assert answer.json["expiresAtTimestamp"] == clock() + 86_400
    assert answer.json["expiresAt"] == "Tue, 16 Jun 2026 12:00:00 UTC"
    code = code_of(gateway)
    assert code not in answer.text
    wrong = base64.b64encode(secrets.token_bytes(256)).decode()
    unknown = phone("/api/verify", {"code": "1" * 15})
    for nonce in ({}, {"nonce": ""}, {"nonce": wrong}, {"nonce": "no base64"}):
        got = phone("/api/verify", {"code": code, **nonce})
        assert refused(got) == (400, "code_invalid")
        assert got.json["error"] == unknown.json["error"], "nothing says that there is such a code"
    refuses = phone("/api/verify", {"code": code, "nonce": NONCE, "accept": ["confirmed"]})
    assert refused(refuses) == (412, "unsupported_test_type")
    good = phone("/api/verify", {"code": code, "nonce": NONCE, "accept": ["user-report"]})
    assert good.status_code == 200
    assert good.json
    assert (good.json["testtype"], good.json["symptomDate"]) == ("user-report", "2026-06-12")
    (row,) = rows(issuing_session, VerificationCode)
    assert bytes(range(256)) not in row.nonce_hash
    assert row.nonce_hash != sha256(bytes(range(256))).digest()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"nonce": None}, "missing_nonce"),
        ({"nonce": ""}, "missing_nonce"),
        ({"nonce": base64.b64encode(bytes(255)).decode()}, "unparsable_request"),
        ({"nonce": base64.b64encode(bytes(257)).decode()}, "unparsable_request"),
        ({"nonce": "?" * 344}, "unparsable_request"),
        ({"phone": None}, "missing_phone"),
        ({"phone": "12345"}, "phone_number_invalid"),
        ({"phone": "+33 6 12 34 56 78"}, "sms_failure"),
        ({"testDate": None}, "missing_date"),
        ({"testDate": "14.6.2026"}, "unparsable_request"),
        ({"testDate": "2026-06-17"}, "invalid_date"),
        ({"testDate": "2026-05-01"}, "invalid_date"),
        ({"smsLanguage": "fr"}, "unparsable_request"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_nothing_is_stored(
    phone: Post, gateway: SuiteGateway, issuing_session: Session, changes: dict[str, object], code: str
) -> None:
    assert refused(phone("/api/user-report", REPORT | changes)) == (400, code)
    assert not rows(issuing_session, VerificationCode)
    assert not rows(issuing_session, SelfReportNumber)
    assert not gateway.asked


def test_a_day_ahead_of_utc_is_taken_as_clients_calendars_are(phone: Post) -> None:
    assert phone("/api/user-report", REPORT | {"testDate": "2026-06-16", "tzOffset": -720}).status_code == 200


def test_it_is_off_unless_the_authority_wants_it(
    issuing_face: IssuingFace, desk: SmsDesk, issuing_session: Session, phone: Post
) -> None:
    without = poster(create_issuing_app(issuing_face), DEVICE_KEY)
    assert refused(without("/api/user-report", REPORT)) == (400, "unsupported_test_type")
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).self_report = False
    assert refused(phone("/api/user-report", REPORT)) == (400, "unsupported_test_type")


def test_it_is_for_phones_alone(app: Flask) -> None:
    assert poster(app, ADMIN_KEY)("/api/user-report", REPORT).status_code == 401
    lab = poster(app, ADMIN_KEY)
    answer = lab("/api/issue", {"testType": "user-report", "testDate": "2026-06-14"})
    assert refused(answer) == (400, "unsupported_test_type")


def test_a_second_report_of_the_day_gets_the_same_answer_and_no_sms(
    phone: Post, gateway: SuiteGateway, clock: FakeClock, issuing_session: Session
) -> None:
    first = phone("/api/user-report", REPORT)
    code_of(gateway)
    other_nonce = base64.b64encode(secrets.token_bytes(256)).decode()
    second = phone("/api/user-report", {**REPORT, "phone": "13800138000", "nonce": other_nonce})
    chaff = phone("/api/user-report", REPORT, headers={"X-Chaff": "1"})
    assert [answer.status_code for answer in (first, second, chaff)] == [200] * 3
    assert first.json
    assert second.json
    assert first.json | {"padding": ""} == second.json | {"padding": ""}
    assert size_of(first) == size_of(second) == size_of(chaff)
    assert len(rows(issuing_session, VerificationCode)) == 1
    clock.advance(12 * 3600)
    phone("/api/user-report", REPORT | {"testDate": "2026-06-15"})
    code_of(gateway, at=1)
    assert len(gateway.asked) == 2, "the next day it is sent again"


@pytest.mark.parametrize("state", ["short codes", "maintenance", "no codes left"])
def test_nothing_of_the_authoritys_tells_a_number_that_has_reported_from_another(
    phone: Post, issuing_session: Session, clock: FakeClock, state: str
) -> None:
    assert phone("/api/user-report", REPORT).status_code == 200
    with transaction(issuing_session):
        authority = issuing_session.get_one(Authority, AUTHORITY)
        authority.maintenance = state == "maintenance"
        authority.code_form = "short" if state == "short codes" else "digits"
        if state == "no codes left":
            issuing_session.execute(update(QuotaUse).values(most=0))
    again, other = (phone("/api/user-report", {**REPORT, "phone": number}) for number in (NUMBER, OTHER))
    assert again.status_code == other.status_code == (429 if state == "maintenance" else 200)
    for name in ("errorCode", "expiresAt", "expiresAtTimestamp"):
        assert (again.json or {}).get(name) == (other.json or {}).get(name)
    assert size_of(again) == size_of(other)


def test_no_stranger_uses_up_what_officials_may_issue(phone: Post, issuing_session: Session) -> None:
    assert phone("/api/user-report", REPORT).status_code == 200
    assert rows(issuing_session, QuotaUse) == []


def test_the_key_of_a_day_is_destroyed_with_the_day(
    phone: Post, clock: FakeClock, issuing_session: Session
) -> None:
    phone("/api/user-report", REPORT)
    (day,) = rows(issuing_session, SelfReportDay)
    (number,) = rows(issuing_session, SelfReportNumber)
    key, number_hash = day.key, number.number_hash
    assert day.day == date(2026, 6, 15)
    clock.advance(12 * 3600)
    phone("/api/user-report", {**REPORT, "phone": "+86 139 0013 9000"})
    (day,) = rows(issuing_session, SelfReportDay)
    (number,) = rows(issuing_session, SelfReportNumber)
    assert day.key != key
    assert number.number_hash != number_hash
    clock.advance(86_400)
    with transaction(issuing_session):
        assert retire_issuing(issuing_session, clock()).self_reports == 1
    assert not rows(issuing_session, SelfReportDay) + rows(issuing_session, SelfReportNumber)


def test_a_restart_within_the_day_forgets_nobody(
    phone: Post, gateway: SuiteGateway, issuing_face: IssuingFace, desk: SmsDesk
) -> None:
    phone("/api/user-report", REPORT)
    code_of(gateway)
    again = create_issuing_app(replace(issuing_face, sms=SmsMaker(desk, {}, "CN", ADDRESS)))
    assert poster(again, DEVICE_KEY)("/api/user-report", REPORT).status_code == 200
    phone("/api/user-report", {**REPORT, "phone": "+86 139 0013 9000"})
    code_of(gateway, at=1)
    assert len(gateway.asked) == 2


@pytest.mark.parametrize("behaviour", [422, 503])
def test_a_number_whose_sms_was_certainly_not_sent_may_ask_again(
    phone: Post, gateway: SuiteGateway, issuing_session: Session, behaviour: int
) -> None:
    gateway.behaviour = behaviour
    assert phone("/api/user-report", REPORT).status_code == 200, "the answer does not wait for a gateway"
    wait_until(lambda: gateway.asked and not rows(issuing_session, SelfReportNumber))
    assert not rows(issuing_session, VerificationCode)
    gateway.behaviour = 200
    phone("/api/user-report", REPORT)
    assert code_of(gateway, at=1)


def test_one_that_may_have_been_sent_counts(
    phone: Post, gateway: SuiteGateway, issuing_session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.behaviour = "die"
    phone("/api/user-report", REPORT)
    wait_until(lambda: "unclear" in caplog.text)
    assert len(rows(issuing_session, VerificationCode)) == 1
    phone("/api/user-report", REPORT)
    assert len(rows(issuing_session, VerificationCode)) == 1


def test_no_more_sms_go_out_than_the_authority_has_for_a_day_nor_to_runs_of_numbers(
    phone: Post, gateway: SuiteGateway, issuing_session: Session
) -> None:
    for last in range(20):
        assert phone("/api/user-report", {**REPORT, "phone": f"+8613800138{last:03d}"}).status_code == 200
    for last in (3, 100):
        answer = phone("/api/user-report", {**REPORT, "phone": f"+8613800138{last:03d}"})
        assert refused(answer) == (429, "quota_exceeded"), "whether or not it has reported"
    assert phone("/api/user-report", {**REPORT, "phone": "+8613800148000"}).status_code == 200
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).self_reports_a_day = 21
    answer = phone("/api/user-report", {**REPORT, "phone": "+8613900138000"})
    assert refused(answer) == (429, "quota_exceeded")


def test_where_no_more_is_taken_in_it_is_said_to_all_alike(
    issuing_face: IssuingFace, app: Flask, gateway: SuiteGateway, issuing_session: Session
) -> None:
    assert app
    maker = SmsMaker(SmsDesk([gateway.gateway()], most_waiting=0), {}, "CN", ADDRESS)
    full = poster(create_issuing_app(replace(issuing_face, sms=maker)), DEVICE_KEY)
    assert refused(full("/api/user-report", REPORT)) == (400, "sms_queue_full")
    assert not rows(issuing_session, SelfReportNumber)


def test_it_is_counted_and_on_nobodys_record(
    phone: Post, gateway: SuiteGateway, issuing_session: Session
) -> None:
    phone("/api/user-report", REPORT)
    code_of(gateway)
    issuing_session.rollback()
    assert [day.issued for day in counts(issuing_session, date(2026, 6, 1))] == [1]
    assert acts_of(issuing_session, AUTHORITY) == []


def test_it_is_signed_for_its_own_purpose(
    issuing_face: IssuingFace, app: Flask, gateway: SuiteGateway, desk: SmsDesk, issuing_session: Session
) -> None:
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).sms_signed = True
    assert poster(app, DEVICE_KEY)("/api/user-report", REPORT).status_code == 500, "signed or not at all"
    maker = SmsMaker(desk, {AUTHORITY: MadeSigner("v1")}, "CN", ADDRESS)
    signing = poster(create_issuing_app(replace(issuing_face, sms=maker)), DEVICE_KEY)
    assert signing("/api/user-report", REPORT).status_code == 200
    code_of(gateway)
    assert " \nAuthentication:0615:v1:" in gateway.texts()[0]


def test_the_number_is_in_no_table_log_answer_or_address(
    phone: Post, gateway: SuiteGateway, issuing_session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = []
    for number, behaviour in enumerate((200, 422, 503, 500, "die", "hang", "echo")):
        gateway.behaviour = behaviour
        answers += [phone("/api/user-report", {**REPORT, "phone": f"+86138001380{number}{number}"}).text]
        wait_until(lambda number=number: len(gateway.asked) > number)
    answers += [phone("/api/user-report", {**REPORT, "phone": NUMBER + "0"}).text]
    answers += [phone("/api/user-report", {**REPORT, "nonce": "x"}).text]
    wait_until(lambda: caplog.text.count("the SMS gateway suite:") == 6)
    issuing_session.rollback()
    tables = [
        str(row)
        for table in IssuingBase.metadata.sorted_tables
        for row in issuing_session.execute(select(table))
    ]
    places = [*answers, *tables, caplog.text, *(asked.path for asked in gateway.asked)]
    planted = {"+8613800138000", "13800138000", "138001380", "138-0013-8000", quote("+86138001380")}
    hashes = {sha256(text.encode()).digest() for text in ("+8613800138000", "13800138000")}
    for place in places:
        assert not [text for text in planted if text in place], place[:300]
    for row in rows(issuing_session, SelfReportNumber):
        assert row.number_hash not in hashes
