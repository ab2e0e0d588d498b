"""Passkeys: enrolled after a link, good for coming in, asked for a fresh proof; and what is none."""

import copy
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.lifecycle.activity import acts_of, check_chain
from registry.lifecycle.retire import retire_issuing
from registry.models import Official, Passkey, PortalSession, SpentChallenge, transaction
from registry.models.official import Permission, permission_text
from registry.protocol.activity import decode_act
from tests.authenticator import USER_PRESENT, USER_VERIFIED, Authenticator
from tests.faces.portal.conftest import AUTHORITY, Portal, field, fill_in

HOME = "https://keys.health.example"
SIGN_IN, OWN = "/portal/sign-in", "/portal/passkeys/"


def device(**more: Any) -> Authenticator:
    return Authenticator(**({"origin": HOME, "rp_id": "keys.health.example"} | more))


def token(browser: FlaskClient, path: str = "/portal/passkeys/") -> str:
    return field(browser.get(path, base_url=HOME), "csrf_token")


def enrol(browser: FlaskClient, made: Authenticator, label: str = "Ward tablet") -> TestResponse:
    form = {"csrf_token": token(browser), "label": label}
    return browser.post(
        OWN, base_url=HOME, data=form | {"new_passkey": made.create(options_at_home(browser, "enrol"))}
    )


def options_at_home(browser: FlaskClient, purpose: str) -> dict[str, Any]:
    answer = browser.get(
        f"/portal/passkeys/options/{purpose}", base_url=HOME, headers={"Sec-Fetch-Mode": "cors"}
    )
    assert answer.status_code == 200, answer.status
    found: dict[str, Any] = answer.get_json()
    return found


def at_home(portal: Portal, official_id: str = "official-1") -> FlaskClient:
    """A browser at the portal's own address, in which the official came in by a link."""
    browser, link = portal.browser(), portal.link(official_id)
    browser.post(link, base_url=HOME, data={"csrf_token": token(browser, link)})
    return browser


def come_in(
    portal: Portal, made: Authenticator, change: Callable[[str], str] = lambda text: text
) -> TestResponse:
    browser = portal.browser()
    form = {"csrf_token": token(browser, SIGN_IN)}
    answer = change(made.get(options_at_home(browser, "sign-in")))
    return browser.post(SIGN_IN, base_url=HOME, data=form | {"passkey_answer": answer})


@pytest.fixture
def enrolled(portal: Portal) -> Authenticator:
    """A passkey of official-1's."""
    made = device()
    assert enrol(at_home(portal), made).status_code == 303
    return made


def acts(portal: Portal) -> list[tuple[str, dict[str, str | int]]]:
    portal.session.rollback()
    rows = acts_of(portal.session, AUTHORITY)
    check_chain(rows)
    return [(act.kind, dict(act.detail)) for act in (decode_act(row.content) for row in rows)]


def hire(portal: Portal, *permissions: Permission) -> None:
    with transaction(portal.session):
        portal.session.get_one(Official, "official-1").permission_text = permission_text(permissions)


def test_a_passkey_is_added_after_a_link_and_then_lets_its_owner_in(
    portal: Portal, enrolled: Authenticator
) -> None:
    answer = come_in(portal, enrolled)
    assert (answer.status_code, answer.location) == (303, "/portal/")
    (row,) = portal.rows(Passkey)
    assert isinstance(row, Passkey)
    assert (row.official_id, row.label, row.sign_count) == ("official-1", "Ward tablet", 1)
    assert [kind for kind, _detail in acts(portal)] == ["sign_in", "passkey_added", "sign_in"]
    assert acts(portal)[-1][1] == {"way": "passkey"}


def test_what_the_browser_is_asked_names_nobody_and_demands_that_the_user_is_verified(
    portal: Portal, enrolled: Authenticator
) -> None:
    asked = options_at_home(portal.browser(), "sign-in")
    assert asked["userVerification"] == "required"
    assert asked["allowCredentials"] == []
    assert asked["rpId"] == "keys.health.example"
    made = options_at_home(at_home(portal), "enrol")
    assert made["authenticatorSelection"]["residentKey"] == "required"
    assert made["authenticatorSelection"]["userVerification"] == "required"
    assert made["attestation"] == "none"
    assert len(made["excludeCredentials"]) == 1


