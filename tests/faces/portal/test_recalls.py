"""Recalls at the portal: one official asks, another decides, and the pages say what that does."""

from datetime import date

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from registry.lifecycle.activity import acts_of, check_all_chains
from registry.lifecycle.certify import certify, verify_code
from registry.lifecycle.recall_orders import RecallSelector, ask_recall
from registry.models import (
    Authority,
    Authorization,
    Official,
    RecallOrder,
    VerificationCode,
    VerificationToken,
    transaction,
)
from registry.models.official import new_sign_in_link
from registry.models.recall import RecallReason
from registry.protocol.activity import decode_act
from registry.protocol.certificate import read_certificate
from registry.protocol.encoding import encode_base64
from tests.authority import RECALL_KEY, MadeSigner
from tests.faces.portal.conftest import AUTHORITY, TODAY, Portal, code_on, field, fill_in, hand_over

CERTIFICATES, TOKENS = MadeSigner("c1"), MadeSigner("t1")


@pytest.fixture
def first(portal: Portal) -> FlaskClient:
    """The browser of the official who states and asks."""
    return portal.signed_in()


@pytest.fixture
def second(portal: Portal, first: FlaskClient) -> FlaskClient:
    """The browser of another official of the authority."""
    with transaction(portal.session):
        portal.session.add(Official(id="official-2", authority_id=AUTHORITY, name="Li Na"))
        portal.session.flush()
        link = f"/portal/sign-in/{new_sign_in_link(portal.session, 'official-2', now=portal.clock())}"
    browser = portal.browser()
    browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
    return browser


def statement(portal: Portal, browser: FlaskClient) -> tuple[str, str]:
    """(number, code) of a fresh statement."""
    known = {row.id for row in portal.rows(Authorization)}
    code = code_on(hand_over(browser, fill_in(browser)))
    (number,) = {row.id for row in portal.rows(Authorization)} - known
    return number, code


def use(portal: Portal, code: str, *, as_far_as: str = "certificate") -> bytes:
    """A phone uses the code; the upload's handle."""
    policy = portal.app.extensions["registry_portal"].policy
    portal.session.rollback()
    with transaction(portal.session):
        token = verify_code(
            portal.session,
            body=code.encode(),
            code=code,
            padding=b"",
            accept=frozenset({"confirmed"}),
            authority_id=AUTHORITY,
            lookup_key=b"l" * 32,
            token_signer=TOKENS,
            recall_public_key=RECALL_KEY.public_key(),
            policy=policy,
            now=portal.clock(),
        ).token
    if as_far_as == "token":
        return b""
    with transaction(portal.session):
        certificate = certify(
            portal.session,
            token=token,
            ekeyhmac_text=encode_base64(b"m" * 32),
            authority=portal.session.get_one(Authority, AUTHORITY),
            token_public_keys={"t1": TOKENS.public_key},
            certificate_signer=CERTIFICATES,
            policy=policy,
            now=portal.clock(),
        )
    return read_certificate(certificate).recall_handle or b""


def ask(browser: FlaskClient, number: str, **answers: str) -> str:
    """Ask for a recall; path of the order's page."""
    path = f"/portal/recalls/ask/{number}"
    answers = {
        "reason": "mistake",
        "known": "y",
        "csrf_token": field(browser.get(path), "csrf_token"),
    } | answers
    answer = browser.post(path, data=answers)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def decide(browser: FlaskClient, path: str, how: str, **answers: str) -> int:
    """The status of a decision; with a token of the overview's, for whoever is shown no form."""
    csrf_token = field(browser.get("/portal/recalls/"), "csrf_token")
    return browser.post(f"{path}/{how}", data={"known": "y", "csrf_token": csrf_token} | answers).status_code


def order_of(portal: Portal) -> RecallOrder:
    """The only order."""
    portal.session.rollback()
    return portal.session.scalars(select(RecallOrder).execution_options(populate_existing=True)).one()


