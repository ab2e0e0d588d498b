"""A key leaves in all its regions in the same window, whatever dies, comes late or is in the way."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from registry.lifecycle.publish import PublicationPolicy
from registry.lifecycle.revise import RevisionTokenReading, revise_stored_keys
from registry.models import Batch, BatchShelf, DiagnosisKey, Shelf
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.revision_token import RevisableKey
from tests.clock import NOON_OF_JUNE_15
from tests.publishing import HOUR, NOON, FailingStorage, Publishing, in_memory, key_ending

END = int(NOON_OF_JUNE_15)
REGIONS = ["XA", "XB"]
on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
"""SQLite has one writer at a time: what these tests interleave cannot happen there."""


def windows_of(stage: Publishing, key: TemporaryExposureKey) -> dict[str, int | None]:
    """By region, the end of the window that the key is sealed in."""
    with stage.new_session() as session:
        row = session.get_one(DiagnosisKey, key.key_data)
        batches = session.execute(
            select(Batch.region, Batch.window_end).join(BatchShelf).where(BatchShelf.shelf_id == row.shelf_id)
        )
        left = {batch.region: batch.window_end for batch in batches}
        shelf = session.get_one(Shelf, row.shelf_id)
        assert set(left) == (shelf.regions if shelf.window_end else set()), "in all its regions or in none"
        return {region: left.get(region) for region in sorted(shelf.regions)}


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
        if statement.startswith("INSERT INTO batch_shelf"):
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
def test_an_upload_that_begins_while_windows_are_sealed_goes_onto_another_shelf(stage: Publishing) -> None:
    there, late = key_ending(NOON - 144, 1), key_ending(NOON - 144, 2)
    stage.collect([there], regions=REGIONS)
    uploads = iter([late])

    @event.listens_for(stage.engine, "after_cursor_execute")
    def _commit_late(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: Any) -> None:
        if statement.startswith("INSERT INTO batch_shelf"):
            stage.collect(list(uploads), regions=REGIONS)

    stage.publish(regions=REGIONS)
    assert next(uploads, None) is None, "it came between"
    assert windows_of(stage, there) == {"XA": END, "XB": END}
    assert windows_of(stage, late) == {"XA": None, "XB": None}
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    assert windows_of(stage, late) == {"XA": END + HOUR, "XB": END + HOUR}


def revise(session: Session, key: TemporaryExposureKey) -> None:
    """What an upload of the key with a confirmed test does; it stays open until the session commits."""
    named = RevisableKey(key.key_data, key.rolling_start_interval_number, key.rolling_period)
    confirmed = replace(key, report_type=ReportType.CONFIRMED_TEST)
    revise_stored_keys(session, [confirmed], RevisionTokenReading((named,), None))
    session.flush()


@on_postgresql
@pytest.mark.parametrize("what", ["upload", "revision"])
def test_a_shelf_that_somebody_holds_waits_for_the_next_window_and_nobody_for_a_lock(
    impatient: Publishing, what: str
) -> None:
    stage = impatient
    held, free, new = (
        replace(key_ending(NOON - 144, number), report_type=ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
        for number in (1, 2, 3)
    )
    stage.collect([held], regions=REGIONS)
    stage.collect([free], regions=["XA"])
    with stage.new_session() as holding:
        if what == "revision":
            revise(holding, held)
        else:
            stage.collect([new], regions=REGIONS, session=holding)
        stage.publish(regions=REGIONS)
        holding.commit()
    assert windows_of(stage, held) == {"XA": None, "XB": None}
    assert windows_of(stage, free) == {"XA": END}
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    assert windows_of(stage, held) == {"XA": END + HOUR, "XB": END + HOUR}
    revised = replace(held, report_type=ReportType.CONFIRMED_TEST)
    assert (revised if what == "revision" else held) in stage.files("XB")[-1].keys
    assert all(not file.revised_keys for file in stage.files("XA"))


@on_postgresql
def test_a_revision_that_comes_while_its_shelf_is_sealed_goes_out_as_a_revised_key(stage: Publishing) -> None:
    key = replace(key_ending(NOON - 144, 1), report_type=ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
    stage.collect([key], regions=REGIONS)
    waiting = threading.Event()

    def revise_later() -> None:
        with stage.new_session() as session:
            waiting.set()
            revise(session, key)  # waits for the lock that sealing holds
            session.commit()

    thread = threading.Thread(target=revise_later)

    @event.listens_for(stage.engine, "before_cursor_execute")
    def _revise(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: Any) -> None:
        if statement.startswith("INSERT INTO batch_shelf") and not waiting.is_set():
            thread.start()
            waiting.wait()

    stage.publish(regions=REGIONS)
    thread.join()
    stage.clock.advance(HOUR)
    stage.publish(regions=REGIONS)
    first, second = stage.files("XA")
    assert (first.keys, first.revised_keys) == ((key,), ())
    assert (second.keys, second.revised_keys) == ((), (replace(key, report_type=ReportType.CONFIRMED_TEST),))


# ------------------------------------------------------------------ slots and the floor

SLOTS = PublicationPolicy(window_seconds=HOUR, slot_seconds=4 * HOUR, floor=3)


def people(stage: Publishing, count: int, first: int, regions: Sequence[str] = ("XA",)) -> set[bytes]:
    """So many uploads of two keys each; the keys."""
    keys = [
        [key_ending(NOON - 144 * day, 1000 * first + 10 * person + day) for day in (1, 2)]
        for person in range(count)
    ]
    for upload in keys:
        stage.collect(upload, regions=regions)
    return {key.key_data for upload in keys for key in upload}


def test_a_batch_waits_for_the_floor_and_no_longer_than_its_slot(stage: Publishing) -> None:
    stage.publish(policy=SLOTS)  # at noon, the end of a slot
    few = people(stage, 2, 1)
    for hour in (1, 2, 3):
        stage.clock.advance(HOUR)
        stage.publish(policy=SLOTS)
        assert stage.published() == {}, hour
    stage.clock.advance(HOUR)
    stage.publish(policy=SLOTS)
    assert {key for key, _ in stage.published()} == few
    # The windows that waited are closed, without a file, and nothing is skipped.
    assert [window.last_sequence for window in stage.index().windows] == [4, 5]


def test_a_batch_with_the_floor_goes_out_at_once(stage: Publishing) -> None:
    stage.publish(policy=SLOTS)
    first = people(stage, 2, 1)
    stage.clock.advance(HOUR)
    stage.publish(policy=SLOTS)
    assert stage.published() == {}
    third = people(stage, 1, 2)
    stage.clock.advance(HOUR)
    stage.publish(policy=SLOTS)
    assert {key for key, _ in stage.published()} == first | third


def test_downtime_over_a_slots_end_does_not_make_a_batch_wait_for_another(stage: Publishing) -> None:
    stage.publish(policy=SLOTS)
    few = people(stage, 1, 1)
    stage.clock.advance(5 * HOUR)
    stage.publish(policy=SLOTS)
    assert {key for key, _ in stage.published()} == few


def test_keys_of_two_regions_wait_for_the_smaller_one(stage: Publishing) -> None:
    """XA alone would have the floor, XB has not: what they share goes out nowhere, and XA keeps three."""
    stage.publish(policy=SLOTS, regions=REGIONS)
    shared, own = people(stage, 2, 1, REGIONS), people(stage, 3, 2, ["XA"])
    stage.clock.advance(HOUR)
    stage.publish(policy=SLOTS, regions=REGIONS)
    assert {key for key, _ in stage.published("XA")} == own
    assert stage.published("XB") == {}
    stage.clock.advance(3 * HOUR)
    stage.publish(policy=SLOTS, regions=REGIONS)
    assert {key for key, _ in stage.published("XA")} == own | shared
    assert {key for key, _ in stage.published("XB")} == shared


def test_a_region_that_is_short_without_what_it_shares_waits_as_well(stage: Publishing) -> None:
    """XA has three uploads, of which two wait for XB: with the one that is left, it is short too."""
    stage.publish(policy=SLOTS, regions=REGIONS)
    people(stage, 2, 1, REGIONS)
    people(stage, 1, 2, ["XA"])
    stage.clock.advance(HOUR)
    stage.publish(policy=SLOTS, regions=REGIONS)
    assert stage.published("XA") == stage.published("XB") == {}


sets_of_regions = st.lists(
    st.tuples(st.sets(st.sampled_from(["XA", "XB", "XC"]), min_size=1), st.integers(1, 4)), max_size=8
)


@settings(max_examples=20)
@given(st.lists(sets_of_regions, min_size=1, max_size=6))
def test_every_key_leaves_once_in_all_its_regions_together(hours: list[Any]) -> None:
    """Whatever sets of regions upload how many in which hour. No early batch is under the floor."""
    stage = in_memory()
    regions = ["XA", "XB", "XC"]
    wanted: dict[str, set[bytes]] = {region: set() for region in regions}
    for number, uploads in enumerate(hours):
        for other, (own, count) in enumerate(uploads):
            keys = people(stage, count, 100 * number + other, sorted(own))
            for region in own:
                wanted[region] |= keys
        stage.clock.advance(HOUR)
        stage.publish(policy=SLOTS, regions=regions)
    stage.clock.advance(4 * HOUR)
    stage.publish(policy=SLOTS, regions=regions)
    left: dict[bytes, set[int]] = defaultdict(set)
    for region in regions:
        for file in stage.files(region):
            assert (
                len(file.keys) >= 2 * SLOTS.floor
                or file.end_timestamp % (4 * HOUR) == 0
                or (file.end_timestamp - file.start_timestamp > HOUR)
            )
            for key in file.keys:
                left[key.key_data].add(file.end_timestamp)
        assert stage.published(region) == dict.fromkeys(((key, False) for key in wanted[region]), 1)
    assert all(len(ends) == 1 for ends in left.values())
