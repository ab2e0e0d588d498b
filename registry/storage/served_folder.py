"""A local folder laid out so that a plain web server can serve it, without any code of ours in between.

A file that is replaced gets its time from its content instead of from the clock, so that the web server's
own ETag can be computed by whoever holds the content. A file worth compressing has a compressed twin beside
it. Both are for readers over HTTP only: no method ever shows a twin.
"""

import fcntl
import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.storage import TWIN
from registry.storage.local import LocalStorage


class ServedFolder(LocalStorage):
    """A `LocalStorage` for a web server. `file_time` gives a replaced file's time by its content, in unix
    seconds; `is_compressed` tells by path which files have a twin.
    """

    def __init__(
        self, root: Path, *, file_time: Callable[[bytes], int], is_compressed: Callable[[str], bool]
    ) -> None:
        super().__init__(root)
        self._file_time = file_time
        self._is_compressed = is_compressed

    def put_new(self, path: str, content: bytes) -> bool:
        compressed = self._is_compressed(path)
        stored = super().put_new(path, content)
        # A crash before this leaves a file without a twin, which is served as it is.
        if stored and compressed:
            self._replace(_twin(self._locate(path)), gzip.compress(content, mtime=0))
        return stored

    def replace(self, path: str, content: bytes) -> None:
        target = self._locate(path)
        time = self._file_time(content)
        if not self._is_compressed(path):
            self._replace(target, content, modified_at=time)
            return
        self._ensure_folder(target.parent)
        # Twin and file change together, whoever else writes. The twin goes first: a crash in between leaves
        # an old file, which the next run replaces again. The other way round it would find nothing to do,
        # and the old twin would be served on.
        with _alone(target.parent):
            self._replace(_twin(target), gzip.compress(content, mtime=0), modified_at=time)
            self._replace(target, content, modified_at=time)

    def delete(self, path: str) -> None:
        # The twin first: alone it would still be served.
        _twin(self._locate(path)).unlink(missing_ok=True)
        super().delete(path)


def _twin(target: Path) -> Path:
    return target.with_name(f"{target.name}{TWIN}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other process or thread into such a block for the same folder; ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
