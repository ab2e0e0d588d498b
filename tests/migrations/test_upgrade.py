"""Migrations against models, on both databases; and that a second upgrade changes nothing."""

from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from registry.migrations import METADATA, upgrade
from registry.models import open_database

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


@pytest.mark.parametrize("half", HALVES)
def test_neither_half_has_a_table_of_the_other(half: str, empty_database: Callable[[str], str]) -> None:
    engine = open_database(empty_database(half))
    upgrade(half, engine)
    other = METADATA[HALVES[1 - HALVES.index(half)]]
    assert set(inspect(engine).get_table_names()) & set(other.tables) == set()
    engine.dispose()
