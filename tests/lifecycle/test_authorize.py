"""What is stated becomes a code of which only a keyed hash, a rounded expiry and the dates are kept."""

from dataclasses import asdict, replace
from datetime import date, timedelta
from itertools import chain, repeat
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.authorize import (
    IssuedCode,
    IssuingPolicy,
    Statement,
    authorize,
    check_statement,
    code_status,
    expire_code,
    hash_api_key,
    hash_code,
    rounded_expiry,
)
from registry.models import ApiKey, Authority, Authorization, Official, VerificationCode, transaction
from registry.protocol.codes import group, is_well_formed
from tests.clock import NOON_OF_JUNE_15, FakeClock

AUTHORITY = "org.example.health"
LOOKUP_KEY = bytes(range(32))
TODAY = date(2026, 6, 15)
LAB_KEY = hash_api_key(LOOKUP_KEY, "lab")
BY_LAB = Statement("confirmed", TODAY, None, api_key_hash=LAB_KEY)
BY_OFFICIAL = Statement(
    "likely",
    None,
    TODAY,
    official_id="official-1",
    consent_version="2026-11",
    consent_language="zh",
    consent_channel="phone",
)


@pytest.fixture
def session(issuing_session: Session) -> Session:
    """An issuing database with two authorities, a lab's key and an official."""
    with transaction(issuing_session):
        for authority_id in (AUTHORITY, "org.example.neighbour"):
            issuing_session.add(
                Authority(id=authority_id, name="x", certificate_issuer="x", certificate_audience="x")
            )
        issuing_session.flush()
        issuing_session.add(ApiKey(key_hash=LAB_KEY, authority_id=AUTHORITY, kind="admin", preview="lab"))
        issuing_session.add(Official(id="official-1", authority_id=AUTHORITY, name="Wang Fang"))
    return issuing_session


def issue(session: Session, statement: Statement, clock: FakeClock) -> IssuedCode:
    with transaction(session):
        return authorize(
            session,
            statement,
            authority_id=AUTHORITY,
            lookup_key=LOOKUP_KEY,
            policy=IssuingPolicy(),
            now=clock(),
        )


def refusal_of(statement: Statement, now: float = NOON_OF_JUNE_15) -> RefusalCode:
    with pytest.raises(Refusal) as refusal:
        check_statement(statement, policy=IssuingPolicy(), now=now)
    return refusal.value.code


def count(session: Session, table: type) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def test_an_officials_statement_is_recorded_with_the_persons_agreement(
    session: Session, clock: FakeClock
) -> None:
    issued = issue(session, BY_OFFICIAL, clock)

    assert is_well_formed(issued.code)
    row = session.scalars(select(VerificationCode)).one()
    act = session.scalars(select(Authorization)).one()
    assert row.uuid == issued.uuid
    assert row.code_hash == hash_code(LOOKUP_KEY, AUTHORITY, issued.code)
    assert (row.report_type, row.test_date, row.onset_date) == ("likely", None, TODAY)
    assert not row.claimed
    assert act.id == row.authorization_id
    assert act.id != row.uuid
    assert (act.official_id, act.stated_on) == ("official-1", TODAY)
    assert (act.consent_version, act.consent_language, act.consent_channel) == ("2026-11", "zh", "phone")


def test_a_labs_statement_needs_no_agreement_and_keeps_its_issuers_name(
    session: Session, clock: FakeClock
) -> None:
    issue(session, replace(BY_LAB, external_issuer_id="Labor 7/β"), clock)
    act = session.scalars(select(Authorization)).one()
    assert (act.official_id, act.api_key_hash, act.external_issuer_id) == (None, LAB_KEY, "Labor 7/β")
    assert act.consent_version is None


def test_the_code_itself_is_nowhere_in_the_tables(session: Session, clock: FakeClock) -> None:
    issued = issue(session, BY_LAB, clock)
    stored = " ".join(
        repr(vars(row))
        for row in [*session.scalars(select(VerificationCode)), *session.scalars(select(Authorization))]
    )
    assert issued.uuid in stored
    assert issued.code not in stored
    assert issued.code[:14] not in stored


@pytest.mark.parametrize(
    ("after", "life"), [(0, 86_400), (1, 87_300), (899, 87_300), (900, 87_300), (900.5, 88_200)]
)
def test_the_expiry_is_rounded_up_to_the_quarter_of_an_hour(
    session: Session, clock: FakeClock, after: float, life: int
) -> None:
    clock.advance(after)
    issued = issue(session, BY_LAB, clock)
    assert issued.expires_at == NOON_OF_JUNE_15 + life
    assert issued.expires_at % 900 == 0


@given(st.floats(0, 4e9, allow_nan=False), st.integers(1, 10**6))
def test_nothing_ends_earlier_than_it_should_or_a_quarter_of_an_hour_later(now: float, life: int) -> None:
    expires_at = rounded_expiry(now, life)
    assert 0 <= expires_at - (now + life) < 900.001
    assert expires_at % 900 == 0


