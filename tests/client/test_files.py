"""Stories of which files a phone fetches: the smaller format, a day in place of its windows, never twice."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from registry.client import Answer, Phone, PollReport
from registry.client.failures import (
    HashMismatch,
    NoAnswer,
    Rewritten,
    TooEarly,
    UnexpectedStatus,
    UnloggedFile,
    WrongFile,
)
from registry.errors import BadSignature, Malformed, RegistryError
from registry.protocol.compact_file import CompactHeader
from registry.protocol.index import COMPACT, EXPOSURES, GAEN_ZIP, IndexDay, index_path, index_proof_path
from registry.protocol.keys import ReportType
from tests.client.conftest import MakePhone, as_published, meet
from tests.client.test_poll import only_failure, stranger
from tests.clock import FakeClock
from tests.simulator import REGION, Simulator

INDEX = index_path(REGION)
PROOF = index_proof_path(REGION)
HOUR = 3600
DAY = 86_400
GONE = Answer(404, {}, b"")


@pytest.fixture(autouse=True)
def _both_formats(simulator: Simulator) -> None:
    simulator.formats = (GAEN_ZIP, COMPACT)


def fetched(simulator: Simulator) -> list[str]:
    """Paths of all files of keys that were asked for, and forgets them."""
    paths = [request.path.removeprefix(f"{EXPOSURES}/") for request in simulator.requests]
    simulator.requests.clear()
    return [path for path in paths if path.endswith((".zip", ".compact"))]


def paths_of(span: Any, form: str = COMPACT) -> list[str]:
    """The span's files of that format."""
    return [file.path for file in span.files if file.format == form]


def spoil(simulator: Simulator, path: str) -> str:
    """One bit of the file is another; its path below the registry's address."""
    whole = f"{EXPOSURES}/{path}"
    content = simulator.files[whole]
    simulator.files[whole] = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    return whole


def warned(report: PollReport) -> list[tuple[str, type[RegistryError]]]:
    """Of what, and why."""
    return [(warning.path, type(warning.error)) for warning in report.warnings]


# One format of two


