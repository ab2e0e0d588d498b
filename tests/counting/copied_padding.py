"""Oracles: the padding of existing systems, as their documents and code describe it, on people's keys.

Against these the attacker must count exactly, or it proves nothing where it fails.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from registry.protocol.keys import TemporaryExposureKey


def round_robin(
    keys: Sequence[TemporaryExposureKey],
    chance: random.Random,
    *,
    least: int = 1000,
    spread: int = 100,
) -> list[TemporaryExposureKey]:
    """exposure-notifications-server: up to 1000 + uniform 0..100 keys, by copying real metadata in turn.

    A second call stands for a second run or feed, whose made-up keys are others.
    """
    missing = max(0, least + chance.randint(0, spread) - len(keys)) if keys else 0
    copies = (replace(key, key_data=chance.randbytes(16)) for key in cycle(keys))
    return [*keys, *islice(copies, missing)]


def multiplied(
    keys: Sequence[TemporaryExposureKey], chance: random.Random, multiplier: int
) -> list[TemporaryExposureKey]:
    """cwa-server: for every key `multiplier` - 1 more with the same metadata."""
    copies = [replace(key, key_data=chance.randbytes(16)) for key in keys for _copy in range(multiplier - 1)]
    return [*keys, *copies]


def ten_a_day(
    keys: Sequence[TemporaryExposureKey],
    chance: random.Random,
    *,
    today: int,
    days: int = 14,
    fakes: int = 10,
) -> list[TemporaryExposureKey]:
    """SwissCovid: ten made-up keys for every past day, among keys that say no onset, risk or report type."""
    plain = [TemporaryExposureKey(key.key_data, key.rolling_start_interval_number) for key in keys]
    made_up = [
        TemporaryExposureKey(chance.randbytes(16), (today - back) * 144)
        for back in range(1, days + 1)
        for _fake in range(fakes)
    ]
    return [*plain, *made_up]
