"""API keys are made and shown once, disabled and enabled, by whoever may."""

import logging
import re

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.lifecycle.activity import acts_of, check_chain
from registry.lifecycle.authorize import hash_api_key
from registry.models import ApiKey, Authority, CertificateKey, Official, transaction
from registry.models.official import Permission, permission_text
from registry.protocol.activity import decode_act
from tests.authority import MadeSigner
from tests.faces.portal.conftest import AUTHORITY, Portal, field

PATH = "/portal/keys/"


@pytest.fixture
def keeper(portal: Portal) -> FlaskClient:
    """A browser of somebody who may look after keys."""
    with transaction(portal.session):
        may = permission_text([Permission.KEYS])
        portal.session.add(
            Official(id="official-0", authority_id=AUTHORITY, name="Zhao Min", permission_text=may)
        )
    return portal.signed_in("official-0")


def make(browser: FlaskClient, **answers: str) -> TestResponse:
    token = field(browser.get(PATH), "csrf_token")
    form = {"csrf_token": token, "kind": "admin", "name": "Lab of Wuhan"} | answers
    return browser.post(PATH, data=form)


def key_on(page: TestResponse) -> str:
    found = re.search(r'<samp class="link">([\w-]{64})</samp>', page.text)
    assert found, page.text
    return found[1]


def rows(portal: Portal) -> list[ApiKey]:
    return [row for row in portal.rows(ApiKey) if isinstance(row, ApiKey)]


def test_a_key_is_shown_once_and_kept_as_its_hash(
    portal: Portal, keeper: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        page = make(keeper)
    api_key = key_on(page)
    assert page.headers["Cache-Control"] == "no-store"
    assert api_key not in caplog.text + str(page.headers)
    listed = keeper.get(PATH).text
    assert api_key not in listed
    assert f"{api_key[:6]}…" in listed
    assert "Lab of Wuhan" in listed
    assert "made on 2026-06-15" in listed
    (row,) = rows(portal)
    assert (row.key_hash, row.kind) == (hash_api_key(b"l" * 32, api_key), "admin")


def test_a_key_is_disabled_and_enabled_and_each_is_on_record_once(
    portal: Portal, keeper: FlaskClient
) -> None:
    make(keeper)
    (row,) = rows(portal)
    form = {"csrf_token": field(keeper.get(PATH), "csrf_token"), "key": row.key_hash.hex()}
    for _ in range(2):
        assert keeper.post(f"{PATH}disable", data=form).status_code == 303
        assert [key.disabled for key in rows(portal)] == [True]
    assert "disabled" in keeper.get(PATH).text
    assert keeper.post(f"{PATH}enable", data=form).status_code == 303
    assert [key.disabled for key in rows(portal)] == [False]
    events = acts_of(portal.session, AUTHORITY)
    check_chain(events)
    acts = [decode_act(event.content) for event in events][1:]
    assert [act.kind for act in acts] == ["api_key_made", "api_key_disabled", "api_key_enabled"]
    assert {act.actor for act in acts} == {"official:official-0"}
    assert dict(acts[0].detail) == {"api_key": row.key_hash.hex(), "kind": "admin"}


@pytest.mark.parametrize(
    ("answers", "advice"),
    [
        ({"name": " "}, "Say whom it is for"),
        ({"name": "x" * 101}, "At most 100"),
        ({"name": "a\nb"}, "in one line"),
        ({"kind": "king"}, "Choose who calls"),
    ],
)
def test_a_wrong_form_makes_no_key(
    portal: Portal, keeper: FlaskClient, answers: dict[str, str], advice: str
) -> None:
    page = make(keeper, **answers)
    assert page.status_code == 400
    assert advice in page.text
    assert rows(portal) == []


def test_a_key_of_another_authority_is_not_there(portal: Portal, keeper: FlaskClient) -> None:
    with transaction(portal.session):
        portal.session.add(Authority(id="other", name="x", certificate_issuer="y", certificate_audience="y"))
        portal.session.flush()
        portal.session.add(
            ApiKey(key_hash=b"k" * 32, authority_id="other", kind="device", preview="abcdef", name="Theirs")
        )
    assert "Theirs" not in keeper.get(PATH).text
    token = field(keeper.get(PATH), "csrf_token")
    for key in ((b"k" * 32).hex(), "00", "no hex"):
        answer = keeper.post(f"{PATH}disable", data={"csrf_token": token, "key": key})
        assert answer.status_code == 404
        assert "no such key" in answer.text
    assert [key.disabled for key in rows(portal)] == [False]


def test_certificate_keys_are_listed_with_their_days(portal: Portal, keeper: FlaskClient) -> None:
    with transaction(portal.session):
        portal.session.add(
            CertificateKey(
                key_id="c-1",
                authority_id=AUTHORITY,
                public_key_pem=MadeSigner("c-1").public_key_pem,
                not_before=1_780_000_000,
                not_after=1_811_536_000,
            )
        )
    page = keeper.get(PATH).text
    assert "c-1" in page
    assert "from 2026-05-28 to 2027-05-28" in page
