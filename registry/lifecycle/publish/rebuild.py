"""Makes the files of batches and days once more, from the rows, and compares them with those that lie there.

Changes nothing and signs nothing: signatures are taken from the file, and verified. What differs was changed
in one of the two places after it was published.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.lifecycle.publish.batches import spool_shelves
from registry.lifecycle.publish.comparing import Rebuilt, Recorded, compare
from registry.lifecycle.publish.files import Contents
from registry.lifecycle.publish.policy import PublicationPolicy
from registry.models import Batch, BatchShelf, BatchState, DayFile, ExportFile, ExportSigningKey
from registry.models.shelf import shelves_of
from registry.protocol.certificate import load_public_key
from registry.protocol.export_signatures import TrustedKeys
from registry.storage import Storage


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
    files: tuple[Recorded, ...]


def rebuild_all(
    new_session: Callable[[], Session],
    storage: Storage,
    *,
    policy: PublicationPolicy,
    clock: Callable[[], float],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Rebuilt]:
    """Every file that is on record and not withdrawn, oldest first. `progress`: groups done, of how many.

    `clock` tells unix seconds. No transaction stays open while a group is compared.
    """
    with new_session() as session:
        groups, registered = _groups(session), _registered(session)
    for done, group in enumerate(groups):
        progress(done, len(groups))
        with new_session() as session:
            yield from _rebuild(session, storage, group, policy=policy, registered=registered, clock=clock)
    progress(len(groups), len(groups))


def _groups(session: Session) -> list[_Group]:
    groups = []
    batches = session.scalars(
        select(Batch)
        .where(Batch.state == BatchState.PUBLISHED, Batch.is_withdrawn.is_(False))
        .order_by(Batch.window_end, Batch.region)
    ).all()
    for batch in batches:
        files = session.scalars(
            select(ExportFile)
            .where(ExportFile.batch_id == batch.id)
            .order_by(ExportFile.format, ExportFile.file_number)
        ).all()
        if files:
            groups.append(
                _Group(
                    *(batch.region, batch.window_start, batch.window_end),
                    *(batch.sequence, batch.sequence, False),
                    tuple(shelves_of(session, batch.id)),
                    _recorded(files),
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
        _recorded(rows),
    )


def _recorded(rows: Sequence[ExportFile] | Sequence[DayFile]) -> tuple[Recorded, ...]:
    return tuple(Recorded(row.path, row.format, row.sha256, row.size) for row in rows)


def _rebuild(
    session: Session,
    storage: Storage,
    group: _Group,
    *,
    policy: PublicationPolicy,
    registered: TrustedKeys,
    clock: Callable[[], float],
) -> Iterator[Rebuilt]:
    newer_than = policy.last_end_retired(group.end)
    with spool_shelves(session, group.shelf_ids, newer_than=newer_than) as (keys, revised):
        contents = Contents(
            *(group.region, group.start, group.end, group.sequence, group.last_sequence),
            *(keys, revised, group.daily),
        )
        # Asked after the rows were read: what was retired before that had come to its time by now.
        retired = policy.last_end_retired(clock())
        yield from compare(
            storage,
            contents,
            group.files,
            registered=registered,
            keys_per_file=policy.keys_per_file,
            retired=retired,
        )


def _registered(session: Session) -> TrustedKeys:
    """Every export key that was ever registered: files outlive the time in which their key signs."""
    return {
        (row.key_id, row.key_version): load_public_key(row.public_key_pem)
        for row in session.scalars(select(ExportSigningKey))
    }
