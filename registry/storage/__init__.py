"""Where public files lie. A name that `put_new` has filled is never given other bytes.

Paths are relative, in POSIX form, as `protocol/index.py` builds them. What lies here is public: nothing
secret may ever be handed to a storage.
"""

from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

from registry.errors import Malformed

TEMPORARY = ".tmp-"
"""What a file's name begins with that is still being written. Never shown, never a public name."""
TWIN = ".gz"
"""What is added to a file's name for its compressed twin, where one is kept. Never a public name either."""
PIECE_BYTES = 1 << 20
"""Long files are read and written in pieces of this size."""


class Storage(Protocol):
    """A folder or a bucket. Every write is whole or absent, and durable when the call returns.

    Every method raises Malformed for a path that is absolute, climbs with `..` or is not in plain form;
    StorageUnavailable, or an OSError of the disk, if the place cannot be used. After such an error a write
    may or may not have been done: whoever calls again adopts what lies there if it fits.
    """

    def put_new(self, path: str, content: bytes) -> bool:
        """Store under a free name and return True; False, and nothing changed, if something lies there.

        What lies there may be these very bytes, stored by a try whose answer was lost: compare.
        """
        ...

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        """`put_new` with all bytes of a file that can be sought in. Memory holds only pieces of it."""
        ...

    def replace(self, path: str, content: bytes) -> None:
        """Store under `path`, whatever lay there. A reader sees the old bytes or the new, never a mixture."""
        ...

    def read(self, path: str) -> bytes | None:
        """The whole content, or None if nothing lies there."""
        ...

    def open_file(self, path: str) -> BinaryIO | None:
        """The content as a file to be read in pieces and closed, or None if nothing lies there.

        Other bytes that take the name meanwhile are never mixed in: reading goes on in the old ones, or
        raises StorageUnavailable.
        """
        ...

    def delete(self, path: str) -> None:
        """Make sure that nothing lies under `path`."""
        ...

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        """All paths that begin with `prefix` (a string, not a folder), sorted.

        Not `deep`: only those with no further folder in them, whatever lies in folders is not looked at.
        """
        ...


def path_parts(path: str) -> tuple[str, ...]:
    """The parts of a public path, the same for every storage. Raises Malformed for any other."""
    parts = PurePosixPath(path).parts
    plain = path == "/".join(parts) and "\\" not in path and "\0" not in path
    kept_apart = any(part == ".." or part.startswith(TEMPORARY) or part.endswith(TWIN) for part in parts)
    if not plain or not parts or kept_apart:
        raise Malformed(f"not a path within the public files: {path!r}")
    return parts
