"""A key leaves in all its regions in the same window, whatever dies, comes late or is in the way."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from registry.lifecycle.revise import RevisionTokenReading, revise_stored_keys
from registry.models import Batch, KeyRelease
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.revision_token import RevisableKey
from tests.clock import NOON_OF_JUNE_15
from tests.publishing import HOUR, NOON, FailingStorage, Publishing, key_ending

END = int(NOON_OF_JUNE_15)
REGIONS = ["XA", "XB"]
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
"""SQLite has one writer at a time: what these tests interleave cannot happen there."""


def windows_of(stage: Publishing, key: TemporaryExposureKey) -> dict[str, int | None]:
    """By region, the end of the window that the key is sealed in."""
    with stage.new_session() as session:
        rows = session.execute(
            select(KeyRelease.region, Batch.window_end)
            .outerjoin(Batch)
            .where(KeyRelease.key_data == key.key_data)
        )
        return {row.region: row.window_end for row in rows}


class Killed(BaseException):
    """The process ended here."""


def test_a_process_that_dies_over_one_regions_files_has_sealed_the_others_too(stage: Publishing) -> None:
    key = key_ending(NOON - 144, 1)
    stage.collect([key], regions=REGIONS)
    dying = FailingStorage(stage.storage, lambda call, path: path.endswith(".zip"), Killed())
    with pytest.raises(Killed):
        stage.publish(storage=dying, regions=REGIONS)
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    assert windows_of(stage, key) == {"XA": END, "XB": END}
    assert stage.published("XA") == stage.published("XB") == {(key.key_data, False): 1}


def test_a_fault_in_sealing_seals_no_region(stage: Publishing) -> None:
    key = key_ending(NOON - 144, 1)
    stage.collect([key], regions=REGIONS)

    @event.listens_for(stage.engine, "before_cursor_execute")
    def _die(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
        if statement.startswith("UPDATE key_release") and "XB" in repr(parameters):
            raise Killed

    with pytest.raises(Killed):
        stage.publish(regions=REGIONS)
    event.remove(stage.engine, "before_cursor_execute", _die)
    assert windows_of(stage, key) == {"XA": None, "XB": None}
    assert stage.batches("XA") == stage.batches("XB") == []
    stage.publish(regions=REGIONS)
    assert windows_of(stage, key) == {"XA": END, "XB": END}


def test_a_region_that_joins_late_waits_for_the_keys_that_it_shares(stage: Publishing) -> None:
    stage.publish(regions=["XA"])
    shared, own = key_ending(NOON - 144, 1), key_ending(NOON - 144, 2)
    stage.collect([shared], regions=REGIONS)
    stage.collect([own], regions=["XB"])
    stage.clock.advance(60)
    stage.publish(regions=REGIONS)
    assert stage.published("XB") == {(own.key_data, False): 1}
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    assert windows_of(stage, shared) == {"XA": END + HOUR, "XB": END + HOUR}
    assert windows_of(stage, own) == {"XB": END}


def test_a_batch_that_all_keys_were_held_back_from_has_no_file(stage: Publishing) -> None:
    stage.publish(regions=["XA"])
    stage.collect([key_ending(NOON - 144, 1)], regions=REGIONS)
    assert stage.publish(regions=REGIONS).batches == ()
    assert [batch.newest_key_end for batch in stage.batches("XB")] == [None]
    assert stage.names("XB") == []


@pytest.fixture
def impatient(stage: Publishing) -> Publishing:
    """A stage whose every wait for a lock fails, so that a test of one never hangs."""
    stage.engine.dispose()

    @event.listens_for(stage.engine, "connect")
    def _impatient(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        connection.commit()

    return stage


@on_postgresql
def test_an_upload_that_commits_between_two_regions_turns_falls_into_the_next_window(
    stage: Publishing,
) -> None:
    there, late = key_ending(NOON - 144, 1), key_ending(NOON - 144, 2)
    stage.collect([there], regions=REGIONS)
    uploads = iter([late])

    @event.listens_for(stage.engine, "after_cursor_execute")
    def _commit_late(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
        if statement.startswith("UPDATE key_release") and "XA" in repr(parameters):
            stage.collect(list(uploads), regions=REGIONS)

    stage.publish(regions=REGIONS)
    assert next(uploads, None) is None, "it came between"
    assert windows_of(stage, late) == {"XA": None, "XB": None}
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    assert windows_of(stage, there) == {"XA": END, "XB": END}
    assert windows_of(stage, late) == {"XA": END + HOUR, "XB": END + HOUR}


def revise(session: Session, key: TemporaryExposureKey) -> None:
    """What an upload of the key with a confirmed test does; it stays open until the session commits."""
    named = RevisableKey(key.key_data, key.rolling_start_interval_number, key.rolling_period)
    confirmed = replace(key, report_type=ReportType.CONFIRMED_TEST)
    revise_stored_keys(session, [confirmed], RevisionTokenReading((named,), None))
    session.flush()


@on_postgresql
def test_a_key_that_a_revision_holds_waits_for_the_next_window_and_nobody_for_a_lock(
    impatient: Publishing,
) -> None:
    stage = impatient
    held, free = (
        replace(key_ending(NOON - 144, number), report_type=ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
        for number in (1, 2)
    )
    stage.collect([held, free], regions=REGIONS)
    with stage.new_session() as revising:
        revise(revising, held)
        stage.publish(regions=REGIONS)
        revising.commit()
    assert windows_of(stage, held) == {"XA": None, "XB": None}
    assert windows_of(stage, free) == {"XA": END, "XB": END}
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    for region in REGIONS:
        first, second = stage.files(region)
        assert first.keys == (free,)
        assert second.keys == (replace(held, report_type=ReportType.CONFIRMED_TEST),)
        assert second.revised_keys == ()


@on_postgresql
def test_a_revision_that_has_come_half_way_keeps_the_key_in_and_can_go_on(impatient: Publishing) -> None:
    """It holds the release of one region, and takes that of the other only after the windows were sealed."""
    stage = impatient
    key = replace(key_ending(NOON - 144, 1), report_type=ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
    stage.collect([key], regions=REGIONS)
    with stage.new_session() as revising:
        revising.execute(select(KeyRelease).where(KeyRelease.region == "XB").with_for_update())
        stage.publish(regions=REGIONS)
        revise(revising, key)
        revising.commit()
    assert windows_of(stage, key) == {"XA": None, "XB": None}
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    assert windows_of(stage, key) == {"XA": END + HOUR, "XB": END + HOUR}
