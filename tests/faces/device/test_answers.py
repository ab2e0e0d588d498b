"""Every answer of a phone endpoint looks like every other: one size, padding, one pace, one line of log."""

import base64
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client, TestResponse

from registry.faces.device import CollectingFace, IssuingFace, create_collecting_app, create_issuing_app
from registry.faces.device.answers import ANSWER_SIZE, BODY_ROOM, padded
from registry.faces.device.calls import BODY_LIMIT
from registry.faces.pace import EvenPace
from tests.authority import ADMIN_KEY, DEVICE_KEY, MadeSigner, made_key, made_upload
from tests.clock import FakeClock
from tests.faces.device.conftest import Post, Stopwatch, padding, poster, size_of

JSON_TEXT = st.text(max_size=600)
STATUSES = (400, 401, 404, 405, 409, 412, 413, 415, 500)


def sent(answer: Response) -> TestResponse:
    """The answer as it goes out."""
    return Client(answer).get("/")


def assert_looks_like_any_other(answer: TestResponse) -> None:
    """One size, an object, and padding of 1,024 to 2,047 bytes."""
    assert size_of(answer) == ANSWER_SIZE
    assert len(answer.get_data()) == BODY_ROOM, "and so has the head, which may leave by itself"
    assert answer.json is not None
    assert 1024 <= len(base64.b64decode(answer.json["padding"])) <= 2047
    assert answer.content_type == "application/json"
    assert "Set-Cookie" not in answer.headers
    assert "Vary" not in answer.headers


@given(error=JSON_TEXT)
def test_any_text_leaves_in_the_one_size(error: str) -> None:
    assert size_of(sent(padded({"error": error[:300]}))) == ANSWER_SIZE


@given(status=st.sampled_from([200, *STATUSES]), more=st.text("abc", max_size=40))
def test_whatever_stands_in_status_and_headers_the_size_is_one(status: int, more: str) -> None:
    """An observer of encrypted traffic sees the sum only, so the body makes up for the rest."""
    answer = padded({"error": more}, status)
    answer.headers["Allow"] = more
    assert size_of(sent(answer)) == ANSWER_SIZE
    assert size_of(sent(answer)) == ANSWER_SIZE, "and it is so a second time"
    assert len(sent(answer).get_data()) == BODY_ROOM


def test_padding_varies_and_an_oversized_answer_is_still_padded() -> None:
    sizes = {len(padded({}).get_data().rstrip()) for _ in range(50)}
    assert len(sizes) > 10
    assert size_of(sent(padded({"error": "x" * 5000}))) == 2 * ANSWER_SIZE


