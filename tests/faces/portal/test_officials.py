"""Officials who look after officials: invitations, changes, removals, one by one and from files."""

import base64
import logging
import re
from io import BytesIO

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry.lifecycle.activity import acts_of, check_chain
from registry.models import Authority, Official, PortalSession, SignInLink, transaction
from registry.models.official import Permission, permission_text
from registry.protocol.activity import decode_act
from tests.faces.portal.conftest import ADDRESS, AUTHORITY, Portal, field

PATH = "/portal/officials"
LINK = re.compile(rf"{re.escape(ADDRESS)}(/(?:portal|audit)/sign-in/[\w-]{{43}})")


@pytest.fixture
def head(portal: Portal) -> FlaskClient:
    """A browser of somebody who may do everything but see figures."""
    hire(portal, "official-0", "Zhao Min", *(set(Permission) - {Permission.STATISTICS}))
    return portal.signed_in("official-0")


def hire(portal: Portal, official_id: str, name: str, *permissions: Permission) -> str:
    with transaction(portal.session):
        portal.session.add(
            Official(
                id=official_id,
                authority_id=AUTHORITY,
                name=name,
                permission_text=permission_text(permissions),
            )
        )
    return official_id


def send(browser: FlaskClient, page: str, to: str, **answers: object) -> TestResponse:
    """Open a page and send a form of it."""
    opened = browser.get(page)
    hidden = {"csrf_token": field(opened, "csrf_token")}
    if 'name="once"' in opened.text:
        hidden["once"] = field(opened, "once")
    return browser.post(to, data=hidden | answers)


def invite(browser: FlaskClient, **answers: object) -> TestResponse:
    form = {"name": "Li Na 李娜", "role": "official", "permissions": ["issue", "recall"]} | answers
    return send(browser, f"{PATH}/invite", f"{PATH}/invite", **form)


def come_in(portal: Portal, page: TestResponse) -> FlaskClient:
    """A browser that came in by the link on the page."""
    found = LINK.search(page.text)
    assert found, page.text
    browser = portal.browser()
    browser.post(found[1], data={"csrf_token": field(browser.get(found[1]), "csrf_token")})
    return browser


def official(portal: Portal, name: str) -> Official:
    portal.session.rollback()
    return portal.session.query(Official).filter_by(name=name).one()


def acts(portal: Portal) -> list[tuple[str, str, dict[str, str | int]]]:
    portal.session.rollback()
    rows = acts_of(portal.session, AUTHORITY)
    check_chain(rows)
    found = [decode_act(row.content) for row in rows]
    return [(act.kind, act.actor, dict(act.detail)) for act in found if act.kind != "sign_in"]


def test_an_invitation_lets_one_person_in_who_may_do_what_was_ticked(
    portal: Portal, head: FlaskClient
) -> None:
    page = invite(head)
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    newcomer = official(portal, "Li Na 李娜")
    assert newcomer.permissions == {Permission.ISSUE, Permission.RECALL}
    browser = come_in(portal, page)
    assert browser.get("/portal/").status_code == 200
    assert browser.get(f"{PATH}/").status_code == 403
    assert come_in(portal, page).get("/portal/").status_code == 403  # once
    assert not LINK.search(head.get(f"{PATH}/{newcomer.id}").text)
    assert acts(portal) == [
        (
            "official_added",
            "official:official-0",
            {"official": newcomer.id, "role": "official", "permissions": "issue+recall"},
        )
    ]


def test_the_same_invitation_sent_twice_invites_once(portal: Portal, head: FlaskClient) -> None:
    opened = head.get(f"{PATH}/invite")
    form = {
        "csrf_token": field(opened, "csrf_token"),
        "once": field(opened, "once"),
        "name": "Li Na",
        "role": "official",
        "permissions": ["issue"],
    }
    assert LINK.search(head.post(f"{PATH}/invite", data=form).text)
    again = head.post(f"{PATH}/invite", data=form, follow_redirects=True)
    assert "was made before" in again.text
    assert not LINK.search(again.text)
    assert len(portal.rows(Official)) == 3