@pytest.mark.parametrize(
    "lie",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://keys.health.example"},
        {"origin": f"{HOME}:8443"},
        {"rp_id": "evil.example"},
        {"flags": USER_PRESENT},
        {"flags": USER_VERIFIED},
        {"credential_id": b"somebody else's"},
        {"user_handle": b"official-2"},
    ],
)
def test_what_is_not_the_owners_answer_lets_nobody_in(
    portal: Portal, enrolled: Authenticator, lie: dict[str, Any]
) -> None:
    before = len(portal.rows(PortalSession))
    for name, value in lie.items():
        setattr(enrolled, name, value)
    answer = come_in(portal, enrolled)
    assert answer.status_code == 403
    assert "does not let you in" in answer.text
    assert len(portal.rows(PortalSession)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "{}",
        lambda text: "no JSON",
        lambda text: text.replace('"signature": "', '"signature": "AAAA'),
        lambda text: "x" * 30_000,
        lambda text: re.sub(r'"rawId": "[^"]*"', '"rawId": "AAAA"', text),
    ],
)
def test_nonsense_lets_nobody_in(
    portal: Portal, enrolled: Authenticator, change: Callable[[str], str]
) -> None:
    assert come_in(portal, enrolled, change).status_code == 403


def test_an_answer_counts_once_in_its_browser_and_for_five_minutes(
    portal: Portal, enrolled: Authenticator
) -> None:
    enrolled.counts = False  # so that nothing but the challenge stands in the way
    browser = portal.browser()
    form = {"csrf_token": token(browser, SIGN_IN)}
    form["passkey_answer"] = enrolled.get(options_at_home(browser, "sign-in"))
    stranger = portal.browser()
    theirs = form | {"csrf_token": token(stranger, SIGN_IN)}
    assert stranger.post(SIGN_IN, base_url=HOME, data=theirs).status_code == 403
    kept = browser.get_cookie("portal_challenge_sign-in", domain="keys.health.example", path="/portal")
    assert kept is not None
    assert browser.post(SIGN_IN, base_url=HOME, data=form).status_code == 303
    again = portal.browser()
    form["csrf_token"] = token(again, SIGN_IN)
    again.set_cookie("portal_challenge_sign-in", kept.value, domain="keys.health.example", path="/portal")
    assert again.post(SIGN_IN, base_url=HOME, data=form).status_code == 403, "replayed"

    late = portal.browser()
    form = {"csrf_token": token(late, SIGN_IN)}
    form["passkey_answer"] = enrolled.get(options_at_home(late, "sign-in"))
    portal.clock.advance(300)
    assert late.post(SIGN_IN, base_url=HOME, data=form).status_code == 403, "too late"
    assert len(portal.rows(SpentChallenge)) == 2  # one enrolment, one sign-in
    portal.clock.advance(1500)
    with transaction(portal.session):
        assert retire_issuing(portal.session, portal.clock()).challenges == 2


def test_a_copied_passkey_is_refused_and_on_record_and_only_if_it_signs(
    portal: Portal, enrolled: Authenticator
) -> None:
    thief = copy.copy(enrolled)
    assert come_in(portal, enrolled).status_code == 303
    assert come_in(portal, enrolled).status_code == 303
    wrong = copy.copy(thief)
    wrong.__post_init__()  # another private key
    assert come_in(portal, wrong).status_code == 403
    assert "passkey_copied" not in [kind for kind, _detail in acts(portal)]
    assert come_in(portal, thief).status_code == 403
    assert acts(portal)[-1][0] == "passkey_copied"
    assert come_in(portal, enrolled).status_code == 303


def test_synced_passkeys_that_do_not_count_are_let_in_again_and_again(portal: Portal) -> None:
    made = device(counts=False)
    enrol(at_home(portal), made)
    assert [come_in(portal, made).status_code for _ in range(3)] == [303] * 3


def test_whoever_is_removed_loses_their_passkey_with_their_access(
    portal: Portal, enrolled: Authenticator
) -> None:
    with transaction(portal.session):
        portal.session.get_one(Official, "official-1").disabled = True
    assert come_in(portal, enrolled).status_code == 403


