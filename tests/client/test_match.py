"""Matching, rule by rule, on the published GAEN vectors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.match import KnownKey, Outcome, SightingTable, keys_of, match_keys
from registry.client.sightings import Sighting
from registry.protocol.identifiers import (
    associated_encrypted_metadata_key,
    bluetooth_metadata,
    encrypt_metadata,
    rolling_proximity_identifiers,
)
from registry.protocol.intervals import date_of_interval
from registry.protocol.key_rows import key_rows, temporary_exposure_keys
from registry.protocol.keys import ReportType, TemporaryExposureKey

# google/exposure-notifications-internals, TestVectors.java: unix time 1585785600, metadata 40080000.
VECTOR_START = 2642976
VECTOR_KEY = TemporaryExposureKey(
    bytes.fromhex("75c734c6dd1a782de7a965da5eb93125"), VECTOR_START, report_type=ReportType.CONFIRMED_TEST
)
VECTOR_SIGHTINGS = {
    0: ("8be6cd371c5c891604bfbe49df845096", "72033874"),
    1: ("3c9a1de5dd6b02afa7fded7b570b3e56", "c29211b1"),
    71: ("416ffc7a32fcfda9a316d01790e31945", "c122ad68"),
    143: ("f431b62ecf443102ce4ed0407de54bd4", "1215e57e"),
}


def vector_sighting(index: int, *, intervals_late: int = 0, minute: int = 0) -> Sighting:
    """The identifier of the vectors, received in its own interval or another."""
    rpi, aem = VECTOR_SIGHTINGS[index]
    scan = VECTOR_START + index + intervals_late
    return Sighting(bytes.fromhex(rpi), bytes.fromhex(aem), scan * 10 + minute, -60)


def key_with(**changes: object) -> TemporaryExposureKey:
    members = {name: getattr(VECTOR_KEY, name) for name in VECTOR_KEY.__slots__}
    return TemporaryExposureKey(**{**members, **changes})


def match(
    sightings: list[Sighting],
    *keys: TemporaryExposureKey,
    revised: tuple[TemporaryExposureKey, ...] = (),
    known: tuple[KnownKey, ...] = (),
    matched: frozenset[bytes] = frozenset(),
    own: frozenset[bytes] = frozenset(),
) -> Outcome:
    return match_keys(
        keys,
        revised,
        SightingTable(sightings),
        known={key.key_data: key for key in known},
        matched=matched,
        own=own,
    )


@pytest.mark.parametrize("index", VECTOR_SIGHTINGS)
def test_the_published_identifiers_match_their_key(index: int) -> None:
    (exposure,) = match([vector_sighting(index)], VECTOR_KEY).exposures
    assert (exposure.key_data, exposure.sightings) == (VECTOR_KEY.key_data, 1)
    assert exposure.day == date_of_interval(VECTOR_START)
    assert exposure.report_type is ReportType.CONFIRMED_TEST


def test_an_identifier_of_another_key_matches_nothing() -> None:
    other = key_with(key_data=bytes(16))
    outcome = match([vector_sighting(0)], other)
    assert outcome.exposures == ()
    assert outcome.known == ()


@pytest.mark.parametrize(("intervals_late", "counts"), [(-13, False), (-12, True), (12, True), (13, False)])
def test_clocks_may_differ_by_two_hours_and_no_more(intervals_late: int, counts: bool) -> None:
    for index in (1, 71, 143):
        exposures = match([vector_sighting(index, intervals_late=intervals_late)], VECTOR_KEY).exposures
        assert bool(exposures) == counts


@pytest.mark.parametrize(("period", "counts"), [(71, False), (72, True)])
def test_only_identifiers_within_the_rolling_period_expose_but_the_period_is_remembered(
    period: int, counts: bool
) -> None:
    outcome = match([vector_sighting(71)], key_with(rolling_period=period))
    assert bool(outcome.exposures) == counts
    assert [key.rolling_period for key in outcome.known] == [period]


def test_a_key_that_comes_back_with_another_start_or_period_is_skipped() -> None:
    short = match([vector_sighting(71)], key_with(rolling_period=71))
    again = match([vector_sighting(71)], VECTOR_KEY, known=short.known)
    assert (again.exposures, again.skipped) == ((), 1)
    same = match([vector_sighting(1)], key_with(rolling_period=71), known=short.known)
    assert len(same.exposures) == 1


@pytest.mark.parametrize(("minutes", "kept"), [(20, 2), (21, 1), (60, 1)])
def test_a_replay_after_twenty_minutes_is_dropped(minutes: int, kept: int) -> None:
    first = vector_sighting(71)
    replayed = Sighting(first.rpi, first.aem, first.minute + minutes, -40)
    for order in ([first, replayed], [replayed, first]):
        (exposure,) = match(order, VECTOR_KEY).exposures
        assert exposure.sightings == kept


@pytest.mark.parametrize(("power", "counts"), [(-51, False), (-50, True), (20, True), (21, False)])
def test_an_implausible_transmit_power_does_not_count(power: int, counts: bool) -> None:
    (rpi,) = rolling_proximity_identifiers(VECTOR_KEY.key_data, VECTOR_START, 1)
    metadata_key = associated_encrypted_metadata_key(VECTOR_KEY.key_data)
    aem = encrypt_metadata(metadata_key, rpi, bluetooth_metadata(power))
    assert bool(match([Sighting(rpi, aem, VECTOR_START * 10, -60)], VECTOR_KEY).exposures) == counts


def test_metadata_of_another_length_does_not_count() -> None:
    sighting = vector_sighting(0)
    short = Sighting(sighting.rpi, sighting.aem[:3], sighting.minute, sighting.rssi)
    assert match([short], VECTOR_KEY).exposures == ()


def test_recursive_and_revoked_keys_and_ones_own_never_expose() -> None:
    sightings = [vector_sighting(0)]
    assert match(sightings, key_with(report_type=ReportType.RECURSIVE)).exposures == ()
    assert match(sightings, key_with(report_type=ReportType.REVOKED)).exposures == ()
    assert match(sightings, VECTOR_KEY, own=frozenset({VECTOR_KEY.key_data})).exposures == ()


def test_a_key_published_and_revoked_in_one_file_never_counts() -> None:
    revoked = key_with(report_type=ReportType.REVOKED)
    outcome = match([vector_sighting(0)], VECTOR_KEY, revised=(revoked,))
    assert outcome.exposures == ()
    assert outcome.withdrawn == {VECTOR_KEY.key_data}


def test_a_revised_key_changes_the_type_of_a_match_and_is_matched_if_it_was_never_seen() -> None:
    clinical = key_with(report_type=ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
    known = match([vector_sighting(0)], clinical).known
    outcome = match(
        [vector_sighting(0)], revised=(VECTOR_KEY,), known=known, matched=frozenset({VECTOR_KEY.key_data})
    )
    assert outcome.report_types == {VECTOR_KEY.key_data: ReportType.CONFIRMED_TEST}
    assert outcome.exposures == ()
    assert len(match([vector_sighting(0)], revised=(VECTOR_KEY,)).exposures) == 1


def test_a_match_keeps_the_type_it_has_when_the_same_key_is_published_again() -> None:
    outcome = match([vector_sighting(0)], VECTOR_KEY, matched=frozenset({VECTOR_KEY.key_data}))
    assert (outcome.report_types, outcome.exposures) == ({}, ())


def test_sightings_around_midnight_count_for_the_day_of_the_scan() -> None:
    late = vector_sighting(143, intervals_late=3)
    (exposure,) = match([late], VECTOR_KEY).exposures
    assert exposure.day == date_of_interval(VECTOR_START + 146)


@given(
    start=st.integers(0, 5_000_000),
    period=st.integers(1, 144),
    index=st.integers(0, 143),
    late=st.integers(-15, 15),
    key_data=st.binary(min_size=16, max_size=16),
)
def test_a_key_matches_exactly_within_its_period_and_the_tolerance(
    start: int, period: int, index: int, late: int, key_data: bytes
) -> None:
    key = TemporaryExposureKey(key_data, start, period, report_type=ReportType.CONFIRMED_TEST)
    rpi = rolling_proximity_identifiers(key_data, start)[index]
    aem = encrypt_metadata(associated_encrypted_metadata_key(key_data), rpi, bluetooth_metadata(0))
    scan = start + index + late
    if scan < 0:
        return
    outcome = match([Sighting(rpi, aem, scan * 10 + 9, -60)], key)
    assert bool(outcome.exposures) == (index < period and -12 <= late <= 12)
    assert bool(outcome.known) == (-12 <= late <= 12)


@given(st.lists(st.integers(0, 10_000), max_size=30), st.integers(0, 10_000), st.integers(0, 300))
def test_looking_for_sightings_in_a_stretch_of_time_agrees_with_counting(
    intervals: list[int], first: int, length: int
) -> None:
    table = SightingTable(
        Sighting(number.to_bytes(16, "big"), bytes(4), interval * 10, -60)
        for number, interval in enumerate(intervals)
    )
    expected = any(first <= interval < first + length for interval in intervals)
    assert table.any_between(first, first + length) == expected
    assert len(table) == len(intervals)


# Rows that can mean nothing are passed over before they are keys


STARTS = [VECTOR_START + 144 * day + part for day in range(-3, 4) for part in (0, 71, -13, -12, -11)]


@st.composite
def published(draw: st.DrawFn) -> TemporaryExposureKey:
    """The vectors' key or another, in or beside the time of its sightings, with any report type."""
    data = draw(st.sampled_from([VECTOR_KEY.key_data, VECTOR_KEY.key_data[:8] + bytes(8), bytes(16)]))
    return TemporaryExposureKey(
        data,
        draw(st.sampled_from(STARTS)),
        draw(st.sampled_from([1, 144])),
        report_type=draw(st.sampled_from(ReportType)),
    )