def test_success_refusals_and_chaff_at_the_issuing_application(
    device: Post, issue: Callable[..., str]
) -> None:
    code, likely = issue(), issue("likely")
    chaff = {"X-Chaff": "1"}
    answers = {
        412: device("/api/verify", {"code": likely, "accept": ["confirmed"]}),
        200: device("/api/verify", {"code": code}),
        400: device("/api/verify", {"code": "000"}),
        401: device("/api/verify", {"code": code}, api_key="nobody's"),
        404: device("/api/unheard-of", {}),
        413: device("/api/verify", b"x" * (BODY_LIMIT + 1)),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert_looks_like_any_other(answer)
    for path in ("/api/verify", "/api/certificate"):
        answer = device(path, {"code": code, "padding": padding()}, headers=chaff)
        assert answer.status_code == 200
        assert_looks_like_any_other(answer)
        assert set(answer.json or {}) == {"padding"}


def test_success_refusals_and_chaff_at_the_collecting_application(
    phone: Callable[..., TestResponse], certificate_signer: MadeSigner, clock: FakeClock
) -> None:
    upload = made_upload(certificate_signer, [made_key(clock())], clock())
    chaff = phone(upload, headers={"X-Chaff": "1"})
    assert (chaff.status_code, set(chaff.json or {})) == (200, {"padding"})
    answers = {
        200: phone(upload),
        401: phone({}),
        400: phone(b"not json"),
        413: phone(b"x" * (BODY_LIMIT + 1)),
        415: phone(b"{}", content_type="text/plain"),
    }
    for status, answer in [(200, chaff), *answers.items()]:
        assert answer.status_code == status
        assert_looks_like_any_other(answer)
        assert answer.headers["x-api-version"] == "v1"


def test_the_longest_answer_of_an_upload_still_has_the_one_size(
    phone: Callable[..., TestResponse], certificate_signer: MadeSigner, clock: FakeClock
) -> None:
    now = clock()
    faulty = [
        lambda: made_key(now, 3) | {"key": "AAAA"},
        lambda: made_key(now, 3, period=145),
        lambda: made_key(now, 3, risk=9),
        lambda: made_key(now, 40),
        lambda: made_key(now, -1),
        lambda: made_key(now, 15, period=144),
    ]
    keys = [faulty[n % len(faulty)]() for n in range(29)] + [made_key(now)]
    answer = phone(
        made_upload(
            certificate_signer, keys, now, onset_days_ago=None, symptomOnsetInterval=int(now) // 600 - 1
        )
    )
    assert answer.status_code == 200
    assert answer.json is not None
    assert answer.json["code"] == "partial_failure"
    assert answer.json["warnings"]
    assert_looks_like_any_other(answer)


def test_a_wrong_method_names_the_right_one_and_is_padded(issuing_app: Flask, collecting_app: Flask) -> None:
    for app, path in ((issuing_app, "/api/verify"), (collecting_app, "/v1/publish")):
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            answer = app.test_client().open(path, method=method)
            assert answer.status_code == 405
            assert answer.headers["Allow"] == "POST"
            assert_looks_like_any_other(answer)


def test_a_path_is_taken_literally(
    device: Post, phone: Callable[..., TestResponse], collecting_app: Flask
) -> None:
    assert device("/api/verify/", {}).status_code == 404
    assert device("//api/verify", {}).status_code == 404
    assert poster(collecting_app)("/v1/publish/", {}).status_code == 404


def test_a_fault_of_ours_is_500_tells_nothing_and_logs_only_its_type(
    issuing_face: IssuingFace, caplog: pytest.LogCaptureFixture
) -> None:
    def broken_clock() -> float:
        raise RuntimeError("secret 4711 of a person")

    device = poster(create_issuing_app(replace(issuing_face, clock=broken_clock)), DEVICE_KEY)
    with caplog.at_level(logging.INFO):
        answer = device("/api/verify", {"code": "123456789012347", "padding": padding()})
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["errorCode"] == answer.json["error_code"] == "internal_error"
    assert answer.json["error"] == "internal error"
    assert_looks_like_any_other(answer)
    assert "unexpected fault endpoint=verify type=RuntimeError" in caplog.text
    assert "4711" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_database_that_is_gone_is_500_and_not_ready(
    collecting_face: CollectingFace, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = "sqlite:////nonexistent/folder/registry.sqlite3"
    app = create_collecting_app(replace(collecting_face, database_url=nowhere))
    answer = poster(app)("/v1/publish", {"healthAuthorityID": "x"})
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["code"] == "internal_error"
    assert_looks_like_any_other(answer)
    assert app.test_client().get("/readyz").status_code == 500
    assert app.test_client().get("/healthz").status_code == 200


def test_probes_answer_on_both_applications(issuing_app: Flask, collecting_app: Flask) -> None:
    for app in (issuing_app, collecting_app):
        for path in ("/healthz", "/readyz"):
            assert app.test_client().get(path).status_code == 200


def test_success_refusal_and_chaff_leave_no_line_that_would_tell_when_they_came(
    device: Post, issue: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    code = issue()
    lines = []
    for body, headers in (
        ({"code": code}, {}),
        ({"code": "1"}, {}),
        ({"code": code}, {"X-Chaff": "yes"}),
        ({"code": code}, {"X-API-Key": "none", "User-Agent": "a phone"}),
    ):
        caplog.clear()
        with caplog.at_level(logging.DEBUG):
            device("/api/verify", body, headers=headers)
        lines.append([record.getMessage() for record in caplog.records])
    assert lines == [[], [], [], []]


# ---------------------------------------------------------------- pace


@pytest.mark.parametrize(
    ("work", "leaves_at"), [(0.0, 0.3), (0.12, 0.3), (0.299, 0.3), (0.31, 0.6), (0.9001, 1.2)]
)
def test_an_answer_leaves_at_the_next_multiple_of_the_hold(work: float, leaves_at: float) -> None:
    watch = Stopwatch()

    def application(_environ: object, start_response: Callable[..., object]) -> list[bytes]:
        watch.now += work
        start_response("200 OK", [])
        return [b"body"]

    sent: list[float] = []
    paced = EvenPace(application, milliseconds=300, exempt=("/healthz",), sleep=watch.sleep, monotonic=watch)
    body = paced({"PATH_INFO": "/api/verify"}, lambda *_: sent.append(watch.now) or (lambda _: None))
    assert b"".join(body) == b"body"
    assert sent == [pytest.approx(1000 + leaves_at)]


def test_every_outcome_is_held_and_probes_are_not(
    issuing_app: Flask, device: Post, stopwatch: Stopwatch, collecting_app: Flask
) -> None:
    outcomes = [
        lambda: device("/api/verify", {"code": "1"}),
        lambda: device("/api/verify", {"code": "1"}, headers={"X-Chaff": "1"}),
        lambda: device("/api/verify", b"", api_key=None),
        lambda: device("/api/verify", b"x" * (BODY_LIMIT + 1)),
        lambda: device("/nowhere", b""),
        lambda: issuing_app.test_client().get("/api/verify"),
        lambda: collecting_app.test_client().get("/v1/publish"),
    ]
    for outcome in outcomes:
        before = stopwatch.now
        outcome()
        assert stopwatch.now == pytest.approx(before + 0.3)
    issuing_app.test_client().get("/healthz")
    issuing_app.test_client().get("/jwks/org.example.health")
    assert len(stopwatch.slept) == len(outcomes)


def test_a_hold_of_0_switches_it_off(issuing_face: IssuingFace, stopwatch: Stopwatch) -> None:
    lab = poster(create_issuing_app(replace(issuing_face, hold_milliseconds=0)), ADMIN_KEY)
    assert lab("/api/issue", {}).status_code == 400
    assert stopwatch.slept == []
