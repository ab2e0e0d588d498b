"""Recall, told as stories on the whole registry: what is taken back here, and what a phone then shows."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.test import Client

from registry.client import Phone, card_lines
from registry.client.failures import UploadRefused
from registry.client.texts import CARD_TEXTS
from registry.lifecycle.activity import acts_of, check_all_chains
from registry.lifecycle.recall_orders import RecallSelector, ask_recall
from registry.models import Authorization, Official, RecallOrder, open_database, transaction
from registry.models.official import new_sign_in_link
from registry.models.recall import RecallReason
from registry.protocol.activity import decode_act
from registry.protocol.intervals import utc_date
from registry.protocol.keys import ReportType
from registry.publisher import Publisher, publisher
from tests.app_of_old import fresh_keys
from tests.client.test_against_registry import (
    make_phone,  # noqa: F401  # a fixture
    met_at_noon,
    wire,  # noqa: F401  # a fixture
)
from tests.faces.portal.conftest import code_on, field, fill_in, hand_over
from tests.world import World

DAY = 86_400
MakePhone = Callable[[str], Phone]


@dataclass
class Desk:
    """An official at the portal."""

    world: World
    id: str
    browser: Client

    def state(self, report_type: str = "confirmed") -> tuple[str, str]:
        """(number, code) of a fresh statement."""
        known = set(authorizations(self.world))
        yesterday = datetime.fromtimestamp(self.world.clock() - DAY, UTC).date().isoformat()
        answers = fill_in(self.browser, test_date=yesterday, report_type=report_type)
        code = code_on(hand_over(self.browser, answers))
        (number,) = set(authorizations(self.world)) - known
        return number, code

    def letter(self) -> str:
        """The code of a letter for the person of the last statement."""
        (path,) = re.findall(r'href="(/portal/codes/[^"/]+)"', self.browser.get("/portal/codes/").text)
        token = field(self.browser.get(path), "csrf_token")
        page = self.browser.post(f"{path}/letter", data={"csrf_token": token}).text
        shown = re.search(r'<p class="code letter-code">(.*?)</p>', page)
        assert shown is not None
        return re.sub(r"<[^>]*>| ", "", shown[1])

    def ask(self, number: str) -> str:
        """Ask for a recall; the order's address."""
        path = f"/portal/recalls/ask/{number}"
        token = field(self.browser.get(path), "csrf_token")
        asked = {"reason": "mistake", "known": "y", "csrf_token": token}
        return urlsplit(self.browser.post(path, data=asked).headers["Location"]).path

    def approve(self, order: str) -> None:
        """Approve what another one asked for."""
        token = field(self.browser.get(order), "csrf_token")
        answer = self.browser.post(f"{order}/approve", data={"known": "y", "csrf_token": token})
        assert answer.status_code == 303, answer.text


def authorizations(world: World) -> list[str]:
    """Numbers of all statements."""
    with Session(open_database(world.settings.issuing_database_url)) as session:
        return list(session.scalars(select(Authorization.id)))


@pytest.fixture
def officials(world: World) -> tuple[Desk, Desk]:
    """Two officials, each at a browser of their own."""
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        first = session.scalars(select(Official.id)).one()
        authority = world.settings.health_authority_id
        session.add(Official(id="official-2", authority_id=authority, name="Li Na"))
        session.flush()
        links = {each: new_sign_in_link(session, each, now=world.clock()) for each in (first, "official-2")}
    desks = []
    for official, token in links.items():
        browser, link = Client(world.client.application), f"/portal/sign-in/{token}"
        browser.post(link, data={"csrf_token": field(browser.get(link), "csrf_token")})
        desks.append(Desk(world, official, browser))
    return desks[0], desks[1]


@pytest.fixture
def two_phones(make_phone: MakePhone) -> tuple[Phone, Phone]:  # noqa: F811
    """Alice's and Bob's, which have met; Bob's has been on the net."""
    alice, bob = make_phone("alice"), make_phone("bob")
    met_at_noon(alice, bob)
    bob.poll()
    assert bob.card().state == "green"
    return alice, bob


def share(phone: Phone, code: str) -> None:
    """Everything up to the upload's end."""
    phone.agree(code)
    phone.upload()


def turned_orange(world: World, bob: Phone) -> None:
    """The next window leaves, and Bob is warned."""
    world.next_window()
    bob.poll()
    assert bob.card().state == "orange"


def warning_taken_back(world: World, bob: Phone) -> None:
    """The next window leaves, and Bob's card goes back and says so."""
    world.next_window()
    report = bob.poll()
    assert report.withdrawn
    card = bob.card()
    assert (card.state, card.exposed_on, len(card.withdrawn_on)) == ("green", None, 1)
    told = CARD_TEXTS["en"]["withdrawn"].format(day=card.withdrawn_on[0].isoformat())
    assert told in card_lines(card, "en")
    bob.poll()
    assert bob.card() == card, "and it stays so"


