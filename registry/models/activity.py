"""Issuing half: officials' and operators' acts in hash chains, their daily anchors, and counts by the day.

Acts are numbered as they come, chain by chain: they are officials' acts, kept for a year, and name no
patient. What phones do is only counted.
"""

from datetime import date

from sqlalchemy import BigInteger, Date, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class ActivityChain(IssuingBase):
    """The head of a chain. Whoever appends to the chain holds this row locked."""

    __tablename__ = "activity_chain"
    __table_args__ = IN_KEY_ORDER

    chain: Mapped[str] = mapped_column(String(64), primary_key=True)
    """An authority's id, or `registry` for the operator."""
    number: Mapped[int] = mapped_column(BigInteger)
    """Of the newest act, from 1; 0 for a chain without any."""
    head: Mapped[bytes] = mapped_column(LargeBinary(32))
    """Hash of the newest act; empty for a chain without any."""


class ActivityEvent(IssuingBase):
    """One act."""

    __tablename__ = "activity_event"
    __table_args__ = IN_KEY_ORDER

    chain: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """Canonical JSON (`registry.protocol.activity`)."""
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    """SHA-256 of `content`."""
    day: Mapped[date] = mapped_column(Date)
    """UTC day of the act; retirement goes by it."""


class ActivityAnchor(IssuingBase):
    """The heads of all chains as they stood once on a UTC day; a salted commitment to them is in the log."""

    __tablename__ = "activity_anchor"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    heads: Mapped[bytes] = mapped_column(LargeBinary)
    """Canonical JSON: hash in hex by chain."""
    log_year: Mapped[int | None]
    """Shard of the log; none until the leaf is known to be there."""
    leaf_number: Mapped[int | None] = mapped_column(BigInteger)


class IssuingCount(IssuingBase):
    """How many codes were issued and redeemed and certificates given on a UTC day."""

    __tablename__ = "issuing_count"
    __table_args__ = IN_KEY_ORDER

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    """`issued`, `redeemed` or `certified`."""
    n: Mapped[int] = mapped_column(BigInteger)
