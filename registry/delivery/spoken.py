"""A code read out on the telephone: the word that is said for each character, in the person's language.

Chinese words for digits carry their tones, and one is said yāo, so that it is not taken for seven (qī). For
letters English has those of the radio alphabet (ICAO, ITU); in Chinese, where Latin letters are hard to tell
apart, each is said as it sounds and with a word that begins with it, as primary school teaches them.
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


_LETTER_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "A": "Alfa",
        "E": "Echo",
        "F": "Foxtrot",
        "H": "Hotel",
        "I": "India",
        "J": "Juliett",
        "K": "Kilo",
        "L": "Lima",
        "Q": "Quebec",
        "R": "Romeo",
        "S": "Sierra",
        "U": "Uniform",
        "W": "Whiskey",
        "X": "X-ray",
        "Y": "Yankee",
        "Z": "Zulu",
    },
    "zh": {
        "A": "诶，apple 苹果",
        "E": "伊，egg 鸡蛋",
        "F": "艾弗，fish 鱼",
        "H": "艾尺，house 房子",
        "I": "爱，ice 冰",
        "J": "杰，juice 果汁",
        "K": "开，key 钥匙",
        "L": "艾勒，lion 狮子",
        "Q": "克优，queen 女王",
        "R": "阿尔，rain 雨",
        "S": "艾斯，sun 太阳",
        "U": "优，umbrella 雨伞",
        "W": "达不溜，water 水",
        "X": "艾克斯，X-ray X光",
        "Y": "歪，yellow 黄色",
        "Z": "贼，zebra 斑马",
    },
}

SPOKEN_LANGUAGES = tuple(_DIGIT_WORDS)


def spoken_words(code: str, language: str) -> list[str]:
    """One word for each character of `code`, in order.

    Raises ValueError, which does not repeat the code, for a character that no code has and for a language
    outside SPOKEN_LANGUAGES.
    """
    if language not in _DIGIT_WORDS:
        raise ValueError(f"no words for codes in {language!r}; there are {', '.join(SPOKEN_LANGUAGES)}")
    words = {**_LETTER_WORDS[language], **dict(zip("0123456789", _DIGIT_WORDS[language], strict=True))}
    if not set(code) <= set(words):
        raise ValueError("only the letters and digits of codes can be read out")
    return [words[character] for character in code]
