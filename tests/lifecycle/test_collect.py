"""What happens to an upload: certificate, storing, repetition, revision. Rules of keys: test_upload_rules."""

import base64
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.collect import (
    CollectedUpload,
    CollectionPolicy,
    Upload,
    UploadedKey,
    collect_upload,
)
from registry.models import (
    Batch,
    BatchState,
    CollectedAnswer,
    DiagnosisKey,
    HealthAuthorityKey,
    KeyRelease,
    open_database,
    transaction,
)
from registry.protocol.keys import ReportType
from registry.protocol.revision_token import decode_revision_token
from tests.authority import (
    AUTHORITY,
    REGIONS,
    RING,
    MadeSigner,
    found_collecting,
    mac_of,
    made_key,
    made_upload,
)
from tests.clock import FakeClock

Keys = Sequence[dict[str, Any]]


def upload_of(body: dict[str, Any]) -> Upload:
    """The upload that a face makes of this body."""
    return Upload(
        health_authority_id=body["healthAuthorityID"],
        keys=tuple(
            UploadedKey(
                key["key"], key["rollingStartNumber"], key["rollingPeriod"], key.get("transmissionRisk", 0)
            )
            for key in body["temporaryExposureKeys"]
        ),
        certificate=body["verificationPayload"],
        hmac_key_text=body["hmacKey"],
        symptom_onset_interval=body.get("symptomOnsetInterval"),
        traveler=body["traveler"],
        revision_token=body.get("revisionToken", ""),
    )


class Desk:
    """The collecting half with one authority, and uploads to it."""

    def __init__(self, url: str, session: Session, clock: FakeClock) -> None:
        self.url, self.session, self.clock = url, session, clock
        self.signer = MadeSigner("c1")
        found_collecting(session, self.signer)

    def collect(self, body: dict[str, Any], session: Session | None = None) -> CollectedUpload:
        """Collect a whole body."""
        session = session or self.session
        with transaction(session):
            return collect_upload(
                session,
                upload_of(body),
                policy=CollectionPolicy(),
                revision_keys=RING,
                now=self.clock(),
            )

    def body(self, keys: Keys, report_type: str = "confirmed", **more: Any) -> dict[str, Any]:
        """An upload of `keys` with a certificate that names them."""
        return made_upload(self.signer, list(keys), self.clock(), report_type=report_type, **more)

    def upload(self, keys: Keys, report_type: str = "confirmed", **more: Any) -> CollectedUpload:
        """Make and collect an upload."""
        return self.collect(self.body(keys, report_type, **more))

    def refused(self, keys: Keys, report_type: str = "confirmed", **more: Any) -> RefusalCode:
        """The code that an upload is refused with; it must have stored nothing."""
        return self.refused_body(self.body(keys, report_type, **more))

    def refused_body(self, body: dict[str, Any]) -> RefusalCode:
        """As `refused`, for a whole body."""
        before = self.picture()
        with pytest.raises(Refusal) as refused:
            self.collect(body)
        assert self.picture() == before
        return refused.value.code

    def picture(self) -> list[Any]:
        """Everything that is stored."""
        self.session.rollback()
        tables = (DiagnosisKey, KeyRelease, CollectedAnswer)
        return [self.session.execute(select(table.__table__)).all() for table in tables]

    def rows(self) -> list[DiagnosisKey]:
        """Stored keys, oldest first."""
        self.session.rollback()
        in_time = (DiagnosisKey.rolling_start_interval_number, DiagnosisKey.rolling_period)
        return list(self.session.scalars(select(DiagnosisKey).order_by(*in_time)))

    def releases(self) -> list[tuple[str, bool, int | None]]:
        """(region, is_revision, batch) of every release, in order."""
        self.session.rollback()
        rows = self.session.scalars(select(KeyRelease).order_by(KeyRelease.region, KeyRelease.is_revision))
        return [(row.region, row.is_revision, row.batch_id) for row in rows]

    def seal(self, *regions: str) -> None:
        """Pretend that the publisher has sealed what is pending in `regions`."""
        with transaction(self.session):
            for number, region in enumerate(regions, start=1):
                self.session.add(_batch(number, region))
                self.session.flush()
                for row in self.session.scalars(select(KeyRelease).filter_by(region=region)):
                    row.batch_id = number


