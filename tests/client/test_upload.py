"""Stories of uploading: what is asked, what is sent, and that a lost reply costs nothing."""

import json
import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random

import pytest

from registry.client import Answer, Enrolment, Phone
from registry.client.failures import (
    Mistyped,
    NoAnswer,
    NothingToUpload,
    Throttled,
    UnexpectedStatus,
    UploadRefused,
    UploadUnderWay,
)
from registry.client.upload import BODY_BYTES, read_code
from registry.errors import FetchFailed, Malformed
from registry.protocol.codes import CodeForm, new_code
from registry.protocol.encoding import decode_base64
from tests.client.conftest import MakePhone
from tests.clock import FakeClock
from tests.simulated_log import FINGERPRINT
from tests.simulator import BASE_URL, Simulator, answer_json

CODE = new_code(lambda limit: 12_345_678_901_234 % limit)
STEPS = ["api/verify", "api/certificate", "v1/publish"]
DAY = 86_400


@pytest.fixture
def demo(simulator: Simulator) -> Simulator:
    """A demonstration registry that has given out one code."""
    simulator.profile = "demo"
    simulator.codes[CODE] = "confirmed"
    return simulator


def test_a_staged_phone_shares_fifteen_days_and_keeps_the_revision_token(
    make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    days = alice.days_to_share()
    assert [shared.day for shared in days] == [date(2026, 6, 1 + number) for number in range(15)]
    assert [shared.is_today for shared in days] == [False] * 14 + [True]

    alice.agree(CODE)
    assert not demo.acts, "agreeing sends nothing"
    receipt = alice.upload()

    assert (receipt.keys_taken, receipt.partial, receipt.warnings) == (15, None, ())
    assert demo.acts == STEPS
    assert {key.key_data for key in demo.uploaded} == {key.key_data for key in alice.own_keys()}
    assert all(key.rolling_period == 144 for key in demo.uploaded)
    token = alice.store.revision_token()
    assert token
    assert alice.store.pending_upload() is None

    demo.codes[CODE] = "confirmed"
    alice.agree(CODE)
    alice.upload()
    assert json.loads(demo.requests[-1].body)["revisionToken"] == token


def test_requests_are_what_existing_servers_read(make_phone: MakePhone, demo: Simulator) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE[:3] + " " + CODE[3:6] + "-" + CODE[6:])
    alice.upload()
    posts = [request for request in demo.requests if request.method == "POST"]
    verify, certificate, publish = (json.loads(request.body) for request in posts)

    assert [request.path for request in posts] == STEPS
    assert verify["code"] == CODE
    assert len(decode_base64(verify["padding"])) >= 16
    assert len(decode_base64(certificate["ekeyhmac"])) == 32
    assert len(decode_base64(publish["hmacKey"])) == 16
    assert publish["healthAuthorityID"] == "authority"
    assert publish["traveler"] is False
    assert publish["symptomOnsetInterval"] == 1_781_049_600 // 600
    assert {len(request.body) for request in posts} == {BODY_BYTES}, "all of one size"
    for request in posts:
        assert request.headers["Content-Type"].startswith("application/json")
        assert ("X-API-Key" in request.headers) == (request.path != "v1/publish")


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_reply_burns_nothing(step: str, make_phone: MakePhone, demo: Simulator) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.lost_replies.append(step)
    with pytest.raises(NoAnswer):
        alice.upload()

    alice = make_phone("alice")  # the phone was switched off and on
    assert alice.upload().keys_taken == 15
    assert demo.acts == STEPS, "the registry acted once a step"
    repeated = [request.body for request in demo.requests if request.path == step]
    assert len(repeated) == 2
    assert repeated[0] == repeated[1]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_registrys_own_faults_are_waited_out(
    step: str, status: int, make_phone: MakePhone, demo: Simulator, clock: FakeClock
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults[step] = Answer(status, {"retry-after": "60"}, b"not json")
    with pytest.raises(Throttled) as failed:
        alice.upload()
    assert failed.value.retry_at == clock() + 60
    demo.faults.clear()
    assert alice.upload().keys_taken == 15


def test_a_wrong_code_is_told_and_the_next_one_starts_anew(make_phone: MakePhone, demo: Simulator) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree("12345678")  # another authority's kind of code: only the registry can tell
    with pytest.raises(UploadRefused) as refused:
        alice.upload()
    assert (refused.value.code, refused.value.status, refused.value.final) == ("code_invalid", 400, True)
    assert "\x1b" not in str(refused.value), "the registry's words do not steer the terminal"
    alice.agree(CODE)
    assert alice.upload().keys_taken == 15


@pytest.mark.parametrize(
    ("step", "status", "members", "code"),
    [
        ("api/verify", 412, {"errorCode": "unsupported_test_type"}, "unsupported_test_type"),
        ("api/verify", 400, {"errorCode": "code_expired"}, "code_expired"),
        ("api/certificate", 400, {"errorCode": "token_invalid"}, "token_invalid"),
        ("v1/publish", 401, {"code": "health_authority_verification_certificate_invalid"}, None),
        ("v1/publish", 400, {"code": "missing_revision_token"}, "missing_revision_token"),
    ],
)
def test_final_refusals_end_the_upload(
    step: str,
    status: int,
    members: dict[str, object],
    code: str | None,
    make_phone: MakePhone,
    demo: Simulator,
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults[step] = answer_json(status, {"error": "no", **members})
    with pytest.raises(UploadRefused) as refused:
        alice.upload()
    assert refused.value.code == (code or members["code"])
    assert refused.value.final
    assert alice.store.pending_upload() is None


@pytest.mark.parametrize(
    ("step", "answer", "code"),
    [
        ("api/verify", answer_json(401, {"error": "unauthorized", "errorCode": ""}), "unauthorized"),
        ("v1/publish", answer_json(401, {"error": "x", "code": "unknown_health_authority_id"}), None),
    ],
)
def test_what_the_phone_can_mend_does_not_burn_the_code(
    step: str, answer: Answer, code: str | None, make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults[step] = answer
    with pytest.raises(UploadRefused) as refused:
        alice.upload()
    assert refused.value.code == (code or "unknown_health_authority_id")
    assert not refused.value.final
    demo.faults.clear()
    assert alice.upload().keys_taken == 15


@pytest.mark.parametrize("code", ["unknown_health_authority_id", "health_authority_missing_region_config"])
def test_a_wrong_health_authority_is_put_right_and_the_same_code_still_uploads(
    code: str, make_phone: MakePhone, demo: Simulator
) -> None:
    demo.health_authority_id = "the right one"
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults["v1/publish"] = answer_json(401, {"error": "x", "code": code})
    with pytest.raises(UploadRefused):
        alice.upload()
    demo.faults.clear()
    alice.set_up(Enrolment(BASE_URL, health_authority_id="the right one"))
    assert alice.upload().keys_taken == 15
    certificate_requests = [request.body for request in demo.requests if request.path == STEPS[1]]
    assert len(certificate_requests) == 2
    assert certificate_requests[0] == certificate_requests[1], "the token is used, but its answer is repeated"


@pytest.mark.parametrize(
    ("enrolment", "missing", "there"),
    [
        (Enrolment(BASE_URL, device_api_key="k"), ["--health-authority"], ["--api-key-file"]),
        (Enrolment(BASE_URL, health_authority_id="a"), ["--api-key-file"], ["--health-authority"]),
        (Enrolment(BASE_URL), ["--api-key-file", "--health-authority"], []),
    ],
)
def test_a_phone_that_cannot_upload_names_exactly_what_it_lacks(
    enrolment: Enrolment,
    missing: list[str],
    there: list[str],
    simulator: Simulator,
    clock: FakeClock,
    tmp_path: Path,
) -> None:
    with Phone.open(tmp_path / "bare.db", simulator, clock=clock, random_bytes=os.urandom) as bare:
        bare.set_up(replace(enrolment, fingerprint=FINGERPRINT))
        for ask in (bare.check_can_upload, lambda: bare.agree(CODE)):
            with pytest.raises(NothingToUpload) as refused:
                ask()
            assert all(option in str(refused.value) for option in missing)
            assert not any(option in str(refused.value) for option in there)


def test_internal_error_with_status_400_is_still_the_registrys_fault(
    make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults["v1/publish"] = answer_json(400, {"error": "x", "code": "internal_error"})
    with pytest.raises(UnexpectedStatus):
        alice.upload()
    assert alice.store.pending_upload() is not None


def test_a_success_without_a_revision_token_counts_as_no_answer(
    make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults["v1/publish"] = answer_json(200, {"insertedExposures": 15})
    with pytest.raises(Malformed):
        alice.upload()
    demo.faults.clear()
    assert alice.upload().keys_taken == 15


def test_a_partial_failure_is_a_success_with_a_reason(make_phone: MakePhone, demo: Simulator) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    demo.faults["v1/publish"] = answer_json(
        200,
        {
            "revisionToken": "AAAA",
            "insertedExposures": 14,
            "error": "key 3 is too old",
            "code": "partial_failure",
            "warnings": ["one key dropped"],
        },
    )
    receipt = alice.upload()
    assert (receipt.keys_taken, receipt.partial, receipt.warnings) == (
        14,
        "key 3 is too old",
        ("one key dropped",),
    )
    assert alice.store.revision_token() == "AAAA"


def test_the_keys_agreed_to_are_the_keys_sent_though_the_day_changes(
    make_phone: MakePhone, demo: Simulator, clock: FakeClock
) -> None:
    alice = make_phone("alice", staged=True)
    shown = [shared.day for shared in alice.days_to_share()]
    alice.agree(CODE)
    demo.lost_replies.append("api/certificate")
    with pytest.raises(FetchFailed):
        alice.upload()
    clock.advance(13 * 3600)
    alice.upload()
    assert len(demo.uploaded) == len(shown) == 15
    assert max(key.rolling_start_interval_number for key in demo.uploaded) * 600 < clock() - 13 * 3600


def test_another_code_while_an_upload_is_under_way_is_refused_until_it_is_abandoned(
    make_phone: MakePhone, demo: Simulator
) -> None:
    alice = make_phone("alice", staged=True)
    alice.agree(CODE)
    alice.agree(CODE)
    with pytest.raises(UploadUnderWay):
        alice.agree("12345678")
    assert alice.abandon_upload()
    assert not alice.abandon_upload()
    alice.agree("12345678")


def test_nothing_to_go_on_with(make_phone: MakePhone, demo: Simulator) -> None:
    with pytest.raises(NothingToUpload):
        make_phone("alice").upload()


def test_an_upload_that_nobody_finished_is_forgotten_with_its_code(
    make_phone: MakePhone, demo: Simulator, clock: FakeClock
) -> None:
    make_phone("alice").agree(CODE)
    clock.advance(2 * DAY + 1)
    assert make_phone("alice").store.pending_upload() is None


LETTERS_CODE = new_code(Random(7).randrange, CodeForm.LETTERS)


@pytest.mark.parametrize("typed", [LETTERS_CODE.lower(), "1234 5678", "0BDG-12345678"])
def test_codes_of_other_forms_are_taken_too(typed: str) -> None:
    assert read_code(typed) == typed.upper().replace(" ", "").replace("-", "")


def test_a_slip_in_letters_is_told_too() -> None:
    swapped = LETTERS_CODE[1::-1] + LETTERS_CODE[2:]
    assert swapped != LETTERS_CODE
    with pytest.raises(Mistyped, match="check character"):
        read_code(swapped)


@pytest.mark.parametrize("slip", [CODE[:-1] + str((int(CODE[-1]) + 1) % 10), "", "   ", "12;34", "1" * 65])
def test_a_slip_is_told_before_anything_is_sent(slip: str) -> None:
    with pytest.raises(Mistyped):
        read_code(slip)


def test_spaces_hyphens_and_other_scripts_digits_do_not_matter() -> None:
    wide = "".join(chr(ord(digit) + 0xFEE0) for digit in CODE)
    assert read_code(f" {CODE[:5]}-{CODE[5:]} ") == read_code(wide) == CODE


@pytest.mark.parametrize(
    "written", ["https://keys.health.example/v?c={}", "{}", " http://127.0.0.1:8000/v?c={} "]
)
def test_a_link_stands_for_its_code(written: str) -> None:
    code = "ABCDEFGHIJKLMNOPQRSTUVWX27"
    assert read_code(written.format(code)) == code
