"""How keys that were found in files stand to the rows that are kept: a comparison of two spools, on disk.

Holds some thousands of keys in memory, however many there are, and changes nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from registry.lifecycle.publish.spool import KeySpool
from registry.protocol.key_rows import NO_ONSET, KeyRows, check_canonical_order, no_rows


@dataclass(frozen=True, slots=True)
class Relation:
    """How the keys of files stand to the rows."""

    missing: int = 0
    """So many rows are in no file."""
    foreign: int = 0
    """So many keys no row has, although their time is not over."""
    retired: int = 0
    """So many keys no row has any more."""

    @property
    def is_good(self) -> bool:
        """Whether retirement alone explains it."""
        return not self.missing and not self.foreign

    def __add__(self, other: "Relation") -> "Relation":
        return Relation(
            self.missing + other.missing, self.foreign + other.foreign, self.retired + other.retired
        )


def ordered(chunks: Iterable[KeyRows]) -> Iterator[KeyRows]:
    """The same rows. Raises Malformed unless they stand in canonical order."""
    last = no_rows()
    for rows in chunks:
        check_canonical_order(rows, after=last)
        yield rows
        last = rows[-1:]


def are_same(found: KeySpool, wanted: KeySpool) -> bool:
    """Whether two spools hold the same rows in the same order."""
    return found.count == wanted.count and all(
        np.array_equal(one, other) for one, other in zip(found.chunks(), wanted.chunks(), strict=True)
    )


def related(found: KeySpool, rows: KeySpool, retired: int) -> Relation:
    """How the keys found stand to the rows, both in canonical order: as two sorted lists are merged.

    `retired` is the interval at which, or before which, keys ended that may be kept no more. Keys found in
    another order count as foreign or missing, never as good.
    """
    if are_same(found, rows):
        return Relation()
    missing = foreign = gone = 0
    waiting = _ranks(rows)
    row = next(waiting, None)
    for key in _ranks(found):
        while row is not None and row < key:
            missing += 1
            row = next(waiting, None)
        if row == key:
            row = next(waiting, None)
        elif _end(key) <= retired:
            gone += 1
        else:
            foreign += 1
    missing += (row is not None) + sum(1 for _ in waiting)
    return Relation(missing, foreign, gone)


_RANK = np.dtype(
    [
        ("rolling_start_interval_number", ">u4"),
        ("rolling_period", np.uint8),
        ("report_type", np.uint8),
        ("days_since_onset_of_symptoms", np.uint8),
        ("key_data", np.uint8, (16,)),
        ("transmission_risk_level", np.uint8),
    ]
)
"""All that a row says, laid out so that its bytes compare as the canonical order asks."""


def _ranks(spool: KeySpool) -> Iterator[bytes]:
    for rows in spool.chunks():
        ranks = np.empty(len(rows), _RANK)
        for name in _RANK.names or ():
            ranks[name] = (
                rows[name].astype(np.int16) - NO_ONSET
                if name == "days_since_onset_of_symptoms"
                else rows[name]
            )
        content, size = ranks.tobytes(), _RANK.itemsize
        yield from (content[place : place + size] for place in range(0, len(content), size))


def _end(rank: bytes) -> int:
    """The end interval number."""
    return int.from_bytes(rank[:4]) + rank[4]