@pytest.mark.parametrize("days", [-29, -28, -1, 0, 1])
@pytest.mark.parametrize("hour", [0, 12, 23.99])
def test_dates_within_a_day_of_the_officials_calendar_are_accepted(days: int, hour: float) -> None:
    now = NOON_OF_JUNE_15 - 43_200 + hour * 3600
    stated = TODAY + timedelta(days=days)
    for statement in (Statement("confirmed", stated, None), Statement("confirmed", None, stated)):
        check_statement(statement, policy=IssuingPolicy(), now=now)


@pytest.mark.parametrize("days", [-3000, -30, 2, 3000])
def test_other_dates_are_refused_whichever_field_they_stand_in(days: int) -> None:
    stated = TODAY + timedelta(days=days)
    assert refusal_of(Statement("confirmed", stated, None)) is RefusalCode.INVALID_DATE
    assert refusal_of(Statement("confirmed", TODAY, stated)) is RefusalCode.INVALID_DATE


def test_a_statement_without_any_date_is_refused() -> None:
    assert refusal_of(Statement("confirmed", None, None)) is RefusalCode.MISSING_DATE


@pytest.mark.parametrize("word", ["", "Confirmed", "positive", "confirmed "])
def test_an_unknown_report_type_is_refused(word: str) -> None:
    assert refusal_of(Statement(word, TODAY, None)) is RefusalCode.INVALID_TEST_TYPE


def test_self_reports_are_not_issued_by_anybody_else() -> None:
    assert refusal_of(Statement("user-report", TODAY, None)) is RefusalCode.UNSUPPORTED_TEST_TYPE


@pytest.mark.parametrize("missing", ["consent_version", "consent_language", "consent_channel"])
def test_an_official_cannot_leave_out_a_part_of_the_agreement(missing: str) -> None:
    statement = Statement(**{**asdict(BY_OFFICIAL), missing: None})
    assert refusal_of(statement) is RefusalCode.BAD_REQUEST


def test_an_issuers_name_of_256_characters_is_refused() -> None:
    check_statement(
        replace(BY_LAB, external_issuer_id="x" * 255), policy=IssuingPolicy(), now=NOON_OF_JUNE_15
    )
    assert refusal_of(replace(BY_LAB, external_issuer_id="x" * 256)) is RefusalCode.UNPARSABLE_REQUEST


def test_a_refused_statement_leaves_nothing_behind(session: Session, clock: FakeClock) -> None:
    with pytest.raises(Refusal):
        issue(session, replace(BY_LAB, uuid="not a uuid"), clock)
    assert count(session, Authorization) == count(session, VerificationCode) == 0


HANDLE = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"


@pytest.mark.parametrize(
    "spelling",
    [
        HANDLE.replace("-", ""),
        f"{{{HANDLE}}}",
        f"urn:uuid:{HANDLE}",
        f" {HANDLE}",
        f"{HANDLE}\n",
        "_".join(HANDLE.replace("-", "")),
        "+" + HANDLE.replace("-", "")[1:],
        HANDLE.replace("0", "٠"),
        HANDLE.replace("a1b2c3d-4", "a1b2c3d4-"),
        "",
    ],
)
def test_a_handle_has_one_form(session: Session, clock: FakeClock, spelling: str) -> None:
    """The standard library reads most of these as UUIDs; the caller would not find its code again."""
    issue(session, replace(BY_LAB, uuid=HANDLE), clock)
    with pytest.raises(Refusal) as refusal:
        issue(session, replace(BY_LAB, uuid=spelling), clock)
    assert refusal.value.code is RefusalCode.UNPARSABLE_REQUEST
    with pytest.raises(Refusal) as refusal, transaction(session):
        code_status(session, spelling, authority_id=AUTHORITY)
    assert refusal.value.code is RefusalCode.CODE_NOT_FOUND
    with pytest.raises(Refusal) as refusal, transaction(session):
        expire_code(session, spelling, authority_id=AUTHORITY, now=clock())
    assert refusal.value.code is RefusalCode.CODE_NOT_FOUND
    with transaction(session):
        assert not code_status(session, HANDLE.upper(), authority_id=AUTHORITY).claimed


def test_the_same_handle_twice_is_refused_and_changes_nothing(session: Session, clock: FakeClock) -> None:
    handle = str(uuid4())
    first = issue(session, replace(BY_LAB, uuid=handle), clock)
    clock.advance(3600)
    with pytest.raises(Refusal) as refusal:
        issue(session, replace(BY_LAB, uuid=handle.upper()), clock)
    assert refusal.value.code is RefusalCode.UUID_ALREADY_EXISTS
    assert first.code not in str(refusal.value)
    assert count(session, Authorization) == 1
    assert session.scalars(select(VerificationCode.expires_at)).one() == first.expires_at


def test_a_code_that_exists_already_is_drawn_again(session: Session, clock: FakeClock) -> None:
    draws = chain(repeat(41, 3), repeat(42))

    def draw_and_issue() -> IssuedCode:
        with transaction(session):
            return authorize(
                session,
                BY_LAB,
                authority_id=AUTHORITY,
                lookup_key=LOOKUP_KEY,
                policy=IssuingPolicy(),
                now=clock(),
                random_below=lambda _: next(draws),
            )

    assert draw_and_issue().code.startswith("00000000000041")
    assert draw_and_issue().code.startswith("00000000000042")
    assert count(session, Authorization) == count(session, VerificationCode) == 2


