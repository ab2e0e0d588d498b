"""Officials and their passkeys in a real browser, with a virtual authenticator of its own.

Every page is checked by axe, for overflow and for violations of the content security policy.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from registry.faces.portal import PortalFace, create_portal_app
from registry.lifecycle.authorize import IssuingPolicy
from registry.models import Authority, IssuingBase, Official, open_database, transaction
from registry.models.official import Permission, new_sign_in_link, permission_text
from tests.authority import RECALL_KEY
from tests.browser.visit import Visit
from tests.clock import FakeClock


class Served:
    """A portal at http://localhost, where browsers know passkeys."""

    def __init__(self, database: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.engine = open_database(f"sqlite:///{database}")
        IssuingBase.metadata.create_all(self.engine)
        with Session(self.engine) as session, transaction(session):
            session.add(Authority(id="a", name="x", certificate_issuer="x", certificate_audience="x"))
            session.flush()
            may = permission_text(Permission)
            session.add(
                Official(id="official-1", authority_id="a", name="Wang Fang 王芳", permission_text=may)
            )
        self.server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.address = f"http://localhost:{self.server.port}"
        self.app = create_portal_app(
            PortalFace(
                database_url=f"sqlite:///{database}",
                clock=clock,
                session_secret=b"s" * 32,
                recall_key=RECALL_KEY,
                lookup_key=b"l" * 32,
                policy=IssuingPolicy(),
                authority_id="a",
                profile="demo",
                region="XA",
                address=f"http://127.0.0.1:{self.server.port}",
                idle_seconds=1200,
            )
        )
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def _answer(self, environ: object, start_response: object) -> object:
        return self.app(environ, start_response)  # type: ignore[arg-type]

    def link(self) -> str:
        """Address of a fresh sign-in link."""
        with Session(self.engine) as session, transaction(session):
            token = new_sign_in_link(session, "official-1", now=self.clock())
        return f"{self.address}/portal/sign-in/{token}"

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.engine.dispose()


@pytest.fixture
def served(tmp_path: Path, clock: FakeClock) -> Iterator[Served]:
    """A portal on a fresh SQLite database."""
    with closing(Served(tmp_path / "issuing.sqlite", clock)) as portal:
        yield portal


def visit_of(browser: Browser, language: str, name: str) -> Visit:
    """A visit in a browser that has an authenticator and asks for pages in this language."""
    locale = {"zh": "zh-CN", "en": "en-GB"}[language]
    visit = Visit(browser.new_context(locale=locale, reduced_motion="reduce"), name)
    devtools = visit.page.context.new_cdp_session(visit.page)
    devtools.send("WebAuthn.enable")
    authenticator = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})
    return visit


def enrol(page: Page, served: Served, link: str) -> None:
    """Come in by a link and add a passkey."""
    page.goto(link)
    page.get_by_role("main").get_by_role("button").click()
    page.goto(f"{served.address}/portal/passkeys/")
    page.locator("#label").fill("Ward tablet")
    page.locator("form[data-passkey=create] button").click()
    expect(page.locator(".listed li")).to_have_count(1)


def press(page: Page) -> None:
    """The button of the form that asks the passkey."""
    page.locator("main form[data-passkey=get] button:not([data-plain])").click()


