"""Keys by columns: the same keys, the same order and the same refusals as object by object."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.key_rows import (
    KEY_ROW,
    NO_ONSET,
    DistinctKeys,
    KeyRows,
    check_canonical_order,
    check_key_rows,
    check_revised_rows,
    in_canonical_order,
    key_rows,
    key_rows_from_columns,
    newest_end,
    no_rows,
    temporary_exposure_keys,
)
from registry.protocol.keys import (
    KeyTimes,
    ReportType,
    TemporaryExposureKey,
    canonical_order,
    check_published_key,
)
from tests.protocol.strategies import distinct_keys, exposure_keys, few_kinds_of_keys

KEY = TemporaryExposureKey(bytes(range(16)), 2_642_976, 144, 2, ReportType.CONFIRMED_TEST, -3)


def refusal(check: Callable[[], Any]) -> str | None:
    """What the check says against it, or None."""
    try:
        check()
    except Malformed as error:
        return str(error)
    return None


# ---------------------------------------------------------------- there and back


@given(st.lists(exposure_keys()))
def test_rows_say_what_the_keys_say(keys: list[TemporaryExposureKey]) -> None:
    rows = key_rows(keys)
    assert rows.dtype == KEY_ROW
    assert temporary_exposure_keys(rows) == keys


def test_a_row_takes_24_bytes() -> None:
    assert KEY_ROW.itemsize == 24


def test_zeros_at_a_key_s_end_stay() -> None:
    key = replace(KEY, key_data=b"\x01" + bytes(15))
    assert temporary_exposure_keys(key_rows([key])) == [key]


def test_no_onset_is_not_an_onset_of_minus_128() -> None:
    assert (
        temporary_exposure_keys(key_rows([replace(KEY, days_since_onset_of_symptoms=None)]))[
            0
        ].days_since_onset_of_symptoms
        is None
    )
    with pytest.raises(Malformed, match="onset"):
        key_rows([replace(KEY, days_since_onset_of_symptoms=NO_ONSET)])


numbers = st.integers(-3, 300) | st.integers(-(2**33), 2**33)


@given(
    st.lists(
        st.builds(
            TemporaryExposureKey,
            key_data=st.binary(min_size=15, max_size=17),
            rolling_start_interval_number=numbers,
            rolling_period=numbers,
            transmission_risk_level=numbers,
            report_type=st.sampled_from(ReportType),
            days_since_onset_of_symptoms=st.none() | numbers,
        )
        | exposure_keys(),
        min_size=1,
        max_size=3,
    )
)
def test_no_key_that_is_refused_alone_becomes_a_row(keys: list[TemporaryExposureKey]) -> None:
    refusals = [refusal(lambda key=key: check_published_key(key)) for key in keys]  # type: ignore[misc]
    first = next((words for words in refusals if words is not None), None)
    assert refusal(lambda: key_rows(keys)) == first


@pytest.mark.parametrize("report_type", [-1, 6, 255])
def test_a_report_type_that_there_is_not_becomes_no_row(report_type: int) -> None:
    with pytest.raises(Malformed, match="report type"):
        key_rows_from_columns([bytes(16)], [0], [144], [0], [report_type], [None])


def test_a_number_beyond_all_bounds_is_malformed_and_no_fault_of_numpy() -> None:
    with pytest.raises(Malformed):
        key_rows_from_columns([bytes(16)], [2**70], [144], [0], [0], [None])


# ---------------------------------------------------------------- checks


@st.composite
def odd_rows(draw: st.DrawFn) -> KeyRows:
    """Any rows that memory can hold, most of them with a number that no key has."""
    content = draw(st.lists(st.binary(min_size=24, max_size=24), min_size=1, max_size=3))
    rows = np.frombuffer(b"".join(content), KEY_ROW).copy()
    if draw(st.booleans()):
        rows["report_type"] %= 6
        rows["rolling_period"] = rows["rolling_period"] % 146
        rows["transmission_risk_level"] %= 10
        rows["days_since_onset_of_symptoms"] = rows["days_since_onset_of_symptoms"] % 16
    return rows


@given(odd_rows(), st.integers(0, 2**31), st.integers(0, 2**31))
def test_rows_are_refused_as_their_keys_are(rows: KeyRows, newest_start: int, oldest_end: int) -> None:
    times = KeyTimes(newest_start, oldest_end)
    first = None
    for place in range(len(rows)):
        if rows["report_type"][place] > max(ReportType):
            first = f"there is no report type {rows['report_type'][place]}"
        else:
            (key,) = temporary_exposure_keys(rows[place : place + 1])
            first = refusal(lambda key=key: check_published_key(key, times))  # type: ignore[misc]
        if first is not None:
            break
    assert refusal(lambda: check_key_rows(rows, times)) == first


def test_times_of_a_window() -> None:
    """Future counts from now, age from the window's end."""
    noon = 1_781_524_800
    times = KeyTimes.of_window(noon, now=noon + 86_400)
    assert times == KeyTimes(newest_start=(noon + 86_400) // 600, oldest_end=noon // 600 - 28 * 144)
    bounds = [
        replace(KEY, rolling_start_interval_number=times.newest_start),
        replace(KEY, rolling_start_interval_number=times.oldest_end - 144),
    ]
    check_key_rows(key_rows(bounds), times)
    for past in (times.newest_start + 1, times.oldest_end - 145):
        with pytest.raises(Malformed):
            check_key_rows(key_rows([replace(KEY, rolling_start_interval_number=past)]), times)


def test_a_revised_key_says_what_it_became() -> None:
    check_revised_rows(key_rows([replace(KEY, report_type=ReportType.REVOKED)]))
    with pytest.raises(Malformed):
        check_revised_rows(key_rows([KEY, replace(KEY, report_type=ReportType.UNKNOWN)]))


@given(st.lists(exposure_keys()))
def test_the_newest_end(keys: list[TemporaryExposureKey]) -> None:
    assert newest_end(key_rows(keys)) == max((key.end_interval_number for key in keys), default=None)


# ---------------------------------------------------------------- order


@given(st.lists(exposure_keys() | few_kinds_of_keys()))
def test_there_is_one_order_for_keys_and_rows(keys: list[TemporaryExposureKey]) -> None:
    assert temporary_exposure_keys(in_canonical_order(key_rows(keys))) == canonical_order(keys)


@given(distinct_keys(), st.integers(1, 10))
def test_what_is_in_order_passes_in_chunks_of_any_size(keys: list[TemporaryExposureKey], size: int) -> None:
    rows = in_canonical_order(key_rows(keys))
    last = no_rows()
    for first in range(0, len(rows), size):
        chunk = rows[first : first + size]
        check_canonical_order(chunk, after=last)
        last = chunk


@given(distinct_keys(), st.data())
def test_two_rows_that_changed_places_are_seen(keys: list[TemporaryExposureKey], data: st.DataObject) -> None:
    rows = in_canonical_order(key_rows(keys))
    if len(rows) < 2:
        return
    first = data.draw(st.integers(0, len(rows) - 2))
    second = data.draw(st.integers(first + 1, len(rows) - 1))
    rows[[first, second]] = rows[[second, first]]
    with pytest.raises(Malformed, match="canonical order"):
        check_canonical_order(rows)
    by_itself = [
        refusal(lambda at=at: check_canonical_order(rows[at : at + 1], after=rows[at - 1 : at]))  # type: ignore[misc]
        for at in range(1, len(rows))
    ]
    assert any(by_itself)


@pytest.mark.parametrize("risk", [KEY.transmission_risk_level, 5])
def test_a_key_that_stands_next_to_itself_is_seen_whatever_its_risk(risk: int) -> None:
    rows = key_rows([KEY, replace(KEY, transmission_risk_level=risk)])
    with pytest.raises(Malformed, match="twice"):
        check_canonical_order(rows)
    with pytest.raises(Malformed, match="twice"):
        check_canonical_order(rows[1:], after=rows[:1])


@given(st.lists(few_kinds_of_keys(), max_size=30), st.integers(1, 5))
def test_a_key_that_comes_again_is_seen_in_whatever_chunk(
    keys: list[TemporaryExposureKey], size: int
) -> None:
    distinct = DistinctKeys()
    rows = key_rows(keys)
    for first in range(0, len(rows), size):
        distinct.add(rows[first : first + size])
    expected = None if len({key.key_data for key in keys}) == len(keys) else "a key stands twice in the file"
    assert refusal(distinct.check) == expected
