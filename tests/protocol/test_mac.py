"""The upload HMAC: published answers, and what an app's certificate may and may not be stretched to."""

import hmac
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.protocol.mac import MacSegment, mac_matches, upload_mac

# exposure-notifications-server, documentation of the HMAC calculation: two keys under one secret.
SECRET = bytes(range(1, 17))
FIRST, SECOND = "z2Cx9hdz2SlxZ8GEgqTYpA==", "dPCphLzfG4uzXneNimkPRQ=="
WITH_RISKS = "2u1nHt5WWurJytFLF3xitNzM99oNrad2y4YGOL53AeY="
WITHOUT_RISKS = "mFNI9zhTA17n4ndd1Vu5tsn4XQX0gPrIKyjeh/9noUE="
THREE_PARTS = "J9S7xVebH/66dm14wGsIcAnSUR3PHD4NtDQEOGZbDUo="


def two_keys(first_risk: int, second_risk: int) -> list[MacSegment]:
    return [MacSegment(FIRST, 1, 144, first_risk), MacSegment(SECOND, 144, 144, second_risk)]


def test_published_answers() -> None:
    assert b64encode(upload_mac(SECRET, two_keys(3, 5))).decode() == WITH_RISKS
    assert b64encode(upload_mac(SECRET, two_keys(0, 0))).decode() == WITHOUT_RISKS
    assert b64encode(upload_mac(SECRET, two_keys(0, 0), with_risk=False)).decode() == THREE_PARTS


@pytest.mark.parametrize(
    ("segments", "mac", "matches"),
    [
        (two_keys(3, 5), WITH_RISKS, True),
        (two_keys(0, 0), WITHOUT_RISKS, True),
        (two_keys(0, 0), THREE_PARTS, True),
        (two_keys(3, 5), THREE_PARTS, False),
        (two_keys(0, 5), THREE_PARTS, False),
        (two_keys(3, 0), THREE_PARTS, False),
        (two_keys(3, 5), WITHOUT_RISKS, False),
        (two_keys(5, 3), WITH_RISKS, False),
        (two_keys(3, 5)[:1], WITH_RISKS, False),
        ([*two_keys(3, 5), MacSegment(FIRST, 1, 144, 3)], WITH_RISKS, False),
        ([], WITH_RISKS, False),
    ],
)
def test_a_mac_names_exactly_these_keys(segments: list[MacSegment], mac: str, matches: bool) -> None:
    assert mac_matches(SECRET, segments, b64decode(mac)) is matches


def test_another_secret_and_a_cut_mac_do_not_match() -> None:
    assert not mac_matches(SECRET + b"\x11", two_keys(3, 5), b64decode(WITH_RISKS))
    assert not mac_matches(SECRET, two_keys(3, 5), b64decode(WITH_RISKS)[:31])
    assert not mac_matches(SECRET, two_keys(3, 5), b"")


def test_the_callers_order_is_left_alone_and_does_not_matter() -> None:
    segments = two_keys(3, 5)
    assert mac_matches(SECRET, segments, b64decode(WITH_RISKS))
    assert segments == two_keys(3, 5)
    assert mac_matches(SECRET, segments[::-1], b64decode(WITH_RISKS))


def test_the_text_counts_as_it_was_sent() -> None:
    """The URL alphabet, or no '=', is the same key but another text, and so another MAC."""
    bare = [MacSegment(FIRST.rstrip("="), 1, 144, 3), MacSegment(SECOND, 144, 144, 5)]
    assert not mac_matches(SECRET, bare, b64decode(WITH_RISKS))


def test_keys_are_sorted_by_the_bytes_of_their_text() -> None:
    """Upper case before lower case: not the order of a dictionary, nor that of the decoded keys."""
    segments = [MacSegment("a", 1, 1, 1), MacSegment("B", 2, 2, 2), MacSegment("+", 3, 3, 3)]
    assert upload_mac(SECRET, segments) == hmac.digest(SECRET, b"+.3.3.3,B.2.2.2,a.1.1.1", "sha256")


def test_a_text_that_no_utf8_can_hold_is_a_mismatch_and_no_crash() -> None:
    assert not mac_matches(SECRET, [MacSegment("\ud800", 1, 144, 0)], b64decode(WITH_RISKS))


uploads = st.lists(
    st.builds(
        MacSegment,
        st.text("ABCDabcd+/=", max_size=6),
        st.integers(0, 300),
        st.integers(0, 144),
        st.integers(0, 8),
    ),
    max_size=5,
    unique_by=lambda segment: segment.key_text,
)


@given(st.binary(min_size=16, max_size=32), uploads, uploads)
def test_the_mac_of_one_upload_is_that_of_no_other(
    secret: bytes, one: list[MacSegment], other: list[MacSegment]
) -> None:
    assert mac_matches(secret, one[::-1], upload_mac(secret, one))
    assert mac_matches(secret, other, upload_mac(secret, one)) == (set(one) == set(other))