def _batch(number: int, region: str) -> Batch:
    return Batch(
        id=number,
        region=region,
        sequence=1,
        window_start=0,
        window_end=60,
        state=BatchState.SEALED,
        newest_key_end=None,
    )


@pytest.fixture
def desk(collecting_url: str, collecting_session: Session, clock: FakeClock) -> Desk:
    """The authority's desk."""
    return Desk(collecting_url, collecting_session, clock)


# ---------------------------------------------------------------- what is stored


def test_a_key_is_stored_with_a_release_in_each_region_two_hours_after_its_end(desk: Desk) -> None:
    key = made_key(desk.clock(), 2)
    collected = desk.upload([key], traveler=True)
    (row,) = desk.rows()
    assert base64.b64encode(row.key_data).decode() == key["key"]
    assert row.end_interval_number == key["rollingStartNumber"] + 144
    assert (row.report_type, row.transmission_risk_level) == (ReportType.CONFIRMED_TEST, 2)
    assert row.days_since_onset_of_symptoms == 2  # onset 4 days ago, key of 2 days ago
    assert (row.traveler, row.health_authority_id) == (True, AUTHORITY)
    assert desk.releases() == [(region, False, None) for region in REGIONS]
    ends = set(desk.session.scalars(select(KeyRelease.releasable_at)))
    assert ends == {row.end_interval_number + 12}
    assert (collected.inserted_exposures, collected.error, collected.code, collected.warnings) == (
        1,
        "",
        "",
        (),
    )


def test_a_key_that_is_still_valid_is_taken_and_waits(desk: Desk) -> None:
    assert desk.upload([made_key(desk.clock(), 0)]).inserted_exposures == 1
    assert (
        desk.session.scalars(select(KeyRelease.releasable_at)).first()
        == desk.clock() // 600 // 144 * 144 + 156
    )


def test_insert_counts_are_true_when_a_key_is_here_already(desk: Desk) -> None:
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
    desk: Desk, report_type: str, stored_as: ReportType, risk: int
) -> None:
    desk.upload([made_key(desk.clock(), 3, risk=0), made_key(desk.clock(), 2, risk=7)], report_type)
    unsent, sent = desk.rows()
    assert (unsent.report_type, unsent.transmission_risk_level) == (stored_as, risk)
    assert (sent.report_type, sent.transmission_risk_level) == (stored_as, 7)


def test_a_negative_result_for_unknown_keys_stores_none_but_the_token_names_them(desk: Desk) -> None:
    key = made_key(desk.clock())
    collected = desk.upload([key], "negative")
    assert collected.inserted_exposures == 0
    assert desk.rows() == []
    assert desk.releases() == []
    (named,) = decode_revision_token(collected.revision_token, RING)
    assert base64.b64encode(named.key_data).decode() == key["key"]


# ---------------------------------------------------------------- certificate and HMAC


def test_certificates_that_do_not_hold(desk: Desk) -> None:
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


def test_a_certificate_key_holds_only_in_its_time(desk: Desk) -> None:
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
def test_both_forms_of_the_hmac_hold_over_the_text_as_sent(desk: Desk, with_risk: bool) -> None:
    secret = secrets.token_bytes(16)
    spellings = [made_key(desk.clock(), day) for day in (2, 3, 4, 5)]
    for key, spell in zip(spellings, (str, _bare, _url, _bare_url), strict=True):
        key["key"] = spell(key["key"])
    mac = mac_of(secret, spellings, with_risk=with_risk)
    body = desk.body(spellings, mac=mac, hmacKey=_bare_url(base64.b64encode(secret).decode()))
    assert desk.collect(body).inserted_exposures == 4


def test_three_parts_do_not_hold_when_a_risk_was_sent(desk: Desk) -> None:
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


# ---------------------------------------------------------------- repetition


