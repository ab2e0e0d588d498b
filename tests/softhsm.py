"""A PKCS#11 token of SoftHSM 2 in a folder of its own, as an operator would make one."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from registry.signing.key_place import TokenPlace

LABEL, PIN = "registry", "4711-test"

MODULES = ("lib/softhsm/libsofthsm2.so", "lib/*/softhsm/libsofthsm2.so", "lib*/**/libsofthsm2.so")

CONFIGURATION = """\
directories.tokendir = {folder}
objectstore.backend = file
log.level = ERROR
"""


@dataclass(frozen=True)
class SoftToken:
    """A token that was made; its module finds it through the variable SOFTHSM2_CONF."""

    folder: Path
    """Where the token's own files lie; taking it away takes the token away."""
    configuration: Path
    """What SOFTHSM2_CONF must name."""
    place: TokenPlace
    """What the settings say of it."""


def make_token(softhsm2_util: str, folder: Path) -> SoftToken:
    """A new token called LABEL with the user PIN in PIN. `softhsm2_util` is that program's path."""
    tokens, configuration, pin_file = folder / "tokens", folder / "softhsm2.conf", folder / "pin"
    tokens.mkdir(parents=True)
    configuration.write_text(CONFIGURATION.format(folder=tokens))
    pin_file.touch(mode=0o600)
    pin_file.write_text(f"{PIN}\n")
    subprocess.run(
        [softhsm2_util, "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "0815-test"],
        env={"SOFTHSM2_CONF": str(configuration)},
        check=True,
        capture_output=True,
    )
    return SoftToken(tokens, configuration, TokenPlace(module_beside(softhsm2_util), LABEL, pin_file))


def module_beside(softhsm2_util: str) -> Path:
    """The library of the same installation: Debian keeps it in lib/softhsm, others in lib."""
    prefix = Path(softhsm2_util).resolve().parent.parent
    found = next((path for pattern in MODULES for path in sorted(prefix.glob(pattern))), None)
    assert found, f"{softhsm2_util} is there, its library libsofthsm2.so is not"
    return found
