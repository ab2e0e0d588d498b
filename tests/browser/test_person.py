"""The pages for people with a code, and for who asks for one from the app, in a real browser.

Every page is checked by axe, for overflow and for violations of the content security policy.
"""

import base64
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route, expect
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from registry.delivery.folder_gateway import NEWEST, FolderGateway
from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from registry.faces.person import PersonFace, create_person_app
from registry.lifecycle.authorize import IssuingPolicy
from registry.models import Authority, IssuingBase, open_database, transaction
from tests.authority import AUTHORITY, DEVICE_KEY, LOOKUP_KEY, MadeSigner, found_issuing
from tests.browser.visit import Visit
from tests.clock import FakeClock

CODE = "ABCDEFGHIJKLMNOPQRSTUVWX27"


class Served:
    """The pages of an authority that takes reports, on a port of their own."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        url = f"sqlite:///{folder / 'issuing.sqlite'}"
        self.engine = open_database(url)
        IssuingBase.metadata.create_all(self.engine)
        with Session(self.engine) as session:
            found_issuing(session, MadeSigner("c1"))
            with transaction(session):
                session.get_one(Authority, AUTHORITY).self_report = True
        app = create_person_app(
            PersonFace(
                database_url=url,
                clock=clock,
                lookup_key=LOOKUP_KEY,
                profile="demo",
                policy=IssuingPolicy(),
                sms=SmsMaker(SmsDesk([FolderGateway(folder)]), {}, "CN", "https://keys.health.example"),
                sleep=lambda _seconds: None,
                monotonic=lambda: 0.0,
            )
        )
        self.server = make_server("127.0.0.1", 0, app, threaded=True)
        self.address = f"http://127.0.0.1:{self.server.port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.engine.dispose()


@pytest.fixture
def served(tmp_path: Path, clock: FakeClock) -> Iterator[Served]:
    """The pages on a fresh SQLite database."""
    with closing(Served(tmp_path, clock)) as pages:
        yield pages


def as_the_app_opens_it(route: Route) -> None:
    """What an app's web view makes of the first call."""
    nonce = base64.b64encode(bytes(range(256))).decode()
    headers = {**route.request.headers, "X-API-Key": DEVICE_KEY, "X-Nonce": nonce}
    route.continue_(method="POST", headers=headers)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_report_is_made_by_keyboard_and_every_page_fits(
    served: Served, chromium: Browser, tmp_path: Path, language: str
) -> None:
    locale = {"zh": "zh-CN", "en": "en-GB"}[language]
    visit = Visit(chromium.new_context(locale=locale, reduced_motion="reduce"), f"person-{language}")
    page = visit.page
    for number, path in enumerate((f"/v?c={CODE}", "/withdraw/", "/report")):
        page.goto(served.address + path)
        visit.look(f"{number}-{path.strip('/').partition('?')[0]}")
    page.route("**/report", as_the_app_opens_it, times=1)
    page.goto(f"{served.address}/report")
    visit.look("3-form")
    page.locator("#phone").fill("12345")
    page.locator("#phone").press("Enter")
    expect(page.locator(".summary")).to_be_focused()
    expect(page.locator("#phone")).to_have_value("12345")
    visit.look("4-faults")
    for _link in range(page.locator(".summary li").count()):
        page.keyboard.press("Tab")
    page.locator(".summary a[href='#phone']").press("Enter")
    expect(page.locator("#phone")).to_be_focused()
    page.locator("#phone").fill("138 0013 8000")
    page.locator("#test_date").fill("2026-06-14")
    for name in ("positive", "own_phone", "wanted"):
        page.locator(f"#{name}").press("Space")
    page.locator("#send").press("Enter")
    expect(page.locator("h1")).to_have_text({"zh": "请留意短信", "en": "Look for an SMS"}[language])
    visit.look("5-sent")
    assert page.url == f"{served.address}/report"
    assert (tmp_path / NEWEST).exists()
    assert all(url.startswith(served.address) for url in visit.requested if not url.startswith("data:"))
    assert visit.objections == []


def test_another_language_is_chosen_without_losing_what_the_app_said(
    served: Served, chromium: Browser
) -> None:
    page = chromium.new_context(locale="en-GB").new_page()
    page.route("**/report", as_the_app_opens_it, times=1)
    page.goto(f"{served.address}/report")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("#send")).to_have_text("给我发送验证码")
    page.locator("#phone").press("Enter")
    expect(page.locator(".summary li").first).to_have_text("请填写这部手机的号码。")
