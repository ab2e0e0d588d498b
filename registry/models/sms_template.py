"""Issuing half: an authority's own texts of SMS."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.models.bases import IN_KEY_ORDER, IssuingBase


class SmsTemplate(IssuingBase):
    """One text, by its label and language. Names nobody: what is put into it is not stored."""

    __tablename__ = "sms_template"
    __table_args__ = IN_KEY_ORDER

    authority_id: Mapped[str] = mapped_column(ForeignKey("authority.id"), primary_key=True)
    label: Mapped[str] = mapped_column(String(40), primary_key=True)
    """What systems call it in `smsTemplateLabel`."""
    language: Mapped[str] = mapped_column(String(16), primary_key=True)
    text: Mapped[str] = mapped_column(String(800))
    """With placeholders (`registry.protocol.sms_text`)."""
