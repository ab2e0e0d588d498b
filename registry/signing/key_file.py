"""Files that hold a secret: read only if nobody else can touch them, made once, durable, never written over.

The mode is the lock: anything looser than 0600 is refused. No error ever quotes what a file holds.
"""

import os
import secrets
import stat
from pathlib import Path

from registry.errors import ConfigurationError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_FILE_BYTES = 10_000


def read_private(path: Path) -> bytes:
    """The first 10,000 bytes of `path`. Raises ConfigurationError if it is missing or open to others."""
    try:
        with path.open("rb") as file:
            # Asked of the open file, not of its name: nobody can swap the one for the other in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & _OTHERS:
                raise ConfigurationError(
                    f"{path} can be used by others (mode {mode:04o}); run: chmod 600 {path}"
                )
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(f"cannot read the secret in {path}: {error.strerror}") from error


def create_private(path: Path, content: bytes) -> None:
    """Put `content` into a new file `path`, mode 0600, durable when this returns.

    Its folder is made if need be, mode 0700. Raises ConfigurationError if anything lies there already: a
    signing key is never written over.
    """
    _make_folder(path.parent)
    # Written aside and linked: a crash leaves either no key or a whole one, never half a key under its name.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(aside, path)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists already; a signing key is never written over") from error
    finally:
        aside.unlink()
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
