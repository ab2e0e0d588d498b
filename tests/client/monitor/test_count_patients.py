"""The attacker counts exactly where existing systems pad, and says where a figure rests on nothing."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from registry.client.monitor.count_patients import Method, Suspicions, WindowCount, count_patients
from registry.client.monitor.crowd import metadata_of, see, traces_of, users_in
from registry.client.monitor.mixture import by_likeness, by_policy, learned, likeness, median, stated
from registry.protocol.export_file import ExportFile
from registry.protocol.population import DecoyPolicy, Distribution, PopulationModel, geometric
from tests.counting.copied_padding import (
    COPYING,
    are_copied_enough,
    are_told_apart,
    file,
    in_file,
    round_robin,
    ten_a_day,
)
from tests.counting.one_window import COUNTS, END, START, files_of, real_people, with_decoys
from tests.counting.real_world import World, export, people

POLICY = DecoyPolicy()
SAMPLE = 40


def count(*files: ExportFile, suspicions: Suspicions | None = None) -> WindowCount:
    (found,) = count_patients(files, POLICY, suspicions)
    return found


# ---------------------------------------------------------------- against existing systems


@pytest.mark.parametrize("padding", COPYING)
@pytest.mark.parametrize("real", COUNTS)
def test_copied_metadata_gives_the_exact_number_away(padding: str, real: int) -> None:
    sample = SAMPLE if real < 12 and "15000" not in padding else SAMPLE // 4
    exact = 0
    for trial in range(sample):
        chance = random.Random(f"{padding} {real} {trial}")
        keys = in_file(real, chance)
        padded = COPYING[padding](keys, chance)
        found = count(file(padded))
        if are_told_apart(keys) and are_copied_enough(keys, padded):
            assert found.best == real
            exact += 1
            assert found.is_given_away == (real > 0)
    # Fifty people have no room for copies in a file of a thousand keys, and were all held to be real.
    has_room = (padding, real) != ("up to 1000 and more, in turn", 50)
    assert exact >= sample * 3 // 4 if has_room else exact == 0


def test_a_file_that_hardly_needed_padding_says_the_same_as_one_that_needed_none() -> None:
    """Nobody can count exactly there: of these keys, all real, that system would have made the same file."""
    chance = random.Random("hardly padded")
    keys = in_file(50, chance)
    padded = round_robin(keys, chance)
    assert len(keys) < len(padded) < 2 * len(keys)
    assert round_robin(padded, chance, spread=0) == padded
    # And people may have them: of each who was copied, one more who had the same fortnight.
    found = count(file(padded))
    assert found.users[Method.MULTIPLICITIES] is None
    assert 65 <= found.users[Method.CLASSES] <= 90


@pytest.mark.parametrize("real", [1, 2, 3, 6])
def test_a_known_number_of_fakes_a_day_gives_the_exact_number_away(real: int) -> None:
    exact = 0
    for trial in range(SAMPLE):
        chance = random.Random(f"ten a day {real} {trial}")
        keys = in_file(real, chance)
        busiest = max(Counter(key.rolling_start_interval_number for key in keys).values())
        padded = ten_a_day(keys, chance, today=END // 86_400)
        found = count(file(padded), suspicions=Suspicions(padding=10))
        assert (found.best, found.by) == (busiest, Method.PADDING)
        exact += found.best == real
    # Who has no key of the busiest day is missed; nearly everybody has one of yesterday.
    assert exact >= SAMPLE * 9 // 10


@pytest.mark.parametrize("real", [1, 2, 3, 6])
def test_fakes_that_are_others_in_each_feed_give_the_number_away(real: int) -> None:
    for trial in range(SAMPLE // 4):
        chance = random.Random(f"feeds {real} {trial}")
        keys = in_file(real, chance)
        seen = users_in(traces_of(Counter(map(metadata_of, keys))))
        feeds = [file(round_robin(keys, chance), region) for region in ("XA", "XB")]
        found = count(*feeds)
        assert (found.best, found.by) == (seen, Method.DIFFERENCES)
        again = count(file(round_robin(keys, chance)), file(round_robin(keys, chance)))
        assert (again.best, again.by) == (seen, Method.DIFFERENCES)


def test_unpadded_files_hold_as_many_people_as_traces() -> None:
    chance = random.Random("bare")
    found = count(file(in_file(3, chance)))
    assert found.users[Method.CLASSES] == 3
    assert not found.is_given_away


# ---------------------------------------------------------------- against whole decoy users


def among_decoys(real: int, decoys: int, chance: random.Random) -> list[ExportFile]:
    persons = real_people(World(), real, chance)
    return files_of(with_decoys(persons, decoys, chance.randbytes(32)))


def a_day_of_windows(chance: random.Random) -> tuple[list[ExportFile], ExportFile]:
    """Three windows of a slot each, with people among decoys, and the file of their day."""
    length = END - START
    windows = [
        replace(
            among_decoys(3, 12, chance)[0], start_timestamp=START + n * length, end_timestamp=END + n * length
        )
        for n in range(3)
    ]
    keys = tuple(key for window in windows for key in window.keys)
    return windows, replace(windows[0], end_timestamp=windows[2].end_timestamp, keys=keys)


def test_whole_users_in_all_feeds_leave_nothing_but_the_total() -> None:
    for trial in range(SAMPLE):
        chance = random.Random(f"whole {trial}")
        found = count_patients(among_decoys(trial % 4, 18, chance), POLICY)[0]
        assert not found.is_given_away
        assert found.users[Method.MULTIPLICITIES] is None
        assert found.users[Method.DIFFERENCES] is None
        assert found.best == found.users[Method.POLICY]


def test_feeds_that_share_keys_for_good_reason_give_nothing_away() -> None:
    """A nation's feed and a province's: the province's keys, decoys among them, are in both."""
    chance = random.Random("nested")
    province, elsewhere = among_decoys(2, 14, chance)[0], among_decoys(5, 12, chance)[0]
    nation = replace(province, region="XB", keys=(*province.keys, *elsewhere.keys))
    found = count(province, nation)
    assert found.users[Method.DIFFERENCES] == 16
    assert not found.is_given_away


