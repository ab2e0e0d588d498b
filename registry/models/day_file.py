"""Collecting half: files that hold what a closed day's windows hold each by itself."""

from collections.abc import Sequence

from sqlalchemy import BigInteger, ColumnElement, String, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase
from registry.models.batch import Batch
from registry.protocol.index import IndexDay, IndexFile, IndexWindow


class DayFile(CollectingBase):
    """A file that rolls up the windows `sequence` to `last_sequence`, [window_start, window_end)."""

    __tablename__ = "day_file"
    __table_args__ = IN_KEY_ORDER

    path: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Relative to /exposures/."""
    region: Mapped[str] = mapped_column(String(6), index=True)
    sequence: Mapped[int]
    last_sequence: Mapped[int]
    window_start: Mapped[int] = mapped_column(BigInteger)
    """Unix seconds, inclusive; of the first window."""
    window_end: Mapped[int] = mapped_column(BigInteger)
    """Unix seconds, exclusive; of the last."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str] = mapped_column(String(16))
    newest_key_end: Mapped[int]
    """Largest end interval number of its keys; it is retired as a batch's files are."""


def holds_withdrawn_window() -> ColumnElement[bool]:
    """Whether a `DayFile` would bring back what was taken away."""
    return exists().where(
        Batch.region == DayFile.region,
        Batch.is_withdrawn,
        Batch.sequence.between(DayFile.sequence, DayFile.last_sequence),
    )


def index_days(
    session: Session, region: str, *, files_newer_than: int, windows: Sequence[IndexWindow]
) -> tuple[IndexDay, ...]:
    """The region's days, oldest first, as the index lists them: those all of whose windows it lists."""
    if not windows:
        return ()
    rows = session.scalars(
        select(DayFile)
        .where(
            DayFile.region == region,
            DayFile.newest_key_end > files_newer_than,
            DayFile.sequence >= windows[0].sequence,
            DayFile.last_sequence <= windows[-1].last_sequence,
            ~holds_withdrawn_window(),
        )
        .order_by(DayFile.sequence, DayFile.path)
    )
    days: dict[int, IndexDay] = {}
    for row in rows:
        before = days[row.sequence].files if row.sequence in days else ()
        days[row.sequence] = IndexDay(
            sequence=row.sequence,
            last_sequence=row.last_sequence,
            start=row.window_start,
            end=row.window_end,
            files=(*before, IndexFile(row.path, row.sha256, row.size, row.format)),
        )
    return tuple(days.values())
