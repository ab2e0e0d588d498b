"""The browser of these tests."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture
def chromium(system_tool: Callable[[str], str]) -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    with sync_playwright() as playwright:
        # No sandbox inside the test's container; the only pages are ours.
        browser = playwright.chromium.launch(executable_path=system_tool("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()
