"""Files that stand in for each other: the registry's own are alike, and one that is not is seen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.monitor.faults import FaultKind
from registry.client.monitor.same_keys import Held, day_fault, hold_the_same
from registry.client.monitor.visit import Demands, Looking, Visit, look
from registry.lifecycle.publish import days, files
from registry.protocol.index import COMPACT, IndexDay
from registry.protocol.key_rows import key_rows
from registry.protocol.keys import ReportType
from registry.protocol.keys import TemporaryExposureKey as Key
from registry.protocol.trust import decode_trust
from tests.publishing import DAY, HOUR, NOON, Publishing, in_memory, key_ending
from tests.simulator import Simulator


class StageSource:
    """What lies in the public folder, as an auditor's `Source`."""

    is_live = False
    name = "the stage"

    def __init__(self, stage: Publishing) -> None:
        self._stage = stage
        self.read_paths: list[str] = []

    def read(self, path: str) -> bytes | None:
        self.read_paths.append(path)
        return self._stage.storage.read(path)

    def taken_at(self) -> float | None:
        return None


@pytest.fixture
def stage() -> Publishing:
    return in_memory()


def half_a_day(stage: Publishing) -> None:
    """From noon to midnight, with keys in three windows; one key is revised, another revised and recalled."""
    revised, recalled = key_ending(NOON - 288, 900), key_ending(NOON - 288, 901)
    for hour in range(13):
        if hour in (1, 5, 8):
            stage.collect([key_ending(NOON - 144 * day, 10 * hour + day) for day in (1, 2, 3)])
        if hour == 1:
            stage.collect([revised, recalled])
        if hour == 3:
            for key in (revised, recalled):
                stage.revise(key, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
        if hour == 6:
            stage.revise(recalled, ReportType.REVOKED)
        stage.publish()
        stage.clock.advance(HOUR)


def seen(stage: Publishing) -> Visit:
    """One look by every rule, now."""
    return look(StageSource(stage), Demands(), stage.clock(), Looking())


def of_files(visit: Visit) -> set[tuple[str, str]]:
    """(path, what is wrong) of each file that is not as it must be."""
    return {(fault.where, fault.what) for fault in visit.faults if fault.kind is FaultKind.FILE}


def test_every_listed_file_of_every_format_is_read_and_honest_ones_are_alike(stage: Publishing) -> None:
    half_a_day(stage)
    index = stage.index()
    listed = {file.sha256 for span in (*index.windows, *index.days) for file in span.files}
    visit = seen(stage)
    # Of officials' acts, which are anchored each day, this stage has none.
    assert {fault.kind for fault in visit.faults} <= {FaultKind.ACTIVITY}
    assert len(index.days) == 1
    assert visit.contents.ends.keys() == listed
    assert visit.contents.files_read == len(listed)


def test_a_day_goes_on_being_good_while_its_windows_expire(stage: Publishing) -> None:
    half_a_day(stage)
    for _ in range(19):
        stage.clock.advance(DAY)
        stage.publish()
        assert of_files(seen(stage)) == set()
    assert len([window for window in stage.index().windows if window.files]) < 5


def test_a_compact_file_that_keeps_keys_back_is_seen(
    stage: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed, logged and named by a manifest: only what the zip holds tells on it."""
    honest = files._store_compact

    def less(storage: Any, contents: Any, keys: Any) -> Any:
        return honest(storage, replace(contents, keys=contents.revised_keys), keys)

    stage.collect([key_ending(NOON - 144, number) for number in range(3)])
    with monkeypatch.context() as patch:
        patch.setattr(files, "_store_compact", less)
        stage.publish()
    (window,) = [window for window in stage.index().windows if window.files]
    (compact,) = [file for file in window.files if file.format == COMPACT]
    visit = seen(stage)
    assert of_files(visit) == {
        (f"exposures/{compact.path}", "holds other keys than the gaen-zip of the same time")
    }
    assert compact.sha256 not in visit.contents.ends, "it is looked at again the next time"


def test_a_day_that_keeps_keys_back_is_seen(stage: Publishing, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = days.spool_shelves

    def less(session: Any, shelves: Any, **rest: Any) -> Any:
        return honest(session, shelves[:-1], **rest)

    monkeypatch.setattr(days, "spool_shelves", less)
    half_a_day(stage)
    (day,) = stage.index().days
    assert of_files(seen(stage)) == {
        (f"exposures/{file.path}", "lacks keys that its windows hold") for file in day.files
    }


# By the rules alone


TRUST = decode_trust(Simulator(lambda: 1_781_524_800.0).trust())
MIDNIGHT = 1_781_568_000
THE_DAY = IndexDay(1, 24, MIDNIGHT - DAY, MIDNIGHT, ())
RETIRED = MIDNIGHT // 600 - 21 * 144
UNLISTED = RETIRED + 144


def key(number: int, report_type: ReportType = ReportType.CONFIRMED_TEST, end: int = 0) -> Key:
    """One that ends two days before the day does, or at `end`."""
    return Key(number.to_bytes(16), (end or MIDNIGHT // 600 - 288) - 144, 144, 1, report_type)


def held(*keys: Key, revised: tuple[Key, ...] = ()) -> Held:
    return Held(key_rows(keys), key_rows(revised))


def fault(of_day: Held, *windows: Held) -> str | None:
    return day_fault(THE_DAY, of_day, windows, TRUST, newest_unlisted=UNLISTED)


REVISED = key(1, ReportType.CONFIRMED_CLINICAL_DIAGNOSIS)
REVOKED = key(1, ReportType.REVOKED)


@pytest.mark.parametrize(
    ("of_day", "windows", "what"),
    [
        (held(key(1), key(2)), (held(key(2)), held(key(1))), None),
        (held(key(1)), (held(key(1)), held(key(2))), "lacks"),
        (held(key(1), key(2)), (held(key(1)),), "none of its windows"),
        (held(replace(key(1), rolling_period=143)), (held(key(1)),), "none of its windows"),
        (held(), (held(key(1, end=RETIRED)),), None),
        (held(), (held(key(1, end=RETIRED + 1)),), "lacks"),
        (held(key(1), key(2, end=UNLISTED)), (held(key(1)),), None),
        (held(key(1), key(2, end=UNLISTED + 1)), (held(key(1)),), "none of its windows"),
        (held(revised=(REVOKED,)), (held(revised=(REVISED,)), held(revised=(REVOKED,))), None),
        (held(revised=(REVISED,)), (held(revised=(REVISED,)), held(revised=(REVOKED,))), "lacks"),
        (held(), (held(revised=(REVISED,)),), "lacks"),
        (held(REVISED), (held(revised=(REVISED,)),), "none of its windows"),
    ],
)
def test_what_a_day_may_hold(of_day: Held, windows: tuple[Held, ...], what: str | None) -> None:
    found = fault(of_day, *windows)
    assert found is None if what is None else what in str(found)


@given(st.lists(st.integers(0, 300), unique=True), st.randoms(use_true_random=False), st.data())
def test_order_means_nothing_and_a_bit_does(numbers: list[int], chance: Any, data: st.DataObject) -> None:
    """Keys that end in zeros among them."""
    keys = [key(number << 64) for number in numbers]
    shuffled = list(keys)
    chance.shuffle(shuffled)
    assert hold_the_same(held(*keys), held(*shuffled))
    assert fault(held(*shuffled), *(held(one) for one in keys)) is None
    if not keys:
        return
    rows = key_rows(shuffled)
    place, byte = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, 15))
    rows["key_data"][place, byte] ^= 0x80
    other = Held(rows, key_rows(()))
    assert not hold_the_same(held(*keys), other)
    if not np.isin(rows["key_data"][place].tobytes(), [one.key_data for one in keys]):
        assert fault(other, held(*keys)) is not None
