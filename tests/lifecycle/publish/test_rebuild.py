"""Files are compared with what the rows make of them once more: nothing is changed, every change is found."""

from sqlalchemy import delete, update

from registry.lifecycle.publish.rebuild import Rebuilt, rebuild_all
from registry.models import DiagnosisKey, transaction
from registry.protocol.index import EXPOSURES
from registry.protocol.keys import ReportType
from tests.publishing import DAY, HOUR, HOURLY, NOON, Publishing, key_ending


def results(stage: Publishing) -> dict[str, Rebuilt]:
    told: list[tuple[int, int]] = []
    found = list(
        rebuild_all(
            stage.new_session,
            stage.storage,
            policy=HOURLY,
            now=stage.clock(),
            progress=lambda done, total: told.append((done, total)),
        )
    )
    assert told[-1][0] == told[-1][1]
    return {one.path: one for one in found}


def a_day(stage: Publishing) -> None:
    """Two windows with keys, one of them with a revision, and the day's file of them."""
    stage.collect([key_ending(NOON - 144 * day, day) for day in range(1, 6)])
    stage.publish()
    stage.revise(key_ending(NOON - 144, 1), ReportType.REVOKED)
    stage.clock.advance(HOUR)
    stage.publish()
    stage.clock.advance(11 * HOUR)
    stage.publish()


def test_every_file_is_what_the_rows_make(stage: Publishing) -> None:
    a_day(stage)
    before = {name: stage.fetch(name) for name in stage.storage.names("")}
    found = results(stage)
    assert len(found) == 6, "two formats of two windows and a day"
    assert all(one == Rebuilt(path) for path, one in found.items())
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == before


def test_a_row_that_was_changed_is_found_in_every_file_that_it_is_in(stage: Publishing) -> None:
    a_day(stage)
    with transaction(stage.new_session()) as session:
        session.execute(
            update(DiagnosisKey)
            .where(DiagnosisKey.key_data == (3).to_bytes(16))
            .values(days_since_onset_of_symptoms=5)
        )
    wrong = {path for path, one in results(stage).items() if one.fault}
    assert len(wrong) == 4, "both formats of the window and of the day"


def test_a_row_that_is_gone_before_its_time_and_a_file_that_was_changed_are_found(stage: Publishing) -> None:
    a_day(stage)
    (first, *_) = stage.names()
    stage.storage.replace(f"{EXPOSURES}/{first}", b"other bytes")
    with transaction(stage.new_session()) as session:
        session.execute(delete(DiagnosisKey).where(DiagnosisKey.key_data == (4).to_bytes(16)))
    found = results(stage)
    assert "cannot be read" in found[first].fault
    assert "other bytes" in found[first.replace(".zip", ".compact")].fault
    stage.storage.delete(f"{EXPOSURES}/{first}")
    assert results(stage)[first].fault == "is gone"


def test_keys_that_were_retired_before_their_file_are_no_fault(stage: Publishing) -> None:
    old, new = key_ending(NOON - 10 * 144, 1), key_ending(NOON - 144, 2)
    stage.collect([old, new])
    stage.publish()
    stage.clock.advance(DAY)
    stage.publish()  # the day's file too
    stage.clock.advance(11 * DAY)
    assert stage.retire().keys == 1
    assert {(one.fault, one.partial) for one in results(stage).values()} == {("", True)}
