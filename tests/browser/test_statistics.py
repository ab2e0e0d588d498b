"""The page of figures in a real browser: narrow and wide, by day and by night, in both languages."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy.orm import Session

from registry.lifecycle.statistics import keep_figures, last_day_over
from registry.models import Official, transaction
from registry.models.official import Permission, permission_text
from tests.browser.test_portal import Served, walk_of
from tests.clock import FakeClock


@pytest.fixture
def served(tmp_path: Path, clock: FakeClock) -> Iterator[Served]:
    """A portal with a month of figures, for one who may see them."""
    with closing(Served(tmp_path / "issuing.sqlite", clock)) as portal:
        with Session(portal.engine) as session, transaction(session):
            official = session.get_one(Official, "official-1")
            official.permission_text = permission_text({Permission.STATISTICS})
            for back in range(28):
                day = last_day_over(clock()) - timedelta(days=back)
                shown = {} if back % 4 == 3 else {"all": 400 - 10 * back}
                for name in ("redeemed", "certified", "uploads", "expired"):
                    keep_figures(session, "a", day, name, shown)
                keep_figures(session, "a", day, "regions", {"XA-AA": 1234567, "XB": 20})
        yield portal


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_figures_are_accessible_and_fit(served: Served, chromium: Browser, language: str) -> None:
    walk = walk_of(chromium, language, f"statistics-{language}")
    page = walk.page
    page.goto(served.link())
    page.get_by_role("main").get_by_role("button").click()
    page.goto(f"{served.address}/portal/statistics/")
    page.locator("#days").select_option("28")
    page.locator("main form button").press("Enter")
    expect(page.locator("#days")).to_have_value("28")
    walk.look("28-days")
    assert walk.objections == []
