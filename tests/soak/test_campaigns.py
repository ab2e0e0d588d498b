"""Campaigns go on where they were interrupted, keep what it takes to see a failure again, and begin anew."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.soak.campaigns import Campaign, Found, Slice, run_round, run_slice
from tests.soak.record import Logbook, as_markdown
from tests.soak.suites import pytest_with


@dataclass
class Played:
    """A campaign's run that notes its seeds, fails for some and is interrupted at others."""

    fails: frozenset[int] = frozenset()
    interrupted_at: set[int] = field(default_factory=set)
    seeds: list[int] = field(default_factory=list)

    def __call__(self, piece: Slice) -> Found:
        self.seeds.append(piece.seed)
        piece.log.write_text("what happened")
        if piece.seed in self.interrupted_at:
            self.interrupted_at.remove(piece.seed)
            raise KeyboardInterrupt
        return Found(piece.size, ["published 2 times"] if piece.seed in self.fails else [])


def seeds(first: int = 100) -> Iterator[int]:
    return count(first, 100)


def test_a_round_runs_every_slice_of_every_campaign_once(tmp_path: Path) -> None:
    one, two = Played(), Played()
    campaigns = [Campaign("one", "kills", 3, 10, one), Campaign("two", "calls", 2, 5, two)]
    logbook = Logbook(tmp_path / "build" / "soak.json")
    assert run_round(campaigns, logbook, tmp_path, new_seed=seeds().__next__)
    assert (one.seeds, two.seeds) == ([100, 101, 102], [200, 201])
    assert [logbook.records[name].done for name in ("one", "two")] == [30, 10]


def test_what_was_interrupted_goes_on_behind_the_last_slice_that_was_through(tmp_path: Path) -> None:
    one, two = Played(interrupted_at={102}), Played()
    campaigns = [Campaign("one", "kills", 3, 10, one), Campaign("two", "calls", 1, 5, two)]
    path = tmp_path / "soak.json"
    with pytest.raises(KeyboardInterrupt):
        run_round(campaigns, Logbook(path), tmp_path, new_seed=seeds(100).__next__)
    assert Logbook(path).records["one"].done == 20
    assert run_round(campaigns, Logbook(path), tmp_path, new_seed=seeds(700).__next__)
    assert one.seeds == [100, 101, 102, 102]
    assert two.seeds == [800]
    assert Logbook(path).records["one"].done == 30


def test_a_round_that_is_complete_is_followed_by_a_new_one_with_new_seeds(tmp_path: Path) -> None:
    played = Played()
    campaigns = [Campaign("one", "kills", 2, 10, played)]
    path = tmp_path / "soak.json"
    for first in (100, 700):
        run_round(campaigns, Logbook(path), tmp_path, new_seed=seeds(first).__next__)
    assert played.seeds == [100, 101, 700, 701]
    assert Logbook(path).records["one"].done == 20


def test_figures_of_the_last_round_stay_until_the_new_one_has_some(tmp_path: Path) -> None:
    played = Played(interrupted_at={700})
    campaigns = [Campaign("one", "kills", 2, 10, played)]
    path = tmp_path / "soak.json"
    run_round(campaigns, Logbook(path), tmp_path, new_seed=seeds(100).__next__)
    with pytest.raises(KeyboardInterrupt):
        run_round(campaigns, Logbook(path), tmp_path, new_seed=seeds(700).__next__)
    assert Logbook(path).records["one"].done == 20


def test_a_failure_keeps_its_seed_and_log_and_fails_the_round(tmp_path: Path) -> None:
    campaigns = [Campaign("one", "kills", 3, 10, Played(fails=frozenset({101})))]
    path = tmp_path / "soak.json"
    assert not run_round(campaigns, Logbook(path), tmp_path, new_seed=seeds().__next__)
    (failure,) = Logbook(path).records["one"].failures
    assert (failure.seed, failure.what) == (101, "published 2 times")
    assert Path(failure.log).read_text() == "what happened"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["one-101"]


def test_a_failed_slice_is_run_again_from_its_seed_and_a_mended_one_clears_its_folder(tmp_path: Path) -> None:
    broken, mended = (
        Campaign("one", "kills", 3, 10, Played(fails=frozenset(fails))) for fails in ({101}, set())
    )
    _, failures = run_slice(broken, 101, tmp_path)
    assert [failure.seed for failure in failures] == [101]
    assert run_slice(mended, 101, tmp_path) == (Found(10, []), [])
    assert list(tmp_path.iterdir()) == []


def test_the_last_figures_are_a_table(tmp_path: Path) -> None:
    campaigns = [Campaign("one", "kills", 2, 1000, Played(fails=frozenset({100})))]
    logbook = Logbook(tmp_path / "soak.json")
    run_round(campaigns, logbook, tmp_path, new_seed=seeds().__next__)
    header, _, row = as_markdown(logbook.records, {"one": "kills", "never run": "calls"}).splitlines()
    assert header == "| Campaign | Size | Failures | Seconds | Day (UTC) |"
    assert row == f"| one | 2,000 kills | 1 | 0 | {logbook.records['one'].day} |"


def test_a_suite_that_holds_no_test_is_a_failure(tmp_path: Path) -> None:
    empty = tmp_path / "test_nothing.py"
    empty.write_text("")
    found = pytest_with(str(empty), "--noconftest")(Slice(1, 10, tmp_path))
    assert found.done == 0
    assert "pytest ended with status 5" in found.failures[0]
