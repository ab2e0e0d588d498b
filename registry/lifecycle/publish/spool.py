"""The keys of one batch on their way from the database into files: read once, kept on disk, read often.

Holds no more than some thousands of keys in memory, however many there are. What is on disk has no name and
is gone with the process, whatever ends it.
"""

import os
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Self

import numpy as np

from registry.protocol.export_records import record_bytes
from registry.protocol.key_rows import KEY_ROW, KeyRows, newest_end, no_rows

_AT_ONCE = 65_536


class KeySpool:
    """Keys in canonical order, in the order in which they were added. Use as a context manager.

    Once all are added, threads may read side by side.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self.count = 0
        self.newest_end: int | None = None
        """The largest end interval number; None without keys."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, chunks: Iterable[KeyRows]) -> None:
        """Keep all rows of all chunks."""
        for rows in chunks:
            self._file.write(rows.tobytes())
            self.count += len(rows)
            ends = [end for end in (self.newest_end, newest_end(rows)) if end is not None]
            self.newest_end = max(ends, default=None)
        self._file.flush()

    def chunks(self) -> Iterator[KeyRows]:
        """All rows again, some thousands at a time."""
        for first in range(0, self.count, _AT_ONCE):
            yield self.rows(first, min(first + _AT_ONCE, self.count))

    def rows(self, first: int, end: int) -> KeyRows:
        """Rows [first, end)."""
        if first == end:
            return no_rows()
        size, place = (end - first) * KEY_ROW.itemsize, first * KEY_ROW.itemsize
        # At a place of its own: threads that read here share the file's position.
        content = os.pread(self._file.fileno(), size, place)
        if len(content) != size:
            raise OSError(f"the spooled keys ended {size - len(content)} bytes too early")
        return np.frombuffer(content, KEY_ROW)


def cut(spools: tuple[KeySpool, KeySpool], *, most_keys: int, most_bytes: int) -> list[list[tuple[int, int]]]:
    """Where to cut keys and revised keys, one after the other, so that no file of them is too large.

    For each file [first, end) in either spool. Without keys there is no file. `most_bytes` counts the
    records of `export.bin`.
    """
    files: list[list[tuple[int, int]]] = []
    room, size_left = 0, 0
    for which, spool in enumerate(spools):
        for first in range(0, spool.count, _AT_ONCE):
            sizes = record_bytes(spool.rows(first, min(first + _AT_ONCE, spool.count)))
            place = 0
            while place < len(sizes):
                if room == 0:
                    files.append([(0, 0), (0, 0)])
                    room, size_left = most_keys, most_bytes
                    files[-1][which] = (first + place, first + place)
                fitting = int(np.searchsorted(np.cumsum(sizes[place : place + room]), size_left, "right"))
                if fitting == 0:
                    room = 0
                    continue
                begun = files[-1][which] if files[-1][which] != (0, 0) else (first + place, first + place)
                files[-1][which] = (begun[0], first + place + fitting)
                size_left -= int(sizes[place : place + fitting].sum())
                room -= fitting
                place += fitting
    return files
