"""The README's walk, word for word, to an orange card: real registry, real browser, the commands as written.

Only three things differ from a person at a desk: the port, the answers typed at the upload's prompts, and
that the end of the window is awaited instead of slept for.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.visit import Visit
from tests.running import Running

ROOT = Path(__file__).parent.parent.parent


def commands_of_the_readme() -> list[str]:
    """Every line of the code blocks in the walk's section, in order."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## From an official's word to an orange card")[1].split("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```", section, re.S | re.M)
    return [line for block in blocks for line in block.splitlines() if line]


class Desk:
    """A terminal in a folder that looks like a fresh clone after `make run`."""

    def __init__(self, folder: Path, registry: Running) -> None:
        self.folder = folder
        self.registry = registry
        (folder / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)

    def type(self, command: str, answers: str = "") -> str:
        """Run one line as it stands, but for the port; its output."""
        done = subprocess.run(
            ["bash", "-c", command.replace(":8000", f":{self.registry.port}")],
            cwd=self.folder,
            input=answers,
            capture_output=True,
            text=True,
            env=os.environ,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    registry = Running(tmp_path / "var", REGISTRY_WINDOW_SECONDS="15").start()
    yield Desk(tmp_path, registry)
    registry.stop()


def a_code_from_the_portal(desk: Desk, chromium: Browser) -> str:
    page = chromium.new_context(locale="en-GB").new_page()
    page.set_default_timeout(30_000)
    page.goto(desk.registry.first_run["portal_sign_in_url"])
    page.get_by_role("main").get_by_role("button").click()
    # The second of the answers: tested yesterday.
    page.locator("[name=tested]").nth(1).check()
    page.locator("[name=consent_language][value=en]").check()
    page.locator("[name=consent_channel][value=phone]").check()
    page.locator("main form button[type=submit]").click()
    return " ".join(page.locator(".code").inner_text().split())


def test_the_walk_of_the_readme_ends_at_an_orange_card(desk: Desk, chromium: Browser) -> None:
    cards = []
    for command in commands_of_the_readme():
        if command.startswith("sleep"):
            desk.registry.wait_until(desk.registry.file_names)
        elif command.endswith("upload"):
            said = desk.type(command, f"{a_code_from_the_portal(desk, chromium)}\ny\n")
            assert "Keys taken in: 15." in said, "of fourteen days and of today"
        elif command.endswith("card"):
            cards.append(desk.type(command))
        else:
            desk.type(command)
    before, after = cards
    assert before.upper().startswith("GREEN")
    assert after.upper().startswith("ORANGE")
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86_400))
    assert day in after
    assert "test" in after
    for card in cards:
        assert "STAGED" in card.upper()
        assert "NOT FOR REAL PEOPLE" in card.upper()


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_front_page_and_auditors_page_are_accessible_and_fit(
    desk: Desk, chromium: Browser, locale: str
) -> None:
    visit = Visit(chromium.new_context(locale=locale, reduced_motion="reduce"), f"audit-{locale}")
    for path, what in (("/", "doors"), ("/audit/", "batches")):
        visit.page.goto(f"{desk.registry.first_run['base_url']}{path}")
        visit.look(what)
    assert visit.objections == []
    assert visit.page.locator("html").get_attribute("lang") == {"en-GB": "en", "zh-CN": "zh-Hans"}[locale]
