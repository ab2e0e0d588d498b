"""Collecting half: files that hold what a closed day's windows hold each by itself."""

from sqlalchemy import BigInteger, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase
from registry.protocol.index import IndexDay, IndexFile


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


def index_days(session: Session, region: str, *, files_newer_than: int, first: int) -> tuple[IndexDay, ...]:
    """The region's days, oldest first, as the index lists them: none that begins before window `first`."""
    rows = session.scalars(
        select(DayFile)
        .where(
            DayFile.region == region, DayFile.newest_key_end > files_newer_than, DayFile.sequence >= first
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
