"""Issuing half: jobs that issue for many from a file.

Of the file its keyed hash is kept, of a row what became of it; what stood in either never is.
"""

from datetime import date

from sqlalchemy import Date, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class BulkJob(IssuingBase):
    """One file of an authority's. Whoever issues for it holds this row locked."""

    __tablename__ = "bulk_job"
    __table_args__ = (UniqueConstraint("authority_id", "file_hash", "number"), IN_KEY_ORDER)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"))
    begun_by: Mapped[str] = mapped_column(ForeignKey("official.id"))
    file_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    """HMAC-SHA256 of its bytes under the registry's lookup key: by it the same file is known again."""
    number: Mapped[int]
    """From 1: files that look the same may be of other people."""
    row_count: Mapped[int]
    begun_on: Mapped[date] = mapped_column(Date)
    """UTC day."""
    worked_by: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    """Tells whether a browser's session is the one that works on it; see `sealed_for` below."""


class BulkRow(IssuingBase):
    """What became of a row."""

    __tablename__ = "bulk_row"
    __table_args__ = IN_KEY_ORDER

    job_id: Mapped[str] = mapped_column(ForeignKey("bulk_job.id"), primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True)
    """As spreadsheets number them: the header is row 1."""
    outcome: Mapped[str] = mapped_column(String(40))
    """`issued`, or the code of the error."""
    code_uuid: Mapped[str | None] = mapped_column(String(36), index=True)
    """Of its code. No foreign key: the row may outlive it."""
    sealed_for: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    """Tells whether this browser's session is the one that its code lies sealed to."""
    handed_out: Mapped[bool]
    """Whether its code was in a result file that was fetched."""
