"""The contract's table, row by row: every error of the code endpoints with its status, words and size.

`TABLE` is written down from the contract as apps and laboratories' systems know it. Below it, what the
reference server gets wrong, each by its subject and the right way round.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device import IssuingFace, create_issuing_app
from registry.faces.device.answers import ANSWER_SIZE
from registry.lifecycle.authorize import hash_api_key
from registry.models import ApiKey, Authority, VerificationCode, VerificationToken, transaction
from registry.protocol.certificate import encode_jwt, read_jwt
from tests.authority import ADMIN_KEY, AUTHORITY, DEVICE_KEY, LOOKUP_KEY, MadeSigner, mac_of, made_key
from tests.clock import FakeClock
from tests.faces.device.conftest import Post, padding, poster, size_of

DAY = 86_400
ANOTHER = "another lab"
STATEMENT = {"testType": "confirmed", "testDate": "2026-06-14", "symptomDate": "2026-06-12"}
TABLE = {
    "/api/verify": {
        (400, "unparsable_request"), (400, "invalid_test_type"), (400, "code_invalid"), (400, "code_expired"),
        (412, "unsupported_test_type"), (429, "maintenance_mode"), (500, "internal_error"), (401, ""),
    },
    "/api/certificate": {
        (400, "token_invalid"), (400, "token_expired"), (400, "hmac_invalid"), (500, "internal_error"),
        (401, ""),
    },
    "/api/issue": {
        (400, "unparsable_request"), (400, "missing_date"), (400, "invalid_date"), (400, "invalid_test_type"),
        (400, "unsupported_test_type"), (409, "uuid_already_exists"), (429, "maintenance_mode"),
        (500, "internal_error"), (401, ""),
    },
    "/api/batch-issue": {
        (400, ""), (400, "unparsable_request"), (400, "missing_date"), (409, "uuid_already_exists"),
        (429, "maintenance_mode"), (500, "internal_error"), (401, ""),
    },
    "/api/checkcodestatus": {
        (404, "code_not_found"), (401, "code_user_unauthorized"), (400, "unparsable_request"),
        (500, "internal_error"), (401, ""),
    },
    "/api/expirecode": {
        (404, "code_not_found"), (400, ""), (401, "code_user_unauthorized"), (400, "unparsable_request"),
        (500, "internal_error"), (401, ""),
    },
}  # fmt: skip


@dataclass
class Desk:
    """Both kinds of callers of one authority, and what lies behind what they call."""

    device: Post
    lab: Post
    session: Session
    clock: FakeClock
    face: IssuingFace
    tokens: MadeSigner

    def issued(self, **more: Any) -> dict[str, Any]:
        """A fresh code, as its issuer is told of it."""
        answer = self.lab("/api/issue", STATEMENT | more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json or {}
        return found

    def token(self) -> str:
        """A fresh token."""
        return str((self.device("/api/verify", {"code": self.issued()["code"]}).json or {})["token"])

    def forged(self, signer: MadeSigner | None = None, **claims: Any) -> str:
        """A token of ours that says something else, signed by us or by somebody."""
        return encode_jwt(read_jwt(self.token())[1] | claims, signer or self.tokens)

    def certify(self, token: str, ekeyhmac: str | None = None) -> TestResponse:
        """Ask for a certificate."""
        asked = {"token": token, "ekeyhmac": ekeyhmac or mac_of(b"k" * 16, [made_key(self.clock())])}
        return self.device("/api/certificate", asked)

    def maintained(self) -> None:
        """From now on."""
        with transaction(self.session):
            self.session.get_one(Authority, AUTHORITY).maintenance = True

    def broken(self, path: str) -> TestResponse:
        """A call while something of ours is out of order."""

        # Without its key no hash can be computed: a fault that nobody has foreseen.
        app = create_issuing_app(replace(self.face, lookup_key=None))  # type: ignore[arg-type]
        key = DEVICE_KEY if path in ("/api/verify", "/api/certificate") else ADMIN_KEY
        body = {"code": "1", "codes": [STATEMENT], "uuid": self.issued()["uuid"], **STATEMENT}
        return poster(app, key)(path, body)


@pytest.fixture
def backend() -> str:
    """SQLite alone: what is held against the table are answers, which other tests meet on both."""
    return "sqlite"


@pytest.fixture
def desk(
    device: Post,
    lab: Post,
    issuing_session: Session,
    clock: FakeClock,
    issuing_face: IssuingFace,
    token_signer: MadeSigner,
) -> Desk:
    """The desk, with a second laboratory beside it."""
    with transaction(issuing_session):
        other = hash_api_key(LOOKUP_KEY, ANOTHER)
        issuing_session.add(ApiKey(key_hash=other, authority_id=AUTHORITY, kind="admin", preview="anot"))
    return Desk(device, lab, issuing_session, clock, issuing_face, token_signer)


Case = tuple[str, str, int, str, Callable[[Desk], TestResponse]]


def case(path: str, what: str, status: int, code: str, call: Callable[[Desk], TestResponse]) -> Case:
    """A way to meet one error of the table."""
    return path, what, status, code, call


def verify_after(seconds: float) -> Callable[[Desk], TestResponse]:
    """A code that is tried so much later."""

    def call(desk: Desk) -> TestResponse:
        code = desk.issued()["code"]
        desk.clock.advance(seconds)
        return desk.device("/api/verify", {"code": code})

    return call


def twice(path: str, of: Callable[[str], dict[str, Any]]) -> Callable[[Desk], TestResponse]:
    """The same handle a second time."""

    def call(desk: Desk) -> TestResponse:
        handle = str(uuid4())
        assert desk.lab(path, of(handle)).status_code == 200
        return desk.lab(path, of(handle))

    return call


def verify_used(desk: Desk) -> TestResponse:
    """A code that somebody has used."""
    code = desk.issued()["code"]
    assert desk.device("/api/verify", {"code": code}).status_code == 200
    return desk.device("/api/verify", {"code": code, "padding": padding()})


def verify_unaccepted(desk: Desk) -> TestResponse:
    """A code for a result that the app does not take."""
    return desk.device(
        "/api/verify", {"code": desk.issued(testType="likely")["code"], "accept": ["confirmed"]}
    )


def used_token(desk: Desk) -> TestResponse:
    """A token that got a certificate for other keys."""
    token = desk.token()
    assert desk.certify(token).status_code == 200
    return desk.certify(token)


def token_whose_row_expired(desk: Desk) -> TestResponse:
    """The JWT is still good, the database's time has passed."""
    token = desk.token()
    with transaction(desk.session):
        desk.session.scalars(select(VerificationToken)).one().expires_at = int(desk.clock())
    return desk.certify(token)


