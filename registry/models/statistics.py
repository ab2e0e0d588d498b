"""Both halves: counts of the days that are not over, and the figures that are left of those that are.

A count is of a day, an authority and a bin; there is no row for a code or an upload. When the day is over
its counts are made into figures, once (`registry.lifecycle.noise`), and destroyed: the exact number is
nowhere any more.
"""

from datetime import date

from sqlalchemy import BigInteger, Date, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase, IssuingBase


class ClaimCount(IssuingBase):
    """How many codes were redeemed after how long, and certificates given, on a UTC day that is not over."""

    __tablename__ = "claim_count"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Of the table that it goes into (`registry.lifecycle.statistics`)."""
    cell: Mapped[str] = mapped_column(String(16), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class ReleasedFigures(IssuingBase):
    """A table of a day that is over, as everybody gets it. Of uploads, what the other half let go."""

    __tablename__ = "released_figures"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    cells: Mapped[dict[str, int]]
    """By bin; what is hidden is not there."""


class SmsErrorCount(IssuingBase):
    """How many messages a gateway refused on a UTC day, by its code for why. No number, no message."""

    __tablename__ = "sms_error_count"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    code: Mapped[str] = mapped_column(String(32), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class UploadCount(CollectingBase):
    """How many uploads left on a UTC day that is not over."""

    __tablename__ = "upload_count"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    health_authority_id: Mapped[str] = mapped_column(ForeignKey("health_authority.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Of the table that it goes into (`registry.lifecycle.upload_figures`)."""
    cell: Mapped[str] = mapped_column(String(16), primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)


class UploadFigures(CollectingBase):
    """A table of a day that is over, as everybody gets it."""

    __tablename__ = "upload_figures"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    health_authority_id: Mapped[str] = mapped_column(ForeignKey("health_authority.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    cells: Mapped[dict[str, int]]
    """By bin; what is hidden is not there."""
