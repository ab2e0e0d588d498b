"""An official sends a code by SMS, and again; prints it; and the number is nowhere once it is sent."""

import logging
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from registry.lifecycle.activity import acts_of
from registry.models import Authority, IssuingBase, SmsTemplate, VerificationCode, transaction
from registry.protocol.activity import decode_act
from tests.delivery.gateway import SuiteGateway, suite_gateway
from tests.faces.portal.conftest import ADDRESS, AUTHORITY, Portal, code_on, field, fill_in, hand_over

NUMBER = "+86 138-0013-8000"
SPELLINGS = ("13800138000", "138-0013-8000", "138 0013 8000", quote("+86 138-0013-8000"), "138001")


@pytest.fixture
def gateway() -> Iterator[SuiteGateway]:
    with suite_gateway() as there:
        yield there


@pytest.fixture
def portal(make_portal: Callable[..., Portal], gateway: SuiteGateway) -> Portal:
    desk = SmsDesk([gateway.gateway(countries=["CN"])])
    return make_portal(sms=SmsMaker(desk, {}, "CN", ADDRESS))


def code_page(browser: FlaskClient, **answers: str) -> tuple[str, TestResponse]:
    """A code that was handed over: its page's address, and the page."""
    answer = browser.post("/portal/", data=fill_in(browser, **answers))
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"], browser.get(answer.headers["Location"])


def send_again(browser: FlaskClient, address: str, **answers: str) -> TestResponse:
    form = browser.get(f"{address}/sms")
    data = {"csrf_token": field(form, "csrf_token"), "phone": NUMBER, **answers}
    return browser.post(f"{address}/sms", data=data, follow_redirects=True)


@pytest.mark.parametrize(("language", "words"), [("zh", "24小时内有效"), ("en", "Good for about 24 h")])
def test_it_goes_out_in_the_persons_language_whatever_the_officials_is(
    portal: Portal, gateway: SuiteGateway, language: str, words: str
) -> None:
    browser = portal.signed_in()
    browser.get("/portal/?lang=zh")
    _, page = code_page(browser, phone=NUMBER, consent_language=language)
    (text,) = gateway.texts()
    assert words in text
    assert code_on(page) in text
    assert "短信平台已接收" in page.text


def test_a_number_is_not_asked_for_where_nothing_can_be_sent(make_portal: Callable[..., Portal]) -> None:
    for sms in (None, SmsMaker(None, {}, "CN", ADDRESS)):
        browser = make_portal(sms=sms).signed_in()
        assert 'type="tel"' not in browser.get("/portal/").text
        assert hand_over(browser, fill_in(browser, phone=NUMBER)).status_code == 400
        address, page = code_page(browser)
        assert "/sms" not in page.text
        assert browser.get(f"{address}/sms").status_code == 303


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (200, "a gateway has accepted it."),
        (422, "the gateway refused this number"),
        (503, "not sent, no gateway took it"),
        (500, "not known whether it was sent"),
        ("die", "not known whether it was sent"),
        ("hang", "not known whether it was sent"),
    ],
)
def test_the_page_says_what_became_of_it_and_it_is_sent_again_without_a_new_code(
    portal: Portal, gateway: SuiteGateway, behaviour: int | str, said: str
) -> None:
    browser = portal.signed_in()
    gateway.behaviour = behaviour
    address, page = code_page(browser, phone=NUMBER, consent_language="en")
    assert said in page.text
    assert said in browser.get(f"{address}/state").text
    assert "Send again by SMS" in page.text
    gateway.behaviour = 200
    again = send_again(browser, address)
    assert "a gateway has accepted it." in again.text
    assert code_on(again) == code_on(page)
    assert len(portal.rows(VerificationCode)) == 1
    assert len(gateway.texts()) == 2
    assert gateway.texts()[0] == gateway.texts()[1]
    kinds = [decode_act(event.content).kind for event in acts_of(portal.session, AUTHORITY)]
    assert kinds.count("code_sent") == 2


@pytest.mark.parametrize(
    ("number", "advice"),
    [("12345", "This is no telephone number"), ("+33 6 12 34 56 78", "No SMS can be sent to this country")],
)
def test_a_number_that_cannot_be_sent_to_makes_no_code(
    portal: Portal, gateway: SuiteGateway, number: str, advice: str
) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser, phone=number))
    assert page.status_code == 400
    assert page.text.count(advice) == 2
    assert f'value="{number}"' in page.text, "typed once"
    assert not portal.rows(VerificationCode)
    address, _ = code_page(browser)
    assert send_again(browser, address, phone=number).status_code == 400
    assert "Type the person" in send_again(browser, address, phone="").text
    assert not gateway.asked