def test_a_file_twice_and_the_parts_of_a_window_are_one_window() -> None:
    chance = random.Random("parts")
    whole = among_decoys(3, 12, chance)[0]
    half = len(whole.keys) // 2
    parts = [
        replace(whole, keys=whole.keys[:half]),
        replace(whole, keys=whole.keys[half:], end_timestamp=whole.end_timestamp + 1),
    ]
    assert count(*parts) == count(whole) == count(whole, whole)
    assert count(whole).users[Method.DIFFERENCES] is None


def test_a_days_file_beside_its_windows_is_no_window_made_anew() -> None:
    """It begins with its first window and holds its keys again, among those of the others."""
    chance = random.Random("a day")
    windows, day = a_day_of_windows(chance)
    found = count_patients([*windows, day], POLICY)
    assert found == count_patients(windows, POLICY)
    assert len(found) == 3
    assert not any(one.is_given_away for one in found)


def test_a_days_file_counts_for_the_windows_that_are_not_at_hand() -> None:
    windows, day = a_day_of_windows(random.Random("a day alone"))
    (alone,) = count_patients([day], POLICY)
    assert alone.users[Method.CLASSES] > 30
    assert not alone.is_given_away
    first, rest = count_patients([windows[0], day], POLICY)
    assert [first] == count_patients(windows[:1], POLICY)
    assert (rest.window_start, rest.window_end) == (day.start_timestamp, day.end_timestamp)
    others = {key for window in windows[1:] for key in window.keys}
    assert set(see([windows[0], day])[1].keys) == others


def test_a_day_that_was_padded_with_other_keys_than_its_windows_gives_the_number_away() -> None:
    chance = random.Random("a day padded anew")
    keys = in_file(2, chance)
    window = file(round_robin(keys, chance))
    later = replace(window, start_timestamp=END, end_timestamp=2 * END - START, keys=())
    day = replace(later, start_timestamp=START, keys=tuple(round_robin(keys, chance)))
    found = count_patients([window, later, day], POLICY)[0]
    assert (found.best, found.by) == (2, Method.DIFFERENCES)


def test_parts_of_a_window_beside_its_whole_are_not_made_anew() -> None:
    whole = among_decoys(3, 12, random.Random("whole and parts"))[0]
    third = len(whole.keys) // 3
    parts = [
        replace(whole, keys=whole.keys[third * n : third * (n + 1) if n < 2 else None], end_timestamp=END + n)
        for n in range(3)
    ]
    assert count(whole, *parts) == count(whole)


def test_keys_held_back_from_earlier_windows_are_not_taken_for_this_ones() -> None:
    chance = random.Random("held back")
    now, later = count_patients(among_decoys(4, 12, chance), POLICY)
    assert now.users[Method.CLASSES] == 16
    assert later.users[Method.CLASSES] == 0


