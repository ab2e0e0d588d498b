"""Issuing half: how many codes were issued on a UTC day and how many may be, and requests for more.

A count is of an authority, or of one official or API key of it. It holds no one's act and no time finer than
the day.
"""

from datetime import date
from enum import StrEnum

from sqlalchemy import Date, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class SurgeState(StrEnum):
    """How far a request for more codes has come. Only `ASKED` is not its end."""

    ASKED = "asked"
    APPROVED = "approved"
    REFUSED = "refused"


class QuotaUse(IssuingBase):
    """How many codes were issued on a day, and how many may be."""

    __tablename__ = "quota_use"
    __table_args__ = IN_KEY_ORDER

    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    issuer: Mapped[str] = mapped_column(String(80), primary_key=True)
    """As acts name who did them (`official:…`, `api-key:…`); empty for the authority as a whole."""
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    """UTC day."""
    n: Mapped[int]
    """Issued, without those that were given back because the fault was ours."""
    most: Mapped[int | None]
    """How many may be, more for the day included; none where only the authority's number counts."""


class IssuingQuota(IssuingBase):
    """What an authority has fixed by hand. What is none goes by the forecast, or by the settings."""

    __tablename__ = "issuing_quota"
    __table_args__ = IN_KEY_ORDER

    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    authority_most: Mapped[int | None]
    """Codes of the authority a day."""
    official_most: Mapped[int | None]
    """Codes of an official a day."""
    bulk_most: Mapped[int | None]
    """The same for an official who may issue for many at once."""


class SurgeRequest(IssuingBase):
    """That somebody asked for more codes for one day, and what was decided."""

    __tablename__ = "surge_request"
    __table_args__ = IN_KEY_ORDER

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), index=True)
    day: Mapped[date] = mapped_column(Date, index=True)
    """UTC day for which it was asked, which is the day on which it was; with it the request ends."""
    is_for_all: Mapped[bool]
    """Whether for the authority as a whole; else for who asks."""
    amount: Mapped[int]
    state: Mapped[str] = mapped_column(String(8))
    """A `SurgeState`."""
    asked_by: Mapped[str] = mapped_column(ForeignKey("official.id"))
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("official.id"))
    """Never who asked."""
