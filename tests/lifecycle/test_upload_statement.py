"""An ordinary upload goes in as one statement, and nothing else does; what is otherwise goes the long way."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, insert, select, text, update
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.collect import CollectedUpload
from registry.lifecycle.recall import recall_uploads
from registry.models import (
    CollectedAnswer,
    DiagnosisKey,
    HealthAuthority,
    HealthAuthorityKey,
    Receipt,
    RegionFeed,
    Shelf,
    ShelfUpload,
    open_database,
    transaction,
)
from registry.protocol.encoding import decode_base64
from registry.protocol.revision_token import decode_revision_token
from tests.authority import RING, made_key
from tests.clock import FakeClock
from tests.lifecycle.upload_desk import UploadDesk


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> UploadDesk:
    """The authority's desk, with an upload behind it that opened the shelf."""
    desk = UploadDesk(collecting_url, collecting_session, clock)
    desk.upload(keys_of(desk))
    desk.upload(keys_of(desk))
    assert desk.at_once == on_postgresql(desk), "with the shelf there, the second one was ordinary"
    desk.at_once = 0
    return desk


def keys_of(desk: UploadDesk) -> list[dict[str, Any]]:
    """14 new keys whose embargo has ended."""
    return [made_key(desk.clock(), day) for day in range(2, 16)]


def on_postgresql(desk: UploadDesk) -> int:
    """1 on PostgreSQL, 0 on SQLite."""
    return int(desk.session.get_bind().dialect.name == "postgresql")


@contextmanager
def statements(desk: UploadDesk) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []
    engine = desk.session.get_bind()
    assert isinstance(engine, Engine)

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def test_an_ordinary_upload_is_one_statement_and_stores_what_the_long_way_stores(desk: UploadDesk) -> None:
    body = desk.body(keys_of(desk), traveler=True)
    before = len(desk.rows())
    with statements(desk) as sent:
        collected = desk.collect(body)
    assert desk.at_once == on_postgresql(desk)
    if on_postgresql(desk):
        assert len(sent) == 1
    assert (collected.inserted_exposures, collected.error, collected.code) == (14, "", "")
    rows = [row for row in desk.rows() if row.traveler]
    assert (len(rows), len(desk.rows())) == (14, before + 14)
    assert {(row.report_type, row.revised_before_release) for row in rows} == {(1, False)}
    assert all(row.end_interval_number == row.rolling_start_interval_number + 144 for row in rows)
    assert len({row.recall_tag for row in rows}) == 14
    assert len({row.shelf_id for row in desk.rows()}) == 1
    assert len(decode_revision_token(collected.revision_token, RING)) == 14
    assert len(desk.receipts()) == 3
    assert {receipt.shelf_id for receipt in desk.receipts()} == {rows[0].shelf_id}
    assert len(desk.session.scalars(select(ShelfUpload)).all()) == 3
    assert desk.collect(body) == collected, "its answer is kept"


def test_an_upload_of_which_keys_are_faulty_or_far_is_ordinary_too(desk: UploadDesk) -> None:
    body = desk.body([*keys_of(desk)[1:], made_key(desk.clock(), 3, period=145)])
    collected = desk.collect(body)
    assert desk.at_once == on_postgresql(desk)
    assert (collected.inserted_exposures, collected.code) == (13, "partial_failure")
    assert desk.collect(body) == collected


def test_twenty_at_once_are_one_upload(desk: UploadDesk) -> None:
    body, before = desk.body(keys_of(desk)), len(desk.rows())

    def collected(_number: int) -> CollectedUpload:
        engine = open_database(desk.url)
        with Session(engine) as session:
            answer = desk.collect(body, session)
        engine.dispose()
        return answer

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(collected, range(20)))
    assert len(answers) == 1
    assert len(desk.rows()) == before + 14
    assert len(desk.receipts()) == 3
    assert desk.at_once == on_postgresql(desk), "one of them stored it"


def test_a_key_that_is_known_needs_the_token_and_else_nothing_is_stored(desk: UploadDesk) -> None:
    known = keys_of(desk)
    token = desk.upload(known, "likely").revision_token
    more = [made_key(desk.clock(), 2), *known[1:]]
    desk.at_once = 0
    assert desk.refused(more) == RefusalCode.MISSING_REVISION_TOKEN
    assert desk.upload(more, revisionToken=token).inserted_exposures == 1
    assert desk.at_once == 0


