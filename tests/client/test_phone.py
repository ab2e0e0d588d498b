"""A phone's days: set-up, rotating keys, meetings real and staged, freshness."""

import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

import registry.client
from registry.client import Answer, Enrolment, Phone
from registry.client.failures import (
    NoKeyForThatTime,
    NotSetUp,
    TrustExpired,
    TrustRefused,
    UnexpectedStatus,
)
from registry.errors import Malformed
from registry.protocol.index import TRUST_NOTE_PATH, TRUST_PATH
from registry.protocol.trust_note import fingerprint
from tests.client.conftest import ENROLMENT, MakePhone, as_published, meet
from tests.clock import NOON_OF_JUNE_15, FakeClock
from tests.protocol.note_signers import ed25519_signer
from tests.simulated_log import FINGERPRINT, ROOT, SimulatedLog
from tests.simulator import BASE_URL, Simulator

DAY = 86_400


def fresh(simulator: Simulator, clock: FakeClock, tmp_path: Path) -> Phone:
    return Phone.open(tmp_path / "fresh.db", simulator, clock=clock, random_bytes=lambda count: bytes(count))


def test_demonstration_trust_is_refused_unless_asked_for(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    simulator.profile = "demo"
    with fresh(simulator, clock, tmp_path) as phone:
        with pytest.raises(TrustRefused, match=r"demonstration, not for real people.*--demo"):
            phone.set_up(ENROLMENT)
        assert not phone.store.is_set_up()
        with pytest.raises(NotSetUp):
            phone.card()
        phone.set_up(replace(ENROLMENT, demonstration=True))
        assert phone.card().demonstration


def test_past_keys_are_never_made_up_for_real_people(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    with fresh(simulator, clock, tmp_path) as phone:
        for staged in (False, True):
            with pytest.raises(TrustRefused, match="for real people"):
                phone.set_up(replace(ENROLMENT, demonstration=True, staged=staged))
        with pytest.raises(TrustRefused, match="for real people"):
            phone.set_up(replace(ENROLMENT, staged=True))
        assert phone.store.own_keys() == []


@pytest.mark.parametrize(
    "address",
    [
        "ftp://keys.example",
        "keys.example",
        "https://",
        "https://a:b@keys.example",
        "https://keys.example/?me=1",
        "http://[::1",
        "https://keys.example:port",
    ],
)
def test_an_address_that_is_none_or_tells_phones_apart_is_refused(
    address: str, simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    with fresh(simulator, clock, tmp_path) as phone, pytest.raises(TrustRefused):
        phone.set_up(Enrolment(address))


def test_real_people_are_reached_by_https_only(
    simulator: Simulator, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh(simulator, clock, tmp_path) as phone:
        with pytest.raises(TrustRefused, match="https"):
            phone.set_up(replace(ENROLMENT, device_url="http://keys.example"))
        phone.set_up(replace(ENROLMENT, device_url="http://127.0.0.1:8000"))


def test_a_region_that_the_registry_does_not_have_is_refused(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    with fresh(simulator, clock, tmp_path) as phone, pytest.raises(TrustRefused, match="it has XA"):
        phone.set_up(replace(ENROLMENT, region="CN"))


def test_without_trust_material_there_is_no_phone(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    simulator.faults[TRUST_PATH] = Answer(404, {}, b"")
    with fresh(simulator, clock, tmp_path) as phone:
        with pytest.raises(UnexpectedStatus):
            phone.set_up(ENROLMENT)
        assert not phone.store.is_set_up()


def test_a_note_of_the_future_or_long_past_its_end_is_not_pinned(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    now = int(clock())
    with fresh(simulator, clock, tmp_path) as phone:
        for issued_at, expires_at, kind in (
            (now + 3 * 3600, now + DAY, TrustRefused),
            (now - 9 * DAY, now - 7 * DAY, TrustExpired),
        ):
            note = simulator.trust_note(issued_at=issued_at, expires_at=expires_at)
            simulator.faults[TRUST_NOTE_PATH] = Answer(200, {}, note)
            with pytest.raises(kind):
                phone.set_up(ENROLMENT)
            assert not phone.store.is_set_up()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Answer(404, {}, b""), UnexpectedStatus),
        (Answer(200, {}, b"<html>captive portal</html>"), Malformed),
    ],
)
def test_without_the_roots_note_there_is_no_phone(
    fault: Answer, kind: type[Exception], simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    simulator.faults[TRUST_NOTE_PATH] = fault
    with fresh(simulator, clock, tmp_path) as phone:
        with pytest.raises(kind):
            phone.set_up(ENROLMENT)
        assert not phone.store.is_set_up()


def test_material_that_the_note_is_not_about_is_not_pinned(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    older = simulator.trust()
    simulator.trusted.append(simulator.new_key("2"))
    simulator.faults[TRUST_PATH] = Answer(200, {}, older)
    with fresh(simulator, clock, tmp_path) as phone, pytest.raises(TrustRefused, match="about another one"):
        phone.set_up(ENROLMENT)


def test_a_fingerprint_is_compared_asked_about_or_missed(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    unknown = replace(ENROLMENT, fingerprint=None)
    shown: list[str] = []

    def says(answer: bool | None) -> Callable[[str], bool | None]:
        return lambda fingerprint: [shown.append(fingerprint), answer][1]  # type: ignore[func-returns-value]

    with fresh(simulator, clock, tmp_path) as phone:
        for answer in (False, None):
            with pytest.raises(TrustRefused):
                phone.set_up(unknown, confirm=says(answer))
        with pytest.raises(TrustRefused, match="not the one that was given"):
            phone.set_up(replace(ENROLMENT, fingerprint="0000"), confirm=says(True))
        assert not phone.store.is_set_up()
        result = phone.set_up(unknown, confirm=says(True))
        assert (result.fingerprint, result.compared, result.change) == (FINGERPRINT, True, None)
        assert shown == [FINGERPRINT] * 3
        assert phone.set_up(unknown, confirm=says(False)).compared is None, "pinned: nobody is asked"


def test_another_root_or_another_log_is_not_slipped_in_by_setting_up_again(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    simulator.profile = "demo"
    alice = make_phone("alice")
    pinned = alice.store.registration()
    simulator.log.roots = [ed25519_signer(ROOT.name)]
    again = Enrolment(BASE_URL, demonstration=True)
    with pytest.raises(TrustRefused, match="nobody has compared"):
        alice.set_up(again)
    assert alice.store.registration() == pinned
    changed = fingerprint(simulator.log.roots[0].key.vkey)
    assert alice.set_up(replace(again, fingerprint=changed)).compared

    simulator.log = SimulatedLog(simulator.clock, "XA", origin="elsewhere.example/keys")
    simulator.log.roots = [ed25519_signer("elsewhere.example/keys/trust")]
    other = fingerprint(simulator.log.roots[0].key.vkey)
    with pytest.raises(TrustRefused, match="use another --store for another registry"):
        alice.set_up(replace(again, fingerprint=other))


def test_setting_up_again_renews_the_api_key_and_keeps_everything_else(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    alice = make_phone("alice")
    keys = alice.own_keys()
    replacement = simulator.new_key("2")
    simulator.signers = simulator.trusted = [replacement]
    change = alice.set_up(Enrolment(BASE_URL, device_api_key="newer")).change
    assert change is not None
    assert (change.added, change.removed) == (("XA_export-2",), ("XA_export-1",))
    registration = alice.store.registration()
    assert (registration.device_api_key, registration.health_authority_id) == ("newer", "authority")
    assert alice.own_keys() == keys
    with pytest.raises(TrustRefused, match="another --store"):
        alice.set_up(Enrolment("https://elsewhere.example"))


def test_setting_up_again_keeps_the_address_of_uploads_unless_another_is_given(
    make_phone: MakePhone,
) -> None:
    alice = make_phone("alice")
    alice.set_up(replace(ENROLMENT, device_url="https://uploads.example"))
    alice.set_up(Enrolment(BASE_URL, device_api_key="newer"))
    assert alice.store.registration().device_url == "https://uploads.example"
    alice.set_up(replace(ENROLMENT, device_url=BASE_URL))
    assert alice.store.registration().device_url == BASE_URL


def test_keys_rotate_at_midnight_utc_and_go_after_14_days(make_phone: MakePhone, clock: FakeClock) -> None:
    alice = make_phone("alice")
    (first,) = alice.own_keys()
    assert first.rolling_start_interval_number * 600 == NOON_OF_JUNE_15 - DAY / 2
    clock.advance(DAY / 2 - 1)
    assert alice.own_keys() == [first]
    clock.advance(1)
    second = alice.own_keys()[1]
    assert second.key_data != first.key_data
    assert second.rolling_start_interval_number == first.rolling_start_interval_number + 144
    clock.advance(14 * DAY - 1)
    assert first in alice.own_keys()
    clock.advance(1)
    assert first not in alice.own_keys()


def test_a_staged_meeting_of_the_day_before_yesterday(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.profile = "demo"
    alice, bob = make_phone("alice", staged=True), make_phone("bob")
    noon = alice.staged_noon()
    assert noon == NOON_OF_JUNE_15 - 2 * DAY
    assert bob.staged_noon() is None
    observed = bob.observe(alice.advertise(at=noon, minutes=30))
    assert observed.kept == 6
    assert observed.staged, "a meeting of a past day was staged, and both screens say so"
    simulator.publish([as_published(key) for key in alice.own_keys()[:-1]])
    assert bob.poll().good
    assert (bob.card().state, bob.card().exposed_on) == ("orange", date(2026, 6, 13))
    assert bob.card().staged
    assert alice.card().staged


def test_a_meeting_of_today_is_not_staged(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.profile = "demo"
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    assert not bob.card().staged


def test_a_phone_broadcast_nothing_before_it_had_a_key(make_phone: MakePhone, clock: FakeClock) -> None:
    alice = make_phone("alice")
    with pytest.raises(NoKeyForThatTime):
        alice.advertise(at=clock() - DAY, minutes=30)
    # Across midnight only today's part was broadcast.
    across = alice.advertise(at=clock() - DAY / 2 - 600, minutes=20)
    assert [sighting.minute * 60 for sighting in across] == [clock() - DAY / 2, clock() - DAY / 2 + 300]


def test_a_phone_does_not_meet_itself(make_phone: MakePhone, simulator: Simulator, clock: FakeClock) -> None:
    alice = make_phone("alice")
    observed = alice.observe(alice.advertise(at=clock(), minutes=30))
    assert (observed.kept, observed.own) == (0, 6)


def test_what_is_too_old_is_not_taken_in(make_phone: MakePhone, clock: FakeClock) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    received = alice.advertise(at=clock(), minutes=30)
    clock.advance(22 * DAY)
    observed = bob.observe(received)
    assert (observed.kept, observed.too_old) == (0, 6)
    assert bob.store.sightings() == []


def test_green_goes_stale_after_48_hours_without_a_good_poll(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    assert bob.card().state == "stale", "never checked is not green"
    simulator.publish_nothing()
    bob.poll()
    assert bob.card().state == "green"
    clock.advance(2 * DAY)
    assert bob.card().state == "green"
    clock.advance(1)
    assert bob.card().state == "stale"
    bob.poll()
    assert bob.card().state == "green"


def test_orange_turns_green_after_a_fortnight(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    simulator.publish([as_published(alice.own_keys()[0])])
    bob.poll()
    clock.advance(13 * DAY)
    bob.poll()
    assert bob.card().state == "orange"
    clock.advance(DAY)
    bob.poll()
    assert bob.card().state == "green"


def test_the_packages_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator = Simulator(time.time, profile="demo", base_url="http://127.0.0.1:8000")
    simulator.publish_nothing()
    monkeypatch.setattr(registry.client, "HttpTransport", lambda: simulator)
    monkeypatch.chdir(tmp_path)
    paragraphs = (registry.client.__doc__ or "").split("\n\n")
    example = "\n".join(text for text in paragraphs if text.startswith("    "))
    exec(compile(textwrap.dedent(example), "example", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out.startswith("GREEN")
