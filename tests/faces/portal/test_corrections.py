"""After a negative test, a code with which a phone takes its warning back."""

import pytest
from werkzeug.test import TestResponse

from registry.models import Authorization, Official, VerificationCode, transaction
from registry.models.official import Permission, permission_text
from tests.faces.portal.conftest import Portal, code_on, fill_in, hand_over

PATH = "/portal/recalls/negative/"


def correct(portal: Portal, **answers: str) -> TestResponse:
    browser = portal.signed_in()
    stated = fill_in(browser, PATH, **{"report_type": "negative"} | answers)
    return hand_over(browser, stated, PATH)


def test_a_negative_result_is_stated_with_its_own_text(portal: Portal) -> None:
    page = correct(portal, tested="2026-06-15", test_date="")
    code_on(page)
    assert "收回提醒" in page.text, "what to tap, in the person's language"
    (row,) = portal.rows(Authorization)
    assert isinstance(row, Authorization)
    assert (row.report_type, row.consent_version) == ("negative", "correction-2026-12")
    (code,) = portal.rows(VerificationCode)
    assert isinstance(code, VerificationCode)
    assert (code.report_type, str(code.test_date)) == ("negative", "2026-06-15")


@pytest.mark.parametrize(
    ("answers", "advice"),
    [
        ({"tested": "no"}, "Without a negative result there is no code"),
        ({"report_type": "confirmed"}, "Open this page again"),
        ({"consent_version": "2026-11"}, "The text has changed"),
        ({"consent_channel": "no"}, "agreement there is no code"),
        ({"test_date": ""}, "Give the day of the test"),
    ],
)
def test_nothing_else_is_stated_there(portal: Portal, answers: dict[str, str], advice: str) -> None:
    page = correct(portal, **answers)
    assert page.status_code == 400
    assert advice in page.text
    assert portal.rows(Authorization) == []


def test_it_takes_both_permissions_for_its_code_stands_on_an_issuers_page(portal: Portal) -> None:
    for held, status in (({Permission.RECALL}, 403), ({Permission.RECALL, Permission.ISSUE}, 200)):
        with transaction(portal.session):
            portal.session.get_one(Official, "official-1").permission_text = permission_text(held)
        browser = portal.signed_in()
        assert browser.get(PATH).status_code == status
        assert (PATH in browser.get("/portal/recalls/").text) is (status == 200)


def test_the_usual_form_states_no_negative_result(portal: Portal) -> None:
    browser = portal.signed_in()
    assert hand_over(browser, fill_in(browser, report_type="negative")).status_code == 400
    assert portal.rows(Authorization) == []
