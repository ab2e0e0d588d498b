"""The two halves hold nothing in common by which an official's act could be joined to an upload.

After a full run every column of the issuing database is compared with every column of the collecting one,
value by value. Left out, by name and with the reason: tables that describe authorities (public configuration,
the same for everybody), and numbers so small that they single nobody out. Times are looked at apart: neither
half may know one finer than the hour. Nor may the order in which rows lie tell what came together.
"""

from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, create_engine, select

from registry.migrations import upgrade
from registry.models import open_database
from tests.app_of_old import fresh_keys
from tests.world import World

PUBLIC_CONFIGURATION = {
    "authority": "who the authorities are stands at /jwks and in the trust material",
    "certificate_key": "public keys",
    "health_authority": "who the authorities are stands at /jwks and in the trust material",
    "health_authority_key": "public keys",
    "export_signing_key": "public keys",
    "alembic_version": "the schema's number",
}
NAMES_AN_AUTHORITY = {"authority_id", "health_authority_id"}
SMALL = 4096
"""Numbers below this are counts, kinds and periods, the same in thousands of rows: they join nothing."""


def columns(url: str) -> Iterator[tuple[str, set[Any]]]:
    """(table.column, its values that could single a row out) of a database as it lies there."""
    engine = create_engine(url)
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            if table.name in PUBLIC_CONFIGURATION:
                continue
            rows = connection.execute(select(table)).all()
            for number, column in enumerate(table.columns):
                if column.name in NAMES_AN_AUTHORITY:
                    continue
                yield f"{table.name}.{column.name}", {v for row in rows for v in forms(row[number])}
    engine.dispose()


def forms(value: Any) -> Iterator[Any]:
    """A value as something that can be equal across databases, whatever type each of them gives it."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if value >= SMALL:
            yield ("number", value)
    elif isinstance(value, bytes):
        yield ("bytes", value)
    elif isinstance(value, date):
        yield ("day", value.toordinal())
    elif value:
        yield ("text", str(value))


def test_no_column_of_one_half_joins_a_column_of_the_other(world: World) -> None:
    for days_ago in range(1, 7):
        app = world.app()
        code = world.issue(days_ago=days_ago, externalIssuerID=f"lab-{days_ago}")["code"]
        keys = fresh_keys(world.clock())
        assert app.upload(code, keys).status == 200
        world.clock.advance(3600)
        world.publish()
    world.issue()
    issuing = dict(columns(world.settings.issuing_database_url))
    collecting = dict(columns(world.settings.collecting_database_url))
    assert sum(map(len, issuing.values())) > 50, "the run left something to compare"
    assert len(collecting["diagnosis_key.key_data"]) == 6 * 14
    shared = {
        f"{a} = {b}": issuing[a] & collecting[b]
        for a, b in product(issuing, collecting)
        if issuing[a] & collecting[b]
    }
    assert shared == {}


def test_no_time_is_finer_than_the_hour_but_for_expiries_of_a_quarter(world: World) -> None:
    world.clock.advance(1234.5)
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    issuing = dict(columns(world.settings.issuing_database_url))
    collecting = dict(columns(world.settings.collecting_database_url))
    for name in ("verification_code", "verification_token", "issued_answer"):
        times = {value for _, value in issuing[f"{name}.expires_at"]}
        assert times, name
        assert {time % 900 for time in times} == {0}, name
    assert {time % 6 for _, time in collecting["collected_answer.expires_at_interval"]} == {0}
    own_times = {f"diagnosis_key.{c}" for c in ("rolling_start_interval_number", "end_interval_number")}
    timed = {name for name, values in collecting.items() if any(v[0] == "number" for v in values)}
    public = {"batch.window_start", "batch.window_end", "lease.expires_at"}
    due = {"collected_answer.expires_at_interval", "key_release.releasable_at"}
    assert timed - public == own_times | due, "a column more would say when somebody called"


@pytest.mark.parametrize("half", ["issuing", "collecting"])
def test_sqlite_does_not_number_rows_as_they_come(half: str, tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / half}")
    upgrade(half, engine)
    with engine.connect() as connection:
        made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    engine.dispose()
    counted = {name for name, sql in made if "WITHOUT ROWID" not in sql}
    assert len(made) > 8
    assert counted <= {"batch", "alembic_version"}, "batches are numbered, people's acts are not"


def test_the_comparison_would_notice_a_shared_value(world: World) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    collecting = dict(columns(world.settings.collecting_database_url))
    planted = next(iter(collecting["collected_answer.lookup_id"]))
    assert planted in {v for values in collecting.values() for v in values}
    assert planted[0] == "bytes"
