"""The SDK and the registry itself, joined without a network: what one sends, the other must take.

Runs on both databases. The registry's own stories are told elsewhere; here stands what needs both ends.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.client import Answer, Enrolment, Phone
from registry.client.failures import NoAnswer, TooLarge, UploadRefused
from registry.client.receipts import consent_hash
from registry.models import Receipt, open_database
from registry.protocol.receipt import decode_receipt
from tests.clock import FakeClock
from tests.world import World

BASE_URL = "http://127.0.0.1:8000"
STEPS = ["/api/verify", "/api/certificate", "/v1/publish"]
DAY = 86_400


class Wire:
    """A transport straight into the world's web process. Replies to the paths in `lost` do not arrive."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lost: list[str] = []
        self.sent: list[tuple[str, str]] = []

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        return self._send("GET", url, headers, b"", max_bytes)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        return self._send("POST", url, headers, body, max_bytes)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, most: int) -> Answer:
        path = url.removeprefix(BASE_URL)
        self.sent.append((method, path))
        status, names, content = self._world.call(method, path, headers, body)
        if path in self.lost:
            self.lost.remove(path)
            raise NoAnswer("the reply was lost")
        if len(content) > most:
            raise TooLarge("more than was asked for")
        return Answer(status, {name.lower(): value for name, value in names.items()}, content)


@pytest.fixture
def wire(world: World) -> Wire:
    return Wire(world)


@pytest.fixture
def make_phone(world: World, wire: Wire, clock: FakeClock, tmp_path: Path) -> Callable[[str], Phone]:
    """Function from a name to a staged phone of this registry."""
    randomness = random.Random(3)

    def make(name: str) -> Phone:
        phone = Phone.open(tmp_path / f"{name}.db", wire, clock=clock, random_bytes=randomness.randbytes)
        phone.set_up(
            Enrolment(
                BASE_URL,
                health_authority_id=world.first_run["health_authority_id"],
                device_api_key=world.first_run["device_api_key"],
                demonstration=True,
                staged=True,
                fingerprint=world.first_run["trust_fingerprint"],
            )
        )
        return phone

    return make


def met_at_noon(alice: Phone, bob: Phone) -> None:
    noon = alice.staged_noon()
    assert noon is not None
    bob.observe(alice.advertise(at=noon, minutes=30))


def test_from_a_code_to_an_orange_card(world: World, make_phone: Callable[[str], Phone]) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    met_at_noon(alice, bob)
    first = bob.poll()
    assert first.good
    assert first.is_proven
    assert bob.card().state == "green"
    alice.agree(world.issue()["code"])
    receipt = alice.upload()
    assert (receipt.keys_taken, receipt.changed_earlier) == (15, False)
    world.next_window()
    report = bob.poll()
    assert (report.good, report.files_read) == (True, 1)
    # Fourteen of Alice's, today's being still in use, and those of decoy users.
    assert len(world.published_keys()) == 14
    assert report.keys_read == sum(len(world.file(name).keys) for name in world.file_names())
    assert report.is_proven
    assert report.warnings == ()
    assert bob.card().state == "orange"


def test_an_unchanged_index_costs_one_request_without_a_body(
    world: World, wire: Wire, make_phone: Callable[[str], Phone]
) -> None:
    bob = make_phone("bob")
    bob.poll()
    wire.sent.clear()
    report = bob.poll()
    assert wire.sent == [("GET", "/exposures/XA/index.json.tlog-proof")]
    assert (report.good, report.is_proven, report.index_changed) == (True, True, False)


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_reply_burns_nothing_also_across_a_restart(
    step: str, world: World, wire: Wire, make_phone: Callable[[str], Phone]
) -> None:
    alice = make_phone("alice")
    alice.agree(world.issue()["code"])
    wire.lost.append(step)
    with pytest.raises(NoAnswer):
        alice.upload()
    world.start_web()
    assert alice.upload().keys_taken == 15
    world.next_window()
    assert len(world.published_keys()) == 14


def test_a_wrong_health_authority_burns_no_code(
    world: World, make_phone: Callable[[str], Phone], clock: FakeClock
) -> None:
    alice = make_phone("alice")
    alice.set_up(Enrolment(BASE_URL, health_authority_id="org.example.wrong"))
    alice.agree(world.issue()["code"])
    with pytest.raises(UploadRefused) as refused:
        alice.upload()
    assert refused.value.code == "unknown_health_authority_id"
    clock.advance(3600)  # the first certificate has expired meanwhile
    alice.set_up(Enrolment(BASE_URL, health_authority_id=world.first_run["health_authority_id"]))
    assert alice.upload().keys_taken == 15