@pytest.mark.parametrize(
    ("answers", "advice"),
    [
        ({"name": ""}, "Give a name"),
        ({"name": "=HYPERLINK(1)"}, "no name holds"),
        ({"name": "a\u202eb"}, "no name holds"),
        ({"name": "x" * 201}, "too long"),
        ({"role": "king"}, "Choose who"),
        ({"permissions": []}, "Tick at least one"),
        ({"permissions": ["issue", "statistics"]}, "nobody gives what they do not have"),
        ({"permissions": ["crown"]}, "nobody gives what they do not have"),
    ],
)
def test_a_wrong_invitation_says_what_to_mend_and_lets_nobody_in(
    portal: Portal, head: FlaskClient, answers: dict[str, object], advice: str
) -> None:
    page = invite(head, **answers)
    assert page.status_code == 400
    assert 'role="alert"' in page.text
    assert advice in page.text
    assert len(portal.rows(Official)) == 2


def test_an_auditor_is_invited_to_the_receipts_and_is_nothing_here(portal: Portal, head: FlaskClient) -> None:
    page = invite(head, role="auditor", name="Sun Li")
    found = LINK.search(page.text)
    assert found
    assert found[1].startswith("/audit/sign-in/")
    newcomer = official(portal, "Sun Li")
    assert (newcomer.role, newcomer.permission_text) == ("auditor", "")
    browser, path = portal.browser(), found[1].replace("/audit/", "/portal/")
    assert browser.post(path, data={"csrf_token": field(browser.get(path), "csrf_token")}).status_code == 410
    assert acts(portal)[-1][2] == {"official": newcomer.id, "role": "auditor"}


def test_another_link_voids_the_one_before(portal: Portal, head: FlaskClient) -> None:
    first = invite(head)
    person = official(portal, "Li Na 李娜").id
    second = send(head, f"{PATH}/{person}", f"{PATH}/{person}/link")
    assert come_in(portal, first).get("/portal/").status_code == 403
    assert come_in(portal, second).get("/portal/").status_code == 200
    assert acts(portal)[-1] == ("sign_in_link", "official:official-0", {"official": person})


def test_nobody_gets_the_link_of_somebody_who_may_do_more(portal: Portal, head: FlaskClient) -> None:
    hire(portal, "official-9", "Minister", Permission.STATISTICS)
    page = head.get(f"{PATH}/official-9")
    assert "Make another link" not in page.text
    refused = send(head, f"{PATH}/official-9", f"{PATH}/official-9/link")
    assert refused.status_code == 409
    assert "may do more than you" in refused.text
    assert [row.official_id for row in portal.rows(SignInLink) if not row.used] == []  # type: ignore[attr-defined]
    # Out they can be let, but not in again: that would give what was not held.
    assert send(head, f"{PATH}/official-9", f"{PATH}/official-9/remove").status_code == 303
    token = field(head.get(f"{PATH}/invite"), "csrf_token")
    refused = head.post(f"{PATH}/official-9/let-in", data={"csrf_token": token})
    assert refused.status_code == 409
    assert official(portal, "Minister").disabled


def test_a_change_counts_on_the_next_request_and_leaves_what_one_does_not_have(
    portal: Portal, head: FlaskClient
) -> None:
    hire(portal, "official-9", "Li Na", Permission.ISSUE, Permission.STATISTICS)
    browser = portal.signed_in("official-9")
    assert browser.get("/portal/").status_code == 200
    answer = send(head, f"{PATH}/official-9", f"{PATH}/official-9", permissions=["approve"])
    assert answer.status_code == 303
    assert official(portal, "Li Na").permissions == {Permission.APPROVE, Permission.STATISTICS}
    assert browser.get("/portal/recalls/").status_code == 200
    assert browser.get("/portal/codes/").status_code == 403
    beyond = send(head, f"{PATH}/official-9", f"{PATH}/official-9", permissions=["statistics"])
    assert beyond.status_code == 400
    assert [act[0] for act in acts(portal)] == ["official_changed"]
    assert acts(portal)[0][2]["permissions"] == "approve+statistics"