def test_who_has_a_passkey_is_asked_for_it_where_something_is_done_and_then_it_is_done(
    portal: Portal, enrolled: Authenticator
) -> None:
    hire(portal, Permission.KEYS)
    browser = at_home(portal)
    assert browser.get("/portal/keys/", base_url=HOME).status_code == 200  # looking is free
    form = {"csrf_token": token(browser, "/portal/keys/"), "kind": "admin", "name": "Lab <1>"}
    asked = browser.post("/portal/keys/", base_url=HOME, data=form)
    assert asked.status_code == 403
    assert "takes a fresh proof" in asked.text
    assert 'name="name" value="Lab &lt;1&gt;"' in asked.text
    assert 'action="/portal/keys/"' in asked.text
    again = {"csrf_token": field(asked, "csrf_token"), "kind": "admin", "name": "Lab <1>"}
    answer = enrolled.get(options_at_home(browser, "confirm"))
    done = browser.post("/portal/keys/", base_url=HOME, data=again | {"passkey_answer": answer})
    assert "A fresh API key" in done.text
    # For a while it is not asked for again.
    assert "A fresh API key" in browser.post("/portal/keys/", base_url=HOME, data=again).text
    portal.clock.advance(1500)
    assert "takes a fresh proof" in browser.post("/portal/keys/", base_url=HOME, data=again).text


def test_a_recall_takes_a_fresh_proof_to_ask_and_to_decide(portal: Portal, enrolled: Authenticator) -> None:
    browser = at_home(portal)
    form = {"csrf_token": token(browser, "/portal/recalls/"), "reason": "mistake", "known": "y"}
    for path in ("/portal/recalls/ask/some", "/portal/recalls/some/approve", "/portal/recalls/some/refuse"):
        asked = browser.post(path, base_url=HOME, data=form)
        assert asked.status_code == 403
        assert f'action="{path}"' in asked.text


def test_one_view_of_many_asks_for_itself(portal: Portal, enrolled: Authenticator) -> None:
    hire(portal, Permission.ISSUE, Permission.OFFICIALS)
    browser = at_home(portal)
    path = "/portal/printed-codes/official-1"
    form = {"csrf_token": token(browser, "/portal/officials/official-1")}
    asked = browser.post(path, base_url=HOME, data=form)
    assert asked.status_code == 403
    assert "takes a fresh proof" in asked.text
    form["passkey_answer"] = enrolled.get(options_at_home(browser, "confirm"))
    assert browser.post(path, base_url=HOME, data=form).status_code == 200


def test_in_production_who_has_no_passkey_is_led_to_one_before_anything_that_matters(
    make_portal: Callable[..., Portal],
) -> None:
    portal = make_portal("production")
    browser = portal.signed_in()
    with transaction(portal.session):
        portal.session.query(PortalSession).update({"way": "oidc", "fresh_until": 0})
    form = {"csrf_token": field(browser.get("/portal/recalls/"), "csrf_token"), "number": "x"}
    led = browser.post("/portal/recalls/find", data=form)
    assert led.status_code == 303
    assert "takes a passkey, and you have none yet" in browser.get(led.location).text


def test_the_proof_of_somebody_else_or_for_another_session_does_nothing(
    portal: Portal, enrolled: Authenticator
) -> None:
    hire(portal, Permission.KEYS)
    other = device()
    with transaction(portal.session):
        portal.session.add(Official(id="official-2", authority_id=AUTHORITY, name="Li Na"))
    enrol(at_home(portal, "official-2"), other)
    browser = at_home(portal)
    form = {"csrf_token": token(browser, "/portal/keys/"), "kind": "admin", "name": "Lab"}
    theirs = other.get(options_at_home(browser, "confirm"))
    refused = browser.post("/portal/keys/", base_url=HOME, data=form | {"passkey_answer": theirs})
    assert refused.status_code == 403
    assert "does not let you in" in refused.text
    for_sign_in = enrolled.get(options_at_home(browser, "sign-in"))
    refused = browser.post("/portal/keys/", base_url=HOME, data=form | {"passkey_answer": for_sign_in})
    assert refused.status_code == 403


def test_in_a_demonstration_nobody_is_asked_who_has_no_passkey(portal: Portal) -> None:
    hire(portal, Permission.KEYS)
    browser = portal.signed_in()
    form = {"kind": "admin", "name": "Lab", "csrf_token": field(browser.get("/portal/keys/"), "csrf_token")}
    assert "A fresh API key" in browser.post("/portal/keys/", data=form).text