def test_of_two_formats_the_compact_one_is_read_and_the_other_never(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    simulator.publish([as_published(alice.own_keys()[0]), stranger()])
    report = bob.poll()
    assert (report.good, report.files_read, report.keys_read) == (True, 1, 2)
    assert bob.card().state == "orange"
    assert fetched(simulator) == paths_of(simulator.windows[0])

    # The window is read in whatever format: also when the registry stops offering the one that was.
    window = simulator.windows[0]
    simulator.windows = [replace(window, files=window.files[:1])]
    clock.advance(HOUR)
    assert bob.poll().good
    assert fetched(simulator) == []


def test_a_window_read_as_zips_is_not_read_again_when_it_comes_compact(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    with monkeypatch.context() as patch:
        patch.setattr("registry.client.unread.PREFERRED", (GAEN_ZIP,))
        assert bob.poll().good
        assert fetched(simulator) == paths_of(simulator.windows[0], GAEN_ZIP)
    clock.advance(60)
    assert bob.poll().files_read == 0
    assert fetched(simulator) == []


def test_a_damaged_compact_file_falls_back_to_the_zip_and_is_told_of(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    simulator.publish([as_published(alice.own_keys()[0])])
    bad = spoil(simulator, paths_of(simulator.windows[0])[0])
    told: list[tuple[int, int]] = []
    report = bob.poll(lambda done, total: told.append((done, total)))
    assert warned(report) == [(bad, HashMismatch)]
    assert (report.good, report.files_read, report.files_unread) == (True, 1, 0)
    assert (bob.card().state, bob.card().stale) == ("orange", False)
    assert told == [(0, 1), (1, 2), (2, 2)]
    fetched(simulator)
    assert bob.poll().warnings == ()
    assert fetched(simulator) == [], "what has been made up for is not asked for again"


def test_a_compact_file_that_never_answers_is_asked_for_again_and_nothing_else_is(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    """A network that fails says nothing about the file; the zip would fail the same way."""
    bob = make_phone("bob")
    path = f"{EXPOSURES}/{simulator.publish([stranger()])}"
    simulator.faults[path] = NoAnswer("no network")
    only_failure(bob.poll(), NoAnswer, path)
    simulator.faults.clear()
    assert bob.poll().good
    assert fetched(simulator) == paths_of(simulator.windows[0]) * 2


def test_if_both_formats_fail_the_window_is_unread(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    compact = spoil(simulator, paths_of(simulator.windows[0])[0])
    (zipped,) = paths_of(simulator.windows[0], GAEN_ZIP)
    simulator.faults[f"{EXPOSURES}/{zipped}"] = GONE
    report = bob.poll()
    only_failure(report, UnexpectedStatus, f"{EXPOSURES}/{zipped}")
    assert warned(report) == [(compact, HashMismatch)]
    assert (report.files_read, report.files_unread) == (0, 1)
    assert bob.store.read_files() == set()


def test_a_file_too_large_for_a_phone_is_passed_over_without_a_word(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    """A nation's day in one file: the zips are cut, and are read instead."""
    bob = make_phone("bob")
    simulator.publish([stranger()])
    (window,) = simulator.windows
    zipped, compact = window.files
    simulator.windows = [replace(window, files=(zipped, replace(compact, size=2**40)))]
    report = bob.poll()
    assert (report.good, report.warnings) == (True, ())
    assert fetched(simulator) == [zipped.path]


def test_a_format_of_the_future_is_passed_over(make_phone: MakePhone, simulator: Simulator) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    (window,) = simulator.windows
    other = replace(window.files[1], path=window.files[1].path.replace("-00001", "-00002"), format="cuckoo")
    simulator.windows = [replace(window, files=(*window.files, other))]
    assert bob.poll().good
    assert bob.poll().files_read == 0


# What a compact file must not say


@pytest.mark.parametrize(
    "bend",
    [
        lambda header: replace(header, region="XB"),
        lambda header: replace(header, start_timestamp=header.start_timestamp - HOUR),
        lambda header: replace(header, end_timestamp=header.end_timestamp + 1),
        lambda header: replace(header, sequence=2, last_sequence=2),
        lambda header: replace(header, last_sequence=2),
    ],
    ids=["region", "start", "end", "another window's", "a day's"],
)
def test_a_well_signed_compact_file_in_the_wrong_place_is_refused(
    bend: Callable[[CompactHeader], CompactHeader], make_phone: MakePhone, simulator: Simulator
) -> None:
    simulator.formats = (COMPACT,)
    bob = make_phone("bob")
    path = f"{EXPOSURES}/{simulator.publish([stranger()], bend_compact=bend)}"
    only_failure(bob.poll(), WrongFile, path)


def test_a_compact_file_holds_no_key_of_tomorrow_and_none_that_is_forgotten(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    simulator.formats = (COMPACT,)
    bob = make_phone("bob")
    late = f"{EXPOSURES}/{simulator.publish([stranger(), stranger(day=20_620)])}"
    old = f"{EXPOSURES}/{simulator.publish([], [stranger(day=20_580)])}"
    report = bob.poll()
    assert [(failure.path, type(failure.error)) for failure in report.failures] == [
        (late, Malformed),
        (old, Malformed),
    ]
    assert bob.store.read_files() == set()


def test_a_key_that_could_still_be_replayed_is_witnessed_in_a_compact_file_too(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.formats = (COMPACT,)
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    key = as_published(alice.own_keys()[0])
    clock.advance(13 * HOUR)  # 01:00: the key ended an hour ago
    early = [f"{EXPOSURES}/{simulator.publish(*given)}" for given in ([[key]], [[], [key]])]
    report = bob.poll()
    # The second window ends at 02:00, two hours after the key did.
    assert [(failure.path, type(failure.error)) for failure in report.failures] == [(early[0], TooEarly)]


def test_a_compact_file_signed_by_a_forger_or_altered_on_its_way_is_refused(
    make_phone: MakePhone, simulator: Simulator
) -> None:
    simulator.formats = (COMPACT,)
    bob = make_phone("bob")
    honest = simulator.publish([stranger()])
    other = simulator.publish([stranger(1)])
    # A file that a trusted key signed, and not the one that is listed: somebody may have the key.
    size = simulator.windows[0].files[0].size
    assert len(simulator.files[f"{EXPOSURES}/{other}"]) <= size + 4
    simulator.windows[0] = replace(
        simulator.windows[0], files=(replace(simulator.windows[0].files[0], size=size + 4),)
    )
    simulator.files[f"{EXPOSURES}/{honest}"] = simulator.files[f"{EXPOSURES}/{other}"]
    simulator.signers = [replace(simulator.new_key("1"), name=simulator.signers[0].name)]
    forged = simulator.publish([stranger(2)])
    report = bob.poll()
    assert [(failure.path, type(failure.error)) for failure in report.failures] == [
        (f"{EXPOSURES}/{honest}", UnloggedFile),
        (f"{EXPOSURES}/{forged}", BadSignature),
    ]
    assert [evidence.kind for evidence in bob.evidence()] == ["UnloggedFile"]


# Days


def a_day(simulator: Simulator, clock: FakeClock, *keys: Any, windows: int = 6) -> None:
    """Hour by hour, a stranger in each window; `keys` with the last."""
    for number in range(windows):
        clock.advance(HOUR)
        with_others = keys if number == windows - 1 else ()
        simulator.publish([stranger(100 * len(simulator.windows) + number), *with_others])


def test_of_a_day_of_which_nothing_was_read_the_days_file_is_read_alone(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    key = as_published(alice.own_keys()[0])
    clock.advance(DAY)
    a_day(simulator, clock, key)
    day = simulator.close_day()
    a_day(simulator, clock, windows=2)
    report = bob.poll()
    assert (report.good, report.files_read, report.keys_read) == (True, 3, 9)
    assert fetched(simulator) == [
        *paths_of(day),
        *paths_of(simulator.windows[6]),
        *paths_of(simulator.windows[7]),
    ]
    assert (bob.card().state, bob.card().exposed_on) == ("orange", date(2026, 6, 15))
    clock.advance(HOUR)
    simulator.publish([stranger(7)])
    assert bob.poll().files_read == 1


def test_of_a_day_of_which_one_window_is_unread_its_own_file_is_read(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    a_day(simulator, clock, windows=5)
    bob.poll()
    fetched(simulator)
    a_day(simulator, clock, windows=1)
    simulator.close_day()
    assert bob.poll().good
    assert fetched(simulator) == paths_of(simulator.windows[-1])


@pytest.mark.parametrize("seen", [1, 3])
def test_windows_read_before_the_day_closed_are_not_read_again_and_nothing_is_missed(
    seen: int, make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    key = as_published(alice.own_keys()[0])
    clock.advance(DAY)
    a_day(simulator, clock, key, windows=seen)
    assert len(bob.poll().exposures) == 1
    a_day(simulator, clock, windows=6 - seen)
    day = simulator.close_day()
    fetched(simulator)
    report = bob.poll()
    assert fetched(simulator) == paths_of(day)
    assert (report.good, report.exposures) == (True, ()), "the meeting that was told of is not told of again"
    assert bob.store.exposures()[0].sightings == 3
    assert fetched(simulator) == []


def test_a_key_revised_within_the_day_is_what_it_was_revised_to(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob, carol = make_phone("alice"), make_phone("bob"), make_phone("carol")
    for phone in (bob, carol):
        meet(alice, phone, at=clock())
    key = alice.own_keys()[0]
    clock.advance(DAY)
    a_day(simulator, clock, as_published(key, ReportType.SELF_REPORT))
    assert carol.poll().exposures[0].report_type == ReportType.SELF_REPORT
    clock.advance(HOUR)
    simulator.publish([], [as_published(key, ReportType.CONFIRMED_TEST)])
    a_day(simulator, clock, windows=1)
    simulator.close_day()
    for phone in (bob, carol):
        assert phone.poll().good
        (exposure,) = phone.store.exposures()
        assert exposure.report_type == ReportType.CONFIRMED_TEST
    simulator.publish([], [as_published(key, ReportType.REVOKED)])
    a_day(simulator, clock, windows=1)
    simulator.close_day()
    for phone in (bob, carol):
        assert phone.poll().withdrawn == 1
        assert (phone.card().state, phone.card().withdrawn_on) == ("green", (date(2026, 6, 15),))


def test_a_key_published_and_revoked_within_the_day_never_counts(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    key = alice.own_keys()[0]
    clock.advance(DAY)
    a_day(simulator, clock, as_published(key))
    simulator.publish([], [as_published(key, ReportType.REVOKED)])
    simulator.close_day()
    report = bob.poll()
    assert (report.files_read, report.exposures, report.withdrawn) == (1, (), 0)
    assert (bob.card().state, bob.card().withdrawn_on) == ("green", ())


def test_a_damaged_day_falls_back_to_its_zip_and_a_missing_one_to_its_windows(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob, carol = make_phone("alice"), make_phone("bob"), make_phone("carol")
    for phone in (bob, carol):
        meet(alice, phone, at=clock())
    key = as_published(alice.own_keys()[0])
    clock.advance(DAY)
    a_day(simulator, clock, key, windows=3)
    day = simulator.close_day()
    (compact,), (zipped,) = paths_of(day), paths_of(day, GAEN_ZIP)
    bad = spoil(simulator, compact)
    report = bob.poll()
    assert (report.good, warned(report)) == (True, [(bad, HashMismatch)])
    assert fetched(simulator) == [compact, zipped]

    missing = f"{EXPOSURES}/{zipped}"
    simulator.faults[missing] = GONE
    report = carol.poll()
    assert (report.good, report.files_read) == (True, 3)
    assert warned(report) == [(bad, HashMismatch), (missing, UnexpectedStatus)]
    assert fetched(simulator) == [compact, zipped, *(paths_of(window)[0] for window in simulator.windows)]
    assert {phone.card().state for phone in (bob, carol)} == {"orange"}
    assert (bob.poll().files_read, carol.poll().files_read) == (0, 0)
    assert fetched(simulator) == []


def test_a_days_file_is_verified_as_a_windows_is(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    """Every key may have been released in an earlier window, and ended two hours before the day did."""
    simulator.formats = (COMPACT,)
    alice, bob = make_phone("alice"), make_phone("bob")
    key = as_published(alice.own_keys()[0])
    clock.advance(11 * HOUR)
    # 23:00 to 01:00; the key ended at 00:00. The windows are honest, the day's file holds a key too many.
    simulator.publish([stranger()])
    simulator.publish([stranger(1)])
    simulator._held[1] = [stranger(), key], ()
    day = simulator.close_day()
    report = bob.poll()
    assert warned(report) == [(f"{EXPOSURES}/{day.files[0].path}", TooEarly)]
    assert (report.good, report.files_read) == (True, 2)


def test_when_a_withdrawn_window_makes_the_day_vanish_nothing_else_is_read_again(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob, carol = make_phone("bob"), make_phone("carol")
    a_day(simulator, clock)
    simulator.close_day()
    assert bob.poll().files_read == 1
    simulator.windows[2] = replace(simulator.windows[2], files=())
    simulator.days.clear()
    clock.advance(HOUR)
    fetched(simulator)
    assert (bob.poll().good, fetched(simulator)) == (True, [])
    assert carol.poll().files_read == 5, "who comes later reads the windows that are left"


@pytest.mark.parametrize(
    ("story", "kind"),
    [
        ("another digest", Rewritten),
        ("another end", Rewritten),
        ("a file more", Rewritten),
        ("other times", Malformed),
        ("windows that are not there", Malformed),
    ],
)
def test_a_day_that_was_listed_stays_what_it_was(
    story: str, kind: type[RegistryError], make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    a_day(simulator, clock)
    day = simulator.close_day()
    assert bob.poll().good
    shorter = simulator.windows[4]
    file = day.files[0]
    other: dict[str, IndexDay] = {
        "another digest": replace(day, files=(replace(file, sha256="0" * 64), day.files[1])),
        "another end": replace(day, last_sequence=shorter.sequence, end=shorter.end),
        "a file more": replace(
            day, files=(*day.files, replace(file, path=file.path.replace("-00001", "-00002")))
        ),
        "other times": replace(day, start=day.start - 600),
        "windows that are not there": replace(day, last_sequence=9),
    }
    simulator.days = [other[story]]
    a_day(simulator, clock, windows=1)
    only_failure(bob.poll(), kind, INDEX)
    simulator.days = [day]
    assert bob.poll().good


# Without a proof


def test_an_index_without_a_proof_cannot_make_a_phone_skip_what_it_has_not_read(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    """Somebody on the way, with no key at all, says that a window holds what an earlier file holds."""
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    key = as_published(alice.own_keys()[0])
    clock.advance(DAY)
    simulator.publish([stranger()])
    assert bob.poll().is_proven
    simulator.publish([stranger(1)])
    simulator.publish([key])
    honest = list(simulator.windows)
    # The window of the key lists a file that is true of the one before, under a name of its own.
    hidden = replace(
        honest[1], files=(*honest[1].files, *(f for f in honest[2].files if f.format == GAEN_ZIP))
    )
    index = simulator.index(windows=(honest[0], hidden, replace(honest[2], files=())))
    simulator.faults[PROOF] = NoAnswer("held back")
    simulator.faults[INDEX] = Answer(200, {}, index)
    report = bob.poll()
    assert (report.good, report.is_proven, report.files_read) == (True, False, 1)
    assert bob.card().state == "green"

    simulator.faults.clear()
    clock.advance(HOUR)
    assert bob.poll().is_proven
    assert bob.card().state == "orange"


def test_a_day_read_without_a_proof_is_not_read_again_once_there_is_one(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    simulator.publish([stranger()])
    bob.poll()
    a_day(simulator, clock)
    simulator.close_day()
    simulator.faults[PROOF] = NoAnswer("held back")
    assert bob.poll().files_read == 1
    simulator.faults.clear()
    fetched(simulator)
    report = bob.poll()
    assert (report.is_proven, report.good, report.warnings) == (True, True, ())
    assert fetched(simulator) == []


# A crash


def test_a_phone_killed_at_any_step_of_a_day_is_right_afterwards(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_phone("alice")
    met_at = clock()
    clock.advance(DAY)
    a_day(simulator, clock, as_published(alice.own_keys()[0]))
    day = simulator.close_day()
    a_day(simulator, clock, windows=2)

    def killed_at(step: int) -> bool:
        """Whether it came to that step: each request, and each statement of the transactions."""
        bob = make_phone(f"bob-{step}")
        meet(alice, bob, at=met_at)
        left = iter(range(step))

        def dies(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any, **named: Any) -> Any:
                if next(left, None) is None:
                    raise KeyboardInterrupt
                return real(*given, **named)

            return call

        class Connection:
            """The store's, that dies."""

            def __init__(self, real: Any) -> None:
                self.real = real

            def execute(self, statement: str, *rest: Any) -> Any:
                # The dead roll nothing back; what is to be rolled back all the same is left to SQLite.
                return (self.real.execute if statement == "ROLLBACK" else dies(self.real.execute))(
                    statement, *rest
                )

            def executemany(self, *given: Any) -> Any:
                return dies(self.real.executemany)(*given)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

        with monkeypatch.context() as patch:
            patch.setattr(simulator, "get", dies(simulator.get))
            patch.setattr(bob.store, "_connection", Connection(bob.store._connection))
            try:
                bob.poll()
            except KeyboardInterrupt:
                was_killed = True
            else:
                was_killed = False
        bob.store._connection.close()  # as the end of a process does: what was not committed is gone
        fetched(simulator)
        again: Phone = make_phone(f"bob-{step}")
        read = again.store.read_files()
        assert again.poll().good
        assert (again.card().state, again.card().stale) == ("orange", False)
        (exposure,) = again.store.exposures()
        assert (exposure.sightings, exposure.withdrawn) == (3, False)
        of_day = {file.sha256 for file in day.files}
        assert of_day.isdisjoint(read) or of_day <= read, "the day as a whole or not at all"
        assert (paths_of(day)[0] in fetched(simulator)) == of_day.isdisjoint(read)
        return was_killed

    step = 0
    while killed_at(step):
        step += 1
    assert step > 30