def test_the_same_upload_gets_the_same_answer_and_a_changed_one_does_not(desk: Desk) -> None:
    keys = [made_key(desk.clock(), day) for day in (2, 3)]
    body = desk.body(keys)
    first = desk.collect(body)
    assert desk.collect({**body, "temporaryExposureKeys": keys[::-1], "revisionToken": "x"}) == first
    assert desk.refused_body({**body, "temporaryExposureKeys": keys[:1]}) == RefusalCode.CERTIFICATE_INVALID
    # A new certificate over the same keys is another upload: it needs the token.
    assert desk.refused(keys) == RefusalCode.MISSING_REVISION_TOKEN


def test_an_upload_that_arrives_several_times_at_once_gets_one_answer(desk: Desk) -> None:
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


def test_a_stored_answer_shows_neither_token_nor_keys(desk: Desk) -> None:
    collected = desk.upload([made_key(desk.clock())])
    row = desk.session.scalars(select(CollectedAnswer)).one()
    assert collected.revision_token.encode() not in row.sealed
    assert row.expires_at_interval % 6 == 0


# ---------------------------------------------------------------- revision


def test_stored_keys_need_a_token_that_names_them(desk: Desk) -> None:
    mine, other = made_key(desk.clock(), 2), made_key(desk.clock(), 2)
    desk.upload([mine], "likely")
    others = desk.upload([other], "likely").revision_token
    assert desk.refused([mine]) == RefusalCode.MISSING_REVISION_TOKEN
    assert desk.refused([mine], revisionToken="not base64!") == RefusalCode.MISSING_REVISION_TOKEN
    assert desk.refused([mine], revisionToken="AAAA") == RefusalCode.INVALID_REVISION_TOKEN
    assert desk.refused([mine], revisionToken=others) == RefusalCode.INVALID_REVISION_TOKEN
    assert desk.upload([made_key(desk.clock(), 3)], revisionToken="AAAA").inserted_exposures == 1


def test_a_stored_key_keeps_its_start_and_period(desk: Desk) -> None:
    key = made_key(desk.clock(), 2)
    token = desk.upload([key], "likely").revision_token
    moved = {**key, "rollingStartNumber": key["rollingStartNumber"] - 144}
    for other in ({**key, "rollingPeriod": 143}, moved):
        assert desk.refused([other], revisionToken=token) == RefusalCode.INVALID_REVISION_TOKEN


def test_the_next_token_holds_the_old_ones_keys_and_these(desk: Desk) -> None:
    first, second = made_key(desk.clock(), 5), made_key(desk.clock(), 4)
    token = desk.upload([first]).revision_token
    token = desk.upload([second], revisionToken=token).revision_token
    assert len(decode_revision_token(token, RING)) == 2
    desk.clock.advance(11 * 86_400)  # the first one ended over 15 days ago now
    token = desk.upload([made_key(desk.clock(), 1)], revisionToken=token).revision_token
    starts = [key.rolling_start_interval_number for key in decode_revision_token(token, RING)]
    assert starts == [second["rollingStartNumber"], desk.clock() // 86_400 * 144 - 144]


def test_the_same_report_type_again_changes_nothing_and_brings_a_token(desk: Desk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key]).revision_token
    before = desk.picture()[:2]
    collected = desk.upload([key], revisionToken=token)
    assert collected.inserted_exposures == 0
    assert decode_revision_token(collected.revision_token, RING) == decode_revision_token(token, RING)
    assert desk.picture()[:2] == before


@pytest.mark.parametrize("first", ["confirmed", "likely", "user-report"])
@pytest.mark.parametrize("then", ["confirmed", "likely", "user-report", "negative"])
def test_which_report_type_may_follow_which(desk: Desk, first: str, then: str) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], first).revision_token
    permitted = {
        "likely": {"confirmed", "negative"},
        "user-report": {"confirmed", "likely", "negative"},
        "confirmed": set(),
    }[first]
    if then == first or then in permitted:
        desk.upload([key], then, revisionToken=token)
    else:
        refusal = desk.refused([key], then, revisionToken=token)
        assert refusal == RefusalCode.INVALID_REPORT_TYPE_TRANSITION


