"""The page of receipts: who may see it, whether the books balance, and what it says of a receipt."""

import base64
import hashlib
import html
import json
import re
from datetime import UTC, datetime, time
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session
from werkzeug.test import Client, TestResponse

from registry.app import audit, portal
from registry.lifecycle.activity import mark_anchor_lost
from registry.models import (
    ActivityAnchor,
    ActivityEvent,
    Batch,
    IssuingCount,
    Official,
    Receipt,
    open_database,
    transaction,
)
from registry.models.official import Role, new_sign_in_link
from registry.protocol.activity import OPERATORS_CHAIN, decode_heads
from registry.protocol.receipt import LEAVES_GRAIN
from tests.app_of_old import fresh_keys
from tests.world import World

DAY = 86_400


class Auditor:
    """An auditor of `world` at a browser."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = Client(audit(world.settings, world.clock))

    def link(self, role: Role = Role.AUDITOR) -> str:
        """Path of a fresh link for a new person of this role."""
        url = self.world.settings.issuing_database_url
        with Session(open_database(url)) as session, transaction(session):
            known = session.scalars(select(Official.id).where(Official.role == role.value)).first()
            if known is None:
                known = "auditor-1"
                authority = self.world.settings.health_authority_id
                session.add(Official(id=known, authority_id=authority, name="Zhao", role=role.value))
                session.flush()
            token = new_sign_in_link(session, known, now=self.world.clock())
        return f"/audit/sign-in/{token}"

    def post(self, path: str, page: str | None = None, **fields: str) -> TestResponse:
        """Send the form that stands on `page`, which is `path` without one."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(page or path).text)
        assert found
        return self.client.post(path, data={"csrf_token": found[1], **fields})

    def sign_in(self) -> "Auditor":
        """Open a link and press its button."""
        assert self.post(self.link()).status_code == 303
        return self

    def page(self, path: str = "/audit/receipts") -> str:
        """The page there, which must be shown."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.status
        return answer.text

    def said(self, path: str = "/audit/receipts") -> str:
        """The page's text, without marks."""
        return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", self.page(path)).split()))


@pytest.fixture
def auditor(world: World) -> Auditor:
    """Not signed in yet."""
    return Auditor(world)


def live_a_day(world: World) -> None:
    """Three codes, of which two are used and one only redeemed; everything is published."""
    for _ in range(2):
        answer = world.app().upload(world.issue()["code"], fresh_keys(world.clock(), today=False))
        assert answer.status == 200
    world.app().verify(world.issue()["code"])
    world.next_window()


def row(page: str, name: str) -> str:
    """The number under that word."""
    found = re.search(rf"<dt>{name}</dt><dd><strong>(\d+)</strong>", page)
    assert found, name
    return found[1]


def test_nobody_sees_it_who_has_not_signed_in(auditor: Auditor) -> None:
    for path in ("/audit/receipts", "/audit/receipts/acts"):
        answer = auditor.client.get(path)
        assert answer.status_code == 403
        assert "You are not signed in" in answer.text
    assert auditor.client.post("/audit/receipts", data={"receipt": "{}"}).status_code in (400, 403)


def test_a_link_lets_an_auditor_in_once(auditor: Auditor, world: World) -> None:
    link = auditor.link()
    assert auditor.client.get(link).status_code == 200
    assert auditor.post(link).status_code == 303
    assert "Zhao" in auditor.page()
    assert auditor.post(link, page=link).status_code == 303, "the button was pressed twice"
    other = Auditor(world)
    assert other.post(link).status_code == 410


def test_an_officials_link_opens_nothing_here_and_an_auditors_not_the_portal(
    auditor: Auditor, world: World
) -> None:
    officials = auditor.link(Role.OFFICIAL)
    assert auditor.post(officials).status_code == 410
    assert auditor.client.get("/audit/receipts").status_code == 403

    desk = Client(portal(world.settings, world.clock))
    path = auditor.link().replace("/audit/", "/portal/")
    token = re.search(r'name="csrf_token" value="([^"]+)"', desk.get(path).text)
    assert token
    assert desk.post(path, data={"csrf_token": token[1]}).status_code == 410
    # What did not burn here is still good there.
    assert auditor.post(path.replace("/portal/", "/audit/")).status_code == 303
    assert auditor.client.get_cookie("audit_session", path="/audit") is not None


