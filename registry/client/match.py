"""Matching: which published keys has this phone met, and on which days?

Pure, and only ever on the phone: nothing of it may leave. The rules are those of the GAEN matching window
and of its reference implementation:

1. Keys whose time holds no sighting are passed over without any cryptography.
2. A key whose identifiers were seen before with another start or rolling period is skipped: a published
   key never changes either.
3. Only identifiers with index < rolling period expose, though all 144 serve to remember the period.
4. An identifier of interval i counts for a scan in interval s if i-12 <= s < i+12+1: clocks differ.
5. A sighting more than 20 minutes after the identifier's first is a replay and is dropped.
6. The decrypted transmit power must lie in [-50, 20] dBm, and the metadata be 4 bytes.
7. RECURSIVE keys are ignored, REVOKED ones never expose, this phone's own keys neither.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import chain

import numpy as np

from registry.client.sightings import Sighting
from registry.protocol.identifiers import (
    METADATA_BYTES,
    associated_encrypted_metadata_key,
    decrypt_metadata,
    rolling_proximity_identifiers,
)
from registry.protocol.intervals import INTERVALS_PER_DAY, date_of_interval
from registry.protocol.key_rows import KeyRows, key_numbers, temporary_exposure_keys
from registry.protocol.keys import ReportType, TemporaryExposureKey

TOLERANCE_INTERVALS = 12
REPLAY_MINUTES = 20
LEAST_TX_POWER, MOST_TX_POWER = -50, 20
_KEYS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Exposure:
    """This phone met the holder of `key_data` on `day` (UTC): `sightings` scans. No finer time is kept.

    `withdrawn` tells that the key was revoked afterwards.
    """

    key_data: bytes
    day: date
    report_type: ReportType
    sightings: int
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What is remembered of a published key: start and period as first seen, and whether it was revoked."""

    key_data: bytes
    rolling_start_interval_number: int
    rolling_period: int
    revoked: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one file changes.

    `exposures` are to be added, `known` remembered; `withdrawn` are keys whose exposures no longer count, and
    `report_types` the newer types of keys that were matched before. `skipped` counts keys that came back with
    another start or period.
    """

    exposures: tuple[Exposure, ...]
    known: tuple[KnownKey, ...]
    withdrawn: frozenset[bytes]
    report_types: Mapping[bytes, ReportType]
    skipped: int


class SightingTable:
    """Sightings laid out for matching: by identifier, replays dropped, and their intervals in order."""

    def __init__(self, sightings: Iterable[Sighting]) -> None:
        by_rpi: dict[bytes, list[Sighting]] = defaultdict(list)
        for sighting in sightings:
            by_rpi[sighting.rpi].append(sighting)
        self._by_rpi = {rpi: list(_without_replays(received)) for rpi, received in by_rpi.items()}
        self._intervals = sorted({s.interval for received in self._by_rpi.values() for s in received})
        self._interval_numbers = np.array(self._intervals, np.int64)

    def __len__(self) -> int:
        return sum(map(len, self._by_rpi.values()))

    def any_between(self, first: int, end: int) -> bool:
        """Whether any sighting lies in the intervals [first, end)."""
        place = bisect_left(self._intervals, first)
        return place < len(self._intervals) and self._intervals[place] < end

    def worth_matching(self, rows: KeyRows, changed_by: Collection[bytes]) -> KeyRows:
        """Those of the rows that can mean anything, whatever `match_keys` is told: the others hold no
        sighting in their time (rule 1), revoke nothing, and are none of the keys `changed_by` a revision.
        """
        first = rows["rolling_start_interval_number"].astype(np.int64) - TOLERANCE_INTERVALS
        end = first + INTERVALS_PER_DAY + 2 * TOLERANCE_INTERVALS
        met = np.searchsorted(self._interval_numbers, first) < np.searchsorted(self._interval_numbers, end)
        # By their first halves: that a stranger's key begins as one of them costs nothing but a look at it.
        halves = np.frombuffer(b"".join(key_data[:8] for key_data in changed_by), ">u8").astype(np.uint64)
        revoked = rows["report_type"] == ReportType.REVOKED
        worth: KeyRows = rows[met | revoked | np.isin(key_numbers(rows)[0], halves)]
        return worth

    def of(self, key: TemporaryExposureKey) -> Iterator[tuple[int, Sighting]]:
        """(index of the identifier within the key's 144, sighting) for all within the clock tolerance."""
        start = key.rolling_start_interval_number
        end = start + INTERVALS_PER_DAY
        if not self.any_between(start - TOLERANCE_INTERVALS, end + TOLERANCE_INTERVALS):
            return
        identifiers = rolling_proximity_identifiers(key.key_data, start, INTERVALS_PER_DAY)
        # The view's isdisjoint runs without a step of Python for each identifier: nearly all keys end here.
        if self._by_rpi.keys().isdisjoint(identifiers):
            return
        for index, rpi in enumerate(identifiers):
            interval = start + index
            for sighting in self._by_rpi.get(rpi, ()):
                if interval - TOLERANCE_INTERVALS <= sighting.interval < interval + TOLERANCE_INTERVALS + 1:
                    yield index, sighting


def _without_replays(received: list[Sighting]) -> Iterator[Sighting]:
    first = min(sighting.minute for sighting in received)
    return (sighting for sighting in received if sighting.minute - first <= REPLAY_MINUTES)


def match_keys(
    keys: Iterable[TemporaryExposureKey],
    revised_keys: Iterable[TemporaryExposureKey],
    table: SightingTable,
    *,
    known: Mapping[bytes, KnownKey],
    matched: Collection[bytes],
    own: Collection[bytes],
) -> Outcome:
    """What one verified file means for this phone.

    `known` and `matched` are the keys remembered and matched so far, `own` this phone's. The outcome does not
    depend on the order in which files arrive: a key that is known to be revoked never matches again.
    """
    remembered: dict[bytes, KnownKey] = {}
    exposures: dict[bytes, list[Exposure]] = {}
    types: dict[bytes, ReportType] = {}
    withdrawn: set[bytes] = set()
    skipped = 0
    # Revised keys first, so that one that is published and revoked in the same file never counts.
    for key, revised in chain(((key, True) for key in revised_keys), ((key, False) for key in keys)):
        before = remembered.get(key.key_data) or known.get(key.key_data)
        if key.report_type is ReportType.RECURSIVE or key.key_data in own:
            continue
        if before and not _is_same(before, key):
            skipped += 1
        elif key.report_type is ReportType.REVOKED:
            remembered[key.key_data] = KnownKey(
                key.key_data, key.rolling_start_interval_number, key.rolling_period, revoked=True
            )
            withdrawn.add(key.key_data)
        elif before and before.revoked:
            continue
        elif key.key_data in matched or key.key_data in exposures:
            if revised:
                types[key.key_data] = key.report_type
        else:
            found = list(table.of(key))
            if not found:
                continue
            remembered[key.key_data] = KnownKey(
                key.key_data, key.rolling_start_interval_number, key.rolling_period, revoked=False
            )
            if met := _exposures(key, found):
                exposures[key.key_data] = met
    return Outcome(
        exposures=tuple(one for met in exposures.values() for one in met),
        known=tuple(remembered.values()),
        withdrawn=frozenset(withdrawn),
        report_types=types,
        skipped=skipped,
    )


def keys_of(rows: KeyRows) -> Iterator[TemporaryExposureKey]:
    """The rows as keys, never more than some thousands of them at once."""
    for first in range(0, len(rows), _KEYS_AT_ONCE):
        yield from temporary_exposure_keys(rows[first : first + _KEYS_AT_ONCE])


def _is_same(before: KnownKey, key: TemporaryExposureKey) -> bool:
    return (before.rolling_start_interval_number, before.rolling_period) == (
        key.rolling_start_interval_number,
        key.rolling_period,
    )


def _exposures(key: TemporaryExposureKey, found: list[tuple[int, Sighting]]) -> list[Exposure]:
    """The days on which valid scans of this key fall."""
    within = [sighting for index, sighting in found if index < key.rolling_period]
    metadata_key = associated_encrypted_metadata_key(key.key_data) if within else b""
    days = Counter(
        date_of_interval(sighting.interval)
        for sighting in within
        if _has_plausible_power(metadata_key, sighting)
    )
    return [Exposure(key.key_data, day, key.report_type, count) for day, count in sorted(days.items())]


def _has_plausible_power(metadata_key: bytes, sighting: Sighting) -> bool:
    if len(sighting.aem) != METADATA_BYTES:
        return False
    metadata = decrypt_metadata(metadata_key, sighting.rpi, sighting.aem)
    tx_power = int.from_bytes(metadata[1:2], "big", signed=True)
    return LEAST_TX_POWER <= tx_power <= MOST_TX_POWER