def never_warned(world: World, bob: Phone) -> None:
    """Whatever leaves from now on, Bob's card stays green and tells of nothing."""
    for _ in range(2):
        world.next_window()
        bob.poll()
    world.clock.advance(DAY + 2 * 3600)
    world.next_window()
    bob.poll()
    card = bob.card()
    assert (card.exposed_on, card.withdrawn_on) == (None, ())
    assert bob.store.exposures() == []


def test_a_patient_takes_it_back_after_publication(world: World, two_phones: tuple[Phone, Phone]) -> None:
    alice, bob = two_phones
    share(alice, world.issue()["code"])
    turned_orange(world, bob)
    alice.withdraw()
    warning_taken_back(world, bob)
    revised = [key for name in world.file_names() for key in world.file(name).revised_keys]
    assert {key.report_type for key in revised} == {ReportType.REVOKED}
    assert len(revised) == 14, "today's key, still under its embargo, has not gone out and never will"
    world.clock.advance(DAY + 2 * 3600)
    world.next_window()
    assert len(world.published_keys()) == 14


def test_a_patient_takes_it_back_before_publication(world: World, two_phones: tuple[Phone, Phone]) -> None:
    alice, bob = two_phones
    share(alice, world.issue()["code"])
    alice.withdraw()
    never_warned(world, bob)
    assert world.published_keys() == []


@pytest.mark.parametrize("letter_first", [True, False])
@pytest.mark.parametrize("published", [True, False])
def test_a_person_takes_it_back_by_the_code_of_a_letter(
    world: World,
    two_phones: tuple[Phone, Phone],
    officials: tuple[Desk, Desk],
    letter_first: bool,
    published: bool,
) -> None:
    alice, bob = two_phones
    one, _ = officials
    _, code = one.state()
    if letter_first:
        letter = one.letter()
    share(alice, code)
    if not letter_first:
        letter = one.letter()
    if published:
        turned_orange(world, bob)
    anybody = Client(world.client.application)
    done = anybody.post("/withdraw/", data={"code": letter.lower(), "sure": "y"})
    assert "It is taken back" in done.text
    if published:
        warning_taken_back(world, bob)
    else:
        never_warned(world, bob)
        assert world.published_keys() == []
    assert "was used" in anybody.post("/withdraw/", data={"code": letter, "sure": "y"}).text


def test_a_letter_ends_a_code_that_was_not_used_and_a_newer_letter_voids_it(
    world: World, officials: tuple[Desk, Desk]
) -> None:
    one, _ = officials
    _, code = one.state()
    void, letter = one.letter(), one.letter()
    anybody = Client(world.client.application)
    assert "was used" in anybody.post("/withdraw/", data={"code": void, "sure": "y"}).text
    assert "It is taken back" in anybody.post("/withdraw/", data={"code": letter, "sure": "y"}).text
    assert world.app().verify(code).code == "code_expired"
    world.next_window()
    with Session(open_database(world.settings.issuing_database_url)) as session:
        order = session.scalars(select(RecallOrder)).one()
        assert (order.state, order.reason, order.asked_by) == ("done", "consent_withdrawn", None)
        check_all_chains(session)


def test_two_officials_take_it_back_after_publication(
    world: World, two_phones: tuple[Phone, Phone], officials: tuple[Desk, Desk]
) -> None:
    alice, bob = two_phones
    one, other = officials
    number, code = one.state()
    share(alice, code)
    turned_orange(world, bob)
    order = one.ask(number)
    world.next_window()
    bob.poll()
    assert bob.card().state == "orange", "nothing happens on one official's word"
    other.approve(order)
    warning_taken_back(world, bob)


def test_two_officials_take_it_back_before_publication(
    world: World, two_phones: tuple[Phone, Phone], officials: tuple[Desk, Desk]
) -> None:
    alice, bob = two_phones
    one, other = officials
    number, code = one.state()
    share(alice, code)
    other.approve(one.ask(number))
    never_warned(world, bob)
    assert world.published_keys() == []


def test_what_was_recalled_before_it_was_uploaded_is_refused(
    world: World,
    make_phone: MakePhone,  # noqa: F811
    officials: tuple[Desk, Desk],
) -> None:
    one, other = officials
    number, code = one.state()
    app, keys = world.app(), fresh_keys(world.clock())
    certificate = app.certify(app.verify(code).body["token"], keys).body["certificate"]
    other.approve(one.ask(number))
    world.next_window()
    answer = app.post("/v1/publish", app.publish_body(certificate, keys))
    assert (answer.status, answer.code) == (401, "health_authority_verification_certificate_invalid")

    number, code = one.state()
    other.approve(one.ask(number))
    alice = make_phone("alice")
    alice.agree(code)
    with pytest.raises(UploadRefused) as refused:
        alice.upload()
    assert refused.value.code == "code_expired"


