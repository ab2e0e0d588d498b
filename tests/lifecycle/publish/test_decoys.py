"""Decoy users in the publisher: in every file, in all feeds alike, revised like people, and never counted."""

from collections import defaultdict
from dataclasses import replace

import pytest
from sqlalchemy import select

from registry.client.monitor.count_patients import Method, count_patients
from registry.errors import PublishingFailed
from registry.lifecycle.publish import PublicationPolicy
from registry.lifecycle.publish.decoys import keep_sets_served
from registry.models import (
    Batch,
    DiagnosisKey,
    HealthAuthority,
    KeyRevision,
    RegionFeed,
    Shelf,
    transaction,
)
from registry.protocol.decoys import decoy_keys, window_intervals
from registry.protocol.export_file import read_zip
from registry.protocol.index import GAEN_ZIP, TRUST_PATH
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.keys import ReportType
from registry.protocol.population import DecoyPolicy, Distribution, PopulationModel, decode_decoy_policy
from registry.protocol.trust import decode_trust
from tests.publishing import DAY, HOUR, NOON, FailingStorage, Publishing, key_ending

MODEL = PopulationModel()
SLOT = 4 * HOUR
POLICY = PublicationPolicy(window_seconds=HOUR, slot_seconds=SLOT, floor=10, population=MODEL)


def real_keys(
    stage: Publishing, people: int, *, regions: tuple[str, ...] = ("XA",), first: int = 1000
) -> set[bytes]:
    """So many people's uploads of two keys."""
    found = set()
    for person in range(people):
        keys = [key_ending(NOON - 144 * day, first + 10 * person + day) for day in (1, 2)]
        stage.collect(keys, regions=regions)
        found |= {key.key_data for key in keys}
    return found


