"""Where the settings say that keys lie: files, or a token whose PIN only we can read."""

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.errors import ConfigurationError
from registry.signing import key_place
from registry.signing.key_place import TokenPlace, open_key_ring, read_pin
from registry.signing.keyring import FilesKeyRing
from registry.signing.pkcs11_key import TokenKeyRing
from registry.signing.pkcs11_token import Pkcs11Token
from tests.softhsm import PIN, SoftToken


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin.txt"
    path.touch(mode=0o600)
    return path


@pytest.fixture
def logged_out() -> Iterator[None]:
    yield
    if Pkcs11Token._of_process is not None:
        Pkcs11Token._of_process.close()


def test_without_a_token_keys_lie_in_files(tmp_path: Path) -> None:
    assert isinstance(open_key_ring(tmp_path), FilesKeyRing)


@pytest.mark.usefixtures("logged_out")
def test_with_a_token_they_lie_there(soft_token: SoftToken, tmp_path: Path) -> None:
    ring = open_key_ring(tmp_path, soft_token.place)
    assert isinstance(ring, TokenKeyRing)
    ring.create_export_key("XA_export", "1")
    # A second part of the same process that asks gets the same token, not a second login.
    assert [s.key_version for s in open_key_ring(tmp_path, soft_token.place).export_signers()] == ["1"]


@pytest.mark.usefixtures("logged_out")
def test_a_token_with_a_wrong_pin_or_no_pin_is_refused(soft_token: SoftToken, tmp_path: Path) -> None:
    soft_token.place.pin_file.write_text("wrong-pin\n")
    with pytest.raises(ConfigurationError, match="refuses the PIN"):
        open_key_ring(tmp_path, soft_token.place)
    with pytest.raises(ConfigurationError, match="cannot read"):
        open_key_ring(tmp_path, replace(soft_token.place, pin_file=tmp_path / "none"))


def test_a_pin_is_one_line_with_or_without_its_end(pin_file: Path) -> None:
    for content in (PIN, f"{PIN}\n"):
        pin_file.write_text(content)
        assert read_pin(pin_file) == PIN


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
def test_what_is_no_pin_is_refused_and_never_quoted(pin_file: Path, content: bytes) -> None:
    pin_file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refusal:
        read_pin(pin_file)
    assert "one" not in str(refusal.value).replace("one line", "")


def test_a_pin_that_others_can_read_is_refused(pin_file: Path) -> None:
    pin_file.write_text(PIN)
    pin_file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_pin(pin_file)


def test_without_the_software_for_tokens_the_refusal_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pin_file: Path
) -> None:
    missing = "pkcs11"

    def no_such_package(_name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    monkeypatch.setattr(key_place, "import_module", no_such_package)
    place = TokenPlace(Path("lib.so"), "registry", pin_file)
    with pytest.raises(ConfigurationError, match=r"pip install .*\[pkcs11\]"):
        open_key_ring(tmp_path, place)
    # A module of ours that is missing is a fault of ours and is not blamed on the operator.
    missing = "registry.signing.pkcs11_key"
    with pytest.raises(ModuleNotFoundError):
        open_key_ring(tmp_path, place)
    assert isinstance(open_key_ring(tmp_path), FilesKeyRing)
    assert importlib.import_module("registry.signing.pkcs11_key")
