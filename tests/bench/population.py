"""The people whose keys are measured: a stated model, drawn from a seed, the same keys on every machine.

85 of 100 patients upload 14 daily keys, the others 1 to 13; 30 of 100 have a newest key cut short; report
types are confirmed, likely and self-reported as 97 : 2.5 : 0.5; symptoms began gamma(3, 1.4) days before
the newest key; the transmission risk follows from the days since onset. All upload on one day.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from registry.protocol.intervals import INTERVALS_PER_DAY
from registry.protocol.keys import ReportType, TemporaryExposureKey

NEWEST_START = 144 * 20_600
"""Midnight (UTC) at which each patient's newest key begins: 2026-05-27."""

REPORT_TYPES = (ReportType.CONFIRMED_TEST, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS, ReportType.SELF_REPORT)
REPORT_WEIGHTS = (97, 2.5, 0.5)
RISK_FROM_ONSET = {-2: 4, -1: 6, 0: 8, 1: 8, 2: 7, 3: 6, 4: 4, 5: 3}
"""Transmission risk by days since onset; 1 elsewhere."""


def keys_of_patients(
    count: int, *, seed: int = 1, newest_start: int = NEWEST_START
) -> list[TemporaryExposureKey]:
    """`count` keys in no order of meaning, patient by patient."""
    chance = random.Random(seed)
    return list(islice(_patients(chance, newest_start), count))


def _patients(chance: random.Random, newest_start: int) -> Iterator[TemporaryExposureKey]:
    while True:
        days = 14 if chance.random() < 0.85 else chance.randint(1, 13)
        newest_period = chance.randint(1, 143) if chance.random() < 0.3 else INTERVALS_PER_DAY
        (report_type,) = chance.choices(REPORT_TYPES, REPORT_WEIGHTS)
        onset_days_ago = round(chance.gammavariate(3, 1.4))
        for day in range(days):
            since_onset = max(-14, min(14, onset_days_ago - day))
            yield TemporaryExposureKey(
                chance.randbytes(16),
                newest_start - INTERVALS_PER_DAY * day,
                newest_period if day == 0 else INTERVALS_PER_DAY,
                RISK_FROM_ONSET.get(since_onset, 1),
                report_type,
                since_onset,
            )


def information_floor(keys: Sequence[TemporaryExposureKey]) -> float:
    """The fewest bytes that any encoding of this set of keys can take on average.

    log2 C(2^128, N) bits for the key bytes as a set, and the entropy of what else is said of each key, as
    it is distributed here. (C(2^128, N) is 2^128N / N! to far more digits than a float has.)
    """
    count = len(keys)
    key_bits = 128 * count - math.lgamma(count + 1) / math.log(2)
    said = Counter(
        (
            key.rolling_start_interval_number,
            key.rolling_period,
            key.transmission_risk_level,
            key.report_type,
            key.days_since_onset_of_symptoms,
        )
        for key in keys
    )
    metadata_bits = -sum(times * math.log2(times / count) for times in said.values())
    return (key_bits + metadata_bits) / 8
