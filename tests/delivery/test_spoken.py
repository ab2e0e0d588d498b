"""A code is read out so that every digit is told apart."""

import pytest

from registry.delivery.spoken import SPOKEN_LANGUAGES, spoken_words
from registry.protocol.codes import DIGITS, LETTERS


def test_a_code_is_read_in_english() -> None:
    assert spoken_words("1905", "en") == ["one", "nine", "zero", "five"]


def test_a_code_is_read_in_chinese_as_on_the_telephone() -> None:
    assert spoken_words("170", "zh") == ["幺 (yāo)", "七 (qī)", "零 (líng)"]


def test_letters_are_read_by_the_radio_alphabet_or_as_they_sound_in_chinese() -> None:
    assert spoken_words("W7X", "en") == ["Whiskey", "seven", "X-ray"]
    assert spoken_words("A1", "zh") == ["诶，apple 苹果", "幺 (yāo)"]


@pytest.mark.parametrize("language", SPOKEN_LANGUAGES)
def test_each_character_of_a_code_has_a_word_of_its_own(language: str) -> None:
    characters = "".join(sorted(set(DIGITS + LETTERS)))
    words = spoken_words(characters, language)
    assert len(set(words)) == len(characters)
    assert all(words)


@pytest.mark.parametrize("code", ["12B", "12a", "1 2", "\u0661", "²"])
def test_what_is_no_digit_is_refused_and_not_repeated(code: str) -> None:
    with pytest.raises(ValueError, match="only the letters and digits") as refusal:
        spoken_words(code, "en")
    assert code not in str(refusal.value)


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="tlh"):
        spoken_words("1", "tlh")
