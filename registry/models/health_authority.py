"""Collecting half: whose certificates are accepted, under which public keys, for which regions."""

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase


class HealthAuthority(CollectingBase):
    """An authority, ours or another's, whose verification certificates open the door for keys."""

    __tablename__ = "health_authority"
    __table_args__ = IN_KEY_ORDER

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """`healthAuthorityID` of the upload."""
    certificate_issuer: Mapped[str] = mapped_column(String(200))
    certificate_audience: Mapped[str] = mapped_column(String(200))
    regions: Mapped[list[str]]
    """Set of region codes that every key of this authority's belongs to, sorted."""


class HealthAuthorityKey(CollectingBase):
    """A public key that this authority signs certificates with."""

    __tablename__ = "health_authority_key"
    __table_args__ = IN_KEY_ORDER

    health_authority_id: Mapped[str] = mapped_column(ForeignKey("health_authority.id"), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    public_key_pem: Mapped[str] = mapped_column(String(1000))
    not_before: Mapped[int] = mapped_column(BigInteger)
    not_after: Mapped[int] = mapped_column(BigInteger)
