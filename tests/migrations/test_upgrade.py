"""Migrations against models, on both databases; and that a second upgrade changes nothing."""

import re
from collections.abc import Callable
from hashlib import sha256

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.orm import Session
from sqlalchemy.schema import SchemaItem

from registry.migrations import METADATA, configuration, upgrade
from registry.models import (
    Authorization,
    Batch,
    BatchShelf,
    DiagnosisKey,
    KeyRevision,
    Receipt,
    Shelf,
    make_days,
    open_database,
    transaction,
)
from registry.models.key_day import days_made

HALVES = ("issuing", "collecting")


def differences(half: str, engine: Engine) -> list[object]:
    with engine.connect() as connection:
        dialect = connection.dialect.name

        def belongs(item: SchemaItem, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
            """Not the tables of single days, nor what is for the other database alone."""
            if reflected:
                return not (kind == "table" and re.fullmatch(r"diagnosis_key_\d{8}", name or ""))
            only = getattr(item, "_ddl_if", None)
            return only is None or only.dialect == dialect

        opts = {"compare_type": True, "include_object": belongs}
        context = MigrationContext.configure(connection, opts=opts)
        return list(compare_metadata(context, METADATA[half]))


@pytest.mark.parametrize("half", HALVES)
def test_migrations_make_exactly_what_the_models_describe(
    half: str, empty_database: Callable[[str], str]
) -> None:
    engine = open_database(empty_database(half))
    assert differences(half, engine) != [], "an empty database differs"
    upgrade(half, engine)
    assert differences(half, engine) == []
    upgrade(half, engine)
    assert differences(half, engine) == []
    engine.dispose()


def test_what_was_stated_before_there_were_receipts_stays_as_it_was(
    empty_database: Callable[[str], str],
) -> None:
    engine = open_database(empty_database("issuing"))
    alembic = configuration("issuing", engine)
    command.upgrade(alembic, "0001")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO authority VALUES ('a', 'A', 'i', 'u')"))
        connection.execute(
            text(
                'INSERT INTO "authorization" (id, authority_id, report_type, stated_on)'
                " VALUES ('x', 'a', 'likely', '2026-06-15')"
            )
        )
    upgrade("issuing", engine)
    with Session(engine) as session:
        row = session.scalars(select(Authorization)).one()
        assert (row.id, row.report_type, row.attestation_salt) == ("x", "likely", None)
    command.downgrade(alembic, "0001")
    with engine.connect() as connection:
        assert connection.execute(text('SELECT id FROM "authorization"')).scalars().all() == ["x"]
        assert "activity_event" not in inspect(engine).get_table_names()
    upgrade("issuing", engine)
    assert differences("issuing", engine) == []
    engine.dispose()


def test_keys_of_before_there_were_shelves_lie_where_they_went_out_or_will(
    empty_database: Callable[[str], str],
) -> None:
    """One that left in two regions and was revised since, one that waits, and one that was taken back."""
    engine = open_database(empty_database("collecting"))
    command.upgrade(configuration("collecting", engine), "0002")
    key = (
        "INSERT INTO diagnosis_key (key_data, rolling_start_interval_number, rolling_period,"
        " end_interval_number, transmission_risk_level, report_type, health_authority_id, traveler,"
        " revised_before_release, revised_report_type)"
        " VALUES (:key, 0, 144, 144, 2, 2, 'a', false, :early, :to)"
    )
    release = "INSERT INTO key_release VALUES (:key, :region, :again, 156, :batch)"
    batch = (
        "INSERT INTO batch (id, region, sequence, window_start, window_end, state, salt, seed, is_withdrawn)"
        " VALUES (:id, :region, 1, 0, 3600, 'published', '', '', false)"
    )
    left, waits, gone = b"L" * 16, b"W" * 16, b"G" * 16
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO health_authority VALUES ('a', 'i', 'u', '[]')"))
        for number, region in enumerate(["XA", "XB"], start=1):
            connection.execute(text(batch), {"id": number, "region": region})
        for name, early, to in ((left, False, 5), (waits, False, None), (gone, True, None)):
            connection.execute(text(key), {"key": name, "early": early, "to": to})
        for name, region, again, number in (
            *((left, region, False, number) for number, region in enumerate(["XA", "XB"], start=1)),
            *((left, region, True, None) for region in ("XA", "XB")),
            (waits, "XA", False, None),
        ):
            row = {"key": name, "region": region, "again": again, "batch": number}
            connection.execute(text(release), row)
        connection.execute(text("INSERT INTO receipt VALUES (:c, 'XA', 'x', NULL)"), {"c": b"c" * 32})
    upgrade("collecting", engine)
    with Session(engine) as session:
        shelves = {shelf.id: shelf for shelf in session.scalars(select(Shelf))}
        on = {row.key_data: row.shelf_id for row in session.scalars(select(DiagnosisKey))}
        shelf = shelves[on[left]]
        assert (shelf.region_set, shelf.window_end, shelf.is_open) == ("XA,XB", 3600, False)
        links = session.execute(select(BatchShelf.batch_id, BatchShelf.shelf_id)).all()
        assert sorted(map(tuple, links)) == [(1, on[left]), (2, on[left])]
        (revision,) = session.scalars(select(KeyRevision))
        shelf = shelves[revision.shelf_id]
        assert (revision.key_data, revision.report_type) == (left, 5)
        assert (shelf.region_set, shelf.is_revision, shelf.window_end) == ("XA,XB", True, None)
        shelf = shelves[on[waits]]
        assert (shelf.region_set, shelf.releasable_at, shelf.window_end) == ("XA", 156, None)
        assert on[gone] is None
        receipt = session.scalars(select(Receipt)).one()
        assert shelves[receipt.shelf_id].regions == {"XA"}
        assert len({row.recall_tag for row in session.scalars(select(DiagnosisKey))}) == 3
    engine.dispose()


def test_keys_of_before_there_were_days_are_all_there_with_their_revisions(
    empty_database: Callable[[str], str],
) -> None:
    engine = open_database(empty_database("collecting"))
    command.upgrade(configuration("collecting", engine), "0004")
    key = (
        "INSERT INTO diagnosis_key (key_data, rolling_start_interval_number, rolling_period,"
        " end_interval_number, transmission_risk_level, report_type, days_since_onset_of_symptoms,"
        " health_authority_id, traveler, revised_before_release, recall_tag, shelf_id)"
        " VALUES (:key, :start, :period, :end, 3, 2, -1, 'a', true, true, :tag, 7)"
    )
    first = 20_600 * 144
    given = {
        number.to_bytes(16): (start, period)
        for number, (start, period) in enumerate(
            [*((first + 144 * day, 144) for day in range(14)), (first, 1), (first + 3, 143), (first - 1, 2)]
        )
    }
    revised = (3).to_bytes(16)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO health_authority VALUES ('a', 'i', 'u', '[]')"))
        for name, (start, period) in given.items():
            row = {"key": name, "start": start, "period": period, "end": start + period, "tag": name[::-1]}
            connection.execute(text(key), row)
        for shelf_id, report_type in ((8, 1), (9, 5)):
            revision = {"key": revised, "shelf": shelf_id, "to": report_type}
            connection.execute(text("INSERT INTO key_revision VALUES (:key, :shelf, :to, 4)"), revision)
    upgrade("collecting", engine)
    assert differences("collecting", engine) == []
    with Session(engine) as session:
        rows = session.scalars(select(DiagnosisKey)).all()
        assert {
            row.key_data: (row.rolling_start_interval_number, row.rolling_period) for row in rows
        } == given
        for row in rows:
            assert row.end_interval_number == sum(given[row.key_data])
            assert (row.recall_tag, row.shelf_id) == (row.key_data[::-1], 7)
            assert (row.transmission_risk_level, row.report_type, row.days_since_onset_of_symptoms) == (
                3,
                2,
                -1,
            )
            assert (row.traveler, row.revised_before_release) == (True, True)
        found = [
            (row.key_data, row.shelf_id, row.end_interval_number, row.report_type)
            for row in session.scalars(select(KeyRevision).order_by(KeyRevision.shelf_id))
        ]
        assert found == [(revised, 8, first + 576, 1), (revised, 9, first + 576, 5)]
        if engine.dialect.name == "postgresql":
            assert days_made(session) == set(range(20_600, 20_614)), "a day for all that have keys"
            session.rollback()
            with transaction(session):
                make_days(session, range(20_590, 20_630))
            assert days_made(session) == set(range(20_590, 20_630))
    engine.dispose()


def test_of_a_manifest_that_lies_in_public_the_digest_is_kept(empty_database: Callable[[str], str]) -> None:
    """A logged batch's does; one that was recorded and not logged may not lie there, and is made again."""
    engine = open_database(empty_database("collecting"))
    command.upgrade(configuration("collecting", engine), "0005")
    batch = (
        "INSERT INTO batch (id, region, sequence, window_start, window_end, state, salt, seed, decoys,"
        " manifest, is_withdrawn, log_number) VALUES (:id, 'XA', :id, :id, :id + 1, :state, '', '', '{}',"
        " :manifest, false, :number)"
    )
    logged, retired, recorded, sealed = b"\0logged" * 100_000, None, b"recorded", None
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO health_authority VALUES ('a', 'i', 'u', '[]')"))
        for batch_id, (state, manifest, number) in enumerate(
            [
                ("published", logged, 7),
                ("published", retired, 8),
                ("published", recorded, None),
                ("sealed", sealed, None),
            ],
            start=1,
        ):
            row = {"id": batch_id, "state": state, "manifest": manifest, "number": number}
            connection.execute(text(batch), row)
        # A row that refers to one of them: it must outlive the change.
        connection.execute(
            text("INSERT INTO receipt (commitment, region, content, batch_id) VALUES (:c, 'XA', 'x', 1)"),
            {"c": b"c" * 32},
        )
    upgrade("collecting", engine)
    assert differences("collecting", engine) == []
    with Session(engine) as session:
        rows = session.scalars(select(Batch).order_by(Batch.id)).all()
        assert [row.manifest_sha256 for row in rows] == [sha256(logged).digest(), None, None, None]
        assert [row.log_number for row in rows] == [7, 8, None, None]
        assert session.scalars(select(Receipt.batch_id)).all() == [1]
    engine.dispose()


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_migrations_divide_keys_as_the_models_do(empty_database: Callable[[str], str]) -> None:
    """Of which Alembic's comparison knows nothing."""
    asked = (
        "SELECT pg_get_partkeydef('diagnosis_key'::regclass)",
        "SELECT prosrc, provolatile, proretset FROM pg_proc WHERE proname = 'known_diagnosis_keys'",
        (
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype <> 'n'"
            " AND conrelid IN ('diagnosis_key'::regclass, 'key_revision'::regclass) ORDER BY 1"
        ),
        (
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid IN ('diagnosis_key'::regclass, 'key_revision'::regclass) ORDER BY 1"
        ),
    )
    made = []
    for prepare in (lambda engine: upgrade("collecting", engine), METADATA["collecting"].create_all):
        engine = open_database(empty_database("collecting"))
        prepare(engine)
        with engine.connect() as connection:
            made.append([connection.exec_driver_sql(question).all() for question in asked])
        engine.dispose()
    assert made[0] == made[1]
    assert all(made[0])


@pytest.mark.parametrize("half", HALVES)
def test_neither_half_has_a_table_of_the_other(half: str, empty_database: Callable[[str], str]) -> None:
    engine = open_database(empty_database(half))
    upgrade(half, engine)
    other = METADATA[HALVES[1 - HALVES.index(half)]]
    assert set(inspect(engine).get_table_names()) & set(other.tables) == set()
    engine.dispose()
