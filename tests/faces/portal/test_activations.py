"""The person's phone shows a code, and an official makes it good for half an hour."""

import pytest

from registry.lifecycle.authorize import hash_code
from registry.models import Authorization, CodeAtHand, VerificationCode
from registry.protocol.codes import new_code
from tests.faces.portal.conftest import AUTHORITY, Portal, fill_in, hand_over

PATH = "/portal/activate/"
CODE = new_code(lambda limit: 12_345_678_901_234 % limit)
HALF_AN_HOUR = 1800
QUARTER = 900


def the_code(portal: Portal) -> VerificationCode:
    (row,) = portal.rows(VerificationCode)
    assert isinstance(row, VerificationCode)
    return row


@pytest.mark.parametrize("typed", [CODE, f"{CODE[:3]} {CODE[3:9]}-{CODE[9:]}", f"  {CODE}\n"])
def test_a_phones_code_is_good_for_half_an_hour_and_is_shown_nowhere(portal: Portal, typed: str) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser, PATH, phone_code=typed), PATH)
    assert page.status_code == 200
    assert "The phone's code is good now" in page.text
    assert "在应用中点按“继续”" in page.text, "in the person's language"
    row = the_code(portal)
    assert row.code_hash == hash_code(b"l" * 32, AUTHORITY, CODE)
    assert HALF_AN_HOUR <= row.expires_at - portal.clock() <= HALF_AN_HOUR + QUARTER
    assert CODE not in page.text
    assert portal.rows(CodeAtHand) == []


def test_it_is_extended_by_as_much_again_and_no_more(portal: Portal) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser, PATH, phone_code=CODE)
    page = hand_over(browser, answers, PATH)
    assert "good for 30 minutes from now" in page.text
    portal.clock.advance(QUARTER)
    path = f"/portal/codes/{answers['once']}/extend"
    assert browser.post(path, data={"csrf_token": answers["csrf_token"]}).status_code == 303
    assert the_code(portal).expires_at - portal.clock() <= HALF_AN_HOUR + QUARTER


@pytest.mark.parametrize(
    ("typed", "advice"),
    [
        ("", "Type the 15 digits"),
        (CODE[:-1], "A digit is wrong or missing"),
        (CODE[:-1] + str((int(CODE[-1]) + 1) % 10), "A digit is wrong or missing"),
        ("A" * 26, "A digit is wrong or missing"),
    ],
)
def test_a_slip_is_caught_before_anything_is_recorded(portal: Portal, typed: str, advice: str) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser, PATH, phone_code=typed), PATH)
    assert page.status_code == 400
    assert f'<a href="#phone_code">{advice}' in page.text
    assert portal.rows(Authorization) == []


def test_a_code_that_is_taken_is_refused_and_leaves_nothing(portal: Portal) -> None:
    browser = portal.signed_in()
    hand_over(browser, fill_in(browser, PATH, phone_code=CODE), PATH)
    page = hand_over(browser, fill_in(browser, PATH, phone_code=CODE), PATH)
    assert page.status_code == 409
    assert "let the phone make a new one" in page.text
    assert len(portal.rows(Authorization)) == 1


def test_the_same_form_sent_twice_leads_to_the_same_page(portal: Portal) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser, PATH, phone_code=CODE)
    first, again = hand_over(browser, answers, PATH), hand_over(browser, answers, PATH)
    assert (first.request.path, again.status_code) == (again.request.path, 200)
    the_code(portal)
