"""What is a telephone number, and what it tells of itself."""

import pytest

from registry.delivery.phone_number import read_phone_number
from registry.delivery.sms import Sms
from registry.errors import Refusal, RefusalCode


@pytest.mark.parametrize(
    "text",
    [
        "+8613800138000",
        "138 0013 8000",
        "138-0013-8000",
        " 13800138000",
        "0086 13800138000",
        "＋86 13800138000",
    ],
)
def test_it_is_read_as_people_write_it(text: str) -> None:
    number = read_phone_number(text, "CN-HB")
    assert (number.e164, number.country, number.calling_code) == ("+8613800138000", "CN", "+86")


def test_a_national_number_needs_a_country_that_has_numbers() -> None:
    assert read_phone_number("201 555 0123", "US").e164 == "+12015550123"
    assert read_phone_number("+1 (201) 555-0123", "XA").country == "US"
    with pytest.raises(Refusal):
        read_phone_number("201 555 0123", "XA")


@pytest.mark.parametrize(
    "text",
    ["", "+x", "110", "+861380013800", "+86 13800138000 ext. 4", "+86 13800138000;ext=4", "1-800-FLOWERS",
     "+0" * 30, "+999 123456789", "+86138001380001380013800"],
)  # fmt: skip
def test_what_is_none_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_phone_number(text, "CN")
    assert refused.value.code is RefusalCode.PHONE_NUMBER_INVALID
    assert not text or text not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_it_never_prints_itself() -> None:
    number = read_phone_number("+8613800138000", "CN")
    for printed in (repr(number), str(number), f"{number}", repr(Sms(number, "your code is 123"))):
        assert "138001" not in printed
        assert "your code" not in printed
