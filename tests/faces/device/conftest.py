"""The two device applications on fresh databases, and calls to them as phones and labs make them."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.device import CollectingFace, IssuingFace, create_collecting_app, create_issuing_app
from registry.lifecycle.authorize import IssuingPolicy
from registry.lifecycle.collect import CollectionPolicy
from tests.authority import (
    ADMIN_KEY,
    AUTHORITY,
    DEVICE_KEY,
    LOOKUP_KEY,
    RECALL_KEY,
    RING,
    MadeSigner,
    found_collecting,
    found_issuing,
)
from tests.clock import FakeClock


@dataclass
class Stopwatch:
    """A monotonic time that moves only by sleeping, or when a test says that work took long."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Stands for time.sleep."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def stopwatch() -> Stopwatch:
    """What the applications take for monotonic time."""
    return Stopwatch()


@pytest.fixture
def certificate_signer() -> MadeSigner:
    """The authority's certificate signing key."""
    return MadeSigner("c1")


@pytest.fixture
def token_signer() -> MadeSigner:
    """The token signing key."""
    return MadeSigner("t1")


@pytest.fixture
def issuing_face(
    issuing_url: str,
    issuing_session: Session,
    clock: FakeClock,
    stopwatch: Stopwatch,
    certificate_signer: MadeSigner,
    token_signer: MadeSigner,
) -> IssuingFace:
    """The issuing application's settings, with the authority's rows in place."""
    found_issuing(issuing_session, certificate_signer)
    return IssuingFace(
        database_url=issuing_url,
        clock=clock,
        lookup_key=LOOKUP_KEY,
        token_signer=token_signer,
        token_public_keys={token_signer.key_id: token_signer.public_key},
        certificate_signers={AUTHORITY: certificate_signer},
        recall_public_key=RECALL_KEY.public_key(),
        policy=IssuingPolicy(),
        sleep=stopwatch.sleep,
        monotonic=stopwatch,
    )


@pytest.fixture
def issuing_app(issuing_face: IssuingFace) -> Flask:
    """The issuing application."""
    return create_issuing_app(issuing_face)


@pytest.fixture
def collecting_face(
    collecting_url: str,
    collecting_session: Session,
    clock: FakeClock,
    stopwatch: Stopwatch,
    certificate_signer: MadeSigner,
) -> CollectingFace:
    """The collecting application's settings, with the authority's rows in place."""
    found_collecting(collecting_session, certificate_signer, clock())
    return CollectingFace(
        database_url=collecting_url,
        clock=clock,
        revision_keys=RING,
        policy=CollectionPolicy(),
        sleep=stopwatch.sleep,
        monotonic=stopwatch,
    )


@pytest.fixture
def collecting_app(collecting_face: CollectingFace) -> Flask:
    """The collecting application."""
    return create_collecting_app(collecting_face)


Post = Callable[..., TestResponse]
"""(path, body, api_key=…, headers=…) → response. A dictionary is sent as JSON, bytes as they are."""


def poster(app: Flask, default_key: str | None = None) -> Post:
    """Calls `app` as a client does."""
    client = app.test_client()

    def post(
        path: str,
        body: dict[str, Any] | bytes,
        *,
        api_key: str | None = default_key,
        content_type: str | None = "application/json",
        headers: dict[str, str] | None = None,
    ) -> TestResponse:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = dict(headers or {})
        if api_key is not None:
            sent["X-API-Key"] = api_key
        return client.post(path, data=content, content_type=content_type, headers=sent)

    return post


@pytest.fixture
def device(issuing_app: Flask) -> Post:
    """An app's calls to the issuing application."""
    return poster(issuing_app, DEVICE_KEY)


@pytest.fixture
def lab(issuing_app: Flask) -> Post:
    """A laboratory's calls to the issuing application."""
    return poster(issuing_app, ADMIN_KEY)


@pytest.fixture
def phone(collecting_app: Flask) -> Callable[..., TestResponse]:
    """A phone's uploads: (body, …) → response."""
    post = poster(collecting_app)
    return lambda body, **more: post("/v1/publish", body, **more)


@pytest.fixture
def issue(lab: Post) -> Callable[..., str]:
    """A fresh code for a positive result."""

    def issued(test_type: str = "confirmed", **more: Any) -> str:
        statement = {"testType": test_type, "testDate": "2026-06-14", "symptomDate": "2026-06-12", **more}
        answer = lab("/api/issue", statement)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return str(answer.json["code"]) if answer.json else ""

    return issued


def size_of(answer: TestResponse) -> int:
    """Bytes of the whole answer as HTTP/1.1 writes it, from the status line to the body's end."""
    head = [f"HTTP/1.1 {answer.status}", *(f"{name}: {value}" for name, value in answer.headers)]
    return len("\r\n".join([*head, ""]).encode()) + len(answer.get_data())


def padding(size: int = 1500) -> str:
    """Random padding of a request."""
    return base64.b64encode(secrets.token_bytes(size)).decode()