def test_a_source_of_randomness_that_repeats_itself_is_a_fault_of_ours(
    session: Session, clock: FakeClock
) -> None:
    def stuck() -> None:
        with transaction(session):
            authorize(
                session,
                BY_LAB,
                authority_id=AUTHORITY,
                lookup_key=LOOKUP_KEY,
                policy=IssuingPolicy(),
                now=clock(),
                random_below=lambda _: 41,
            )

    stuck()
    with pytest.raises(RuntimeError, match="randomness"):
        stuck()
    assert count(session, Authorization) == 1


def test_its_issuer_can_ask_what_became_of_a_code(session: Session, clock: FakeClock) -> None:
    issued = issue(session, BY_LAB, clock)
    status = code_status(session, issued.uuid.upper(), authority_id=AUTHORITY, api_key_hash=LAB_KEY)
    assert (status.claimed, status.expires_at) == (False, issued.expires_at)
    with transaction(session):
        session.scalars(select(VerificationCode)).one().claimed = True
    assert code_status(session, issued.uuid, authority_id=AUTHORITY).claimed


@pytest.mark.parametrize("uuid", ["", "nonsense", str(uuid4())], ids=["empty", "nonsense", "unknown"])
def test_an_unknown_or_malformed_handle_is_not_found(session: Session, uuid: str) -> None:
    with pytest.raises(Refusal) as refusal:
        code_status(session, uuid, authority_id=AUTHORITY)
    assert refusal.value.code is RefusalCode.CODE_NOT_FOUND


def test_codes_of_another_authority_or_another_issuer_are_out_of_reach(
    session: Session, clock: FakeClock
) -> None:
    issued = issue(session, BY_LAB, clock)
    by_official = issue(session, BY_OFFICIAL, clock)
    cases = [
        (issued.uuid, "org.example.neighbour", None, RefusalCode.CODE_NOT_FOUND),
        (issued.uuid, AUTHORITY, hash_api_key(LOOKUP_KEY, "other"), RefusalCode.CODE_USER_UNAUTHORIZED),
        (by_official.uuid, AUTHORITY, LAB_KEY, RefusalCode.CODE_USER_UNAUTHORIZED),
    ]
    for uuid, authority_id, api_key_hash, expected in cases:
        with pytest.raises(Refusal) as refusal:
            code_status(session, uuid, authority_id=authority_id, api_key_hash=api_key_hash)
        assert refusal.value.code is expected


@pytest.mark.parametrize("after", [0, 1, 899, 900, 5000])
def test_an_expired_code_has_ended_at_once_at_a_rounded_time(
    session: Session, clock: FakeClock, after: float
) -> None:
    issued = issue(session, BY_LAB, clock)
    clock.advance(after)
    with transaction(session):
        ended = expire_code(session, issued.uuid, authority_id=AUTHORITY, now=clock())
    assert clock() - 900 <= ended < clock()
    assert ended % 900 == 0
    assert code_status(session, issued.uuid, authority_id=AUTHORITY).expires_at == ended


def test_a_code_that_ended_by_itself_keeps_its_time(session: Session, clock: FakeClock) -> None:
    issued = issue(session, BY_LAB, clock)
    clock.advance(2 * 86_400)
    with transaction(session):
        assert expire_code(session, issued.uuid, authority_id=AUTHORITY, now=clock()) == issued.expires_at


def test_a_claimed_code_cannot_be_expired(session: Session, clock: FakeClock) -> None:
    issued = issue(session, BY_LAB, clock)
    with transaction(session):
        session.scalars(select(VerificationCode)).one().claimed = True
    with pytest.raises(Refusal) as refusal, transaction(session):
        expire_code(session, issued.uuid, authority_id=AUTHORITY, now=clock())
    assert refusal.value.code is RefusalCode.BAD_REQUEST
    assert code_status(session, issued.uuid, authority_id=AUTHORITY).expires_at == issued.expires_at


def test_a_code_is_found_however_it_was_typed_but_only_under_its_own_authority_and_key() -> None:
    code = "012345678901234"
    stored = hash_code(LOOKUP_KEY, AUTHORITY, code)
    assert hash_code(LOOKUP_KEY, AUTHORITY, " ".join(group(code))) == stored
    assert hash_code(LOOKUP_KEY, AUTHORITY + "0", code) != stored
    assert hash_code(LOOKUP_KEY[::-1], AUTHORITY, code) != stored


@given(st.text(max_size=8), st.text(max_size=8))
def test_api_keys_and_codes_never_share_a_hash(one: str, other: str) -> None:
    assert hash_api_key(LOOKUP_KEY, one) != hash_code(LOOKUP_KEY, "", one)
    assert (hash_api_key(LOOKUP_KEY, one) == hash_api_key(LOOKUP_KEY, other)) == (one == other)