def test_a_session_of_one_face_is_none_at_the_other(auditor: Auditor, world: World) -> None:
    auditor.sign_in()
    cookie = auditor.client.get_cookie("audit_session", path="/audit")
    assert cookie
    desk = Client(portal(world.settings, world.clock))
    desk.set_cookie("portal_session", cookie.value, path="/portal")
    assert desk.get("/portal/").status_code == 403


def test_signing_out_ends_it_and_so_does_time(auditor: Auditor, world: World) -> None:
    auditor.sign_in()
    assert auditor.post("/audit/sign-out", page="/audit/receipts").status_code == 303
    assert auditor.client.get("/audit/receipts").status_code == 403
    auditor.sign_in()
    world.clock.advance(9 * 3600)
    assert auditor.client.get("/audit/receipts").status_code == 403


def test_a_forged_form_is_refused(auditor: Auditor) -> None:
    auditor.sign_in()
    assert auditor.client.post("/audit/sign-out").status_code == 400
    assert "Zhao" in auditor.page()


def test_a_face_without_databases_says_so(world: World) -> None:
    client = Client(audit(world.settings, world.clock, with_receipts=False))
    assert "Receipts are not shown here" in client.get("/audit/receipts").text
    assert client.get("/audit/sign-in/abc").status_code == 404
    assert client.get("/audit/").status_code == 200


