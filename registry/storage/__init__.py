"""Where public files lie. A name that `put_new` has filled is never given other bytes.

Paths are relative, in POSIX form, as `protocol/index.py` builds them. What lies here is public: nothing
secret may ever be handed to a storage.
"""

from typing import Protocol


class Storage(Protocol):
    """A folder or a bucket. Every write is whole or absent, and durable when the call returns.

    Every method raises Malformed for a path that is absolute, climbs with `..` or is not in plain form.
    """

    def put_new(self, path: str, content: bytes) -> bool:
        """Store under a free name and return True; False, and nothing changed, if something lies there."""
        ...

    def replace(self, path: str, content: bytes) -> None:
        """Store under `path`, whatever lay there. A reader sees the old bytes or the new, never a mixture."""
        ...

    def read(self, path: str) -> bytes | None:
        """The whole content, or None if nothing lies there."""
        ...

    def delete(self, path: str) -> None:
        """Make sure that nothing lies under `path`."""
        ...

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        """All paths that begin with `prefix` (a string, not a folder), sorted.

        Not `deep`: only those with no further folder in them, whatever lies in folders is not looked at.
        """
        ...
