"""Makes the files of batches and days once more, from the rows, and compares them with those that lie there.

Changes nothing and signs nothing: what was signed is taken from the file. What differs was changed in one of
the two places after it was published.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import Malformed
from registry.lifecycle.publish.batches import spool_shelves
from registry.lifecycle.publish.files import Contents, compact_header, exports
from registry.lifecycle.publish.policy import PublicationPolicy
from registry.models import Batch, BatchShelf, BatchState, DayFile, ExportFile
from registry.models.shelf import shelves_of
from registry.protocol.compact_file import write_compact
from registry.protocol.export_file import encode_export_rows, read_zip_rows
from registry.protocol.index import COMPACT, EXPOSURES, GAEN_ZIP
from registry.protocol.key_rows import KeyRows
from registry.storage import PIECE_BYTES, Storage


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of one file. `fault` is empty if it is, byte for byte, what the rows make.

    `partial`: some of its keys were retired before it, so that only the others could be compared.
    """

    path: str
    fault: str = ""
    partial: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    """The files of one batch or day, and the shelves that they were made from."""

    region: str
    start: int
    end: int
    sequence: int
    last_sequence: int
    daily: bool
    shelf_ids: tuple[int, ...]
    files: tuple[tuple[str, str], ...]
    """(path, format), zips in their order."""


def rebuild_all(
    new_session: Callable[[], Session],
    storage: Storage,
    *,
    policy: PublicationPolicy,
    now: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Rebuilt]:
    """Every file that is on record and not withdrawn, oldest first. `progress`: groups done, of how many."""
    with new_session() as session:
        groups = _groups(session)
    for done, group in enumerate(groups):
        progress(done, len(groups))
        with new_session() as session:
            yield from _rebuild(session, storage, group, policy, now)
    progress(len(groups), len(groups))


def _groups(session: Session) -> list[_Group]:
    groups = []
    batches = session.scalars(
        select(Batch)
        .where(Batch.state == BatchState.PUBLISHED, Batch.is_withdrawn.is_(False))
        .order_by(Batch.window_end, Batch.region)
    ).all()
    for batch in batches:
        files = session.execute(
            select(ExportFile.path, ExportFile.format)
            .where(ExportFile.batch_id == batch.id)
            .order_by(ExportFile.format, ExportFile.file_number)
        ).all()
        if files:
            groups.append(
                _Group(
                    *(batch.region, batch.window_start, batch.window_end),
                    *(batch.sequence, batch.sequence, False),
                    tuple(shelves_of(session, batch.id)),
                    tuple((path, form) for path, form in files),
                )
            )
    days: dict[tuple[str, int], list[DayFile]] = {}
    for row in session.scalars(select(DayFile).order_by(DayFile.window_end, DayFile.region, DayFile.path)):
        days.setdefault((row.region, row.sequence), []).append(row)
    return groups + [_group_of_day(session, rows) for rows in days.values()]


def _group_of_day(session: Session, rows: Sequence[DayFile]) -> _Group:
    day = rows[0]
    windows = select(Batch.id).where(
        Batch.region == day.region, Batch.sequence.between(day.sequence, day.last_sequence)
    )
    shelf_ids = session.scalars(
        select(BatchShelf.shelf_id).where(BatchShelf.batch_id.in_(windows)).distinct()
    )
    return _Group(
        *(day.region, day.window_start, day.window_end, day.sequence, day.last_sequence, True),
        tuple(shelf_ids),
        tuple((row.path, row.format) for row in rows),
    )


def _rebuild(
    session: Session, storage: Storage, group: _Group, policy: PublicationPolicy, now: float
) -> Iterator[Rebuilt]:
    retired = policy.last_end_retired(now)
    newer_than = policy.last_end_retired(group.end)
    with spool_shelves(session, group.shelf_ids, newer_than=newer_than) as (keys, revised):
        session.rollback()
        contents = Contents(
            *(group.region, group.start, group.end, group.sequence, group.last_sequence),
            *(keys, revised, group.daily),
        )
        zips = [path for path, form in group.files if form == GAEN_ZIP]
        stored = {path: storage.read(f"{EXPOSURES}/{path}") for path in zips}
        if _has_lost_keys(contents, stored.values(), retired):
            yield from _compare_what_is_left(contents, stored, group)
            return
        for path, made in zip(zips, exports(contents, policy.keys_per_file), strict=False):
            content = stored[path]
            if content is None:
                yield Rebuilt(path, "is gone")
                continue
            try:
                found, signed, _ = read_zip_rows(content)
            except Malformed as error:
                yield Rebuilt(path, f"cannot be read: {error}")
                continue
            same = encode_export_rows(replace(made, signature_infos=found.signature_infos)) == signed
            yield Rebuilt(path, "" if same else "holds other bytes than the rows make")
        for path, form in group.files:
            if form == COMPACT:
                yield Rebuilt(path, _compact_fault(storage, path, contents))


def _has_lost_keys(contents: Contents, stored: Iterable[bytes | None], retired: int) -> bool:
    """Whether the files hold keys that are old enough to have been retired, and that the rows lack."""
    count, oldest = 0, retired + 1
    for content in stored:
        try:
            found, _, _ = read_zip_rows(content or b"")
        except Malformed:
            return False
        for rows in (found.keys, found.revised_keys):
            count += len(rows)
            if len(rows):
                oldest = min(oldest, int(_ends(rows).min()))
    return oldest <= retired and contents.keys.count + contents.revised_keys.count < count


def _compare_what_is_left(
    contents: Contents, stored: Mapping[str, bytes | None], group: _Group
) -> Iterator[Rebuilt]:
    """Every key that is still there must be in the files as the row says."""
    published = {False: set[bytes](), True: set[bytes]()}
    for content in stored.values():
        found, _, _ = read_zip_rows(content or b"")
        for is_revised, rows in ((False, found.keys), (True, found.revised_keys)):
            published[is_revised].update(row.tobytes() for row in rows)
    kept = {
        is_revised: {row.tobytes() for rows in spool.chunks() for row in rows}
        for is_revised, spool in ((False, contents.keys), (True, contents.revised_keys))
    }
    same = all(kept[is_revised] <= published[is_revised] for is_revised in (False, True))
    for path, _ in group.files:
        yield Rebuilt(path, "" if same else "does not hold what the rows say of its keys", partial=True)


def _compact_fault(storage: Storage, path: str, contents: Contents) -> str:
    there = storage.open_file(f"{EXPOSURES}/{path}")
    if there is None:
        return "is gone"
    with there, TemporaryFile() as temporary:
        made = cast("BinaryIO", temporary)
        write_compact(made, compact_header(contents), contents.keys.chunks(), contents.revised_keys.chunks())
        left = made.tell()
        made.seek(0)
        # All but the signatures, which differ each time.
        while left:
            piece = made.read(min(PIECE_BYTES, left))
            if there.read(len(piece)) != piece:
                return "holds other bytes than the rows make"
            left -= len(piece)
    return ""


def _ends(rows: KeyRows) -> npt.NDArray[np.int64]:
    ends: npt.NDArray[np.int64] = rows["rolling_start_interval_number"].astype(np.int64)
    ends += rows["rolling_period"]
    return ends