def slots(stage: Publishing, count: int, policy: PublicationPolicy = POLICY) -> None:
    """So many slots go by, hour after hour, with the publisher at the end of each."""
    for _ in range(count * SLOT // HOUR):
        stage.clock.advance(HOUR)
        stage.publish(policy=policy)


def filed(stage: Publishing) -> list[Batch]:
    """Batches that have files."""
    return [batch for batch in stage.batches() if batch.decoys]


def decoys_of(batch: Batch, region_set: str = "XA") -> frozenset[bytes]:
    """By the seed, as an auditor finds them once it is opened."""
    return decoy_keys(
        batch.seed,
        batch.decoys[region_set],
        regions=region_set.split(","),
        uploaded=window_intervals(batch.decoys_since[region_set], batch.window_end),
        model=MODEL,
    )


@pytest.mark.parametrize("people", [0, 1, 6, 12])
def test_every_slot_has_a_file_of_the_floor_and_more(stage: Publishing, people: int) -> None:
    real = real_keys(stage, people)
    stage.publish(policy=POLICY)
    (batch,) = stage.batches()
    assert batch.decoys["XA"] >= max(0, 10 - people)
    (file,) = stage.files()
    published = {key.key_data for key in file.keys}
    assert real <= published
    assert published - real <= decoys_of(batch)
    assert stage.publish(policy=POLICY).windows_sealed == 0
    stage.check_agreement()


def test_a_decoys_key_that_is_still_valid_waits_for_its_embargo(stage: Publishing) -> None:
    stage.publish(policy=POLICY)
    slots(stage, 5)
    waited = 0
    for batch in filed(stage):
        for file in stage.files():
            late = decoys_of(batch) & {key.key_data for key in file.keys}
            waited += len(late) if file.end_timestamp > batch.window_end else 0
    assert waited > 0
    for file in stage.files():
        latest = max(key.end_interval_number for key in file.keys)
        assert latest + EMBARGO_INTERVALS <= interval_at(file.end_timestamp)


def test_what_two_feeds_share_holds_decoys_too(stage: Publishing) -> None:
    with transaction(stage.new_session()) as session:
        session.merge(
            HealthAuthority(id="both", certificate_issuer="i", certificate_audience="a", regions=["XA", "XB"])
        )
    real = real_keys(stage, 2, regions=("XA", "XB"))
    stage.publish(policy=POLICY, regions=["XA", "XB"])
    by_region = {region: {key for key, _ in stage.published(region)} for region in ("XA", "XB")}
    shared = by_region["XA"] & by_region["XB"]
    assert real < shared
    (batch, *_) = stage.batches("XA")
    assert shared - real <= decoys_of(batch, "XA,XB")
    assert batch.decoys["XA,XB"] >= 8
    assert by_region["XA"] - shared <= decoys_of(batch, "XA"), "XA alone has nobody but decoys"


@pytest.mark.parametrize("age", [1, 0], ids=["may leave at once", "waits for its embargo"])
def test_who_uploaded_before_a_change_of_feeds_is_not_alone_in_the_difference(
    stage: Publishing, age: int
) -> None:
    for _ in range(2):
        stage.publish(policy=POLICY, regions=["XA", "XB"])
        stage.clock.advance(SLOT)
    person = key_ending(interval_at(stage.clock()) - 144 * age, 1000)
    stage.collect([person], regions=["XA"])
    with transaction(stage.new_session()) as session:
        keep_sets_served(session)
        session.merge(RegionFeed(region="XB", include=["XA", "XB"], exclude=[], include_travelers=False))
    stage.publish(policy=POLICY, regions=["XA", "XB"])
    in_file = {region: {key.key_data for key in stage.files(region)[-1].keys} for region in ("XA", "XB")}
    alone = in_file["XA"] - in_file["XB"]
    batch = stage.batches("XA")[-1]
    assert (person.key_data in alone) == (age == 1)
    assert batch.decoys["XA"] >= 9
    assert alone - {person.key_data} <= frozenset().union(*(decoys_of(one) for one in stage.batches("XA")))
    assert len(alone & decoys_of(batch)) > 20


def test_the_attacker_finds_no_more_than_the_policy_tells(stage: Publishing) -> None:
    """Two feeds, days' files beside their windows, runs that stop half way: padding is not told from people.

    A day has six slots; four of them lie about the end of the first.
    """
    regions = ("XA", "XB")
    with transaction(stage.new_session()) as session:
        session.merge(
            HealthAuthority(
                id="both", certificate_issuer="i", certificate_audience="a", regions=list(regions)
            )
        )
    second_feed = FailingStorage(stage.storage, lambda _, path: path.startswith("exposures/XB/"), OSError())
    for number in range(4):
        real_keys(stage, 2, regions=regions, first=1000 + 100 * number)
        real_keys(stage, 1, first=1050 + 100 * number)
        for hour in range(1, 5):
            stage.clock.advance(HOUR)
            if hour == 4:
                with pytest.raises(PublishingFailed):
                    stage.publish(policy=POLICY, regions=regions, storage=second_feed)
            stage.publish(policy=POLICY, regions=regions)
    windows = [file for region in regions for file in stage.files(region)]
    listed = [file for region in regions for day in stage.index(region).days for file in day.files]
    days = [read_zip(stage.fetch(f"exposures/{file.path}"))[0] for file in listed if file.format == GAEN_ZIP]
    assert len(windows) == 2 * 4
    assert [day.region for day in days] == list(regions)
    policy = DecoyPolicy(POLICY.floor, MODEL)
    counts = count_patients([*windows, *days], policy)
    assert counts == count_patients(windows, policy)
    assert len(counts) == 4
    assert all(count.users[Method.DIFFERENCES] for count in counts), (
        "the feeds do share users, decoys among them"
    )
    assert not any(count.is_given_away for count in counts)


def test_rows_of_decoys_are_rows_like_any_other(stage: Publishing) -> None:
    real = real_keys(stage, 3)
    stage.publish(policy=POLICY)
    with stage.new_session() as session:
        shelves = defaultdict(set)
        for row in session.scalars(select(DiagnosisKey)):
            shelves[row.shelf_id].add(row.key_data in real)
            assert len(row.recall_tag) == 16
        assert {True, False} in shelves.values(), "they lie on the shelves that people's keys lie on"


def test_decoys_are_revised_at_their_rate_and_come_out_as_revised(stage: Publishing) -> None:
    clinical = int(ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
    unsure = replace(
        MODEL,
        report_types=Distribution({clinical: 65_536}),
        revision_delay_days=Distribution({1: 65_536}),
    )
    policy = replace(POLICY, population=unsure)
    slots(stage, 9, policy)
    revised = [key for file in stage.files() for key in file.revised_keys]
    types = {key.report_type for key in revised}
    assert types == {ReportType.CONFIRMED_TEST, ReportType.REVOKED}
    assert max(stage.published().values()) == 1
    stage.check_agreement()


def test_one_persons_revocation_goes_out_among_others(stage: Publishing) -> None:
    real_keys(stage, 1)
    stage.publish(policy=POLICY)
    slots(stage, 2)
    persons = [key_ending(NOON - 144 * day, 1000 + day) for day in (1, 2)]
    for key in persons:
        stage.revise(key, ReportType.REVOKED)
    slots(stage, 1)
    revoked = {key.key_data for key in stage.files()[-1].revised_keys}
    users = [{key.key_data for key in file.keys} for file in stage.files()[:3]]
    assert len(revoked) > 2 + 5 * 5, "nine decoy users' keys and the person's"
    assert {key.key_data for key in persons} < revoked <= set().union(*users)
    with stage.new_session() as session:
        shelves = select(Shelf.window_end).where(Shelf.id.in_(select(KeyRevision.shelf_id)))
        assert None not in session.scalars(shelves).all(), "nobody of the group waits for another batch"


def test_the_trust_material_states_the_model(stage: Publishing) -> None:
    stage.publish(policy=POLICY)
    content = stage.fetch(TRUST_PATH)
    assert decode_trust(content).publication["floor"] == 10
    assert decode_decoy_policy(content) == DecoyPolicy(10, MODEL)


def test_decoys_are_retired_as_people_are(stage: Publishing) -> None:
    stage.publish(policy=POLICY)
    stage.clock.advance(23 * DAY)
    assert stage.retire(policy=POLICY).keys > 50
    with stage.new_session() as session:
        assert session.scalars(select(DiagnosisKey)).all() == []
