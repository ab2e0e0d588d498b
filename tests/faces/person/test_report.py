"""Reporting a positive test on the page that the app opens: told, mended, sent, and silent about who has."""

import base64
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.delivery.folder_gateway import NEWEST
from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from registry.faces.device import IssuingFace, create_issuing_app
from registry.faces.person import PersonFace, create_person_app
from registry.faces.person.opening import OPEN_SECONDS, Opening, read_opening, sign_opening
from registry.lifecycle.authorize import IssuingPolicy, hash_api_key
from registry.models import (
    ApiKey,
    Authority,
    IssuingBase,
    SelfReportNumber,
    VerificationCode,
    open_database,
    transaction,
)
from tests.authority import (
    ADMIN_KEY,
    AUTHORITY,
    DEVICE_KEY,
    LOOKUP_KEY,
    RECALL_KEY,
    MadeSigner,
    found_issuing,
)
from tests.clock import FakeClock
from tests.delivery.gateway import SuiteGateway, suite_gateway
from tests.world import World

NUMBER = "+86 138-0013-8000"
NONCE = bytes(range(256))
APP = {"X-API-Key": DEVICE_KEY, "X-Nonce": base64.b64encode(NONCE).decode()}
FILLED = {
    "phone": NUMBER,
    "test_date": "2026-06-14",
    "onset_date": "",
    "positive": "y",
    "own_phone": "y",
    "wanted": "y",
}


@pytest.fixture
def gateway() -> Iterator[SuiteGateway]:
    with suite_gateway() as there:
        yield there


@pytest.fixture
def slept() -> list[float]:
    """How long each answer was held."""
    return []


@pytest.fixture
def face(
    issuing_url: str, issuing_session: Session, gateway: SuiteGateway, clock: FakeClock, slept: list[float]
) -> PersonFace:
    """The face of an authority that takes reports, with a gateway for one country."""
    found_issuing(issuing_session, MadeSigner("c1"))
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).self_report = True
    desk = SmsDesk([gateway.gateway(countries=["CN"])])
    return PersonFace(
        database_url=issuing_url,
        clock=clock,
        lookup_key=LOOKUP_KEY,
        profile="production",
        policy=IssuingPolicy(),
        sms=SmsMaker(desk, {}, "CN", "https://keys.health.example"),
        sleep=slept.append,
        monotonic=lambda: 0.0,
    )


@pytest.fixture
def browser(face: PersonFace) -> FlaskClient:
    """An app's web view."""
    return create_person_app(face).test_client()


def opened(page: TestResponse) -> str:
    """What the form carries."""
    found = re.search(r'name="opened" value="([^"]*)"', page.text)
    assert found
    return found[1]


def send(browser: FlaskClient, *, query: str = "", **changes: str) -> TestResponse:
    """The form, opened by the app and sent with these changes."""
    page = browser.post("/report", headers=APP)
    assert page.status_code == 200
    return browser.post(f"/report{query}", data={"opened": opened(page), **FILLED, **changes})


def rows(session: Session, table: type) -> list[object]:
    session.rollback()
    return list(session.scalars(select(table)))


def wait_until(holds: Callable[[], object]) -> None:
    """What goes on behind the answer takes its time."""
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_the_code_comes_by_sms_and_is_good_with_the_nonce_of_the_app_that_opened_the_page(
    browser: FlaskClient, gateway: SuiteGateway, face: PersonFace
) -> None:
    answer = send(browser, onset_date="2026-06-12")
    assert answer.status_code == 200
    assert "If an SMS can be sent to this number today" in answer.text
    wait_until(lambda: gateway.asked)
    assert gateway.asked[0].json()["to"] == "+8613800138000"
    code = re.search(r"(?<!\d)\d{15}(?!\d)", gateway.texts()[0])
    assert code
    assert "From your health authority" in gateway.texts()[0]
    assert code[0] not in answer.text

    signer = MadeSigner("t1")
    api = create_issuing_app(
        IssuingFace(
            database_url=face.database_url,
            clock=face.clock,
            lookup_key=LOOKUP_KEY,
            token_signer=signer,
            token_public_keys={"t1": signer.public_key},
            certificate_signers={},
            recall_public_key=RECALL_KEY.public_key(),
            policy=IssuingPolicy(),
            sleep=lambda _seconds: None,
            monotonic=lambda: 0.0,
        )
    ).test_client()
    for nonce, status in (({}, 400), ({"nonce": "AAAA"}, 400), ({"nonce": APP["X-Nonce"]}, 200)):
        verified = api.post("/api/verify", json={"code": code[0], **nonce}, headers={"X-API-Key": DEVICE_KEY})
        assert verified.status_code == status
    assert verified.json
    assert (verified.json["testtype"], verified.json["symptomDate"]) == ("user-report", "2026-06-12")