def expired_jwt(desk: Desk) -> TestResponse:
    """A day and a second later."""
    token = desk.token()
    desk.clock.advance(DAY + 1)
    return desk.certify(token)


def under_maintenance(path: str, body: dict[str, Any]) -> Callable[[Desk], TestResponse]:
    """Any call that makes or takes codes."""

    def call(desk: Desk) -> TestResponse:
        desk.maintained()
        return (desk.device if path == "/api/verify" else desk.lab)(path, body)

    return call


def expire_claimed(desk: Desk) -> TestResponse:
    """A code that a phone has used."""
    issued = desk.issued()
    desk.device("/api/verify", {"code": issued["code"]})
    answer = desk.lab("/api/expirecode", {"uuid": issued["uuid"]})
    assert (answer.json or {})["error"] == "bad request"
    return answer


def issue_with(status: int, code: str, what: str, **more: Any) -> Case:
    """/api/issue with something wrong."""
    return case("/api/issue", what, status, code, lambda desk: desk.lab("/api/issue", STATEMENT | more))


def batch_with(status: int, code: str, what: str, *requests: Any) -> Case:
    """/api/batch-issue with these."""
    return case(
        "/api/batch-issue", what, status, code, lambda desk: desk.lab("/api/batch-issue", {"codes": requests})
    )


def any_key(path: str) -> list[Case]:
    """What every endpoint says of API keys, of our own faults, and of what it cannot read."""
    own, other = (
        (DEVICE_KEY, ADMIN_KEY) if path in ("/api/verify", "/api/certificate") else (ADMIN_KEY, DEVICE_KEY)
    )
    unread = "token_invalid" if path == "/api/certificate" else "unparsable_request"
    return [
        case(path, "no key", 401, "", lambda desk: desk.lab(path, STATEMENT, api_key=None)),
        case(path, "unknown key", 401, "", lambda desk: desk.lab(path, STATEMENT, api_key="?")),
        case(path, "key of another type", 401, "", lambda desk: desk.lab(path, STATEMENT, api_key=other)),
        case(path, "our fault", 500, "internal_error", lambda desk: desk.broken(path)),
        *(
            case(path, f"body {body!r}", 400, unread,
                 lambda desk, body=body: desk.lab(path, body, api_key=own))
            for body in (b"{", b"[1]", b'{"uuid": 1, "code": 1, "token": 1, "codes": 1}')
        ),
    ]  # fmt: skip


