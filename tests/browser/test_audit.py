"""An auditor's walk through the transparency pages in a real browser: by keyboard, narrow, dark, on paper.

Every page is checked by axe, for overflow and for violations of the content security policy.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from registry.app import audit
from registry.faces.audit import AuditFace, create_audit_app
from registry.models import Official, Receipt, open_database, transaction
from registry.models.official import Role, new_sign_in_link
from tests.app_of_old import fresh_keys
from tests.browser.visit import Visit
from tests.clock import FakeClock
from tests.faces.audit.conftest import BASE_URL, TreeStorage
from tests.public_tree import DAY, PublicTree
from tests.world import World

LOCALES = {"en": "en-GB", "zh-Hans": "zh-CN"}
expect.set_options(timeout=20_000)  # a busy machine is no fault


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The application on a port of its own; its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def old_tree(clock: FakeClock) -> PublicTree:
    """Weeks of a registry: live, empty, expired and withdrawn batches, and a key that changed."""
    tree = PublicTree(clock, window=DAY, profile="demo")
    tree.pass_days(26)
    tree.rotate_exporter()
    tree.withdraw("XA", 24)
    tree.next_window()
    return tree


@pytest.mark.parametrize("language", LOCALES)
def test_every_page_is_accessible_and_fits(clock: FakeClock, chromium: Browser, language: str) -> None:
    tree = old_tree(clock)
    batch = max(n for n, entry in enumerate(tree.shard.entries) if b'"type":"batch"' in entry)
    context = chromium.new_context(locale=LOCALES[language], reduced_motion="reduce")
    visit = Visit(context, f"audit-{language}")
    pages = {
        "doors": "/",
        "overview": "/audit/",
        "batches": "/audit/batches",
        "none-such": "/audit/batches?region=CN-HB&state=withdrawn",
        "leaf": f"/audit/leaf/2026/{batch}",
        "witnesses": "/audit/witnesses",
        "changes": "/audit/changes",
        "downloads": "/audit/downloads",
        "no-receipts": "/audit/receipts",
        "not-found": "/audit/nowhere",
    }
    with served(create_audit_app(AuditFace(TreeStorage(tree), "demo", BASE_URL, clock))) as address:
        for name, path in pages.items():
            visit.page.goto(f"{address}{path}")
            expect(visit.page.locator("html")).to_have_attribute("lang", language)
            visit.look(name)
        visit.page.goto(f"{address}/audit/")
        for summary in visit.page.locator("summary").all():
            summary.click()
        visit.look("overview-tables-open")
        clock.advance(9 * DAY)
        visit.page.goto(f"{address}/audit/")
        expect(visit.page.locator(".alarms li").first).to_be_visible()
        visit.look("alarms")
    assert visit.objections == []
    assert all(url.startswith((address, "data:")) for url in visit.requested)


def test_on_paper_tables_and_commands_are_whole(clock: FakeClock, chromium: Browser) -> None:
    tree = old_tree(clock)
    visit = Visit(chromium.new_context(locale="en-GB"), "audit-print")
    with served(create_audit_app(AuditFace(TreeStorage(tree), "demo", BASE_URL, clock))) as address:
        visit.page.emulate_media(media="print")
        for name, path in (("overview", "/audit/"), ("leaf", "/audit/leaf/2026/17")):
            visit.page.goto(f"{address}{path}")
            expect(visit.page.get_by_role("navigation", name="Sections")).to_be_hidden()
            cut = "els => els.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className)"
            assert visit.page.locator("pre, .table").evaluate_all(cut) == []
            visit.look(name)


class Keyboard:
    """Somebody without a mouse. Goes from stop to stop and says so if a place cannot be reached."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def go_to(self, selector: str) -> None:
        """Press Tab until the element has the focus."""
        for _ in range(200):
            self.page.keyboard.press("Tab")
            if self.page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"no way to {selector} by keyboard on {self.page.url}")

    def follow(self, selector: str) -> None:
        """Go to a link or button and press Enter; what comes must be a page with one heading."""
        self.go_to(selector)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        expect(self.page.locator("h1")).to_have_count(1)

    def skip_to_content(self) -> None:
        """The first stop of every page."""
        self.page.keyboard.press("Tab")
        expect(self.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(self.page.locator("main")).to_be_focused()


@pytest.fixture
def lived(tmp_path: Path, clock: FakeClock) -> World:
    """A real registry with a published batch, an auditor, and a receipt."""
    folder = tmp_path / "var"
    urls = (f"sqlite:///{tmp_path}/{half}.sqlite" for half in ("issuing", "collecting"))
    world = World(folder, *urls, clock)
    world.app().upload(world.issue()["code"], fresh_keys(clock(), today=False))
    for _ in range(3):
        world.next_window()
    return world


def link_for_an_auditor(world: World) -> str:
    """Path of a sign-in link."""
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        authority = world.settings.health_authority_id
        session.add(Official(id="a-1", authority_id=authority, name="Zhao Min 赵敏", role=Role.AUDITOR.value))
        session.flush()
        return f"/audit/sign-in/{new_sign_in_link(session, 'a-1', now=world.clock())}"


def a_receipt(world: World) -> str:
    """What the phone keeps."""
    with Session(open_database(world.settings.collecting_database_url)) as session:
        return session.scalars(select(Receipt.content)).one().decode()


def test_an_auditor_needs_no_mouse_and_no_script(lived: World, chromium: Browser) -> None:
    page = chromium.new_context(locale="en-GB", java_script_enabled=False).new_page()
    keyboard = Keyboard(page)
    with served(audit(lived.settings, lived.clock)) as address:
        page.goto(f"{address}/")
        keyboard.skip_to_content()
        keyboard.follow('.doors a[href="/audit/"]')
        expect(page.get_by_role("heading", name="No alarms")).to_be_visible()
        keyboard.go_to(".chart summary")
        page.keyboard.press("Enter")
        expect(page.locator("table.numbers").first).to_be_visible()

        keyboard.follow('.sections a[href="/audit/batches"]')
        keyboard.go_to("#state")
        page.keyboard.press("ArrowDown")
        expect(page.locator("#state")).to_have_value("live")
        keyboard.follow("form.narrow button")
        expect(page.get_by_role("status")).to_contain_text("1 to 1 of 1")
        keyboard.follow("table.batches td a[href^='/audit/leaf/']")
        expect(page.locator("h1")).to_contain_text("batch")
        expect(page.get_by_text("This is the root that the checkpoint signs.")).to_be_visible()
        keyboard.go_to("pre#foreign")
        keyboard.follow(".pager a[rel=next]")

        for section in ("witnesses", "changes", "downloads", "receipts"):
            keyboard.follow(f'.sections a[href="/audit/{section}"]')
        expect(page.locator("h1")).to_have_text("You are not signed in")
        page.goto(f"{address}{link_for_an_auditor(lived)}")
        keyboard.follow("main form button")
        expect(page.locator("h1")).to_have_text("Receipts")
        keyboard.go_to("#receipt")
        page.keyboard.insert_text(a_receipt(lived))
        keyboard.follow("form.check button")
        expect(page.get_by_role("status")).to_contain_text(
            re.compile(r"of the (16|32|48|64) receipts of XA batch 1")
        )
        keyboard.follow('.subsections a[href="/audit/receipts/acts"]')
        expect(page.get_by_text("broken")).to_have_count(0)
        keyboard.follow(".sign-out button")
        expect(page.locator("h1")).to_have_text("You have signed out")


@pytest.mark.parametrize("language", LOCALES)
def test_the_pages_behind_the_sign_in_are_accessible_and_fit(
    lived: World, chromium: Browser, language: str
) -> None:
    context = chromium.new_context(locale=LOCALES[language], reduced_motion="reduce")
    visit = Visit(context, f"receipts-{language}")
    page = visit.page
    with served(audit(lived.settings, lived.clock)) as address:
        page.goto(f"{address}/audit/receipts")
        visit.look("0-not-signed-in")
        link = f"{address}{link_for_an_auditor(lived)}"
        page.goto(link)
        visit.look("1-sign-in")
        page.locator("main form button").click()
        page.locator("#receipt").fill(a_receipt(lived))
        page.locator("form.check button").click()
        expect(page.locator(".verdict-good")).to_have_count(2)
        visit.look("2-receipts")
        page.locator(".subsections a").last.click()
        visit.look("3-acts")
        page.locator(".sign-out button").click()
        expect(page).to_have_url(re.compile("/signed-out$"))
        visit.look("4-signed-out")
        page.goto(link)
        page.locator("main form button").click()
        visit.look("5-link-spent")
    assert visit.objections == []