def test_no_key_at_all_is_no_puzzle() -> None:
    found = count(file([]))
    assert found.users[Method.CLASSES] == 0
    assert found.users[Method.MULTIPLICITIES] is None
    assert count_patients([], POLICY) == []


# ---------------------------------------------------------------- what is believed of how many


def test_below_the_floor_the_total_says_nothing() -> None:
    for total in (10, 14, 30):
        posterior = by_policy(total, POLICY)
        assert sum(posterior.values()) == pytest.approx(1)
        assert len({round(posterior[real], 12) for real in range(11)}) == 1


def test_above_the_floor_the_total_says_what_the_published_draw_leaves() -> None:
    posterior = by_policy(60, POLICY, dict.fromkeys((3, 50, 57), 1 / 3))
    extra = POLICY.model.extra_users
    assert posterior[50] / posterior[57] == pytest.approx(extra.share(10) / extra.share(3))
    assert median(posterior) == 57


def test_a_total_that_the_policy_does_not_allow_is_no_error() -> None:
    assert by_policy(2, POLICY) == by_policy(10, POLICY)
    assert by_policy(0, POLICY) == {0: 1.0}
    nothing = DecoyPolicy(10, replace(PopulationModel(), extra_users=Distribution({3: 65_536})))
    assert by_policy(4, nothing, {0: 1.0}) == {0: 1.0}


def test_without_a_suspicion_likeness_says_no_more_than_the_policy() -> None:
    batch = see(among_decoys(3, 15, random.Random("likeness")))[0]
    model = stated(POLICY.model)
    found = by_likeness(batch, POLICY, model, model)
    assert found == pytest.approx(by_policy(18, POLICY))
    assert likeness(batch, model, model) == 0


def test_people_who_are_unlike_the_decoys_can_be_told_by_whoever_knows_them() -> None:
    """The price of a model that is wrong: 12 of 24 users have an onset a fortnight ago."""
    chance = random.Random("unlike")
    world = World(onset_shape=400, onset_scale=0.03, onset_unknown=0)
    files = files_of(with_decoys(real_people(world, 12, chance), 12, chance.randbytes(32)))
    training = [see(files_of(real_people(world, 50, chance)))[0] for _ in range(4)]
    suspicions = Suspicions(real_users=learned(training))
    found = count_patients(files, POLICY, suspicions)[0]
    assert abs(found.users[Method.LIKELIHOOD] - 12) <= 1
    assert found.by is Method.LIKELIHOOD
    assert not found.is_given_away


def test_what_is_learned_from_many_users_is_what_the_model_states() -> None:
    chance = random.Random("learning")
    batches = [see(among_decoys(0, 60, chance))[0] for _ in range(30)]
    found, model = learned(batches), stated(POLICY.model)
    assert found.cut == pytest.approx(model.cut, abs=0.05)
    for mine, theirs in ((found.lags, model.lags), (found.oldest, model.oldest), (found.kinds, model.kinds)):
        assert sum(theirs.values()) == pytest.approx(1)
        for value, share in theirs.items():
            assert mine.get(value, 0) == pytest.approx(share, abs=0.05), value


def test_cut_keys_count_only_when_all_files_are_there_that_may_hold_them() -> None:
    files = among_decoys(5, 25, random.Random("cut"))
    assert see(files[:1])[0].cut is None
    cut = see(files)[0].cut
    assert cut is not None
    assert 2 <= sum(cut) <= 20
    assert 0 not in cut


def test_what_was_gathered_since_the_last_file_is_this_ones() -> None:
    """Windows between had no file: whoever uploaded in them is in the next one's."""
    chance = random.Random("gathered")
    first = among_decoys(4, 12, chance)[0]
    persons = people(World(cut_today=1.0, whole_today=0.0), 30, chance, start=END, end=END + 14_400)
    keys = [key for person in persons for key in person.keys]
    second = export(keys, start=END + 3 * 3600, end=END + 4 * 3600)
    later = export([key for key in keys if key not in second.keys], start=END + 14_400, end=END + 28_800)
    _, gathered, _ = see([first, second, later])
    assert (gathered.window_start, gathered.since) == (END + 3 * 3600, END)
    assert gathered.cut is not None
    assert sum(gathered.cut) == 30
    assert min(gathered.cut) > 5
    assert sum(see([second, later])[0].cut or ()) < 20, "what is not known is not made up"


def test_another_draw_beyond_the_floor_is_another_belief() -> None:
    wide = DecoyPolicy(10, replace(PopulationModel(), extra_users=geometric(30, 200)))
    assert median(by_policy(60, wide)) < median(by_policy(60, POLICY))
