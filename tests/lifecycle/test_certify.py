"""A code gives one token, a token one certificate, even at the same moment. HTTP: tests/faces/device."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.authorize import IssuedCode, IssuingPolicy, Statement, authorize
from registry.lifecycle.certify import VerifiedCode, certify, verify_code
from registry.models import (
    Authority,
    Authorization,
    IssuedAnswer,
    VerificationCode,
    VerificationToken,
    open_database,
    transaction,
)
from registry.protocol.certificate import read_certificate, read_jwt
from registry.protocol.encoding import encode_base64
from registry.protocol.intervals import interval_of_date
from registry.protocol.recall import open_handle
from tests.authority import AUTHORITY, LOOKUP_KEY, RECALL_KEY, MadeSigner, found_issuing
from tests.clock import FakeClock

POLICY = IssuingPolicy()
ALL = frozenset({"confirmed", "likely", "negative", "user-report"})
MAC = encode_base64(b"m" * 32)
PADDING = b"0123456789abcdef"


class Desk:
    """One authority's issuing half, and the three steps on it."""

    def __init__(self, url: str, session: Session, clock: FakeClock) -> None:
        self.url, self.session, self.clock = url, session, clock
        self.tokens, self.certificates = MadeSigner("t1"), MadeSigner("c1")
        found_issuing(session, self.certificates)

    def code(self, report_type: str = "confirmed") -> str:
        """A fresh code."""
        return self.issue(report_type).code

    def issue(self, report_type: str = "confirmed") -> IssuedCode:
        """A fresh code and its link's."""
        statement = Statement(report_type, date(2026, 6, 14), date(2026, 6, 12), api_key_hash=b"a" * 32)
        with transaction(self.session):
            return authorize(
                self.session,
                statement,
                authority_id=AUTHORITY,
                lookup_key=LOOKUP_KEY,
                policy=POLICY,
                now=self.clock(),
            )

    def verify(self, code: str, session: Session | None = None, **more: Any) -> VerifiedCode:
        """Code to token."""
        session = session or self.session
        asked: dict[str, Any] = {"body": code.encode() + PADDING, "padding": PADDING, "accept": ALL} | more
        with transaction(session):
            return verify_code(
                session,
                code=code,
                authority_id=AUTHORITY,
                lookup_key=LOOKUP_KEY,
                token_signer=self.tokens,
                recall_public_key=RECALL_KEY.public_key(),
                policy=POLICY,
                now=self.clock(),
                **asked,
            )

    def certify(self, token: str, ekeyhmac: str = MAC, session: Session | None = None, **more: Any) -> str:
        """Token to certificate."""
        session = session or self.session
        with transaction(session):
            return certify(
                session,
                token=token,
                ekeyhmac_text=ekeyhmac,
                authority=session.get_one(Authority, AUTHORITY),
                token_public_keys={"t1": self.tokens.public_key},
                certificate_signer=self.certificates,
                policy=POLICY,
                now=self.clock(),
                **more,
            )

    def at_once(self, step: Callable[[Session], Any], times: int = 6) -> list[Any]:
        """The outcomes of one step taken by several connections at the same moment; refusals as codes."""

        def taken(_number: int) -> Any:
            engine = open_database(self.url)
            try:
                with Session(engine) as session:
                    return step(session)
            except Refusal as refusal:
                return refusal.code
            finally:
                engine.dispose()

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(taken, range(times)))


@pytest.fixture
def desk(issuing_url: str, issuing_session: Session, clock: FakeClock) -> Desk:
    """The authority's desk."""
    return Desk(issuing_url, issuing_session, clock)


def count(session: Session, table: type[Any]) -> int:
    """How many rows a table has."""
    session.rollback()
    return session.scalar(select(func.count()).select_from(table)) or 0


def test_two_phones_with_one_code_get_one_token(desk: Desk) -> None:
    code = desk.code()
    outcomes = desk.at_once(lambda session: desk.verify(code, session, body=b"%d" % id(session)))
    tokens = [outcome for outcome in outcomes if isinstance(outcome, VerifiedCode)]
    assert len(tokens) == 1
    assert outcomes.count(RefusalCode.CODE_INVALID) == len(outcomes) - 1
    assert count(desk.session, VerificationToken) == 1


def test_a_body_that_arrives_several_times_at_once_gets_one_token(desk: Desk) -> None:
    code = desk.code()
    outcomes = desk.at_once(lambda session: desk.verify(code, session))
    assert len({outcome.token for outcome in outcomes}) == 1
    assert count(desk.session, VerificationToken) == 1