def test_a_second_upload_proves_by_its_revision_token_whose_keys_they_are(
    world: World, make_phone: Callable[[str], Phone], clock: FakeClock
) -> None:
    alice = make_phone("alice")
    alice.agree(world.issue("likely")["code"])
    alice.upload()
    clock.advance(DAY)
    alice.agree(world.issue("confirmed")["code"])
    assert alice.upload().partial is None
    world.next_window()
    assert len(set(world.published_keys())) == 15


def test_a_used_code_is_refused_by_the_contracts_word(
    world: World, make_phone: Callable[[str], Phone]
) -> None:
    alice, mallory = make_phone("alice"), make_phone("mallory")
    code = world.issue()["code"]
    alice.agree(code)
    alice.upload()
    mallory.agree(code)
    with pytest.raises(UploadRefused) as refused:
        mallory.upload()
    assert (refused.value.code, refused.value.status) == ("code_invalid", 400)


def test_a_negative_result_afterwards_withdraws_the_warning(
    world: World, make_phone: Callable[[str], Phone]
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    met_at_noon(alice, bob)
    alice.agree(world.issue("likely")["code"])
    alice.upload()
    world.next_window()
    bob.poll()
    assert bob.card().state == "orange"
    alice.agree(world.issue("negative")["code"])
    receipt = alice.upload()
    assert (receipt.keys_taken, receipt.changed_earlier) == (0, True)
    world.next_window()
    assert bob.poll().withdrawn == 1
    card = bob.card()
    assert (card.state, len(card.withdrawn_on)) == ("green", 1)


def receipts_of(world: World) -> list[Receipt]:
    """What the collecting half keeps."""
    engine = open_database(world.settings.collecting_database_url)
    with Session(engine) as session:
        found = list(session.scalars(select(Receipt)))
    engine.dispose()
    return found


@pytest.mark.parametrize("step", [None, *STEPS])
def test_phone_and_registry_keep_the_same_receipt_though_a_reply_was_lost(
    step: str | None, world: World, wire: Wire, make_phone: Callable[[str], Phone]
) -> None:
    alice = make_phone("alice")
    alice.agree(world.issue()["code"], language="zh")
    if step is not None:
        wire.lost.append(step)
        with pytest.raises(NoAnswer):
            alice.upload()
    alice.upload()
    (kept,) = alice.receipts()
    (stored,) = receipts_of(world)
    assert (kept.commitment, kept.content) == (stored.commitment, stored.content)
    receipt = decode_receipt(kept.content)
    assert kept.consent_salt is not None
    assert kept.consent_record is not None
    assert receipt.consent_hash == consent_hash(kept.consent_salt, kept.consent_record)
    assert receipt.attestation is not None
    record = json.loads(kept.consent_record)
    assert (record["language"], record["report_type"], len(record["days"])) == ("zh", "confirmed", 15)


def test_a_receipt_after_a_wrong_authority_is_that_of_the_certificate_that_was_used(
    world: World, make_phone: Callable[[str], Phone], clock: FakeClock
) -> None:
    alice = make_phone("alice")
    alice.set_up(Enrolment(BASE_URL, health_authority_id="org.example.wrong"))
    alice.agree(world.issue()["code"])
    with pytest.raises(UploadRefused):
        alice.upload()
    clock.advance(3600)  # the first certificate has expired: the registry renews it
    alice.set_up(Enrolment(BASE_URL, health_authority_id=world.first_run["health_authority_id"]))
    alice.upload()
    assert [kept.commitment for kept in alice.receipts()] == [row.commitment for row in receipts_of(world)]


def test_an_upload_that_only_changes_an_earlier_one_has_no_receipt_on_either_side(
    world: World, make_phone: Callable[[str], Phone]
) -> None:
    alice = make_phone("alice")
    alice.agree(world.issue("likely")["code"])
    alice.upload()
    alice.agree(world.issue("negative")["code"])
    alice.upload()
    assert len(alice.receipts()) == len(receipts_of(world)) == 1


def test_an_upload_agreed_to_before_there_were_receipts_still_goes_through(
    world: World, make_phone: Callable[[str], Phone]
) -> None:
    alice = make_phone("alice")
    alice.agree(world.issue()["code"])
    pending = alice.store.pending_upload()
    assert pending is not None
    with alice.store.all_or_nothing():
        alice.store.put_pending_upload(replace(pending, consent_record=None, consent_salt=None))
    assert alice.upload().keys_taken == 15
    (kept,) = alice.receipts()
    assert kept.consent_record is None
    assert kept.content == receipts_of(world)[0].content
