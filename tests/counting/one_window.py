"""One window as it would be if nothing else ever happened: its files made without a publisher, in an instant.

For the attacker to learn from, for his own tests, and for the table of `python -m tests.counting`.
"""

import random
from collections.abc import Iterable, Sequence

from registry.client.monitor.crowd import SeenBatch, see
from registry.protocol.decoys import DecoyUser, draw_decoys, window_intervals
from registry.protocol.export_file import ExportFile
from registry.protocol.population import DecoyPolicy, PopulationModel
from tests.counting.real_world import Person, World, export, people

COUNTS = (0, 1, 2, 3, 6, 12, 50)
"""Real people in a slot; the attacker knows that it is one of these, each as likely."""

PRIOR = dict.fromkeys(COUNTS, 1 / len(COUNTS))
POLICY = DecoyPolicy()
REGIONS = ("XA", "XA-01")
END = 1_781_524_800
"""2026-06-15T12:00:00Z, the end of a four-hour slot."""
START = END - 4 * 3600
LATER = END + 8 * 86_400
"""By then every key is out and every revision has happened."""


def decoys(seed: bytes, count: int, model: PopulationModel = POLICY.model) -> list[DecoyUser]:
    """Those that the registry draws for this window."""
    uploaded = window_intervals(START, END)
    return draw_decoys(seed, count, regions=REGIONS, uploaded=uploaded, model=model)


def as_people(users: Iterable[DecoyUser]) -> list[Person]:
    """Decoy users as people are told of here."""
    return [
        Person(user.keys, user.revision.keys, user.revision.at) if user.revision else Person(user.keys)
        for user in users
    ]


def real_people(world: World, count: int, chance: random.Random) -> list[Person]:
    """People who upload in this window."""
    return people(world, count, chance, start=START, end=END)


def with_decoys(
    persons: Sequence[Person], count: int, seed: bytes, model: PopulationModel = POLICY.model
) -> list[Person]:
    """These people, and so many decoy users."""
    return [*persons, *as_people(decoys(seed, count, model))]


def files_of(users: Iterable[Person]) -> list[ExportFile]:
    """The window's file in each feed, and the later one."""
    users = list(users)
    keys = [key for user in users for key in user.keys]
    files = [export(keys, start=START, end=END, region=region) for region in REGIONS]
    out = set(files[0].keys)
    rest = [key for key in keys if key not in out]
    revised = [key for user in users for key in user.revised if user.revised_at * 600 < LATER]
    return [*files, export(rest, start=END, end=LATER, revised=revised)]


def seen(users: Iterable[Person]) -> SeenBatch:
    """What the files show of the window."""
    return see(files_of(users))[0]
