"""Issuing half: codes on paper, which let an official in where there is no phone."""

from sqlalchemy import BigInteger, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class PrintedCode(IssuingBase):
    """One code of an official's newest sheet that was not used yet."""

    __tablename__ = "printed_code"
    __table_args__ = IN_KEY_ORDER

    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """HMAC-SHA256 of the code under the registry's lookup key. The code alone says whose it is."""
    official_id: Mapped[str] = mapped_column(ForeignKey("official.id"), index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    """Rounded up to a quarter of an hour."""