def test_a_file_is_not_carried_and_the_page_says_so(portal: Portal, enrolled: Authenticator) -> None:
    hire(portal, Permission.OFFICIALS, Permission.ISSUE)
    browser = at_home(portal)
    data = {
        "csrf_token": token(browser, "/portal/officials/import/"),
        "file": (BytesIO(b"name,permissions\nLi Na,issue\n"), "list.csv"),
    }
    asked = browser.post("/portal/officials/import/invite", base_url=HOME, data=data)
    assert asked.status_code == 403
    assert "Choose the file again" in asked.text
    assert len(portal.rows(Official)) == 1
    form = {
        "csrf_token": field(asked, "csrf_token"),
        "back": field(asked, "back"),
        "passkey_answer": enrolled.get(options_at_home(browser, "confirm")),
    }
    led = browser.post("/portal/confirm", base_url=HOME, data=form)
    assert (led.status_code, led.location) == (303, "/portal/officials/import/")
    data = {
        "csrf_token": token(browser, "/portal/officials/import/"),
        "file": (BytesIO(b"name,permissions\nLi Na,issue\n"), "list.csv"),
    }
    assert (
        "Links of the invited"
        in browser.post("/portal/officials/import/invite", base_url=HOME, data=data).text
    )


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example/portal/", "/audit/", "/portal/\\x", ""]
)
def test_a_confirmation_leads_back_to_pages_of_the_portal_alone(
    portal: Portal, enrolled: Authenticator, back: str
) -> None:
    browser = at_home(portal)
    form = {"csrf_token": token(browser), "back": back}
    form["passkey_answer"] = enrolled.get(options_at_home(browser, "confirm"))
    assert browser.post("/portal/confirm", base_url=HOME, data=form).location == "/portal/"


def test_in_production_a_link_leads_to_a_passkey_and_to_nothing_else(
    make_portal: Callable[..., Portal],
) -> None:
    portal = make_portal("production")
    browser = at_home(portal)
    for path in ("/portal/", "/portal/codes/", "/portal/recalls/"):
        led = browser.get(path, base_url=HOME)
        assert (led.status_code, led.location) == (303, OWN)
    page = browser.get(OWN, base_url=HOME)
    assert "Everything else takes the passkey" in page.text
    made = device()
    assert enrol(browser, made).status_code == 303
    assert browser.get("/portal/", base_url=HOME).status_code == 200
    # The only one stays; another may go.
    (row,) = portal.rows(Passkey)
    assert isinstance(row, Passkey)
    key = re.search(r'name="passkey" value="([^"]+)"', browser.get(OWN, base_url=HOME).text)
    assert key
    last = browser.post(f"{OWN}remove", base_url=HOME, data={"csrf_token": token(browser), "passkey": key[1]})
    assert last.status_code == 409
    assert "your only passkey" in last.text
    # A link for somebody who has passkeys is for when they are lost: it can add one.
    late = at_home(portal)
    assert late.get("/portal/", base_url=HOME).location == OWN
    assert enrol(late, device(), "New phone").status_code == 303
    gone = late.post(f"{OWN}remove", base_url=HOME, data={"csrf_token": token(late), "passkey": key[1]})
    assert gone.status_code == 303
    assert len(portal.rows(Passkey)) == 1
    assert come_in(portal, made).status_code == 403


def test_another_passkey_takes_a_fresh_proof(portal: Portal, enrolled: Authenticator) -> None:
    browser = portal.browser()
    form = {"csrf_token": token(browser, SIGN_IN)}
    form["passkey_answer"] = enrolled.get(options_at_home(browser, "sign-in"))
    browser.post(SIGN_IN, base_url=HOME, data=form)
    portal.clock.advance(1500)
    asked = enrol(browser, device(), "Thief's")
    assert asked.status_code == 403
    assert "takes a fresh proof" in asked.text
    assert len(portal.rows(Passkey)) == 1


def test_a_passkey_needs_a_name_and_is_added_once(portal: Portal, enrolled: Authenticator) -> None:
    browser = at_home(portal)
    assert enrol(browser, device(), " ").status_code == 400
    assert enrol(browser, enrolled).status_code == 400
    assert enrol(browser, device(flags=USER_PRESENT)).status_code == 400
    assert enrol(browser, device(origin="https://evil.example")).status_code == 400
    assert len(portal.rows(Passkey)) == 1


@pytest.mark.parametrize(
    ("address", "opened", "leads_to"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "http://localhost:8000/portal/sign-in"),
        ("http://127.0.0.1:8000", "http://localhost:8000", None),
        ("https://keys.example", "https://keys.example", None),
        ("https://192.0.2.7", "https://192.0.2.7", "the registry needs a name"),
    ],
)
def test_the_page_says_where_passkeys_work(
    make_portal: Callable[..., Portal], address: str, opened: str, leads_to: str | None
) -> None:
    page = make_portal(address=address).browser().get(SIGN_IN, base_url=opened)
    assert page.status_code == 200
    assert ("Sign in with a passkey" in page.text) == (leads_to is None)
    assert leads_to is None or leads_to in page.text
    assert "Open the sign-in link" in page.text
    assert "Code from your sheet" in page.text


