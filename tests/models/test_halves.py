"""The two halves hold nothing in common by which an official's act could be joined to an upload.

After a full run every column of the issuing database is compared with every column of the collecting one.
Left out, by name and with the reason: tables that describe authorities (public configuration, the same for
everybody), and values that single nobody out.
"""

from collections.abc import Iterator
from datetime import date
from itertools import product
from typing import Any

from sqlalchemy import MetaData, create_engine, select

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
    """A value in every form in which the other half might hold it: number, text, day and interval alike."""
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


def test_the_comparison_would_notice_a_shared_value(world: World) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    collecting = dict(columns(world.settings.collecting_database_url))
    planted = next(iter(collecting["collected_answer.lookup_id"]))
    assert planted in {v for values in collecting.values() for v in values}
    assert planted[0] == "bytes"
