"""Collecting half: receipts of uploads, to be published as commitments in a batch's manifest.

A receipt refers to no key and no time, only to the shelf that the first of its keys wait on, which it shares
with all uploads of those regions, and to the batch that it goes out with.
"""

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, NUMBER, CollectingBase


class Receipt(CollectingBase):
    """That an upload was accepted. Pending until `batch_id` is set by the sealing transaction."""

    __tablename__ = "receipt"
    __table_args__ = IN_KEY_ORDER

    commitment: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """SHA-256 of `content`; the rows' order tells nothing."""
    region: Mapped[str] = mapped_column(String(6))
    """The smallest of the upload's regions; its batch takes the receipt when the shelf leaves."""
    shelf_id: Mapped[int | None] = mapped_column(NUMBER, index=True)
    """Where the first keys of the upload wait."""
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """Canonical JSON (`registry.protocol.receipt`)."""
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), index=True)
