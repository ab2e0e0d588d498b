"""An authority's texts: its own before the registry's, chosen by label and language, changes on record."""

import pytest
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.activity import acts_of
from registry.lifecycle.sms_texts import SmsText, choose_text, drop_text, keep_text, sms_texts
from registry.models import transaction
from registry.protocol.activity import decode_act
from registry.protocol.sms_text import DEFAULT_TEMPLATES, sample_values
from tests.authority import AUTHORITY, MadeSigner, found_issuing
from tests.clock import FakeClock

SAMPLE = sample_values("XA", "https://keys.health.example", 86_400)
BOTH = ("zh", "en")


@pytest.fixture
def session(issuing_session: Session) -> Session:
    found_issuing(issuing_session, MadeSigner("c1"))
    return issuing_session


def keep(session: Session, label: str, language: str, template: str) -> None:
    with transaction(session):
        keep_text(
            session,
            SmsText(label, language, template, is_own=True),
            authority_id=AUTHORITY,
            official_id="official-1",
            sample=SAMPLE,
            now=FakeClock()(),
        )


def chosen(session: Session, label: str = "", language: str | None = None) -> str:
    return choose_text(session, AUTHORITY, label=label, language=language, languages=BOTH)


def test_an_authoritys_own_text_stands_before_the_registrys_language_by_language(session: Session) -> None:
    assert chosen(session) == DEFAULT_TEMPLATES["zh"]
    keep(session, "default", "en", "Code [code]")
    assert chosen(session, language="en") == chosen(session, "default", "en") == "Code [code]"
    assert chosen(session, language="zh") == DEFAULT_TEMPLATES["zh"]
    with transaction(session):
        drop_text(
            session, "default", "en", authority_id=AUTHORITY, official_id="official-1", now=FakeClock()()
        )
    assert chosen(session, language="en") == DEFAULT_TEMPLATES["en"]


def test_a_label_is_found_in_the_first_language_that_it_is_there_in(session: Session) -> None:
    keep(session, "county", "en", "One [code]")
    assert chosen(session, "county") == "One [code]"
    for label, language in (("county", "zh"), ("other", None), ("default", "fr")):
        with pytest.raises(Refusal) as refused:
            chosen(session, label, language)
        assert refused.value.code is RefusalCode.UNPARSABLE_REQUEST
    assert [(text.label, text.language, text.is_own) for text in sms_texts(session, AUTHORITY)] == [
        ("county", "en", True),
        ("default", "en", False),
        ("default", "zh", False),
    ]
    assert not [text for text in sms_texts(session, "another") if text.is_own]


@pytest.mark.parametrize(("label", "template"), [("a b", "[code]"), ("", "[code]"), ("a", "no way in")])
def test_what_cannot_be_sent_is_not_kept(session: Session, label: str, template: str) -> None:
    with pytest.raises(Refusal):
        keep(session, label, "en", template)
    assert not [text for text in sms_texts(session, AUTHORITY) if text.is_own]


def test_changes_are_on_record_and_a_drop_of_nothing_is_none(session: Session) -> None:
    keep(session, "county", "en", "[code]")
    keep(session, "county", "en", "[link]")
    for _ in range(2):
        with transaction(session):
            drop_text(session, "county", "en", authority_id=AUTHORITY, official_id="official-1", now=0)
    acts = [decode_act(event.content) for event in acts_of(session, AUTHORITY)]
    assert [act.kind for act in acts] == ["sms_text_changed", "sms_text_changed", "sms_text_dropped"]
    assert acts[0].detail == {"label": "county", "language": "en"}
