"""The auditors' pages over a real registry: what it publishes is there, and the recipe works without ours."""

import html
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.app_of_old import fresh_keys
from tests.running import Running
from tests.world import World

TWO_DAYS = 2 * 86_400


def test_the_list_shows_every_file_of_every_region_with_its_digest(world: World) -> None:
    assert "No window has been published yet" in world.client.get("/audit/").text
    world.app().upload(world.issue()["code"], fresh_keys(world.clock()))
    world.next_window()
    world.next_window()
    page = world.client.get("/audit/batches").text
    files = [file for window in world.index()["windows"] for file in window["files"]]
    assert sorted(file["format"] for file in files) == ["compact", "gaen-zip"]
    for file in files:
        assert f'href="/exposures/{file["path"]}"' in page
        assert file["sha256"] in page
    assert "no keys" in page, "the window without keys is there too"


def test_a_registry_that_has_just_begun_has_a_log_in_order(world: World) -> None:
    page = world.client.get("/audit/").text
    assert "No alarms" in page
    assert world.first_run["trust_fingerprint"] in page


def test_the_front_page_has_three_doors_in_both_languages(world: World) -> None:
    for language, words in (
        ("en", ("Health officials", "Phones", "Auditors")),
        ("zh", ("卫生人员", "手机", "审计者")),
    ):
        page = world.client.get("/", headers={"Accept-Language": language}).text
        assert all(word in page for word in words)
        for door in ("/portal/", "/.well-known/exposure-registry.json", "/audit/"):
            assert f'href="{door}"' in page


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Running]:
    running = Running(
        tmp_path / "var", REGISTRY_WINDOW_SECONDS="1", REGISTRY_ANSWER_HOLD_MILLISECONDS="0"
    ).start()
    yield running
    running.stop()


def test_the_recipe_on_the_page_verifies_the_newest_file(
    registry: Running, tmp_path: Path, system_tool: Callable[[str], str]
) -> None:
    for tool in ("curl", "openssl", "unzip"):
        system_tool(tool)
    app, day = registry.app(), time.strftime("%Y-%m-%d", time.gmtime(time.time() - TWO_DAYS))
    issue = {"testType": "confirmed", "testDate": day}
    code = app.post("/api/issue", issue, registry.first_run["admin_api_key"]).body["code"]
    assert app.upload(code, fresh_keys(time.time() - TWO_DAYS)).status == 200
    registry.wait_until(registry.file_names)
    # A key that is newer than the file must not be taken for the one that signed it.
    rotate = [sys.executable, "-m", "registry.cli", "keys", "rotate"]
    subprocess.run(rotate, env=registry.environment, check=True, capture_output=True)
    registry.wait_until(lambda: b"XA_export-2" in registry.get("/audit/downloads"))
    page = registry.get("/audit/").decode()
    recipe = re.search(r'<pre id="verify"[^>]*>(.*?)</pre>', page, re.S)
    assert recipe
    done = subprocess.run(
        ["bash", "-euc", html.unescape(recipe[1])], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == "Verified OK", done.stderr
