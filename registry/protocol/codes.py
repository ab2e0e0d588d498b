"""Verification codes: one to be spoken, and one for links and QR codes, which no tongue has to bear.

The spoken one has one of three forms, of an authority's choice. `digits`: fourteen random digits and a check
digit, 46 bits. `letters`: ten random characters of those that are told apart on the telephone, and a check
character, 46 bits too. `short`: eight digits, 26 bits and no check, for apps that take no more. Both ends can
check the check character, so that a slip of the tongue is caught before it costs a request. The code for
links has 26 characters of base32, 130 bits: letters and digits alone, as apps take them. Nothing here keeps a
code or decides whether it is valid: that is a matter of the keyed hash.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import cache


class CodeForm(StrEnum):
    """What a spoken code looks like."""

    DIGITS = "digits"
    """14 digits and a check digit (ISO 7064 MOD 11,10), in five groups of three."""
    LETTERS = "letters"
    """10 characters of `LETTERS` and a check character (ISO 7064 MOD 37,36) that is one of them too, in
    groups of four, four and three."""
    SHORT = "short"
    """8 digits, in two groups of four. Whoever tries many finds one: see `protocol.guessing`."""


DIGITS = "0123456789"
LETTERS = "AEFHIJKLQRSUWXYZ123456789"
"""No two of them sound or look alike, in English or as Latin letters are called in China."""

LINK_LENGTH = 26
LINK_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
"""Of base32, RFC 4648 §6."""
LINK_PATH = "/v?c="
"""What stands between the registry's address and the code, in a link that a phone opens."""

_RANDOM_DIGITS = 14
_RANDOM_LETTERS = 10
_SHORT_DIGITS = 8
_FORM_OF_LENGTH = {
    _RANDOM_DIGITS + 1: CodeForm.DIGITS,
    _RANDOM_LETTERS + 1: CodeForm.LETTERS,
    _SHORT_DIGITS: CodeForm.SHORT,
}
_GROUP_LENGTH = {CodeForm.DIGITS: 3, CodeForm.LETTERS: 4, CodeForm.SHORT: 4}
_DIGITS_AND_LETTERS = DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The character set of ISO 7064 MOD 37,36, each at the place of its value."""
_MOST_DRAWS = 200
"""For letters whose check character is one of them: 25 in 36 are, so that all fail never happens."""

_SPACING = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Pd"})
"""Unicode categories that people and keyboards put between groups: spaces, controls, marks, dashes."""


def new_code(random_below: Callable[[int], int], form: CodeForm = CodeForm.DIGITS) -> str:
    """A fresh code of that form; `random_below(n)` gives an unpredictable integer in [0, n)."""
    if form is CodeForm.SHORT:
        return f"{random_below(10**_SHORT_DIGITS):0{_SHORT_DIGITS}d}"
    if form is CodeForm.DIGITS:
        digits = f"{random_below(10**_RANDOM_DIGITS):0{_RANDOM_DIGITS}d}"
        return digits + check_character(digits, DIGITS)
    for _ in range(_MOST_DRAWS):
        drawn = "".join(LETTERS[random_below(len(LETTERS))] for _ in range(_RANDOM_LETTERS))
        check = check_character(drawn, _DIGITS_AND_LETTERS)
        if check in LETTERS:
            return drawn + check
    raise RuntimeError("the source of randomness repeats itself: no letters with a check character of theirs")


def new_link_code(random_below: Callable[[int], int]) -> str:
    """A fresh code of 26 characters for links; `random_below` as for `new_code`."""
    return "".join(LINK_ALPHABET[random_below(len(LINK_ALPHABET))] for _ in range(LINK_LENGTH))


def is_link_code(code: str) -> bool:
    """Whether a normalised code is one for links."""
    return len(code) == LINK_LENGTH and set(code) <= set(LINK_ALPHABET)


def link_of(address: str, link_code: str) -> str:
    """The link that a phone opens, under the registry's `address`, such as https://keys.health.example."""
    return f"{address}{LINK_PATH}{link_code}"


def normalise(text: str) -> str:
    """What was typed, without spaces and hyphens, in upper case, every script's digits as 0 to 9.

    Never refuses anything: whether the outcome is a code is for `is_well_formed` to say.
    """
    kept = []
    for character in unicodedata.normalize("NFKC", text).upper():
        if unicodedata.category(character) in _SPACING or character == "\N{MINUS SIGN}":
            continue
        kept.append(str(unicodedata.decimal(character)) if character.isdecimal() else character)
    return "".join(kept)


def form_of(code: str) -> CodeForm | None:
    """Of which form a normalised code is by its length and characters, whether it checks or not."""
    form = _FORM_OF_LENGTH.get(len(code))
    if form is None or not set(code) <= set(LETTERS if form is CodeForm.LETTERS else DIGITS):
        return None
    return form


def is_well_formed(code: str) -> bool:
    """Whether a normalised code is of one of the forms, with the right check character where there is one."""
    form = form_of(code)
    if form is None or form is CodeForm.SHORT:
        return form is not None
    characters = DIGITS if form is CodeForm.DIGITS else _DIGITS_AND_LETTERS
    return check_character(code[:-1], characters) == code[-1]


def group(code: str) -> list[str]:
    """The code as it is shown and read out, in groups of three or four characters by its form."""
    length = _GROUP_LENGTH[form_of(code) or CodeForm.DIGITS]
    return [code[start : start + length] for start in range(0, len(code), length)]


@cache
def space_of(form: CodeForm) -> int:
    """How many different codes of this form there are, each as likely as any other."""
    if form is CodeForm.SHORT:
        return int(10**_SHORT_DIGITS)
    if form is CodeForm.DIGITS:
        return int(10**_RANDOM_DIGITS)
    # Counted exactly, by what the check is computed from: how many runs of letters lead to each product.
    modulus = len(_DIGITS_AND_LETTERS)
    runs = Counter({modulus: 1})
    for _ in range(_RANDOM_LETTERS):
        longer = Counter[int]()
        for product, count in runs.items():
            for letter in LETTERS:
                longer[_next_product(product, _DIGITS_AND_LETTERS.index(letter), modulus)] += count
        runs = longer
    checks = {product: _DIGITS_AND_LETTERS[_check_value(product, modulus)] for product in runs}
    return sum(count for product, count in runs.items() if checks[product] in LETTERS)


def check_character(text: str, characters: str) -> str:
    """The check character of a run of `characters`, by ISO 7064's hybrid system MOD n+1,n for n of them.

    It catches every single wrong character and nearly every swap of neighbours. n must be even.
    """
    modulus = len(characters)
    product = modulus
    for character in text:
        product = _next_product(product, characters.index(character), modulus)
    return characters[_check_value(product, modulus)]


def _next_product(product: int, value: int, modulus: int) -> int:
    return ((product + value) % modulus or modulus) * 2 % (modulus + 1)


def _check_value(product: int, modulus: int) -> int:
    return (modulus + 1 - product) % modulus
