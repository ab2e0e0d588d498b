"""Migrations against models, on both databases; and that a second upgrade changes nothing."""

from collections.abc import Callable

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.orm import Session

from registry.migrations import METADATA, configuration, upgrade
from registry.models import Authorization, open_database

HALVES = ("issuing", "collecting")


def differences(half: str, engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
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


@pytest.mark.parametrize("half", HALVES)
def test_neither_half_has_a_table_of_the_other(half: str, empty_database: Callable[[str], str]) -> None:
    engine = open_database(empty_database(half))
    upgrade(half, engine)
    other = METADATA[HALVES[1 - HALVES.index(half)]]
    assert set(inspect(engine).get_table_names()) & set(other.tables) == set()
    engine.dispose()
