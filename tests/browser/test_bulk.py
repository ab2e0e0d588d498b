"""Codes for a thousand from a file, in a real browser: cut off, and gone on with by the same file."""

import csv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.lifecycle.authorize import hash_code
from registry.models import Official, VerificationCode, transaction
from registry.models.official import Permission, permission_text
from tests.browser.test_portal import Served, walk_of
from tests.clock import FakeClock

ROWS = 1000
FILE = {
    "name": "results.csv",
    "mimeType": "text/csv",
    "buffer": b"testDate,testType\r\n" + b'"2026-06-14","confirmed"\r\n' * ROWS,
}


@pytest.fixture
def served(tmp_path: Path, clock: FakeClock) -> Iterator[Served]:
    """A portal whose one official may issue for many."""
    with closing(Served(tmp_path / "issuing.sqlite", clock)) as portal:
        with Session(portal.engine) as session, transaction(session):
            official = session.get_one(Official, "official-1")
            official.permission_text = permission_text({Permission.ISSUE, Permission.BULK})
        yield portal


def choose(page: Page, file: dict[str, Any]) -> None:
    """Fill in the form, but for its button."""
    page.locator("#file").set_input_files(file)  # type: ignore[arg-type]
    page.locator("[name=consent_language][value=zh]").check()
    page.locator("[name=consent_channel][value=writing]").check()
    page.locator("#agreed").check()


def live(served: Served) -> set[bytes]:
    with Session(served.engine) as session:
        good = select(VerificationCode.code_hash).where(VerificationCode.expires_at > served.clock())
        return set(session.scalars(good))


def result_of(page: Page, folder: Path) -> list[dict[str, str]]:
    """Press the button, and read what was saved."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Fetch the result file").click()
    download.value.save_as(folder / "codes.csv")
    with (folder / "codes.csv").open(newline="") as saved:
        return list(csv.DictReader(saved))


def test_a_thousand_rows_cut_off_in_the_middle_get_a_code_each(
    served: Served, chromium: Browser, tmp_path: Path
) -> None:
    walk = walk_of(chromium, "en", "bulk")
    page = walk.page
    walk.sign_in(served)
    page.goto(f"{served.address}/portal/bulk/")
    choose(page, FILE)

    passed = 0

    def cut_off(route: Route) -> None:
        """Three requests get through; of the fourth the answer never comes, and then nothing does."""
        nonlocal passed
        passed += 1
        if passed > 4:
            route.abort()
            return
        if passed == 4:
            route.fetch()  # it is done, but nobody hears of it
            route.abort()
            return
        route.continue_()

    page.route(
        "**/portal/bulk/",
        lambda route: cut_off(route) if route.request.method == "POST" else route.continue_(),
    )
    page.get_by_role("button", name="Create the codes").click()
    expect(page.locator("#run-words")).to_have_text(
        "No connection. It goes on by itself once there is one again."
    )
    assert page.locator("#run-bar").evaluate("bar => [bar.value, bar.max]") == [300, ROWS]
    page.unroute_all()
    page.goto(f"{served.address}/portal/bulk/")  # the tablet is put away, and taken up again
    assert len(live(served)) == 400

    choose(page, FILE)
    page.get_by_role("button", name="Create the codes").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("All codes are made")
    result = result_of(page, tmp_path)
    assert [int(line["row"]) for line in result] == list(range(2, ROWS + 2))
    codes = {hash_code(b"l" * 32, "a", line["code"]) for line in result}
    assert len(codes) == ROWS
    assert codes == live(served)
    assert all(line["code"] not in url for line in result[:10] for url in walk.requested)
    assert [note for note in walk.objections if "net::ERR_FAILED" not in note] == []


def test_without_a_script_the_same_is_done_by_hand(served: Served, chromium: Browser, tmp_path: Path) -> None:
    page = chromium.new_context(locale="en-GB", java_script_enabled=False).new_page()
    page.goto(served.link())
    page.get_by_role("main").get_by_role("button").click()
    page.goto(f"{served.address}/portal/bulk/")
    choose(page, FILE | {"buffer": b"testDate\n" + b"2026-06-14\n" * 30})
    page.get_by_role("button", name="Create the codes").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("All codes are made")
    assert len(result_of(page, tmp_path)) == len(live(served)) == 30


@pytest.mark.parametrize("language", ["zh", "en"])
def test_its_pages_are_accessible_and_fit(served: Served, chromium: Browser, language: str) -> None:
    walk = walk_of(chromium, language, f"bulk-{language}")
    page = walk.page
    walk.sign_in(served)
    page.goto(f"{served.address}/portal/bulk/")
    walk.look("0-form")
    choose(page, FILE | {"buffer": b"testDate,language\nyesterday,zh\n2026-06-14,tlh\n"})
    page.locator("#bulk button").click()
    expect(page.get_by_role("alert")).to_be_focused()
    walk.look("1-faults")
    choose(page, FILE | {"buffer": b"testDate\n2026-06-14\n"})
    page.locator("#bulk button").click()
    expect(page.locator("#job")).to_have_attribute("data-done", "1")
    walk.look("2-job")
    page.goto(f"{served.address}/portal/quota")
    page.locator("details summary").click()
    walk.look("3-quota")
    page.locator("[name=whose][value=own]").check()
    page.locator("#amount").fill("0")
    page.locator("form[action$='/ask'] button").click()
    expect(page.get_by_role("alert")).to_be_focused()
    walk.look("4-quota-with-errors")
    assert walk.objections == []
