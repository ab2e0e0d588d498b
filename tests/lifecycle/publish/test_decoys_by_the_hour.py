"""Decoy users where the publisher runs by the hour, as in production: a slot is four windows and one file."""

import pytest
from sqlalchemy import select

from registry.lifecycle.publish import PublicationPolicy
from registry.lifecycle.publish.decoys import keep_sets_served
from registry.models import Batch, DiagnosisKey, HealthAuthority, KeyRevision, RegionFeed, transaction
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.keys import MAX_ROLLING_PERIOD, ReportType
from registry.protocol.population import PopulationModel
from tests.publishing import DAY, HOUR, NOON, Publishing, key_ending

POLICY = PublicationPolicy(window_seconds=HOUR, slot_seconds=4 * HOUR, floor=10, population=PopulationModel())


def hours(stage: Publishing, count: int) -> None:
    """So many hours go by; the publisher runs at the end of each."""
    for _ in range(count):
        stage.clock.advance(HOUR)
        stage.publish(policy=POLICY)


def upload(stage: Publishing, number: int, *, ended: int = NOON - INTERVALS_PER_DAY) -> None:
    """One person's upload of one key."""
    stage.collect([key_ending(ended, number)])


def newest(stage: Publishing) -> Batch:
    return stage.batches()[-1]


def test_a_waiting_revision_hides_nobody_who_is_new(stage: Publishing) -> None:
    """Twelve that are revised hold the floor by themselves. The person has nine about them all the same."""
    stage.publish(policy=POLICY)
    for number in range(12):
        upload(stage, 100 + number)
    hours(stage, 4)
    for number in range(12):
        stage.revise(key_ending(NOON - INTERVALS_PER_DAY, 100 + number), ReportType.REVOKED)
    upload(stage, 1)
    hours(stage, 1)
    assert newest(stage).decoys["XA"] >= 9, "revisions alone hold the floor, and go out early"


def test_keys_that_an_embargo_kept_back_hide_nobody_who_is_new(stage: Publishing) -> None:
    """Ten people's keys of today, whole, leave at two in the morning. Who uploads at one has decoys still."""
    stage.publish(policy=POLICY)
    midnight = NOON + 72
    for number in range(10):
        upload(stage, 100 + number, ended=midnight)
    hours(stage, 13)
    upload(stage, 1)
    hours(stage, 1)
    (file, *_) = (file for file in reversed(stage.files()) if file.keys)
    assert file.end_timestamp == stage.clock(), "ten people's keys go out early"
    assert newest(stage).decoys["XA"] >= 9


def test_decoys_upload_at_any_time_since_the_last_file(stage: Publishing) -> None:
    stage.publish(policy=POLICY)
    hours(stage, 4 * 8)
    filed = [batch for batch in stage.batches() if batch.decoys]
    assert len(filed) == 9
    assert [batch.decoys_since["XA"] for batch in filed[1:]] == [batch.window_end for batch in filed[:-1]]
    # A key that was cut short at the upload tells when that was.
    hours_of_slot = set()
    for file in stage.files():
        for key in file.keys:
            if key.rolling_period < MAX_ROLLING_PERIOD:
                hours_of_slot.add(key.end_interval_number // 6 % 4)
    assert hours_of_slot == {0, 1, 2, 3}


def test_a_file_that_goes_early_has_decoys_of_the_hours_that_it_gathered(stage: Publishing) -> None:
    stage.publish(policy=POLICY)
    hours(stage, 1)
    for number in range(10):
        upload(stage, number)
    hours(stage, 1)
    (before, _, early) = stage.batches()
    assert early.decoys_since == {"XA": before.window_end}
    assert early.window_end - before.window_end == 2 * HOUR


def test_whoever_is_revoked_beside_a_person_was_in_the_files_as_short_a_time(stage: Publishing) -> None:
    for _ in range(12 * 3):
        stage.publish(policy=POLICY)
        stage.clock.advance(8 * HOUR)
    ended = interval_at(stage.clock()) // INTERVALS_PER_DAY * INTERVALS_PER_DAY
    upload(stage, 1, ended=ended)
    hours(stage, 4)
    stage.clock.advance(DAY)
    person = key_ending(ended, 1)
    stage.revise(person, ReportType.REVOKED)
    stage.publish(policy=POLICY)
    published = {key.key_data: file.end_timestamp for file in stage.files() for key in file.keys}
    revoked = [
        key.key_data for key in stage.files()[-1].revised_keys if key.report_type == ReportType.REVOKED
    ]
    assert person.key_data in revoked
    assert len(revoked) > 5 * 9
    ages = sorted((stage.clock() - published[key]) / DAY for key in revoked)
    assert ages[0] < 2
    assert ages[-1] < 8
    with stage.new_session() as session:
        assert len(session.scalars(select(KeyRevision)).all()) >= len(revoked)


@pytest.mark.parametrize("told", [True, False])
def test_uploads_of_before_a_change_of_feeds_have_decoys_too(stage: Publishing, told: bool) -> None:
    regions = ["XA", "XB"]
    stage.publish(policy=POLICY, regions=regions)
    upload(stage, 1)
    with transaction(stage.new_session()) as session:
        if told:
            keep_sets_served(session)
        for region in regions:
            session.merge(RegionFeed(region=region, include=["XA"], exclude=[], include_travelers=False))
        authority = session.scalars(select(HealthAuthority)).one()
        assert authority.regions == ["XA"]
    for _ in range(4):
        stage.clock.advance(HOUR)
        stage.publish(policy=POLICY, regions=regions)
    batch = newest(stage)
    assert batch.decoys["XA"] >= 9, "whom one feed has and the other has not"
    assert batch.decoys["XA,XB"] >= 10
    for _ in range(4):
        stage.clock.advance(HOUR)
        stage.publish(policy=POLICY, regions=regions)
    assert list(newest(stage).decoys) == ["XA,XB"], "nobody can come to the old set any more"


def test_a_set_in_which_nobody_waits_is_served_once_more_if_told(stage: Publishing) -> None:
    """Or else the set's absence from one file on would tell that nobody had waited."""
    regions = ["XA", "XB"]
    stage.publish(policy=POLICY, regions=regions)
    with transaction(stage.new_session()) as session:
        keep_sets_served(session)
        for region in regions:
            session.merge(RegionFeed(region=region, include=["XA"], exclude=[], include_travelers=False))
    sets = []
    for _ in range(2):
        for _ in range(4):
            stage.clock.advance(HOUR)
            stage.publish(policy=POLICY, regions=regions)
        sets.append(sorted(newest(stage).decoys))
    assert sets == [["XA", "XA,XB"], ["XA,XB"]]
    with stage.new_session() as session:
        assert session.scalars(select(DiagnosisKey)).first() is not None
