"""`registry republish --check` and `registry why`: what an operator reads, and the exit codes."""

import json
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.cli import main
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings
from registry.models import DiagnosisKey, open_database


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A prepared folder whose every window has a file, of decoy users."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("REGISTRY_FLOOR", "10")
    monkeypatch.setenv("REGISTRY_SLOT_SECONDS", "60")
    made = read_settings()
    prepare(made, time.time)
    return made


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    """The command, on that registry."""
    return lambda *words: CliRunner().invoke(main, list(words))


def test_what_was_published_is_compared_and_what_differs_is_named(
    registry: Callable[..., Result], settings: Settings
) -> None:
    assert registry("publish").exit_code == 0
    said = registry("republish", "--check")
    assert said.exit_code == 0, said.output
    assert "2 of 2 files are what the rows make." in said.output
    (path,) = settings.public_dir.glob("exposures/XA/*.compact")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"junk")
    said = registry("republish", "--check")
    assert said.exit_code == 1
    assert f"XA/{path.name} is not the file on record" in said.output
    assert "1 of 2 files are what the rows make." in said.output


def test_a_key_is_asked_about_by_its_hash(registry: Callable[..., Result], settings: Settings) -> None:
    assert registry("publish").exit_code == 0
    engine = open_database(settings.collecting_database_url)
    with Session(engine) as session:
        key_data = session.scalars(select(DiagnosisKey.key_data).limit(1)).one()
    engine.dispose()
    name = sha256(key_data).hexdigest()
    said = registry("why", name)
    assert said.exit_code == 0, said.output
    assert said.output.startswith("This key is for XA.")
    told = json.loads(registry("why", name, "--json").output)
    assert (told["what"], told["receipt_window"]) == ("key", None)
    nothing = registry("why", "0" * 64)
    assert nothing.exit_code == 1
    assert "nothing is known under it" in nothing.output
    assert registry("why", "0" * 63).exit_code == 2
