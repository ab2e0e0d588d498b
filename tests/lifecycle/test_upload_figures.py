"""Figures of uploads: counted once as they leave, decoys never; and who may ask for them."""

from collections.abc import Mapping
from datetime import date
from random import Random
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import CertificateInvalid
from registry.lifecycle.statistics import figures
from registry.lifecycle.upload_figures import (
    authority_of_token,
    days_before,
    release_uploads,
    upload_figures,
)
from registry.models import ShelfUpload, UploadCount, open_database, transaction
from registry.protocol.certificate import encode_jwt
from tests.app_of_old import fresh_keys
from tests.authority import AUDIENCE, AUTHORITY, ISSUER, MadeSigner, found_collecting
from tests.clock import FakeClock
from tests.lifecycle.test_upload_statement import on_postgresql
from tests.lifecycle.upload_desk import UploadDesk
from tests.world import World

DAY = 86_400
JUNE_15 = date(2026, 6, 15)


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> UploadDesk:
    return UploadDesk(collecting_url, collecting_session, clock)


def counted(url: str) -> dict[tuple[str, str], int]:
    engine = open_database(url)
    with Session(engine) as session:
        found = {(row.name, row.cell): row.n for row in session.scalars(select(UploadCount))}
    engine.dispose()
    return found


def test_an_upload_says_by_one_mark_what_the_long_way_says(desk: UploadDesk) -> None:
    for collect in (desk.collect_the_long_way, desk.collect, desk.collect_the_long_way, desk.collect):
        collect(desk.body(fresh_keys(desk.clock())))
    desk.session.rollback()
    assert desk.at_once == 2 * on_postgresql(desk)
    marks = desk.session.scalars(select(ShelfUpload)).all()
    assert len(marks) == 4 * 2, "today's key leaves later than the others"
    assert {mark.health_authority_id for mark in marks} == {AUTHORITY}
    told = [(mark.onset_days, mark.oldest_days) for mark in marks if mark.oldest_days is not None]
    assert len(told) == 4
    assert len(set(told)) == 1
    first = {mark.shelf_id for mark in marks if mark.oldest_days is not None}
    assert {receipt.shelf_id for receipt in desk.receipts()} == first


def test_each_upload_counts_once_when_it_leaves_and_no_decoy_does(world: World) -> None:
    for _ in range(3):
        world.app().upload(world.issue(days_ago=4)["code"], fresh_keys(world.clock()))
    assert counted(world.settings.collecting_database_url) == {}
    world.next_window()
    world.clock.advance(DAY)
    world.publish()  # the keys of the day on which it came leave by themselves, and count no more
    found = counted(world.settings.collecting_database_url)
    assert found.pop(("uploads", "all")) == 3
    assert found.pop(("regions", world.settings.region)) == 3
    assert found.pop(("onset", "4")) == 3
    assert [(name, n) for (name, _days), n in found.items()] == [("oldest", 3)]


def test_figures_leave_once_and_reach_the_other_half_as_they_are(world: World) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    world.next_window()
    world.clock.advance(DAY)
    publisher = world.publisher()
    publisher.release_figures()
    assert counted(world.settings.collecting_database_url) == {}
    authority_id = world.settings.health_authority_id
    for _ in range(2):
        with Session(publisher.collecting_engine) as session:
            theirs = upload_figures(session, authority_id, JUNE_15, JUNE_15)
        with Session(publisher.issuing_engine) as session:
            ours = figures(session, authority_id, JUNE_15, JUNE_15)
        assert theirs[JUNE_15].keys() == {"uploads", "regions", "onset", "oldest"}
        assert {name: ours[JUNE_15][name] for name in theirs[JUNE_15]} == theirs[JUNE_15]
        assert ours[JUNE_15].keys() > theirs[JUNE_15].keys()
        publisher.release_figures()


def test_noise_is_drawn_once(desk: UploadDesk) -> None:
    with transaction(desk.session):
        for name, cell in (("uploads", "all"), ("regions", "XA"), ("onset", "none"), ("oldest", "14")):
            desk.session.add(
                UploadCount(day=JUNE_15, health_authority_id=AUTHORITY, name=name, cell=cell, n=300)
            )
    found = []
    for seed in range(3):
        with transaction(desk.session):
            release_uploads(desk.session, desk.clock() + DAY, random_below=Random(seed).randrange)
        found.append(upload_figures(desk.session, AUTHORITY, JUNE_15, JUNE_15)[JUNE_15])
    assert found[0] == found[1] == found[2]
    assert {name: list(cells) for name, cells in found[0].items()} == {
        "uploads": ["all"],
        "regions": [],  # XB alone would be hidden, and with it the region that a total gives away
        "onset": ["none"],
        "oldest": ["14"],
    }
    assert abs(found[0]["uploads"]["all"] - 300) < 60


def test_days_are_whole_utc_days_and_the_last_bin_is_open() -> None:
    now = 1_781_481_600 + 12 * 3600.0
    interval = int(now) // 600
    assert [days_before(interval - 144 * days, now, 30) for days in (0, 1, 28, 29, 40)] == [0, 1, 28, 29, 29]
    assert days_before(interval + 144, now, 30) == 0


# ------------------------------------------------------------------ the token


@pytest.fixture
def signer(collecting_session: Session, clock: FakeClock) -> MadeSigner:
    made = MadeSigner("c1")
    found_collecting(collecting_session, made, clock())
    return made


def claims(clock: FakeClock, **other: Any) -> Mapping[str, object]:
    asked = {"iss": ISSUER, "aud": "keyserver", "iat": int(clock()), "exp": int(clock()) + 300, **other}
    return {name: value for name, value in asked.items() if value is not None}


def test_a_token_under_the_authoritys_key_names_it(
    collecting_session: Session, signer: MadeSigner, clock: FakeClock
) -> None:
    for audience in ("keyserver", ["keyserver"]):
        token = encode_jwt(claims(clock, aud=audience), signer)
        assert authority_of_token(collecting_session, token, clock()) == AUTHORITY


def test_no_other_token_does(collecting_session: Session, signer: MadeSigner, clock: FakeClock) -> None:
    wrong = [
        claims(clock, iss="another"),
        claims(clock, iss=None),
        claims(clock, iss="\0"),
        claims(clock, aud=AUDIENCE),
        claims(clock, aud=None),
        claims(clock, exp=int(clock())),
        claims(clock, exp=int(clock()) + 2 * DAY),
        claims(clock, exp=None),
        claims(clock, exp=True),
        claims(clock, tekmac="AAAA"),  # what every phone holds
        claims(clock, reportType="confirmed"),
    ]
    tokens = [encode_jwt(each, signer) for each in wrong]
    tokens += [encode_jwt(claims(clock), MadeSigner("c1")), encode_jwt(claims(clock), MadeSigner("c9"))]
    for token in [*tokens, "", "a.b.c", "x" * 9000]:
        with pytest.raises(CertificateInvalid):
            authority_of_token(collecting_session, token, clock())
