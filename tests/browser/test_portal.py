"""An official's walk through the portal in a real browser: by keyboard, on narrow screens, in the dark.

Every page is checked by axe, for overflow and for violations of the content security policy.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import zxingcpp
from playwright.sync_api import Browser, expect
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from registry.delivery.messages import SmsMaker
from registry.faces.portal import PortalFace, create_portal_app
from registry.lifecycle.authorize import IssuingPolicy
from registry.models import (
    Authority,
    IssuingBase,
    Official,
    PortalSession,
    VerificationCode,
    open_database,
    transaction,
)
from registry.models.official import (
    USUAL_PERMISSIONS,
    Permission,
    new_sign_in_link,
    permission_text,
)
from registry.protocol.codes import CodeForm, form_of, is_well_formed, new_code
from registry.protocol.intervals import utc_date
from tests.authority import RECALL_KEY
from tests.browser.visit import Visit
from tests.clock import FakeClock

LANGUAGES = ("zh", "en")
expect.set_options(timeout=20_000)  # a busy machine is no fault


class Served:
    """A portal that listens on a port of its own."""

    def __init__(self, database: Path, clock: FakeClock, sms: SmsMaker | None = None) -> None:
        self.clock = clock
        self.engine = open_database(f"sqlite:///{database}")
        IssuingBase.metadata.create_all(self.engine)
        with Session(self.engine) as session, transaction(session):
            session.add(Authority(id="a", name="x", certificate_issuer="x", certificate_audience="x"))
            session.flush()
            session.add(
                Official(
                    id="official-1",
                    authority_id="a",
                    name="Wang Fang 王芳",
                    permission_text=permission_text([*USUAL_PERMISSIONS, Permission.SETTINGS]),
                )
            )
        app = create_portal_app(
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
                address="https://keys.health.example",
                sms=sms,
            )
        )
        self.server = make_server("127.0.0.1", 0, app, threaded=True)
        self.address = f"http://127.0.0.1:{self.server.port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

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


class Walk(Visit):
    """An official's way through the portal."""

    def sign_in(self, served: Served) -> None:
        """Open a link and press its button."""
        self.page.goto(served.link())
        self.page.get_by_role("main").get_by_role("button").click()

    def complete(self, served: Served, person_language: str) -> None:
        """Fill in the whole form."""
        yesterday = utc_date(served.clock()) - timedelta(days=1)
        self.page.locator(f"[name=tested][value='{yesterday.isoformat()}']").check()
        self.page.locator(f"[name=consent_language][value={person_language}]").check()
        self.page.locator("[name=consent_channel][value=phone]").check()

    def submit(self) -> None:
        """Send the form."""
        self.page.locator("main form button[type=submit]").click()