def test_whoever_is_removed_is_out_on_the_next_request_and_comes_in_again_by_a_fresh_link(
    portal: Portal, head: FlaskClient
) -> None:
    page = invite(head)
    person = official(portal, "Li Na 李娜").id
    browser = come_in(portal, page)
    pending = send(head, f"{PATH}/{person}", f"{PATH}/{person}/link")
    assert send(head, f"{PATH}/{person}", f"{PATH}/{person}/remove").status_code == 303
    assert browser.get("/portal/").status_code == 403
    assert [row.official_id for row in portal.rows(PortalSession)] == ["official-0"]  # type: ignore[attr-defined]
    assert come_in(portal, pending).get("/portal/").status_code == 403

    fresh = send(head, f"{PATH}/{person}", f"{PATH}/{person}/let-in")
    assert browser.get("/portal/").status_code == 403  # the session from before stays ended
    assert come_in(portal, pending).get("/portal/").status_code == 403
    assert come_in(portal, fresh).get("/portal/").status_code == 200
    assert [act[0] for act in acts(portal)] == [
        "official_added",
        "sign_in_link",
        "official_removed",
        "official_let_in",
        "sign_in_link",
    ]


def test_somebody_who_looks_after_officials_is_always_left(portal: Portal, head: FlaskClient) -> None:
    assert "Remove Zhao Min" not in head.get(f"{PATH}/official-0").text
    token = field(head.get(f"{PATH}/invite"), "csrf_token")
    oneself = head.post(f"{PATH}/official-0/remove", data={"csrf_token": token})
    assert oneself.status_code == 409
    assert "cannot remove yourself" in oneself.text
    last = send(head, f"{PATH}/official-0", f"{PATH}/official-0", permissions=["issue"])
    assert last.status_code == 409
    assert "Nobody else looks after officials" in last.text
    hire(portal, "official-9", "Deputy", Permission.OFFICIALS)
    assert send(head, f"{PATH}/official-0", f"{PATH}/official-0", permissions=["issue"]).status_code == 303
    assert head.get(f"{PATH}/").status_code == 403


def test_people_of_another_authority_are_not_there(portal: Portal, head: FlaskClient) -> None:
    with transaction(portal.session):
        portal.session.add(Authority(id="other", name="x", certificate_issuer="y", certificate_audience="y"))
        portal.session.flush()
        portal.session.add(Official(id="official-9", authority_id="other", name="Foreign"))
    assert "Foreign" not in head.get(f"{PATH}/").text
    assert head.get(f"{PATH}/official-9").status_code == 404
    token = field(head.get(f"{PATH}/invite"), "csrf_token")
    for act in ("", "/remove", "/link", "/let-in"):
        answer = head.post(f"{PATH}/official-9{act}", data={"csrf_token": token, "permissions": ["issue"]})
        assert answer.status_code == 404
    assert not official(portal, "Foreign").disabled


def test_without_the_permission_to_issue_the_start_leads_to_what_one_may_do(portal: Portal) -> None:
    hire(portal, "official-9", "Keeper", Permission.OFFICIALS, Permission.APPROVE)
    browser = portal.signed_in("official-9")
    answer = browser.get("/portal/")
    assert (answer.status_code, answer.location) == (303, "/portal/quota")
    token = field(browser.get("/portal/recalls/"), "csrf_token")
    assert browser.post("/portal/", data={"csrf_token": token}).status_code == 403
    hire(portal, "official-8", "Nobody")
    assert portal.signed_in("official-8").get("/portal/").status_code == 403


