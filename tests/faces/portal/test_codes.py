"""What an official can do with a code that was handed over, and what nobody can see by it."""

import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.delivery.spoken import spoken_words
from registry.lifecycle.activity import acts_of
from registry.lifecycle.at_hand import tell_claims
from registry.models import Authority, CodeAtHand, Official, VerificationCode, transaction
from registry.protocol.activity import decode_act
from registry.protocol.codes import is_well_formed
from tests.faces.portal.conftest import AUTHORITY, Portal, code_on, field, fill_in

MINUTE, DAY = 60, 86_400


def page_of(portal: Portal, browser: FlaskClient, **answers: str) -> tuple[str, TestResponse]:
    """The address of a new code's page, and the page."""
    answer = browser.post("/portal/", data=fill_in(browser, **answers))
    assert answer.status_code == 303
    return answer.headers["Location"], browser.get(answer.headers["Location"])


def press(browser: FlaskClient, page: str, button: str) -> TestResponse:
    token = field(browser.get(page), "csrf_token")
    return browser.post(f"{page}/{button}", data={"csrf_token": token}, follow_redirects=True)


def claim(portal: Portal, *, told: bool = False) -> None:
    """As a phone's call leaves the row, and as the next quarter of an hour does."""
    with transaction(portal.session):
        (row,) = portal.session.query(VerificationCode)
        row.claimed = True
        portal.session.flush()
        if told:
            tell_claims(portal.session, 0)
            tell_claims(portal.session, portal.clock())


def kinds(portal: Portal) -> list[str]:
    portal.session.rollback()
    return [decode_act(event.content).kind for event in acts_of(portal.session, AUTHORITY)]


def test_a_code_is_found_again_for_a_quarter_of_an_hour(portal: Portal) -> None:
    browser = portal.signed_in()
    address, page = page_of(portal, browser)
    code = code_on(page)
    portal.clock.advance(15 * MINUTE - 1)
    assert code_on(browser.get(address)) == code
    assert f"can still be shown, ends in {code[-3:]}<" in browser.get("/portal/codes/").text
    assert f'href="{address}"' in browser.get("/portal/codes/").text
    portal.clock.advance(1)
    page = browser.get(address)
    assert 'class="code"' not in page.text
    assert "cannot be shown any more" in page.text
    assert "can still be shown" not in browser.get("/portal/codes/").text


def test_only_the_session_that_made_it_can_open_it(portal: Portal) -> None:
    browser = portal.signed_in()
    address, page = page_of(portal, browser)
    code = code_on(page)
    again = portal.signed_in().get(address)
    assert again.status_code == 200
    assert "before you signed in this time" in again.text
    assert code[:3] + "</span>" not in again.text
    (row,) = portal.rows(CodeAtHand)
    assert isinstance(row, CodeAtHand)
    assert code.encode() not in row.sealed
    assert len(row.sealed) == 92
    assert row.expires_at % 900 == 0


def test_to_another_official_it_does_not_exist(portal: Portal) -> None:
    with transaction(portal.session):
        portal.session.add(Official(id="official-2", authority_id=AUTHORITY, name="Li Na"))
        portal.session.flush()
    address, _page = page_of(portal, portal.signed_in())
    other = portal.signed_in("official-2")
    token = field(other.get("/portal/"), "csrf_token")
    for answer in (
        other.get(address),
        other.get(f"{address}/state"),
        other.post(f"{address}/extend", data={"csrf_token": token}),
        other.post(f"{address}/end", data={"csrf_token": token}),
        other.get("/portal/codes/nonsense"),
    ):
        assert answer.status_code == 404
    assert address not in other.get("/portal/codes/").text
    assert kinds(portal).count("code_expired") == kinds(portal).count("code_extended") == 0


def test_nobody_who_is_not_signed_in_sees_any_of_it(portal: Portal) -> None:
    address, _page = page_of(portal, portal.signed_in())
    for path in ("/portal/codes/", address, f"{address}/state"):
        assert portal.browser().get(path).status_code == 403


def test_until_it_is_told_nothing_on_any_page_says_that_a_phone_called(portal: Portal) -> None:
    browser = portal.signed_in()
    address, _page = page_of(portal, browser)
    token = re.compile(r'name="csrf_token" value="[^"]*"')
    paths = (address, f"{address}/state", "/portal/codes/")
    before = [token.sub("", browser.get(path).text) for path in paths]
    claim(portal)
    assert [token.sub("", browser.get(path).text) for path in paths] == before
    claim(portal, told=True)
    for path in paths:
        assert "Used: the person" in browser.get(path).text
    assert "Keep it good" not in browser.get(address).text
    assert 'class="code"' not in browser.get(address).text, "what is used is not shown again"


def test_before_it_ends_it_can_be_kept_for_longer_but_not_for_ever(portal: Portal) -> None:
    browser = portal.signed_in()
    address, page = page_of(portal, browser)
    press(browser, address, "extend")
    assert "code_extended" not in kinds(portal), "it lives as long as a new one already: nothing was done"
    for day in range(1, 4):
        portal.clock.advance(DAY - MINUTE)
        page = press(portal.signed_in(), address, "extend")
        assert f"June {16 + day}, 2026 12:00 UTC" in page.text
        portal.clock.advance(MINUTE)
    portal.clock.advance(DAY - MINUTE)
    page = press(portal.signed_in(), address, "extend")
    assert "June 20, 2026 00:00 UTC" in page.text, "five days after the statement's day began"
    assert "Keep it good for longer" not in page.text
    assert kinds(portal).count("code_extended") == 4


