"""Collecting half: shelves, on which keys wait for their release, and the batches that they left with.

A key lies on one shelf, together with all others that go out in the same regions from the same interval on.
Sealing moves shelves, not keys: a shelf leaves as a whole, in all its regions in the same window, and what
lies on it never changes afterwards. So no key can leave in one region and stay behind in another, and a
million keys are sealed by a handful of rows. Says nothing of who put what where: a shelf is shared by all
uploads of its regions.
"""

from collections.abc import Collection

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, String, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, NUMBER, CollectingBase


class Shelf(CollectingBase):
    """Keys that leave together. Pending until `window_end` is set by the sealing transaction."""

    __tablename__ = "shelf"

    id: Mapped[int] = mapped_column(NUMBER, Identity(always=False), primary_key=True)
    region_set: Mapped[str] = mapped_column(String(1000))
    """The regions that its keys go out in: sorted codes, joined by commas."""
    releasable_at: Mapped[int]
    """Interval number from which on it may leave: its keys' end + 12, or 0 if that was over already."""
    is_revision: Mapped[bool]
    """Whether `KeyRevision` rows lie on it, to go out as revised keys."""
    is_open: Mapped[bool] = mapped_column(default=True)
    """Whether anything more may be put on it. Closed before it is sealed, so that no upload is waited for."""
    revisions: Mapped[int] = mapped_column(default=0)
    """How many uploads' revisions lie on it."""
    window_end: Mapped[int | None] = mapped_column(BigInteger)
    """End of the window that it left in, unix seconds."""

    __table_args__ = (
        Index(
            "ix_shelf_open",
            "region_set",
            "releasable_at",
            "is_revision",
            unique=True,
            sqlite_where=text("is_open"),
            postgresql_where=text("is_open"),
        ),
    )

    @property
    def regions(self) -> frozenset[str]:
        """The set that `region_set` spells."""
        return regions_of_set(self.region_set)


class BatchShelf(CollectingBase):
    """That a shelf left with a batch: one row for each of the shelf's regions."""

    __tablename__ = "batch_shelf"
    __table_args__ = IN_KEY_ORDER

    batch_id: Mapped[int] = mapped_column(
        NUMBER, ForeignKey("batch.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    shelf_id: Mapped[int] = mapped_column(
        NUMBER, ForeignKey("shelf.id"), primary_key=True, autoincrement=False, index=True
    )


class ShelfUpload(CollectingBase):
    """That an upload put keys on a shelf, and not which: counted for floor and day, gone when it leaves."""

    __tablename__ = "shelf_upload"
    __table_args__ = IN_KEY_ORDER

    shelf_id: Mapped[int] = mapped_column(
        NUMBER, ForeignKey("shelf.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    mark: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    """Random: no two shelves' rows of one upload can be told to be its."""
    health_authority_id: Mapped[str | None] = mapped_column(String(64))
    """Whose certificate it came with. Counted, like the next two, when the shelf leaves."""
    onset_days: Mapped[int | None]
    """From the onset of symptoms to the upload, 29 at the most; none if nobody said."""
    oldest_days: Mapped[int | None]
    """From its oldest key to the upload, 15 at the most. None but on the shelf that leaves first: so each
    upload counts once."""


def region_set_of(regions: Collection[str]) -> str:
    """One spelling of a set of regions; empty for none."""
    return ",".join(sorted(set(regions)))


def regions_of_set(region_set: str) -> frozenset[str]:
    """The regions that `region_set_of` spelled."""
    return frozenset(region_set.split(",")) if region_set else frozenset()


def shelves_of(session: Session, batch_id: int) -> list[int]:
    """Ids of the shelves that left with the batch, ascending."""
    return list(
        session.scalars(
            select(BatchShelf.shelf_id).where(BatchShelf.batch_id == batch_id).order_by(BatchShelf.shelf_id)
        )
    )


def region_sets(session: Session) -> list[str]:
    """The sets of all shelves that have not left, so that none waits for a region that nobody serves."""
    return list(session.scalars(select(Shelf.region_set).where(Shelf.window_end.is_(None)).distinct()).all())