def test_the_sms_is_in_the_language_of_the_page(browser: FlaskClient, gateway: SuiteGateway) -> None:
    page = browser.post("/report", headers={**APP, "Accept-Language": "zh"})
    assert "给我发送验证码" in page.text
    other = browser.post("/report?lang=en", data={"opened": opened(page), "language": "en"})
    assert other.status_code == 200
    assert "Send me the code" in other.text
    assert 'role="alert"' not in other.text
    back = browser.post("/report?lang=zh", data={"opened": opened(other), "language": "zh"})
    assert 'action="/report?lang=zh" novalidate' in back.text, "what was chosen goes on"
    answer = browser.post("/report?lang=zh", data={"opened": opened(back), **FILLED})
    assert "如果今日可以向该号码发送短信" in answer.text
    wait_until(lambda: gateway.asked)
    assert "卫生健康部门" in gateway.texts()[0]


def test_where_no_authority_takes_reports_there_is_no_such_page(
    face: PersonFace, browser: FlaskClient, issuing_session: Session
) -> None:
    without = create_person_app(replace(face, sms=replace(face.sms, desk=None))).test_client()
    for asked in (without.get("/report"), without.post("/report", headers=APP), without.post("/report")):
        assert asked.status_code == 404
    form = browser.post("/report", headers=APP)
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).self_report = False
    late = browser.post("/report", data={"opened": opened(form), **FILLED})
    for asked in (
        browser.get("/report"),
        browser.post("/report", headers=APP),
        browser.post("/report"),
        late,
    ):
        assert asked.status_code == 404
        assert "This page does not exist" in asked.text
    assert not rows(issuing_session, VerificationCode)


def test_without_the_app_it_says_what_it_is_for(browser: FlaskClient) -> None:
    page = browser.get("/report")
    assert page.status_code == 200
    assert "Open the app of your health authority" in page.text
    assert "<form" not in page.text
    for headers in (
        {},
        {"X-API-Key": DEVICE_KEY},
        {**APP, "X-API-Key": "unknown"},
        {**APP, "X-API-Key": ADMIN_KEY},
        {**APP, "X-Nonce": base64.b64encode(bytes(255)).decode()},
        {**APP, "X-Nonce": "?"},
    ):
        page = browser.post("/report", headers=headers)
        assert page.status_code == 400
        assert "<form" not in page.text
        assert re.search(r'role="alert".*\s*<p>The app did not open this page as it must', page.text)


def test_what_the_app_said_can_be_neither_forged_nor_kept_for_later(
    browser: FlaskClient, clock: FakeClock, issuing_session: Session, gateway: SuiteGateway
) -> None:
    good = opened(browser.post("/report", headers=APP))
    changed = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
    swapped = changed[:8] + hash_api_key(LOOKUP_KEY, ADMIN_KEY) + changed[40:]
    of_other = Opening(hash_api_key(LOOKUP_KEY, DEVICE_KEY), NONCE)
    forged = [
        "",
        "é",
        good[:-4],
        good + "AAAA",
        base64.urlsafe_b64encode(swapped).decode().rstrip("="),
        sign_opening(of_other, b"x" * 32, clock()),
        sign_opening(replace(of_other, api_key_hash=bytes(32)), LOOKUP_KEY, clock()),
    ]
    clock.advance(OPEN_SECONDS - 1)
    still = browser.post("/report", data={"opened": good, **FILLED, "phone": ""})
    assert "Type the telephone number" in still.text
    clock.advance(1)
    for value in (good, *forged):
        page = browser.post("/report", data={"opened": value, **FILLED}, headers=APP)
        assert page.status_code == 400
        assert "Close it and open it again from the app" in page.text
        assert NUMBER not in page.text
    assert browser.post("/report", data={"opened": opened(still), **FILLED}).status_code == 200
    wait_until(lambda: gateway.asked)
    assert len(rows(issuing_session, VerificationCode)) == 1


