"""Where the settings say that the keys lie, and the one function that opens them there."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from registry.errors import ConfigurationError
from registry.signing import KeyRing
from registry.signing.key_file import read_private
from registry.signing.keyring import FilesKeyRing


@dataclass(frozen=True)
class TokenPlace:
    """Which PKCS#11 token holds the export and log keys."""

    module: Path
    """The vendor's shared library, such as libsofthsm2.so."""
    label: str
    """The token's label."""
    pin_file: Path
    """A file of mode 0600 with the user PIN in one line."""


def open_key_ring(keys_dir: Path, token: TokenPlace | None = None) -> KeyRing:
    """The ring of keys in `keys_dir`, or with export and log keys in `token` and the rest in `keys_dir`.

    Open it once a process and keep it: a token has one session a process. Raises ConfigurationError if
    the token, its module, its PIN or the software for it is not there.
    """
    files = FilesKeyRing(keys_dir)
    if token is None:
        return files
    try:
        # By name and not above: who keeps keys in files need not install what talks to tokens.
        tokens = import_module("registry.signing.pkcs11_key")
    except ModuleNotFoundError as error:
        if error.name != "pkcs11":
            raise
        raise ConfigurationError(
            "keys in a PKCS#11 token need the package python-pkcs11: "
            "in the registry's folder, .venv/bin/pip install '.[pkcs11]'"
        ) from error
    ring: KeyRing = tokens.open_token_ring(token.module, token.label, read_pin(token.pin_file), files)
    return ring


def read_pin(path: Path) -> str:
    """The PIN in `path`. Raises ConfigurationError if it is missing, open to others or not one line."""
    try:
        pin = read_private(path).decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} does not hold a PIN in UTF-8") from error
    if not pin or "\n" in pin:
        raise ConfigurationError(f"{path} must hold the token's user PIN in one line")
    return pin
