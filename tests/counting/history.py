"""Days of a registry that publishes as in production, hour by hour, and the files that lie in its storage.

Two feeds: a province's, and its nation's, which holds the province's keys and those of everybody else. People
upload at any moment, come again with other results, and leave keys behind that wait for their embargo; so
every file holds something of earlier slots. The registry's own code puts keys on shelves, seals, makes files,
signs and stores them. What changes no window's file is left out: log, indexes, days' files.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from typing import Any
from unittest.mock import patch

from sqlalchemy import event, select
from sqlalchemy.orm import Session

from registry.lifecycle.inserts import insert_new, insert_unknown_keys
from registry.lifecycle.publish import PUBLISH_LEASE, PublicationPolicy
from registry.lifecycle.publish import decoys as publishers_decoys
from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.batches import finish_sealed
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.lifecycle.publish.sealing import close_shelves, seal_windows
from registry.lifecycle.publish.side_by_side import carry_out
from registry.lifecycle.revise import revise_rows
from registry.lifecycle.shelves import new_mark, open_shelves, release_of
from registry.models import Batch, DiagnosisKey, HealthAuthority, ShelfUpload, transaction
from registry.models.lease import leased
from registry.models.shelf import region_set_of
from registry.protocol.certificate import load_public_key
from registry.protocol.decoys import DecoyUser, draw_decoys
from registry.protocol.export_file import ExportFile, read_zip
from registry.protocol.index import EXPOSURES, GAEN_ZIP
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.recall import recall_tags
from tests.clock import NOON_OF_JUNE_15
from tests.counting.crippled_decoys import Decoys
from tests.counting.one_window import COUNTS
from tests.counting.real_world import Person, World, people
from tests.publishing import AUTHORITY, HOUR, in_memory

SLOT = 4 * HOUR
FLOOR = 10
NATION, PROVINCE = "XA", "XA-01"
SETS = {NATION: (NATION,), PROVINCE: (NATION, PROVINCE)}
"""Where keys go that are certified in the nation and in the province, by the feed that tells them apart."""

HELD = PublicationPolicy(HOUR, SLOT, floor=1_000_000)
"""Nothing goes out but at the end of a slot."""

BEFORE, AFTER = 7, 2
"""Slots before those that are looked at, so that there are keys of earlier days; after, until all is out."""


@dataclass(frozen=True)
class Gathered:
    """One file, and who uploaded for it since the last one with keys for this place.

    `asked` is the number of people of its slot. An early one came before the end of its slot.
    """

    place: str
    since: int
    end: int
    asked: int
    people: tuple[Person, ...]
    decoys: int

    @property
    def real(self) -> int:
        """How many people it counts: of whom a key leaves with it."""
        return sum(map(_is_fresh, self.people))

    @property
    def total(self) -> int:
        """With the decoy users."""
        return self.real + self.decoys

    @property
    def is_early(self) -> bool:
        return self.end % SLOT != 0


@dataclass
class History:
    """The files of each feed, oldest first, and what was gathered for those that are to be looked at."""

    files: dict[str, list[ExportFile]] = field(default_factory=lambda: {NATION: [], PROVINCE: []})
    gathered: list[Gathered] = field(default_factory=list)
    looked_at: list[Gathered] = field(default_factory=list)

    def files_of(self, place: str) -> list[ExportFile]:
        """As whoever has both feeds tells them apart: the province's keys, and the nation's without them."""
        if place == PROVINCE:
            return self.files[PROVINCE]
        province = {key.key_data for file in self.files[PROVINCE] for key in file.keys + file.revised_keys}
        return [_without(file, province) for file in self.files[NATION]]


def play(world: World, decoys: Decoys, *, slots: int, chance: random.Random) -> History:
    """`7 * slots` slots, so many of each number of people, in chance's order in each of the places."""
    numbers = {place: _numbers(slots, chance) for place in SETS}
    policy = PublicationPolicy(HOUR, SLOT, floor=FLOOR, population=decoys.model)
    waiting: dict[str, list[Person]] = {place: [] for place in SETS}
    with _stage(policy, chance) as stage, _drawn(decoys, waiting, chance), decoys.publisher():
        history = History(stage.files)
        began = int(stage.clock.now)
        since = dict.fromkeys(SETS, began)
        for slot, asked in enumerate(zip(*numbers.values(), strict=True)):
            start = began + slot * SLOT
            for place, number in zip(SETS, asked, strict=True):
                for person in people(world, number, chance, start=start, end=start + SLOT):
                    stage.expect(person, place)
            for end in range(start + HOUR, start + SLOT + 1, HOUR):
                for person, place in stage.live_until(end):
                    waiting[place].append(person)
                made = stage.publish(end, (NATION, PROVINCE))
                for place, drawn in made.items():
                    number = dict(zip(SETS, asked, strict=True))[place]
                    one = Gathered(place, since[place], end, number, tuple(waiting[place]), drawn)
                    history.gathered.append(one)
                    if BEFORE <= slot < len(numbers[place]) - AFTER:
                        history.looked_at.append(one)
                    since[place], waiting[place][:] = end, []
    return history