def test_one_asks_another_approves_and_only_then_the_handle_is_opened(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    number, code = statement(portal, first)
    handle = use(portal, code)
    assert number in first.get("/portal/recalls/").text
    path = ask(first, number)
    order = order_of(portal)
    assert (order.state, order.handles, order.asked_on) == ("asked", None, TODAY)
    shown = second.get(path).text
    assert "Wang Fang" in shown
    assert number in shown
    assert "keep a warning that rests on a confirmed result" in shown
    assert "you can decide" in second.get("/portal/recalls/").text
    assert decide(second, path, "approve") == 303
    order = order_of(portal)
    assert (order.state, order.handles, order.uploads) == ("approved", handle, 1)
    assert (order.asked_by, order.decided_by) == ("official-1", "official-2")
    assert "approved, done before the next publishing" in first.get(path).text
    assert handle.hex() not in first.get(path).text


def test_nobody_approves_or_refuses_the_own_order(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    number, _code = statement(portal, first)
    path = ask(first, number)
    page = first.get(path).text
    assert "another official of your authority must decide" in page
    assert "Approve the recall" not in page
    for how in ("approve", "refuse"):
        assert decide(first, path, how) == 409
        assert order_of(portal).state == "asked"


def test_what_was_decided_stays_decided(portal: Portal, first: FlaskClient, second: FlaskClient) -> None:
    number, code = statement(portal, first)
    use(portal, code)
    path = ask(first, number)
    assert decide(second, path, "refuse") == 303
    assert decide(second, path, "approve") == 409
    order = order_of(portal)
    assert (order.state, order.handles) == ("refused", None)
    assert "refused" in first.get(path).text
    ask(first, number)  # it may be asked for again


def test_an_official_whose_own_statements_are_meant_does_not_decide(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    statement(portal, first)
    with transaction(portal.session):
        selector = RecallSelector(official_id="official-1", stated_from=TODAY, stated_to=TODAY)
        order_id = ask_recall(
            portal.session,
            selector,
            RecallReason.MISTAKE,
            authority_id=AUTHORITY,
            asked_by=None,
            now=portal.clock(),
        )
    path = f"/portal/recalls/{order_id}"
    assert "It is about your own statements" in first.get(path).text
    assert decide(first, path, "refuse") == 409
    shown = second.get(path).text
    assert "everything that Wang Fang stated from 2026-06-15 to 2026-06-15" in shown
    assert "an operator, by command" in shown
    assert decide(second, path, "approve") == 303


def test_the_author_of_one_statement_decides_if_somebody_else_asked(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    number, code = statement(portal, first)
    use(portal, code)
    path = ask(second, number)
    assert "Approve the recall" in first.get(path).text
    assert decide(second, path, "approve") == 409, "who asked, never"
    assert decide(first, path, "approve") == 303
    order = order_of(portal)
    assert (order.asked_by, order.decided_by) == ("official-2", "official-1"), "two people have acted"


def test_without_the_ticks_nothing_happens(portal: Portal, first: FlaskClient, second: FlaskClient) -> None:
    number, _code = statement(portal, first)
    path = f"/portal/recalls/ask/{number}"
    token = field(first.get(path), "csrf_token")
    for answers, wanted in (
        ({"reason": "mistake"}, "Read what a recall does"),
        ({"known": "y"}, "Choose why it is recalled"),
        ({"known": "y", "reason": "other"}, "Choose why it is recalled"),
    ):
        answer = first.post(path, data=answers | {"csrf_token": token})
        assert answer.status_code == 400
        assert wanted in answer.text
    assert portal.rows(RecallOrder) == []
    order = ask(first, number)
    assert decide(second, order, "approve", known="n") == 400
    assert order_of(portal).state == "asked"


def test_a_statement_is_asked_for_once_at_a_time(portal: Portal, first: FlaskClient) -> None:
    number, _code = statement(portal, first)
    ask(first, number)
    path = f"/portal/recalls/ask/{number}"
    answers = {"reason": "mistake", "known": "y", "csrf_token": field(first.get(path), "csrf_token")}
    again = first.post(path, data=answers)
    assert again.status_code == 409
    assert "under way already" in again.text


def test_a_statement_is_found_by_the_number_that_stood_below_the_code(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    page = hand_over(first, fill_in(first))
    (row,) = portal.rows(Authorization)
    number = str(row.id)  # type: ignore[attr-defined]
    assert number in page.text
    token = field(second.get("/portal/recalls/"), "csrf_token")
    found = second.post("/portal/recalls/find", data={"number": f" {number.upper()} ", "csrf_token": token})
    assert found.headers["Location"] == f"/portal/recalls/ask/{number}"
    for wrong, wanted in (("", "Type the number"), ("a" * 36, "There is no statement with this number")):
        answer = second.post("/portal/recalls/find", data={"number": wrong, "csrf_token": token})
        assert answer.status_code == 400
        assert wanted in answer.text


def test_another_authoritys_statements_and_orders_are_not_there(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    number, _code = statement(portal, first)
    path = ask(first, number)
    with transaction(portal.session):
        portal.session.add(Authority(id="other", name="x", certificate_issuer="x", certificate_audience="x"))
        portal.session.flush()
        for row in (
            *portal.session.scalars(select(Authorization)),
            *portal.session.scalars(select(RecallOrder)),
        ):
            row.authority_id = "other"
    assert second.get(path).status_code == 404
    assert second.get(f"/portal/recalls/ask/{number}").status_code == 404
    assert number not in second.get("/portal/recalls/").text
    assert decide(second, path, "approve") == 404


def test_nobody_sees_recalls_without_being_signed_in(portal: Portal, first: FlaskClient) -> None:
    number, _code = statement(portal, first)
    path = ask(first, number)
    stranger = portal.browser()
    for page in ("/portal/recalls/", path, f"/portal/recalls/ask/{number}"):
        assert stranger.get(page).status_code == 403


@pytest.mark.parametrize("as_far_as", ["nothing", "token"])
def test_what_no_phone_has_finished_ends_with_the_approval(
    portal: Portal, first: FlaskClient, second: FlaskClient, as_far_as: str
) -> None:
    number, code = statement(portal, first)
    if as_far_as == "token":
        use(portal, code, as_far_as="token")
    assert decide(second, ask(first, number), "approve") == 303
    portal.session.rollback()
    assert portal.rows(VerificationToken) == []
    (row,) = portal.session.scalars(select(VerificationCode))
    assert row.claimed or row.expires_at <= portal.clock()
    assert row.expires_at % 900 == 0


def test_each_step_is_an_act_and_the_chain_holds(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    number, _code = statement(portal, first)
    decide(second, ask(first, number, reason="consent_withdrawn"), "approve")
    portal.session.rollback()
    check_all_chains(portal.session)
    acts = [decode_act(event.content) for event in acts_of(portal.session, AUTHORITY)]
    steps = [(act.kind, act.actor) for act in acts if act.kind.startswith("recall")]
    assert steps == [("recall_asked", "official:official-1"), ("recall_approved", "official:official-2")]
    assert acts[-1].detail == {
        "order": order_of(portal).id,
        "authorization": number,
        "reason": "consent_withdrawn",
        "uploads": 0,
    }


def test_the_list_holds_the_last_days_of_ones_own(
    portal: Portal, first: FlaskClient, second: FlaskClient
) -> None:
    number, _code = statement(portal, first)
    assert number not in second.get("/portal/recalls/").text
    with transaction(portal.session):
        (row,) = portal.session.scalars(select(Authorization))
        row.stated_on = date(2026, 6, 7)
    assert number not in first.get("/portal/recalls/").text


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_pages_in_both_languages(
    portal: Portal, first: FlaskClient, second: FlaskClient, language: str
) -> None:
    number, code = statement(portal, first)
    use(portal, code)
    path = ask(first, number)
    words = {"zh": ("撤回的后果", "批准撤回"), "en": ("What a recall does", "Approve the recall")}[language]
    page = second.get(f"{path}?lang={language}").text
    for word in words:
        assert word in page
    waits = {"zh": "等待另一名工作人员决定", "en": "waits for another official"}[language]
    assert waits in second.get("/portal/recalls/").text
    assert decide(second, path, "approve") == 303