def test_an_api_key_that_is_disabled_meanwhile_sends_nothing(
    browser: FlaskClient, issuing_session: Session
) -> None:
    form = browser.post("/report", headers=APP)
    with transaction(issuing_session):
        issuing_session.execute(update(ApiKey).values(disabled=True))
    assert browser.post("/report", data={"opened": opened(form), **FILLED}).status_code == 400
    assert not rows(issuing_session, VerificationCode)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=256, max_size=256), st.integers(0, 2**40))
def test_an_opening_is_read_as_it_was_signed(api_key_hash: bytes, nonce: bytes, now: int) -> None:
    opening = Opening(api_key_hash, nonce)
    text = sign_opening(opening, LOOKUP_KEY, now)
    assert read_opening(text, LOOKUP_KEY, now + OPEN_SECONDS - 1) == opening
    assert read_opening(text, LOOKUP_KEY, now + OPEN_SECONDS) is None


@pytest.mark.parametrize(
    ("changes", "element", "advice"),
    [
        ({"phone": " "}, "phone", "Type the telephone number"),
        ({"phone": "12345"}, "phone", "This is no telephone number"),
        ({"phone": "\0<b>"}, "phone", "This is no telephone number"),
        ({"phone": "+33 6 12 34 56 78"}, "phone", "No SMS can be sent to numbers of this country"),
        ({"test_date": ""}, "test_date", "Give the day of the test, or"),
        ({"test_date": "14.6.2026"}, "test_date", "Write the date as year-month-day"),
        ({"test_date": "2026-02-30"}, "test_date", "Write the date as year-month-day"),
        ({"test_date": "2026-06-17"}, "test_date", "Give a day of the last 28 days"),
        ({"onset_date": "2026-05-01"}, "onset_date", "Give a day of the last 28 days"),
        ({"positive": ""}, "positive", "Tick that you tested positive"),
        ({"own_phone": "no"}, "own_phone", "Tick that phone and number are yours"),
        ({"wanted": ""}, "wanted", "Tick that you want a code"),
    ],
)
def test_what_is_missing_or_wrong_is_said_at_its_place_and_nothing_is_stored(
    browser: FlaskClient,
    issuing_session: Session,
    gateway: SuiteGateway,
    changes: dict[str, str],
    element: str,
    advice: str,
) -> None:
    page = send(browser, **changes)
    assert page.status_code == 400
    assert "<title>Error: " in page.text
    assert re.findall(r'<li><a href="#(\w+)">', page.text) == [element], "one fault, and no other"
    assert re.search(rf'<a href="#{element}">{advice}', page.text)
    assert re.search(rf'class="fault" id="{element}-fault">{advice}', page.text)
    assert re.search(rf'id="{element}"[^>]*aria-describedby="[^"]*{element}-fault" aria-invalid', page.text)
    kept = FILLED | changes
    assert f'name="onset_date" value="{kept["onset_date"]}"' in page.text, "nothing is typed twice"
    assert "<b>" not in page.text
    assert not rows(issuing_session, VerificationCode) + rows(issuing_session, SelfReportNumber)
    assert not gateway.asked


def test_a_number_that_has_reported_gets_the_same_page_and_no_sms(
    browser: FlaskClient, gateway: SuiteGateway, issuing_session: Session, slept: list[float]
) -> None:
    first = send(browser)
    wait_until(lambda: gateway.asked)
    del slept[:]
    again = send(browser, phone="13800138000")
    assert slept == [0.3, 0.3], "and at one pace"
    assert first.status == again.status == "200 OK"
    assert first.headers == again.headers
    assert first.data == again.data
    assert len(rows(issuing_session, VerificationCode)) == 1
    assert len(gateway.asked) == 1


