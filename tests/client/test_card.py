"""The card never looks better than what is known."""

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.card import Card, card_lines, card_members, draw_card
from registry.client.risk import Risk
from registry.client.texts import (
    CARD_TEXTS,
    LANGUAGES,
    PHONE_TEXTS,
    REFUSAL_TEXTS,
    UPLOAD_TEXTS,
    Language,
)
from tests.clock import NOON_OF_JUNE_15 as NOW

HOUR = 3600.0
EXPOSED = Risk(date(2026, 6, 12))
CLEAR = Risk(None)


def drawn(
    risk: Risk, checked_hours_ago: float | None, *, demonstration: bool = False, staged: bool = False
) -> Card:
    return draw_card(
        risk,
        last_good_poll=None if checked_hours_ago is None else NOW - checked_hours_ago * HOUR,
        now=NOW,
        region="XA",
        demonstration=demonstration,
        staged=staged,
    )


@pytest.mark.parametrize(
    ("checked_hours_ago", "state"),
    [(0, "green"), (48, "green"), (48.01, "stale"), (None, "stale"), (-1, "green"), (-3, "stale")],
)
def test_green_only_within_48_hours_of_a_complete_check(checked_hours_ago: float | None, state: str) -> None:
    assert drawn(CLEAR, checked_hours_ago).state == state


def test_an_old_warning_stays_orange_and_says_that_it_is_old() -> None:
    card = drawn(EXPOSED, 100)
    assert (card.state, card.stale) == ("orange", True)
    words = "\n".join(card_lines(card, "en"))
    assert "ORANGE" in words
    assert "more than 48 hours ago" in words


@given(
    exposed=st.booleans(),
    checked=st.none() | st.floats(-1000, 1000),
    language=st.sampled_from(LANGUAGES),
)
def test_stale_is_never_green(exposed: bool, checked: float | None, language: Language) -> None:
    card = drawn(EXPOSED if exposed else CLEAR, checked)
    assert (card.state == "green") == (not exposed and not card.stale)
    assert (CARD_TEXTS[language]["green"] in card_lines(card, language)) == (card.state == "green")


@pytest.mark.parametrize("language", LANGUAGES)
def test_orange_says_the_day_and_what_to_do(language: Language) -> None:
    words = "\n".join(card_lines(drawn(EXPOSED, 1), language))
    assert "2026-06-12" in words
    assert CARD_TEXTS[language]["advice"] in words


def test_the_advice_is_to_test_and_observe() -> None:
    assert "nucleic-acid test" in CARD_TEXTS["en"]["advice"]
    assert "observe your health" in CARD_TEXTS["en"]["advice"]
    assert "核酸检测" in CARD_TEXTS["zh"]["advice"]
    assert "观察自己的健康" in CARD_TEXTS["zh"]["advice"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_demonstrations_are_marked(language: Language) -> None:
    plain = "\n".join(card_lines(drawn(CLEAR, 1), language))
    marked = "\n".join(card_lines(drawn(CLEAR, 1, demonstration=True, staged=True), language))
    for mark in ("demonstration", "staged"):
        assert CARD_TEXTS[language][mark] in marked
        assert CARD_TEXTS[language][mark] not in plain


def test_a_withdrawn_warning_is_explained() -> None:
    card = drawn(Risk(None, (date(2026, 6, 11),)), 1)
    assert card.state == "green"
    assert any("2026-06-11" in line and "withdrawn" in line for line in card_lines(card, "en"))
    # Withdrawn may be the person's consent: of the result nothing is said.
    assert not any("mistake" in line for line in card_lines(card, "en"))
    assert not any("有误" in line for line in card_lines(card, "zh"))


def test_a_diagnosis_without_a_test_is_not_called_confirmed() -> None:
    for words in ("confirmed", "确诊"):
        assert not any(words in text for texts in CARD_TEXTS.values() for text in texts.values())
        assert not any(words in text for texts in PHONE_TEXTS.values() for text in texts.values())


def test_the_registry_and_the_official_have_one_name_each_in_chinese() -> None:
    for texts in (CARD_TEXTS, UPLOAD_TEXTS, REFUSAL_TEXTS, PHONE_TEXTS):
        assert not re.search("登记处|卫生官员|卫生工作人员", "".join(texts["zh"].values()))


def test_programs_read_the_same() -> None:
    assert card_members(drawn(EXPOSED, 100)) == {
        "state": "orange",
        "stale": True,
        "exposed_on": "2026-06-12",
        "withdrawn_on": [],
        "last_checked": NOW - 100 * HOUR,
        "region": "XA",
        "demonstration": False,
        "staged": False,
    }


@pytest.mark.parametrize("texts", [CARD_TEXTS, UPLOAD_TEXTS, REFUSAL_TEXTS, PHONE_TEXTS])
def test_both_languages_say_everything(texts: dict[Language, dict[str, str]]) -> None:
    assert texts["en"].keys() == texts["zh"].keys()
    for name in texts["en"]:
        fields = [
            {word.split("}")[0] for word in texts[language][name].split("{")[1:]} for language in LANGUAGES
        ]
        assert fields[0] == fields[1], name