@given(
    st.lists(published(), max_size=6),
    st.lists(published(), max_size=6),
    st.sets(st.sampled_from(sorted(VECTOR_SIGHTINGS))),
    st.booleans(),
    st.booleans(),
)
def test_what_is_passed_over_would_have_meant_nothing(
    keys: list[TemporaryExposureKey],
    revised: list[TemporaryExposureKey],
    indexes: set[int],
    is_known: bool,
    is_matched: bool,
) -> None:
    table = SightingTable([vector_sighting(index) for index in indexes])
    known = {VECTOR_KEY.key_data: KnownKey(VECTOR_KEY.key_data, VECTOR_START, 144, revoked=False)}
    told = {
        "known": known if is_known else {},
        "matched": {VECTOR_KEY.key_data} if is_matched else set(),
        "own": {bytes(16)},
    }
    changed_by = {*told["known"], *told["matched"]}
    rows = [table.worth_matching(key_rows(part), changed_by) for part in (keys, revised)]
    pruned = match_keys(keys_of(rows[0]), keys_of(rows[1]), table, **told)
    full = match_keys(keys, revised, table, **told)
    # Of a key that comes twice in a file, at other times, only the one that meant something may be seen.
    assert pruned.skipped <= full.skipped
    assert replace(pruned, skipped=0) == replace(full, skipped=0)


@given(st.lists(published(), max_size=20))
def test_only_keys_whose_time_holds_a_sighting_are_looked_at(keys: list[TemporaryExposureKey]) -> None:
    table = SightingTable([vector_sighting(71)])
    scan = VECTOR_START + 71
    kept = temporary_exposure_keys(table.worth_matching(key_rows(keys), ()))
    start = np.array([key.rolling_start_interval_number for key in keys], np.int64)
    assert kept == [
        key
        for key, first in zip(keys, start, strict=True)
        if first - 12 <= scan < first + 156 or key.report_type is ReportType.REVOKED
    ]
