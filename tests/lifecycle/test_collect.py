"""What happens to an upload: certificate, storing, repetition. Also: test_upload_rules, test_revise."""

import base64
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import RefusalCode
from registry.lifecycle.collect import CollectedUpload
from registry.models import (
    CollectedAnswer,
    DiagnosisKey,
    HealthAuthority,
    HealthAuthorityKey,
    Shelf,
    ShelfUpload,
    open_database,
    transaction,
)
from registry.protocol.certificate import encode_jwt, read_jwt
from registry.protocol.keys import ReportType
from registry.protocol.revision_token import decode_revision_token
from tests.authority import (
    AUDIENCE,
    AUTHORITY,
    FAR,
    ISSUER,
    REGIONS,
    RING,
    MadeSigner,
    mac_of,
    made_key,
    made_upload,
)
from tests.clock import FakeClock
from tests.lifecycle.upload_desk import UploadDesk


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> UploadDesk:
    """The authority's desk."""
    return UploadDesk(collecting_url, collecting_session, clock)


# ---------------------------------------------------------------- what is stored


def test_a_key_is_stored_on_the_shelf_of_its_regions(desk: UploadDesk) -> None:
    key = made_key(desk.clock(), 2)
    collected = desk.upload([key], traveler=True)
    (row,) = desk.rows()
    assert base64.b64encode(row.key_data).decode() == key["key"]
    assert row.end_interval_number == key["rollingStartNumber"] + 144
    assert (row.report_type, row.transmission_risk_level) == (ReportType.CONFIRMED_TEST, 2)
    assert row.days_since_onset_of_symptoms == 2  # onset 4 days ago, key of 2 days ago
    assert (row.traveler, row.health_authority_id) == (True, AUTHORITY)
    assert desk.shelves() == [(",".join(REGIONS), False, None)]
    assert desk.session.scalars(select(Shelf.releasable_at)).all() == [0], "it has waited long enough"
    assert (collected.inserted_exposures, collected.error, collected.code, collected.warnings) == (
        1,
        "",
        "",
        (),
    )


