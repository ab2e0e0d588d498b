"""Oracles: the padding of existing systems, as their documents and code describe it, on people's keys.

Against these the attacker must count exactly, or it proves nothing where it fails.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from math import gcd

from registry.client.monitor.crowd import metadata_of
from registry.protocol.export_file import ExportFile
from registry.protocol.keys import TemporaryExposureKey
from tests.counting.one_window import END, START, real_people
from tests.counting.real_world import World, export


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


COPYING = {
    "up to 1000 and more, in turn": round_robin,
    "up to 15000 and more, in turn": partial(round_robin, least=15_000),
    "times 5": partial(multiplied, multiplier=5),
    "times 10": partial(multiplied, multiplier=10),
}
"""Function from keys and chance to padded keys, by how it pads."""


def in_file(count: int, chance: random.Random) -> list[TemporaryExposureKey]:
    """The keys of so many people that leave with the window of their upload, of each a whole day's."""
    found: list[TemporaryExposureKey] = []
    while count:
        (person,) = real_people(World(), 1, chance)
        keys = export(person.keys, start=START, end=END).keys
        if any(key.end_interval_number <= START // 600 for key in keys):
            found += keys
            count -= 1
    return found


def are_told_apart(keys: Sequence[TemporaryExposureKey]) -> bool:
    """False if all people share all metadata with others: they look like fewer, copied more often."""
    return gcd(*Counter(map(metadata_of, keys)).values()) <= 1


def are_copied_enough(keys: Sequence[TemporaryExposureKey], padded: Sequence[TemporaryExposureKey]) -> bool:
    """Whether every key is there more often than people are alike in it: then no two numbers look alike.

    Of m keys alike, each there q or q + 1 times, there are m * q to m * (q + 1); one more real key is told
    from that by its own q as long as m < q. Often less is enough. But where some keys are there once and some
    twice, nobody can know: as many real people as there are users would fill the file without any padding.
    """
    alike = max(Counter(map(metadata_of, keys)).values(), default=0)
    return not keys or alike < len(padded) // len(keys) or len(padded) % len(keys) == 0


def file(keys: Sequence[TemporaryExposureKey], region: str = "XA") -> ExportFile:
    """A window's file with these keys."""
    return export(keys, start=START, end=END, region=region)
