"""Whether files that stand in for each other hold the same keys: formats of a window, a day and its windows.

Pure. Phones read one of them and believe it for all: who put less into one would keep keys from some phones.
Compares whole rows, metadata included, and takes memory for the keys of a day, never of more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.client.monitor.batches import retention_days
from registry.client.verify import VerifiedFile
from registry.protocol.index import IndexDay
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.key_rows import KEY_ROW, KeyRows, no_rows
from registry.protocol.keys import ReportType
from registry.protocol.trust import TrustMaterial


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """All keys and revised keys of one or more files, in no order."""

    keys: KeyRows
    revised_keys: KeyRows


def held_by(files: Iterable[VerifiedFile | Held]) -> Held:
    """What they hold together."""
    held = list(files)
    return Held(
        np.concatenate([no_rows(), *(file.keys for file in held)]),
        np.concatenate([no_rows(), *(file.revised_keys for file in held)]),
    )


def hold_the_same(one: Held, other: Held) -> bool:
    """Every key as often in both, with the same said of it."""
    return all(
        np.array_equal(np.sort(_as_bytes(mine)), np.sort(_as_bytes(theirs)))
        for mine, theirs in ((one.keys, other.keys), (one.revised_keys, other.revised_keys))
    )


def day_fault(
    day: IndexDay, of_day: Held, windows: Sequence[Held], trust: TrustMaterial, *, newest_unlisted: int
) -> str | None:
    """In what a day's file differs from its listed windows' files; None if it may stand in for them.

    It must hold what they hold, but for keys whose time was over when the day was; and of a key that was
    revised and then recalled within the day, only that it was recalled. It may hold more of keys that ended
    at `newest_unlisted` or before: windows that have no newer ones are not listed any more.
    """
    whole = held_by(windows)
    last_retired = interval_at(day.end) - retention_days(trust) * INTERVALS_PER_DAY
    recalled = whole.revised_keys[whole.revised_keys["report_type"] == ReportType.REVOKED]
    revised = whole.revised_keys
    is_outdated = np.isin(_as_keys(revised), _as_keys(recalled)) & (
        revised["report_type"] != ReportType.REVOKED
    )
    for mine, theirs, may_be_left_out in (
        (of_day.keys, whole.keys, _has_ended(whole.keys, last_retired)),
        (of_day.revised_keys, revised, _has_ended(revised, last_retired) | is_outdated),
    ):
        is_theirs = np.isin(_as_bytes(mine), _as_bytes(theirs)) | _has_ended(mine, newest_unlisted)
        if not is_theirs.all():
            return "holds keys that none of its windows does"
        if not (np.isin(_as_bytes(theirs), _as_bytes(mine)) | may_be_left_out).all():
            return "lacks keys that its windows hold"
    return None


def _has_ended(rows: KeyRows, last_end: int) -> npt.NDArray[np.bool_]:
    ends = rows["rolling_start_interval_number"].astype(np.int64) + rows["rolling_period"]
    has_ended: npt.NDArray[np.bool_] = ends <= last_end
    return has_ended


def _as_bytes(rows: KeyRows) -> npt.NDArray[np.bytes_]:
    """Each row as one value. All are of one length, so that zeros at their ends make no two of them equal."""
    return np.ascontiguousarray(rows).view(f"S{KEY_ROW.itemsize}")


def _as_keys(rows: KeyRows) -> npt.NDArray[np.bytes_]:
    return np.ascontiguousarray(rows["key_data"]).view("S16").reshape(-1)
