"""PostgreSQL's table a day: keys find it, a day goes as a whole, and no key is stored twice for all that."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.publish.key_days import DAYS_AHEAD, LOCK_MILLISECONDS, make_due_days
from registry.models import (
    Batch,
    BatchShelf,
    BatchState,
    DiagnosisKey,
    KeyRevision,
    Shelf,
    make_days,
    open_database,
    transaction,
)
from registry.models.key_day import day_of, days_made, last_end_of
from registry.protocol.intervals import interval_at
from registry.protocol.keys import ReportType
from registry.protocol.population import PopulationModel
from tests.authority import made_key
from tests.clock import FakeClock
from tests.lifecycle.upload_desk import UploadDesk
from tests.publishing import DAY, HOURLY, NOON, REGION, Publishing, key_ending

on_postgresql = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
TODAY = day_of(NOON)
MIDNIGHT = last_end_of(TODAY - 1)


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> UploadDesk:
    return UploadDesk(collecting_url, collecting_session, clock)


def ends(stage: Publishing) -> list[int]:
    """When the keys that are stored ended."""
    with stage.new_session() as session:
        column = DiagnosisKey.end_interval_number
        return list(session.scalars(select(column).order_by(column)))


def days(stage: Publishing) -> set[int]:
    with stage.new_session() as session:
        return days_made(session)


def revisions(stage: Publishing) -> int:
    with stage.new_session() as session:
        return session.scalar(select(func.count()).select_from(KeyRevision)) or 0


# ------------------------------------------------------------------------ a day is there


def test_a_midnight_belongs_to_the_day_that_it_ends() -> None:
    assert [day_of(end) for end in (144, 145, 288, 289)] == [0, 1, 1, 2]
    assert [last_end_of(day) for day in (0, 1)] == [144, 288]


@on_postgresql
def test_every_key_that_is_taken_within_a_week_of_the_last_publisher_has_a_day(stage: Publishing) -> None:
    with stage.new_session() as session:
        make_due_days(session, stage.clock())
        made = days_made(session)
    assert made == set(range(TODAY - 15, TODAY + 1 + DAYS_AHEAD + 1))
    oldest, newest = NOON - 15 * 144, NOON + DAYS_AHEAD * 144 + 144
    stage.collect([key_ending(oldest, 1), key_ending(newest, 2)])
    assert days(stage) == made


@on_postgresql
def test_two_that_make_days_at_once_make_each_once(stage: Publishing) -> None:
    def made(_number: int) -> None:
        with transaction(stage.new_session()) as session:
            make_days(session, range(TODAY, TODAY + 20))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(made, range(4)))
    assert days(stage) == set(range(TODAY, TODAY + 20))


@on_postgresql
def test_days_are_made_while_keys_are_read_and_stored(stage: Publishing) -> None:
    stage.collect([key_ending(MIDNIGHT, 1)])
    with stage.new_session() as upload:
        stage.collect([key_ending(MIDNIGHT, 2)], session=upload)
        with transaction(stage.new_session()) as session:
            make_days(session, [TODAY + 1])
            stage.collect([key_ending(MIDNIGHT, 3)])
        upload.commit()
    assert ends(stage) == [MIDNIGHT] * 3


@on_postgresql
def test_where_no_publisher_ran_for_long_nothing_of_an_upload_is_stored(desk: UploadDesk) -> None:
    desk.clock.advance((DAYS_AHEAD + 1) * DAY)
    assert desk.upload([made_key(desk.clock(), 1)]).inserted_exposures == 1
    desk.clock.advance(2 * DAY)
    before = desk.picture()
    body = desk.body([made_key(desk.clock(), 8), made_key(desk.clock(), 0)])
    with pytest.raises(IntegrityError, match="no partition"):
        desk.collect(body)
    assert desk.picture() == before
    make_due_days(desk.session, desk.clock())
    assert desk.collect(body).inserted_exposures == 2, "the phone sends it again"


def test_decoys_of_a_window_that_covers_weeks_find_their_days(stage: Publishing) -> None:
    policy = replace(HOURLY, floor=3, population=PopulationModel())
    stage.publish(policy=policy)
    stage.clock.advance(60 * DAY)
    stage.publish(policy=policy)
    assert min(ends(stage)) < interval_at(stage.clock()) - 20 * 144


# -------------------------------------------------------------------- a key is there once


def other_day(key: dict[str, Any]) -> dict[str, Any]:
    """The same key bytes, as a key of the day before."""
    return {**key, "rollingStartNumber": key["rollingStartNumber"] - 144}


def test_a_key_that_comes_again_with_another_day_is_refused_as_the_stored_one(desk: UploadDesk) -> None:
    key = made_key(desk.clock(), 2)
    token = desk.upload([key], "likely").revision_token
    again = [other_day(key), made_key(desk.clock(), 4)]
    assert desk.refused(again) == RefusalCode.MISSING_REVISION_TOKEN
    assert desk.refused(again, revisionToken=token) == RefusalCode.INVALID_REVISION_TOKEN
    assert desk.upload([key], revisionToken=token).inserted_exposures == 0, "itself it may be revised"


def test_of_two_at_once_with_one_key_and_different_days_one_gets_in(desk: UploadDesk) -> None:
    """The second, an ordinary one, comes while the first has stored the key and not yet committed."""
    desk.upload([made_key(desk.clock(), 3)])  # on the shelf that else both would make, and wait for
    shared = [made_key(desk.clock(), 2) for _ in range(3)]
    first = desk.body([*shared, made_key(desk.clock(), 5)])
    # In another order and with other days: they meet in more than one key, and wait in no circle.
    second = desk.body([other_day(key) for key in reversed(shared)])
    engine = open_database(desk.url)

    def collected() -> int:
        with Session(engine) as session:
            return desk.collect(second, session).inserted_exposures

    with ThreadPoolExecutor(1) as pool:
        late: list[Future[int]] = []

        def let_the_second_come(_session: Session) -> None:
            late.append(pool.submit(collected))
            deadline = time.monotonic() + 10
            while not late[0].done() and not _somebody_waits(engine) and time.monotonic() < deadline:
                time.sleep(0.05)

        event.listen(desk.session, "before_commit", let_the_second_come, once=True)
        assert desk.collect_the_long_way(first).inserted_exposures == 4
        with pytest.raises(Refusal) as refused:
            late[0].result(30)
    engine.dispose()
    assert refused.value.code == RefusalCode.MISSING_REVISION_TOKEN
    assert len(desk.rows()) == 5


def _somebody_waits(engine: Engine) -> bool:
    """Whether a lock is waited for. SQLite's waits at its beginning, and shows it nowhere."""
    if engine.dialect.name == "sqlite":
        time.sleep(0.3)
        return True
    with engine.connect() as connection:
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(connection.exec_driver_sql(waits).scalar_one())


