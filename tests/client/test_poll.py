"""Stories of polling: what a phone believes, what it refuses, and what it does about it."""

import os
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from registry.client import Answer, Phone, PollReport
from registry.client.failures import (
    HashMismatch,
    NoAnswer,
    Outdated,
    Rewritten,
    RolledBack,
    SequenceGap,
    Throttled,
    TooEarly,
    TooLarge,
    TrustRefused,
    UnexpectedStatus,
    UnloggedFile,
    WrongFile,
)
from registry.client.poll import PERIOD_SECONDS
from registry.client.trust import KeyChange
from registry.errors import BadSignature, Malformed, RegistryError, UntrustedKey
from registry.protocol.export_file import MAX_UNPACKED_BYTES, pack
from registry.protocol.index import (
    EXPOSURES,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    index_path,
    index_proof_path,
)
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.serving import known_tags
from tests.client.conftest import ENROLMENT, MakePhone, as_published, meet
from tests.client.test_match import VECTOR_KEY, VECTOR_SIGHTINGS, VECTOR_START, vector_sighting
from tests.clock import FakeClock
from tests.protocol.note_signers import ed25519_signer
from tests.simulated_log import ROOT
from tests.simulator import REGION, Simulator

INDEX = index_path(REGION)
PROOF = index_proof_path(REGION)
DAY = 86_400


def only_failure(report: PollReport, kind: type[RegistryError], path: str) -> RegistryError:
    """The one failure of a poll, which must be of exactly this kind, at this path."""
    assert [(failure.path, type(failure.error)) for failure in report.failures] == [(path, kind)]
    assert not report.good
    return report.failures[0].error


def stranger(number: int = 0, day: int = 20_617) -> TemporaryExposureKey:
    """The key of somebody whom nobody met; by default of 2026-06-13."""
    return as_published(TemporaryExposureKey(number.to_bytes(16, "big"), day * 144))


