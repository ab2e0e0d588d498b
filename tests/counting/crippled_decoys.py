"""Decoys that are wrong in one way each, as a careless registry would make them. The gate must see all.

Some are wrongly drawn; others are drawn well, and the publisher does something wrong with them.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any
from unittest.mock import patch

from registry.lifecycle.publish import decoys as publishers_decoys
from registry.lifecycle.publish import sealing
from registry.protocol.decoys import DecoyUser
from registry.protocol.intervals import INTERVALS_PER_DAY
from registry.protocol.keys import TemporaryExposureKey
from registry.protocol.population import Distribution, NewestKey, PopulationModel
from tests.counting.real_world import Person

Change = Callable[[list[DecoyUser], Sequence[Person], random.Random], list[DecoyUser]]
"""From drawn users, the people of the same file and chance to users that go out. Honest: nothing done."""


@dataclass(frozen=True)
class Decoys:
    """How a registry makes its decoys: by which model, what it does to them, and what its publisher does."""

    model: PopulationModel = field(default_factory=PopulationModel)
    change: Change = lambda users, _people, _chance: users
    publisher: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def is_badly_published(self) -> bool:
        """Whether they are what they ought to be, and only the publisher is not."""
        return self.publisher is not nullcontext


def _model(**other: object) -> Decoys:
    return Decoys(replace(PopulationModel(), **other))  # type: ignore[arg-type]


# ---------------------------------------------------------------- wrongly drawn


def _copies(users: list[DecoyUser], people: Sequence[Person], chance: random.Random) -> list[DecoyUser]:
    """People's metadata over again; where there is nobody to copy, honest ones."""
    if not people:
        return users
    copied = islice(cycle(people), len(users))
    return [replace(user, keys=_renamed(one, chance)) for user, one in zip(users, copied, strict=True)]


def _renamed(person: Person, chance: random.Random) -> tuple[TemporaryExposureKey, ...]:
    return tuple(replace(key, key_data=chance.randbytes(16)) for key in person.keys)


def _never_whole(users: list[DecoyUser], _people: Sequence[Person], chance: random.Random) -> list[DecoyUser]:
    """Users whose keys say each another onset: drawn key by key, not as one person."""

    def torn(key: TemporaryExposureKey) -> TemporaryExposureKey:
        days = (key.days_since_onset_of_symptoms or 0) + chance.choice((-1, 0, 0, 1))
        return replace(key, days_since_onset_of_symptoms=max(-14, min(14, days)))

    return [replace(user, keys=tuple(map(torn, user.keys))) for user in users]


def _never_revised(
    users: list[DecoyUser], _people: Sequence[Person], _chance: random.Random
) -> list[DecoyUser]:
    """Nobody made up ever gets another result."""
    return [replace(user, revision=None) for user in users]


def _with_gaps(users: list[DecoyUser], _people: Sequence[Person], _chance: random.Random) -> list[DecoyUser]:
    """A day in three is missing."""

    def is_kept(key: TemporaryExposureKey) -> bool:
        return key.rolling_start_interval_number // INTERVALS_PER_DAY % 3 > 0

    return [replace(user, keys=tuple(filter(is_kept, user.keys)), revision=None) for user in users]


# ---------------------------------------------------------------- wrongly published


@contextmanager
def _uploaded_in_the_last_window() -> Iterator[None]:
    """They upload in the hour before the file, and people since the file before."""
    with patch.object(publishers_decoys, "_gathered_since", lambda _session, batch, *_: batch.window_start):
        yield


@contextmanager
def _filled_up_by_whoever_leaves() -> Iterator[None]:
    """People whose last key was kept back, or who are revised, are taken for people of this file."""
    leaving, add_decoys = sealing._leaving, sealing.add_decoys
    last: list[Any] = []

    def remembered(*arguments: Any) -> Any:
        found = leaving(*arguments)
        last[:] = found[0]
        return found

    def added(session: Any, batches: Any, _fresh: Any, policy: Any) -> Any:
        most = {one.region_set: sealing._uploads(last, one.region_set) for one in last}
        return add_decoys(session, batches, most, policy)

    with patch.object(sealing, "_leaving", remembered), patch.object(sealing, "add_decoys", added):
        yield


CRIPPLED: dict[str, Decoys] = {
    "uploaded in the last window": Decoys(publisher=_uploaded_in_the_last_window),
    "filled up by whoever leaves": Decoys(publisher=_filled_up_by_whoever_leaves),
    "copied metadata": Decoys(change=_copies),
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
    "drawn key by key": Decoys(change=_never_whole),
    "days missing": Decoys(change=_with_gaps),
    "never revised": Decoys(change=_never_revised),
}
