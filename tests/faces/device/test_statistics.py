"""/api/stats/… as an authority's dashboard meets it."""

import csv
import io
from collections.abc import Callable
from datetime import date
from random import Random
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.lifecycle.authorize import hash_api_key
from registry.lifecycle.statistics import (
    count_redeemed,
    count_sms_error,
    keep_figures,
    release_claims,
)
from registry.models import ApiKey, Authority, Authorization, Official, transaction
from tests.authority import ADMIN_KEY, AUTHORITY, DEVICE_KEY, LOOKUP_KEY, STATS_KEY
from tests.clock import FakeClock

DAY = 86_400
PATHS = (
    "realm", "realm/key-server", "realm/composite", "realm/users", "realm/users/official-1",
    f"realm/api-keys/{hash_api_key(LOOKUP_KEY, ADMIN_KEY).hex()}", "realm/external-issuers",
    "realm/sms-errors",
)  # fmt: skip

Get = Callable[..., TestResponse]


@pytest.fixture
def get(issuing_app: Flask, issuing_session: Session, clock: FakeClock) -> Get:
    """(path, key) → answer, at an authority of one official on the day after something happened."""
    with transaction(issuing_session):
        issuing_session.add(Official(id="official-1", authority_id=AUTHORITY, name="Wang Fang"))
        issuing_session.flush()
        for number in range(3):
            issuing_session.add(statement(f"own-{number}", official_id="official-1"))
        key_hash = hash_api_key(LOOKUP_KEY, ADMIN_KEY)
        issuing_session.add(statement("lab", api_key_hash=key_hash, external_issuer_id="=lab 7"))
        for _ in range(200):
            count_redeemed(
                issuing_session, AUTHORITY, expires_at=int(clock()) + DAY, life_seconds=DAY, now=clock()
            )
        count_sms_error(issuing_session, AUTHORITY, "30007", clock())
        release_claims(issuing_session, clock() + DAY, random_below=Random(1).randrange)
        uploads = {"uploads": {"all": 77}, "onset": {"3": 40, "none": 20}, "oldest": {"14": 60}}
        for name, cells in {**uploads, "regions": {"XA": 77}}.items():
            keep_figures(issuing_session, AUTHORITY, date(2026, 6, 15), name, cells)
    clock.advance(DAY)
    client = issuing_app.test_client()
    return lambda path, key=STATS_KEY: client.get(f"/api/stats/{path}", headers={"X-API-Key": key})


def statement(name: str, **more: Any) -> Authorization:
    return Authorization(
        id=name, authority_id=AUTHORITY, report_type="confirmed", stated_on=date(2026, 6, 15), **more
    )


def newest(answer: TestResponse) -> dict[str, Any]:
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.json is not None
    assert answer.json["realm_id"] == AUTHORITY
    found: dict[str, Any] = answer.json["statistics"][0]
    assert found["date"] == "2026-06-15T00:00:00Z"
    return found


def test_codes_of_a_day(get: Get) -> None:
    data = newest(get("realm.json"))["data"]
    assert data["codes_issued"] == 4
    assert 150 < data["codes_claimed"] < 250
    assert data["tokens_claimed"] is None, "nothing, or too little: hidden, and not 0"
    assert data["codes_invalid"] is None
    ages = data["code_claim_age_distribution"]
    assert ages[:2] == [None, None]
    assert 150 < ages[2] < 250
    assert ages[3:] == [None] * 8
    body = get("realm.json").json
    assert body is not None
    assert len(body["statistics"]) == 90


def test_the_same_bytes_for_ever(get: Get, issuing_session: Session, clock: FakeClock) -> None:
    first = {path: get(f"{path}.json").get_data() for path in PATHS}
    for _ in range(3):
        with transaction(issuing_session):
            release_claims(issuing_session, clock())
        assert {path: get(f"{path}.json").get_data() for path in PATHS} == first


def test_uploads_as_the_other_half_let_them_go(get: Get) -> None:
    data = newest(get("realm/key-server.json"))["data"]
    assert data["publish_requests"] == {"unknown": 77, "android": None, "ios": None}
    assert data["requests_missing_onset_date"] == 20
    assert data["onset_to_upload_distribution"] == [None] * 3 + [40] + [None] * 26
    assert data["tek_age_distribution"] == [None] * 14 + [60, None]
    assert data["uploads_by_region"] == {"XA": 77}
    both = newest(get("realm/composite.json"))["data"]
    assert both == {**newest(get("realm.json"))["data"], **data}


def test_who_issued_without_a_name(get: Get) -> None:
    users = newest(get("realm/users.json"))
    assert users["issuer_data"] == [{"user_id": "official-1", "codes_issued": 3}]
    assert newest(get("realm/users/official-1.json"))["data"] == {"codes_issued": 3}
    assert newest(get(f"{PATHS[5]}.json"))["data"] == {"codes_issued": 1}
    assert newest(get("realm/external-issuers.json"))["issuer_data"] == [
        {"issuer_id": "=lab 7", "codes_issued": 1}
    ]
    assert newest(get("realm/sms-errors.json"))["error_data"] == [{"error_code": "30007", "quantity": 1}]
    assert all(b"Wang" not in get(f"{path}.json").get_data() for path in PATHS)


def test_every_table_as_csv(get: Get) -> None:
    tables = {}
    for path in PATHS:
        answer = get(f"{path}.csv")
        assert answer.content_type == "text/csv; charset=utf-8"
        tables[path] = list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))
        assert tables[path][0]["date"] == "2026-06-15"
    both = tables["realm/composite"][0]
    assert both["codes_issued"] == "4"
    assert both["tokens_claimed"] == ""
    assert both["publish_requests_unknown"] == "77"
    assert both["tek_age_distribution"] == "|" * 14 + "60|"
    assert both["uploads_by_region"] == "XA:77"
    assert tables["realm/external-issuers"][0]["issuer_id"] == "'=lab 7"


def test_only_a_key_of_its_kind_reads_them_and_nobody_shares_them(get: Get) -> None:
    for path in PATHS:
        for form in ("json", "csv"):
            assert get(f"{path}.{form}").headers["Cache-Control"] == "private"
            for key in (DEVICE_KEY, ADMIN_KEY, "", "unknown"):
                answer = get(f"{path}.{form}", key)
                assert answer.status_code == 401
                assert answer.json is not None
                assert answer.json["error"] == "unauthorized"


def test_a_disabled_key_is_out_at_once(get: Get, issuing_session: Session) -> None:
    with transaction(issuing_session):
        issuing_session.get_one(ApiKey, hash_api_key(LOOKUP_KEY, STATS_KEY)).disabled = True
    assert get("realm.json").status_code == 401


def test_who_is_not_there_or_another_authoritys_is_not_found(get: Get, issuing_session: Session) -> None:
    with transaction(issuing_session):
        issuing_session.add(Authority(id="b", name="x", certificate_issuer="x", certificate_audience="x"))
        issuing_session.flush()
        issuing_session.add(Official(id="other", authority_id="b", name="x"))
    for path in (
        "users/official-9",
        "users/%00",
        "users/other",
        "api-keys/zz",
        "api-keys/00",
        "api-keys/%00",
    ):
        assert get(f"realm/{path}.json").status_code == 404
        assert get(f"realm/{path}.csv").status_code == 404


def test_nothing_is_told_of_today(get: Get) -> None:
    for path in PATHS:
        assert b"2026-06-16" not in get(f"{path}.json").get_data()


def test_post_is_no_way_to_ask(issuing_app: Flask) -> None:
    answer = issuing_app.test_client().post("/api/stats/realm.json")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