def test_a_key_that_another_upload_brings_at_this_moment_undoes_the_whole_statement(
    desk: UploadDesk,
) -> None:
    if not on_postgresql(desk):
        pytest.skip("SQLite has one writer at a time")
    keys = keys_of(desk)
    body, row = desk.body(keys), desk.rows()[0]
    refused: list[RefusalCode] = []

    def collect() -> None:
        engine = open_database(desk.url)
        with Session(engine) as session, pytest.raises(Refusal) as caught:
            desk.collect(body, session)
        refused.append(caught.value.code)
        engine.dispose()

    columns = {column.name: getattr(row, column.name) for column in DiagnosisKey.__table__.columns}
    waiting = Thread(target=collect)
    with transaction(desk.session):
        columns["key_data"] = decode_base64(keys[13]["key"])
        desk.session.execute(insert(DiagnosisKey).values(columns))
        waiting.start()
        deadline = time.monotonic() + 30
        locked = (
            select(func.count()).where(text("wait_event_type = 'Lock'")).select_from(text("pg_stat_activity"))
        )
        while not desk.session.scalar(locked):
            assert time.monotonic() < deadline
            time.sleep(0.01)
            desk.session.execute(text("SELECT pg_stat_clear_snapshot()"))
    waiting.join(30)
    assert refused == [RefusalCode.MISSING_REVISION_TOKEN]
    stored = {row.key_data for row in desk.rows()}
    assert len(stored) == 29, "the two uploads before, and the one key"
    assert len(desk.receipts()) == 2
    assert len(desk.session.scalars(select(CollectedAnswer)).all()) == 2


def test_rules_hold_on_the_short_way_too(desk: UploadDesk) -> None:
    keys = keys_of(desk)
    overlapping = [made_key(desk.clock(), 2), {**made_key(desk.clock(), 2), "rollingPeriod": 100}]
    overlapping[1]["rollingStartNumber"] += 10
    assert desk.refused(overlapping) == RefusalCode.BAD_REQUEST
    assert desk.refused(keys, healthAuthorityID="nobody") == RefusalCode.UNKNOWN_HEALTH_AUTHORITY_ID
    assert desk.refused(keys, hmacKey="AAAA") == RefusalCode.CERTIFICATE_INVALID
    assert desk.at_once == 0


def test_what_was_recalled_before_it_came_is_refused(desk: UploadDesk) -> None:
    handle = bytes(range(16))
    body = desk.body(keys_of(desk), evidence={"recall_handle": handle})
    with transaction(desk.session):
        recall_uploads(desk.session, [handle], desk.clock())
    assert desk.refused_body(body) == RefusalCode.CERTIFICATE_INVALID


# ---------------------------------------------------------------- nothing that is believed outlives a change


def test_a_key_that_was_taken_back_is_not_honoured_a_moment_longer(desk: UploadDesk) -> None:
    body = desk.body(keys_of(desk))
    with transaction(desk.session):
        desk.session.execute(update(HealthAuthorityKey).values(not_after=int(desk.clock())))
    assert desk.refused_body(body) == RefusalCode.CERTIFICATE_INVALID
    with transaction(desk.session):
        desk.session.execute(update(HealthAuthorityKey).values(not_after=int(desk.clock()) + 9))
    assert desk.collect(body).inserted_exposures == 14
    desk.clock.advance(9)
    assert desk.refused(keys_of(desk)) == RefusalCode.CERTIFICATE_INVALID, "its end is seen without asking"


def test_regions_and_feeds_count_from_the_next_upload_on(desk: UploadDesk) -> None:
    with transaction(desk.session):
        desk.session.execute(update(HealthAuthority).values(regions=["XB"]))
    desk.upload(keys_of(desk))
    with transaction(desk.session):
        desk.session.add(RegionFeed(region="XC", include=["XB"], exclude=[], include_travelers=False))
    desk.upload(keys_of(desk))
    with transaction(desk.session):
        desk.session.execute(update(HealthAuthority).values(regions=[]))
    code = desk.refused(keys_of(desk))
    assert code == RefusalCode.HEALTH_AUTHORITY_MISSING_REGION_CONFIG
    assert [regions for regions, *_ in desk.shelves()][1:] == ["XB", "XB,XC"]


def test_a_shelf_that_was_closed_takes_nothing_more(desk: UploadDesk) -> None:
    desk.seal()
    left = {row.shelf_id for row in desk.rows()}
    desk.upload(keys_of(desk))
    desk.upload(keys_of(desk))
    assert desk.at_once == on_postgresql(desk), "the first began a new shelf"
    newer = [row.shelf_id for row in desk.rows() if row.shelf_id not in left]
    assert len(newer) == 28
    open_shelves = desk.session.scalars(select(Shelf.id).where(Shelf.is_open)).all()
    assert set(newer) == set(open_shelves)


def test_a_connection_that_broke_costs_nothing_but_time(desk: UploadDesk) -> None:
    if not on_postgresql(desk):
        pytest.skip("there is no connection to break")
    desk.session.rollback()
    engine = desk.session.get_bind()
    broken = 0

    def break_off(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
        nonlocal broken
        if "collected_answer" in statement and not broken:
            broken += 1
            cursor.connection.close()

    event.listen(engine, "before_cursor_execute", break_off)
    collected = desk.upload(keys_of(desk))
    event.remove(engine, "before_cursor_execute", break_off)
    assert (broken, collected.inserted_exposures, desk.at_once) == (1, 14, 0)
    assert len(desk.session.scalars(select(Receipt)).all()) == 3
    assert len(desk.session.scalars(select(DiagnosisKey)).all()) == 42
