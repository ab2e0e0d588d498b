"""An SMS through gateways that accept, refuse, hang and die: one outcome each, no word of the number."""

import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from registry.delivery.folder_gateway import NEWEST, FolderGateway
from registry.delivery.http_gateway import HttpGateway
from registry.delivery.phone_number import PhoneNumber, read_phone_number
from registry.delivery.sms import Answer, Delivery, Outcome, Sms, SmsDesk
from registry.errors import Refusal, RefusalCode
from tests.delivery.gateway import SuiteGateway
from tests.running import free_port

NUMBER = read_phone_number("+8613800138000", "XA")
SMS = Sms(NUMBER, 'Code 123 456 "{to}" & {sender}=\u4f60\u597d\n%s')


def outcome(*gateways: HttpGateway) -> Outcome:
    return SmsDesk(gateways).send(SMS)


def test_what_is_sent_is_encoded_as_a_whole_and_the_address_stays_as_it_is(first: SuiteGateway) -> None:
    gateway = replace(first.gateway(), senders={"+86": "Health", "*": "Other"})
    assert outcome(gateway) == Outcome(Delivery.SENT)
    (asked,) = first.asked
    assert asked.path == "/send"
    assert asked.json() == {"to": "+8613800138000", "from": "Health", "text": SMS.text}
    as_form = replace(gateway, encoding="form")
    assert outcome(as_form) == Outcome(Delivery.SENT)
    assert first.asked[1].body.startswith(b"to=%2B8613800138000&from=Health&text=Code+123+456+%22%7Bto%7D%22")
    assert first.asked[1].headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("behaviour", "expected", "asks_the_second"),
    [
        (200, Outcome(Delivery.SENT), False),
        (422, Outcome(Delivery.REFUSED), False),
        (503, Outcome(Delivery.SENT), True),
        (429, Outcome(Delivery.SENT), True),
        (401, Outcome(Delivery.SENT), True),
        (500, Outcome(Delivery.SENT, maybe_twice=True), True),
        (302, Outcome(Delivery.SENT, maybe_twice=True), True),
        ("die", Outcome(Delivery.SENT, maybe_twice=True), True),
        ("hang", Outcome(Delivery.SENT, maybe_twice=True), True),
    ],
)
def test_the_next_gateway_is_asked_unless_this_one_said_what_it_did(
    first: SuiteGateway,
    second: SuiteGateway,
    behaviour: int | str,
    expected: Outcome,
    *,
    asks_the_second: bool,
) -> None:
    first.behaviour = behaviour
    assert outcome(first.gateway("one"), second.gateway("two")) == expected
    assert len(first.asked) == 1, "nobody is asked twice for one SMS"
    assert bool(second.asked) is asks_the_second


def test_one_that_is_not_there_has_certainly_sent_nothing(second: SuiteGateway) -> None:
    gone = replace(second.gateway("gone"), url=f"http://127.0.0.1:{free_port()}/send")
    unnamed = replace(second.gateway("unnamed"), url="http://no-such-host.invalid/send")
    assert outcome(gone) == Outcome(Delivery.FAILED)
    assert outcome(gone, unnamed, second.gateway()) == Outcome(Delivery.SENT)


@pytest.mark.parametrize("behaviours", [(500, 503), (503, 500), ("die", 422), (500, 500)])
def test_what_nobody_knows_is_told_as_not_known(
    first: SuiteGateway, second: SuiteGateway, behaviours: tuple[int | str, int | str]
) -> None:
    first.behaviour, second.behaviour = behaviours
    assert outcome(first.gateway("one"), second.gateway("two")) == Outcome(Delivery.UNKNOWN)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"result": {"code": "OK"}}', Answer.ACCEPTED),
        (b'{"result": {"code": "NUMBER"}}', Answer.REFUSED),
        (b'{"result": {"code": "BALANCE"}}', Answer.FAILED),
        (b'{"result": {"code": 0}}', Answer.ACCEPTED),
        (b'{"result": []}', Answer.UNCLEAR),
        (b"OK", Answer.UNCLEAR),
        (b" " * 70_000 + b'{"result": {"code": "OK"}}', Answer.UNCLEAR),
    ],
)
def test_a_gateway_that_answers_200_to_everything_is_read(
    first: SuiteGateway, answer: bytes, expected: Answer
) -> None:
    first.answer = answer
    gateway = replace(
        first.gateway(),
        told_in=("result", "code"),
        told_accepted=frozenset({"OK", "0"}),
        told_rejected=frozenset({"NUMBER"}),
    )
    assert gateway.send(SMS) is expected


