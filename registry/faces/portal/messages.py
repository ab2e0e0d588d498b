"""Sending an official's code by SMS. The number lives for the length of the request, and the code's row keeps
one word on what became of the SMS."""

import logging
from collections.abc import Sequence

from flask import g
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from wtforms.validators import ValidationError

from registry.delivery.messages import SmsMaker
from registry.delivery.sms import Delivery, Outcome
from registry.errors import Refusal, RefusalCode, Unavailable
from registry.faces.database import db
from registry.faces.portal.consent import CONSENT_LANGUAGES
from registry.faces.portal.settings import this_face
from registry.lifecycle.at_hand import AtHand, begin_delivery, note_delivery
from registry.lifecycle.authorize import IssuedCode
from registry.lifecycle.sms_texts import choose_text, sms_texts
from registry.lifecycle.statistics import count_sms_error
from registry.models import Authority, transaction
from registry.protocol.signed_sms import SmsPurpose
from registry.protocol.sms_text import DEFAULT_LABEL, fill

log = logging.getLogger("registry.faces.portal")

STATES = {
    Outcome(Delivery.SENT).word: lazy("SMS: a gateway has accepted it."),
    Outcome(Delivery.SENT, maybe_twice=True).word: lazy(
        "SMS: a gateway has accepted it. It may arrive twice."
    ),
    Outcome(Delivery.REFUSED).word: lazy(
        "SMS: the gateway refused this number. Check it with the person, then send it again."
    ),
    Outcome(Delivery.FAILED).word: lazy(
        "SMS: not sent, no gateway took it. Read the code out, or try again."
    ),
    Outcome(Delivery.UNKNOWN).word: lazy(
        "SMS: not known whether it was sent. Ask the person; you can send it again."
    ),
}
"""What is said of an SMS, by the word on the code's row."""


def sms_maker() -> SmsMaker | None:
    """What sends SMS here; None where no gateway is set up."""
    maker = this_face().sms
    return None if maker is None or maker.desk is None else maker


def sms_labels() -> Sequence[str]:
    """Labels of the texts that the authority can send, `default` first."""
    labels = {text.label for text in sms_texts(db.session(), g.official.authority_id)}
    return [DEFAULT_LABEL, *sorted(labels - {DEFAULT_LABEL})]


def check_number(text: str) -> None:
    """Raises ValidationError for what is no number, or one that no gateway sends to."""
    maker = sms_maker()
    if maker is None or maker.desk is None:
        raise ValidationError(_("No SMS can be sent here: read the code out."))
    try:
        maker.desk.check(maker.read_number(text))
    except Refusal as refusal:
        if refusal.code is RefusalCode.SMS_FAILURE:
            raise ValidationError(_("No SMS can be sent to this country: read the code out.")) from None
        raise ValidationError(
            _("This is no telephone number: write it with + and the country’s code, like +86 138 0000 0000.")
        ) from None


def check_label(label: str) -> None:
    """Raises ValidationError for a text that the authority has not."""
    if label not in sms_labels():
        raise ValidationError(_("Choose the text of the SMS."))


def shown_text(codes: AtHand, expires_at: int, language: str) -> str | None:
    """In a demonstration, which sends nothing, the SMS as it would go out by default; else None."""
    face, maker = this_face(), sms_maker()
    if maker is None or not maker.only_shows:
        return None
    template = choose_text(
        db.session(),
        g.official.authority_id,
        label="",
        language=None,
        languages=(language, *CONSENT_LANGUAGES),
    )
    return fill(template, maker.values(codes.code, codes.link_code, expires_at, face.clock()))


def send_code(
    uuid: str, codes: AtHand | IssuedCode, *, expires_at: int, number: str, label: str, language: str
) -> None:
    """Send a code of the official's own, in the person's language, and note what became of it.

    Refuses with `phone_number_invalid` and `unparsable_request` (an unknown label) what no form lets through,
    and with `code_expired` if the code is over; whatever else goes wrong is told by the code's page.
    """
    face, session, authority_id = this_face(), db.session(), g.official.authority_id
    template = choose_text(
        session, authority_id, label=label, language=None, languages=(language, *CONSENT_LANGUAGES)
    )
    is_signed = session.get_one(Authority, authority_id).sms_signed
    with transaction(session):
        # A crash from here on leaves "not known", never an SMS that nobody heard of.
        begin_delivery(
            session,
            uuid,
            official_id=g.official.official_id,
            authority_id=authority_id,
            now=face.clock(),
        )
    outcome = _send(codes, expires_at, number, template, is_signed=is_signed)
    with transaction(session):
        note_delivery(session, uuid, outcome.word)
        if outcome.delivery is not Delivery.SENT:
            count_sms_error(session, authority_id, outcome.delivery.value, face.clock())


def _send(
    codes: AtHand | IssuedCode, expires_at: int, number: str, template: str, *, is_signed: bool
) -> Outcome:
    maker, now = sms_maker(), this_face().clock()
    if maker is None or maker.desk is None:
        raise TypeError("an SMS is to be sent where there is no gateway")
    to = maker.read_number(number)
    try:
        message = maker.message(
            to,
            template,
            authority_id=g.official.authority_id,
            signed=is_signed,
            purpose=SmsPurpose.ISSUED,
        )
        values = maker.values(codes.code, codes.link_code, expires_at, now)
        return maker.desk.send(maker.sms(message, values, now))
    except Unavailable as error:
        # The operator must act; who has a person on the telephone reads the code out.
        log.error("no SMS: %s", error)  # noqa: TRY400
    except Refusal as refusal:
        log.warning("no SMS: %s", refusal.code)
    return Outcome(Delivery.FAILED)