# ------------------------------------------------------------------------------ a day goes


def test_a_day_goes_as_a_whole_and_its_neighbours_stay(stage: Publishing) -> None:
    """What was cut short goes at its own time; the day with the last of its keys."""
    early, whole, next_day = (
        key_ending(MIDNIGHT - 100, 1),
        key_ending(MIDNIGHT, 2),
        key_ending(MIDNIGHT + 1, 3),
    )
    stage.collect([early, whole, next_day])
    made = days(stage)
    stage.clock.now = (MIDNIGHT - 100) * 600 + 21 * DAY
    assert stage.retire().keys == 1
    assert ends(stage) == [MIDNIGHT, MIDNIGHT + 1]
    assert days(stage) == made
    stage.clock.now = MIDNIGHT * 600 + 21 * DAY
    assert stage.retire().keys == 1
    assert ends(stage) == [MIDNIGHT + 1]
    assert days(stage) == {day for day in made if day >= TODAY}
    stage.clock.advance(600)
    assert stage.retire().keys == 1
    assert stage.retire().keys == 0


def test_a_days_revisions_go_with_it_also_after_a_crash_in_between(stage: Publishing) -> None:
    key = key_ending(MIDNIGHT, 1)
    stage.collect([key])
    stage.publish()
    stage.revise(key, ReportType.REVOKED)
    stage.clock.advance(1 * DAY)
    stage.publish()
    assert revisions(stage) == 1
    stage.clock.advance(22 * DAY)
    with _failing(stage.engine, "DELETE FROM key_revision"), pytest.raises(OSError, match="no disk"):
        stage.retire()
    assert revisions(stage) == 1
    stage.retire()
    assert (ends(stage), revisions(stage)) == ([], 0)


@pytest.mark.parametrize("revised", [False, True])
def test_a_day_stays_while_a_file_is_to_be_made_of_a_key_in_it(stage: Publishing, revised: bool) -> None:
    key = key_ending(MIDNIGHT, 1)
    stage.collect([key, key_ending(MIDNIGHT, 2)])
    if revised:
        stage.publish()
        stage.revise(key, ReportType.REVOKED)
    with transaction(stage.new_session()) as session:
        shelf = session.scalars(select(Shelf).where(Shelf.window_end.is_(None))).one()
        batch = Batch(region=REGION, sequence=9, window_start=0, window_end=60, state=BatchState.SEALED)
        session.add(batch)
        session.flush()
        shelf.is_open, shelf.window_end = False, 60
        session.add(BatchShelf(batch_id=batch.id, shelf_id=shelf.id))
    made = days(stage)
    stage.clock.advance(30 * DAY)
    stage.retire()
    assert len(ends(stage)) == (1 if revised else 2)
    assert TODAY - 1 in days(stage) or not made
    assert revisions(stage) == revised


@on_postgresql
def test_a_day_that_somebody_reads_holds_nobody_up_and_its_keys_go_all_the_same(stage: Publishing) -> None:
    stage.collect([key_ending(MIDNIGHT, number) for number in range(20)])
    stage.clock.advance(22 * DAY)
    with stage.new_session() as reader, ThreadPoolExecutor(2) as pool:
        assert reader.scalar(select(func.count()).select_from(DiagnosisKey)) == 20
        waiting = pool.submit(stage.retire)
        taken = [pool.submit(_upload, stage, number).result(10) for number in range(30, 40)]
        assert waiting.result(10).keys == 20
        assert TODAY - 1 in days(stage)
    assert max(taken) < LOCK_MILLISECONDS / 1000 + 2
    assert len(ends(stage)) == 10
    assert stage.retire().keys == 0
    assert TODAY - 1 not in days(stage)


def _upload(stage: Publishing, number: int) -> float:
    began = time.monotonic()
    stage.collect([key_ending(interval_at(stage.clock()), number)])
    return time.monotonic() - began


@on_postgresql
def test_a_fault_that_is_not_a_wait_is_told(stage: Publishing) -> None:
    stage.collect([key_ending(MIDNIGHT, 1)])
    stage.clock.advance(22 * DAY)
    with _failing(stage.engine, "DROP TABLE"), pytest.raises(OSError, match="no disk"):
        stage.retire()
    assert ends(stage) == [MIDNIGHT]
    assert stage.retire().keys == 1


@contextmanager
def _failing(engine: Engine, start: str) -> Iterator[None]:
    """Every statement that begins with `start` fails."""

    def fails(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(start):
            raise OSError("no disk")

    event.listen(engine, "before_cursor_execute", fails)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", fails)
