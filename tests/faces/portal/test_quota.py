"""What officials see of the quotas before they meet them, and how two of them let there be more."""

import re
from datetime import date

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.lifecycle.quota import QuotaLimits, set_limits
from registry.models import IssuingQuota, Official, QuotaUse, SurgeRequest, VerificationCode, transaction
from registry.models.official import USUAL_PERMISSIONS, Permission, permission_text
from tests.faces.portal.conftest import AUTHORITY, Portal, code_on, field, fill_in, hand_over


def hire(portal: Portal, *permissions: Permission) -> FlaskClient:
    """A browser in which Li Na is signed in."""
    with transaction(portal.session):
        portal.session.add(
            Official(
                id="official-2",
                authority_id=AUTHORITY,
                name="Li Na",
                permission_text=permission_text(permissions or USUAL_PERMISSIONS),
            )
        )
    return portal.signed_in("official-2")


def limit(portal: Portal, authority: int | None = None, official: int | None = None) -> None:
    with transaction(portal.session):
        set_limits(
            portal.session,
            AUTHORITY,
            QuotaLimits(authority, official),
            official_id="official-1",
            policy=portal.app.extensions["registry_portal"].policy.quota,
            now=portal.clock(),
        )


def send(browser: FlaskClient, path: str, **answers: str) -> TestResponse:
    token = field(browser.get("/portal/quota"), "csrf_token")
    return browser.post(f"/portal/quota/{path}", data={"csrf_token": token, **answers}, follow_redirects=True)


def issue(browser: FlaskClient, times: int = 1) -> None:
    for _ in range(times):
        assert hand_over(browser, fill_in(browser)).status_code == 200


def test_what_is_left_stands_on_the_form_and_a_warning_comes_before_the_end(portal: Portal) -> None:
    browser = portal.signed_in()
    assert "Codes left for today: 100000." in browser.get("/portal/").text
    limit(portal, official=5)
    issue(browser, 3)
    page = browser.get("/portal/").text
    assert "Codes left for today: 2." in page
    assert "before they are used up" not in page
    issue(browser)
    page = browser.get("/portal/").text
    assert "Codes left for today: 1." in page
    assert "It starts anew at 00:00 UTC, that is 08:00 (China Standard Time)." in page
    assert "before they are used up" in page


def test_when_none_is_left_nothing_is_stored_and_what_was_filled_in_stays(portal: Portal) -> None:
    browser = portal.signed_in()
    limit(portal, authority=1)
    answers = fill_in(browser)
    issue(browser)
    page = browser.post("/portal/", data=answers)
    assert page.status_code == 429
    assert "No code is left for today." in page.text
    assert 'value="2026-06-14"' in page.text
    assert f'name="once" value="{answers["once"]}"' in page.text
    assert len(portal.rows(VerificationCode)) == 1
    limit(portal)
    assert code_on(hand_over(browser, answers)), "the same form, once there are codes again"


def test_one_asks_for_more_and_another_approves(portal: Portal) -> None:
    browser, other = portal.signed_in(), hire(portal)
    limit(portal, official=2)
    issue(browser, 2)
    page = send(browser, "ask", whose="own", amount="2")
    assert "2 more for Wang Fang: <strong>waits for another official</strong>" in page.text
    assert "/approve" not in page.text, "not to whoever asked"
    (request,) = portal.rows(SurgeRequest)
    assert isinstance(request, SurgeRequest)
    assert send(browser, f"{request.id}/approve").status_code == 409
    assert hand_over(browser, fill_in(browser)).status_code == 429
    page = send(other, f"{request.id}/approve")
    assert "<strong>approved</strong>" in page.text
    assert "Decided by Li Na." in page.text
    issue(browser, 2)
    assert hand_over(browser, fill_in(browser)).status_code == 429
    again = send(other, f"{request.id}/refuse")
    assert again.status_code == 409
    assert "decided already" in again.text


def test_more_for_the_whole_authority(portal: Portal) -> None:
    browser, other = portal.signed_in(), hire(portal)
    limit(portal, authority=1)
    send(browser, "ask", whose="all", amount="1")
    (request,) = portal.rows(SurgeRequest)
    assert isinstance(request, SurgeRequest)
    send(other, f"{request.id}/approve")
    issue(browser, 2)


