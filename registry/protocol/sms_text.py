"""The text of an SMS: a template with placeholders, what is put into them, and what it takes to send it.

The placeholders are the field's, so that texts can be carried over: [region], [code], [expires] (minutes),
[longcode], [longexpires] (hours); and [link], which opens the app. Nothing else in brackets of small letters
is let through, or a slip of the pen would reach people.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.protocol.codes import LINK_LENGTH, link_of

LONGEST_TEMPLATE = 800
LONGEST_TEXT = 918
"""Characters of the finished text: six SMS of 153."""
WAYS_IN = ("code", "longcode", "link")
"""Placeholders of which there must be one, or the SMS is of no use."""
PLACEHOLDERS = ("region", "code", "expires", "longcode", "longexpires", "link")
DEFAULT_LABEL = "default"
LABEL = re.compile(r"[A-Za-z0-9._-]{1,40}")
"""How a text may be called: a name that can stand on record."""

DEFAULT_TEMPLATES: Mapping[str, str] = {
    "zh": (
        "【卫生健康部门】请在装有应用的手机上点开：[link] 打不开时，请在应用中输入验证码[code]。"
        "约[longexpires]小时内有效，请勿转发给他人。"
    ),
    "en": (
        "From your health authority. On the phone with the app, tap [link] If that does not open, enter "
        "this code in the app: [code]. Good for about [longexpires] h. Do not pass it on."
    ),
}
"""By language: what is sent where an authority has no text of its own."""

_PLACEHOLDER = re.compile(r"\[([a-z_]+)\]")
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""Of the default alphabet, 3GPP TS 23.038 §6.2.1."""
_GSM_OF_TWO = frozenset("\f^{}\\[~]|€")
"""Of its extension table, which take two of seven bits."""


class TextFault(StrEnum):
    """What is wrong with a template."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    NO_WAY_IN = "no_way_in"
    """Neither code nor link."""
    TWICE = "twice"
    """A code or the link stands there more than once."""
    UNKNOWN = "unknown"
    """A placeholder that there is not."""
    TOO_LONG_WHEN_FILLED = "too_long_when_filled"
    NO_TEXT = "no_text"
    """Characters that are no text."""


@dataclass(frozen=True, slots=True)
class SmsValues:
    """What is put into the placeholders. Prints without the code."""

    region: str
    code: str = field(repr=False)
    link_code: str = field(repr=False)
    link: str = field(repr=False)
    seconds_left: int

    def by_name(self) -> Mapping[str, str]:
        """By placeholder. What is left is rounded down: no text promises more than there is."""
        return {
            "region": self.region,
            "code": self.code,
            "longcode": self.link_code,
            "link": self.link,
            "expires": str(self.seconds_left // 60),
            # Never none: a code of eight digits lives for less than one.
            "longexpires": str(max(1, self.seconds_left // 3600)),
        }


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text takes: how many SMS, and in which alphabet (`GSM-7` or `UCS-2`)."""

    alphabet: str
    count: int


def values_of(
    *, region: str, address: str, code: str, link_code: str, expires_at: int, now: float
) -> SmsValues:
    """What is put into the placeholders for a code that is good until `expires_at` (unix seconds)."""
    left = max(0, int(expires_at - now))
    return SmsValues(region, code, link_code, link_of(address, link_code), left)


def sample_values(region: str, address: str, life_seconds: int) -> SmsValues:
    """As long as any: for previews, and to tell whether a text is too long."""
    code, link_code = (
        "123456789012347",  # of the longest form
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:LINK_LENGTH],
    )
    return SmsValues(region, code, link_code, link_of(address, link_code), life_seconds)


def fill(template: str, values: SmsValues) -> str:
    """The finished text. Every placeholder is replaced once; what was put in is none. Raises KeyError."""
    by_name = values.by_name()
    return _PLACEHOLDER.sub(lambda found: by_name[found[1]], template)


def faults_of(template: str, sample: SmsValues) -> list[TextFault]:
    """All that is wrong with a template; none for one that can be used."""
    named = Counter(_PLACEHOLDER.findall(template))
    faults = []
    if not template.strip():
        return [TextFault.EMPTY]
    if not all(character.isprintable() or character == "\n" for character in template):
        faults.append(TextFault.NO_TEXT)
    if len(template) > LONGEST_TEMPLATE:
        faults.append(TextFault.TOO_LONG)
    if not any(name in named for name in WAYS_IN):
        faults.append(TextFault.NO_WAY_IN)
    if any(named[name] > 1 for name in WAYS_IN):
        faults.append(TextFault.TWICE)
    if set(named) - set(PLACEHOLDERS):
        faults.append(TextFault.UNKNOWN)
    elif len(fill(template, sample)) > LONGEST_TEXT:
        faults.append(TextFault.TOO_LONG_WHEN_FILLED)
    return faults


def segments_of(text: str) -> Segments:
    """How many SMS the text takes (3GPP TS 23.038, 23.040 §9.2.3.24.1): 160 characters of GSM-7, or 153 in
    each of several; one character outside of it makes all of them UCS-2, 70 or 67."""
    if all(character in _GSM or character in _GSM_OF_TWO for character in text):
        return Segments("GSM-7", _count([2 if c in _GSM_OF_TWO else 1 for c in text], 160, 153))
    return Segments("UCS-2", _count([2 if ord(c) > 0xFFFF else 1 for c in text], 70, 67))


def _count(sizes: list[int], alone: int, among_others: int) -> int:
    if sum(sizes) <= alone:
        return 1
    count, used = 1, 0
    for size in sizes:
        # A character of two parts is never cut in half.
        if used + size > among_others:
            count, used = count + 1, 0
        used += size
    return count
