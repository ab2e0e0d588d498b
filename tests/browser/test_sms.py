"""A code by SMS in a real browser: typed once, followed, sent again, printed; and the texts that go out."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from registry.delivery.messages import SmsMaker
from registry.delivery.sms import SmsDesk
from tests.browser.test_portal import LANGUAGES, Served, walk_of
from tests.clock import FakeClock
from tests.delivery.gateway import SuiteGateway, suite_gateway

NUMBER = "+86 138-0013-8000"
SAID = {
    "en": ("not known whether it was sent", "a gateway has accepted it"),
    "zh": ("无法确定是否已发送", "短信平台已接收"),
}


@pytest.fixture
def gateway() -> Iterator[SuiteGateway]:
    with suite_gateway() as there:
        yield there


@pytest.fixture
def served(tmp_path: Path, clock: FakeClock, gateway: SuiteGateway) -> Iterator[Served]:
    """A portal that sends through the suite's gateway."""
    maker = SmsMaker(SmsDesk([gateway.gateway()]), {}, "CN", "https://keys.health.example")
    with ExitStack() as stack:
        yield stack.enter_context(closing(Served(tmp_path / "issuing.sqlite", clock, maker)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_code_goes_out_by_sms_and_on_paper(
    served: Served, chromium: Browser, gateway: SuiteGateway, language: str
) -> None:
    walk = walk_of(chromium, language, f"sms-{language}")
    page = walk.page
    walk.sign_in(served)
    walk.complete(served, language)
    page.locator("#phone").fill("12345")
    walk.submit()
    expect(page.get_by_role("alert")).to_be_focused()
    walk.look("1-no-number")
    page.locator("#phone").fill(NUMBER)
    gateway.behaviour = 500
    walk.submit()
    unknown, accepted = SAID[language]
    expect(page.locator("#state")).to_contain_text(unknown)
    walk.look("2-not-known")
    code_page = page.url

    page.locator("a[href$='/sms']").click()
    walk.look("3-again")
    page.locator("#phone").fill(NUMBER)
    gateway.behaviour = 200
    walk.submit()
    expect(page).to_have_url(code_page)
    expect(page.locator("#state")).to_contain_text(accepted)
    assert gateway.texts()[0] == gateway.texts()[1]
    code = re.sub(r"\D", "", page.locator(".code").inner_text())
    assert code in gateway.texts()[0]

    page.locator("a[href$='/sheet']").click()
    assert re.sub(r"\D", "", page.locator(".code").inner_text()) == code
    walk.look("4-sheet")
    page.emulate_media(media="print", color_scheme="light")
    expect(page.locator(".bar")).to_be_hidden()
    expect(page.locator(".qr")).to_be_visible()
    assert walk.objections == []
    assert not [url for url in walk.requested if code in url or "138" in url.replace(served.address, "")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_is_written_tried_and_kept(served: Served, chromium: Browser, language: str) -> None:
    walk = walk_of(chromium, language, f"texts-{language}")
    page = walk.page
    walk.sign_in(served)
    page.goto(f"{served.address}/portal/settings/texts/")
    walk.look("1-texts")
    page.locator("main > p > a.button").click()
    page.locator("#label").fill("county")
    page.locator("#text").fill("no way in")
    page.locator("main button:not([name])").click()
    expect(page.get_by_role("alert")).to_be_focused()
    walk.look("2-errors")
    page.locator("[name=language][value=zh]").check()
    page.locator("#text").fill("验证码 [code]")
    page.locator("button[name=try_it]").click()
    expect(page.get_by_role("status")).to_contain_text("验证码 123456789012347")
    walk.look("3-tried")
    page.locator("main button:not([name])").click()
    expect(page.locator(".listed")).to_contain_text("county")
    assert walk.objections == []