def test_a_session_that_nobody_used_is_locked_and_what_was_being_sent_is_kept(
    make_portal: Callable[..., Portal],
) -> None:
    portal = make_portal(idle_seconds=1200)
    made, browser = device(), at_home(portal)
    enrol(browser, made)
    page = browser.get("/portal/", base_url=HOME)
    hidden = {name: field(page, name) for name in ("csrf_token", "once", "consent_version")}
    form = hidden | {
        "tested": "other",
        "report_type": "confirmed",
        "test_date": "2026-06-14",
        "onset_date": "",
        "consent_language": "zh",
        "consent_channel": "phone",
    }
    portal.clock.advance(1199)
    assert browser.get("/portal/", base_url=HOME).status_code == 200
    portal.clock.advance(1199)
    assert browser.get("/portal/", base_url=HOME).status_code == 200
    portal.clock.advance(1500)
    locked = browser.get("/portal/", base_url=HOME)
    assert locked.status_code == 403
    assert "The page is locked" in locked.text
    assert "Hand over a code" not in locked.text
    kept = browser.post("/portal/", base_url=HOME, data=form)
    assert kept.status_code == 403
    assert f'name="once" value="{form["once"]}"' in kept.text
    answer = made.get(options_at_home(browser, "confirm"))
    sent = browser.post("/portal/", base_url=HOME, data=form | {"passkey_answer": answer})
    assert sent.status_code == 303
    assert sent.location.startswith("/portal/codes/")
    assert browser.get(sent.location, base_url=HOME).status_code == 200


def test_what_a_page_asks_by_itself_keeps_nobody_awake(make_portal: Callable[..., Portal]) -> None:
    portal = make_portal(idle_seconds=1200)
    browser = portal.signed_in()
    assert browser.get("/portal/codes/").status_code == 200
    for _ in range(6):
        portal.clock.advance(250)
        browser.get("/portal/codes/", headers={"Sec-Fetch-Mode": "cors"})
    assert browser.get("/portal/codes/").status_code == 403


def test_an_open_page_keeps_its_session_awake_only_while_somebody_works_on_it(
    make_portal: Callable[..., Portal],
) -> None:
    portal = make_portal(idle_seconds=1200)
    browser = portal.signed_in()
    form = {"csrf_token": field(browser.get("/portal/codes/"), "csrf_token")}
    script = {"Sec-Fetch-Mode": "cors"}
    assert browser.post("/portal/awake", data={}).status_code == 400
    for _ in range(3):
        portal.clock.advance(1100)
        assert browser.post("/portal/awake", data=form | {"used": "1"}, headers=script).status_code == 204
    portal.clock.advance(1100)
    assert browser.post("/portal/awake", data=form, headers=script).status_code == 204
    portal.clock.advance(400)
    assert browser.post("/portal/awake", data=form, headers=script).status_code == 423
    assert browser.post("/portal/awake", data=form | {"used": "1"}, headers=script).status_code == 423
    stranger = portal.browser()
    token = field(stranger.get("/portal/sign-in"), "csrf_token")
    assert stranger.post("/portal/awake", data={"csrf_token": token}).status_code == 403


def test_without_a_passkey_a_fresh_link_in_another_tab_unlocks_and_the_form_goes_on(
    make_portal: Callable[..., Portal],
) -> None:
    portal = make_portal(idle_seconds=1200)
    browser = portal.signed_in()
    form = fill_in(browser)
    portal.clock.advance(1501)
    kept = browser.post("/portal/", data=form)
    assert kept.status_code == 403
    assert "by a fresh link or a printed code" in kept.text
    assert browser.post("/portal/", data=form).status_code == 403  # not without it
    link = portal.link()
    browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
    assert browser.post("/portal/", data=form).status_code == 303


def test_when_somebody_was_there_is_kept_coarsely(make_portal: Callable[..., Portal]) -> None:
    portal = make_portal(idle_seconds=1200)
    browser = portal.signed_in()
    seen = set()
    for _ in range(40):
        portal.clock.advance(7)
        browser.get("/portal/")
        (row,) = portal.rows(PortalSession)
        assert isinstance(row, PortalSession)
        seen.add(row.idle_until)
    assert len(seen) <= 2
    assert all(moment % 300 == 0 for moment in seen)
