"""Collecting half: feeds that take other keys than those of their own region."""

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase
from registry.protocol.feeds import Feed


class RegionFeed(CollectingBase):
    """What a region's feed takes (`registry.protocol.feeds`). A region without a row takes its own keys."""

    __tablename__ = "region_feed"
    __table_args__ = IN_KEY_ORDER

    region: Mapped[str] = mapped_column(String(6), primary_key=True)
    include: Mapped[list[str]]
    """Set of region codes, sorted."""
    exclude: Mapped[list[str]]
    """Set of region codes, sorted."""
    include_travelers: Mapped[bool]


def feeds(session: Session) -> list[Feed]:
    """All feeds that something was said of."""
    return [
        Feed(row.region, frozenset(row.include), frozenset(row.exclude), row.include_travelers)
        for row in session.scalars(select(RegionFeed))
    ]