def test_only_gateways_of_the_numbers_country_are_asked(first: SuiteGateway, second: SuiteGateway) -> None:
    desk = SmsDesk([first.gateway("one", countries=["US"]), second.gateway("two", countries=["HK", "+86"])])
    assert desk.send(SMS) == Outcome(Delivery.SENT)
    assert not first.asked
    with pytest.raises(Refusal) as refused:
        desk.check(read_phone_number("+33 6 12 34 56 78", "XA"))
    assert refused.value.code is RefusalCode.SMS_FAILURE
    assert "of FR" in str(refused.value)


class Waiting:
    """A gateway that waits until it is let go."""

    name = "waiting"

    def __init__(self) -> None:
        self.go = threading.Event()

    def serves(self, _number: PhoneNumber) -> bool:
        return True

    def send(self, _sms: Sms) -> Answer:
        assert self.go.wait(20)
        return Answer.ACCEPTED


def test_no_more_are_taken_in_than_there_is_room_for_and_room_comes_back() -> None:
    gateway = Waiting()
    desk = SmsDesk([gateway], most_waiting=3)
    told: list[Outcome] = []
    pending = [desk.post(SMS, told.append) for _ in range(3)]
    with pytest.raises(Refusal) as refused:
        desk.post(SMS)
    assert refused.value.code is RefusalCode.SMS_QUEUE_FULL
    gateway.go.set()
    assert [one.result(20) for one in pending] == [Outcome(Delivery.SENT)] * 3 == told
    assert desk.send(SMS) == Outcome(Delivery.SENT)


class Faulty(Waiting):
    """One with a fault of its own, which quotes what it was given."""

    def send(self, sms: Sms) -> Answer:
        raise ValueError(sms.to.e164)


def test_nothing_that_goes_wrong_says_the_number(
    first: SuiteGateway, second: SuiteGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first.behaviour, second.behaviour = "die", "echo"

    def told(_outcome: Outcome) -> None:
        raise ValueError(SMS.to.e164)

    assert SmsDesk([first.gateway("one"), second.gateway("two")]).post(SMS, told).result(20)
    assert SmsDesk([Faulty()]).send(SMS) == Outcome(Delivery.UNKNOWN)
    gone = replace(first.gateway("gone"), url=f"http://127.0.0.1:{free_port()}/send")
    assert SmsDesk([gone]).send(SMS) == Outcome(Delivery.FAILED)
    assert "the SMS gateway one: unclear" in caplog.text
    assert "unexpected fault of an SMS gateway: ValueError" in caplog.text
    assert "unexpected fault after an SMS: ValueError" in caplog.text
    for record in caplog.records:
        assert "13800138000" not in record.getMessage()
        assert record.exc_info is None


def test_a_demonstration_leaves_the_newest_text_and_no_number(tmp_path: Path) -> None:
    gateway = FolderGateway(tmp_path / "sms")
    assert SmsDesk([gateway]).send(replace(SMS, text="before")) == Outcome(Delivery.SENT)
    assert SmsDesk([gateway]).send(SMS) == Outcome(Delivery.SENT)
    (file,) = (tmp_path / "sms").iterdir()
    assert file.name == NEWEST
    assert file.stat().st_mode & 0o777 == 0o600
    assert "13800138000" not in file.read_text()
    assert SMS.text in file.read_text()
    (tmp_path / "sms-file").touch()
    assert FolderGateway(tmp_path / "sms-file").send(SMS) is Answer.FAILED
