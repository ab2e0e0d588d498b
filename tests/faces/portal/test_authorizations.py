"""One form in, one code out: recorded, and never made twice without anybody noticing."""

import re
from datetime import date

import pytest

from registry.delivery.spoken import spoken_words
from registry.lifecycle.authorize import hash_code
from registry.models import Authority, Authorization, Official, VerificationCode, transaction
from registry.protocol.codes import is_well_formed
from tests.faces.portal.conftest import AUTHORITY, Portal, code_on, fill_in, hand_over


def the_code(portal: Portal) -> VerificationCode:
    (row,) = portal.rows(VerificationCode)
    assert isinstance(row, VerificationCode)
    return row


def nothing_was_stored(portal: Portal) -> bool:
    return not portal.rows(Authorization) and not portal.rows(VerificationCode)


def test_a_statement_becomes_a_code_and_the_agreement_is_recorded(portal: Portal) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser, onset_date="2026-06-12"))

    assert page.status_code == 200
    code = code_on(page)
    assert is_well_formed(code)
    row = the_code(portal)
    assert row.code_hash == hash_code(b"l" * 32, AUTHORITY, code)
    assert (row.report_type, row.test_date, row.onset_date) == (
        "confirmed",
        date(2026, 6, 14),
        date(2026, 6, 12),
    )
    (act,) = portal.rows(Authorization)
    assert isinstance(act, Authorization)
    assert act.official_id == "official-1"
    assert (act.consent_version, act.consent_language, act.consent_channel) == ("2026-11", "zh", "phone")


def test_a_clinical_diagnosis_with_the_day_of_symptoms_alone_is_enough(portal: Portal) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser, report_type="likely", test_date="", onset_date="2026-06-10")
    assert hand_over(browser, answers).status_code == 200
    assert (the_code(portal).report_type, the_code(portal).test_date) == ("likely", None)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_code_page_says_each_digit_and_what_comes_next_in_the_persons_language(
    portal: Portal, language: str
) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser, consent_language=language))
    words = re.findall(rf'<b>\d</b> <span lang="{language}">(.*?)</span>', page.text)
    assert words == spoken_words(code_on(page), language)
    said = page.text[page.text.index('<div class="said"') :]
    assert f'lang="{language}"' in said[:40]
    assert ("念给我听" in said) == (language == "zh")
    assert ("read the code back" in said) == (language == "en")
    assert '<html lang="en">' in page.text


def test_the_code_page_gives_the_expiry_in_the_registrys_clock(portal: Portal) -> None:
    portal.clock.advance(61)  # 12:01:01: rounded up to the next quarter of an hour, a day later
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser))
    assert "Tuesday, June 16, 2026 12:15 UTC" in page.text
    assert "Tuesday, June 16, 2026 20:15 (China Standard Time)" in page.text
    assert "clock shows Monday, June 15, 2026 20:01 (China Standard Time)" in page.text


def test_the_code_is_in_no_title_address_header_or_field(portal: Portal) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser))
    code = code_on(page)
    assert not any(part in page.text[: page.text.index("<main")] for part in (code, code[:3] + " "))
    assert code not in str(page.headers)
    assert page.headers["Cache-Control"] == "no-store"
    assert code not in page.text  # only in groups
    assert code_on(page) not in browser.get("/portal/").text


def test_the_same_form_sent_twice_makes_one_code_and_leads_to_it_again(portal: Portal) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser)
    code = code_on(hand_over(browser, answers))
    for changed in ({}, {"test_date": "2026-06-13"}):
        again = hand_over(browser, answers | changed)
        assert code_on(again) == code
        assert "What was changed in it since is not recorded" in again.text
    assert the_code(portal).test_date == date(2026, 6, 14)
    assert the_code(portal).uuid == answers["once"]


def test_a_form_that_somebody_else_sent_before_makes_nothing(portal: Portal) -> None:
    answers = fill_in(portal.signed_in())
    with transaction(portal.session):
        portal.session.add(Official(id="official-2", authority_id=AUTHORITY, name="Li Na"))
        portal.session.flush()
    other = portal.signed_in("official-2")
    code = code_on(hand_over(other, answers | {"csrf_token": fill_in(other)["csrf_token"]}))
    browser = portal.signed_in()
    refused = hand_over(browser, answers | {"csrf_token": fill_in(browser)["csrf_token"]})
    assert refused.status_code == 409
    assert "already handed out" in refused.text
    assert code[:3] + "</span>" not in refused.text
    the_code(portal)


@pytest.mark.parametrize(("hour", "days"), [(1, ("15", "14", "13")), (17, ("16", "15", "14"))])
def test_the_last_three_days_on_the_wall_are_answers_by_themselves(
    portal: Portal, hour: int, days: tuple[str, ...]
) -> None:
    # The clock on the wall is Shanghai's, eight hours ahead of UTC.
    portal.clock.advance((hour - 12) * 3600)
    browser = portal.signed_in()
    offered = re.findall(r'name="tested" value="2026-06-(\d\d)"', browser.get("/portal/").text)
    assert tuple(offered) == days
    for day in days:
        chosen = fill_in(browser, tested=f"2026-06-{day}", test_date="2026-01-01")
        assert hand_over(browser, chosen).status_code == 200
    assert {row.test_date.day for row in portal.rows(VerificationCode)} == {int(day) for day in days}


