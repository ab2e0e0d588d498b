"""Keys: what the format admits, and an order that shows nothing about people."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.keys import REPORT_TYPES, ReportType, TemporaryExposureKey, canonical_order, check_key
from tests.protocol.strategies import exposure_keys

KEY = TemporaryExposureKey(bytes(range(16)), 2642976)


def test_a_key_is_valid_for_a_day_unless_it_says_otherwise() -> None:
    assert KEY.rolling_period == 144
    assert KEY.end_interval_number == 2642976 + 144


def test_words_of_the_certificate_map_to_the_numbers_of_the_format() -> None:
    assert {word: int(kind) for word, kind in REPORT_TYPES.items()} == {
        "confirmed": 1,
        "likely": 2,
        "user-report": 3,
        "negative": 5,
    }


@given(exposure_keys())
def test_a_well_formed_key_passes(key: TemporaryExposureKey) -> None:
    check_key(key)


@pytest.mark.parametrize(
    "bad",
    [
        replace(KEY, key_data=bytes(15)),
        replace(KEY, key_data=bytes(17)),
        replace(KEY, key_data=b""),
        replace(KEY, rolling_period=0),
        replace(KEY, rolling_period=145),
        replace(KEY, rolling_period=-1),
        replace(KEY, transmission_risk_level=-1),
        replace(KEY, transmission_risk_level=9),
        replace(KEY, rolling_start_interval_number=-1),
        replace(KEY, rolling_start_interval_number=2**31),
    ],
)
def test_outside_the_format(bad: TemporaryExposureKey) -> None:
    with pytest.raises(Malformed):
        check_key(bad)


@given(st.lists(exposure_keys(), max_size=20), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_who_came_first(
    keys: list[TemporaryExposureKey], shuffler: random.Random
) -> None:
    shuffled = list(keys)
    shuffler.shuffle(shuffled)
    assert canonical_order(shuffled) == canonical_order(keys)
    assert sorted(map(hash, shuffled)) == sorted(map(hash, canonical_order(keys)))


def test_the_order_is_start_period_type_onset_key() -> None:
    expected = [
        TemporaryExposureKey(b"\xff" * 16, 1, 144),
        TemporaryExposureKey(b"\xfe" * 16, 2, 143),
        TemporaryExposureKey(b"\xfd" * 16, 2, 144, report_type=ReportType.CONFIRMED_TEST),
        TemporaryExposureKey(b"\xfc" * 16, 2, 144, 0, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS),
        TemporaryExposureKey(b"\xfb" * 16, 2, 144, 0, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS, -14),
        TemporaryExposureKey(b"\x01" * 16, 2, 144, 0, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS, 0),
        TemporaryExposureKey(b"\x02" * 16, 2, 144, 0, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS, 0),
    ]
    assert canonical_order(reversed(expected)) == expected


def test_ordering_leaves_the_callers_list_alone() -> None:
    keys = [replace(KEY, rolling_start_interval_number=n) for n in (3, 1, 2)]
    canonical_order(keys)
    assert [key.rolling_start_interval_number for key in keys] == [3, 1, 2]
