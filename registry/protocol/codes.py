"""Verification codes: one to be spoken, and one for links and QR codes, which no tongue has to bear.

The spoken one has fourteen random digits and a check digit, read out in five groups of three: both ends
check the digit, so that a slip of the tongue is caught before it costs a request. Fourteen digits are 46
bits. The other has 26 characters of base32, 130 bits: letters and digits alone, as apps take them. Nothing
here keeps a code or decides whether it is valid: that is a matter of the keyed hash.
"""

import unicodedata
from collections.abc import Callable

RANDOM_DIGITS = 14
CODE_LENGTH = RANDOM_DIGITS + 1
GROUP_LENGTH = 3

LINK_LENGTH = 26
LINK_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
"""Of base32, RFC 4648 §6."""
LINK_PATH = "/v?c="
"""What stands between the registry's address and the code, in a link that a phone opens."""

_SPACING = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Pd"})
"""Unicode categories that people and keyboards put between groups: spaces, controls, marks, dashes."""


def new_code(random_below: Callable[[int], int]) -> str:
    """A fresh code of 15 digits; `random_below(n)` gives an unpredictable integer in [0, n)."""
    digits = f"{random_below(10**RANDOM_DIGITS):0{RANDOM_DIGITS}d}"
    return digits + check_digit(digits)


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


def is_well_formed(code: str) -> bool:
    """Whether a normalised code has its fifteen digits and the last one is the right check digit."""
    if len(code) != CODE_LENGTH or not (code.isascii() and code.isdigit()):
        return False
    return check_digit(code[:RANDOM_DIGITS]) == code[-1]


def group(code: str) -> list[str]:
    """The code as it is shown and read out: groups of three characters, in order."""
    return [code[start : start + GROUP_LENGTH] for start in range(0, len(code), GROUP_LENGTH)]


def check_digit(digits: str) -> str:
    """The ISO 7064 MOD 11,10 check digit of a run of digits.

    It catches every single wrong digit and nearly every swap of neighbours.
    """
    product = 10
    for digit in digits:
        total = (product + int(digit)) % 10 or 10
        product = total * 2 % 11
    return str((11 - product) % 10)