CASES = [
    *(found for path in TABLE if path != "/api/certificate" for found in any_key(path)),
    *(found for found in any_key("/api/certificate") if found[1] != "our fault"),
    case("/api/certificate", "our fault", 500, "internal_error",
         lambda desk: poster(create_issuing_app(replace(desk.face, certificate_signers={})), DEVICE_KEY)(
             "/api/certificate", {"token": desk.token()})),
    case("/api/verify", "type that there is not", 400, "invalid_test_type",
         lambda desk: desk.device("/api/verify", {"code": "1", "accept": ["positive"]})),
    case("/api/verify", "unknown code", 400, "code_invalid",
         lambda desk: desk.device("/api/verify", {"code": "1"})),
    case("/api/verify", "used code", 400, "code_invalid", verify_used),
    case("/api/verify", "expired code", 400, "code_expired", verify_after(DAY + 900)),
    case("/api/verify", "unaccepted type", 412, "unsupported_test_type", verify_unaccepted),
    case("/api/verify", "maintenance", 429, "maintenance_mode",
         under_maintenance("/api/verify", {"code": "1"})),
    case("/api/certificate", "bad signature", 400, "token_invalid",
         lambda desk: desk.certify(desk.forged(MadeSigner("t1")))),
    case("/api/certificate", "key that there is not", 400, "token_invalid",
         lambda desk: desk.certify(desk.forged(MadeSigner("t9")))),
    case("/api/certificate", "expired JWT", 400, "token_invalid", expired_jwt),
    case("/api/certificate", "wrong issuer", 400, "token_invalid",
         lambda desk: desk.certify(desk.forged(iss="x"))),
    case("/api/certificate", "unknown token", 400, "token_expired",
         lambda desk: desk.certify(desk.forged(jti="never"))),
    case("/api/certificate", "used token", 400, "token_expired", used_token),
    case("/api/certificate", "token expired in the database", 400, "token_expired", token_whose_row_expired),
    case("/api/certificate", "other dates than stored", 400, "token_expired",
         lambda desk: desk.certify(desk.forged(sub="confirmed.2026-06-13.2026-06-14"))),
    case("/api/certificate", "HMAC of another length", 400, "hmac_invalid",
         lambda desk: desk.certify(desk.token(), base64.b64encode(bytes(31)).decode())),
    case("/api/certificate", "HMAC that is no base64", 400, "hmac_invalid",
         lambda desk: desk.certify(desk.token(), "?" * 44)),
    issue_with(400, "unparsable_request", "date that is none", testDate="14/06/2026"),
    issue_with(400, "unparsable_request", "text for a gateway of one's own", onlyGenerateSMS=True),
    issue_with(400, "missing_date", "no date", testDate="", symptomDate=""),
    issue_with(400, "invalid_date", "future", testDate="2026-06-17"),
    issue_with(400, "invalid_date", "past", symptomDate="2026-05-16"),
    issue_with(400, "invalid_test_type", "type that there is not", testType="positive"),
    issue_with(400, "unsupported_test_type", "self-report", testType="user-report"),
    case("/api/issue", "repeated uuid", 409, "uuid_already_exists",
         twice("/api/issue", lambda handle: STATEMENT | {"uuid": handle})),
    case("/api/issue", "maintenance", 429, "maintenance_mode", under_maintenance("/api/issue", STATEMENT)),
    batch_with(400, "", "eleven", *[STATEMENT] * 11),
    batch_with(400, "", "none"),
    batch_with(400, "missing_date", "first failure's", STATEMENT, {"testType": "likely"}, {"testType": "x"}),
    case("/api/batch-issue", "repeated uuid", 409, "uuid_already_exists",
         twice("/api/batch-issue", lambda handle: {"codes": [STATEMENT, STATEMENT | {"uuid": handle}]})),
    case("/api/batch-issue", "maintenance", 429, "maintenance_mode",
         under_maintenance("/api/batch-issue", {"codes": [STATEMENT]})),
    *(
        found
        for path in ("/api/checkcodestatus", "/api/expirecode")
        for found in (
            case(path, "unknown uuid", 404, "code_not_found",
                 lambda desk, path=path: desk.lab(path, {"uuid": str(uuid4())})),
            case(path, "malformed uuid", 404, "code_not_found",
                 lambda desk, path=path: desk.lab(path, {"uuid": "7"})),
            case(path, "another's code", 401, "code_user_unauthorized",
                 lambda desk, path=path: desk.lab(path, {"uuid": desk.issued()["uuid"]}, api_key=ANOTHER)),
        )
    ),
    case("/api/expirecode", "claimed code", 400, "", expire_claimed),
]  # fmt: skip