@pytest.mark.parametrize("sealed_between", [True, False])
def test_all_of_an_official_between_two_days(
    world: World, two_phones: tuple[Phone, Phone], officials: tuple[Desk, Desk], sealed_between: bool
) -> None:
    alice, bob = two_phones
    one, other = officials
    kept = fresh_keys(world.clock(), today=False)
    assert world.app().upload(other.state()[1], kept).status == 200
    share(alice, one.state()[1])
    for _ in range(3):
        assert world.app().upload(one.state()[1], fresh_keys(world.clock(), today=False)).status == 200
    if sealed_between:
        turned_orange(world, bob)
    today = utc_date(world.clock())
    with Session(open_database(world.settings.issuing_database_url)) as session, transaction(session):
        order_id = ask_recall(
            session,
            RecallSelector(official_id=one.id, stated_from=today, stated_to=today),
            RecallReason.MISTAKE,
            authority_id=world.settings.health_authority_id,
            asked_by=None,
            now=world.clock(),
        )
    other.approve(f"/portal/recalls/{order_id}")
    if sealed_between:
        warning_taken_back(world, bob)
        assert len(world.published_keys()) == 5 * 14
    else:
        never_warned(world, bob)
        assert len(world.published_keys()) == len(kept), "the other official's stay"
    with Session(open_database(world.settings.issuing_database_url)) as session:
        assert session.scalars(select(RecallOrder)).one().uploads == 4


@pytest.mark.parametrize("way", ["patient", "officials"])
def test_a_recall_after_an_earlier_revision(
    world: World, two_phones: tuple[Phone, Phone], officials: tuple[Desk, Desk], way: str
) -> None:
    alice, bob = two_phones
    one, other = officials
    number, code = one.state("likely")
    share(alice, code)
    turned_orange(world, bob)
    share(alice, one.state("confirmed")[1])
    world.next_window()
    bob.poll()
    assert {one.report_type for one in bob.store.exposures()} == {ReportType.CONFIRMED_TEST}
    if way == "patient":
        alice.withdraw()
    else:
        # The statement by which the keys first came leads to them, whatever was said of them since.
        other.approve(one.ask(number))
    warning_taken_back(world, bob)


def test_handles_lie_open_between_approval_and_the_next_publishing_alone(
    world: World,
    make_phone: MakePhone,  # noqa: F811
    officials: tuple[Desk, Desk],
) -> None:
    one, other = officials
    number, code = one.state()
    share(make_phone("alice"), code)
    order = one.ask(number)
    assert open_handles(world) == [None]
    other.approve(order)
    assert [len(handles or b"") for handles in open_handles(world)] == [16]
    world.publish()
    assert open_handles(world) == [None]
    with Session(open_database(world.settings.issuing_database_url)) as session:
        check_all_chains(session)
        acts = [decode_act(event.content) for event in acts_of(session, world.settings.health_authority_id)]
    kinds = [act.kind for act in acts if act.kind.startswith("recall")]
    assert kinds == ["recall_asked", "recall_approved", "recall_done"]
    assert "done" in one.browser.get(order).text


@pytest.mark.parametrize("broken", ["_recall", "_publish"])
def test_a_run_that_breaks_off_is_mended_by_the_next(
    world: World,
    two_phones: tuple[Phone, Phone],
    officials: tuple[Desk, Desk],
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice, bob = two_phones
    one, other = officials
    number, code = one.state()
    share(alice, code)
    other.approve(one.ask(number))

    def fails(*_words: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(Publisher, broken, fails)
        with pytest.raises(OSError, match="disk"):
            world.next_window()
    assert open_handles(world) == ([None] if broken == "_publish" else open_handles(world))
    assert world.published_keys() == [], "nothing leaves before it is recalled"
    never_warned(world, bob)
    assert open_handles(world) == [None]


def test_an_upload_that_commits_while_the_recall_runs_is_taken_back_as_well(
    world: World, officials: tuple[Desk, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = officials
    number, code = one.state()
    app, keys = world.app(), fresh_keys(world.clock(), today=False)
    certificate = app.certify(app.verify(code).body["token"], keys).body["certificate"]
    other.approve(one.ask(number))
    # Its certificate was looked at before the recall began: as if no mark had been there to be seen.
    monkeypatch.setattr("registry.lifecycle.collect.check_not_recalled", lambda *_: None)
    worker = publisher(world.settings, world.clock)
    publish = Publisher._publish

    def slow_upload_then_publish(self: Publisher) -> object:
        assert app.post("/v1/publish", app.publish_body(certificate, keys)).status == 200
        return publish(self)

    monkeypatch.setattr(Publisher, "_publish", slow_upload_then_publish)
    worker.publish()
    monkeypatch.undo()
    world.next_window()
    revised = [key for name in world.file_names() for key in world.file(name).revised_keys]
    assert sorted(key.key_data for key in revised) == sorted(world.published_keys())
    assert {key.report_type for key in revised} == {ReportType.REVOKED}


def open_handles(world: World) -> list[bytes | None]:
    """What lies with each order."""
    with Session(open_database(world.settings.issuing_database_url)) as session:
        return list(session.scalars(select(RecallOrder.handles)))
