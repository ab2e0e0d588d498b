"""Part of authorizing: the texts in which an authority sends codes, by label and language.

The text that comes with the registry is called `default`; an authority's own of that name stands in its
place, language by language. Changes are on record, by label and language.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.activity import actor_of, record_act
from registry.models import SmsTemplate
from registry.protocol.activity import ActKind
from registry.protocol.sms_text import DEFAULT_LABEL, DEFAULT_TEMPLATES, LABEL, SmsValues, faults_of


@dataclass(frozen=True, slots=True)
class SmsText:
    """One text. `is_own`: the authority's; else it came with the registry."""

    label: str
    language: str
    template: str
    is_own: bool


def sms_texts(session: Session, authority_id: str) -> Sequence[SmsText]:
    """All that the authority can send, by label and language."""
    own = {
        (row.label, row.language): SmsText(row.label, row.language, row.text, is_own=True)
        for row in session.scalars(select(SmsTemplate).filter_by(authority_id=authority_id))
    }
    built_in = {
        (DEFAULT_LABEL, language): SmsText(DEFAULT_LABEL, language, template, is_own=False)
        for language, template in DEFAULT_TEMPLATES.items()
    }
    return [text for _key, text in sorted({**built_in, **own}.items())]


def choose_text(
    session: Session, authority_id: str, *, label: str, language: str | None, languages: Sequence[str]
) -> str:
    """The template of that label, none meaning `default`; in `language`, or the first of `languages` that
    it is there in.

    Refuses with `unparsable_request` a label, or a language of it, that the authority has not.
    """
    wanted = label or DEFAULT_LABEL
    found: Mapping[str, str] = {
        text.language: text.template for text in sms_texts(session, authority_id) if text.label == wanted
    }
    for candidate in [language] if language else languages:
        if candidate in found:
            return found[candidate]
    raise Refusal(
        RefusalCode.UNPARSABLE_REQUEST, "there is no SMS text of this label in this language: ask for another"
    )


def keep_text(
    session: Session,
    text: SmsText,
    *,
    authority_id: str,
    official_id: str,
    sample: SmsValues,
    now: float,
) -> None:
    """Keep a text, in the place of the one of its label and language if there is one; the act last.

    Refuses with `bad_request` a label that is no name, and a text that could not be sent.
    """
    if not LABEL.fullmatch(text.label) or faults_of(text.template, sample):
        raise Refusal(RefusalCode.BAD_REQUEST, "this text cannot be sent")
    session.merge(
        SmsTemplate(authority_id=authority_id, label=text.label, language=text.language, text=text.template)
    )
    session.flush()
    _record(session, ActKind.SMS_TEXT_CHANGED, text.label, text.language, authority_id, official_id, now)


def drop_text(
    session: Session, label: str, language: str, *, authority_id: str, official_id: str, now: float
) -> None:
    """Drop a text of the authority's own; one that came with the registry is there again. The act last."""
    row = session.get(SmsTemplate, (authority_id, label, language))
    if row is None:
        return
    session.delete(row)
    session.flush()
    _record(session, ActKind.SMS_TEXT_DROPPED, label, language, authority_id, official_id, now)


def _record(
    session: Session,
    kind: ActKind,
    label: str,
    language: str,
    authority_id: str,
    official_id: str,
    now: float,
) -> None:
    actor = actor_of(official_id=official_id, api_key_hash=None, authority_id=authority_id)
    detail = {"label": label, "language": language}
    record_act(session, chain=authority_id, kind=kind, actor=actor, detail=detail, now=now)
