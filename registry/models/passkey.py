"""Issuing half: officials' passkeys, and the challenges that were answered.

A challenge itself lies in a signed cookie of the browser that asked for it; only one that was used leaves a
row, so that it is used once, and asking for many fills nothing.
"""

from datetime import date

from sqlalchemy import BigInteger, Date, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class Passkey(IssuingBase):
    """The public half of an official's passkey (WebAuthn Level 3)."""

    __tablename__ = "passkey"
    __table_args__ = IN_KEY_ORDER

    credential_id: Mapped[bytes] = mapped_column(LargeBinary(1023), primary_key=True)
    official_id: Mapped[str] = mapped_column(ForeignKey("official.id"), index=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(2000))
    """COSE."""
    sign_count: Mapped[int] = mapped_column(BigInteger)
    """What its authenticator last said; one that goes back is a copy. Many say 0 always."""
    label: Mapped[str] = mapped_column(String(60))
    """Its owner's word for it."""
    made_on: Mapped[date] = mapped_column(Date)
    """UTC day."""


class SpentChallenge(IssuingBase):
    """A challenge, or an OpenID state, that was answered: whoever answers it again is refused."""

    __tablename__ = "spent_challenge"
    __table_args__ = IN_KEY_ORDER

    challenge_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """SHA-256."""
    expires_at: Mapped[int] = mapped_column(BigInteger)
    """From then on it is refused for its age; rounded up to a quarter of an hour."""
