"""The checks of an index, as properties: time goes one way."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client import verify
from registry.client.failures import Outdated, Rewritten, RolledBack, SequenceGap
from registry.client.risk import HORIZON_DAYS
from registry.client.verify import check_index, trusted_keys, verify_file
from registry.errors import Distrusted, UntrustedKey
from registry.protocol.index import Index, IndexFile, IndexWindow, decode_index, encode_index, export_name
from registry.protocol.trust import TrustedKey, decode_trust
from tests.clock import NOON_OF_JUNE_15, FakeClock
from tests.public_tree import PublicTree
from tests.simulator import SigningKey, Simulator

HOUR = 3600
DAY = 24 * HOUR
FIRST_WINDOW = int(NOON_OF_JUNE_15)


def index_after(history: list[bool], oldest: int = 0, *, hours: int = 1) -> Index:
    """The index after a window every `hours`, with files where `history` says so, from window `oldest` on."""
    seconds = hours * HOUR
    windows: list[IndexWindow] = []
    for number, has_file in list(enumerate(history))[oldest:]:
        start, end = FIRST_WINDOW + number * seconds, FIRST_WINDOW + (number + 1) * seconds
        name = export_name("XA", start, end, 1)
        files = (IndexFile(name, f"{number:064x}", 100),) if has_file else ()
        last = windows[-1] if windows else None
        if last and not last.files and not files:
            windows[-1] = replace(last, last_sequence=number + 1, end=end)
        else:
            windows.append(IndexWindow(number + 1, number + 1, start, end, files))
    now = FIRST_WINDOW + len(history) * seconds
    index = Index("XA", len(history), now, now + seconds, now + 2 * seconds, tuple(windows))
    return decode_index(encode_index(index))


histories = st.lists(st.booleans(), max_size=30)
KEPT_DAYS = 16
"""The least that a registry may keep."""


@given(histories, histories)
def test_whatever_an_honest_registry_publishes_next_is_believed(before: list[bool], more: list[bool]) -> None:
    # Of a window a day, so that the oldest ones are past their time.
    oldest, then_oldest = max(0, len(before + more) - KEPT_DAYS), max(0, len(before) - KEPT_DAYS)
    previous = index_after(before, then_oldest, hours=24)
    index = index_after(before + more, oldest, hours=24)
    now = FIRST_WINDOW + len(before + more) * DAY
    check_index(index, region="XA", previous=None, now=now)
    check_index(index, region="XA", previous=previous, now=now)


@given(st.integers(1, 40), st.integers(1, 40))
def test_an_index_that_begins_in_the_middle_is_believed_only_if_it_reaches_back_a_fortnight(
    windows: int, begins_days_ago: int
) -> None:
    index = index_after([True] * windows, max(0, windows - begins_days_ago), hours=24)
    now = FIRST_WINDOW + windows * DAY
    if index.windows[0].sequence == 1 or begins_days_ago >= HORIZON_DAYS:
        check_index(index, region="XA", previous=None, now=now)
    else:
        with pytest.raises(SequenceGap):
            check_index(index, region="XA", previous=None, now=now)
        # A phone that polls all the time cannot have its unread windows taken away either.
        with pytest.raises(SequenceGap):
            check_index(index, region="XA", previous=index_after([True] * windows, hours=24), now=now)


def test_an_index_that_hides_all_its_windows_is_refused() -> None:
    index = replace(index_after([True]), windows=())
    with pytest.raises(SequenceGap):
        check_index(index, region="XA", previous=None, now=FIRST_WINDOW + HOUR)


@given(st.lists(st.booleans(), min_size=1, max_size=8), histories, st.integers(1, 5 * HOUR), st.booleans())
def test_a_gap_in_time_is_refused_though_the_numbers_go_on(
    before: list[bool], more: list[bool], missing: int, retired: bool
) -> None:
    previous, honest = index_after(before), index_after([*before, *more, True])
    late = tuple(
        replace(window, start=window.start + missing, end=window.end + missing) for window in honest.windows
    )
    index, now = replace(honest, windows=late), FIRST_WINDOW + (len(before + more) + 1) * HOUR
    if retired:
        # Only what came afterwards, beginning long enough ago to be all that matters.
        now += HORIZON_DAYS * DAY
        index = replace(index, windows=_from(index, len(before) + 1), expires_at=now + DAY)
    if not index.windows or index.windows[0].sequence > len(before) + 1:
        return  # a run without files that began earlier was retired with it
    with pytest.raises(SequenceGap):
        check_index(index, region="XA", previous=previous, now=now)


def _from(index: Index, sequence: int) -> tuple[IndexWindow, ...]:
    return tuple(window for window in index.windows if window.sequence >= sequence)


@given(histories, st.lists(st.booleans(), min_size=1, max_size=30))
def test_no_earlier_index_is_believed(before: list[bool], more: list[bool]) -> None:
    with pytest.raises(RolledBack):
        check_index(
            index_after(before),
            region="XA",
            previous=index_after(before + more),
            now=FIRST_WINDOW + len(before) * HOUR,
        )


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.data())
def test_a_window_that_was_read_never_gains_a_file(history: list[bool], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(history) - 1))
    other = [has_file or number == place for number, has_file in enumerate(history)]
    previous, index = index_after(history), index_after([*other, False])
    now = FIRST_WINDOW + len(other) * HOUR
    if other == history:
        check_index(index, region="XA", previous=previous, now=now)
    else:
        with pytest.raises(Rewritten):
            check_index(index, region="XA", previous=previous, now=now)


@given(st.integers(1, 10), st.integers(2, 10))
def test_a_gap_within_the_last_fortnight_is_refused(read: int, gap: int) -> None:
    history = [True] * (read + gap + 1)
    now = FIRST_WINDOW + len(history) * HOUR
    with pytest.raises(SequenceGap):
        check_index(
            index_after(history, read + gap - 1), region="XA", previous=index_after(history[:read]), now=now
        )


@pytest.mark.parametrize(
    ("late", "error"), [(2 * HOUR - 1, None), (2 * HOUR, Outdated), (-2 * HOUR - 1, Outdated)]
)
def test_an_index_has_its_time(late: int, error: type[Distrusted] | None) -> None:
    index = index_after([True])
    now = FIRST_WINDOW + HOUR + late
    if error is None:
        check_index(index, region="XA", previous=None, now=now)
    else:
        with pytest.raises(error):
            check_index(index, region="XA", previous=None, now=now)


@pytest.mark.parametrize(
    ("not_before", "not_after", "trusted"),
    [(-DAY, DAY, True), (HOUR, DAY, True), (3 * HOUR, DAY, False), (-DAY, 0, True), (-DAY, -1, False)],
)
def test_a_signing_key_is_believed_for_the_windows_of_its_life(
    not_before: int, not_after: int, trusted: bool
) -> None:
    key: SigningKey = Simulator(lambda: NOON_OF_JUNE_15).signers[0]
    window = IndexWindow(1, 1, FIRST_WINDOW - HOUR, FIRST_WINDOW)
    trusted_key = TrustedKey(
        "k", "1", key.public_key_pem, FIRST_WINDOW + not_before, FIRST_WINDOW + not_after
    )
    material = replace(
        decode_trust(Simulator(lambda: NOON_OF_JUNE_15).trust()), export_signing_keys=(trusted_key,)
    )
    assert (("k", "1") in trusted_keys(material, window, now=NOON_OF_JUNE_15)) == trusted


def test_what_nobody_signed_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = PublicTree(FakeClock())
    tree.next_window({"XA": tree.keys(2)})
    trust = decode_trust(tree.trust_bytes)
    (window,) = decode_index(tree.files["exposures/XA/index.json"]).windows
    (file,) = window.files
    content = tree.files[f"exposures/{file.path}"]
    trusted = trusted_keys(trust, window, now=tree.clock())
    assert len(verify_file(content, file, window, region="XA", trusted=trusted, now=tree.clock()).keys) == 2
    monkeypatch.setattr(verify, "read_announced_rows", None)

    with pytest.raises(UntrustedKey):
        verify_file(content, file, window, region="XA", trusted={}, now=tree.clock())