def assert_error(answer: TestResponse, status: int, code: str) -> None:
    """In the contract's shape, and like any other answer to whoever sees its size."""
    assert answer.status_code == status
    assert answer.json is not None
    assert answer.json["errorCode"] == answer.json["error_code"] == code
    assert answer.json["error"]
    if (status, code) == (401, ""):
        assert answer.json["error"] == "unauthorized"
    assert 1024 <= len(base64.b64decode(answer.json["padding"])) <= 2047
    assert size_of(answer) == ANSWER_SIZE
    assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    ("status", "code", "call"),
    [found[2:] for found in CASES],
    ids=[f"{one[0][5:]}: {one[1]}" for one in CASES],
)
def test_each_error_has_its_status_words_and_padding(
    desk: Desk, status: int, code: str, call: Callable[[Desk], TestResponse]
) -> None:
    assert_error(call(desk), status, code)


def test_every_error_of_the_table_is_met_and_no_other() -> None:
    met: dict[str, set[tuple[int, str]]] = {path: set() for path in TABLE}
    for path, _what, status, code, _call in CASES:
        met[path].add((status, code))
    assert met == TABLE


# ---------------------------------------------------------------- replies

TIMES = {"expiresAtTimestamp", "longExpiresAtTimestamp"}


def test_each_reply_has_its_members(desk: Desk) -> None:
    issued = desk.issued()
    texts = TIMES | {"expiresAt", "longExpiresAt", "uuid", "code"}
    assert set(issued) - {"padding"} == texts
    batch = desk.lab("/api/batch-issue", {"codes": [STATEMENT]}).json or {}
    assert set(batch) == {"codes", "padding"}
    assert set(batch["codes"][0]) == texts
    status = desk.lab("/api/checkcodestatus", {"uuid": issued["uuid"]}).json or {}
    assert set(status) == TIMES | {"claimed", "padding"}
    verified = desk.device("/api/verify", {"code": issued["code"]}).json or {}
    assert set(verified) == {"testtype", "symptomDate", "testDate", "token", "padding"}
    certified = desk.certify(verified["token"]).json or {}
    assert set(certified) == {"certificate", "padding"}


# ---------------------------------------------------------------- what the reference server gets wrong


def test_a_repeated_uuid_never_looks_like_success(desk: Desk) -> None:
    handle = str(uuid4())
    first = desk.issued(uuid=handle)
    for path, body in (
        ("/api/issue", STATEMENT | {"uuid": handle}),
        ("/api/batch-issue", {"codes": [STATEMENT | {"uuid": handle}]}),
    ):
        answer = desk.lab(path, body)
        assert_error(answer, 409, "uuid_already_exists")
        assert "expiresAt" not in answer.text
    assert desk.device("/api/verify", {"code": first["code"]}).status_code == 200, (
        "the first code is untouched"
    )


@pytest.mark.parametrize("offset", [-840, -480, 0, 480, 840])
def test_an_official_s_today_is_taken_on_both_sides_of_the_date_line_whatever_sign_is_sent(
    desk: Desk, offset: int
) -> None:
    for day in ("2026-06-14", "2026-06-15", "2026-06-16"):
        desk.issued(testDate=day, symptomDate="", tzOffset=offset)
    answer = desk.lab("/api/issue", STATEMENT | {"testDate": "2026-06-17", "tzOffset": offset})
    assert_error(answer, 400, "invalid_date")


