"""A telephone number, for as long as it takes to send one SMS to it.

It says nothing of itself when printed, so that no log, trace or message of an error can hold it. Nothing of
ours stores it.
"""

from dataclasses import dataclass, field

import phonenumbers

from registry.errors import Refusal, RefusalCode

_LONGEST = 40
"""More than anybody types with spaces, brackets and hyphens between 15 digits."""


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A number that can exist. `country` is its ISO 3166-1 code, or `001` of no country."""

    e164: str = field(repr=False)
    country: str
    calling_code: str
    """Like `+86`."""

    def __str__(self) -> str:
        """Its country, in all that it tells of itself."""
        return f"a number of {self.country}"


def read_phone_number(text: str, region: str) -> PhoneNumber:
    """The number that was typed: with + and calling code, or as one writes it within `region` (ISO 3166).

    Refuses with `phone_number_invalid`, without repeating it, what is no number that is given out anywhere.
    """
    refusal = Refusal(
        RefusalCode.PHONE_NUMBER_INVALID,
        "this is no telephone number: write it with + and the country's code, like +86 138 0000 0000",
    )
    if len(text) > _LONGEST or any(character.isalpha() for character in text):
        raise refusal
    try:
        number = phonenumbers.parse(text, region.partition("-")[0])
    except phonenumbers.NumberParseException:
        # Its words may quote what was typed: nothing of them goes on.
        raise refusal from None
    if number.extension or not phonenumbers.is_valid_number(number):
        raise refusal
    return PhoneNumber(
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        phonenumbers.region_code_for_number(number) or "001",
        f"+{number.country_code}",
    )