def test_what_has_ended_is_not_brought_back(portal: Portal) -> None:
    browser = portal.signed_in()
    address, page = page_of(portal, browser)
    token = field(page, "csrf_token")
    page = press(browser, address, "end")
    assert "Ended. Should a phone have used it" in page.text
    assert not portal.rows(CodeAtHand)
    assert 'class="code"' not in page.text
    page = browser.post(f"{address}/extend", data={"csrf_token": token}, follow_redirects=True)
    assert "Ended. Should a phone have used it" in page.text
    assert kinds(portal)[-1] == "code_expired"
    assert kinds(portal).count("code_extended") == 0


@pytest.mark.parametrize("button", ["extend", "end"])
def test_ending_or_extending_tells_nothing_of_a_phone_that_has_just_called(
    portal: Portal, button: str
) -> None:
    browser = portal.signed_in()
    pages = []
    for is_claimed in (False, True):
        answer = browser.post("/portal/", data=fill_in(browser))
        address = answer.headers["Location"]
        if is_claimed:
            with transaction(portal.session):
                portal.session.get_one(VerificationCode, address.rpartition("/")[2]).claimed = True
        page = press(browser, address, button).text
        # What differs anyway: the code and its link, handle, statement and token.
        differing = ("[0-9a-f-]{36}", 'value="[^"]*"', 'src="data:[^"]*"', "[A-Z2-7]{26}", "<ol.*?</ol>")
        page = page[page.index("</h1>") :].partition("</section>")[2] or page
        pages.append(re.sub("|".join(differing), "", page, flags=re.DOTALL))
    assert pages[0] == pages[1]
    assert kinds(portal)[-1] == ("code_expired" if button == "end" else "code_issued")


def test_less_than_an_hour_before_its_end_the_page_says_so(portal: Portal) -> None:
    browser = portal.signed_in()
    address, _page = page_of(portal, browser)
    portal.clock.advance(DAY - 3601)
    assert "less than an hour" not in portal.signed_in().get(address).text
    portal.clock.advance(1)
    browser = portal.signed_in()
    assert "good for less than an hour" in browser.get(f"{address}/state").text
    assert "good for less than an hour" not in press(browser, address, "extend").text


def test_a_forged_request_changes_nothing(portal: Portal) -> None:
    browser = portal.signed_in()
    address, _page = page_of(portal, browser)
    for button in ("extend", "end"):
        assert browser.post(f"{address}/{button}", data={"csrf_token": "forged"}).status_code == 400
    assert 'class="code"' in browser.get(address).text


def test_the_list_names_kinds_and_days_and_nobody(portal: Portal) -> None:
    browser = portal.signed_in()
    assert "There is none." in browser.get("/portal/codes/").text
    page_of(portal, browser)
    page_of(portal, browser, report_type="likely", consent_channel="in-person")
    page = browser.get("/portal/codes/").text
    assert "2026-06-15, Confirmed by test, By phone" in page
    assert "2026-06-15, Clinical diagnosis, In person" in page
    assert page.count("can still be shown") == 2


def test_the_page_of_a_code_speaks_another_language_when_asked(portal: Portal) -> None:
    browser = portal.signed_in()
    address, page = page_of(portal, browser)
    code = code_on(page)
    page = browser.get(f"{address}?lang=zh")
    assert code_on(page) == code
    assert "目前未见使用。" in page.text
    assert "是否已使用最多会晚一刻钟才显示" in page.text


def test_the_link_is_on_the_page_while_the_code_is(portal: Portal) -> None:
    browser = portal.signed_in()
    address, page = page_of(portal, browser)
    link = re.search(r"https://keys\.health\.example/v\?c=[A-Z2-7]{26}<", page.text)
    assert link
    assert page.text.count("data:image/svg+xml") == 1
    portal.clock.advance(15 * MINUTE)
    later = browser.get(address).text
    assert "/v?c=" not in later
    assert "data:image/svg+xml" not in later


@pytest.mark.parametrize(
    ("form", "typed", "lengths"),
    [
        ("digits", "Type the 15 digits", [3] * 5),
        ("letters", "Type the 11 letters and digits", [4, 4, 3]),
        ("short", "Type the 8 digits", [4, 4]),
    ],
)
def test_the_page_fits_the_form_of_the_code(
    portal: Portal, form: str, typed: str, lengths: list[int]
) -> None:
    with transaction(portal.session):
        portal.session.get_one(Authority, AUTHORITY).code_form = form
    browser = portal.signed_in()
    _, page = page_of(portal, browser, consent_language="en")
    assert typed in page.text
    groups = re.findall(r"<span>(\w+)</span>", page.text.split('class="code"')[1].split("</p>")[0])
    assert [len(part) for part in groups] == lengths
    words = re.findall(r'<b>(\w)</b> <span lang="en">([^<]+)</span>', page.text)
    assert [word for _, word in words] == spoken_words("".join(groups), "en")
    assert is_well_formed("".join(groups))
    assert ("Keep it good for longer" in page.text) == (form != "short")
    assert ("cannot be kept good for longer" in page.text) == (form == "short")
    assert 'class="qr"' in page.text
