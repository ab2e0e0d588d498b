"""Templates of SMS: what may stand in one, what is put into it, and how many SMS it takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.protocol.sms_text import (
    DEFAULT_TEMPLATES,
    LONGEST_TEXT,
    PLACEHOLDERS,
    Segments,
    SmsValues,
    TextFault,
    faults_of,
    fill,
    sample_values,
    segments_of,
    values_of,
)

SAMPLE = sample_values("XA", "https://keys.health.example", 86_400)


@pytest.mark.parametrize("language", DEFAULT_TEMPLATES)
def test_the_texts_that_come_with_it_can_be_sent_and_hold_link_and_spoken_code(language: str) -> None:
    template = DEFAULT_TEMPLATES[language]
    assert faults_of(template, SAMPLE) == []
    text = fill(template, SAMPLE)
    assert SAMPLE.link in text
    assert SAMPLE.code in text
    assert "24" in text
    assert segments_of(text).count <= 3
    assert segments_of(text).alphabet == {"zh": "UCS-2", "en": "GSM-7"}[language]


def test_every_placeholder_is_filled_in_and_time_is_rounded_down() -> None:
    values = values_of(
        region="CN", address="https://a.example", code="1" * 15, link_code="A" * 26, expires_at=8099, now=0.5
    )
    assert fill("|".join(f"[{name}]" for name in PLACEHOLDERS), values) == (
        f"CN|{'1' * 15}|134|{'A' * 26}|2|https://a.example/v?c={'A' * 26}"
    )
    assert "1111" not in repr(values)
    assert "AAAA" not in repr(values)


def test_what_was_put_in_is_no_placeholder() -> None:
    values = SmsValues("[code]", "1", "2", "3", 60)
    assert fill("[region] [code]", values) == "[code] 1"


@pytest.mark.parametrize(
    ("template", "faults"),
    [
        ("", [TextFault.EMPTY]),
        (" \n", [TextFault.EMPTY]),
        ("Your code is [code]", []),
        ("[link] or [code]", []),
        ("[健康] [Code] [code]", []),
        ("Come to us", [TextFault.NO_WAY_IN]),
        ("Good for [expires] minutes", [TextFault.NO_WAY_IN]),
        ("[code] [code]", [TextFault.TWICE]),
        ("[code] [kode]", [TextFault.UNKNOWN]),
        ("[code] [enslink]", [TextFault.UNKNOWN]),
        ("[code]" + "x" * 795, [TextFault.TOO_LONG]),
        ("[code]" + "[region]" * 99, []),
        ("[code]\x00", [TextFault.NO_TEXT]),
        ("[code]\u202e", [TextFault.NO_TEXT]),
        ("[kode]" + "x" * 800, [TextFault.TOO_LONG, TextFault.NO_WAY_IN, TextFault.UNKNOWN]),
    ],
)
def test_what_cannot_be_sent_is_told_before_anybody_sends_it(template: str, faults: list[TextFault]) -> None:
    assert faults_of(template, SAMPLE) == faults


def test_a_text_that_grows_too_long_is_told() -> None:
    template = "[link] [longcode]" + "x" * 700
    longer = sample_values("XA", "https://" + "a" * 200 + ".example", 86_400)
    assert faults_of(template, SAMPLE) == []
    assert faults_of(template, longer) == [TextFault.TOO_LONG_WHEN_FILLED]
    assert len(fill(template, longer)) > LONGEST_TEXT


@pytest.mark.parametrize(
    ("text", "alphabet", "count"),
    [
        ("a" * 160, "GSM-7", 1),
        ("a" * 161, "GSM-7", 2),
        ("a" * 306, "GSM-7", 2),
        ("a" * 307, "GSM-7", 3),
        ("a" * 158 + "€", "GSM-7", 1),
        ("a" * 159 + "€", "GSM-7", 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 3),
        ("a" * 152 + "€" + "a" * 151, "GSM-7", 2),
        ("码" * 70, "UCS-2", 1),
        ("码" * 71, "UCS-2", 2),
        ("a" * 71 + "码", "UCS-2", 2),
        ("码" * 134, "UCS-2", 2),
        ("码" * 135, "UCS-2", 3),
        ("😷" * 35, "UCS-2", 1),
        ("😷" * 66, "UCS-2", 2),
        ("😷" * 67, "UCS-2", 3),
        ("“a”", "UCS-2", 1),
        ("", "GSM-7", 1),
    ],
)
def test_segments_are_counted_as_networks_cut_them(text: str, alphabet: str, count: int) -> None:
    assert segments_of(text) == Segments(alphabet, count)


@given(st.text(max_size=1000))
def test_a_longer_text_never_takes_fewer_segments(text: str) -> None:
    assert segments_of(text + "a").count >= segments_of(text).count


@given(st.lists(st.sampled_from([*(f"[{name}]" for name in PLACEHOLDERS), "x", "码", " "]), max_size=40))
def test_a_template_without_faults_can_be_filled_and_fits(parts: list[str]) -> None:
    template = "".join(parts)
    if not faults_of(template, SAMPLE):
        assert len(fill(template, SAMPLE)) <= LONGEST_TEXT
        assert "[" not in fill(template, SAMPLE)
