"""Decoys that are wrong in one way each, as a careless registry would make them. The gate must see all."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from registry.protocol.intervals import INTERVALS_PER_DAY
from registry.protocol.keys import TemporaryExposureKey
from registry.protocol.population import Distribution, NewestKey, PopulationModel
from tests.counting.gate import POLICY, Draw, honest
from tests.counting.real_world import Person


def _model(**other: object) -> Draw:
    return honest(replace(POLICY, model=replace(PopulationModel(), **other)))  # type: ignore[arg-type]


def _changed(person: Person, chance: random.Random, **other: object) -> Person:
    keys = tuple(replace(key, key_data=chance.randbytes(16), **other) for key in person.keys)  # type: ignore[arg-type]
    return Person(keys)


def copies(seed: bytes, count: int, real: Sequence[Person], chance: random.Random) -> list[Person]:
    """People's metadata over again; where there is nobody to copy, honest ones."""
    if not real:
        return honest(POLICY)(seed, count, real, chance)
    return [_changed(person, chance) for person in islice(cycle(real), count)]


def never_whole(seed: bytes, count: int, real: Sequence[Person], chance: random.Random) -> list[Person]:
    """Users whose keys say each another onset: drawn key by key, not as one person."""

    def torn(key: TemporaryExposureKey) -> TemporaryExposureKey:
        days = (key.days_since_onset_of_symptoms or 0) + chance.choice((-1, 0, 0, 1))
        return replace(key, days_since_onset_of_symptoms=max(-14, min(14, days)))

    return [Person(tuple(map(torn, person.keys))) for person in honest(POLICY)(seed, count, real, chance)]


def never_revised(seed: bytes, count: int, real: Sequence[Person], chance: random.Random) -> list[Person]:
    """Nobody made up ever gets another result."""
    return [Person(person.keys) for person in honest(POLICY)(seed, count, real, chance)]


def with_gaps(seed: bytes, count: int, real: Sequence[Person], chance: random.Random) -> list[Person]:
    """A day in three is missing."""
    return [
        Person(tuple(k for k in person.keys if k.rolling_start_interval_number // INTERVALS_PER_DAY % 3))
        for person in honest(POLICY)(seed, count, real, chance)
    ]


CRIPPLED: dict[str, Draw] = {
    "copied metadata": copies,
    "no key cut short": _model(
        newest_key=Distribution({NewestKey.YESTERDAY: 39_322, NewestKey.TODAY_WHOLE: 26_214})
    ),
    "always fourteen keys": _model(daily_keys=Distribution({14: 65_536})),
    "no onset ever assumed": _model(onset_not_given=0),
    "one onset for all": _model(onset_days_before_upload=Distribution({4: 65_536})),
    "onset a day off": _model(
        onset_days_before_upload=Distribution(
            {d + 1: w for d, w in PopulationModel().onset_days_before_upload.weights.items()}
        )
    ),
    "one level of risk": _model(
        transmission_risk={kind: Distribution({1: 65_536}) for kind in PopulationModel().transmission_risk}
    ),
    "drawn key by key": never_whole,
    "days missing": with_gaps,
    "never revised": never_revised,
}
