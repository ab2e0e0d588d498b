"""Decoy users: in the sealing transaction, whole made-up uploads join those of people, and some are revised.

Drawn by `registry.protocol.decoys` from the seed of a batch, once for each set of regions that keys go out
in: drawn by region, what two feeds share would be people alone. Rows like any other from then on: the same
tables, shelves, retention and revisions. Must never look at what a person uploaded, only at how many did.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.lifecycle.inserts import insert_new
from registry.lifecycle.publish.policy import PublicationPolicy
from registry.lifecycle.revise import revise_rows
from registry.lifecycle.shelves import NOW, open_shelves, release_of
from registry.models import Batch, DiagnosisKey, HealthAuthority, KeyRevision, Shelf, make_days
from registry.models.feed import feeds
from registry.models.key_day import day_of
from registry.models.shelf import region_set_of, regions_of_set
from registry.protocol.decoys import (
    DecoyRevision,
    DecoyUser,
    companion_draws,
    decoy_count,
    draw_decoys,
    window_intervals,
)
from registry.protocol.feeds import feeds_of
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.population import MAX_REVISION_DAYS, WHOLE, DecoyPolicy, PopulationModel
from registry.protocol.recall import recall_tags

_LOOK_BACK_SECONDS = (MAX_REVISION_DAYS + 2) * 86_400
"""How old a batch may be whose decoy users are still to be revised."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Whose rows a set of regions comes from: an authority's, and whether only of people who travelled."""

    authority_id: str
    traveler: bool


def add_decoys(
    session: Session, batches: Mapping[str, Batch], real: Mapping[str, int], policy: PublicationPolicy
) -> list[tuple[int, str]]:
    """Draw this window's decoy users and put their keys on shelves.

    `batches` are those that go out, by region; `real` says of how many people who are in no file yet keys go
    out, by set of regions. Decoys upload at any time since the last file of their set, as those people did.
    Returns the shelves, each with its set, that these keys leave from now; a key that is still valid waits on
    an open shelf, as a person's does. A set of which a region waits has none.
    """
    model = policy.population
    if model is None:
        return []
    leaving: list[tuple[int, str]] = []
    for region_set, origin in _served_sets(session, batches):
        regions = regions_of_set(region_set)
        batch = batches[min(regions)]
        count = decoy_count(batch.seed, regions, real.get(region_set, 0), DecoyPolicy(policy.floor, model))
        since = _gathered_since(session, batch, region_set, policy)
        batch.decoys = {**batch.decoys, region_set: count}
        batch.decoys_since = {**batch.decoys_since, region_set: since}
        users = list(_users_of([batch], region_set, model))
        leaving += _store(session, users, region_set, origin, interval_at(batch.window_end))
    return leaving


def revise_decoys(session: Session, batches: Mapping[str, Batch], policy: PublicationPolicy) -> None:
    """Revise the decoy users whose time has come since the last window, as a person's upload is revised."""
    model = policy.population
    if model is None:
        return
    for region, present in batches.items():
        due = range(interval_at(present.window_start) + 1, interval_at(present.window_end) + 1)
        earlier = _earlier(session, present)
        for region_set in sorted({region_set for batch in earlier for region_set in batch.decoys}):
            regions = regions_of_set(region_set)
            if min(regions) == region and regions <= batches.keys():
                for drawing in _drawings(earlier, region_set, model):
                    for revision in _revisions(drawing):
                        if revision.at in due:
                            _revise(session, revision.keys)


def group_revisions(session: Session, batches: Mapping[str, Batch], policy: PublicationPolicy) -> None:
    """Where revisions of fewer users than the floor wait, revoke decoy users until there are as many.

    A person's keys change together: with nobody else's among them they would be told to be one person's. So
    decoys are taken as long after their upload as the model says that people are revised.
    """
    model = policy.population
    if model is None:
        return
    waiting = Counter[str]()
    for region_set, revisions in session.execute(
        select(Shelf.region_set, Shelf.revisions).where(Shelf.is_revision, Shelf.window_end.is_(None))
    ):
        waiting[region_set] += revisions
    for region_set, revisions in sorted(waiting.items()):
        if revisions and regions_of_set(region_set) <= batches.keys():
            batch = batches[min(regions_of_set(region_set))]
            _revoke_some(session, batch, region_set, policy.floor - revisions, model)


