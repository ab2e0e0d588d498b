"""A token that every test of this folder may ask for, fresh and empty."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry.signing.pkcs11_token import Pkcs11Token
from tests.softhsm import PIN, SoftToken, make_token


@pytest.fixture
def soft_token(
    system_tool: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SoftToken:
    """A token of SoftHSM that nobody has logged in to."""
    token = make_token(system_tool("softhsm2-util"), tmp_path / "softhsm")
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.configuration))
    return token


@pytest.fixture
def open_token(soft_token: SoftToken) -> Iterator[Pkcs11Token]:
    """The same, logged in to."""
    token = Pkcs11Token.open(soft_token.place.module, soft_token.place.label, PIN)
    yield token
    token.close()
