"""Shards of past years are there for ever: taken away, exchanged or passed over, each is missed."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.client.monitor.faults import FaultKind
from registry.client.monitor.memory import load_memory
from registry.client.monitor.visit import Demands, Looking, Visit, finish, visit_again
from registry.protocol.index import shard_checkpoint_path
from registry.protocol.leaves import KeyLeaf, OpenLeaf
from registry.protocol.trust import shard_origin
from tests.client.monitor.conftest import kinds, look_at, publish_one, unsigned
from tests.clock import FakeClock
from tests.public_tree import DAY, ORIGIN, PublicTree, TreeSource


def come(tree: PublicTree, state: Path) -> Visit:
    visit, memory = visit_again(TreeSource(tree), state, Demands(), tree.clock(), Looking())
    finish(state, memory, visit)
    return visit


def turn(tree: PublicTree) -> None:
    tree.clock.advance(200 * DAY)
    publish_one(tree, 6)


def without_2026(tree: PublicTree) -> None:
    for name in [name for name in tree.files if name.startswith("log/2026")]:
        del tree.files[name]


def test_a_year_that_is_taken_away_is_missed_with_a_memory_and_without(
    tree: PublicTree, tmp_path: Path
) -> None:
    turn(tree)
    assert come(tree, tmp_path).faults == []
    remembered = load_memory(tmp_path)
    without_2026(tree)

    for visit in (look_at(tree), come(tree, tmp_path), come(tree, tmp_path)):
        where = {fault.where for fault in visit.faults if fault.kind is FaultKind.DAMAGED_LOG}
        assert shard_checkpoint_path(2026) in where
    assert load_memory(tmp_path).checkpoints == remembered.checkpoints


@pytest.mark.parametrize("part", ["checkpoint", "entries"])
def test_a_part_of_a_past_year_that_is_missing_is_named(tree: PublicTree, part: str) -> None:
    turn(tree)
    for name in [name for name in tree.files if name.startswith("log/2026") and part in name]:
        del tree.files[name]

    assert FaultKind.DAMAGED_LOG in kinds(look_at(tree))


def test_a_past_checkpoint_that_nobody_signed_is_no_reason_to_be_silent(tree: PublicTree) -> None:
    turn(tree)
    path = shard_checkpoint_path(2026)
    tree.files[path] = unsigned(tree.files[path])
    del tree.files[tree.names(".zip")[0]]

    assert kinds(look_at(tree)) >= {FaultKind.SIGNATURE, FaultKind.FILE}


def test_what_is_shown_of_a_year_that_is_not_there_is_checked_all_the_same(clock: FakeClock) -> None:
    """A registry whose very first leaf names a year that never was, so as to be asked for less."""
    opening = OpenLeaf(shard_origin(ORIGIN, 2025), 5, bytes(32))
    tree = PublicTree(
        clock,
        bend={"leaves": lambda leaves: [opening, *(one for one in leaves if not isinstance(one, KeyLeaf))]},
    )
    del tree.bend["leaves"]
    publish_one(tree, 2)
    tree.bend["leaves"] = lambda leaves: leaves[-1:]
    publish_one(tree, 4)
    visit = look_at(tree)

    assert kinds(visit) >= {FaultKind.DAMAGED_LOG, FaultKind.UNLOGGED}
    said = " ".join(fault.what for fault in visit.faults)
    assert "names the export key" in said
    assert "lists window 2, which no leaf" in said


@pytest.mark.parametrize("year", [2026, 2031])
def test_a_shard_that_goes_on_from_no_earlier_year(tree: PublicTree, year: int) -> None:
    tree.clock.advance(200 * DAY)
    opening = OpenLeaf(shard_origin(ORIGIN, year + (year == 2026)), 5, bytes(32))
    tree.bend["leaves"] = lambda leaves: [opening if isinstance(leaf, OpenLeaf) else leaf for leaf in leaves]
    publish_one(tree, 6)

    assert FaultKind.MALFORMED in kinds(look_at(tree))


# ---------------------------------------------------------------- what a memory adds


def another_2026(tree: PublicTree) -> PublicTree:
    """The same registry's other history of the year, one leaf longer than what was shown so far."""
    other = copy.deepcopy(tree)
    other.next_window()
    return other


def the_log_begins_anew(tree: PublicTree) -> PublicTree:
    other = PublicTree(FakeClock(tree.clock() + 200 * DAY))
    publish_one(other, 2)
    return other


def the_new_year_names_less_than_was_shown(tree: PublicTree) -> PublicTree:
    other = PublicTree(FakeClock())
    publish_one(other, 2)
    turn(other)
    without_2026(other)
    return other


def the_new_year_names_another_year(tree: PublicTree) -> PublicTree:
    other = copy.deepcopy(tree)
    other.clock.advance(200 * DAY)
    other.bend["leaves"] = lambda leaves: [
        OpenLeaf(shard_origin(ORIGIN, 2025), 5, bytes(32)) if isinstance(leaf, OpenLeaf) else leaf
        for leaf in leaves
    ]
    publish_one(other, 6)
    return other


@pytest.mark.parametrize(
    "story",
    [the_log_begins_anew, the_new_year_names_less_than_was_shown, the_new_year_names_another_year],
    ids=lambda story: story.__name__,
)
def test_a_year_that_was_seen_and_is_passed_over_is_evidence(
    story: Callable[[PublicTree], PublicTree], tree: PublicTree, tmp_path: Path
) -> None:
    come(tree, tmp_path)
    seen = tree.shard.note
    other = story(tree)

    for _ in range(2):
        faults = [one for one in come(other, tmp_path).faults if one.kind is FaultKind.INCONSISTENT]
        assert [one.evidence for one in faults] == [(seen, other.shard.note)]


def test_a_past_checkpoint_of_another_history_is_evidence_to_a_newcomer(tree: PublicTree) -> None:
    other = another_2026(tree)
    turn(tree)
    publish_one(other, 9)
    tree.files.update({name: one for name, one in other.files.items() if name.startswith("log/2026")})
    fault = next(one for one in look_at(tree).faults if one.kind is FaultKind.INCONSISTENT)

    assert fault.evidence == (other.shard.note, tree.shard.note)


def test_a_past_checkpoint_that_is_short_is_no_evidence(tree: PublicTree) -> None:
    """It may come out of a cache: the last leaves of the year are missing, and nobody has signed a lie."""
    before = tree.shard.note
    turn(tree)
    tree.files[shard_checkpoint_path(2026)] = before
    fault = next(one for one in look_at(tree).faults if one.where == "log/2027")

    assert (fault.kind, fault.evidence) == (FaultKind.ROLLED_BACK, ())
