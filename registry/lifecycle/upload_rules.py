"""The rules an upload's keys are judged by, pure: no database, no time but the one that is given.

Each rule has its consequence: a faulty key is left out and reported, a key too far from the onset of
symptoms is left out with a warning, a rule about the keys together refuses the upload. Rules, limits and
consequences are those of existing key servers (exposure-notifications-server, `/v1/publish`).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from registry.errors import Malformed, Refusal, RefusalCode
from registry.protocol.certificate import VerificationCertificate
from registry.protocol.encoding import decode_base64
from registry.protocol.intervals import INTERVALS_PER_DAY, day_start, interval_at
from registry.protocol.keys import (
    KEY_BYTES,
    MAX_ROLLING_PERIOD,
    MAX_TRANSMISSION_RISK_LEVEL,
    ReportType,
    TemporaryExposureKey,
)

ASSUMED_RISK = {
    ReportType.CONFIRMED_TEST: 2,
    ReportType.CONFIRMED_CLINICAL_DIAGNOSIS: 4,
    ReportType.REVOKED: 6,
}
"""Transmission risk of a key that came with 0, for phones that still read it."""


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """Limits of an upload; the field's figures, which clients are built for."""

    max_keys: int = 30
    max_age_intervals: int = 15 * INTERVALS_PER_DAY
    """From the end of a key's validity."""
    max_same_start: int = 3
    max_onset_days: int = 14
    """Distance of a key's first day from the onset of symptoms, either way."""
    oldest_onset_days: int = 28
    """An onset of symptoms earlier than this is not believed."""
    assumed_onset_days: int = 4
    """How long ago symptoms are taken to have begun if nobody says."""


