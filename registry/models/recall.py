"""Recalls, a table in each half: what officials asked for and decided, and which handles are void.

An order names a statement, or all of an official, an API key or an outside issuer between two days: days,
because of a statement no more is kept. It holds opened handles only from its approval until the collecting
half has done it. What the collecting half found is never told back: it would tell who uploaded what.
"""

from datetime import date
from enum import StrEnum

from sqlalchemy import Date, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase, IssuingBase


class RecallState(StrEnum):
    """How far an order has come. Refused and done are its ends."""

    ASKED = "asked"
    APPROVED = "approved"
    REFUSED = "refused"
    DONE = "done"


class RecallReason(StrEnum):
    """Why an upload is recalled."""

    MISTAKE = "mistake"
    CONSENT_WITHDRAWN = "consent_withdrawn"


class RecallOrder(IssuingBase):
    """That somebody asked for a recall, and what was decided. Exactly one of the four selectors is set."""

    __tablename__ = "recall_order"
    __table_args__ = IN_KEY_ORDER

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), index=True)
    authorization_id: Mapped[str | None] = mapped_column(String(36))
    """The one statement whose upload is recalled. No foreign key: the order may outlive it."""
    official_id: Mapped[str | None] = mapped_column(ForeignKey("official.id"))
    """All that this official stated, between the days below."""
    api_key_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    external_issuer_id: Mapped[str | None] = mapped_column(String(255))
    stated_from: Mapped[date | None] = mapped_column(Date)
    """First UTC day, inclusive; none for one statement."""
    stated_to: Mapped[date | None] = mapped_column(Date)
    """Last UTC day, inclusive."""
    reason: Mapped[str] = mapped_column(String(20))
    """A `RecallReason`."""
    state: Mapped[str] = mapped_column(String(8), index=True)
    """A `RecallState`."""
    asked_by: Mapped[str | None] = mapped_column(ForeignKey("official.id"))
    """None if an operator asked, by command."""
    asked_on: Mapped[date] = mapped_column(Date)
    decided_by: Mapped[str | None] = mapped_column(ForeignKey("official.id"))
    """Never who asked."""
    decided_on: Mapped[date | None] = mapped_column(Date)
    uploads: Mapped[int | None]
    """How many handles were opened: of statements whose code was used, whatever came of it."""
    handles: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The opened handles, 16 bytes each, sorted; none but while the order waits to be carried out."""


class WithdrawalLetter(IssuingBase):
    """That a person has a letter with a code, by which they take their upload back alone.

    The code is a key: what leads to the upload is sealed to it, and nobody else opens it with this row.
    """

    __tablename__ = "withdrawal_letter"
    __table_args__ = IN_KEY_ORDER

    authorization_id: Mapped[str] = mapped_column(ForeignKey("authorization.id"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    """HMAC-SHA256 of the code under the registry's lookup key."""
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    """X25519; its private half is derived from the code, which is in the letter alone."""
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary(64))
    """The upload's handle, sealed to that key; none before the code for the upload was used."""


class RecalledUpload(CollectingBase):
    """That what comes with a handle is recalled already: an upload that was still under way is refused."""

    __tablename__ = "recalled_upload"
    __table_args__ = IN_KEY_ORDER

    mark: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """`protocol.recall.recalled_mark` of the handle: leads to it for nobody."""
    expires_at_interval: Mapped[int] = mapped_column(index=True)
    """By when no certificate with the handle is good any more; an interval number, rounded up to the hour."""
