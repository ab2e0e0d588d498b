"""Codes on paper: one sign-in each, for handing over codes and nothing else."""

import logging
import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.lifecycle.activity import acts_of, check_chain
from registry.lifecycle.retire import retire_issuing
from registry.models import Official, PortalSession, PrintedCode, WithdrawalLetter, transaction
from registry.models.official import Permission, permission_text
from registry.protocol.activity import decode_act
from tests.faces.portal.conftest import AUTHORITY, Portal, code_on, field, fill_in, hand_over

SIGN_IN, BY_CODE, OWN = "/portal/sign-in", "/portal/sign-in-by-code", "/portal/printed-codes"


def codes_on(page: TestResponse) -> list[str]:
    assert page.status_code == 200, page.status
    assert page.headers["Cache-Control"] == "no-store"
    return re.findall(r"<li><samp>([A-Z2-9 ]{19})</samp></li>", page.text)


def sheet(browser: FlaskClient, path: str = OWN, opened: str = "/portal/passkeys/") -> TestResponse:
    return browser.post(path, data={"csrf_token": field(browser.get(opened), "csrf_token")})


def come_in(portal: Portal, code: str) -> tuple[FlaskClient, TestResponse]:
    browser = portal.browser()
    form = {"csrf_token": field(browser.get(SIGN_IN), "csrf_token"), "code": code}
    return browser, browser.post(BY_CODE, data=form)


def hire(portal: Portal, official_id: str, *permissions: Permission) -> None:
    with transaction(portal.session):
        may = permission_text(permissions)
        portal.session.add(
            Official(id=official_id, authority_id=AUTHORITY, name="Li Na", permission_text=may)
        )


def test_each_code_opens_the_portal_once_to_hand_over_codes(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        printed = codes_on(sheet(portal.signed_in()))
        assert len(set(printed)) == 10
        browser, answer = come_in(portal, printed[3].lower().replace(" ", "-") + " ")
    assert (answer.status_code, answer.location) == (303, "/portal/")
    assert code_on(hand_over(browser, fill_in(browser)))
    for path in ("/portal/recalls/", "/portal/passkeys/"):
        assert browser.get(path).status_code == 403
    assert sheet(browser, opened="/portal/").status_code == 403
    assert "Recalls" not in browser.get("/portal/").text
    assert come_in(portal, printed[3])[1].status_code == 403
    assert come_in(portal, printed[4])[1].status_code == 303
    assert len(portal.rows(PrintedCode)) == 8
    for secret in (printed[3], printed[3].replace(" ", ""), "Wang Fang"):
        assert secret not in caplog.text
    rows = acts_of(portal.session, AUTHORITY)
    check_chain(rows)
    acts = [decode_act(row.content) for row in rows]
    assert (acts[1].kind, dict(acts[1].detail)) == (
        "printed_codes_made",
        {"official": "official-1", "codes": 10},
    )
    assert (acts[2].kind, dict(acts[2].detail)) == ("sign_in", {"way": "printed"})


def test_such_a_session_makes_no_letters_that_would_take_back_what_its_owner_issued(portal: Portal) -> None:
    owner = portal.signed_in()
    hand_over(owner, fill_in(owner))
    browser, _answer = come_in(portal, codes_on(sheet(owner))[0])
    (path,) = re.findall(r'href="(/portal/codes/[^"/]+)"', browser.get("/portal/codes/").text)
    page = browser.get(path)
    assert f"{path}/letter" not in page.text
    sent = browser.post(f"{path}/letter", data={"csrf_token": field(page, "csrf_token")})
    assert sent.status_code == 403
    assert portal.rows(WithdrawalLetter) == []
    assert f"{path}/letter" in owner.get(path).text


def test_such_a_session_is_short(portal: Portal) -> None:
    (code, *_rest) = codes_on(sheet(portal.signed_in()))
    browser, _answer = come_in(portal, code)
    portal.clock.advance(2 * 3600 - 1)
    assert browser.get("/portal/").status_code == 200
    portal.clock.advance(1)
    assert browser.get("/portal/").status_code == 403


def test_a_new_sheet_voids_the_old_one_and_a_sheet_ends(portal: Portal) -> None:
    browser = portal.signed_in()
    old = codes_on(sheet(browser))
    new = codes_on(sheet(browser))
    assert "Left of your sheet: 10." in browser.get("/portal/passkeys/").text
    assert come_in(portal, old[0])[1].status_code == 403
    assert come_in(portal, new[0])[1].status_code == 303
    portal.clock.advance(90 * 86_400)
    assert come_in(portal, new[1])[1].status_code == 403
    with transaction(portal.session):
        assert retire_issuing(portal.session, portal.clock()).printed_codes == 9


@pytest.mark.parametrize(
    "code", ["", "AAAA", "A" * 16, "A" * 17, "I" * 16, "漢" * 16, "\x00" * 16, "x" * 9000]
)
def test_what_is_no_code_is_told_where_it_was_typed_and_opens_nothing(portal: Portal, code: str) -> None:
    sheet(portal.signed_in())
    _browser, page = come_in(portal, code)
    assert page.status_code == 403
    assert 'href="#code"' in page.text
    assert 'id="code-problem"' in page.text
    assert len(portal.rows(PrintedCode)) == 10
    assert len(portal.rows(PortalSession)) == 1


def test_a_hundred_wrong_codes_keep_nobody_out(portal: Portal) -> None:
    (code, *_rest) = codes_on(sheet(portal.signed_in()))
    browser = portal.browser()
    form = {"csrf_token": field(browser.get(SIGN_IN), "csrf_token"), "code": "B" * 16}
    assert {browser.post(BY_CODE, data=form).status_code for _ in range(100)} == {403}
    assert browser.post(BY_CODE, data=form | {"code": code}).status_code == 303


def test_whoever_looks_after_officials_prints_for_others_what_they_have_themselves(portal: Portal) -> None:
    hire(portal, "official-2", Permission.ISSUE, Permission.OFFICIALS)
    hire(portal, "official-3", Permission.OFFICIALS)
    hire(portal, "official-4", Permission.APPROVE)
    head, clerk = portal.signed_in("official-2"), portal.signed_in("official-3")
    (code, *_rest) = codes_on(sheet(head, f"{OWN}/official-1", "/portal/officials/official-1"))
    browser, _answer = come_in(portal, code)
    assert "Wang Fang" in browser.get("/portal/").text
    assert sheet(clerk, f"{OWN}/official-1", "/portal/officials/official-1").status_code == 403
    assert sheet(head, f"{OWN}/official-4", "/portal/officials/official-4").status_code == 403
    assert sheet(portal.signed_in(), f"{OWN}/official-2").status_code == 403
    assert sheet(portal.signed_in("official-4")).status_code == 403


def test_paper_opens_nothing_for_somebody_who_was_removed_or_may_not_issue(portal: Portal) -> None:
    printed = codes_on(sheet(portal.signed_in()))
    hire(portal, "official-2", Permission.OFFICIALS)
    with transaction(portal.session):
        portal.session.get_one(Official, "official-1").permission_text = "recall"
    assert come_in(portal, printed[0])[1].status_code == 403
    with transaction(portal.session):
        portal.session.get_one(Official, "official-1").permission_text = "issue"
    assert come_in(portal, printed[0])[1].status_code == 303
    head = portal.signed_in("official-2")
    opened = head.get("/portal/officials/official-1")
    head.post("/portal/officials/official-1/remove", data={"csrf_token": field(opened, "csrf_token")})
    assert come_in(portal, printed[1])[1].status_code == 403
    assert portal.rows(PrintedCode) == []