def test_two_opened_forms_make_two_codes(portal: Portal) -> None:
    browser = portal.signed_in()
    first, second = fill_in(browser), fill_in(browser)
    assert code_on(hand_over(browser, first)) != code_on(hand_over(browser, second))


@pytest.mark.parametrize(
    ("answers", "element", "advice"),
    [
        ({"report_type": "absent"}, "report_type-0", "Choose how the result was found"),
        ({"report_type": "negative"}, "report_type-0", "Choose how the result was found"),
        ({"test_date": ""}, "test_date", "Give the day of the test, or"),
        ({"test_date": "14.6.2026"}, "test_date", "year-month-day"),
        ({"test_date": "2026-02-30"}, "test_date", "year-month-day"),
        ({"test_date": "2026-06-17"}, "test_date", "in the future"),
        ({"onset_date": "2026-06-17"}, "onset_date", "in the future"),
        ({"onset_date": "2026-05-16"}, "onset_date", "the earliest is 2026-05-17"),
        ({"consent_language": "absent"}, "consent_language-0", "Choose the language"),
        ({"consent_language": "tlh"}, "consent_language-0", "Choose the language"),
        ({"consent_channel": "absent"}, "consent_channel-0", "Choose how the person agreed"),
        ({"consent_channel": ""}, "consent_channel-0", "Choose how the person agreed"),
        ({"consent_channel": "no"}, "consent_channel-0", "agreement there is no code"),
        ({"consent_version": "2020-01"}, "consent_channel-0", "The text has changed"),
        ({"tested": "absent"}, "tested-0", "Choose when the person was tested"),
        ({"tested": "2026-06-12"}, "tested-0", "Choose when the person was tested"),
        ({"tested": "no"}, "tested-0", "Without a positive result"),
    ],
)
def test_wrong_input_says_what_to_do_and_stores_nothing(
    portal: Portal, answers: dict[str, str], element: str, advice: str
) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser, **answers))
    assert page.status_code == 400
    assert "<title>Error: " in page.text
    assert 'role="alert"' in page.text
    link = re.search(rf'<a href="#{element}">([^<]*)</a>', page.text)
    assert link is not None
    assert advice in link[1]
    name = element.removesuffix("-0")
    assert f'id="{name}-problem"' in page.text
    assert re.search(rf'aria-describedby="[^"]*{name}-problem"', page.text)
    assert nothing_was_stored(portal)


def test_a_form_that_comes_back_keeps_what_was_entered_and_can_be_mended(portal: Portal) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser, report_type="likely", onset_date="2026-06-13", consent_channel="absent")
    page = hand_over(browser, answers)
    assert re.search(r'value="likely"[^>]* checked', page.text)
    assert re.search(r'name="test_date" value="2026-06-14"', page.text)
    assert re.search(r'name="onset_date" value="2026-06-13"', page.text)
    assert re.search(r'name="consent_language" value="zh"[^>]* checked', page.text)
    assert f'name="once" value="{answers["once"]}"' in page.text
    assert hand_over(browser, answers | {"consent_channel": "writing"}).status_code == 200


def test_a_changed_text_must_be_agreed_to_again(portal: Portal) -> None:
    browser = portal.signed_in()
    page = hand_over(browser, fill_in(browser, consent_version="2020-01"))
    assert 'name="consent_version" value="2026-11"' in page.text
    assert not re.search(r'name="consent_channel" value="phone"[^>]* checked', page.text)


@pytest.mark.parametrize(("clock_hour", "day"), [(0, "2026-06-16"), (12, "2026-06-16"), (12, "2026-05-17")])
def test_a_day_ahead_of_or_behind_the_universal_calendar_is_accepted(
    portal: Portal, clock_hour: int, day: str
) -> None:
    portal.clock.advance((clock_hour - 12) * 3600)
    browser = portal.signed_in()
    assert hand_over(browser, fill_in(browser, test_date=day)).status_code == 200


@pytest.mark.parametrize("once", ["", "x", "0" * 500])
def test_a_form_with_a_forged_handle_is_refused(portal: Portal, once: str) -> None:
    browser = portal.signed_in()
    assert hand_over(browser, fill_in(browser, once=once)).status_code == 400
    assert nothing_was_stored(portal)


def test_a_form_forged_by_another_site_is_refused(portal: Portal) -> None:
    browser = portal.signed_in()
    assert hand_over(browser, fill_in(browser, csrf_token="forged")).status_code == 400
    assert nothing_was_stored(portal)


def test_a_form_left_open_for_most_of_a_shift_still_works(portal: Portal) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser)
    portal.clock.advance(7 * 3600)
    assert hand_over(browser, answers).status_code == 200


@pytest.mark.parametrize(("language", "words"), [("en", "for maintenance"), ("zh", "系统维护")])
def test_under_maintenance_the_form_says_that_no_code_is_handed_out(
    portal: Portal, language: str, words: str
) -> None:
    browser = portal.signed_in()
    answers = fill_in(browser)
    with transaction(portal.session):
        portal.session.get_one(Authority, AUTHORITY).maintenance = True
    browser.get(f"/portal/?lang={language}")
    page = hand_over(browser, answers)
    assert page.status_code == 429
    assert words in page.text
    assert portal.rows(VerificationCode) == []
