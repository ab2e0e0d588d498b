"""The organisation's OpenID provider: a real one over HTTP, and one that lies."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import oidc_provider_mock
import pytest
import requests
from flask.testing import FlaskClient
from joserfc.jwk import ECKey, OctKey
from werkzeug.test import TestResponse

from registry.app import openid_provider
from registry.config import read_settings
from registry.errors import ConfigurationError
from registry.faces.portal.openid import OpenIdPolicy, OpenIdProvider
from registry.lifecycle.activity import acts_of, check_chain
from registry.models import Official, OpenIdIdentity, PortalSession, SpentChallenge, transaction
from registry.models.official import Permission
from registry.protocol.activity import decode_act
from tests.authenticator import Authenticator
from tests.clock import FakeClock
from tests.faces.portal.conftest import ADDRESS, AUTHORITY, Portal, field
from tests.lying_provider import CLIENT_ID, LyingProvider

GROUPS = {
    "nurses": frozenset({Permission.ISSUE}),
    "heads": frozenset({Permission.RECALL, Permission.KEYS}),
}
STRONG = "urn:strong"
MakePortal = Callable[..., Portal]


def policy(issuer: str, **more: Any) -> OpenIdPolicy:
    return OpenIdPolicy(
        issuer=issuer,
        client_id=CLIENT_ID,
        client_secret="secret of the client",
        scopes="openid profile",
        groups_claim="groups",
        groups=GROUPS,
        **more,
    )


@pytest.fixture
def liar() -> Iterator[LyingProvider]:
    with closing(LyingProvider()) as provider:
        yield provider


def portal_by(make_portal: MakePortal, issuer: str, **more: Any) -> Portal:
    return make_portal(openid=OpenIdProvider(policy(issuer, **more)), idle_seconds=1200)


def start(browser: FlaskClient) -> str:
    answer = browser.get("/portal/oidc/start", base_url=ADDRESS)
    assert answer.status_code == 303
    return str(answer.location)


def back(browser: FlaskClient, answer: dict[str, str]) -> TestResponse:
    return browser.get("/portal/oidc/back", base_url=ADDRESS, query_string=answer)


def sign_in(
    portal: Portal, liar: LyingProvider, browser: FlaskClient | None = None, **claims: Any
) -> TestResponse:
    browser = browser or portal.browser()
    return back(browser, liar.authorise(start(browser), portal.clock(), **claims))


def officials(portal: Portal) -> dict[str, frozenset[Permission]]:
    return {row.name: row.permissions for row in portal.rows(Official) if row.name != "Wang Fang"}  # type: ignore[attr-defined]


# ——— a real provider, which keeps the machine's time ———


@pytest.fixture
def real(clock: FakeClock) -> Iterator[str]:
    clock.now = time.time()
    with oidc_provider_mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def person(real: str, **claims: Any) -> None:
    known = {"name": "Chen Jie", "groups": ["nurses"], "acr": STRONG} | claims
    requests.put(f"{real}/users/u-1", json=known, timeout=5).raise_for_status()


def authorise(address: str) -> dict[str, str]:
    answer = requests.post(address, data={"sub": "u-1"}, allow_redirects=False, timeout=5)
    location = answer.headers["Location"]
    assert location.startswith(f"{ADDRESS}/portal/oidc/back?")
    return dict(parse_qsl(urlsplit(location).query))


def test_a_person_comes_in_and_may_do_what_the_groups_give_at_every_sign_in(
    make_portal: MakePortal, real: str
) -> None:
    portal = portal_by(make_portal, real, acr=frozenset({STRONG}))
    person(real)
    browser = portal.browser()
    assert "Sign in with your organisation" in browser.get("/portal/sign-in").text
    page = back(browser, authorise(start(browser)))
    assert page.status_code == 200, page.text
    assert 'content="0;url=/portal/"' in page.text
    assert "Chen Jie" in browser.get("/portal/", base_url=ADDRESS).text
    assert officials(portal) == {"Chen Jie": {Permission.ISSUE}}

    person(real, groups=["heads", "cooks"], name="Chen Jie 陈洁")
    again = portal.browser()
    assert back(again, authorise(start(again))).status_code == 200
    assert officials(portal) == {"Chen Jie 陈洁": GROUPS["heads"]}
    assert browser.get("/portal/codes/", base_url=ADDRESS).status_code == 403  # the first browser too

    person(real, groups=["cooks"])
    late = portal.browser()
    assert back(late, authorise(start(late))).status_code == 403
    for each in (browser, again, late):
        assert each.get("/portal/recalls/", base_url=ADDRESS).status_code == 403
    assert portal.rows(PortalSession) == []
    assert len(portal.rows(OpenIdIdentity)) == 1
    rows = acts_of(portal.session, AUTHORITY)
    check_chain(rows)
    assert [
        (act.kind, act.detail.get("permissions")) for act in (decode_act(row.content) for row in rows)
    ] == [
        ("official_added", "issue"),
        ("sign_in", None),
        ("official_changed", "recall+keys"),
        ("sign_in", None),
        ("official_changed", "none"),
    ]


def test_who_is_in_no_group_is_never_made_an_official(make_portal: MakePortal, real: str) -> None:
    portal = portal_by(make_portal, real)
    person(real, groups=["cooks"])
    browser = portal.browser()
    assert back(browser, authorise(start(browser))).status_code == 403
    assert officials(portal) == {}
    assert portal.rows(OpenIdIdentity) == []


def test_too_little_assurance_is_refused(make_portal: MakePortal, real: str) -> None:
    portal = portal_by(make_portal, real, acr=frozenset({STRONG, "urn:stronger"}))
    for claims in ({"acr": "urn:weak"}, {"acr": None}, {"acr": ["urn:strong"]}):
        person(real, **claims)
        browser = portal.browser()
        page = back(browser, authorise(start(browser)))
        assert page.status_code == 403
        assert "not strong enough" in page.text
    assert officials(portal) == {}


def test_an_answer_that_is_late_replayed_or_another_browsers_lets_nobody_in(
    make_portal: MakePortal, real: str
) -> None:
    portal = portal_by(make_portal, real)
    person(real)
    browser = portal.browser()
    late = authorise(start(browser))
    portal.clock.advance(600)
    assert back(browser, late).status_code == 403
    portal.clock.advance(-600)

    good = authorise(start(browser))
    assert back(portal.browser(), good).status_code == 403
    kept = browser.get_cookie("portal_oidc", domain="keys.health.example", path="/portal/oidc")
    assert kept is not None
    assert back(browser, good).status_code == 200
    thief = portal.browser()
    thief.set_cookie("portal_oidc", kept.value, domain="keys.health.example", path="/portal/oidc")
    assert back(thief, good).status_code == 403
    # Not even with a code that was not used yet: the state was.
    other = authorise(start(portal.browser()))
    thief.set_cookie("portal_oidc", kept.value, domain="keys.health.example", path="/portal/oidc")
    assert back(thief, good | {"code": other["code"]}).status_code == 403
    assert len(portal.rows(PortalSession)) == 1
    assert len(portal.rows(SpentChallenge)) == 1


def test_the_code_of_one_trip_does_not_end_another(make_portal: MakePortal, real: str) -> None:
    portal = portal_by(make_portal, real)
    person(real)
    browser = portal.browser()
    first = authorise(start(browser))
    second = authorise(start(browser))
    assert back(browser, first).status_code == 403, "another state"
    second = authorise(start(browser))
    assert back(browser, second | {"code": first["code"]}).status_code == 403, "another nonce"
    assert portal.rows(PortalSession) == []


# ——— settings ———


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    secret = tmp_path / "oidc.secret"
    secret.write_text("secret of the client\n")
    secret.chmod(0o600)
    for name, value in (
        ("ISSUER", "https://login.example/staff"),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET_FILE", str(secret)),
        ("GROUPS", "nurses=issue; heads = recall keys"),
        ("ACR", f"{STRONG} urn:stronger"),
    ):
        monkeypatch.setenv(f"REGISTRY_OIDC_{name}", value)
    return monkeypatch


@pytest.mark.usefixtures("environment")
def test_settings_make_the_policy_and_the_secret_shows_nowhere() -> None:
    provider = openid_provider(read_settings())
    assert provider is not None
    read = provider.policy
    assert (read.client_secret, read.groups) == ("secret of the client", GROUPS)
    assert (read.acr, read.amr, read.demands) == ({STRONG, "urn:stronger"}, frozenset(), True)
    assert "secret of" not in repr(read)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ISSUER", "http://login.example", "https://"),
        ("CLIENT_ID", "", "go together"),
        ("GROUPS", "", "go together"),
        ("GROUPS", "nurses=crown", "OIDC_GROUPS"),
        ("GROUPS", "nurses", "OIDC_GROUPS"),
        ("SCOPES", "profile", "openid"),
        ("CLIENT_SECRET_FILE", "/nowhere", "OIDC_CLIENT_SECRET_FILE"),
        ("CLIENT_SECRET_FILE", __file__, "mode 0600"),
    ],
)
def test_settings_that_do_not_fit_are_told_at_the_start(
    environment: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    environment.setenv(f"REGISTRY_OIDC_{name}", value)
    with pytest.raises(ConfigurationError, match=said):
        openid_provider(read_settings())


def test_without_settings_there_is_no_provider(portal: Portal) -> None:
    assert openid_provider(read_settings()) is None
    assert portal.browser().get("/portal/oidc/start").status_code == 404


# ——— a provider that lies ———


@pytest.mark.parametrize("by_rsa", [False, True])
def test_both_usual_signatures_are_taken(make_portal: MakePortal, liar: LyingProvider, by_rsa: bool) -> None:
    if by_rsa:
        liar.sign_by_rsa()
    portal = portal_by(make_portal, liar.issuer)
    assert sign_in(portal, liar).status_code == 200


@pytest.mark.parametrize(
    "lie",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"aud": "somebody else"},
        {"aud": [CLIENT_ID, "somebody else"]},
        {"azp": "somebody else"},
        {"exp": -31},
        {"exp": None},
        {"iat": 31},
        {"iat": -631},
        {"iat": None},
        {"sub": None},
        {"amr": ["pwd"]},
        {"amr": "pwd"},
    ],
)
def test_an_id_token_that_is_not_for_this_lets_nobody_in(
    make_portal: MakePortal, liar: LyingProvider, lie: dict[str, Any]
) -> None:
    portal = portal_by(make_portal, liar.issuer, amr=frozenset({"pwd", "otp"}))

    def tell(claims: dict[str, Any]) -> None:
        for name, value in lie.items():
            if value is None:
                del claims[name]
            else:
                claims[name] = int(portal.clock()) + value if name in {"exp", "iat"} else value

    liar.lie = tell
    assert sign_in(portal, liar, amr=["pwd", "otp"]).status_code == 403
    liar.lie = lambda claims: None
    assert sign_in(portal, liar, amr=["pwd", "otp"]).status_code == 200


def test_a_clock_that_differs_by_half_a_minute_is_borne(make_portal: MakePortal, liar: LyingProvider) -> None:
    portal = portal_by(make_portal, liar.issuer)
    now = int(portal.clock())
    assert sign_in(portal, liar, iat=now + 30).status_code == 200
    assert sign_in(portal, liar, exp=now - 29).status_code == 200


def test_only_a_listed_key_signs(make_portal: MakePortal, liar: LyingProvider) -> None:
    portal = portal_by(make_portal, liar.issuer)
    good, header = liar.key, liar.header
    liar.key = ECKey.generate_key("P-256", {"kid": "k1"})
    assert sign_in(portal, liar).status_code == 403
    liar.key = OctKey.import_key("secret of the client")
    liar.header = {"alg": "HS256", "kid": "k1"}
    assert sign_in(portal, liar).status_code == 403
    # One that is listed since is found without a restart.
    liar.key, liar.header = ECKey.generate_key("P-256", {"kid": "k2", "use": "sig"}), header | {"kid": "k2"}
    liar.listed = [good, liar.key]
    portal.clock.advance(2)
    assert sign_in(portal, liar).status_code == 200


def test_a_provider_that_is_down_or_another_is_told_and_does_no_harm(
    make_portal: MakePortal, liar: LyingProvider, caplog: pytest.LogCaptureFixture
) -> None:
    for metadata in ({"issuer": "https://evil.example"}, {"jwks_uri": "http://127.0.0.1:9/keys"}):
        liar.metadata = metadata
        portal = portal_by(make_portal, liar.issuer)
        page = portal.browser().get("/portal/oidc/start", base_url=ADDRESS)
        assert page.status_code == 503
        assert "does not answer" in page.text
    portal = portal_by(make_portal, "http://127.0.0.1:9")
    assert portal.browser().get("/portal/oidc/start", base_url=ADDRESS).status_code == 503
    assert "Chen" not in caplog.text


def test_what_the_provider_said_before_goes_on_while_it_is_away(
    make_portal: MakePortal, liar: LyingProvider
) -> None:
    portal = portal_by(make_portal, liar.issuer)
    first = start(portal.browser())
    liar.metadata = {"issuer": "https://evil.example"}
    portal.clock.advance(3601)
    assert start(portal.browser()).partition("?")[0] == first.partition("?")[0]
    liar.metadata = {}
    assert sign_in(portal, liar).status_code == 200


def test_the_provider_may_say_no_and_must_say_who_it_is(make_portal: MakePortal, liar: LyingProvider) -> None:
    portal = portal_by(make_portal, liar.issuer)
    browser = portal.browser()
    answer = liar.authorise(start(browser), portal.clock())
    refused = back(browser, {"error": "access_denied", "state": answer["state"]})
    assert refused.status_code == 403
    answer = liar.authorise(start(browser), portal.clock())
    assert back(browser, answer | {"iss": "https://evil.example"}).status_code == 403
    answer = liar.authorise(start(browser), portal.clock())
    assert back(browser, answer | {"iss": liar.issuer}).status_code == 200


def test_whoever_was_removed_here_stays_out_whatever_the_provider_says(
    make_portal: MakePortal, liar: LyingProvider
) -> None:
    portal = portal_by(make_portal, liar.issuer)
    browser = portal.browser()
    assert sign_in(portal, liar, browser).status_code == 200
    with transaction(portal.session):
        portal.session.query(Official).filter_by(name="Chen Jie").one().disabled = True
    assert browser.get("/portal/", base_url=ADDRESS).status_code == 403
    assert sign_in(portal, liar).status_code == 403


def test_a_demanded_assurance_is_a_fresh_proof_if_it_was_given_just_now(
    make_portal: MakePortal, liar: LyingProvider
) -> None:
    portal = portal_by(make_portal, liar.issuer, acr=frozenset({STRONG}))
    key = {"kind": "admin", "name": "Lab"}

    def made(browser: FlaskClient) -> TestResponse:
        page = browser.get("/portal/keys/", base_url=ADDRESS)
        form = key | {"csrf_token": field(page, "csrf_token")}
        return browser.post("/portal/keys/", base_url=ADDRESS, data=form)

    now = int(portal.clock())
    old = portal.browser()
    sign_in(portal, liar, old, groups=["heads"], acr=STRONG, auth_time=now - 3600)
    asked = made(old)
    assert asked.status_code == 403
    assert "Sign in with your organisation, in another tab" in asked.text
    # In the other tab: the same session is fresh, and the form that waits goes on.
    again = sign_in(portal, liar, old, groups=["heads"], acr=STRONG, auth_time=now)
    assert "go back to it" in again.text
    form = key | {"csrf_token": field(asked, "csrf_token")}
    assert "A fresh API key" in old.post("/portal/keys/", base_url=ADDRESS, data=form).text
    assert len(portal.rows(PortalSession)) == 1


def test_the_trips_cookie_comes_back_from_another_site_and_the_session_does_not(
    make_portal: MakePortal, liar: LyingProvider
) -> None:
    portal = portal_by(make_portal, liar.issuer)
    browser = portal.browser()
    answer = browser.get("/portal/oidc/start", base_url=ADDRESS)
    (trip,) = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith("portal_oidc=")]
    assert {"SameSite=Lax", "HttpOnly", "Path=/portal/oidc", "Secure"} <= set(trip.split("; "))
    page = back(browser, liar.authorise(answer.location, portal.clock()))
    (session,) = [line for line in page.headers.getlist("Set-Cookie") if line.startswith("portal_session=")]
    assert {"SameSite=Strict", "HttpOnly", "Path=/portal", "Secure"} <= set(session.split("; "))


def test_whom_the_provider_knows_comes_in_by_it_and_not_past_it_by_a_passkey(
    make_portal: MakePortal, liar: LyingProvider
) -> None:
    portal = portal_by(make_portal, liar.issuer)
    browser = portal.browser()
    sign_in(portal, liar, browser)
    made = Authenticator(origin=ADDRESS, rp_id="keys.health.example")
    page = browser.get("/portal/passkeys/", base_url=ADDRESS)
    options = browser.get("/portal/passkeys/options/enrol", base_url=ADDRESS).get_json()
    form = {"csrf_token": field(page, "csrf_token"), "label": "x", "new_passkey": made.create(options)}
    assert browser.post("/portal/passkeys/", base_url=ADDRESS, data=form).status_code == 303
    stranger = portal.browser()
    form = {"csrf_token": field(stranger.get("/portal/sign-in", base_url=ADDRESS), "csrf_token")}
    options = stranger.get("/portal/passkeys/options/sign-in", base_url=ADDRESS).get_json()
    refused = stranger.post(
        "/portal/sign-in", base_url=ADDRESS, data=form | {"passkey_answer": made.get(options)}
    )
    assert refused.status_code == 403


def test_in_production_a_first_passkey_beside_the_provider_gives_the_fresh_proof(
    make_portal: MakePortal, liar: LyingProvider
) -> None:
    portal = make_portal("production", openid=OpenIdProvider(policy(liar.issuer)))
    browser = portal.browser()
    sign_in(portal, liar, browser, groups=["heads"])
    made = Authenticator(origin=ADDRESS, rp_id="keys.health.example")
    for status in (303, 403):  # the second one takes the first
        page = browser.get("/portal/passkeys/", base_url=ADDRESS)
        options = browser.get("/portal/passkeys/options/enrol", base_url=ADDRESS).get_json()
        form = {"csrf_token": field(page, "csrf_token"), "label": "x", "new_passkey": made.create(options)}
        assert browser.post("/portal/passkeys/", base_url=ADDRESS, data=form).status_code == status
        portal.clock.advance(3600)


def test_a_sign_in_logs_no_name_no_code_and_no_state(
    make_portal: MakePortal, liar: LyingProvider, caplog: pytest.LogCaptureFixture
) -> None:
    portal = portal_by(make_portal, liar.issuer)
    with caplog.at_level(logging.INFO, logger="registry"):
        browser = portal.browser()
        answer = liar.authorise(start(browser), portal.clock(), nonce="another")
        back(browser, answer)
        sign_in(portal, liar)
    assert "refused" in caplog.text
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("registry"))
    for secret in ("Chen", "u-1", answer["state"], "secret of the client"):
        assert secret not in ours