@pytest.mark.parametrize(
    ("answers", "element", "advice"),
    [
        ({"whose": "own"}, "amount", "Say how many more"),
        ({"amount": "3"}, "whose-0", "Choose for whom"),
        ({"whose": "own", "amount": "six"}, "amount", "Write a whole number"),
        ({"whose": "own", "amount": "0"}, "amount", "Ask for 1 to 5 codes"),
        ({"whose": "own", "amount": "6"}, "amount", "Ask for 1 to 5 codes"),
        ({"whose": "all", "amount": "100001"}, "amount", "Ask for 1 to 100000 codes"),
    ],
)
def test_a_request_that_cannot_stand_says_what_to_mend(
    portal: Portal, answers: dict[str, str], element: str, advice: str
) -> None:
    limit(portal, official=5)
    page = send(portal.signed_in(), "ask", **answers)
    assert page.status_code == 400
    assert re.search(f'<a href="#{element}">{advice}', page.text)
    assert portal.rows(SurgeRequest) == []


def test_limits_take_the_permission_and_may_be_taken_back(portal: Portal) -> None:
    browser, head = portal.signed_in(), hire(portal, Permission.SETTINGS)
    assert "Fix these limits" not in browser.get("/portal/quota").text
    assert send(browser, "limits", official_most="1").status_code == 403
    page = send(head, "limits", authority_most="50", official_most="1", bulk_most="")
    assert 'name="official_most" value="1"' in page.text
    issue(browser)
    assert hand_over(browser, fill_in(browser)).status_code == 429
    bad = send(head, "limits", authority_most="-1", official_most="many")
    assert bad.status_code == 400
    assert 'href="#authority_most"' in bad.text
    assert 'name="official_most" value="many"' in bad.text
    send(head, "limits")
    (row,) = portal.rows(IssuingQuota)
    assert isinstance(row, IssuingQuota)
    assert row.authority_most is row.official_most is row.bulk_most is None
    issue(browser)


def test_whoever_may_only_approve_asks_for_nothing(portal: Portal) -> None:
    browser = hire(portal, Permission.APPROVE)
    page = browser.get("/portal/quota")
    assert "Your authority’s codes" in page.text
    assert "Your codes" not in page.text
    assert "How many more?" not in page.text
    token = field(page, "csrf_token")
    answer = browser.post("/portal/quota/ask", data={"csrf_token": token, "whose": "own", "amount": "1"})
    assert answer.status_code == 403


def test_odd_figures_are_told_by_name_to_whoever_looks_after_officials(portal: Portal) -> None:
    with transaction(portal.session):
        for day in range(1, 16):
            portal.session.add(
                QuotaUse(
                    authority_id=AUTHORITY,
                    issuer="official:official-1",
                    day=date(2026, 6, day),
                    n=5 if day < 15 else 80,
                    most=100,
                )
            )
    head = hire(portal, Permission.OFFICIALS)
    page = head.get("/portal/quota")
    assert "<strong>Wang Fang</strong>: 80 codes on 2026-06-15" in page.text
    assert "Usual on this official’s days: 5." in page.text
    assert "look odd" not in portal.signed_in().get("/portal/quota").text


def test_the_chart_and_its_table_say_the_same(portal: Portal) -> None:
    browser, other = portal.signed_in(), hire(portal)
    issue(browser, 2)
    issue(other)
    page = browser.get("/portal/quota").text
    assert "<title>2026-06-15: the authority 3</title>" in page
    assert "<title>2026-06-15: of these yours 2</title>" in page
    assert '<th scope="row">2026-06-15</th><td>3</td><td>2</td>' in page
    assert page.count('<th scope="row">') == 28


def test_forged_requests_change_nothing(portal: Portal) -> None:
    browser = portal.signed_in()
    for path in ("ask", "limits", "some/approve", "some/refuse"):
        assert browser.post(f"/portal/quota/{path}", data={"csrf_token": "forged"}).status_code == 400
    assert portal.rows(SurgeRequest) == portal.rows(IssuingQuota) == []