def test_codes_and_tokens_are_refused_with_the_words_that_apps_were_written_for(desk: Desk) -> None:
    assert_error(desk.device("/api/verify", {"code": "0" * 15}), 400, "code_invalid")
    assert_error(used_token(desk), 400, "token_expired")
    assert_error(expired_jwt(desk), 400, "token_invalid")


def test_an_app_that_does_not_take_the_type_gets_412_and_the_code_is_not_used_up(desk: Desk) -> None:
    code = desk.issued(testType="likely")["code"]
    assert_error(
        desk.device("/api/verify", {"code": code, "accept": ["confirmed"]}), 412, "unsupported_test_type"
    )
    assert desk.device("/api/verify", {"code": code, "accept": ["likely"]}).status_code == 200


def test_a_batch_speaks_with_its_first_failure_s_code(desk: Desk) -> None:
    wrong = [{"testType": "x"}, {"testType": "confirmed"}]
    for requests, code in ((wrong, "invalid_test_type"), (wrong[::-1], "missing_date")):
        answer = desk.lab("/api/batch-issue", {"codes": [STATEMENT, *requests]})
        assert_error(answer, 400, code)
        assert (answer.json or {})["error"] == (answer.json or {})["codes"][1]["error"], "no count of them"


def test_maintenance_is_looked_at_by_all_that_make_or_take_codes(desk: Desk) -> None:
    code, token = desk.issued()["code"], desk.token()
    desk.maintained()
    assert_error(desk.lab("/api/issue", STATEMENT), 429, "maintenance_mode")
    assert_error(desk.lab("/api/batch-issue", {"codes": [STATEMENT]}), 429, "maintenance_mode")
    assert_error(desk.device("/api/verify", {"code": code}), 429, "maintenance_mode")
    assert desk.certify(token).status_code == 200


def test_an_error_is_as_long_as_a_success(desk: Desk) -> None:
    answers = [
        desk.device("/api/verify", {"code": desk.issued()["code"]}),
        desk.device("/api/verify", {"code": "1"}),
        desk.certify(desk.token()),
        desk.certify("none"),
        desk.lab("/api/issue", STATEMENT),
        desk.lab("/api/issue", {}),
    ]
    assert [answer.status_code for answer in answers] == [200, 400] * 3
    assert {size_of(answer) for answer in answers} == {ANSWER_SIZE}


def test_the_reply_of_expirecode_names_the_code_and_a_second_one_keeps_its_times(desk: Desk) -> None:
    handle = desk.issued()["uuid"]
    ended = desk.lab("/api/expirecode", {"uuid": handle}).json or {}
    assert set(ended) == TIMES | {"uuid", "padding"}
    assert ended["uuid"] == handle
    assert ended["expiresAtTimestamp"] == ended["longExpiresAtTimestamp"] <= desk.clock()
    desk.clock.advance(5000)
    again = desk.lab("/api/expirecode", {"uuid": handle}).json or {}
    assert {name: again[name] for name in TIMES} == {name: ended[name] for name in TIMES}


def test_a_key_or_a_setting_that_changes_holds_from_the_next_call_on(desk: Desk) -> None:
    assert len(desk.issued()["code"]) == 15
    with transaction(desk.session):
        desk.session.get_one(Authority, AUTHORITY).code_form = "letters"
    assert len(desk.issued()["code"]) == 11
    for is_off in (True, False):
        with transaction(desk.session):
            for key in desk.session.scalars(select(ApiKey).where(ApiKey.kind.in_(("admin", "device")))):
                key.disabled = is_off
        statuses = [desk.lab("/api/issue", STATEMENT), desk.device("/api/verify", {"code": "1"})]
        assert [answer.status_code for answer in statuses] == ([401, 401] if is_off else [200, 400])


def test_members_that_nobody_knows_are_passed_over_everywhere(desk: Desk) -> None:
    issued = desk.issued(padding="!", unheardOf={"any": [1]})
    asked = {"uuid": issued["uuid"], "unheardOf": 1}
    assert desk.lab("/api/checkcodestatus", asked).status_code == 200
    body = json.dumps({"code": issued["code"], "unheardOf": None}).encode()
    assert desk.device("/api/verify", body).status_code == 200
    assert desk.session.scalars(select(VerificationCode)).one().claimed