def test_what_keeps_everybody_out_is_said_to_all_alike(
    face: PersonFace, browser: FlaskClient, issuing_session: Session, gateway: SuiteGateway
) -> None:
    assert send(browser).status_code == 200
    wait_until(lambda: gateway.asked)
    other = "+86 139 0013 9000"
    full = replace(face, sms=replace(face.sms, desk=SmsDesk([gateway.gateway()], most_waiting=0)))
    for phone in (NUMBER, other):
        page = send(create_person_app(full).test_client(), phone=phone)
        assert page.status_code == 503
        assert re.search(r'<a href="#send">Too many SMS are waiting', page.text)
        assert 'id="send"' in page.text
    for change, status, words in (
        ({"self_reports_a_day": 1}, 429, "No more codes can be sent today"),
        ({"maintenance": True}, 503, "Codes cannot be sent at the moment"),
    ):
        with transaction(issuing_session):
            issuing_session.execute(update(Authority).values(change))
        pages = [send(browser, phone=phone) for phone in (NUMBER, other)]
        assert [page.status_code for page in pages] == [status, status]
        assert pages[0].data == pages[1].data
        assert words in pages[0].text
    assert len(gateway.asked) == 1


def test_a_number_whose_sms_was_certainly_not_sent_may_ask_again(
    browser: FlaskClient, gateway: SuiteGateway, issuing_session: Session
) -> None:
    gateway.behaviour = 422
    assert send(browser).status_code == 200
    wait_until(lambda: gateway.asked and not rows(issuing_session, SelfReportNumber))
    gateway.behaviour = 200
    assert send(browser).status_code == 200
    wait_until(lambda: len(gateway.asked) == 2)


def test_a_fault_of_ours_is_a_page_that_says_nothing(
    face: PersonFace, browser: FlaskClient, issuing_session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    assert face.sms.signers == {}
    with transaction(issuing_session):
        issuing_session.get_one(Authority, AUTHORITY).sms_signed = True
    page = send(browser)
    assert page.status_code == 500
    assert "Something went wrong on our side" in page.text
    assert "138" not in page.text + caplog.text
    assert not rows(issuing_session, VerificationCode)


def test_the_number_and_the_nonce_are_in_no_table_log_answer_or_address(
    browser: FlaskClient, gateway: SuiteGateway, issuing_session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    places = []
    for number, behaviour in enumerate((200, 422, 503, "die", "echo")):
        gateway.behaviour = behaviour
        answer = send(browser, phone=f"+86138001380{number}{number}")
        assert answer.status_code == 200
        places += [answer.text, str(answer.headers), str(answer.request.url)]
        wait_until(lambda number=number: len(gateway.asked) > number)
    wait_until(lambda: caplog.text.count("the SMS gateway suite:") == 4)
    issuing_session.rollback()
    places += [
        str(row)
        for table in IssuingBase.metadata.sorted_tables
        for row in issuing_session.execute(select(table))
    ]
    planted = ("138001380", "138-0013", quote("+86138001380"), APP["X-Nonce"][:40], str(NONCE)[2:60])
    for place in [*places, caplog.text]:
        assert not [text for text in planted if text in place], place[:300]


def test_the_form_carries_nothing_but_its_fields(browser: FlaskClient) -> None:
    page = browser.post("/report", headers=APP)
    assert "Set-Cookie" not in page.headers
    assert page.headers["Cache-Control"] == "no-store"
    for absent in ("<script", " style=", DEVICE_KEY):
        assert absent not in page.text


def test_it_is_a_page_of_the_whole_registry(world: World) -> None:
    assert world.client.get("/report").status_code == 404, "off, unless somebody wants it"
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        session.get_one(Authority, world.settings.health_authority_id).self_report = True
    form = world.client.post("/report", headers={**APP, "X-API-Key": world.first_run["device_api_key"]})
    filled = {**FILLED, "test_date": datetime.fromtimestamp(world.clock(), UTC).date().isoformat()}
    assert world.client.post("/report", data={"opened": opened(form), **filled}).status_code == 200
    newest = world.settings.data_dir / "sms" / NEWEST
    wait_until(newest.exists)
    assert re.search(r"(?<!\d)\d{15}(?!\d)", newest.read_text())