def test_a_meeting_turns_green_into_orange_once_the_key_is_published(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    simulator.publish([stranger()])
    assert bob.poll().good
    assert bob.card().state == "green"

    clock.advance(DAY)
    simulator.publish([as_published(key) for key in alice.own_keys()[:1]] + [stranger(1)])
    report = bob.poll()

    assert report.good
    assert (report.files_read, report.keys_read) == (1, 2)
    card = bob.card()
    assert (card.state, card.exposed_on, card.stale) == ("orange", date(2026, 6, 15), False)


def test_nothing_is_fetched_twice_and_an_unchanged_index_is_not_sent_again(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    for number in range(3):
        simulator.publish([stranger(number)])
    assert bob.poll().files_read == 3
    clock.advance(60)
    simulator.requests.clear()
    second = bob.poll()
    assert [(request.path, request.headers) for request in simulator.requests] == [
        (PROOF, {"If-None-Match": known_tags(simulator.proof())})
    ]
    assert (second.index_changed, second.files_read, second.good) == (False, 0, True)
    simulator.publish([stranger(9)])
    assert bob.poll().files_read == 1

    paths = [request.path for request in simulator.requests if request.path.endswith(".zip")]
    assert paths == [f"{EXPOSURES}/{simulator.windows[-1].files[0].path}"]
    assert simulator.fetched("index.json") == [], "the index is fetched by the digest that is proven"


def test_two_phones_send_the_same_requests(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.publish([stranger()])

    def sent_by(name: str) -> list[object]:
        phone = make_phone(name)
        simulator.requests.clear()
        phone.poll()
        phone.poll()
        return list(simulator.requests)

    assert sent_by("alice") == sent_by("bob")


def test_a_tag_chosen_by_the_registry_is_never_sent_back(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.faults[PROOF] = Answer(200, {"etag": '"this-is-bob"', "set-cookie": "bob=1"}, simulator.proof())
    bob.poll()
    bob.poll()
    assert "this-is-bob" not in repr([request.headers for request in simulator.requests])


def test_one_missing_file_holds_up_nothing_else_and_is_fetched_later(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    lost = f"{EXPOSURES}/{simulator.publish([as_published(alice.own_keys()[0])])}"
    simulator.publish([stranger()])
    simulator.faults[lost] = Answer(404, {}, b"")

    report = bob.poll()
    assert (report.files_read, report.files_unread) == (1, 1)
    failure = only_failure(report, UnexpectedStatus, lost)
    assert isinstance(failure, UnexpectedStatus)
    assert failure.status == 404
    assert bob.card().state == "stale", "what was not read completely is not green"

    simulator.faults.clear()
    assert bob.poll().good, "the index did not change, and the file is fetched all the same"
    assert bob.card().state == "orange"


def test_a_tampered_file_is_refused_and_nothing_of_it_is_matched(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    path = f"{EXPOSURES}/{simulator.publish([as_published(alice.own_keys()[0])])}"
    content = simulator.files[path]
    for place in range(0, len(content), 37):
        simulator.files[path] = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        (failure,) = bob.poll().failures
        # A byte of the zip's own: then what is inside is signed, and still not the file that is logged.
        assert isinstance(failure.error, (HashMismatch, UnloggedFile))
    simulator.files[path] = content + b"x"
    only_failure(bob.poll(), TooLarge, path)
    simulator.files[path] = content[:-1]
    only_failure(bob.poll(), HashMismatch, path)
    assert bob.store.exposures() == []
    assert bob.store.read_files() == set()


def test_a_file_whose_signature_is_wrong_is_refused_though_the_index_vouches_for_it(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    bob = make_phone("bob")
    forger = replace(simulator.new_key("1"), name=simulator.signers[0].name)
    simulator.signers = [forger]
    path = f"{EXPOSURES}/{simulator.publish([stranger()])}"
    only_failure(bob.poll(), BadSignature, path)


def test_a_new_signing_key_is_learnt_once_and_reported(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    assert bob.poll().key_change is None
    # First both sign, so that phones with either key pass; then the old one only remains in the material.
    new = simulator.new_key("2")
    simulator.signers.insert(0, new)
    simulator.trusted.append(new)
    simulator.publish([stranger(1)])
    report = bob.poll()
    assert report.good
    assert report.key_change is None
    simulator.signers = [new]
    simulator.publish([stranger(2)])
    simulator.publish([stranger(3)])
    simulator.requests.clear()

    report = bob.poll()
    assert report.good
    assert report.files_read == 2
    assert report.key_change is not None
    assert (report.key_change.added, report.key_change.removed) == (("XA_export-2",), ())
    assert len(simulator.fetched(TRUST_PATH)) == 1
    assert bob.poll().key_change is None


def test_an_unknown_key_that_the_trust_material_does_not_name_stays_unknown(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    bob = make_phone("bob")
    simulator.signers = [simulator.new_key("666")]
    paths = [f"{EXPOSURES}/{simulator.publish([stranger(number)])}" for number in range(2)]
    simulator.requests.clear()
    report = bob.poll()
    assert [(failure.path, type(failure.error)) for failure in report.failures] == [
        (path, UntrustedKey) for path in paths
    ]
    assert len(simulator.fetched(TRUST_NOTE_PATH)) == 1, "asked once a poll, not once a file"
    assert simulator.fetched(TRUST_PATH) == [], "the note says that the material is the one that is known"


def test_trust_material_that_the_pinned_root_did_not_sign_is_refused(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    bob = make_phone("bob")
    impostor = simulator.new_key("1")
    simulator.signers = simulator.trusted = [replace(impostor, name=("XA_export", "9"))]
    simulator.log.roots = [ed25519_signer(ROOT.name)]
    path = f"{EXPOSURES}/{simulator.publish([stranger()])}"
    before = bob.store.registration()
    report = bob.poll()
    assert [(failure.path, type(failure.error)) for failure in report.failures] == [
        (TRUST_PATH, TrustRefused),
        (path, UntrustedKey),
    ]
    assert bob.store.registration() == before


def test_all_keys_may_go_at_once_if_the_root_says_so(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.signers = simulator.trusted = [simulator.new_key("9")]
    simulator.publish([stranger()])
    report = bob.poll()
    assert report.good
    assert report.key_change == KeyChange(("XA_export-9",), ("XA_export-1",))


def test_a_key_that_ended_before_the_window_is_not_believed(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    old = replace(simulator.signers[0], not_after=int(clock()) - 2 * DAY)
    simulator.signers = simulator.trusted = [old]
    bob = make_phone("bob")
    path = f"{EXPOSURES}/{simulator.publish([stranger()])}"
    only_failure(bob.poll(), UntrustedKey, path)


def test_a_zip_bomb_is_refused(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    bomb = pack(bytes(MAX_UNPACKED_BYTES + 1), b"")
    assert len(bomb) < 100_000
    path = f"{EXPOSURES}/{simulator.publish(content=bomb)}"
    only_failure(bob.poll(), Malformed, path)


def test_a_file_announced_too_large_is_not_even_fetched(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    path = f"{EXPOSURES}/{simulator.publish([stranger()])}"
    (window,) = simulator.windows
    simulator.windows = [replace(window, files=(replace(window.files[0], size=2**40),))]
    only_failure(bob.poll(), TooLarge, path)
    assert simulator.fetched(".zip") == []


@pytest.mark.parametrize(
    ("story", "kind"),
    [("another region", WrongFile), ("another window", WrongFile), ("a key of tomorrow", Malformed)],
)
def test_a_well_signed_file_in_the_wrong_place_is_refused(
    story: str, kind: type[RegistryError], make_phone: MakePhone, simulator: Simulator
) -> None:
    bob = make_phone("bob")
    bends = {
        "another region": lambda export: replace(export, region="XB"),
        "another window": lambda export: replace(
            export, start_timestamp=export.start_timestamp - 3600, end_timestamp=export.start_timestamp
        ),
        "a key of tomorrow": lambda export: replace(export, keys=(stranger(day=20_620),)),
    }
    path = f"{EXPOSURES}/{simulator.publish([stranger()], bend=bends[story])}"
    only_failure(bob.poll(), kind, path)


def test_a_key_that_could_still_be_replayed_is_witnessed_and_refused(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    key = as_published(alice.own_keys()[0])
    clock.advance(13 * 3600)  # 01:00: the key ended an hour ago
    early = f"{EXPOSURES}/{simulator.publish([key])}"
    revised = f"{EXPOSURES}/{simulator.publish([], [as_published(alice.own_keys()[1])])}"
    report = bob.poll()
    assert [(failure.path, type(failure.error)) for failure in report.failures] == [
        (early, TooEarly),
        (revised, TooEarly),
    ]
    assert bob.store.exposures() == []


def test_a_key_that_ended_two_hours_before_the_window_did_is_believed(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    key = as_published(alice.own_keys()[0])
    clock.advance(14 * 3600)
    simulator.publish([key])
    assert bob.poll().good
    assert bob.card().state == "orange"


def test_the_index_never_goes_back(make_phone: MakePhone, simulator: Simulator, clock: FakeClock) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    older = simulator.index()
    clock.advance(3600)
    simulator.publish([stranger(1)])
    assert bob.poll().good
    simulator.index_override = older
    only_failure(bob.poll(), RolledBack, INDEX)

    # The same number of windows, but the newest one ends earlier; and an issue time that goes back.
    first, second = simulator.windows
    shorter = replace(second, end=second.end - 600, files=())
    simulator.index_override = simulator.index(windows=(first, shorter))
    only_failure(bob.poll(), RolledBack, INDEX)
    simulator.index_override = simulator.index(issued_at=int(clock()) - 2 * 3600)
    only_failure(bob.poll(), RolledBack, INDEX)

    simulator.index_override = None
    assert bob.poll().good


def test_the_past_is_not_rewritten(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.publish_nothing()
    simulator.publish([stranger()])
    assert bob.poll().good
    empty, full = simulator.windows
    smuggled = replace(full.files[0], path=f"XA/{empty.start}-{empty.end}-00001.zip", sha256="0" * 64)
    simulator.windows = [replace(empty, files=(smuggled,)), full]
    only_failure(bob.poll(), Rewritten, INDEX)
    simulator.windows = [empty, replace(full, files=(replace(full.files[0], sha256="0" * 64),))]
    only_failure(bob.poll(), Rewritten, INDEX)


def test_a_gap_is_noticed_unless_the_phone_was_off_longer_than_the_card_looks_back(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    assert bob.poll().good
    for number in range(1, 4):
        simulator.publish([stranger(number)])
    simulator.windows = simulator.windows[2:]
    only_failure(bob.poll(), SequenceGap, INDEX)

    clock.advance(15 * DAY)
    report = bob.poll()
    assert report.good
    assert report.files_read == 2


def test_a_first_poll_of_an_index_that_begins_yesterday_is_not_green(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    for number in range(3):
        simulator.publish([stranger(number)])
    simulator.windows = simulator.windows[1:]
    only_failure(bob.poll(), SequenceGap, INDEX)
    assert bob.card().state == "stale"


def test_an_index_past_its_expiry_is_a_frozen_one(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    simulator.index_override = simulator.index()
    assert bob.poll().good
    clock.advance(3 * DAY)
    only_failure(bob.poll(), Outdated, INDEX)  # by way of a 304
    assert bob.card().state == "stale"


def test_an_index_from_the_future_is_refused(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.index_override = simulator.index(issued_at=int(simulator.clock()) + 3 * 3600)
    only_failure(bob.poll(), Outdated, INDEX)


def test_an_index_that_is_none_is_refused(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.index_override = b"<html>captive portal</html>"
    only_failure(bob.poll(), Malformed, INDEX)


def test_the_registry_asks_for_a_pause_and_gets_it(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    simulator.faults[PROOF] = Answer(503, {"retry-after": "120"}, b"")
    report = bob.poll()
    only_failure(report, Throttled, PROOF)
    assert report.retry_at == clock() + 120
    assert report.next_poll_at >= report.retry_at

    simulator.faults.clear()
    asked = len(simulator.requests)
    clock.advance(119)
    only_failure(bob.poll(), Throttled, PROOF)
    assert len(simulator.requests) == asked, "not a single request before the time"
    clock.advance(1)
    assert bob.poll().good


def test_a_date_in_x_retry_after_counts_and_no_answer_silences_a_phone_for_weeks(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    simulator.faults[PROOF] = Answer(429, {"x-retry-after": "Mon, 15 Jun 2026 12:05:00 GMT"}, b"")
    assert bob.poll().retry_at == clock() + 300
    clock.advance(300)
    simulator.faults[PROOF] = Answer(429, {"retry-after": "99999999"}, b"")
    assert bob.poll().retry_at == clock() + DAY


def test_the_next_poll_comes_after_about_four_hours_and_sooner_after_a_failure(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    waits = [bob.poll().next_poll_at - clock() for _ in range(40)]
    assert all(0.75 * PERIOD_SECONDS <= wait < 1.25 * PERIOD_SECONDS for wait in waits)
    assert max(waits) - min(waits) > 0.3 * PERIOD_SECONDS, "phones must not come in step"

    simulator.faults[PROOF] = simulator.faults[INDEX] = NoAnswer("no network")
    first = bob.poll().next_poll_at - clock()
    assert 30 <= first <= 60
    waits = [bob.poll().next_poll_at - clock() for _ in range(40)]
    assert all(30 <= wait <= PERIOD_SECONDS for wait in waits)


def test_without_a_network_a_phone_does_not_wait_for_every_file(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    bob = make_phone("bob")
    for number in range(8):
        simulator.faults[f"{EXPOSURES}/{simulator.publish([stranger(number)])}"] = NoAnswer("no network")
    report = bob.poll()
    assert len(report.failures) == 3
    assert report.files_unread == 8


def test_a_crash_while_a_file_is_stored_loses_nothing(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    simulator.publish([stranger()])
    simulator.publish([as_published(alice.own_keys()[0])])

    real = type(bob.store).keep_outcome

    def die_in_the_second_file(store: object, outcome: object, **rest: Any) -> None:
        if len(bob.store.read_files()) == 1:
            with bob.store.all_or_nothing():
                bob.store._connection.execute("INSERT INTO read_file VALUES (?, ?)", (rest["sha256"], 0))
                raise KeyboardInterrupt
        real(bob.store, outcome, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(bob.store), "keep_outcome", die_in_the_second_file)
    with pytest.raises(KeyboardInterrupt):
        bob.poll()
    monkeypatch.undo()

    bob = make_phone("bob")
    assert bob.card().state == "stale"
    assert bob.poll().files_read == 1
    assert bob.card().state == "orange"


def test_a_revoked_match_is_withdrawn_with_a_notice(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    key = alice.own_keys()[0]
    simulator.publish([as_published(key)])
    bob.poll()
    assert bob.card().state == "orange"

    simulator.publish([], [as_published(key, ReportType.REVOKED)])
    report = bob.poll()
    assert report.withdrawn == 1
    card = bob.card()
    assert (card.state, card.withdrawn_on) == ("green", (date(2026, 6, 15),))
    clock.advance(15 * DAY)
    assert bob.card().withdrawn_on == (), "the notice goes with the day that it is about"


def test_a_contact_that_is_revoked_within_the_same_poll_is_not_announced(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    key = alice.own_keys()[0]
    simulator.publish([as_published(key)])
    simulator.publish([], [as_published(key, ReportType.REVOKED)])
    report = bob.poll()
    assert (report.good, report.files_read) == (True, 2)
    assert (report.exposures, report.withdrawn) == ((), 0)
    assert bob.card().state == "green"


def test_files_that_arrive_in_another_order_mean_the_same(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    key = alice.own_keys()[0]
    late = f"{EXPOSURES}/{simulator.publish([as_published(key)])}"
    simulator.publish([], [as_published(key, ReportType.REVOKED)])
    simulator.faults[late] = NoAnswer("lost")
    bob.poll()
    simulator.faults.clear()
    assert bob.poll().good
    assert bob.card().state == "green", "a key known to be revoked never matches again"


def test_a_meeting_entered_after_the_file_was_read_is_still_found(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    met_at = clock()
    key = alice.own_keys()[0]
    simulator.publish([stranger()])
    clock.advance(DAY)
    for _ in range(20):
        simulator.publish_nothing()
    simulator.publish([as_published(key)])
    assert bob.poll().files_read == 2
    assert bob.card().state == "green"
    meet(alice, bob, at=met_at)
    report = bob.poll()
    assert report.files_read == 1, "the file that ended before the meeting is not read again"
    assert bob.card().state == "orange"


def test_progress_is_told(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    for number in range(3):
        simulator.publish([stranger(number)])
    told: list[tuple[int, int]] = []
    bob.poll(lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    told.clear()
    bob.poll(lambda done, total: told.append((done, total)))
    assert told == [], "a bar of nothing is not shown"


def test_random_bytes_make_no_file(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    path = f"{EXPOSURES}/{simulator.publish(content=os.urandom(300))}"
    only_failure(bob.poll(), Malformed, path)


def test_the_published_gaen_vectors_from_the_air_to_the_card(tmp_path: Path) -> None:
    met_at = VECTOR_START * 600
    clock = FakeClock(met_at + 2 * DAY)
    registry = Simulator(clock)
    with Phone.open(tmp_path / "bob.db", registry, clock=clock, random_bytes=os.urandom) as bob:
        bob.set_up(ENROLMENT)
        bob.observe(vector_sighting(index) for index in VECTOR_SIGHTINGS)
        registry.publish([stranger(1, VECTOR_START // 144), VECTOR_KEY])
        report = bob.poll()
        assert [exposure.key_data for exposure in report.exposures] == [VECTOR_KEY.key_data]
        assert report.exposures[0].sightings == len(VECTOR_SIGHTINGS)
        assert (bob.card().state, bob.card().exposed_on) == ("orange", date(2020, 4, 2))


def test_a_pause_asked_for_while_the_clock_was_wrong_does_not_last(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    clock.advance(30 * DAY)
    simulator.faults[PROOF] = Answer(503, {"retry-after": "3600"}, b"")
    bob.poll()
    clock.advance(-30 * DAY)
    simulator.faults.clear()
    assert bob.poll().good