def test_the_same_form_sent_twice_sends_one_sms(portal: Portal, gateway: SuiteGateway) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser, phone=NUMBER)
    for _ in range(2):
        assert hand_over(browser, answers).status_code == 200
    assert len(gateway.asked) == 1


def test_of_several_texts_one_is_chosen(portal: Portal, gateway: SuiteGateway) -> None:
    own = SmsTemplate(authority_id=AUTHORITY, label="county", language="zh", text="到县里 [code]")
    with transaction(portal.session):
        portal.session.add(own)
    browser = portal.signed_in()
    assert 'name="sms_label" value="county"' in browser.get("/portal/").text
    assert hand_over(browser, fill_in(browser, phone=NUMBER, sms_label="other")).status_code == 400
    address, page = code_page(browser, phone=NUMBER, sms_label="county")
    assert gateway.texts() == [f"到县里 {code_on(page)}"]
    send_again(browser, address, sms_label="default")
    assert gateway.texts()[1].startswith("【卫生健康部门】")


def test_only_who_issued_it_and_only_while_it_lies_at_hand(portal: Portal, gateway: SuiteGateway) -> None:
    browser = portal.signed_in()
    address, _ = code_page(browser)
    form = browser.get(f"{address}/sms")
    portal.clock.advance(900)
    data = {"csrf_token": field(form, "csrf_token"), "phone": NUMBER}
    for path in ("sms", "sheet"):
        assert browser.get(f"{address}/{path}").headers["Location"] == address
    assert browser.post(f"{address}/sms", data=data).headers["Location"] == address
    assert portal.browser().get(f"{address}/sms").status_code == 403
    assert browser.get("/portal/codes/nonsense/sms").status_code == 404
    assert not gateway.asked


def test_signed_or_not_at_all_and_the_code_can_be_read_out_all_the_same(
    portal: Portal, gateway: SuiteGateway, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction(portal.session):
        portal.session.get_one(Authority, AUTHORITY).sms_signed = True
    _, page = code_page(portal.signed_in(), phone=NUMBER)
    assert "not sent, no gateway took it" in page.text
    assert code_on(page)
    assert not gateway.asked
    assert "no SMS signing key" in caplog.text


@pytest.mark.parametrize(
    ("language", "words"), [("zh", "请用手机摄像头扫描"), ("en", "Scan it with your phone")]
)
def test_the_sheet_is_in_the_persons_language_and_names_nobody(
    portal: Portal, language: str, words: str
) -> None:
    browser = portal.signed_in()
    address, page = code_page(browser, consent_language=language)
    sheet = browser.get(f"{address}/sheet")
    assert words in sheet.text
    assert f'<html lang="{"zh-Hans" if language == "zh" else "en"}">' in sheet.text
    assert code_on(sheet) == code_on(page)
    assert "Print this page with your browser." in sheet.text
    assert "Wang Fang" not in sheet.text
    assert "<input" not in sheet.text


def test_a_demonstration_shows_what_it_would_send(make_portal: Callable[..., Portal]) -> None:
    desk = SmsDesk([])
    portal = make_portal(sms=SmsMaker(desk, {}, "CN", ADDRESS, only_shows=True))
    browser = portal.signed_in()
    address, page = code_page(browser)
    assert "does not send" not in page.text
    with transaction(portal.session):
        portal.session.query(VerificationCode).one().delivery = "sent"
    page = browser.get(address)
    shown = re.search(r'class="sms" lang="zh">(.*?)</p>', page.text)
    assert shown
    assert code_on(page) in shown[1]
    assert f"{ADDRESS}/v?c=" in shown[1]


def test_the_number_is_in_no_table_log_page_or_address(
    portal: Portal, gateway: SuiteGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    browser = portal.signed_in()
    seen: list[str] = []
    for behaviour in (200, 422, 503, 500, "die", "hang", "echo"):
        gateway.behaviour = behaviour
        address, page = code_page(browser, phone=NUMBER)
        again = send_again(browser, address)
        seen += [address, page.text, again.text, again.request.path, browser.get(f"{address}/sms").text]
    seen += [browser.get("/portal/codes/").text, browser.get("/portal/").text, caplog.text]
    seen += [asked.path for asked in gateway.asked]
    portal.session.rollback()
    seen += [
        str(row)
        for table in IssuingBase.metadata.sorted_tables
        for row in portal.session.execute(select(table))
    ]
    assert len(gateway.asked) == 14
    assert len(seen) > 80
    for place in seen:
        assert not [spelling for spelling in SPELLINGS if spelling in place], place[:300]
