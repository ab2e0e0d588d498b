"""Where an auditor reads from: a registry's web address, or a folder that somebody archived.

Both give bytes by public path and nothing else. The web one follows no redirect, asks for nothing but public
paths below one address, reads no more than is sensible of each, and asks again, ever more slowly, when no
answer comes; the folder one never leaves its folder.
"""

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

from registry.client.failures import NoAnswer, Throttled, TooLarge
from registry.client.monitor.moments import is_moment
from registry.client.transport import Transport, retry_time, unexpected
from registry.client.trust import check_address
from registry.client.verify import MAX_FILE_BYTES
from registry.errors import FetchFailed, Malformed
from registry.protocol.intervals import Clock

MAX_DOCUMENT_BYTES = 16 * 2**20
"""Of anything but an export file: indexes are the largest of them. A full bundle has 16.8 MB at the utmost,
one of our leaves a quarter of a kilobyte."""
TRIES = 4
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
REPORT_NAME = "report.json"
"""What `registry audit export` leaves beside the public files: when they were taken, among others."""


class Source(Protocol):
    """Public files by their paths. `name` is for people, `is_live` says whether they may change meanwhile."""

    @property
    def name(self) -> str: ...

    @property
    def is_live(self) -> bool: ...

    def read(self, path: str) -> bytes | None:
        """The bytes at a public path; None if there are none. Raises FetchFailed or TooLarge."""
        ...

    def taken_at(self) -> float | None:
        """Unix seconds as of which an archive is to be judged, by its own report; None for now."""
        ...


def _limit(path: str) -> int:
    return MAX_FILE_BYTES if path.endswith((".zip", ".compact")) else MAX_DOCUMENT_BYTES


class FolderSource:
    """An archived public folder. Raises FetchFailed, when it is read, for what the disk will not give."""

    is_live = False

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._root)

    def read(self, path: str) -> bytes | None:
        """See `Source`."""
        target = self._root.joinpath(*_parts(path))
        try:
            # A link in a stranger's archive could point anywhere on the auditor's disk.
            if not target.resolve().is_relative_to(self._root.resolve()):
                raise Malformed(f"{path} is a link that leads out of {self._root}")
            content = _read_regular(target, _limit(path) + 1)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            raise FetchFailed(f"{target}: {error.strerror}") from error
        if len(content) > _limit(path):
            raise TooLarge(f"{path} has more than {_limit(path)} bytes")
        return content

    def taken_at(self) -> float | None:
        """See `Source`. A time that is in no calendar is none."""
        try:
            report = json.loads(self.read(REPORT_NAME) or b"")
            taken = report["taken_at"] if isinstance(report, dict) else None
        except (Malformed, ValueError, KeyError, RecursionError):
            return None
        if not isinstance(taken, int) or isinstance(taken, bool) or not is_moment(taken):
            return None
        return float(taken)


def _read_regular(path: Path, most: int) -> bytes:
    """So many bytes of a regular file. Raises Malformed for a pipe or a device, which might never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(path)
        if not stat.S_ISREG(mode):
            raise Malformed(f"{path.name} is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


class WebSource:
    """A registry, or a copy of its public files, at a web address."""

    is_live = True

    def __init__(
        self,
        base_url: str,
        transport: Transport,
        *,
        clock: Clock = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = check_address(base_url)
        self._transport = transport
        self._clock = clock
        self._pause = pause

    @property
    def name(self) -> str:
        """The address."""
        return self._base_url

    def read(self, path: str) -> bytes | None:
        """See `Source`. Waits between tries as long as the registry asks, or twice as long each time."""
        url = "/".join((self._base_url, *_parts(path)))
        wait = FIRST_PAUSE_SECONDS
        for last in (*[False] * (TRIES - 1), True):
            try:
                answer = self._transport.get(url, {}, _limit(path))
            except NoAnswer:
                if last:
                    raise
            else:
                if answer.status == 200:
                    return answer.body
                if answer.status in (404, 410):
                    return None
                failure = unexpected(answer, path, self._clock())
                if last or not (isinstance(failure, Throttled) or answer.status >= 500):
                    raise failure
                if (until := retry_time(answer, self._clock())) is not None:
                    wait = max(wait, until - self._clock())
            self._pause(min(wait, LONGEST_PAUSE_SECONDS))
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def taken_at(self) -> float | None:
        """See `Source`."""
        return None


def _parts(path: str) -> tuple[str, ...]:
    """The path's parts. Raises Malformed for what is no plain relative path: hostile files name some."""
    parts = PurePosixPath(path).parts
    plain = path == "/".join(parts) and path.isascii() and path.isprintable()
    if not plain or not parts or ".." in parts or any(mark in path for mark in '\\?#%: "<>'):
        raise Malformed(f"not a public path: {path[:80]!r}")
    return parts


def open_source(
    text: str, transport: Transport, *, clock: Clock = time.time, pause: Callable[[float], None] = time.sleep
) -> Source:
    """The source that `text` names: an http(s) address, or a folder.

    Of a registry's data folder its `public` is taken. Raises FetchFailed if there is no such folder,
    TrustRefused for an address that cannot be one.
    """
    if "://" in text:
        return WebSource(text, transport, clock=clock, pause=pause)
    root = Path(text)
    if not root.is_dir():
        raise FetchFailed(f"{text} is neither a web address nor a folder: name one of both")
    inner = root / "public"
    return FolderSource(inner if inner.is_dir() and not (root / "log").is_dir() else root)