def test_a_token_that_is_used_several_times_at_once_gives_one_certificate(desk: Desk) -> None:
    token = desk.verify(desk.code()).token
    outcomes = desk.at_once(lambda session: desk.certify(token, session=session))
    assert len(set(outcomes)) == 1
    assert outcomes[0].count(".") == 2


def test_a_token_gives_a_certificate_for_one_set_of_keys_only(desk: Desk) -> None:
    token = desk.verify(desk.code()).token
    macs = iter([encode_base64(bytes([n]) * 32) for n in range(6)])
    outcomes = desk.at_once(lambda session: desk.certify(token, next(macs), session))
    assert outcomes.count(RefusalCode.TOKEN_EXPIRED) == 5


def test_a_refusal_stores_nothing(desk: Desk) -> None:
    code = desk.code("negative")
    with pytest.raises(Refusal) as refused:
        desk.verify(code, accept=frozenset({"confirmed"}))
    assert refused.value.code == RefusalCode.UNSUPPORTED_TEST_TYPE
    token = desk.verify(code, padding=b"").token
    with pytest.raises(Refusal) as refused:
        desk.certify(token, "AAAA")
    assert refused.value.code == RefusalCode.HMAC_INVALID
    assert count(desk.session, IssuedAnswer) == 0
    desk.certify(token)


def test_a_token_must_say_what_was_stored(desk: Desk) -> None:
    token = desk.verify(desk.code()).token
    with transaction(desk.session):
        desk.session.scalars(select(VerificationToken)).one().report_type = "negative"
    with pytest.raises(Refusal) as refused:
        desk.certify(token)
    assert refused.value.code == RefusalCode.TOKEN_EXPIRED


def test_a_token_whose_row_is_gone_has_expired(desk: Desk) -> None:
    token = desk.verify(desk.code()).token
    with transaction(desk.session):
        desk.session.delete(desk.session.scalars(select(VerificationToken)).one())
    with pytest.raises(Refusal) as refused:
        desk.certify(token)
    assert refused.value.code == RefusalCode.TOKEN_EXPIRED


def test_a_certificate_is_repeated_after_its_token_was_retired(desk: Desk) -> None:
    token = desk.verify(desk.code()).token
    desk.clock.advance(86_000)
    first = desk.certify(token)
    with transaction(desk.session):
        desk.session.delete(desk.session.scalars(select(VerificationToken)).one())
    desk.clock.advance(600)
    assert desk.certify(token) == first


def test_dates_go_with_the_code_to_its_token_and_no_further(desk: Desk) -> None:
    code = desk.code()
    assert dates(desk, VerificationCode) == (date(2026, 6, 14), date(2026, 6, 12))
    verified = desk.verify(code)
    assert dates(desk, VerificationCode) == (None, None)
    assert dates(desk, VerificationToken) == (date(2026, 6, 14), date(2026, 6, 12))
    with pytest.raises(Refusal):
        desk.certify(verified.token, "AAAA")
    assert dates(desk, VerificationToken) == (date(2026, 6, 14), date(2026, 6, 12)), "it is still to be used"
    certificate = desk.certify(verified.token)
    assert dates(desk, VerificationToken) == (None, None)
    assert read_jwt(certificate)[1]["symptomOnsetInterval"] == interval_of_date(date(2026, 6, 12))


def test_replies_are_repeated_and_refusals_are_the_same_when_the_dates_are_gone(desk: Desk) -> None:
    code = desk.code()
    verified = desk.verify(code)
    first = desk.certify(verified.token)
    assert desk.verify(code) == verified
    assert (verified.test_date, verified.onset_date) == (date(2026, 6, 14), date(2026, 6, 12))
    assert desk.certify(verified.token) == first
    desk.clock.advance(1000)
    renewed = read_jwt(desk.certify(verified.token))[1]
    assert renewed["symptomOnsetInterval"] == read_jwt(first)[1]["symptomOnsetInterval"]
    with pytest.raises(Refusal) as refused:
        desk.verify(code, body=b"another")
    assert refused.value.code == RefusalCode.CODE_INVALID
    with pytest.raises(Refusal) as refused:
        desk.certify(verified.token, encode_base64(b"n" * 32))
    assert refused.value.code == RefusalCode.TOKEN_EXPIRED
    assert "used" in str(refused.value)


