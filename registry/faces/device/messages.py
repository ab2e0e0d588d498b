"""The SMS of /api/issue: what is asked for is checked before there is a code, and sent once there is one.

The code is committed before its SMS goes out: an SMS with a code that does not exist is worse than a code
that nobody has. If it does not go out, the code is undone in a second transaction, and a crash in between
leaves a live code that nobody has. Where a gateway went silent it is undone too: the caller is told of a
failure, and who tells somebody to ask again must not leave them two codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session
from werkzeug.exceptions import BadRequest

from registry.delivery.messages import Message
from registry.delivery.sms import Delivery
from registry.errors import Refusal, RefusalCode
from registry.faces.device.settings import IssuingFace
from registry.lifecycle.authorize import IssuedCode
from registry.lifecycle.sms_texts import choose_text
from registry.lifecycle.statistics import count_sms_error
from registry.lifecycle.undo import undo_code
from registry.models import Authority, transaction
from registry.protocol.signed_sms import SmsPurpose
from registry.protocol.sms_text import DEFAULT_TEMPLATES

LANGUAGES = tuple(DEFAULT_TEMPLATES)


@dataclass(frozen=True, slots=True)
class WantedSms:
    """An SMS that goes out once there is a code; or, `only_text`, whose text is handed to the caller."""

    message: Message
    only_text: bool
    authority_id: str


def wanted_sms(
    face: IssuingFace, session: Session, authority_id: str, members: Mapping[str, Any]
) -> WantedSms | None:
    """What a request for a code wants sent; None for nothing. Writes nothing.

    Refuses with `unparsable_request` (`onlyGenerateSMS` without a number, or where the authority does not
    allow it; an unknown label or language), `phone_number_invalid` and `sms_failure` (no gateway for the
    country). Raises BadRequest, and so no code, where no gateway is set up.
    """
    only_text: bool = members["only_generate_sms"]
    if not members["phone"]:
        if only_text:
            raise Refusal(RefusalCode.UNPARSABLE_REQUEST, "'onlyGenerateSMS' needs a 'phone'")
        return None
    authority = session.get_one(Authority, authority_id)
    if only_text and not (authority.generate_sms_allowed and face.sms):
        raise Refusal(RefusalCode.UNPARSABLE_REQUEST, "'onlyGenerateSMS' is not allowed here")
    if face.sms is None or (face.sms.desk is None and not only_text):
        raise BadRequest("no SMS gateway is set up: leave 'phone' out and hand the code over yourself")
    number = face.sms.read_number(members["phone"])
    if face.sms.desk is not None and not only_text:
        face.sms.desk.check(number)
    template = choose_text(
        session,
        authority_id,
        label=members["sms_template_label"],
        language=members["sms_language"] or None,
        languages=LANGUAGES,
    )
    signed = authority.sms_signed
    message = face.sms.message(
        number, template, authority_id=authority_id, signed=signed, purpose=SmsPurpose.ISSUED
    )
    return WantedSms(message, only_text, authority_id)


def deliver(face: IssuingFace, session: Session, wanted: WantedSms, issued: IssuedCode) -> dict[str, str]:
    """Send what was wanted, or give back its text: what the answer says of it.

    Refuses with `sms_failure` and `sms_queue_full`, the code undone.
    """
    if face.sms is None:
        raise TypeError("an SMS is wanted where none can be made")
    values = face.sms.values(issued.code, issued.link_code, issued.expires_at, face.clock())
    sms = face.sms.sms(wanted.message, values, face.clock())
    if wanted.only_text:
        return {"generatedSMS": sms.text, "phone": sms.to.e164}
    try:
        if face.sms.desk is None:
            raise TypeError("an SMS is to be sent where there is no gateway")
        delivery = face.sms.desk.send(sms).delivery
    except Refusal as refusal:
        undone(face, session, wanted.authority_id, issued, refusal.code.value)
        raise
    if delivery is not Delivery.SENT and undone(face, session, wanted.authority_id, issued, delivery.value):
        raise Refusal(RefusalCode.SMS_FAILURE, _REASONS[delivery])
    return {}


def undone(face: IssuingFace, session: Session, authority_id: str, issued: IssuedCode, why: str) -> bool:
    """Count why and undo the code; not undone (False) if a phone has used it: its SMS arrived after all."""
    now, is_our_fault = face.clock(), why != Delivery.REFUSED.value
    with transaction(session):
        # A crash before this commit leaves a code that nobody has, until it expires.
        # Counted first, for the act comes last.
        count_sms_error(session, authority_id, why, now)
        return undo_code(session, issued.uuid, now=now, is_our_fault=is_our_fault)


_REASONS = {
    Delivery.REFUSED: "the gateway refused this number; the code is undone",
    Delivery.FAILED: "no gateway took the SMS; the code is undone: try again later",
    Delivery.UNKNOWN: "no gateway said whether it sent the SMS; should it come, the code in it is undone",
}