@dataclass(frozen=True, slots=True)
class UploadedKey:
    """A key as the phone spelled it. `key_text` is base64 exactly as sent: the HMAC is over that."""

    key_text: str
    rolling_start_interval_number: int
    rolling_period: int
    transmission_risk: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A request to /v1/publish, its members still unchecked. What was left out is empty, 0 or None."""

    health_authority_id: str
    keys: tuple[UploadedKey, ...]
    certificate: str
    hmac_key_text: str
    symptom_onset_interval: int | None
    traveler: bool
    revision_token: str


@dataclass(frozen=True, slots=True)
class KeyFindings:
    """Outcome of judging keys one by one. `error` and `warnings` count keys as the client ordered them.

    Nothing is accepted, and there is no error, if every key lies too far from the onset of symptoms.
    """

    accepted: tuple[TemporaryExposureKey, ...]
    error: str
    warnings: tuple[str, ...]


def onset_of(
    upload: Upload, certificate: VerificationCertificate, policy: CollectionPolicy, now: float
) -> int:
    """Interval of the onset of symptoms: the phone's, else the authority's, else an assumed one."""
    given = given_onset(upload, certificate, policy, now)
    return interval_at(now) - policy.assumed_onset_days * INTERVALS_PER_DAY if given is None else given


def given_onset(
    upload: Upload, certificate: VerificationCertificate, policy: CollectionPolicy, now: float
) -> int | None:
    """Interval of the onset of symptoms, as the phone says, else as the authority does.

    One that is not within [UTC midnight 28 days ago, now) counts as not given.
    """
    present = interval_at(now)
    oldest = day_start(present) - policy.oldest_onset_days * INTERVALS_PER_DAY
    for claimed in (upload.symptom_onset_interval, certificate.symptom_onset_interval):
        if claimed is not None and oldest <= claimed < present:
            return claimed
    return None


def judge_keys(
    keys: Sequence[UploadedKey],
    *,
    report_type: ReportType,
    onset: int,
    policy: CollectionPolicy,
    now: float,
) -> KeyFindings:
    """Judge each key by itself. Refuses with `bad_request` if there are none or too many.

    Also if none is left and one of them was faulty. Keys that only lie too far from the onset are no fault,
    not even all of them: phones of one make cannot tell a part of an upload from the whole.
    """
    if not 1 <= len(keys) <= policy.max_keys:
        raise Refusal(
            RefusalCode.BAD_REQUEST,
            f"an upload must hold 1 to {policy.max_keys} keys, this one has {len(keys)}",
        )
    accepted: list[TemporaryExposureKey] = []
    faults: dict[str, list[int]] = {}
    distant: list[int] = []
    for position, uploaded in enumerate(keys):
        key_data = _key_bytes(uploaded.key_text)
        fault = _fault_of(uploaded, key_data, policy, interval_at(now))
        days = _days_between(onset, uploaded.rolling_start_interval_number)
        if fault is not None:
            faults.setdefault(fault, []).append(position)
        elif abs(days) > policy.max_onset_days:
            distant.append(position)
        else:
            risk = uploaded.transmission_risk or ASSUMED_RISK.get(report_type, 0)
            start, period = uploaded.rolling_start_interval_number, uploaded.rolling_period
            key = TemporaryExposureKey(key_data, start, period, risk, report_type, days)
            if key not in accepted:  # said twice, meant once
                accepted.append(key)
    error = "; ".join(_about(positions, fault) for fault, positions in faults.items())
    far = f"over {policy.max_onset_days} days from the onset of symptoms, left out"
    warnings = (_about(distant, far),) if distant else ()
    if not accepted and error:
        raise Refusal(RefusalCode.BAD_REQUEST, "no key is left: " + "; ".join((error, *warnings)))
    return KeyFindings(tuple(accepted), error, warnings)


def check_together(keys: Sequence[TemporaryExposureKey], policy: CollectionPolicy) -> None:
    """Refuses with `bad_request` keys that contradict each other, share a start too often, or overlap.

    Keys may overlap only if they begin together: a phone that gives away its current key early cuts it
    short and begins another one in the same place.
    """
    if len({key.key_data for key in keys}) < len(keys):
        raise Refusal(RefusalCode.BAD_REQUEST, "a key is in the upload twice, and not in the same words")
    starts = Counter(key.rolling_start_interval_number for key in keys)
    if max(starts.values(), default=0) > policy.max_same_start:
        raise Refusal(
            RefusalCode.BAD_REQUEST, f"more than {policy.max_same_start} keys begin at the same interval"
        )
    in_time = sorted(keys, key=lambda key: (key.rolling_start_interval_number, key.rolling_period))
    for earlier, later in pairwise(in_time):
        start = later.rolling_start_interval_number
        if earlier.rolling_start_interval_number < start < earlier.end_interval_number:
            raise Refusal(RefusalCode.BAD_REQUEST, f"two keys overlap at interval {start}")


def _fault_of(uploaded: UploadedKey, key_data: bytes, policy: CollectionPolicy, present: int) -> str | None:
    """Why a key cannot be taken, or None. Quotes no number, so that equal faults can be told as one."""
    end = uploaded.rolling_start_interval_number + uploaded.rolling_period
    if len(key_data) != KEY_BYTES:
        return f"'key' must be {KEY_BYTES} bytes in base64"
    if not 1 <= uploaded.rolling_period <= MAX_ROLLING_PERIOD:
        return f"'rollingPeriod' must be 1 to {MAX_ROLLING_PERIOD}"
    if not 0 <= uploaded.transmission_risk <= MAX_TRANSMISSION_RISK_LEVEL:
        return f"'transmissionRisk' must be 0 to {MAX_TRANSMISSION_RISK_LEVEL}"
    if end < present - policy.max_age_intervals:
        return f"ended more than {policy.max_age_intervals // INTERVALS_PER_DAY} days ago"
    if uploaded.rolling_start_interval_number > present:
        return "begins in the future"
    return None


def _key_bytes(key_text: str) -> bytes:
    """The key, or nothing if the text is not base64: a key's length is judged either way."""
    try:
        return decode_base64(key_text)
    except Malformed:
        return b""


def _days_between(onset: int, start: int) -> int:
    return start // INTERVALS_PER_DAY - onset // INTERVALS_PER_DAY


def _about(positions: Sequence[int], finding: str) -> str:
    """`key 3: …` or `keys 3, 4: …`, counted from 0 in the client's order.

    Keys are told together so that an answer's length is bounded: it must fit into the one size.
    """
    return f"key{'s' if len(positions) > 1 else ''} {', '.join(map(str, positions))}: {finding}"
