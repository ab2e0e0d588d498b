"""Public files in a local folder, served from there by the public face or any web server.

Every write goes to a temporary file beside its goal, is synced, and takes its name in one step; then the
folder is synced. A process killed at any instruction leaves the old state, or the new one, or the old one
and a temporary file that no reader is shown and that the next writer sweeps away.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from registry.storage import PIECE_BYTES, TEMPORARY, TWIN, path_parts


class LocalStorage:
    """A `Storage` below `root`, which is created when first written to. Safe for many writers at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._synced_folders: set[Path] = set()
        self._swept = False

    def put_new(self, path: str, content: bytes) -> bool:
        return self.put_new_file(path, BytesIO(content))

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        target = self._locate(path)
        source.seek(0)
        with self._written_aside(target, source) as aside:
            try:
                # link(2) gives the name in one step and fails if it is taken: no look before the leap.
                os.link(aside, target)
                stored = True
            except FileExistsError:
                stored = False
            aside.unlink()
            # Also when the name was taken: whoever took it may have died before this very line, and our
            # caller is about to rely on what lies there.
            _sync_folder(target.parent)
        return stored

    def replace(self, path: str, content: bytes) -> None:
        self._replace(self._locate(path), content)

    def read(self, path: str) -> bytes | None:
        file = self.open_file(path)
        if file is None:
            return None
        with file:
            return file.read()

    def open_file(self, path: str) -> BinaryIO | None:
        try:
            return self._locate(path).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def delete(self, path: str) -> None:
        target = self._locate(path)
        target.unlink(missing_ok=True)
        # Also when it was gone: an earlier deletion may not have reached the disk.
        if target.parent.is_dir():
            _sync_folder(target.parent)

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        folder = prefix.rpartition("/")[0]
        start = self._locate(folder) if folder else self._root
        folders = os.walk(start)
        found = (
            (Path(where) / name).relative_to(self._root).as_posix()
            for where, _, files in (folders if deep else islice(folders, 1))
            for name in files
            if not name.startswith(TEMPORARY) and not name.endswith(TWIN)
        )
        return sorted(name for name in found if name.startswith(prefix))

    def _locate(self, path: str) -> Path:
        return self._root.joinpath(*path_parts(path))

    def _replace(self, target: Path, content: bytes, *, modified_at: int | None = None) -> None:
        """Give the name other bytes, and their file the time `modified_at` (unix seconds) instead of now."""
        with self._written_aside(target, BytesIO(content), modified_at) as aside:
            aside.replace(target)
            _sync_folder(target.parent)

    @contextmanager
    def _written_aside(
        self, target: Path, source: BinaryIO, modified_at: int | None = None
    ) -> Iterator[Path]:
        """A synced temporary file with the bytes of `source` beside `target`; a crash leaves it behind."""
        self._ensure_folder(target.parent)
        if not self._swept:
            _sweep(self._root)
            self._swept = True
        descriptor, aside = _open_temporary(target.parent)
        with os.fdopen(descriptor, "wb") as file:
            try:
                shutil.copyfileobj(source, file, PIECE_BYTES)
                file.flush()
                if modified_at is not None:
                    os.utime(descriptor, (modified_at, modified_at))
                os.fsync(descriptor)
                yield aside
            except BaseException:
                aside.unlink(missing_ok=True)
                raise

    def _ensure_folder(self, folder: Path) -> None:
        """Create `folder`; every level's entry is synced once in the life of this object.

        Once, and not only when we made it: a process that died between mkdir and sync left a folder that
        a power cut may still take away, with the files in it.
        """
        if folder in self._synced_folders:
            return
        if folder != self._root:
            self._ensure_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
        self._synced_folders.add(folder)


def _open_temporary(folder: Path) -> tuple[int, Path]:
    """A new temporary file, locked for as long as it is open, which tells a sweeper that its writer lives."""
    while True:
        path = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_there = os.fstat(descriptor).st_nlink
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if is_there:
            return descriptor, path
        # A sweeper came between the two calls and took the file for a dead writer's.
        os.close(descriptor)


def _sweep(root: Path) -> None:
    """Remove temporary files whose writers are dead: a living one holds a lock on its own."""
    for path in root.rglob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