def test_a_key_is_revised_once(desk: Desk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "user-report").revision_token
    token = desk.upload([key], "likely", revisionToken=token).revision_token
    for then in ("confirmed", "negative", "user-report"):
        assert desk.refused([key], then, revisionToken=token) == RefusalCode.KEY_ALREADY_REVISED
    assert desk.upload([key], "likely", revisionToken=token).inserted_exposures == 0


def test_before_its_release_a_key_is_changed_in_place(desk: Desk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "likely").revision_token
    desk.upload([key], "confirmed", revisionToken=token)
    (row,) = desk.rows()
    assert (row.report_type, row.revised_report_type) == (ReportType.CONFIRMED_TEST, None)
    assert row.revised_before_release
    assert row.transmission_risk_level == 4  # the first one's stays
    assert desk.releases() == [(region, False, None) for region in REGIONS]


def test_a_key_that_proves_negative_before_its_release_never_leaves(desk: Desk) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "likely").revision_token
    token = desk.upload([key], "negative", revisionToken=token).revision_token
    assert desk.releases() == []
    assert desk.upload([key], "negative", revisionToken=token).inserted_exposures == 0
    assert desk.refused([key], "confirmed", revisionToken=token) == RefusalCode.KEY_ALREADY_REVISED


@pytest.mark.parametrize("then", ["confirmed", "negative"])
def test_after_its_release_a_key_goes_out_again_as_revised(desk: Desk, then: str) -> None:
    key = made_key(desk.clock())
    token = desk.upload([key], "likely").revision_token
    desk.seal(*REGIONS)
    desk.upload([key], then, revisionToken=token)
    (row,) = desk.rows()
    assert row.report_type == ReportType.CONFIRMED_CLINICAL_DIAGNOSIS
    revised = {"confirmed": ReportType.CONFIRMED_TEST, "negative": ReportType.REVOKED}[then]
    assert (row.revised_report_type, row.revised_days_since_onset_of_symptoms) == (revised, 2)
    assert not row.revised_before_release
    assert desk.releases() == [("XA", False, 1), ("XA", True, None), ("XB", False, 2), ("XB", True, None)]


def test_released_in_one_region_only(desk: Desk) -> None:
    keys = [made_key(desk.clock(), 2), made_key(desk.clock(), 3)]
    tokens = [desk.upload([key], "likely").revision_token for key in keys]
    desk.seal("XA")
    desk.upload(keys[:1], "negative", revisionToken=tokens[0])
    desk.upload(keys[1:], "confirmed", revisionToken=tokens[1])
    data = [base64.b64decode(key["key"]) for key in keys]
    columns = (KeyRelease.region, KeyRelease.is_revision, KeyRelease.batch_id)
    by_key = {
        key: sorted(map(tuple, desk.session.execute(select(*columns).filter_by(key_data=key))))
        for key in data
    }
    # Where it has not gone out there is nothing to take back; a confirmation follows it there too.
    assert by_key[data[0]] == [("XA", False, 1), ("XA", True, None)]
    assert by_key[data[1]] == [("XA", False, 1), ("XA", True, None), ("XB", False, None), ("XB", True, None)]


def test_one_bad_revision_refuses_the_whole_upload(desk: Desk) -> None:
    likely, confirmed = made_key(desk.clock(), 2), made_key(desk.clock(), 3)
    token = desk.upload([likely], "likely").revision_token
    token = desk.upload([confirmed], "confirmed", revisionToken=token).revision_token
    new = made_key(desk.clock(), 4)
    refusal = desk.refused([likely, confirmed, new], "negative", revisionToken=token)
    assert refusal == RefusalCode.INVALID_REPORT_TYPE_TRANSITION


def test_many_phones_at_once_lose_no_key(desk: Desk) -> None:
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
    assert desk.session.scalar(select(func.count()).select_from(KeyRelease)) == 12 * 14 * len(REGIONS)
