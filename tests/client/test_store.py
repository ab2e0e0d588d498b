"""The phone's file: who may read it, what it forgets, what it refuses to be."""

import sqlite3
import stat
from pathlib import Path

import pytest

from registry.client import Evidence, Phone, PhoneStore, Sighting
from registry.client.failures import NotSetUp
from registry.client.remembered import SCHEMA_STEPS
from registry.client.store import MAX_EVIDENCE
from tests.client.conftest import ENROLMENT, MakePhone, as_published, meet
from tests.clock import NOON_OF_JUNE_15 as NOW
from tests.clock import FakeClock
from tests.simulator import BASE_URL, Simulator

DAY = 86_400


def sighting(days_ago: float) -> Sighting:
    return Sighting(bytes(16), bytes(4), int((NOW - days_ago * DAY) // 60), -60)


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    path.touch(mode=0o644)
    with PhoneStore.open(path, now=NOW) as store, store.all_or_nothing():
        store.add_sightings([sighting(0)])
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {0o600}


def test_sightings_of_more_than_21_days_are_gone_at_every_use_and_leave_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    mark = b"find me if "
    many = [
        Sighting(mark + number.to_bytes(5, "big"), bytes(4), int(NOW // 60), -60) for number in range(900)
    ]
    with PhoneStore.open(path, now=NOW) as store:
        store.add_sightings([*many, sighting(-1)])
    assert mark in path.read_bytes()
    with PhoneStore.open(path, now=NOW + 21 * DAY) as store:
        assert len(store.sightings()) == 901
    with PhoneStore.open(path, now=NOW + 21 * DAY + 60) as store:
        assert store.sightings() == [sighting(-1)]
    assert mark not in path.read_bytes(), "what is forgotten is overwritten"


def test_the_same_sighting_twice_is_one(tmp_path: Path) -> None:
    with PhoneStore.open(tmp_path / "phone.db", now=NOW) as store:
        assert store.add_sightings([sighting(0), sighting(1), sighting(0)]) == 2
        assert store.add_sightings([sighting(1)]) == 0


def test_an_exposure_is_forgotten_after_21_days(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    simulator.publish([as_published(alice.own_keys()[0])])
    bob.poll()
    assert len(bob.store.exposures()) == 1
    clock.advance(20 * DAY)
    assert len(make_phone("bob").store.exposures()) == 1
    clock.advance(DAY)
    assert make_phone("bob").store.exposures() == []


def test_a_crash_in_a_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    with PhoneStore.open(tmp_path / "phone.db", now=NOW) as store:

        def die_halfway() -> None:
            with store.all_or_nothing():
                store.add_sightings([sighting(0)])
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            die_halfway()
        assert store.sightings() == []


@pytest.mark.parametrize("content", [b"not a database at all, but a text of some length" * 20, b"x"])
def test_another_file_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    path.write_bytes(content)
    with pytest.raises(NotSetUp):
        PhoneStore.open(path, now=NOW)
    assert path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (thing)")
    connection.close()
    with pytest.raises(NotSetUp, match="another with --store"):
        PhoneStore.open(path, now=NOW)


def test_a_newer_versions_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    PhoneStore.open(path, now=NOW).__exit__(None, None, None)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NotSetUp):
        PhoneStore.open(path, now=NOW)


def test_no_secret_shows_in_a_traceback(make_phone: MakePhone) -> None:
    phone: Phone = make_phone("alice")
    phone.agree("12345678")
    shown = repr(phone.store.registration()) + repr(phone.store.pending_upload())
    assert "device-key" not in shown
    assert "12345678" not in shown


def test_a_store_of_the_first_version_is_opened_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "phone.db"
    with sqlite3.connect(path) as old:
        old.executescript(SCHEMA_STEPS[0])
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO own_key VALUES (?, ?)", (int(NOW // 86_400) * 144, bytes(16)))
        old.execute(
            "INSERT INTO pending_upload VALUES (1, ?, 'code', x'00', x'00', x'00', NULL, NULL, NULL, NULL)",
            (int(NOW),),
        )
    old.close()
    for _ in range(2):
        with PhoneStore.open(path, now=NOW) as store:
            assert len(store.own_keys()) == 1
            assert store.receipts() == []
            pending = store.pending_upload()
            assert pending is not None
            assert (pending.code, pending.consent_record, pending.receipt) == ("code", None, None)


def test_a_phone_of_the_first_release_goes_on_once_it_has_pinned_a_root_key(
    simulator: Simulator, clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "phone.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA_STEPS[0])
    connection.execute(
        "INSERT INTO registration VALUES (1, ?, ?, 'XA', ?, 'authority', 'device-key', 0, 0)",
        (BASE_URL, BASE_URL, b'{"profile":"production"}'),
    )
    connection.execute("INSERT INTO own_key VALUES (?, ?)", (int(NOW // 86_400) * 144, b"k" * 16))
    connection.execute("INSERT INTO exposure VALUES (?, '2026-06-10', 1, 3, 0)", (b"e" * 16,))
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()

    with Phone.open(path, simulator, clock=clock, random_bytes=lambda count: bytes(count)) as phone:
        assert [key.key_data for key in phone.own_keys()] == [b"k" * 16]
        assert phone.card().state == "orange"
        with pytest.raises(NotSetUp, match=r"run `init https://keys\.example` for it again"):
            phone.poll()
        assert phone.set_up(ENROLMENT).compared
        assert phone.poll().is_proven
        assert [key.key_data for key in phone.own_keys()] == [b"k" * 16]


def test_of_evidence_the_first_pieces_of_each_kind_stay(tmp_path: Path) -> None:
    with PhoneStore.open(tmp_path / "phone.db", now=NOW) as store:
        for number in range(3 * MAX_EVIDENCE):
            store.keep_evidence(Evidence(NOW, "BadSignature", "words", None, number.to_bytes(2, "big")))
        split = Evidence(NOW, "SplitView", "words", b"one", b"other")
        for _ in range(2):
            store.keep_evidence(split)
        kept = store.evidence()
    assert [piece.offered for piece in kept[:-1]] == [
        number.to_bytes(2, "big") for number in range(MAX_EVIDENCE)
    ]
    assert kept[-1] == split