def dates(
    desk: Desk, table: type[VerificationCode] | type[VerificationToken]
) -> tuple[date | None, date | None]:
    """(test, onset) of the only row, as they are stored."""
    desk.session.rollback()
    return tuple(desk.session.execute(select(table.test_date, table.onset_date)).one())


def test_a_certificate_and_its_repetitions_carry_the_handle_that_is_sealed_with_the_statement(
    desk: Desk,
) -> None:
    token = desk.verify(desk.code()).token
    first = read_certificate(desk.certify(token)).recall_handle
    desk.clock.advance(20 * 3600)  # the certificate has long expired
    renewed = read_certificate(desk.certify(token)).recall_handle
    desk.session.rollback()
    (authorization,) = desk.session.scalars(select(Authorization))
    assert authorization.recall_sealed is not None
    assert first == renewed == open_handle(authorization.recall_sealed, RECALL_KEY, authorization.id)


def test_the_open_handle_lies_with_the_token_until_it_is_used_and_no_longer(desk: Desk) -> None:
    code = desk.code()
    (authorization,) = desk.session.scalars(select(Authorization))
    assert authorization.recall_sealed is None, "nothing leads anywhere before the code is used"
    token = desk.verify(code).token
    (row,) = desk.session.scalars(select(VerificationToken))
    assert row.recall_handle is not None
    desk.certify(token)
    desk.session.rollback()
    assert row.recall_handle is None


def test_two_uploads_of_one_official_have_nothing_in_common(desk: Desk) -> None:
    handles = {read_certificate(desk.certify(desk.verify(desk.code()).token)).recall_handle for _ in range(5)}
    assert len(handles) == 5
    assert None not in handles


def test_another_authoritys_code_is_unknown_here(desk: Desk) -> None:
    code = desk.code()
    with transaction(desk.session):
        desk.session.add(
            Authority(id="other", name="Other", certificate_issuer="o", certificate_audience="o")
        )
    with pytest.raises(Refusal) as refused, transaction(desk.session):
        verify_code(
            desk.session,
            body=b"",
            code=code,
            padding=b"",
            accept=ALL,
            authority_id="other",
            lookup_key=LOOKUP_KEY,
            token_signer=desk.tokens,
            recall_public_key=RECALL_KEY.public_key(),
            policy=POLICY,
            now=desk.clock(),
        )
    assert refused.value.code == RefusalCode.CODE_INVALID


def test_rows_tell_no_finer_time_than_a_quarter_of_an_hour(desk: Desk) -> None:
    desk.clock.advance(137)
    desk.verify(desk.code())
    row = desk.session.scalars(select(VerificationToken)).one()
    assert row.expires_at % 900 == 0
    assert desk.session.scalars(select(IssuedAnswer)).one().expires_at % 3600 == 0


@given(junk=st.text(max_size=80))
def test_no_text_is_a_token(junk: str) -> None:
    with pytest.raises(Refusal) as refused:
        # Nothing here needs a database: the token is refused before one is asked.
        certify(
            _NoAnswers(),
            token=junk,
            ekeyhmac_text=MAC,
            authority=Authority(id=AUTHORITY),
            token_public_keys={},
            certificate_signer=MadeSigner("c"),
            policy=POLICY,
            now=0,
        )
    assert refused.value.code == RefusalCode.TOKEN_INVALID


class _NoAnswers(Session):
    """A session on a database that holds no earlier answer."""

    def scalar(self, *_arguments: Any, **_options: Any) -> None:
        """Finds nothing."""


def test_the_certificate_is_signed_before_the_token_is_burnt(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = desk.verify(desk.code()).token

    def out_of_order(_signer: object, _message: bytes) -> bytes:
        raise OSError("the signing device is unplugged")

    with monkeypatch.context() as patch:
        patch.setattr(MadeSigner, "sign", out_of_order)
        with pytest.raises(OSError, match="unplugged"):
            desk.certify(token)
    assert read_jwt(desk.certify(token))[1]["tekmac"] == MAC


@pytest.mark.parametrize("first_by_link", [True, False])
def test_the_spoken_code_and_that_of_the_link_are_one(desk: Desk, first_by_link: bool) -> None:
    issued = desk.issue()
    first, second = issued.code, issued.link_code.lower()
    if first_by_link:
        first, second = second, first
    assert desk.verify(first).onset_date == date(2026, 6, 12)
    with pytest.raises(Refusal) as refusal:
        desk.verify(second)
    assert refusal.value.code is RefusalCode.CODE_INVALID