def twin_of(history: History, world: World, chance: random.Random) -> History:
    """The same files, with as many users, all of them real: published at the same hours without a floor."""
    ends = sorted({one.end for one in history.gathered})
    with _stage(PublicationPolicy(HOUR), chance) as stage:
        for one in history.gathered:
            users = len(one.people) + one.decoys
            for person in people(world, users, chance, start=one.since, end=one.end):
                stage.expect(person, one.place)
        for end in ends:
            list(stage.live_until(end))
            going = {feed for one in history.gathered if one.end == end for feed in SETS[one.place]}
            stage.publish(end, going)
            if waiting := {NATION, PROVINCE} - going:
                # Its window ends too, so that feeds have the same windows, and its keys wait.
                stage.publish(end, waiting, HELD)
    return History(stage.files, history.gathered, history.looked_at)


class _Stage:
    """A registry without a disk, and people who come to it."""

    def __init__(self, policy: PublicationPolicy) -> None:
        self._publishing = in_memory()
        self._policy = policy
        self.clock = self._publishing.clock
        self.clock.now = NOON_OF_JUNE_15
        self.files: dict[str, list[ExportFile]] = {NATION: [], PROVINCE: []}
        self._to_come: list[tuple[float, int, Person, str, bool]] = []
        self._number = count()
        with transaction(self._publishing.new_session()) as session:
            session.merge(
                HealthAuthority(
                    id="province",
                    certificate_issuer="i",
                    certificate_audience="a",
                    regions=list(SETS[PROVINCE]),
                )
            )

    def expect(self, person: Person, place: str) -> None:
        """They upload when their time comes, and come again when there is another result."""
        self._put(person.uploaded_at, person, place, is_revision=False)
        if person.revised:
            self._put(person.revised_at * 600 + 300, person, place, is_revision=True)

    def _put(self, at: float, person: Person, place: str, *, is_revision: bool) -> None:
        heappush(self._to_come, (at, next(self._number), person, place, is_revision))

    def live_until(self, end: float) -> Iterator[tuple[Person, str]]:
        """Whoever uploads before `end` does; yields them and their place."""
        # One commit for all: nobody looks before the publisher does.
        with transaction(self._publishing.new_session()) as session:
            while self._to_come and self._to_come[0][0] < end:
                at, _, person, place, is_revision = heappop(self._to_come)
                if is_revision:
                    _revise(session, person)
                else:
                    _collect(session, person, SETS[place], interval_at(at))
                    yield person, place

    def publish(
        self, end: int, regions: Collection[str], policy: PublicationPolicy | None = None
    ) -> Mapping[str, int]:
        """As the publisher does at `end`; how many decoy users were drawn, by place that has a file."""
        self.clock.now = end
        stage, policy = self._publishing, policy or self._policy
        keys = ExportKeys(
            {(key.key_id, key.key_version): load_public_key(key.public_key_pem) for key in stage.signers},
            stage.signers,
        )
        with (
            stage.new_session() as session,
            leased(session, PUBLISH_LEASE, "gate", end, policy.lease_seconds) as fence,
        ):
            assert fence is not None
            run = Run(
                session, stage.storage, stage.log, PUBLISH_LEASE, fence, end, policy, None, sorted(regions)
            )
            with run.fenced():
                close_shelves(session, policy=policy, now=end)
            with run.fenced():
                seal_windows(session, run.regions, policy=policy, now=end)
            failures = Failures(session)
            carry_out(((region, finish_sealed(run, keys, region, [])) for region in run.regions), failures)
            failures.tell(None)
            found = session.execute(
                select(Batch.region, Batch.decoys).where(Batch.window_end == end, Batch.region.in_(regions))
            ).all()
        for region, _ in found:
            self._read(region, end)
        drawn = {region_set: n for _, decoys in found for region_set, n in decoys.items()}
        return {place: drawn[",".join(feeds)] for place, feeds in SETS.items() if ",".join(feeds) in drawn}

    def _read(self, region: str, end: int) -> None:
        for path in self._publishing.storage.names(f"{EXPOSURES}/{region}/", deep=False):
            if f"-{end}-" in path and path.endswith(GAEN_ZIP.rpartition("-")[2]):
                self.files[region].append(read_zip(self._publishing.fetch(path))[0])


