"""The two halves hold nothing in common by which an official's act could be joined to an upload.

After a full run every column of the issuing database is compared with every column of the collecting one,
value by value, what stands inside JSON, base64 and hex too. Left out, by name and with the reason: tables
that describe authorities (public configuration, the same for everybody), which text was shown, and numbers
so small that they single nobody out. Times are looked at apart: neither half may know one finer than the
hour. Nor may the order in which rows lie tell what came together.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from secrets import token_bytes
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import MetaData, create_engine, select
from sqlalchemy.orm import Session

from registry.app import read_recall_key
from registry.errors import Malformed
from registry.faces.portal.consent import CONSENT_VERSION
from registry.lifecycle.recall_orders import RecallSelector, approve_recall, ask_recall
from registry.migrations import upgrade
from registry.models import Authority, Authorization, Official, Receipt, open_database, transaction
from registry.models.recall import RecallReason
from registry.protocol.encoding import decode_base64, decode_json_object, encode_base64
from registry.protocol.receipt import attestation_commitment, decode_receipt
from tests.app_of_old import Answer, fresh_keys
from tests.faces.portal.conftest import code_on, field, fill_in, hand_over
from tests.world import World

PUBLIC_CONFIGURATION = {
    "authority": "who the authorities are stands at /jwks and in the trust material",
    "certificate_key": "public keys",
    "health_authority": "who the authorities are stands at /jwks and in the trust material",
    "health_authority_key": "public keys",
    "export_signing_key": "public keys",
    "alembic_version": "the schema's number",
}
PUBLISHED = {"log_shard", "log_entry", "log_key", "region_index", "trust_file", "witness_state"}
"""What all the world can read. Its times are of windows and files: compared is everything else in it."""
COUNTS = {"upload_count", "upload_figures"}
"""Numbers of a day and of nobody. Once it is over, both halves hold the same figures, as everybody may."""
NAMES_AN_AUTHORITY = {"authority_id", "health_authority_id"}
NAMES_A_BIN = {"claim_count.cell", "upload_count.cell", "released_figures.cells", "upload_figures.cells"}
"""What is counted, and figures that are the same for everybody."""
NAMES_A_TEXT = {"consent_version"}
"""Which text was shown: the same for thousands."""
SMALL = 4096
"""Numbers below this are counts, kinds and periods, the same in thousands of rows: they join nothing."""


def columns(url: str) -> Iterator[tuple[str, set[Any]]]:
    """(table.column, its values that could single a row out) of a database as it lies there."""
    engine = create_engine(url)
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            if table.name in PUBLIC_CONFIGURATION or re.fullmatch(r"diagnosis_key_\d{8}", table.name):
                continue  # a day's table is a part of diagnosis_key
            rows = connection.execute(select(table)).all()
            for number, column in enumerate(table.columns):
                name = f"{table.name}.{column.name}"
                if column.name in NAMES_AN_AUTHORITY | NAMES_A_TEXT or name in NAMES_A_BIN:
                    continue
                found = {v for row in rows for v in forms(row[number])}
                if table.name in PUBLISHED | COUNTS:
                    found = {form for form in found if form[0] not in ("number", "day")}
                yield name, found
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
        yield from inner_forms(value)
    elif isinstance(value, date):
        yield ("day", value.toordinal())
    elif value:
        yield ("text", str(value))
        for decode in (decode_base64, bytes.fromhex):
            with suppress(Malformed, ValueError):
                yield ("bytes", decode(str(value)))


def inner_forms(content: bytes) -> Iterator[Any]:
    """The values inside a JSON object; nothing for other bytes."""
    with suppress(Malformed):
        members = decode_json_object(content, "a column").as_dict()
        while members:
            name, value = members.popitem()
            if isinstance(value, dict):
                members |= {f"{name}.{inner}": below for inner, below in value.items()}
            elif name not in NAMES_A_TEXT:
                yield from forms(value)


NUMBER = "+8613800138000"


def live(world: World) -> None:
    """Everything that leaves rows: officials and labs issue, phones of two kinds upload, an operator acts."""
    browser = world.client
    link = urlsplit(world.first_run["portal_sign_in_url"]).path
    browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
    day = datetime.fromtimestamp(world.clock() - 86_400, UTC).date().isoformat()
    for number in range(1, 7):
        if number % 2:
            code = world.issue(days_ago=number, externalIssuerID=f"lab-{number}")["code"]
        else:
            code = code_on(hand_over(browser, fill_in(browser, test_date=day, phone=NUMBER)))
        keys = fresh_keys(world.clock())
        assert upload_with_consent(world, code, keys).status == 200
        world.clock.advance(3600)
        world.publish()
    world.app().verify(world.issue()["code"])  # a token that is not used yet
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))  # an app that knows of no receipts
    world.issue(phone=NUMBER)
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        session.get_one(Authority, world.settings.health_authority_id).self_report = True
    own = {"phone": NUMBER, "nonce": encode_base64(token_bytes(256)), "testDate": day}
    assert world.app().post("/api/user-report", own, world.first_run["device_api_key"]).status == 200


def upload_with_consent(world: World, code: str, keys: list[dict[str, Any]]) -> Answer:
    """As a phone that knows of receipts does it."""
    app = world.app()
    asked = {
        "token": app.verify(code).body["token"],
        "ekeyhmac": encode_base64(app.mac(keys)),
        "consentHash": encode_base64(token_bytes(32)),
        "consentVersion": CONSENT_VERSION,
    }
    certificate = app.post("/api/certificate", asked, app.device_api_key).body["certificate"]
    return app.post("/v1/publish", app.publish_body(certificate, keys))


def test_no_column_of_one_half_joins_a_column_of_the_other(world: World) -> None:
    live(world)
    issuing = dict(columns(world.settings.issuing_database_url))
    collecting = dict(columns(world.settings.collecting_database_url))
    assert sum(map(len, issuing.values())) > 50, "the run left something to compare"
    assert len(collecting["diagnosis_key.key_data"]) == 7 * 14 + len(world.decoys())
    assert len(collecting["receipt.commitment"]) == 7
    made = "a start, three API keys, a link, a sign-in, nine codes, three by SMS"
    assert len(issuing["activity_event.hash"]) == 3 + 3 + 1 + 1 + 9 + 3, made
    assert shared(issuing, collecting) == {}


def shared(issuing: dict[str, set[Any]], collecting: dict[str, set[Any]]) -> dict[str, set[Any]]:
    """What stands in a column of either half, by the pair of them."""
    return {
        f"{a} = {b}": issuing[a] & collecting[b]
        for a, b in product(issuing, collecting)
        if issuing[a] & collecting[b]
    }


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_recall_joins_them_neither_while_its_handles_lie_open_nor_when_it_is_done(
    world: World, carried_out: bool
) -> None:
    live(world)
    authority = world.settings.health_authority_id
    engine = open_database(world.settings.issuing_database_url)
    with Session(engine) as session, transaction(session):
        session.add(Official(id="official-2", authority_id=authority, name="Li Na"))
        number = session.scalars(select(Authorization.id).where(Authorization.official_id.is_not(None))).all()
        order = ask_recall(
            session,
            RecallSelector(authorization_id=number[0]),
            RecallReason.MISTAKE,
            authority_id=authority,
            asked_by=None,
            now=world.clock(),
        )
        key = read_recall_key(world.settings.keys_dir)
        opened = approve_recall(
            session, order, authority_id=authority, official_id="official-2", key=key, now=world.clock()
        )
    engine.dispose()
    assert opened == 1
    if carried_out:
        world.publish()
    issuing = dict(columns(world.settings.issuing_database_url))
    collecting = dict(columns(world.settings.collecting_database_url))
    assert len(collecting["recalled_upload.mark"]) == carried_out
    assert len(issuing["recall_order.handles"]) == (not carried_out)
    assert shared(issuing, collecting) == {}


def test_both_sides_together_open_each_receipt_and_it_takes_both(world: World) -> None:
    live(world)
    engines = [
        open_database(url)
        for url in (world.settings.issuing_database_url, world.settings.collecting_database_url)
    ]
    with Session(engines[0]) as issuing, Session(engines[1]) as collecting:
        stated = {
            attestation_commitment(row.attestation_salt or b"", row.attestation()): row.id
            for row in issuing.scalars(select(Authorization))
        }
        receipts = [decode_receipt(row.content) for row in collecting.scalars(select(Receipt))]
    for engine in engines:
        engine.dispose()
    opened = {stated[receipt.attestation] for receipt in receipts if receipt.attestation is not None}
    assert len(opened) == len(receipts) == 7
    assert len(stated) == 10, "nine codes and a self-report"
    # The salt alone, or the receipt alone, holds neither: that is what the comparison above shows.


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
    due = {"collected_answer.expires_at_interval", "shelf.releasable_at"}
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
    assert counted <= {"batch", "shelf", "alembic_version"}, "batches and shelves, not people's acts"


def test_the_comparison_would_notice_a_shared_value(world: World) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    collecting = dict(columns(world.settings.collecting_database_url))
    planted = next(iter(collecting["collected_answer.lookup_id"]))
    assert planted in {v for values in collecting.values() for v in values}
    assert planted[0] == "bytes"
    inside = next(
        iter(
            decode_receipt(value).attestation
            for kind, value in collecting["receipt.content"]
            if kind == "bytes" and value.startswith(b"{")
        )
    )
    assert ("bytes", inside) in collecting["receipt.content"], "also inside what is encoded"
