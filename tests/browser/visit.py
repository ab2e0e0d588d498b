"""Looking at pages as people do, narrow and wide, by day and by night, and as axe does.

With REGISTRY_TEST_SCREENSHOTS set to a folder, each page leaves a picture there for people to look at.
"""

import os
from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import BrowserContext, Page

WIDTHS = (320, 1280)
ALL_RULES = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"],
}
SCHEMES: dict[Literal["light", "dark"], dict[str, object]] = {
    "light": ALL_RULES,
    # Nothing but colours changes by night.
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}


class Visit:
    """Somebody at one browser. Gathers what axe, the layout and the console object to."""

    def __init__(self, context: BrowserContext, name: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(20_000)
        self.name = name
        self.objections: list[str] = []
        self.requested: set[str] = set()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.objections.append(f"script: {error}"))
        self.page.on("request", lambda request: self.requested.add(request.url))

    def _note(self, kind: str, text: str) -> None:
        # That a refused form came back with a 4xx is told on the console too, and is no fault.
        if kind in {"error", "warning"} and "responded with a status of 4" not in text:
            self.objections.append(f"console: {text}")

    def look(self, what: str) -> None:
        """Examine the page as it stands, narrow and wide, by day and by night."""
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            for scheme, rules in SCHEMES.items():
                self.page.emulate_media(color_scheme=scheme)
                self._examine(f"{what}-{width}-{scheme}", rules)

    def _examine(self, what: str, rules: dict[str, object]) -> None:
        result = Axe().run(self.page, options={"runOnly": rules, "resultTypes": ["violations"]})
        for violation in result.response["violations"]:
            targets = [node["target"] for node in violation["nodes"]]
            self.objections.append(f"{what}: {violation['id']}: {violation['help']} at {targets}")
        if self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            self.objections.append(f"{what}: scrolls sideways")
        folder = os.environ.get("REGISTRY_TEST_SCREENSHOTS")
        if folder:
            self.page.screenshot(path=Path(folder) / f"{self.name}-{what}.png", full_page=True)
