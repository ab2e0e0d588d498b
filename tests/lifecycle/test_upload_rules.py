"""Every rule that an upload's keys are judged by, with its consequence. No database."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.upload_rules import (
    CollectionPolicy,
    KeyFindings,
    Upload,
    UploadedKey,
    check_together,
    judge_keys,
    onset_of,
)
from registry.protocol.certificate import VerificationCertificate
from registry.protocol.keys import ReportType, TemporaryExposureKey

NOW = 1_781_524_800.0  # 2026-06-15T12:00:00Z
PRESENT = int(NOW) // 600
TODAY = PRESENT // 144 * 144
POLICY = CollectionPolicy()
UPLOAD = Upload("", (), "", "", None, False, "")
CERTIFICATE = VerificationCertificate("i", "a", "confirmed", "", None, 0, 0, 0)


def uploaded(number: int = 0, start: int = TODAY - 144, period: int = 144, risk: int = 0) -> UploadedKey:
    """A key that is right unless told otherwise."""
    return UploadedKey(base64.b64encode(number.to_bytes(16, "big")).decode(), start, period, risk)


def judged(*keys: UploadedKey, onset: int = TODAY - 4 * 144) -> KeyFindings:
    """The findings about these keys."""
    return judge_keys(keys, report_type=ReportType.CONFIRMED_TEST, onset=onset, policy=POLICY, now=NOW)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (replace(uploaded(), key_text="AAAA"), "'key' must be 16 bytes in base64"),
        (replace(uploaded(), key_text=""), "'key' must be 16 bytes in base64"),
        (replace(uploaded(), key_text="*" * 24), "'key' must be 16 bytes in base64"),
        (uploaded(period=0), "'rollingPeriod' must be 1 to 144"),
        (uploaded(period=145), "'rollingPeriod' must be 1 to 144"),
        (uploaded(risk=9), "'transmissionRisk' must be 0 to 8"),
        (uploaded(risk=-1), "'transmissionRisk' must be 0 to 8"),
        (uploaded(start=PRESENT + 1), "begins in the future"),
        (uploaded(start=PRESENT - 2160 - 144 - 1), "ended more than 15 days ago"),
        (uploaded(start=-5), "ended more than 15 days ago"),
    ],
)
def test_a_faulty_key_is_left_out_and_the_others_go_on(key: UploadedKey, reason: str) -> None:
    findings = judged(uploaded(1), key, uploaded(2))
    assert len(findings.accepted) == 2
    assert findings.error == f"key 1: {reason}"
    with pytest.raises(Refusal) as refused:
        judged(key)
    assert refused.value.code == RefusalCode.BAD_REQUEST


@pytest.mark.parametrize(
    "key",
    [uploaded(start=PRESENT), uploaded(start=PRESENT - 2160 - 144), uploaded(period=1), uploaded(risk=8)],
)
def test_what_is_just_within_a_limit_is_taken(key: UploadedKey) -> None:
    assert judged(key, onset=TODAY - 7 * 144).error == ""


def test_equal_faults_are_told_together_in_the_clients_order() -> None:
    findings = judged(uploaded(1, period=0), uploaded(2), uploaded(3, risk=9), uploaded(4, period=0))
    assert (
        findings.error
        == "keys 0, 3: 'rollingPeriod' must be 1 to 144; key 2: 'transmissionRisk' must be 0 to 8"
    )


@pytest.mark.parametrize("count", [0, 31])
def test_too_few_and_too_many_keys_refuse_the_upload(count: int) -> None:
    with pytest.raises(Refusal) as refused:
        judged(*(uploaded(n) for n in range(count)))
    assert refused.value.code == RefusalCode.BAD_REQUEST


def test_a_key_far_from_the_onset_is_left_out_with_a_warning() -> None:
    onset = TODAY
    near, far = uploaded(1, TODAY - 14 * 144), uploaded(2, TODAY - 15 * 144)
    findings = judged(near, far, onset=onset)
    assert [key.days_since_onset_of_symptoms for key in findings.accepted] == [-14]
    assert findings.error == ""
    assert findings.warnings == ("key 1: over 14 days from the onset of symptoms, left out",)


def test_keys_that_are_all_too_far_from_the_onset_are_no_fault() -> None:
    far = [uploaded(n, TODAY - (15 - n) * 144) for n in range(2)]
    findings = judged(*far, onset=TODAY + 144)
    assert (findings.accepted, findings.error) == ((), "")
    assert findings.warnings == ("keys 0, 1: over 14 days from the onset of symptoms, left out",)
    check_together(findings.accepted, POLICY)
    with pytest.raises(Refusal) as refused:
        judged(*far, uploaded(2, period=0), onset=TODAY + 144)
    assert refused.value.code == RefusalCode.BAD_REQUEST
    assert "key 2: 'rollingPeriod'" in str(refused.value)
    assert "keys 0, 1: over 14 days" in str(refused.value)


@given(st.integers(-14 * 144, 14 * 144), st.integers(0, 143))
def test_days_since_onset_are_whole_utc_days(offset: int, within: int) -> None:
    onset = TODAY - 8 * 144 + within
    start = min(max(onset + offset, TODAY - 14 * 144), PRESENT)
    findings = judged(uploaded(start=start, period=1), onset=onset)
    assert findings.accepted[0].days_since_onset_of_symptoms == start // 144 - onset // 144


@pytest.mark.parametrize(
    ("phones", "authoritys", "expected"),
    [
        (TODAY - 144, TODAY - 288, TODAY - 144),
        (None, TODAY - 288, TODAY - 288),
        (0, TODAY - 288, TODAY - 288),
        (PRESENT, TODAY - 288, TODAY - 288),
        (PRESENT - 1, None, PRESENT - 1),
        (TODAY - 28 * 144, None, TODAY - 28 * 144),
        (TODAY - 28 * 144 - 1, None, PRESENT - 4 * 144),
        (None, PRESENT + 1, PRESENT - 4 * 144),
        (None, None, PRESENT - 4 * 144),
    ],
)
def test_whose_onset_counts(phones: int | None, authoritys: int | None, expected: int) -> None:
    upload = replace(UPLOAD, symptom_onset_interval=phones)
    certificate = replace(CERTIFICATE, symptom_onset_interval=authoritys)
    assert onset_of(upload, certificate, POLICY, NOW) == expected


def test_a_key_said_twice_is_meant_once() -> None:
    findings = judged(uploaded(1), uploaded(1), uploaded(2))
    assert len(findings.accepted) == 2
    check_together(findings.accepted, POLICY)


# ---------------------------------------------------------------- keys together


def stored(number: int, start: int, period: int = 144) -> TemporaryExposureKey:
    """A key that was accepted by itself."""
    return TemporaryExposureKey(number.to_bytes(16, "big"), start, period)


@pytest.mark.parametrize(
    "keys",
    [
        [stored(1, 0), stored(2, 144)],
        [stored(1, 0), stored(2, 500)],
        [stored(1, 0, 100), stored(2, 0), stored(3, 0, 30)],
        [stored(1, 0, 100), stored(2, 100, 44)],
        [stored(1, 7)],
    ],
)
def test_keys_in_a_row_with_gaps_or_of_one_start_are_taken(keys: list[TemporaryExposureKey]) -> None:
    check_together(keys, POLICY)


@pytest.mark.parametrize(
    "keys",
    [
        [stored(1, 0), stored(2, 143)],
        [stored(2, 143), stored(1, 0)],
        [stored(1, 0, 10), stored(2, 0, 144), stored(3, 100)],
        [stored(n, 0) for n in range(4)],
        [stored(1, 0), stored(1, 144)],
    ],
)
def test_keys_that_contradict_each_other_refuse_the_upload(keys: list[TemporaryExposureKey]) -> None:
    with pytest.raises(Refusal) as refused:
        check_together(keys, POLICY)
    assert refused.value.code == RefusalCode.BAD_REQUEST


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 144)), min_size=1, max_size=6), st.randoms())
def test_the_overlap_rule_is_what_it_says_in_any_order(spans: list[tuple[int, int]], random: object) -> None:
    keys = [stored(n, start, period) for n, (start, period) in enumerate(spans)]
    overlap = any(
        a.rolling_start_interval_number < b.rolling_start_interval_number < a.end_interval_number
        for a in keys
        for b in keys
    )
    starts = [key.rolling_start_interval_number for key in keys]
    crowded = any(starts.count(start) > POLICY.max_same_start for start in starts)
    random.shuffle(keys)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    try:
        check_together(keys, POLICY)
    except Refusal:
        assert overlap or crowded
    else:
        assert not overlap
        assert not crowded
