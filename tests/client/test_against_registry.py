"""The SDK and the registry itself, joined without a network: what one sends, the other must take.

Runs on both databases. The registry's own stories are told elsewhere; here stands what needs both ends.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from registry.client import Answer, Enrolment, Phone
from registry.client.failures import NoAnswer, TooLarge, UploadRefused
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
    assert bob.poll().good
    assert bob.card().state == "green"
    alice.agree(world.issue()["code"])
    receipt = alice.upload()
    assert (receipt.keys_taken, receipt.changed_earlier) == (15, False)
    world.next_window()
    report = bob.poll()
    assert (report.good, report.files_read, report.keys_read) == (True, 1, 14)
    assert bob.card().state == "orange"


def test_an_unchanged_index_costs_one_request_without_a_body(
    world: World, wire: Wire, make_phone: Callable[[str], Phone]
) -> None:
    bob = make_phone("bob")
    bob.poll()
    wire.sent.clear()
    report = bob.poll()
    assert wire.sent == [("GET", "/exposures/XA/index.json")]
    assert (report.good, report.index_changed) == (True, False)


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