def test_a_key_that_is_still_valid_is_taken_and_waits(desk: UploadDesk) -> None:
    assert desk.upload([made_key(desk.clock(), 0)]).inserted_exposures == 1
    assert desk.session.scalars(select(Shelf.releasable_at)).all() == [desk.clock() // 600 // 144 * 144 + 156]


def test_insert_counts_are_true_when_a_key_is_here_already(desk: UploadDesk) -> None:
    old, new = made_key(desk.clock(), 3), made_key(desk.clock(), 2)
    token = desk.upload([old]).revision_token
    assert desk.upload([old, new], revisionToken=token).inserted_exposures == 1
    assert len(desk.rows()) == 2


@pytest.mark.parametrize(
    ("report_type", "stored_as", "risk"),
    [
        ("confirmed", ReportType.CONFIRMED_TEST, 2),
        ("likely", ReportType.CONFIRMED_CLINICAL_DIAGNOSIS, 4),
        ("user-report", ReportType.SELF_REPORT, 0),
    ],
)
def test_report_type_and_the_risk_that_was_not_sent(
    desk: UploadDesk, report_type: str, stored_as: ReportType, risk: int
) -> None:
    desk.upload([made_key(desk.clock(), 3, risk=0), made_key(desk.clock(), 2, risk=7)], report_type)
    unsent, sent = desk.rows()
    assert (unsent.report_type, unsent.transmission_risk_level) == (stored_as, risk)
    assert (sent.report_type, sent.transmission_risk_level) == (stored_as, 7)


def test_a_negative_result_for_unknown_keys_stores_none_but_the_token_names_them(desk: UploadDesk) -> None:
    key = made_key(desk.clock())
    collected = desk.upload([key], "negative")
    assert collected.inserted_exposures == 0
    assert desk.rows() == []
    assert desk.shelves() == []
    (named,) = decode_revision_token(collected.revision_token, RING)
    assert base64.b64encode(named.key_data).decode() == key["key"]


@pytest.mark.parametrize("report_type", ["confirmed", "negative"])
def test_keys_that_are_all_too_far_from_the_onset_are_warned_about_and_not_stored(
    desk: UploadDesk, report_type: str
) -> None:
    earlier = made_key(desk.clock(), 1)
    token = desk.upload([earlier]).revision_token
    before = desk.picture()[:2]
    far = [made_key(desk.clock(), 15, period=144)]
    body = desk.body(far, report_type, symptomOnsetInterval=int(desk.clock()) // 600 - 1, revisionToken=token)
    collected = desk.collect(body)
    assert (collected.inserted_exposures, collected.error, collected.code) == (0, "", "")
    assert collected.warnings == ("key 0: over 14 days from the onset of symptoms, left out",)
    (named,) = decode_revision_token(collected.revision_token, RING)
    assert base64.b64encode(named.key_data).decode() == earlier["key"], "what it could revise it still can"
    assert desk.picture()[:2] == before
    assert desk.collect(body) == collected


# ---------------------------------------------------------------- who, certificate and HMAC


def test_an_authority_is_found_in_large_letters_and_small(desk: UploadDesk) -> None:
    for number, spelling in enumerate((AUTHORITY.upper(), AUTHORITY.title(), AUTHORITY)):
        assert desk.upload([made_key(desk.clock(), 2)], healthAuthorityID=spelling).inserted_exposures == 1
        assert len(desk.rows()) == number + 1
    assert {row.health_authority_id for row in desk.rows()} == {AUTHORITY}
    keys = [made_key(desk.clock())]
    assert desk.refused(keys, healthAuthorityID=AUTHORITY + " ") == RefusalCode.UNKNOWN_HEALTH_AUTHORITY_ID


def test_an_authority_registered_in_large_letters_is_found_too(desk: UploadDesk) -> None:
    register(desk, "CH.Canton", "Zürich.ÄÖ")
    for spelling in ("CH.Canton", "ch.canton", "CH.CANTON", "Zürich.ÄÖ"):
        assert desk.upload([made_key(desk.clock(), 2)], healthAuthorityID=spelling).inserted_exposures == 1
    assert {row.health_authority_id for row in desk.rows()} == {"CH.Canton", "Zürich.ÄÖ"}


def test_two_authorities_that_differ_in_case_alone_are_not_taken_for_each_other(desk: UploadDesk) -> None:
    register(desk, "org.Twin", "org.twin")
    for spelling in ("org.Twin", "org.twin"):
        key = made_key(desk.clock(), 2)
        desk.upload([key], healthAuthorityID=spelling)
        stored = {base64.b64encode(row.key_data).decode(): row.health_authority_id for row in desk.rows()}
        assert stored[key["key"]] == spelling
    keys = [made_key(desk.clock())]
    assert desk.refused(keys, healthAuthorityID="ORG.TWIN") == RefusalCode.UNKNOWN_HEALTH_AUTHORITY_ID


def register(desk: UploadDesk, *ids: str) -> None:
    """More authorities, with the first one's key, issuer and audience."""
    with transaction(desk.session):
        for health_authority_id in ids:
            desk.session.add(
                HealthAuthority(
                    id=health_authority_id,
                    certificate_issuer=ISSUER,
                    certificate_audience=AUDIENCE,
                    regions=["XA"],
                )
            )
        desk.session.flush()
        for health_authority_id in ids:
            desk.session.add(
                HealthAuthorityKey(
                    health_authority_id=health_authority_id,
                    key_id=desk.signer.key_id,
                    public_key_pem=desk.signer.public_key_pem,
                    not_before=0,
                    not_after=FAR,
                )
            )


def test_a_certificate_as_another_authoritys_software_writes_it(desk: UploadDesk) -> None:
    body = desk.body([made_key(desk.clock(), 2)])
    _header, claims = read_jwt(body["verificationPayload"])
    claims |= {"symptomOnsetInterval": None, "exp": desk.clock() + 86_400.5}
    del claims["iat"], claims["nbf"]
    desk.collect({**body, "verificationPayload": encode_jwt(claims, desk.signer)})
    (row,) = desk.rows()
    assert row.days_since_onset_of_symptoms == 2  # onset taken to be 4 days ago, key of 2 days ago


def test_certificates_that_do_not_hold(desk: UploadDesk) -> None:
    keys = [made_key(desk.clock())]
    invalid = RefusalCode.CERTIFICATE_INVALID
    assert desk.refused(keys, issuer="another") == invalid
    assert desk.refused(keys, audience="another") == invalid
    assert desk.refused(keys, mac=mac_of(b"another key 1234", keys)) == invalid
    assert desk.refused(keys, hmacKey="not base64!") == invalid
    assert desk.refused(keys, verificationPayload="") == invalid
    stranger = made_upload(MadeSigner("c1"), keys, desk.clock())
    assert desk.refused_body(stranger) == invalid
    unknown = made_upload(MadeSigner("c2"), keys, desk.clock())
    assert desk.refused_body(unknown) == invalid
    body = desk.body(keys)
    desk.clock.advance(901)
    assert desk.refused_body(body) == invalid


def test_a_certificate_key_holds_only_in_its_time(desk: UploadDesk) -> None:
    body = desk.body([made_key(desk.clock())])
    now = int(desk.clock())
    for not_before, not_after in ((now + 1, now + 100), (now - 100, now)):
        with transaction(desk.session):
            row = desk.session.scalars(select(HealthAuthorityKey)).one()
            row.not_before, row.not_after = not_before, not_after
        assert desk.refused_body(body) == RefusalCode.CERTIFICATE_INVALID
    with transaction(desk.session):
        desk.session.scalars(select(HealthAuthorityKey)).one().not_after = now + 1
    assert desk.collect(body).inserted_exposures == 1


@pytest.mark.parametrize("with_risk", [True, False])
def test_both_forms_of_the_hmac_hold_over_the_text_as_sent(desk: UploadDesk, with_risk: bool) -> None:
    secret = secrets.token_bytes(16)
    spellings = [made_key(desk.clock(), day) for day in (2, 3, 4, 5, 6)]
    for key, spell in zip(spellings, (str, _bare, _url, _bare_url, _in_lines), strict=True):
        key["key"] = spell(key["key"])
    mac = mac_of(secret, spellings, with_risk=with_risk)
    body = desk.body(spellings, mac=mac, hmacKey=_bare_url(base64.b64encode(secret).decode()))
    assert desk.collect(body).inserted_exposures == 5


def test_three_parts_do_not_hold_when_a_risk_was_sent(desk: UploadDesk) -> None:
    secret = secrets.token_bytes(16)
    keys = [made_key(desk.clock(), 2, risk=1), made_key(desk.clock(), 3)]
    body = desk.body(
        keys, mac=mac_of(secret, keys, with_risk=False), hmacKey=base64.b64encode(secret).decode()
    )
    assert desk.refused_body(body) == RefusalCode.CERTIFICATE_INVALID


def _bare(text: str) -> str:
    return text.rstrip("=")


def _url(text: str) -> str:
    return text.replace("+", "-").replace("/", "_")


def _bare_url(text: str) -> str:
    return _bare(_url(text))


def _in_lines(text: str) -> str:
    return text[:5] + "\r\n" + text[5:] + "\n"


# ---------------------------------------------------------------- repetition


def test_the_same_upload_gets_the_same_answer_and_a_changed_one_does_not(desk: UploadDesk) -> None:
    keys = [made_key(desk.clock(), day) for day in (2, 3)]
    body = desk.body(keys)
    first = desk.collect(body)
    assert desk.collect({**body, "temporaryExposureKeys": keys[::-1], "revisionToken": "x"}) == first
    assert desk.refused_body({**body, "temporaryExposureKeys": keys[:1]}) == RefusalCode.CERTIFICATE_INVALID
    # A new certificate over the same keys is another upload: it needs the token.
    assert desk.refused(keys) == RefusalCode.MISSING_REVISION_TOKEN


def test_an_upload_that_is_spelled_otherwise_is_the_same_upload(desk: UploadDesk) -> None:
    keys = [made_key(desk.clock(), day) for day in (2, 3)]
    body = desk.body(keys)
    first = desk.collect(body)
    for spell in (_bare, _url, _bare_url, _in_lines):
        assert desk.collect({**body, "hmacKey": spell(body["hmacKey"])}) == first
        respelled = [{**key, "key": spell(key["key"])} for key in keys]
        assert desk.collect({**body, "temporaryExposureKeys": respelled}) == first
    for other in ("AAAA" + body["hmacKey"], "!" + body["hmacKey"], ""):
        assert desk.refused_body({**body, "hmacKey": other}) == RefusalCode.CERTIFICATE_INVALID
    junk = [{**key, "key": "!" + key["key"]} for key in keys]
    assert desk.refused_body({**body, "temporaryExposureKeys": junk}) == RefusalCode.CERTIFICATE_INVALID


def test_an_upload_that_arrives_several_times_at_once_gets_one_answer(desk: UploadDesk) -> None:
    body = desk.body([made_key(desk.clock(), day) for day in range(14)])

    def collected(_number: int) -> CollectedUpload:
        engine = open_database(desk.url)
        with Session(engine) as session:
            answer = desk.collect(body, session)
        engine.dispose()
        return answer

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(collected, range(6)))
    assert len(set(answers)) == 1
    assert answers[0].inserted_exposures == 14
    assert len(desk.rows()) == 14


def test_a_stored_answer_shows_neither_token_nor_keys(desk: UploadDesk) -> None:
    collected = desk.upload([made_key(desk.clock())])
    row = desk.session.scalars(select(CollectedAnswer)).one()
    assert collected.revision_token.encode() not in row.sealed
    assert row.expires_at_interval % 6 == 0


def test_many_phones_at_once_lose_no_key(desk: UploadDesk) -> None:
    bodies = [desk.body([made_key(desk.clock(), day) for day in range(14)]) for _ in range(12)]

    def collected(body: dict[str, Any]) -> int:
        engine = open_database(desk.url)
        with Session(engine) as session:
            inserted = desk.collect(body, session).inserted_exposures
        engine.dispose()
        return inserted

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(collected, bodies)) == 12 * 14
    desk.session.rollback()
    shelved = select(func.count()).where(DiagnosisKey.shelf_id == Shelf.id, Shelf.is_open)
    assert desk.session.scalar(shelved) == 12 * 14
    # All of them on the two shelves of their regions: one for what may leave, one for today's keys.
    assert len(desk.shelves()) == 2
    assert desk.session.scalar(select(func.count()).select_from(ShelfUpload)) == 12 * 2
