"""Documents that fail the build when they no longer say what is so."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from registry.config import setting_names
from registry.models import CollectingBase, IssuingBase

ROOT = Path(__file__).parent.parent


def test_the_inventory_names_every_column_and_no_other() -> None:
    columns = {
        f"{table.name}.{column.name}"
        for base in (IssuingBase, CollectingBase)
        for table in base.metadata.tables.values()
        for column in table.columns
    }
    named = re.findall(r"^\| `([a-z_]+\.[a-z0-9_]+)` \|", (ROOT / "docs/data-inventory.md").read_text(), re.M)
    assert sorted(named) == sorted(columns)


def test_every_step_of_a_keys_life_links_to_a_function_that_exists() -> None:
    text = (ROOT / "docs/life-of-a-key.md").read_text()
    links = re.findall(r"\]\(\.\./(registry/[a-z_/]+\.py)\) `([A-Za-z_.]+)`", text)
    assert len(links) >= 12
    for path, name in links:
        module = import_module(path.removesuffix(".py").replace("/", ".").removesuffix(".__init__"))
        target: object = module
        for part in name.split("."):
            target = getattr(target, part)
        assert callable(target), f"{path} {name}"


@pytest.mark.parametrize("name", setting_names())
def test_readme_or_settings_page_explains_every_setting(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/settings.md").read_text()


def test_readme_names_every_command_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M)
    readme = (ROOT / "README.md").read_text()
    assert targets
    assert [t for t in targets if f"make {t}" not in readme] == []
