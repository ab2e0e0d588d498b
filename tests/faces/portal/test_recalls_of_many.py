"""One official asks for everything that somebody stated between two days; another decides."""

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from registry.models import ApiKey, Authority, Authorization, Official, RecallOrder, transaction
from tests.faces.portal.conftest import AUTHORITY, Portal, field, fill_in, hand_over

KEY_HASH = b"\x0a" * 32
ASKED = {"first": "2026-06-14", "last": "2026-06-15", "reason": "mistake", "known": "y"}
BY_NAME = {
    "official:official-1": "everything that Wang Fang stated",
    f"api-key:{KEY_HASH.hex()}": "everything that the API key lab-k…",
    "issuer:North lab": "everything that the outside issuer North lab",
}


@pytest.fixture
def asker(portal: Portal) -> FlaskClient:
    """The browser of an official who may ask, beside one who states and a lab that does."""
    with transaction(portal.session):
        portal.session.add(Official(id="official-2", authority_id=AUTHORITY, name="Li Na"))
        portal.session.add(ApiKey(key_hash=KEY_HASH, authority_id=AUTHORITY, kind="admin", preview="lab-k"))
    author = portal.signed_in()
    for _ in range(2):
        hand_over(author, fill_in(author))
    with transaction(portal.session):
        one, other = portal.session.scalars(select(Authorization).order_by(Authorization.id))
        other.official_id, other.api_key_hash, other.external_issuer_id = None, KEY_HASH, "North lab"
    assert one.official_id == "official-1"
    return portal.signed_in("official-2")


def ask(browser: FlaskClient, **answers: str) -> TestResponse:
    """Send the form."""
    token = field(browser.get("/portal/recalls/all/"), "csrf_token")
    return browser.post("/portal/recalls/all/", data=ASKED | {"csrf_token": token} | answers)


@pytest.mark.parametrize("whose", BY_NAME)
def test_whoever_stated_something_can_be_meant_and_the_order_says_what_it_means(
    portal: Portal, asker: FlaskClient, whose: str
) -> None:
    answer = ask(asker, whose=whose)
    assert answer.status_code == 303
    page = asker.get(answer.headers["Location"]).text
    assert BY_NAME[whose] in page
    assert "from 2026-06-14 to 2026-06-15" in page
    assert "<dt>Statements</dt><dd>1</dd>" in page
    (order,) = portal.rows(RecallOrder)
    assert (order.asked_by, order.state, order.handles) == ("official-2", "asked", None)  # type: ignore[attr-defined]


def test_the_official_who_is_meant_does_not_decide(portal: Portal, asker: FlaskClient) -> None:
    path = ask(asker, whose="official:official-1").headers["Location"]
    page = portal.signed_in().get(path).text
    assert "It is about your own statements" in page
    assert "Approve the recall" not in page


@pytest.mark.parametrize(
    ("answers", "element", "advice"),
    [
        ({"whose": ""}, "whose", "Choose whose statements"),
        ({"whose": "official:stranger"}, "whose", "Choose whose statements"),
        ({"whose": "official:other-1"}, "whose", "Choose whose statements"),
        ({"first": ""}, "first", "Give the day"),
        ({"last": "15.6.2026"}, "last", "year-month-day"),
        ({"last": "2026-06-13"}, "last", "before the first"),
        ({"first": "2026-06-17", "last": "2026-06-18"}, "first", "in the future"),
        ({"reason": ""}, "reason-0", "Choose why"),
        ({"known": ""}, "known", "Read what a recall does"),
    ],
)
def test_wrong_input_says_what_to_do_and_asks_for_nothing(
    portal: Portal, asker: FlaskClient, answers: dict[str, str], element: str, advice: str
) -> None:
    with transaction(portal.session):
        portal.session.add(Authority(id="other", name="x", certificate_issuer="x", certificate_audience="x"))
        portal.session.flush()
        portal.session.add(Official(id="other-1", authority_id="other", name="Elsewhere"))
    page = ask(asker, **{"whose": "official:official-1"} | answers)
    assert page.status_code == 400
    told = page.text[page.text.index('role="alert"') :].split("</ul>")[0]
    assert f'href="#{element}"' in told
    assert advice in told
    assert "Elsewhere" not in page.text
    assert portal.rows(RecallOrder) == []


def test_days_without_a_statement_ask_for_nothing(portal: Portal, asker: FlaskClient) -> None:
    page = ask(asker, whose="official:official-1", first="2026-06-01", last="2026-06-02")
    assert page.status_code == 409
    assert "There is no statement of theirs of these days." in page.text
    assert portal.rows(RecallOrder) == []
