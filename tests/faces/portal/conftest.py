"""A portal on a fresh issuing database, with one official and ways to walk through its pages."""

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from registry.faces.portal import PortalFace, create_portal_app
from registry.lifecycle.authorize import IssuingPolicy
from registry.models import Authority, Official, PortalSession, open_database, transaction
from registry.models.official import new_sign_in_link
from tests.authority import RECALL_KEY
from tests.clock import FakeClock

AUTHORITY = "org.example.health"
ADDRESS = "https://keys.health.example"
TODAY = date(2026, 6, 15)
COMPLETE = {
    "tested": "other",
    "report_type": "confirmed",
    "test_date": "2026-06-14",
    "onset_date": "",
    "consent_language": "zh",
    "consent_channel": "phone",
}


class Portal:
    """The application under test, its clock and a session of its own on its database."""

    def __init__(
        self, url: str, clock: FakeClock, session: Session, profile: str = "demo", **more: Any
    ) -> None:
        self.clock, self.session, self.profile = clock, session, profile
        self.app: Flask = create_portal_app(
            PortalFace(
                database_url=url,
                clock=clock,
                session_secret=b"s" * 32,
                lookup_key=b"l" * 32,
                recall_key=RECALL_KEY,
                policy=IssuingPolicy(),
                authority_id=AUTHORITY,
                profile=profile,
                region="XA",
                address=more.pop("address", ADDRESS),
                **more,
            )
        )

    def link(self, official_id: str = "official-1") -> str:
        """Path of a fresh sign-in link."""
        with transaction(self.session):
            return f"/portal/sign-in/{new_sign_in_link(self.session, official_id, now=self.clock())}"

    def browser(self) -> FlaskClient:
        """A browser that has never been here; it reads English."""
        return self.app.test_client()

    def signed_in(self, official_id: str = "official-1") -> FlaskClient:
        """A browser in which the official is signed in."""
        browser, link = self.browser(), self.link(official_id)
        browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
        if self.profile == "production":
            # There a link alone is for a first passkey: as if they had come in by one.
            with transaction(self.session):
                self.session.query(PortalSession).update({"way": "passkey", "fresh_until": 2**40})
        return browser

    def rows(self, table: type) -> list[object]:
        """All rows of a table, as they are now."""
        self.session.rollback()
        return list(self.session.query(table))


def field(page: TestResponse, name: str) -> str:
    """Value of the first form field of that name on the page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found, f"no field {name}"
    return found[1]


def fill_in(browser: FlaskClient, path: str = "/portal/", **answers: str) -> dict[str, str]:
    """What the browser would send for an opened form, completed and then changed by `answers`."""
    page = browser.get(path)
    hidden = {name: field(page, name) for name in ("csrf_token", "once", "consent_version")}
    return {name: value for name, value in (hidden | COMPLETE | answers).items() if value != "absent"}


def hand_over(browser: FlaskClient, answers: dict[str, str], path: str = "/portal/") -> TestResponse:
    """Send the form, and go where it leads: to the code's page, or to the form again."""
    return browser.post(path, data=answers, follow_redirects=True)


def code_on(page: TestResponse) -> str:
    """The code in clear, from a code page."""
    found = re.search(r'<p class="code"[^>]*>(.*?)</p>', page.text, re.DOTALL)
    assert found, "no code on this page"
    return re.sub(r"\D", "", re.sub(r"<[^>]*>", "", found[1]))


@pytest.fixture
def make_portal(issuing_url: str, clock: FakeClock) -> Iterator[Callable[..., Portal]]:
    """Function that puts a portal together, in a profile of choice."""
    engine = open_database(issuing_url)
    with Session(engine) as session:
        with transaction(session):
            session.add(Authority(id=AUTHORITY, name="x", certificate_issuer="x", certificate_audience="x"))
            session.flush()
            session.add(Official(id="official-1", authority_id=AUTHORITY, name="Wang Fang"))
        yield lambda profile="demo", **more: Portal(issuing_url, clock, session, profile, **more)
    engine.dispose()


@pytest.fixture
def portal(make_portal: Callable[..., Portal]) -> Portal:
    """A portal in the demo profile."""
    return make_portal()
