"""Issuing half: which numbers have reported themselves today, until the day ends."""

from datetime import date

from sqlalchemy import Date, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class SelfReportDay(IssuingBase):
    """The key of the present UTC day: one row. Gone with the day, and with it what the hashes meant."""

    __tablename__ = "self_report_day"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))
    """Random. Whoever has it and the hashes can find the numbers by trying all: it lives for a day."""


class SelfReportNumber(IssuingBase):
    """A number that has had its SMS today. No row has a time, nor leads to a code."""

    __tablename__ = "self_report_number"
    __table_args__ = IN_KEY_ORDER

    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    number_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """HMAC-SHA256 of the number under the day's key."""
    prefix_hash: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    """The same of all but its last four digits: runs of numbers are bounded by it."""
