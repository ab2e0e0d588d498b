"""An official comes in by a link's button, once; is out when the shift, or the right, ends."""

import pytest

from registry.lifecycle.activity import acts_of, check_chain
from registry.models import Authorization, Official, PortalSession, SignInLink, transaction
from registry.protocol.activity import decode_act
from tests.faces.portal.conftest import AUTHORITY, Portal, field, fill_in, hand_over

SHIFT = 8 * 3600


def test_opening_a_link_burns_nothing_and_its_button_signs_in_once(portal: Portal) -> None:
    link = portal.link()
    for _ in range(3):
        assert portal.browser().get(link).status_code == 200

    browser = portal.browser()
    answer = browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
    assert (answer.status_code, answer.location) == (303, "/portal/")
    assert "Wang Fang" in browser.get("/portal/").text

    late = portal.browser()
    refused = late.post(link, data={"csrf_token": field(late.get(link), "csrf_token")})
    assert refused.status_code == 410
    assert "no longer works" in refused.text
    assert late.get("/portal/").status_code == 403


def test_a_sign_in_and_a_code_are_on_record_in_the_authoritys_chain_and_a_spent_link_is_not(
    portal: Portal,
) -> None:
    link, browser = portal.link(), portal.browser()
    form = {"csrf_token": field(browser.get(link), "csrf_token")}
    browser.post(link, data=form)
    browser.post(link, data=form)
    assert hand_over(browser, fill_in(browser)).status_code == 200
    assert hand_over(browser, fill_in(browser, consent_channel="absent")).status_code == 400
    rows = acts_of(portal.session, AUTHORITY)
    check_chain(rows)
    acts = [decode_act(row.content) for row in rows]
    assert [(act.kind, act.actor) for act in acts] == [
        ("sign_in", "official:official-1"),
        ("code_issued", "official:official-1"),
    ]
    (authorization,) = portal.rows(Authorization)
    assert isinstance(authorization, Authorization)
    assert [dict(act.detail) for act in acts] == [{}, {"authorization": authorization.id}]


def test_pressing_the_button_twice_still_signs_in(portal: Portal) -> None:
    link, browser = portal.link(), portal.browser()
    browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
    again = browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
    assert (again.status_code, again.location) == (303, "/portal/")
    assert len(portal.rows(PortalSession)) == 1


def test_a_link_ends_after_a_day(portal: Portal) -> None:
    link, browser = portal.link(), portal.browser()
    form = {"csrf_token": field(browser.get(link), "csrf_token")}
    portal.clock.advance(86_400)
    assert browser.post(link, data=form).status_code == 410


def test_a_button_pressed_from_another_site_is_refused_and_burns_nothing(portal: Portal) -> None:
    link = portal.link()
    assert portal.browser().post(link).status_code == 400
    assert [row.used for row in portal.rows(SignInLink) if isinstance(row, SignInLink)] == [False]


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
def test_the_cookies_are_kept_from_scripts_other_sites_and_other_paths(
    portal: Portal, scheme: str, secure: bool
) -> None:
    link, browser, base = portal.link(), portal.browser(), f"{scheme}://localhost"
    opened = browser.get(link, base_url=base)
    form = {"csrf_token": field(opened, "csrf_token")}
    answer = browser.post(link, base_url=base, data=form)
    chosen = browser.get("/portal/?lang=zh", base_url=base)
    cookies = [line for page in (opened, answer, chosen) for line in page.headers.getlist("Set-Cookie")]
    assert {line.partition("=")[0] for line in cookies} == {
        "portal_form",
        "portal_session",
        "portal_language",
    }
    for line in cookies:
        assert "HttpOnly" in line
        assert "SameSite=Strict" in line
        assert "Path=/portal" in line
        assert ("Secure" in line) == secure


def test_the_session_ends_after_a_shift(portal: Portal) -> None:
    browser = portal.signed_in()
    portal.clock.advance(SHIFT - 1)
    assert browser.get("/portal/").status_code == 200
    portal.clock.advance(1)
    assert browser.get("/portal/").status_code == 403


def test_a_disabled_official_is_out_on_the_next_request(portal: Portal) -> None:
    browser = portal.signed_in()
    with transaction(portal.session):
        portal.session.query(Official).one().disabled = True
    refused = browser.get("/portal/")
    assert refused.status_code == 403
    assert "Wang Fang" not in refused.text


def test_signing_out_ends_the_session_for_whoever_copied_its_cookie(portal: Portal) -> None:
    browser = portal.signed_in()
    copied = browser.get_cookie("portal_session", path="/portal")
    assert copied is not None
    answer = browser.post(
        "/portal/sign-out", data={"csrf_token": field(browser.get("/portal/"), "csrf_token")}
    )
    assert (answer.status_code, answer.location) == (303, "/portal/signed-out")
    assert "signed out" in browser.get("/portal/signed-out").text
    assert browser.get("/portal/").status_code == 403

    thief = portal.browser()
    thief.set_cookie("portal_session", copied.value, path="/portal")
    assert thief.get("/portal/").status_code == 403
    assert portal.rows(PortalSession) == []


def test_nobody_signs_an_official_out_from_another_site(portal: Portal) -> None:
    browser = portal.signed_in()
    assert browser.post("/portal/sign-out").status_code == 400
    assert browser.get("/portal/").status_code == 200


def test_a_stranger_is_told_how_to_come_in_and_cannot_get_a_code(portal: Portal) -> None:
    stranger = portal.browser()
    page = stranger.get("/portal/")
    assert page.status_code == 403
    assert "sign-in link" in page.text
    link_page = stranger.get(portal.link())
    refused = stranger.post("/portal/", data={"csrf_token": field(link_page, "csrf_token")})
    assert refused.status_code == 403


@pytest.mark.parametrize("path", ["/portal", "/portal//signed-out", "/portal/signed-out/"])
def test_no_answer_leads_to_a_host_that_the_caller_named(portal: Portal, path: str) -> None:
    answer = portal.browser().get(path, headers={"Host": "evil.example"})
    assert "Location" not in answer.headers
    assert "evil.example" not in answer.text


def test_the_portal_needs_no_last_slash(portal: Portal) -> None:
    assert "Hand over a code" in portal.signed_in().get("/portal").text
