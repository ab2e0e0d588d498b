"""Issuing half: what an official stated, the code that was handed over, the token a phone got for it."""

from datetime import date

from sqlalchemy import BigInteger, Date, ForeignKey, Index, LargeBinary, String, false
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class Authorization(IssuingBase):
    """One statement: a positive result exists and the person agreed. Carries no date of the person's.

    Kept as the record of an official's act; the dates live beside the code and go with it.
    """

    __tablename__ = "authorization"
    __table_args__ = (
        # Statements are counted by the day.
        Index("ix_authorization_authority_id_stated_on", "authority_id", "stated_on"),
        IN_KEY_ORDER,
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"))
    official_id: Mapped[str | None] = mapped_column(ForeignKey("official.id"))
    """Who stated it at the portal; none if a lab's system did, through the API key below."""
    api_key_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    external_issuer_id: Mapped[str | None] = mapped_column(String(255))
    report_type: Mapped[str] = mapped_column(String(16))
    """The contract's word: `confirmed`, `likely`, `negative` or `user-report`."""
    consent_version: Mapped[str | None] = mapped_column(String(32))
    consent_language: Mapped[str | None] = mapped_column(String(16))
    consent_channel: Mapped[str | None] = mapped_column(String(16))
    stated_on: Mapped[date] = mapped_column(Date)
    """UTC day; nothing finer."""
    attestation_salt: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Random. With it this row can be shown to be the one that a receipt commits to; none in rows that were
    stated before there were receipts."""
    recall_sealed: Mapped[bytes | None] = mapped_column(LargeBinary(64))
    """Leads to the upload, for a recall: its handle, sealed to a key that the portal alone holds. None before
    the code was used, and again when no key of the upload can be left."""

    @property
    def is_self_report(self) -> bool:
        """Whether the person stated it, and no official and no laboratory."""
        return self.report_type == "user-report"

    def attestation(self) -> dict[str, str]:
        """What was stated, as a receipt commits to it: every column but the salt and the sealed handle, what
        is none left out."""
        issuer = None if self.api_key_hash is None else self.api_key_hash.hex()
        members = {
            "authorization": self.id,
            "authority": self.authority_id,
            "official": self.official_id,
            "api_key": issuer,
            "external_issuer": self.external_issuer_id,
            "report_type": self.report_type,
            "consent_version": self.consent_version,
            "consent_language": self.consent_language,
            "consent_channel": self.consent_channel,
            "stated_on": self.stated_on.isoformat(),
        }
        return {name: value for name, value in members.items() if value is not None}


class VerificationCode(IssuingBase):
    """The short secret that was handed over. Only its keyed hash is stored."""

    __tablename__ = "verification_code"
    __table_args__ = IN_KEY_ORDER

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    """The issuer's handle on the code, its own or ours; never the authorization's id."""
    authorization_id: Mapped[str] = mapped_column(ForeignKey("authorization.id"), index=True)
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"))
    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    link_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32), index=True, unique=True)
    """Of the code in the link and the QR code, which is used up together with the spoken one. None in rows
    from before there were links."""
    code_form: Mapped[str] = mapped_column(String(8), default="digits", server_default="digits")
    """A `CodeForm`: how hard it is to guess, and whether it may live longer than an hour."""
    report_type: Mapped[str] = mapped_column(String(16))
    test_date: Mapped[date | None] = mapped_column(Date)
    onset_date: Mapped[date | None] = mapped_column(Date)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    """Unix seconds, a multiple of 900: rounded up, so that it does not tell when the code was issued."""
    phone_made: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether the person's phone made the code and an official activated it, for a short while."""
    claimed: Mapped[bool] = mapped_column(default=False)
    claim_told: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether its issuer is told that it was claimed: once in a quarter of an hour, all codes at once.
    Sooner, what the official looks at would say when the phone called; no time is kept that would later."""
    nonce_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Keyed hash of what the phone must show besides; of self-reports alone."""
    delivery: Mapped[str | None] = mapped_column(String(8))
    """What became of the newest SMS with it, if there was one: `sent`, `twice` (perhaps), `refused`,
    `failed` or `unknown`."""


class CodeAtHand(IssuingBase):
    """A code and its link in clear for who issued them, for a quarter of an hour: sealed to a key of that
    browser's session, which is nowhere on this side once its request is answered."""

    __tablename__ = "code_at_hand"
    __table_args__ = IN_KEY_ORDER

    code_uuid: Mapped[str] = mapped_column(ForeignKey("verification_code.uuid"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary(92))
    """As `lifecycle.at_hand` seals it: all are of one length."""
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    """Unix seconds, a multiple of 900: a quarter of an hour after it was issued, rounded up."""


class ClaimsTold(IssuingBase):
    """In which quarter of an hour issuers were last told of claimed codes: one row."""

    __tablename__ = "claims_told"
    __table_args__ = IN_KEY_ORDER

    name: Mapped[str] = mapped_column(String(8), primary_key=True)
    quarter: Mapped[int] = mapped_column(BigInteger)
    """Of the registry's clock: unix seconds / 900."""


class VerificationToken(IssuingBase):
    """What a phone got for a code. Used once, for one certificate."""

    __tablename__ = "verification_token"
    __table_args__ = IN_KEY_ORDER

    token_id_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    """SHA-256 of the token's `jti`."""
    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"))
    report_type: Mapped[str] = mapped_column(String(16))
    test_date: Mapped[date | None] = mapped_column(Date)
    onset_date: Mapped[date | None] = mapped_column(Date)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    """Unix seconds, a multiple of 900."""
    used: Mapped[bool] = mapped_column(default=False)
    attestation: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Commitment to what was stated, for the certificate; cleared when the token is used, so that nothing of
    a receipt stays in this half."""
    recall_handle: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    """For the certificate, and cleared with it: from then on there is the sealed one alone."""
