"""Both halves: answers kept for a day so that a lost reply burns nothing, and the sink for chaff.

An answer is sealed under a key derived from the whole request, and found under a name derived from it
too: whoever reads the table without the request learns neither.
"""

from sqlalchemy import BigInteger, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase, IssuingBase


class IssuedAnswer(IssuingBase):
    """A sealed answer of /api/verify or /api/certificate."""

    __tablename__ = "issued_answer"
    __table_args__ = IN_KEY_ORDER

    lookup_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    """Unix seconds, rounded up to the hour."""


class CollectedAnswer(CollectingBase):
    """A sealed answer of /v1/publish."""

    __tablename__ = "collected_answer"
    __table_args__ = IN_KEY_ORDER

    lookup_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at_interval: Mapped[int] = mapped_column(index=True)
    """Interval number, rounded up to the hour."""


class IssuingChaff(IssuingBase):
    """Where chaff writes what a real call would write. Emptied unseen."""

    __tablename__ = "issuing_chaff"
    __table_args__ = IN_KEY_ORDER

    noise: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)


class CollectingChaff(CollectingBase):
    """Where chaff writes what a real upload would write. Emptied unseen."""

    __tablename__ = "collecting_chaff"
    __table_args__ = IN_KEY_ORDER

    noise: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
