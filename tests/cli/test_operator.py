"""What an operator does by command: keys, links, other authorities, publishing once, retiring."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.cli import main
from registry.cli.first_run import prepare
from registry.config import Settings, read_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A prepared folder, and an environment that points at it."""
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(tmp_path / "var"))
    found = read_settings()
    # The commands read the machine's clock, so the keys must be live by it.
    prepare(found, time.time)
    return found


@pytest.fixture
def registry(settings: Settings) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main, list(words))


def test_rotation_makes_a_key_that_signs_beside_the_old_one(
    registry: Callable[..., Result], settings: Settings
) -> None:
    assert registry("publish").exit_code == 0
    before = trust(settings)
    said = registry("keys", "rotate")
    assert said.exit_code == 0
    assert "XA_export-2 signs from now on" in said.output
    assert registry("publish").exit_code == 0
    after = trust(settings)
    assert len(before) == 1
    assert [key["key_version"] for key in after] in (["1", "2"], ["2", "1"])
    listed = registry("keys", "list").output
    assert listed.count("live") == 2
    assert (settings.keys_dir / "export" / "XA_export-2.pem").stat().st_mode & 0o077 == 0


def trust(settings: Settings) -> list[dict[str, str]]:
    text = (settings.public_dir / ".well-known" / "exposure-registry.json").read_text()
    keys: list[dict[str, str]] = json.loads(text)["export_signing_keys"]
    return keys


def test_without_a_live_signer_nothing_is_published_and_the_operator_is_told(
    registry: Callable[..., Result], settings: Settings
) -> None:
    (settings.keys_dir / "export" / "XA_export-1.pem").rename(settings.data_dir / "lost.pem")
    said = registry("publish")
    assert said.exit_code == 1
    assert "nothing is published" in said.output
    assert "missing" in registry("keys", "list").output


def test_a_fresh_link_signs_the_first_official_in(registry: Callable[..., Result]) -> None:
    first, second = registry("official", "link").output, registry("official", "link").output
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/portal/sign-in/[\w-]{43}\n", first)
    assert first != second
    assert registry("official", "link", "--id", "nobody").exit_code == 1


def test_another_authority_is_registered_by_its_public_key(
    registry: Callable[..., Result], tmp_path: Path
) -> None:
    pem = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "theirs.pem").write_bytes(pem)
    words = ["authority", "add", "org.other", "--issuer", "i", "--audience", "a", "--region", "XB"]
    said = registry(*words, "--public-key", f"k1={tmp_path / 'theirs.pem'}")
    assert said.exit_code == 0, said.output
    assert registry("publish").exit_code == 0

    bad = registry(*words, "--public-key", f"k1={tmp_path / 'nowhere.pem'}")
    assert bad.exit_code == 2
    assert "nowhere.pem" in bad.output


def test_retiring_says_what_is_gone(registry: Callable[..., Result]) -> None:
    said = registry("retire")
    assert said.exit_code == 0
    assert "keys: 0" in said.output
    assert "codes: 0" in said.output


def test_every_command_explains_itself(registry: Callable[..., Result]) -> None:
    listed = registry("--help").output
    for command in ("run", "publish", "retire", "official", "keys", "authority", "phone"):
        assert command in listed
        assert registry(command, "--help").exit_code == 0


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PORT", "eighty")
    said = CliRunner().invoke(main, ["run"])
    assert said.exit_code == 1
    assert "REGISTRY_PORT" in said.output
