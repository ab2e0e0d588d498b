"""Issuing half: which official a person of the organisation's OpenID provider is."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class OpenIdIdentity(IssuingBase):
    """A person by the provider's word for them, which it never gives to another."""

    __tablename__ = "openid_identity"
    __table_args__ = IN_KEY_ORDER

    issuer: Mapped[str] = mapped_column(String(200), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    official_id: Mapped[str] = mapped_column(ForeignKey("official.id"), index=True)