def walk_of(browser: Browser, language: str, name: str) -> Walk:
    """A walk in a browser that asks for pages in this language."""
    locale = {"zh": "zh-CN", "en": "en-GB"}[language]
    return Walk(browser.new_context(locale=locale, reduced_motion="reduce"), name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_accessible_and_fits(served: Served, chromium: Browser, language: str) -> None:
    walk = walk_of(chromium, language, language)
    page = walk.page
    page.goto(f"{served.address}/portal/")
    walk.look("0-not-signed-in")
    page.goto(served.link())
    walk.look("1-sign-in")
    page.get_by_role("main").get_by_role("button").click()
    expect(page).to_have_url(f"{served.address}/portal/")
    assert page.locator("html").get_attribute("lang") == language
    walk.look("2-form")

    page.locator("[name=tested][value=other]").check()
    page.locator("#test_date").fill("2026-01-01")
    walk.submit()
    expect(page.get_by_role("alert")).to_be_focused()
    assert re.match("Error: |错误：", page.title())
    walk.look("3-form-with-errors")

    walk.complete(served, "zh" if language == "en" else "en")
    expect(page.locator(".consent")).to_have_count(2)
    expect(page.locator(".consent:visible")).to_have_count(1)
    walk.look("4-form-complete")
    walk.submit()
    code = re.sub(r"\D", "", page.locator(".code").inner_text())
    assert is_well_formed(code)
    assert not re.search(r"\d{3}", page.title())
    walk.look("5-code")

    page.reload()  # the page has an address of its own: no form is sent again
    expect(page.locator(".code")).to_have_count(1)
    page.goto(f"{served.address}/portal/codes/")
    walk.look("6-my-codes")
    page.locator(".listed a").click()
    page.locator("form[action$='/end'] button").click()
    expect(page.locator("form[action$='/end']")).to_have_count(0)
    expect(page.locator(".code")).to_have_count(0)
    walk.look("7-code-that-ended")
    page.goto(f"{served.address}/portal/nowhere")
    walk.look("8-not-found")
    page.goto(f"{served.address}/portal/")
    page.locator(".sign-out button").click()
    walk.look("9-signed-out")

    assert walk.objections == []
    assert all(url.startswith((served.address, "data:")) for url in walk.requested)
    assert not any(code in url for url in walk.requested)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_other_ways_to_a_code_the_letter_and_the_recall_of_many(
    served: Served, chromium: Browser, language: str
) -> None:
    walk = walk_of(chromium, language, f"ways-{language}")
    page = walk.page
    walk.sign_in(served)
    for path, what in (("recalls/all/", "1-many"), ("recalls/negative/", "2-negative")):
        page.goto(f"{served.address}/portal/{path}")
        walk.submit()
        expect(page.get_by_role("alert")).to_be_focused()
        walk.look(what)
    page.goto(f"{served.address}/portal/activate/")
    page.locator("[name=tested]").first.check()
    page.locator("[name=consent_channel][value=in-person]").check()
    page.locator("#phone_code").fill("1234")
    walk.submit()
    page.get_by_role("alert").get_by_role("link").click()
    expect(page.locator("#phone_code")).to_be_focused()
    walk.look("3-activate")
    page.locator("#phone_code").fill(new_code(lambda limit: 77_000_000_000_001 % limit))
    walk.submit()
    expect(page.locator(".said")).to_be_visible()
    walk.look("4-active")
    page.locator("form[action$='/letter'] button").click()
    expect(page.locator(".letter-code")).to_be_visible()
    walk.look("5-letter")
    page.emulate_media(media="print", color_scheme="light")
    expect(page.locator(".bar")).to_be_hidden()
    expect(page.locator(".letter-code")).to_be_visible()
    assert walk.objections == []


def test_from_the_sign_in_page_to_the_spoken_code_in_four_actions(served: Served, chromium: Browser) -> None:
    walk = walk_of(chromium, "en", "four-actions")
    page = walk.page
    page.goto(served.link())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Yes, tested today").check()
    page.get_by_label("Yes, by phone").check()
    page.get_by_role("button", name="Create the code").click()
    assert is_well_formed(re.sub(r"\D", "", page.locator(".code").inner_text()))
    expect(page.get_by_text("Please read the code back to me.")).to_be_visible()
    assert walk.objections == []


def test_an_official_needs_no_mouse_and_no_script(served: Served, chromium: Browser) -> None:
    context = chromium.new_context(locale="en-GB", java_script_enabled=False)
    page = context.new_page()
    page.goto(served.link())
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Sign in")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Hand over a code")
    page.get_by_role("link", name="Skip to the content").press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Yes, tested today")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("Yes, tested yesterday")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Day of the first symptoms")).to_be_focused()
    page.keyboard.type("06062026")  # whichever of day and month this browser asks for first
    expect(page.get_by_label("Day of the first symptoms")).to_have_value("2026-06-06")
    languages = page.get_by_role("group", name="Language of the person")
    for _ in range(12):  # a date field has several stops, and how many is the browser's affair
        if languages.locator(":focus").count():
            break
        page.keyboard.press("Tab")
    expect(languages.get_by_label("English")).to_be_checked()
    expect(page.locator(".consent-en")).to_be_visible()
    expect(page.locator(".consent-zh")).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("Yes, in person")).to_be_checked()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Create the code")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.locator("h1")).to_be_focused()
    expect(page.locator(".code > span")).to_have_count(5)
    expect(page.get_by_role("region", name="Code")).to_have_attribute("aria-live", "polite")


def test_an_error_leads_to_its_field_and_what_was_entered_is_still_there(
    served: Served, chromium: Browser
) -> None:
    walk = walk_of(chromium, "en", "errors")
    walk.sign_in(served)
    walk.complete(served, "en")
    walk.page.locator("[name=tested][value=other]").check()
    walk.page.locator("[name=report_type][value=likely]").check()
    walk.submit()
    walk.page.get_by_role("alert").get_by_role("link").click()
    expect(walk.page.locator("#test_date")).to_be_focused()
    expect(walk.page.locator("#test_date")).to_have_accessible_description(re.compile("Give the day of"))
    expect(walk.page.locator("[name=report_type][value=likely]")).to_be_checked()
    expect(walk.page.locator("[name=consent_channel][value=phone]")).to_be_checked()
    walk.page.locator("#onset_date").fill("2026-06-14")
    walk.submit()
    expect(walk.page.locator(".code")).to_be_visible()


def test_the_person_is_spoken_to_in_their_language_whatever_the_officials_is(
    served: Served, chromium: Browser
) -> None:
    walk = walk_of(chromium, "en", "languages")
    walk.sign_in(served)
    page = walk.page
    expect(page.locator(".consent-zh")).to_be_hidden()
    page.get_by_role("radio", name="中文").check()
    expect(page.locator(".consent-zh")).to_be_visible()
    expect(page.locator(".consent-zh p").first).to_contain_text("您的结果为阳性")
    walk.complete(served, "zh")
    walk.submit()
    expect(page.locator(".said q")).to_have_text("请把验证码念给我听一遍。")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator(".spoken span[lang=zh]")).to_have_count(15)


