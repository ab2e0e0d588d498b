"""A code read out on the telephone: the word that is said for each digit, in the person's language.

Chinese words carry their tones, and one is said yāo, so that it is not taken for seven (qī).
"""

from collections.abc import Mapping

_DIGIT_WORDS: Mapping[str, tuple[str, ...]] = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "zh": (
        "零 (líng)",
        "幺 (yāo)",
        "二 (èr)",
        "三 (sān)",
        "四 (sì)",
        "五 (wǔ)",
        "六 (liù)",
        "七 (qī)",
        "八 (bā)",
        "九 (jiǔ)",
    ),
}

SPOKEN_LANGUAGES = tuple(_DIGIT_WORDS)


def spoken_words(code: str, language: str) -> list[str]:
    """One word for each digit of `code`, in order.

    Raises ValueError, which does not repeat the code, for a character that is no digit and for a language
    outside SPOKEN_LANGUAGES.
    """
    if language not in _DIGIT_WORDS:
        raise ValueError(f"no words for digits in {language!r}; there are {', '.join(SPOKEN_LANGUAGES)}")
    if not (code.isascii() and code.isdigit()):
        raise ValueError("only digits can be read out")
    return [_DIGIT_WORDS[language][int(digit)] for digit in code]
