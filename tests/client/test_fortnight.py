"""A phone that was off for a fortnight, before the registry's own files: what it fetches, what that costs."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from registry.client import Answer, Enrolment, Phone
from registry.protocol.index import COMPACT, EXPOSURES, TRUST_PATH
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.trust import decode_trust
from registry.protocol.trust_note import fingerprint
from tests.client.conftest import as_published
from tests.publishing import DAY, HOUR, Publishing, in_memory

BASE_URL = "https://keys.example"
DAYS = 15


class Recorder:
    """A transport to the public folder, which notes each file of keys that is fetched, and its bytes."""

    def __init__(self, stage: Publishing) -> None:
        self._stage = stage
        self.fetched: dict[str, int] = {}
        self.times = 0

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        path = url.removeprefix(f"{BASE_URL}/")
        content = self._stage.storage.read(path)
        if content is None:
            return Answer(404, {}, b"")
        if path.endswith((".zip", ".compact")):
            self.fetched[path.removeprefix(f"{EXPOSURES}/")] = len(content)
            self.times += 1
        return Answer(200, {}, content)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        raise AssertionError("a phone that only polls sends nothing")


class Fortnight:
    """The registry of the test, and its phones."""

    def __init__(self, folder: Path) -> None:
        self.stage = in_memory()
        self._folder = folder
        self._draw = random.Random(5)
        self._number = 0

    def phone(self, name: str) -> tuple[Phone, Recorder]:
        """Set up with this registry, over a transport of its own."""
        wire = Recorder(self.stage)
        phone = Phone.open(
            self._folder / f"{name}.db", wire, clock=self.stage.clock, random_bytes=self._draw.randbytes
        )
        root = decode_trust(self.stage.fetch(TRUST_PATH)).trust_vkey
        phone.set_up(Enrolment(BASE_URL, demonstration=True, staged=True, fingerprint=fingerprint(root)))
        return phone, wire

    def hours(self, count: int, *, uploads: int = 1) -> None:
        """So many windows, each with uploads of three days' keys."""
        for _ in range(count):
            for _ in range(uploads):
                today = int(self.stage.clock()) // DAY * 144
                keys = [
                    TemporaryExposureKey(
                        self._draw.randbytes(16), today - 144 * day, 144, 0, ReportType.CONFIRMED_TEST, 1
                    )
                    for day in (2, 3, 4)
                ]
                self.stage.collect(keys)
            self.stage.publish()
            self.stage.clock.advance(HOUR)


@pytest.fixture
def fortnight(tmp_path: Path) -> Fortnight:
    world = Fortnight(tmp_path)
    world.stage.publish()
    return world


def test_a_phone_that_was_off_for_a_fortnight_fetches_at_most_fourteen_days(fortnight: Fortnight) -> None:
    stage = fortnight.stage
    alice, _ = fortnight.phone("alice")
    bob, wire = fortnight.phone("bob")
    fortnight.hours(30)
    assert bob.poll().good
    off_since = stage.clock()
    bob.observe(alice.advertise(at=off_since - 4 * HOUR, minutes=15))
    met = alice.own_keys()[-1]
    fortnight.hours(14 * 24 - 40)
    stage.collect([as_published(met)])
    fortnight.hours(40)
    assert stage.clock() - off_since == 14 * DAY
    stage.publish()
    wire.fetched.clear()
    wire.times = 0

    report = bob.poll()

    index = stage.index()
    of_today = [window for window in index.windows if window.sequence > index.days[-1].last_sequence]
    days = [path for path in wire.fetched if "/daily/" in path]
    assert (report.good, report.is_proven) == (True, True)
    assert wire.times == len(wire.fetched), "nothing twice"
    assert len(days) == 14
    assert set(wire.fetched) - set(days) == {
        file.path for window in of_today for file in window.files if file.format == COMPACT
    }
    assert all(path.endswith(".compact") for path in wire.fetched)
    assert bob.card().state == "orange"
    assert (bob.poll().files_read, bob.poll().good) == (0, True)


def test_a_phone_that_polls_every_four_hours_reads_each_window_and_no_day(fortnight: Fortnight) -> None:
    bob, wire = fortnight.phone("bob")
    bob.poll()
    for _ in range(12):
        fortnight.hours(4)
        assert bob.poll().good
    assert [path for path in wire.fetched if "/daily/" in path] == []
    windows = [window for window in fortnight.stage.index().windows if window.files]
    assert wire.times == len(wire.fetched) == len(windows) > 40


def test_compact_files_cost_a_phone_fewer_bytes_than_zips(
    fortnight: Fortnight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four-hour slots of fifty uploads; one phone polls all the time, and one that comes at the end."""
    spent: dict[tuple[str, str], int] = {}

    def polled(name: str, form: str, phone: Phone, wire: Recorder) -> Callable[[], None]:
        def poll() -> None:
            with monkeypatch.context() as patch:
                patch.setattr("registry.client.unread.PREFERRED", (form,))
                assert phone.poll().good
            spent[name, form] = sum(wire.fetched.values())

        return poll

    forms = (COMPACT, "gaen-zip")
    always = [polled("always", form, *fortnight.phone(f"always {form}")) for form in forms]
    late = [polled("late", form, *fortnight.phone(f"late {form}")) for form in forms]
    for _ in range(14 * 6):
        fortnight.stage.clock.advance(3 * HOUR)
        fortnight.hours(1, uploads=50)
        for poll in always:
            poll()
    for poll in late:
        poll()
    for name in ("always", "late"):
        assert spent[name, COMPACT] < 0.92 * spent[name, "gaen-zip"], name
    assert spent["late", COMPACT] < spent["always", COMPACT]
