"""/api/issue with a number: the SMS carries the code, or there is no code; and the number is nowhere."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from registry.faces.device import IssuingFace, create_issuing_app
from registry.models import (
    Authority,
    Authorization,
    IssuingBase,
    QuotaUse,
    SmsErrorCount,
    SmsTemplate,
    VerificationCode,
    transaction,
)
from tests.authority import ADMIN_KEY, AUTHORITY, DEVICE_KEY, MadeSigner
from tests.delivery.gateway import SuiteGateway, suite_gateway
from tests.faces.device.conftest import Post, poster

ADDRESS = "https://keys.health.example"
STATEMENT = {"testType": "confirmed", "testDate": "2026-06-14"}
NUMBER = "+86 138-0013-8000"
SPELLINGS = ("13800138000", "138-0013-8000", "138 0013 8000", "+8613800138000", quote("+8613800138000"))
HANDLE = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def gateway() -> Iterator[SuiteGateway]:
    with suite_gateway() as there:
        yield there


@pytest.fixture
def signer() -> MadeSigner:
    return MadeSigner("v1")


@pytest.fixture
def lab(issuing_face: IssuingFace, gateway: SuiteGateway, signer: MadeSigner) -> Post:
    """A laboratory's calls to a registry that sends through the suite's gateway."""
    desk = SmsDesk([gateway.gateway(countries=["CN"])])
    maker = SmsMaker(desk, {AUTHORITY: signer}, "CN", ADDRESS)
    return poster(create_issuing_app(replace(issuing_face, sms=maker)), ADMIN_KEY)


@pytest.fixture
def allow(issuing_session: Session) -> Callable[..., None]:
    """Change what the authority allows."""

    def change(**flags: bool) -> None:
        with transaction(issuing_session):
            for name, value in flags.items():
                setattr(issuing_session.get_one(Authority, AUTHORITY), name, value)

    return change


def codes(session: Session) -> int:
    session.rollback()
    return len(session.scalars(select(VerificationCode.uuid)).all())


@pytest.mark.parametrize("number", [NUMBER, "13800138000"])
def test_the_sms_holds_code_and_link_and_the_code_is_good(
    lab: Post, gateway: SuiteGateway, issuing_face: IssuingFace, number: str
) -> None:
    answer = lab("/api/issue", {**STATEMENT, "phone": number, "smsLanguage": "en"}).json
    assert answer
    assert "phone" not in answer
    assert "generatedSMS" not in answer
    (text,) = gateway.texts()
    assert answer["code"] in text
    assert "Good for about 24 h" in text
    found = re.search(rf"{ADDRESS}/v\?c=([A-Z2-7]{{26}})", text)
    assert found
    assert found[1] not in str(answer)
    assert gateway.asked[0].json()["to"] == "+8613800138000"
    device = poster(create_issuing_app(issuing_face), DEVICE_KEY)
    assert device("/api/verify", {"code": found[1]}).status_code == 200
    assert device("/api/verify", {"code": answer["code"]}).status_code == 400, "used up with the other"


def test_texts_are_chosen_by_label_and_language(
    lab: Post, gateway: SuiteGateway, issuing_session: Session
) -> None:
    with transaction(issuing_session):
        issuing_session.add(
            SmsTemplate(authority_id=AUTHORITY, label="county", language="en", text="Use [code]")
        )
    for more in ({}, {"smsTemplateLabel": "county"}):
        assert lab("/api/issue", {**STATEMENT, "phone": NUMBER, **more}).status_code == 200
    assert gateway.texts()[0].startswith("【卫生健康部门】")
    assert re.fullmatch(r"Use \d{15}", gateway.texts()[1])


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"phone": "123"}, "phone_number_invalid"),
        ({"phone": "+33 6 12 34 56 78"}, "sms_failure"),
        ({"phone": NUMBER, "smsTemplateLabel": "unknown"}, "unparsable_request"),
        ({"phone": NUMBER, "smsLanguage": "fr"}, "unparsable_request"),
        ({"phone": NUMBER, "onlyGenerateSMS": True}, "unparsable_request"),
        ({"onlyGenerateSMS": True}, "unparsable_request"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_there_is_a_code(
    lab: Post, gateway: SuiteGateway, issuing_session: Session, more: dict[str, object], code: str
) -> None:
    answer = lab("/api/issue", {**STATEMENT, **more})
    assert (answer.status_code, answer.json and answer.json["errorCode"]) == (400, code)
    assert codes(issuing_session) == 0
    assert not gateway.asked


def test_without_a_gateway_a_number_is_refused_with_an_empty_code(
    issuing_face: IssuingFace, issuing_session: Session
) -> None:
    for sms in (None, SmsMaker(None, {}, "CN", ADDRESS)):
        lab = poster(create_issuing_app(replace(issuing_face, sms=sms)), ADMIN_KEY)
        answer = lab("/api/issue", {**STATEMENT, "phone": NUMBER})
        assert (answer.status_code, answer.json and answer.json["errorCode"]) == (400, "")
    assert codes(issuing_session) == 0


@pytest.mark.parametrize("behaviour", [422, 503, 500, "die", "hang"])
def test_a_code_whose_sms_does_not_go_out_is_undone_and_can_be_asked_for_again(
    lab: Post, gateway: SuiteGateway, issuing_session: Session, behaviour: int | str
) -> None:
    gateway.behaviour = behaviour
    answer = lab("/api/issue", {**STATEMENT, "phone": NUMBER, "uuid": HANDLE})
    assert (answer.status_code, answer.json and answer.json["errorCode"]) == (400, "sms_failure")
    assert codes(issuing_session) == 0
    assert not issuing_session.scalars(select(Authorization.id)).all()
    (counted,) = issuing_session.scalars(select(SmsErrorCount))
    assert counted.n == 1
    # Taken back from the day's quota for a fault of ours, and kept where the number was refused.
    kept = {row.n for row in issuing_session.scalars(select(QuotaUse))}
    assert kept == {1 if counted.code == "refused" else 0}
    gateway.behaviour = 200
    again = lab("/api/issue", {**STATEMENT, "phone": NUMBER, "uuid": HANDLE})
    assert again.status_code == 200
    assert lab("/api/issue", {**STATEMENT, "phone": NUMBER, "uuid": HANDLE}).status_code == 409
    assert len(gateway.asked) == 2, "what is refused as known sends no second SMS"


def test_where_no_more_is_taken_in_the_code_is_undone(
    issuing_face: IssuingFace, gateway: SuiteGateway, issuing_session: Session
) -> None:
    maker = SmsMaker(SmsDesk([gateway.gateway()], most_waiting=0), {}, "CN", ADDRESS)
    lab = poster(create_issuing_app(replace(issuing_face, sms=maker)), ADMIN_KEY)
    answer = lab("/api/issue", {**STATEMENT, "phone": NUMBER})
    assert (answer.status_code, answer.json and answer.json["errorCode"]) == (400, "sms_queue_full")
    assert codes(issuing_session) == 0


def test_a_phone_that_was_faster_than_the_gateways_answer_keeps_its_code(
    issuing_face: IssuingFace, issuing_session: Session
) -> None:
    class Silent:
        name = "silent"

        def serves(self, _number: object) -> bool:
            return True

        def send(self, _sms: object) -> object:
            with transaction(issuing_session):
                issuing_session.scalars(select(VerificationCode)).one().claimed = True
            raise TimeoutError

    maker = SmsMaker(SmsDesk([Silent()]), {}, "CN", ADDRESS)  # type: ignore[list-item]  # answers nothing
    lab = poster(create_issuing_app(replace(issuing_face, sms=maker)), ADMIN_KEY)
    assert lab("/api/issue", {**STATEMENT, "phone": NUMBER}).status_code == 200
    assert codes(issuing_session) == 1


def test_an_authority_that_sends_by_itself_is_given_the_text(
    lab: Post, gateway: SuiteGateway, allow: Callable[..., None]
) -> None:
    allow(generate_sms_allowed=True)
    answer = lab("/api/issue", {**STATEMENT, "phone": NUMBER, "onlyGenerateSMS": True}).json
    assert answer
    assert answer["phone"] == "+8613800138000"
    assert answer["code"] in answer["generatedSMS"]
    assert not gateway.asked


def test_signed_or_not_at_all(
    lab: Post,
    gateway: SuiteGateway,
    allow: Callable[..., None],
    issuing_face: IssuingFace,
    issuing_session: Session,
) -> None:
    allow(sms_signed=True)
    assert lab("/api/issue", {**STATEMENT, "phone": NUMBER}).status_code == 200
    assert re.search(r" \nAuthentication:0615:v1:[A-Za-z0-9+/]{90,96}\Z", gateway.texts()[0])
    keyless = replace(issuing_face, sms=SmsMaker(SmsDesk([gateway.gateway()]), {}, "CN", ADDRESS))
    answer = poster(create_issuing_app(keyless), ADMIN_KEY)("/api/issue", {**STATEMENT, "phone": NUMBER})
    assert answer.status_code == 500
    assert len(gateway.asked) == 1
    assert codes(issuing_session) == 1


def test_the_number_is_in_no_table_log_address_or_error(
    lab: Post,
    gateway: SuiteGateway,
    allow: Callable[..., None],
    issuing_session: Session,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    allow(generate_sms_allowed=True)
    errors = []
    for behaviour in (200, 422, 503, 500, "die", "hang", "echo"):
        gateway.behaviour = behaviour
        answer = lab("/api/issue", {**STATEMENT, "phone": NUMBER})
        errors += [] if answer.status_code == 200 else [answer.text]
    errors += [lab("/api/issue", {**STATEMENT, "phone": NUMBER + "0"}).text]
    errors += [lab("/api/issue", {**STATEMENT, "phone": NUMBER, "smsTemplateLabel": "none"}).text]
    assert lab("/api/issue", {**STATEMENT, "phone": NUMBER, "onlyGenerateSMS": True}).status_code == 200
    issuing_session.rollback()
    tables = [
        str(row)
        for table in IssuingBase.metadata.sorted_tables
        for row in issuing_session.execute(select(table))
    ]
    places = [*errors, *tables, caplog.text, *(asked.path for asked in gateway.asked)]
    assert len(errors) == 8
    assert len(tables) > 20
    for place in places:
        assert not [spelling for spelling in SPELLINGS if spelling in place]
