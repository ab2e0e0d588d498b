"""/v1/stats as an authority's system meets it."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device.answers import ANSWER_SIZE
from registry.models import UploadFigures, transaction
from registry.protocol.certificate import encode_jwt
from tests.authority import AUTHORITY, ISSUER, MadeSigner
from tests.clock import FakeClock
from tests.faces.device.conftest import padding, poster, size_of

DAY = 86_400


@pytest.fixture
def ask(
    collecting_app: Flask, collecting_session: Session, certificate_signer: MadeSigner, clock: FakeClock
) -> Callable[..., TestResponse]:
    """(…) → answer; three days ago is shown, two days ago is hidden."""
    with transaction(collecting_session):
        for day, cells in ((12, {"all": 80}), (13, {})):
            for name, figures in (("uploads", cells), ("onset", {"2": 60}), ("oldest", {}), ("regions", {})):
                collecting_session.add(
                    UploadFigures(
                        day=date(2026, 6, day), health_authority_id=AUTHORITY, name=name, cells=figures
                    )
                )
    post = poster(collecting_app)

    def asked(
        body: dict[str, Any] | bytes | None = None, token: str | None = None, **more: Any
    ) -> TestResponse:
        claims = {"iss": ISSUER, "aud": "keyserver", "exp": int(clock()) + 300}
        headers = {"Authorization": f"Bearer {token or encode_jwt(claims, certificate_signer)}"}
        return post("/v1/stats", {"padding": padding()} if body is None else body, headers=headers, **more)

    return asked


def test_the_days_that_are_shown_and_no_hidden_one_however_old(
    ask: Callable[..., TestResponse], clock: FakeClock
) -> None:
    for _ in range(2):
        answer = ask()
        assert answer.status_code == 200
        assert size_of(answer) % ANSWER_SIZE == 0
        assert answer.json is not None
        (day,) = answer.json["days"]
        assert day["day"] == "2026-06-12T00:00:00Z"
        assert day["publish_requests"]["unknown"] == 80
        assert day["onset_to_upload_distribution"][:4] == [None, None, 60, None]
        assert len(answer.json["padding"]) >= 1024
        clock.advance(30 * DAY)


def test_who_may_not_ask_is_told_in_an_answer_of_the_same_size(
    ask: Callable[..., TestResponse], collecting_app: Flask
) -> None:
    answers = [ask(token="nonsense"), poster(collecting_app)("/v1/stats", {})]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.json is not None
        assert answer.json["code"] == "unauthorized"
        assert size_of(answer) == ANSWER_SIZE


def test_wrong_calls(ask: Callable[..., TestResponse]) -> None:
    assert ask(b"[]").status_code == 400
    assert ask(b"{").status_code == 400
    assert ask({"padding": 7}).status_code == 400
    assert ask(content_type="text/plain").status_code == 415
    assert ask(b" " * 64_001).status_code == 413
    assert ask({}).status_code == 200, "padding is no must"