def upload(browser: FlaskClient, act: str, content: bytes) -> TestResponse:
    token = field(browser.get(f"{PATH}/import/"), "csrf_token")
    return browser.post(
        f"{PATH}/import/{act}",
        data={"csrf_token": token, "file": (BytesIO(content), "list.csv")},
        content_type="multipart/form-data",
    )


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_file_invites_everybody_in_it_and_their_links_are_shown_once(
    portal: Portal, head: FlaskClient, mark: bytes
) -> None:
    rows = 'name,permissions\r\n"李, 娜",issue recall\r\n\r\nTom "T" Lee,"issue;approve"\r\n'
    page = upload(head, "invite", mark + rows.encode())
    assert page.status_code == 200, page.text
    assert official(portal, "李, 娜").permissions == {Permission.ISSUE, Permission.RECALL}
    assert official(portal, 'Tom "T" Lee').permissions == {Permission.ISSUE, Permission.APPROVE}
    shown = LINK.findall(page.text)
    assert len(shown) == 2
    encoded = re.search(r'href="data:text/csv;base64,([^"]+)"', page.text)
    assert encoded
    kept = base64.b64decode(encoded[1]).decode("utf-8-sig")
    assert LINK.findall(kept) == shown
    assert '"李, 娜",https' in kept
    assert come_in(portal, page).get("/portal/").status_code == 200
    assert not LINK.search(head.get(f"{PATH}/import/").text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"name,permissions\nLi Na,issue\n,issue\nSun,crown\nWu,\nXu,statistics",
            ["Line 3:", "Line 4:", "Line 5:", "Line 6:"],
        ),
        (b"name,permissions\nLi Na,issue,recall\n", ["Line 2:", "3 cells"]),
        (b'name,permissions\n"Li" Na,issue\n', ["Line 2:", "quotation marks"]),
        (b"permissions,name\nissue,Li Na\n", ["Line 1:", "name,permissions"]),
        (b"name,permissions\n", ["names nobody"]),
        (b"", ["name,permissions"]),
        ("name,permissions\n李娜,issue\n".encode("gb18030"), ["not UTF-8"]),
        (b"name,permissions\n" + b"Li Na,issue\n" * 1001, ["1000 rows at most"]),
    ],
)
def test_a_file_with_one_wrong_row_invites_nobody_and_each_is_told_by_its_line(
    portal: Portal, head: FlaskClient, content: bytes, said: list[str]
) -> None:
    page = upload(head, "invite", content)
    assert page.status_code == 400
    for words in said:
        assert words in page.text
    assert "Line 2:" not in page.text or "Line 2:" in said
    assert len(portal.rows(Official)) == 2


def test_a_file_of_a_thousand_fits_and_a_larger_one_is_refused(portal: Portal, head: FlaskClient) -> None:
    rows = "".join(f"Official with a long name number {n},issue bulk recall approve\n" for n in range(1000))
    page = upload(head, "invite", ("name,permissions\n" + rows).encode())
    assert page.status_code == 200
    assert len(LINK.findall(page.text)) == 1000
    assert len(portal.rows(Official)) == 1002
    assert upload(head, "invite", b"x" * 600_000).status_code == 413


def test_a_file_of_leavers_lets_all_of_them_out_or_nobody(portal: Portal, head: FlaskClient) -> None:
    for number, name in enumerate(("Li Na", "Sun Li", "Wu", "Wu")):
        hire(portal, f"official-{number + 5}", name, Permission.ISSUE)
    browser = portal.signed_in("official-5")
    page = upload(head, "remove", b"name\nLi Na\nWu\nNobody\nZhao Min\n")
    assert page.status_code == 400
    for words in ("Line 3: Several have this name", "Line 4: Nobody", "Line 5: You cannot"):
        assert words in page.text
    assert browser.get("/portal/").status_code == 200

    page = upload(head, "remove", b"name\nLi Na\nSun Li\n")
    assert "Removed: 2" in page.text
    assert browser.get("/portal/").status_code == 403
    page = upload(head, "remove", b"id\nofficial-7\nofficial-5\n")
    assert "Removed: 1" in page.text
    assert [act[2]["official"] for act in acts(portal)] == ["official-5", "official-6", "official-7"]


def test_no_link_and_no_name_reaches_a_log_or_an_address(
    portal: Portal, head: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        page = invite(head)
        upload(head, "invite", b"name,permissions\nSun Li,issue\n")
    found = LINK.search(page.text)
    assert found
    for secret in (found[1][-43:], "Li Na", "Sun Li"):
        assert secret not in caplog.text
        assert all(secret not in value for _name, value in page.headers)
