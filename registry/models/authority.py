"""Issuing half: health authorities, the public halves of their certificate keys, and API keys."""

from datetime import date

from sqlalchemy import BigInteger, Date, ForeignKey, LargeBinary, String, false
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class Authority(IssuingBase):
    """A health authority whose officials and systems issue codes here."""

    __tablename__ = "authority"
    __table_args__ = IN_KEY_ORDER

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """What apps send as `healthAuthorityID`."""
    name: Mapped[str] = mapped_column(String(200))
    certificate_issuer: Mapped[str] = mapped_column(String(200))
    certificate_audience: Mapped[str] = mapped_column(String(200))
    maintenance: Mapped[bool] = mapped_column(default=False, server_default=false())
    """No code is issued and none is taken; what phones hold already goes on to certificate and upload."""
    code_form: Mapped[str] = mapped_column(String(8), default="digits", server_default="digits")
    """A `CodeForm`: of the codes that are issued from now on."""
    generate_sms_allowed: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether its systems may have the text of an SMS, to send it by themselves (`onlyGenerateSMS`)."""
    sms_signed: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether its SMS go out signed, or not at all."""
    self_report: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether people may report by themselves."""
    self_reports_a_day: Mapped[int] = mapped_column(default=1000, server_default="1000")
    """How many SMS of theirs a UTC day may have."""


class CertificateKey(IssuingBase):
    """Public half of a certificate signing key; listed at /jwks/{authority} while it is valid."""

    __tablename__ = "certificate_key"
    __table_args__ = IN_KEY_ORDER

    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"))
    public_key_pem: Mapped[str] = mapped_column(String(1000))
    not_before: Mapped[int] = mapped_column(BigInteger)
    not_after: Mapped[int] = mapped_column(BigInteger)


class ApiKey(IssuingBase):
    """A key with which an app (device), a lab (admin) or a dashboard (stats) calls the API."""

    __tablename__ = "api_key"
    __table_args__ = IN_KEY_ORDER

    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """HMAC-SHA256 of the key under the registry's lookup key; the key itself is shown once, never kept."""
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"))
    kind: Mapped[str] = mapped_column(String(8))
    """`device`, `admin` or `stats`."""
    preview: Mapped[str] = mapped_column(String(12))
    disabled: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str] = mapped_column(String(100), default="", server_default="")
    """Whom it is for, such as a lab or an app."""
    made_on: Mapped[date | None] = mapped_column(Date)
    """UTC day; none for a key from before this was kept."""


class WrongCodeCount(IssuingBase):
    """How many wrong codes were tried at an authority in an hour, whoever tried them."""

    __tablename__ = "wrong_code_count"
    __table_args__ = IN_KEY_ORDER

    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """When it began, in unix seconds."""
    looked_at: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    """Tries that were over the bound: of these nobody knows whether they were wrong."""
