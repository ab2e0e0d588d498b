"""Who settles things sees what can be guessed, and the risk of each form beside the choice of it."""

import re
from hashlib import sha256

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from registry.lifecycle.activity import acts_of, check_chain
from registry.lifecycle.guessing import WrongCodes, keep_wrong_codes
from registry.models import Authority, Authorization, Official, VerificationCode, transaction
from registry.models.official import Permission, permission_text
from registry.protocol.activity import decode_act
from registry.protocol.codes import CodeForm
from registry.protocol.guessing import GuessBudget, chance_of_a_hit, most_looked_at
from tests.faces.portal.conftest import AUTHORITY, TODAY, Portal, field

PAGE = "/portal/settings/codes/"
NOW = 6
"""Cells of the table of wrong codes at present, which comes first."""


@pytest.fixture
def browser(portal: Portal) -> FlaskClient:
    """Of somebody who may change settings, and nothing else."""
    with transaction(portal.session):
        official = portal.session.get_one(Official, "official-1")
        official.permission_text = permission_text({Permission.SETTINGS})
    return portal.signed_in()


def choose(browser: FlaskClient, form: str, **more: str) -> TestResponse:
    answers = {"csrf_token": field(browser.get(PAGE), "csrf_token"), "code_form": form, **more}
    return browser.post(PAGE, data=answers, follow_redirects=True)


def lay_codes(portal: Portal, count: int, form: CodeForm, **more: object) -> None:
    """So many codes, of which nothing but form, end and use matters."""
    with transaction(portal.session):
        for number in range(count):
            name = f"{form}-{sorted(more)}-{number}"
            portal.session.add(
                Authorization(id=name[:36], authority_id=AUTHORITY, report_type="confirmed", stated_on=TODAY)
            )
            portal.session.flush()
            row = {
                "authority_id": AUTHORITY,
                "report_type": "confirmed",
                "expires_at": int(portal.clock()) + 1,
            }
            portal.session.add(
                VerificationCode(
                    uuid=name[:36],
                    authorization_id=name[:36],
                    code_hash=sha256(name.encode()).digest(),
                    code_form=form.value,
                    **row | more,
                )
            )


def form_in_use(portal: Portal) -> str:
    portal.session.rollback()
    return portal.session.get_one(Authority, AUTHORITY).code_form


def cells(page: TestResponse) -> list[str]:
    return cells_of(page.text)


def cells_of(text: str) -> list[str]:
    return re.findall(r"<td>(.*?)</td>", text)


def test_the_chance_is_that_of_the_codes_that_can_be_used_now(portal: Portal, browser: FlaskClient) -> None:
    assert cells(browser.get(PAGE))[NOW:][1:3] == ["none", "none"]
    lay_codes(portal, 40, CodeForm.SHORT)
    lay_codes(portal, 2, CodeForm.DIGITS)
    lay_codes(portal, 5, CodeForm.SHORT, claimed=True, claim_told=True)
    lay_codes(portal, 5, CodeForm.SHORT, expires_at=int(portal.clock()))
    page = browser.get(PAGE)
    assert "2 (14 digits and a check digit), 40 (8 digits)" in page.text
    assert "Codes of 8 digits can be guessed." in page.text, "there are some, whatever new ones are"
    day = most_looked_at(GuessBudget(), networks=200, processes=1, hours=25)
    assert (day, round(1 / chance_of_a_hit(day, {CodeForm.SHORT: 40}))) == (45_000, 56)
    assert cells(page)[NOW:][3:6] == ["3,600", "1 in 690 (0.14%)", "1 in 56 (1.78%)"]
    lay_codes(portal, 1, CodeForm.LETTERS)
    assert cells(browser.get(PAGE)) == cells(page), "who guesses takes the weakest"


def test_that_a_code_was_used_shows_no_sooner_than_on_its_own_page(
    portal: Portal, browser: FlaskClient
) -> None:
    lay_codes(portal, 3, CodeForm.DIGITS)
    before = browser.get(PAGE).text
    with transaction(portal.session):
        portal.session.execute(update(VerificationCode).values(claimed=True))
    assert cells_of(before) == cells(browser.get(PAGE))
    assert "3 (14 digits and a check digit)" in browser.get(PAGE).text


def test_the_wrong_codes_of_the_hours_that_have_ended_are_told_with_their_chance(
    portal: Portal, browser: FlaskClient
) -> None:
    assert cells(browser.get(PAGE))[:NOW] == ["0", "0", "none"] * 2
    lay_codes(portal, 40, CodeForm.SHORT)
    this_hour = int(portal.clock())
    with transaction(portal.session):
        for hours_ago, looked_at in ((0, 7), (1, 2_000), (24, 3_000), (25, 9_000)):
            hour = this_hour - 3600 * hours_ago
            keep_wrong_codes(portal.session, WrongCodes(AUTHORITY, hour, looked_at, looked_at // 10))
    # This hour has not ended: what of it is told already counts too.
    assert cells(browser.get(PAGE))[:NOW] == [
        "2,007", "200", "1 in 1,200 (0.08%)", "5,007", "500", "1 in 500 (0.2%)",
    ]  # fmt: skip


def test_the_choice_is_on_record_and_takes_a_tick_for_eight_digits(
    portal: Portal, browser: FlaskClient
) -> None:
    answer = choose(browser, "short")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert 'href="#known"' in answer.text
    assert form_in_use(portal) == "digits"
    for form, more in (("short", {"known": "y"}), ("short", {"known": "y"}), ("letters", {})):
        answer = choose(browser, form, **more)
        assert answer.status_code == 200
        assert "Saved, and on record." in answer.text
        assert form_in_use(portal) == form
        assert ("Codes of 8 digits can be guessed." in answer.text) == (form == "short")
    assert choose(browser, "words").status_code == 400
    rows = acts_of(portal.session, AUTHORITY)
    check_chain(rows)
    acts = [decode_act(row.content) for row in rows]
    chosen = [(act.actor, act.detail["form"]) for act in acts if act.kind == "code_form_changed"]
    assert chosen == [("official:official-1", "short"), ("official:official-1", "letters")], "once each"


def test_the_risk_stands_beside_each_form_in_both_languages(browser: FlaskClient) -> None:
    for language, words in (("en", "Only for apps that take no more"), ("zh", "仅用于只支持8位的应用")):
        page = browser.get(f"{PAGE}?lang={language}")
        glosses = re.findall(r'id="code_form-\w+-gloss">(.*?)</p>', page.text)
        assert len(glosses) == 3
        assert words in glosses[2]
        assert "36.2" in glosses[2]
        assert ("1 in 830,000" in glosses[0]) == (language == "en")


def test_a_forged_form_changes_nothing(portal: Portal, browser: FlaskClient) -> None:
    assert browser.post(PAGE, data={"code_form": "letters"}).status_code == 400
    assert form_in_use(portal) == "digits"