def test_the_books_of_a_day_balance(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    page = auditor.sign_in().page()
    assert "issued ≥ redeemed ≥ certified ≥ uploaded ≥ published" in page
    assert [row(page, name) for name in ("Issued", "Redeemed", "Certified", "Uploaded", "Published")] == [
        "3", "3", "2", "2", "2",
    ]  # fmt: skip


def test_an_upload_that_waits_for_its_window_is_uploaded_and_not_published(
    auditor: Auditor, world: World
) -> None:
    live_a_day(world)
    world.app().upload(world.issue()["code"], fresh_keys(world.clock(), today=False))
    page = auditor.sign_in().page()
    assert (row(page, "Uploaded"), row(page, "Published")) == ("3", "2")
    assert "1 waits for its window" in page


def test_more_published_than_certified_is_seen(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        session.execute(update(IssuingCount).where(IssuingCount.kind == "certified").values(n=1))
    page = auditor.sign_in().page()
    assert "A later step counts more than an earlier one." in page


def test_real_and_decoy_receipts_of_a_batch_are_those_of_its_manifest(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    page = auditor.sign_in().page()
    found = re.search(r"<td>2</td><td>(\d+)</td>\s*<td><span class=\"state state-live\">agrees</span>", page)
    assert found is not None
    assert (2 + int(found[1])) % LEAVES_GRAIN == 0


def test_a_receipt_slipped_in_after_sealing_makes_the_manifest_differ(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    with Session(open_database(world.settings.collecting_database_url)) as session, transaction(session):
        batch_id = session.scalars(select(Batch.id).order_by(Batch.sequence.desc())).first()
        session.add(Receipt(commitment=b"\x07" * 32, region="XA", content=b"{}", batch_id=batch_id))
    page = auditor.sign_in().page()
    assert re.search(r"<td>3</td><td>\d+</td>\s*<td><span class=\"state[^>]*>differs</span>", page)


@pytest.mark.parametrize("spoil", ["damaged", "gone"])
def test_a_manifest_that_is_not_the_recorded_one_differs(auditor: Auditor, world: World, spoil: str) -> None:
    live_a_day(world)
    manifests = list((world.settings.public_dir / "exposures/XA/manifest").glob("*.json"))
    for path in manifests:
        if spoil == "gone":
            path.unlink()
        else:
            path.write_bytes(b"{}")
    page = auditor.sign_in().page()
    assert len(re.findall(r"<td>\d+</td><td>0</td>\s*<td><span[^>]*>differs</span>", page)) == len(manifests)
    assert ">agrees<" not in page


def stored_receipts(world: World) -> list[str]:
    """What the phones keep too, in the same bytes."""
    with Session(open_database(world.settings.collecting_database_url)) as session:
        return [content.decode() for content in session.scalars(select(Receipt.content))]


def test_a_pasted_receipt_is_found_in_its_batch(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    auditor.sign_in()
    for content in stored_receipts(world):
        answer = auditor.post("/audit/receipts", receipt=f"  {content}\n")
        assert re.search(r"of the (16|32|48|64) receipts of XA batch 1\.", answer.text)
        assert hashlib.sha256(content.encode()).hexdigest() in answer.text


def test_what_a_phone_prints_is_read_whole(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    auditor.sign_in()
    printed: dict[str, Any] = {
        "receipts": [
            {
                "content": content,
                "commitment": base64.b64encode(hashlib.sha256(content.encode()).digest()).decode(),
            }
            for content in stored_receipts(world)
        ]
    }
    answer = auditor.post("/audit/receipts", receipt=json.dumps(printed))
    assert len(re.findall(r"of the \d+ receipts of XA batch 1\.", answer.text)) == 2


def test_a_receipt_that_waits_one_that_is_unknown_and_one_that_is_none(
    auditor: Auditor, world: World
) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock(), today=False))
    auditor.sign_in()
    (content,) = stored_receipts(world)
    assert "Its window has not been published yet" in auditor.post("/audit/receipts", receipt=content).text
    members = json.loads(content)
    members["salt"] = base64.b64encode(bytes(32)).decode()
    other = json.dumps(members, sort_keys=True, separators=(",", ":"))
    assert "In no batch that is still kept" in auditor.post("/audit/receipts", receipt=other).text
    answer = auditor.post("/audit/receipts", receipt="<script>alert(1)</script>")
    assert "This is no receipt" in answer.text
    assert "<script>" not in answer.text


def test_acts_are_chained_and_their_anchors_agree_with_the_log(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    world.clock.advance(DAY)
    world.next_window()
    page = auditor.sign_in().page("/audit/receipts/acts")
    assert "broken" not in page
    assert page.count(">agrees</span>") >= 2
    assert ">differs</span>" not in page


def test_an_act_that_was_changed_afterwards_is_seen(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    auditor.sign_in()
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        act = session.scalars(select(ActivityEvent).where(ActivityEvent.number == 1)).first()
        assert act
        act.content = act.content.replace(b"T12:00Z", b"T13:00Z")
    assert ">broken</span>" in auditor.page("/audit/receipts/acts")


def test_an_anchor_that_is_not_the_logs_is_seen(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    auditor.sign_in()
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        session.execute(update(ActivityAnchor).values(salt=bytes(32)))
    assert ">differs</span>" in auditor.page("/audit/receipts/acts")


def test_an_anchor_agrees_when_its_chain_was_silent_until_its_acts_had_gone(
    auditor: Auditor, world: World
) -> None:
    live_a_day(world)
    url = world.settings.issuing_database_url
    with Session(open_database(url)) as session, transaction(session):
        session.execute(delete(ActivityEvent).where(ActivityEvent.chain != OPERATORS_CHAIN))
    page = auditor.sign_in().page("/audit/receipts/acts")
    assert ">agrees</span>" in page
    assert ">differs</span>" not in page
    with Session(open_database(url)) as session, transaction(session):
        # The oldest go one by one: what an anchor names is then what the first kept act goes on from.
        heads = session.scalars(select(ActivityAnchor.heads)).first()
        assert heads is not None
        head = decode_heads(heads)[OPERATORS_CHAIN]
        number = session.scalars(select(ActivityEvent.number).where(ActivityEvent.hash == head)).one()
        session.execute(delete(ActivityEvent).where(ActivityEvent.number <= number))
    page = auditor.page("/audit/receipts/acts")
    assert ">agrees</span>" in page
    assert ">differs</span>" not in page


def test_a_batch_and_an_anchor_that_were_lost_with_a_database_are_told_apart_from_forged_ones(
    auditor: Auditor, world: World
) -> None:
    live_a_day(world)
    with Session(open_database(world.settings.collecting_database_url)) as session, transaction(session):
        session.execute(update(Batch).values(seed=b""))
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        day, year, number = session.execute(
            select(ActivityAnchor.day, ActivityAnchor.log_year, ActivityAnchor.leaf_number)
        ).one()
        session.execute(update(ActivityAnchor).values(salt=bytes(32), log_year=None, leaf_number=None))
        noon = datetime.combine(day, time(12), UTC).timestamp()
        mark_anchor_lost(session, noon, year, number)
    said = auditor.sign_in().said()
    assert "not checkable: its seed was lost" in said
    assert "differs" not in said
    said = auditor.said("/audit/receipts/acts")
    assert "lost: a backup was restored that day" in said
    assert "differs" not in said


def test_the_page_tells_nothing_of_a_single_person(auditor: Auditor, world: World) -> None:
    live_a_day(world)
    page = auditor.sign_in().page()
    for content in stored_receipts(world):
        for value in json.loads(content).values():
            assert str(value) == "1" or str(value) not in page