def test_the_printed_code_carries_nothing_of_the_official(served: Served, chromium: Browser) -> None:
    walk = walk_of(chromium, "en", "print")
    walk.sign_in(served)
    walk.complete(served, "en")
    walk.submit()
    walk.page.emulate_media(media="print")
    walk.look("code")
    expect(walk.page.locator(".code")).to_be_visible()
    expect(walk.page.locator(".spoken")).to_be_visible()
    expect(walk.page.get_by_text("Demonstration, not for real people")).to_be_visible()
    expect(walk.page.locator(".sign-out")).to_be_hidden()
    expect(walk.page.locator(".onward")).to_be_hidden()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pages_of_a_recall_are_accessible_and_fit(
    served: Served, chromium: Browser, language: str
) -> None:
    walk = walk_of(chromium, language, f"recall-{language}")
    page = walk.page
    walk.sign_in(served)
    walk.complete(served, "zh")
    walk.submit()
    page.goto(f"{served.address}/portal/recalls/")
    walk.look("1-overview")
    page.locator(".listed a").click()
    walk.look("2-ask")
    walk.submit()
    expect(page.get_by_role("alert")).to_be_focused()
    walk.look("3-ask-with-errors")
    page.locator("[name=reason][value=mistake]").check()
    page.locator("#known").check()
    walk.submit()
    walk.look("4-own-order")
    order = page.url

    with Session(served.engine) as session, transaction(session):
        session.add(Official(id="official-2", authority_id="a", name="Li Na 李娜"))
        session.flush()
        token = new_sign_in_link(session, "official-2", now=served.clock())
    page.locator(".sign-out button").click()
    page.goto(f"{served.address}/portal/sign-in/{token}")
    page.get_by_role("main").get_by_role("button").click()
    page.goto(order)
    walk.look("5-decide")
    page.locator("#known").check()
    page.locator("form[action$=approve] button").click()
    expect(page.locator("#known")).to_have_count(0)
    walk.look("6-approved")
    assert walk.objections == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_the_codes_form_is_accessible_and_fits(
    served: Served, chromium: Browser, language: str
) -> None:
    with Session(served.engine) as session, transaction(session):
        session.get_one(Official, "official-1").permission_text = "issue settings"
    walk = walk_of(chromium, language, f"code-form-{language}")
    page = walk.page
    walk.sign_in(served)
    page.goto(f"{served.address}/portal/settings/codes/")
    walk.look("1-digits")
    page.locator("[name=code_form][value=short]").check()
    walk.submit()
    expect(page.get_by_role("alert")).to_be_focused()
    walk.look("2-not-ticked")
    page.locator("#known").check()
    walk.submit()
    expect(page.get_by_role("status")).to_be_visible()
    walk.look("3-short")
    page.locator("[name=code_form][value=letters]").check()
    walk.submit()
    page.goto(f"{served.address}/portal/")
    walk.complete(served, language)
    walk.submit()
    code = re.sub(r"\s", "", page.locator(".code").inner_text())
    assert form_of(code) is CodeForm.LETTERS
    walk.look("4-letters")
    assert walk.objections == []


PIXELS = """image => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 464;
    const drawn = canvas.getContext("2d");
    drawn.drawImage(image, 0, 0, 464, 464);
    return Array.from(drawn.getImageData(0, 0, 464, 464).data.filter((_, place) => place % 4 === 0));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_the_camera_sees_is_the_link(
    served: Served, chromium: Browser, scheme: Literal["light", "dark"]
) -> None:
    walk = walk_of(chromium, "en", f"qr-{scheme}")
    walk.page.emulate_media(color_scheme=scheme)
    walk.sign_in(served)
    walk.complete(served, "en")
    walk.submit()
    walk.page.get_by_text("The link itself").click()
    link = walk.page.locator(".link").inner_text()
    assert re.fullmatch(r"https://keys\.health\.example/v\?c=[A-Z2-7]{26}", link)
    grey = np.array(walk.page.locator(".qr").evaluate(PIXELS), dtype=np.uint8).reshape(464, 464)
    (found,) = zxingcpp.read_barcodes(grey)
    assert found.text == link
    assert walk.objections == []


def test_an_open_page_tells_that_the_code_was_used_and_takes_it_from_the_screen(
    served: Served, chromium: Browser
) -> None:
    walk = walk_of(chromium, "en", "state")
    walk.page.clock.install()
    walk.sign_in(served)
    walk.complete(served, "en")
    walk.submit()
    expect(walk.page.locator("#state")).to_contain_text("Not known to be used")
    with Session(served.engine) as session, transaction(session):
        row = session.scalars(select(VerificationCode)).one()
        row.claimed = row.claim_told = True
    walk.page.clock.run_for(31_000)
    expect(walk.page.locator("#state")).to_contain_text("Used: the person")
    expect(walk.page.locator(".code, .qr")).to_have_count(0)
    # Signed out elsewhere: the page says so by itself.
    with Session(served.engine) as session, transaction(session):
        session.execute(delete(PortalSession))
    walk.page.clock.run_for(31_000)
    expect(walk.page.get_by_text("You are not signed in")).to_be_visible()