def _revoke_some(
    session: Session, batch: Batch, region_set: str, lacking: int, model: PopulationModel
) -> None:
    """Revoke so many decoy users, or as many as the last week has that were never revised."""
    present = interval_at(batch.window_end)
    by_day: dict[int, list[DecoyUser]] = {day: [] for day in model.revision_delay_days.weights}
    for user in _users_of(_earlier(session, batch), region_set, model):
        # In which spell of 24 hours after its upload it would be revised now, counted as the model does.
        by_day.get((present - user.uploaded - 1) // INTERVALS_PER_DAY + 1, []).append(user)
    draws = companion_draws(batch.seed, regions_of_set(region_set))
    while lacking > 0 and any(by_day.values()):
        day, place = next(draws)
        users = by_day[model.revision_delay_days.at(day)]
        if users:
            user = users.pop(place * len(users) // WHOLE)
            revoked = [replace(key, report_type=ReportType.REVOKED) for key in user.keys]
            lacking -= _revise(session, revoked)


def _served_sets(session: Session, batches: Mapping[str, Batch]) -> list[tuple[str, _Origin]]:
    """Every set of regions, within those of the batches, that an authority's keys may go out in, and every
    one that uploads wait in from before authorities or feeds were changed (`keep_sets_served`).
    """
    sets = {
        region_set: origin
        for region_set, origin in _fed_sets(session).items()
        if regions_of_set(region_set) <= batches.keys()
    }
    fallback = session.scalars(select(HealthAuthority.id).order_by(HealthAuthority.id).limit(1)).first()
    waiting = select(Shelf.region_set).where(
        Shelf.releasable_at == NOW, Shelf.is_revision.is_(False), Shelf.window_end.is_(None)
    )
    for region_set in session.scalars(waiting.distinct()):
        if fallback is not None and regions_of_set(region_set) <= batches.keys():
            sets.setdefault(region_set, _Origin(fallback, traveler=False))
    return sorted(sets.items(), key=lambda item: item[0])


def _fed_sets(session: Session) -> dict[str, _Origin]:
    """Every set of regions that an authority's keys may go out in now."""
    stated = feeds(session)
    sets: dict[str, _Origin] = {}
    for authority in session.scalars(select(HealthAuthority).order_by(HealthAuthority.id)):
        for traveler in (False, True):
            regions = feeds_of(authority.regions, stated, traveler=traveler)
            if regions:
                sets.setdefault(region_set_of(regions), _Origin(authority.id, traveler))
    return sets


def keep_sets_served(session: Session) -> None:
    """Let each set of regions that keys may go out in now have decoy users once more, whatever becomes of it.

    Called before authorities' regions or feeds are changed, in the same transaction: uploads that came since
    the last file stay in the set that they came for, and whoever compares feeds would find nobody but them.
    """
    for region_set in sorted(_fed_sets(session)):
        open_shelves(session, region_set, {NOW})


def _gathered_since(session: Session, batch: Batch, region_set: str, policy: PublicationPolicy) -> int:
    """Since when uploads of this set have waited for their file, unix seconds: since the last one's window.

    For a set that had none yet, the last file of its first region; before any, one slot.
    """
    earlier = reversed(_earlier(session, batch))
    ends = [(one.window_end, one.decoys) for one in earlier if one.decoys]
    of_set = [end for end, decoys in ends if region_set in decoys]
    any_file = [end for end, _ in ends]
    slot = policy.slot_seconds or policy.window_seconds
    return next(iter([*of_set, *any_file]), min(batch.window_start, batch.window_end - slot))


@dataclass(frozen=True, slots=True)
class _Drawing:
    """All that the decoy users of one batch and set of regions are drawn from."""

    seed: bytes = field(repr=False)
    count: int
    region_set: str
    uploaded: range
    model: PopulationModel

    def users(self) -> list[DecoyUser]:
        """Its decoy users, in the order in which they are drawn."""
        regions = regions_of_set(self.region_set)
        return draw_decoys(self.seed, self.count, regions=regions, uploaded=self.uploaded, model=self.model)


def _drawings(batches: Iterable[Batch], region_set: str, model: PopulationModel) -> Iterator[_Drawing]:
    """Of those of the batches that have decoy users in this set and whose seed is not lost."""
    for batch in batches:
        count = batch.decoys.get(region_set, 0)
        if batch.seed and count:
            uploaded = window_intervals(batch.decoys_since[region_set], batch.window_end)
            yield _Drawing(batch.seed, count, region_set, uploaded, model)


def _users_of(batches: Iterable[Batch], region_set: str, model: PopulationModel) -> Iterator[DecoyUser]:
    for drawing in _drawings(batches, region_set, model):
        yield from drawing.users()


@lru_cache(maxsize=16_384)
def _revisions(drawing: _Drawing) -> tuple[DecoyRevision, ...]:
    """How its users are revised in their time: few of them are.

    Kept, for every run of the publisher asks all batches of nine days, and nearly always nobody is due.
    """
    return tuple(user.revision for user in drawing.users() if user.revision is not None)


def _earlier(session: Session, present: Batch) -> Sequence[Batch]:
    """The region's earlier batches whose decoy users may still be revised, oldest first."""
    return session.scalars(
        select(Batch)
        .where(
            Batch.region == present.region,
            Batch.sequence < present.sequence,
            Batch.window_end > present.window_end - _LOOK_BACK_SECONDS,
        )
        .order_by(Batch.sequence)
    ).all()


def _store(
    session: Session, users: Sequence[DecoyUser], region_set: str, origin: _Origin, present: int
) -> list[tuple[int, str]]:
    pairs = [(user, key) for user in users for key in user.keys]
    if not pairs:
        return []
    releases = {release_of(key, present) for _, key in pairs}
    shelves = open_shelves(session, region_set, releases - {NOW})
    if NOW in releases:
        shelves[NOW] = _leaving_shelf(session, region_set)
    rows: list[dict[str, object]] = [
        {
            "key_data": key.key_data,
            "rolling_start_interval_number": key.rolling_start_interval_number,
            "rolling_period": key.rolling_period,
            "end_interval_number": key.end_interval_number,
            "transmission_risk_level": key.transmission_risk_level,
            "report_type": int(key.report_type),
            "days_since_onset_of_symptoms": key.days_since_onset_of_symptoms,
            "health_authority_id": origin.authority_id,
            "traveler": origin.traveler or user.traveler,
            "revised_before_release": False,
            "recall_tag": tag,
            "shelf_id": shelves[release_of(key, present)],
        }
        for (user, key), tag in zip(pairs, recall_tags(None, len(pairs)), strict=True)
    ]
    # After a long gap some of them ended before the days that uploads have needed.
    make_days(session, {day_of(key.end_interval_number) for _, key in pairs})
    # Nobody can know one of these keys before this transaction commits: no lock is taken against others.
    insert_new(session, DiagnosisKey, rows, DiagnosisKey.key_data)
    return [(shelves[NOW], region_set)] if NOW in releases else []


def _leaving_shelf(session: Session, region_set: str) -> int:
    """A shelf that people's keys leave from in this transaction, or a new one if nobody's do."""
    pending = session.scalars(
        select(Shelf.id)
        .where(
            Shelf.region_set == region_set,
            Shelf.releasable_at == NOW,
            Shelf.is_revision.is_(False),
            Shelf.is_open.is_(False),
            Shelf.window_end.is_(None),
        )
        .order_by(Shelf.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if pending is not None:
        return pending
    shelf = Shelf(region_set=region_set, releasable_at=NOW, is_revision=False, is_open=False)
    session.add(shelf)
    session.flush()
    return shelf.id


def _revise(session: Session, keys: Collection[TemporaryExposureKey]) -> bool:
    """Whether the user was revised: not one that has been before, or whose keys are forgotten or held."""
    names = [key.key_data for key in keys]
    rows = {
        row.key_data: row
        for row in session.scalars(
            select(DiagnosisKey)
            .where(DiagnosisKey.key_data.in_(names), DiagnosisKey.revised_before_release.is_(False))
            .order_by(DiagnosisKey.key_data)
            .with_for_update(skip_locked=True)
        )
    }
    revised = session.scalars(select(KeyRevision.key_data).where(KeyRevision.key_data.in_(names))).first()
    if revised is not None or len(rows) < len(names):
        return False
    revise_rows(session, [(rows[key.key_data], key) for key in keys])
    session.flush()
    return True
