"""The data folder: what it was made for, once and for all, and the secrets that it keeps in plain files.

A folder that was made for a demonstration must never sign for real people, nor one log's keys for another.
"""

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from registry.config import Settings
from registry.errors import ConfigurationError

FOLDER_MARK = "registry.json"
RECALL_KEY, RECALL_PUBLIC_KEY = "recall.key", "recall.pub"
"""The portal's own, which opens recall handles, and what seals them: all that the device face may read."""


def read_log_origin(settings: Settings) -> str:
    """The log's origin, fixed when the folder was made. Raises ConfigurationError if it has none yet."""
    made_for = json.loads((settings.data_dir / FOLDER_MARK).read_text())
    if "log_origin" not in made_for:
        raise ConfigurationError(
            f"{settings.data_dir} was made before there was a log: `registry run` once gives it one"
        )
    return str(made_for["log_origin"])


def check_folder(settings: Settings) -> None:
    """Raises ConfigurationError unless the data folder was made for this profile, region and authority."""
    try:
        made_for = json.loads((settings.data_dir / FOLDER_MARK).read_text())
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{settings.data_dir} is no registry's folder yet: `registry run` makes it one"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{settings.data_dir / FOLDER_MARK} is not a registry's") from error
    wanted = folder_mark(settings)
    if settings.log_origin is not None and "log_origin" in made_for:
        wanted["log_origin"] = settings.log_origin
    for name, value in wanted.items():
        if made_for.get(name) != value:
            raise ConfigurationError(
                f"{settings.data_dir} belongs to a {made_for.get('profile')} registry with "
                f"{name} {made_for.get(name)}, and the settings say {value}: "
                "name another folder with REGISTRY_DATA_DIR"
            )


def folder_mark(settings: Settings) -> dict[str, str]:
    """What a data folder is made for, once: demonstration keys must never sign for real people."""
    return {
        "profile": settings.profile,
        "region": settings.region,
        "health_authority_id": settings.health_authority_id,
    }


def read_secret(path: Path) -> bytes:
    """A 32-byte secret, kept as hexadecimal in a file that only its owner may read."""
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(f"{path} may be read by others: chmod 600 {path}")
    secret = bytes.fromhex(path.read_text().strip())
    if len(secret) != 32:
        raise ConfigurationError(f"{path} does not hold 32 bytes")
    return secret


def read_recall_key(keys_dir: Path) -> X25519PrivateKey:
    """The portal's alone: who has it and the issuing database can tell which upload came of which statement,
    if the collecting database is theirs too.
    """
    return X25519PrivateKey.from_private_bytes(read_secret(keys_dir / RECALL_KEY))


def read_recall_public_key(keys_dir: Path) -> X25519PublicKey:
    """The public half, kept as hexadecimal. Raises ConfigurationError."""
    path = keys_dir / RECALL_PUBLIC_KEY
    try:
        return X25519PublicKey.from_public_bytes(bytes.fromhex(path.read_text().strip()))
    except (FileNotFoundError, ValueError) as error:
        raise ConfigurationError(f"{path} holds no public key: `registry run` once writes it") from error