def _collect(session: Session, person: Person, regions: Sequence[str], present: int) -> None:
    """The rows that `registry.lifecycle.collect` stores of an upload, by its own means; not its receipt."""
    releases = {release_of(key, present) for key in person.keys}
    shelves = open_shelves(session, region_set_of(regions), releases)
    rows: list[dict[str, Any]] = [
        {
            "key_data": key.key_data,
            "rolling_start_interval_number": key.rolling_start_interval_number,
            "rolling_period": key.rolling_period,
            "end_interval_number": key.end_interval_number,
            "transmission_risk_level": key.transmission_risk_level,
            "report_type": int(key.report_type),
            "days_since_onset_of_symptoms": key.days_since_onset_of_symptoms,
            "health_authority_id": AUTHORITY.id,
            "traveler": False,
            "revised_before_release": False,
            "recall_tag": tag,
            "shelf_id": shelves[release_of(key, present)],
        }
        for key, tag in zip(person.keys, recall_tags(None, len(person.keys)), strict=True)
    ]
    insert_unknown_keys(session, rows)
    marks = [{"shelf_id": shelf, "mark": new_mark()} for shelf in shelves.values()]
    insert_new(session, ShelfUpload, marks, ShelfUpload.shelf_id)


def _revise(session: Session, person: Person) -> None:
    rows = [session.get_one(DiagnosisKey, key.key_data) for key in person.revised]
    revise_rows(session, list(zip(rows, person.revised, strict=True)))
    session.flush()


@contextmanager
def _stage(policy: PublicationPolicy, chance: random.Random) -> Iterator[_Stage]:
    """A stage whose batches have their seeds from `chance`, so that the same chance is the same history."""

    def give_seed(_mapper: Any, _connection: Any, batch: Batch) -> None:
        batch.seed = chance.randbytes(32)

    stage = _Stage(policy)
    event.listen(Batch, "before_insert", give_seed)
    try:
        yield stage
    finally:
        event.remove(Batch, "before_insert", give_seed)


@contextmanager
def _drawn(decoys: Decoys, waiting: Mapping[str, Sequence[Person]], chance: random.Random) -> Iterator[None]:
    """The publisher's decoys are changed as `decoys` says; the same seed is drawn only once, to save time."""
    drawn: dict[tuple[Any, ...], list[DecoyUser]] = {}

    def draw(seed: bytes, users: int, **how: Any) -> list[DecoyUser]:
        regions = frozenset(how["regions"])
        name = (seed, users, regions, how["uploaded"])
        if name not in drawn:
            place = PROVINCE if PROVINCE in regions else NATION
            drawn[name] = decoys.change(draw_decoys(seed, users, **how), waiting[place], chance)
        return drawn[name]

    with patch.object(publishers_decoys, "draw_decoys", draw):
        yield


def _numbers(slots: int, chance: random.Random) -> list[int]:
    looked_at = list(COUNTS) * slots
    chance.shuffle(looked_at)
    return [*chance.choices(COUNTS, k=BEFORE), *looked_at, *chance.choices(COUNTS, k=AFTER)]


def _is_fresh(person: Person) -> bool:
    present = interval_at(person.uploaded_at)
    return any(key.end_interval_number + EMBARGO_INTERVALS <= present for key in person.keys)


def _without(file: ExportFile, known: Collection[bytes]) -> ExportFile:
    keys, revised = (
        tuple(key for key in keys if key.key_data not in known) for keys in (file.keys, file.revised_keys)
    )
    return replace(file, keys=keys, revised_keys=revised)
