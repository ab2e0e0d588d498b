"""Decoy users: the same on every machine, what our server would have stored, and nobody's copy."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.lifecycle.revise import TRANSITIONS
from registry.lifecycle.upload_rules import CollectionPolicy, UploadedKey, check_together, judge_keys
from registry.protocol.decoys import (
    ASSUMED_ONSET_DAYS,
    MAX_AGE_INTERVALS,
    MAX_ONSET_DAYS,
    DecoyUser,
    decoy_count,
    decoy_keys,
    draw_decoys,
    window_intervals,
)
from registry.protocol.encoding import encode_base64
from registry.protocol.intervals import INTERVALS_PER_DAY, day_start, seconds_at
from registry.protocol.keys import ReportType, TemporaryExposureKey, check_key
from registry.protocol.population import WHOLE, DecoyPolicy, Distribution, NewestKey, PopulationModel

MODEL = PopulationModel()
SEED = bytes(range(32))
NOON = 1_781_524_800  # 2026-06-15T12:00:00Z
SLOT = window_intervals(NOON - 4 * 3600, NOON)

seeds = st.binary(min_size=32, max_size=32)
windows = st.builds(
    lambda end, hours: window_intervals(end * 3600 - hours * 3600, end * 3600),
    st.integers(490_000, 500_000),
    st.sampled_from([1, 4, 24, 100]),
)


def users(
    count: int, seed: bytes = SEED, *, model: PopulationModel = MODEL, uploaded: range = SLOT
) -> list[DecoyUser]:
    return draw_decoys(seed, count, regions=["XA"], uploaded=uploaded, model=model)


def spelled(user: DecoyUser) -> str:
    """All of a user in plain numbers."""

    def of(keys: Iterable[TemporaryExposureKey]) -> str:
        return ";".join(
            f"{key.key_data.hex()},{key.rolling_start_interval_number},{key.rolling_period},"
            f"{key.transmission_risk_level},{int(key.report_type)},{key.days_since_onset_of_symptoms}"
            for key in keys
        )

    revision = f"{user.revision.at}|{of(user.revision.keys)}" if user.revision else ""
    return f"{user.uploaded}|{int(user.traveler)}|{of(user.keys)}|{revision}"


# ---------------------------------------------------------------- one seed, one crowd


def test_a_seed_means_the_same_users_for_ever() -> None:
    """Pinned: an auditor must find the decoys of a batch again years later, on another machine."""
    digest = hashlib.sha256("\n".join(map(spelled, users(300))).encode()).hexdigest()
    assert digest == "0a5ee9fb67d19518ea48f73468763f07b856c4bf8a6385bae3ab4dbf784d24a3"


def test_a_user_can_be_made_by_hand_from_what_is_written_down() -> None:
    name = b"CN,XA\n" + (5).to_bytes(4, "big")
    block = hmac.digest(SEED, b"positive-key-registry decoy user v1\n" + name + bytes(4), "sha256")
    draws = [int.from_bytes(block[2 * n : 2 * n + 2], "big") for n in range(11)]
    uploaded = SLOT[draws[7] * len(SLOT) // 65_536]
    made = draw_decoys(SEED, 6, regions=["XA", "CN"], uploaded=SLOT, model=MODEL)[5]

    assert made.uploaded == uploaded
    assert made.traveler == (draws[6] < 1_311)
    count, newest = MODEL.daily_keys.at(draws[0]), MODEL.newest_key.at(draws[1])
    assert len(made.keys) == count
    assert made.keys[0].rolling_start_interval_number == day_start(uploaded) - (144 if newest == 0 else 0)
    for number, key in enumerate(made.keys):
        label = b"positive-key-registry decoy key v1\n" + name + number.to_bytes(4, "big")
        assert key.key_data == hmac.digest(SEED, label, "sha256")[:16]


@given(seeds, st.integers(0, 8), st.integers(0, 8), windows)
def test_more_users_begin_with_the_same_ones(seed: bytes, fewer: int, more: int, uploaded: range) -> None:
    assert users(fewer + more, seed, uploaded=uploaded)[:fewer] == users(fewer, seed, uploaded=uploaded)


def test_another_seed_and_another_set_of_regions_are_other_users() -> None:
    sets = (["XA"], ["XA-01"], ["XA", "XA-01"])
    drawn = [decoy_keys(seed, 9, regions=regions, uploaded=SLOT, model=MODEL)
             for seed in (SEED, bytes(32)) for regions in sets]  # fmt: skip
    assert len(frozenset().union(*drawn)) == sum(map(len, drawn))
    assert draw_decoys(SEED, 3, regions=["XA-01", "XA", "XA"], uploaded=SLOT, model=MODEL) == draw_decoys(
        SEED, 3, regions=["XA", "XA-01"], uploaded=SLOT, model=MODEL
    )


def test_an_auditor_who_has_the_seed_names_every_key() -> None:
    named = decoy_keys(SEED, 40, regions=["XA"], uploaded=SLOT, model=MODEL)
    assert named == {key.key_data for user in users(40) for key in user.keys}


def test_what_cannot_be_drawn_is_refused() -> None:
    for seed, regions, uploaded in (
        (b"short", ["XA"], SLOT),
        (SEED, [], SLOT),
        (SEED, ["xa\n"], SLOT),
        (SEED, ["XA"], range(0)),
    ):
        with pytest.raises(Malformed):
            draw_decoys(seed, 1, regions=regions, uploaded=uploaded, model=MODEL)
    with pytest.raises(Malformed):
        window_intervals(NOON, NOON)


def test_a_window_shorter_than_an_interval_has_one() -> None:
    assert list(window_intervals(NOON - 60, NOON)) == [NOON // 600 - 1]
    assert list(window_intervals(NOON, NOON + 1)) == [NOON // 600]


# ---------------------------------------------------------------- how many


@given(seeds, st.integers(0, 60), st.integers(0, 20))
def test_the_draw_beyond_the_floor_does_not_depend_on_the_people(seed: bytes, real: int, floor: int) -> None:
    policy = DecoyPolicy(floor, MODEL)
    extra = decoy_count(seed, ["XA"], floor, policy)
    assert extra in MODEL.extra_users.weights
    assert decoy_count(seed, ["XA"], real, policy) == max(0, floor - real) + extra


def test_it_is_drawn_above_the_floor_too_and_as_published() -> None:
    drawn = Counter(
        decoy_count(number.to_bytes(32, "big"), ["XA"], 500, DecoyPolicy()) for number in range(4_000)
    )
    for value in (0, 1, 5, 10, 20):
        expected = 4_000 * MODEL.extra_users.share(value)
        assert abs(drawn[value] - expected) < 5 * expected**0.5


# ---------------------------------------------------------------- what the server would have stored


def test_the_limits_are_those_of_uploads() -> None:
    policy = CollectionPolicy()
    assert policy.max_onset_days == MAX_ONSET_DAYS
    assert policy.max_age_intervals == MAX_AGE_INTERVALS
    assert policy.assumed_onset_days == ASSUMED_ONSET_DAYS


WIDE = replace(MODEL, onset_days_before_upload=Distribution({0: 20_000, 9: 20_000, 19: 15_536, 28: 10_000}))


@given(seeds, windows, st.sampled_from([MODEL, WIDE]))
def test_every_user_is_one_that_the_server_would_have_stored_just_so(
    seed: bytes, uploaded: range, model: PopulationModel
) -> None:
    for user in users(12, seed, model=model, uploaded=uploaded):
        assert user.uploaded in uploaded
        first = user.keys[0]
        onset_day = first.rolling_start_interval_number // 144 - (first.days_since_onset_of_symptoms or 0)
        findings = judge_keys(
            [
                UploadedKey(
                    encode_base64(key.key_data),
                    key.rolling_start_interval_number,
                    key.rolling_period,
                    key.transmission_risk_level,
                )
                for key in user.keys
            ],
            report_type=first.report_type,
            onset=onset_day * INTERVALS_PER_DAY,
            policy=CollectionPolicy(),
            now=seconds_at(user.uploaded),
        )
        # A risk of 0 is what the server leaves as it is only for self-reports.
        assert findings.accepted == user.keys
        assert (findings.error, findings.warnings) == ("", ())
        check_together(user.keys, CollectionPolicy())


@given(seeds, windows)
def test_whole_days_but_for_a_newest_key_that_was_cut_at_the_upload(seed: bytes, uploaded: range) -> None:
    for user in users(12, seed, uploaded=uploaded):
        starts = [key.rolling_start_interval_number for key in user.keys]
        assert all(start % INTERVALS_PER_DAY == 0 for start in starts)
        assert all(one - other == INTERVALS_PER_DAY for one, other in pairwise(starts))
        newest, *others = user.keys
        if newest.rolling_period != INTERVALS_PER_DAY:
            assert newest.end_interval_number == user.uploaded + 1
        assert {key.rolling_period for key in others} <= {INTERVALS_PER_DAY}


def test_an_onset_of_today_that_has_not_come_yet_is_assumed_four_days_ago() -> None:
    model = replace(MODEL, onset_not_given=0, onset_days_before_upload=Distribution({0: WHOLE}))
    midnight = day_start(NOON // 600)
    for at, lag in ((midnight, 4), (midnight + 1, 0)):
        (user,) = users(1, model=model, uploaded=range(at, at + 1))
        key = user.keys[0]
        assert (
            at // 144 - (key.rolling_start_interval_number // 144 - key.days_since_onset_of_symptoms) == lag
        )


def test_whoever_has_no_key_left_is_drawn_again() -> None:
    model = replace(
        MODEL,
        onset_not_given=0,
        daily_keys=Distribution({1: WHOLE}),
        onset_days_before_upload=Distribution({2: WHOLE // 2, 28: WHOLE // 2}),
    )
    assert {len(user.keys) for user in users(200, model=model)} == {1}


# ---------------------------------------------------------------- revisions


@given(seeds)
def test_revisions_follow_the_contract_and_come_after_the_upload(seed: bytes) -> None:
    often = {
        ReportType.CONFIRMED_TEST: Distribution({ReportType.REVOKED: WHOLE}),
        ReportType.CONFIRMED_CLINICAL_DIAGNOSIS: Distribution({ReportType.CONFIRMED_TEST: WHOLE}),
        ReportType.SELF_REPORT: Distribution(
            {ReportType.CONFIRMED_CLINICAL_DIAGNOSIS: WHOLE // 2, ReportType.REVOKED: WHOLE // 2}
        ),
    }
    types = Distribution({1: 20_000, 2: 20_000, 3: 25_536})
    for user in users(20, seed, model=replace(MODEL, report_types=types, revisions=often)):
        revision = user.revision
        assert revision is not None
        assert user.uploaded < revision.at <= user.uploaded + 7 * INTERVALS_PER_DAY
        before = {key.key_data: key for key in user.keys}
        (to,) = {key.report_type for key in revision.keys}
        assert to == ReportType.REVOKED or to in TRANSITIONS[user.keys[0].report_type]
        for key in revision.keys:
            check_key(key)
            old = before[key.key_data]
            assert replace(key, report_type=old.report_type, days_since_onset_of_symptoms=0) == replace(
                old, days_since_onset_of_symptoms=0
            )
            assert abs(key.days_since_onset_of_symptoms or 0) <= MAX_ONSET_DAYS
        if to == ReportType.REVOKED:  # a recall
            assert len(revision.keys) == len(user.keys)
            assert all(
                key.days_since_onset_of_symptoms == before[key.key_data].days_since_onset_of_symptoms
                for key in revision.keys
            )


def test_an_onset_that_nobody_stated_is_assumed_anew_with_another_result() -> None:
    model = replace(
        MODEL,
        onset_not_given=WHOLE,
        report_types=Distribution({ReportType.SELF_REPORT: WHOLE}),
        revisions={
            **MODEL.revisions,
            ReportType.SELF_REPORT: Distribution({ReportType.CONFIRMED_TEST: WHOLE}),
        },
        revision_delay_days=Distribution({3: WHOLE}),
    )
    for user in users(30, model=model):
        assert user.revision is not None
        key = user.revision.keys[0]
        day = key.rolling_start_interval_number // INTERVALS_PER_DAY
        assert key.days_since_onset_of_symptoms == day - (user.revision.at // INTERVALS_PER_DAY - 4)
        assert all(key.end_interval_number >= user.revision.at - 15 * 144 for key in user.revision.keys)


# ---------------------------------------------------------------- as published


def test_users_are_as_often_so_as_the_model_says() -> None:
    drawn = users(4_000)

    def holds(count: int, share: float) -> bool:
        return abs(count - 4_000 * share) < 5 * (4_000 * share) ** 0.5

    today = day_start(NOON // 600)
    newest = Counter((user.keys[0].rolling_start_interval_number == today, user.keys[0].rolling_period == 144)
                     for user in drawn)  # fmt: skip
    assert holds(newest[True, False], MODEL.newest_key.share(NewestKey.TODAY_CUT))
    assert holds(newest[True, True], MODEL.newest_key.share(NewestKey.TODAY_WHOLE))
    assert holds(sum(len(user.keys) == 14 for user in drawn), MODEL.daily_keys.share(14))
    assert holds(sum(user.traveler for user in drawn), MODEL.travelers / WHOLE)
    types = Counter(user.keys[0].report_type for user in drawn)
    for report_type in ReportType:
        assert holds(types[report_type], MODEL.report_types.share(report_type)) or not types[report_type]
    onsets = Counter(
        today // 144 - user.keys[0].rolling_start_interval_number // 144
        + (user.keys[0].days_since_onset_of_symptoms or 0) for user in drawn
    )  # fmt: skip
    assumed = MODEL.onset_not_given / WHOLE
    for lag in (0, 2, 4, 7):
        share = (1 - assumed) * MODEL.onset_days_before_upload.share(lag) + assumed * (lag == 4)
        assert holds(onsets[lag], share), lag
    assert len({user.uploaded for user in drawn}) == len(SLOT)