def look(page: Page) -> None:
    """Let the open page ask whether its session goes on, and hear the answer."""
    with page.expect_response("**/portal/awake"):
        page.clock.run_for(61_000)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_passkey_from_an_invitation_signs_in_and_is_asked_for_where_something_is_done(
    served: Served, chromium: Browser, language: str
) -> None:
    visit = visit_of(chromium, language, f"people-{language}")
    page = visit.page
    page.goto(served.link().replace("localhost", "127.0.0.1"))
    expect(page.locator(f"a[href^='{served.address}/portal/sign-in/']")).to_have_count(1)
    enrol(page, served, served.link())
    visit.look("1-passkeys")
    page.locator(".sign-out button").click()
    page.goto(f"{served.address}/portal/sign-in")
    visit.look("2-sign-in")
    press(page)
    expect(page).to_have_url(f"{served.address}/portal/")

    served.clock.advance(1000)  # the proof is old, and nobody was away for too long
    page.goto(f"{served.address}/portal/officials/invite")
    visit.look("3-invite")
    page.locator("#name").fill("Li Na 李娜")
    page.locator("[name=permissions][value=recall]").check()
    page.locator("main form button[type=submit]").click()
    expect(page.locator("main form[data-passkey=get]")).to_have_count(1)
    visit.look("4-proof")
    press(page)
    invitation = page.locator(".link").inner_text()
    visit.look("5-link")
    page.goto(f"{served.address}/portal/officials/import/")
    visit.look("6-files")
    page.goto(f"{served.address}/portal/officials/")
    page.get_by_role("link", name="Li Na 李娜").click()
    visit.look("7-person")

    # Removed in mid-session.
    ward = chromium.new_context(locale="en-GB").new_page()
    ward.goto(invitation.replace("127.0.0.1", "localhost"))
    ward.get_by_role("main").get_by_role("button").click()
    expect(ward.get_by_role("heading", level=1)).to_have_text("Recalls")
    page.locator("form[action$='/remove'] button").click()
    expect(page.locator("form[action$='/let-in']")).to_have_count(1)
    ward.reload()
    expect(ward.get_by_role("heading", level=1)).to_have_text("You are not signed in")

    page.goto(f"{served.address}/portal/keys/")
    page.locator("[name=kind][value=admin]").check()
    page.locator("#name").fill("Lab")
    page.locator("main form button:not(.quiet)").click()
    expect(page.locator(".link")).to_have_text(re.compile(r"[\w-]{64}"))
    page.goto(f"{served.address}/portal/keys/")
    visit.look("8-keys")

    served.clock.advance(1800)
    page.goto(f"{served.address}/portal/keys/")
    expect(page.locator("#kind-0")).to_have_count(0)
    visit.look("9-locked")
    press(page)
    expect(page.locator("#kind-0")).to_have_count(1)
    assert visit.objections == []


def test_a_recall_is_asked_for_with_the_passkey_and_nothing_that_was_filled_in_is_lost(
    served: Served, chromium: Browser
) -> None:
    visit = visit_of(chromium, "en", "people-recall")
    page = visit.page
    enrol(page, served, served.link())
    page.goto(f"{served.address}/portal/")
    page.locator("[name=tested][value='2026-06-14']").check()
    page.locator("[name=consent_language][value=zh]").check()
    page.locator("[name=consent_channel][value=phone]").check()
    served.clock.advance(1800)
    page.get_by_role("button", name="Create the code").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The page is locked")
    press(page)
    expect(page.locator(".code")).to_be_visible()

    page.goto(f"{served.address}/portal/recalls/")
    page.locator(".listed a").click()
    page.locator("[name=reason][value=mistake]").check()
    page.locator("#known").check()
    served.clock.advance(1100)  # the proof is old
    page.get_by_role("button", name="Ask for the recall").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Show that it is you")
    press(page)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Recall: "))
    assert visit.objections == []


def test_an_open_page_covers_itself_and_what_was_typed_is_there_when_the_passkey_uncovers_it(
    served: Served, chromium: Browser
) -> None:
    visit = visit_of(chromium, "en", "people-cover")
    page = visit.page
    page.clock.install()
    enrol(page, served, served.link())
    page.goto(f"{served.address}/portal/officials/invite")
    page.locator("#name").fill("Li Na")
    for _ in range(2):
        served.clock.advance(1100)
        page.locator("#name").press("End")  # somebody types: that is use, though no page is asked for
        look(page)
    expect(page.locator("#cover")).to_be_hidden()

    served.clock.advance(1500)
    look(page)
    cover = page.get_by_role("dialog", name="The page is locked")
    expect(cover).to_be_visible()
    expect(page.locator("#name")).to_be_hidden()
    expect(page.get_by_role("textbox")).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    cover.get_by_role("button", name="Go on").click()  # not without a proof
    expect(page.locator("#name")).to_be_hidden()
    visit.look("covered")
    cover.get_by_role("button", name="Use the passkey").click()
    expect(cover).to_be_hidden()
    expect(page.locator("#name")).to_have_value("Li Na")
    page.locator("[name=permissions][value=issue]").check()
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A link for Li Na")
    assert visit.objections == []


def test_a_passkey_that_does_not_answer_is_told(served: Served, chromium: Browser) -> None:
    visit = visit_of(chromium, "en", "people-refused")
    visit.page.goto(f"{served.address}/portal/sign-in")
    press(visit.page)  # it has none
    expect(visit.page.get_by_role("alert")).to_have_text("The passkey did not answer. Try again.")
