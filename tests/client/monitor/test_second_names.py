"""The shard that grows, under its second names: what is shown to some readers only is seen there."""

import copy
from collections.abc import Callable

import pytest

from registry.client.monitor.faults import FaultKind
from registry.client.monitor.visit import Demands, Looking, look
from registry.protocol.checkpoint import Checkpoint
from registry.protocol.leaves import CloseLeaf
from registry.protocol.trust import shard_origin
from tests.client.monitor.conftest import flipped, look_at, publish_one, unsigned
from tests.public_tree import ORIGIN, PublicTree, TreeSource

OWN = "log/2026/checkpoint"


@pytest.mark.parametrize(
    ("here", "there", "kind"),
    [(0, 0, FaultKind.SPLIT_VIEW), (2, 0, FaultKind.INCONSISTENT), (0, 2, FaultKind.INCONSISTENT)],
)
def test_another_history_under_the_years_own_name_is_evidence(
    tree: PublicTree, here: int, there: int, kind: FaultKind
) -> None:
    other = copy.deepcopy(tree)
    publish_one(tree, 6)
    other.next_window({"XA": other.keys(9)})
    for _ in range(here):
        tree.next_window()
    for _ in range(there):
        other.next_window()
    # Of the larger tree its bundles are served too, or nothing could be said of it.
    tree.files.update(
        {name: one for name, one in other.files.items() if "/tile/" in name and name not in tree.files}
    )
    tree.files[OWN] = other.files[OWN]
    fault = next(one for one in look_at(tree).faults if one.where == OWN)

    assert fault.kind is kind
    assert set(fault.evidence) == {tree.files["log/checkpoint"], other.files[OWN]}


def the_years_own_is_older(tree: PublicTree) -> None:
    before = tree.files[OWN]
    publish_one(tree, 6)
    tree.files[OWN] = before


def the_pointer_is_older(tree: PublicTree) -> None:
    before = dict(tree.files)
    publish_one(tree, 6)
    tree.files |= {name: one for name, one in before.items() if "/tile/" not in name and name != OWN}


def the_years_own_is_missing(tree: PublicTree) -> None:
    del tree.files[OWN]


def the_years_own_is_forged(tree: PublicTree) -> None:
    tree.files[OWN] = unsigned(tree.files[OWN])


def the_years_own_signs_what_is_not_there(tree: PublicTree) -> None:
    pointer = tree.files["log/checkpoint"]
    tree.bend["checkpoint"] = lambda head: Checkpoint(head.origin, head.size + 9, bytes(32))
    tree.heartbeat()
    tree.files["log/checkpoint"] = pointer


STORIES: dict[Callable[[PublicTree], None], FaultKind] = {
    the_years_own_is_older: FaultKind.ROLLED_BACK,
    the_pointer_is_older: FaultKind.ROLLED_BACK,
    the_years_own_is_missing: FaultKind.DAMAGED_LOG,
    the_years_own_is_forged: FaultKind.SIGNATURE,
    the_years_own_signs_what_is_not_there: FaultKind.DAMAGED_LOG,
}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_years_own_file_fits_the_pointer(story: Callable[[PublicTree], None], tree: PublicTree) -> None:
    story(tree)

    faults = [one for one in look_at(tree).faults if one.where == OWN]
    assert [(one.kind, one.evidence) for one in faults] == [(STORIES[story], ())]


def test_a_year_that_is_being_closed_has_its_last_leaf_under_its_own_name_first(tree: PublicTree) -> None:
    pointer = tree.files["log/checkpoint"]
    tree._sequence(tree.shard, [CloseLeaf(shard_origin(ORIGIN, 2027))])
    tree._sign(tree.shard, len(tree.shard.entries))
    tree.files["log/checkpoint"] = pointer

    assert look_at(tree).faults == []


# ---------------------------------------------------------------- log/tile/, where foreign tools look


def with_alias(tree: PublicTree) -> list[str]:
    """The names under `log/tile/` that a registry's own server answers with the current shard's bytes."""
    for name in [name for name in tree.files if name.startswith("log/2026/tile/")]:
        tree.files[name.replace("/2026", "", 1)] = tree.files[name]
    return [
        name for name in tree.files if name.startswith("log/tile/") and name.endswith(f"/{tree.shard.size}")
    ]


def test_other_bytes_under_the_names_of_foreign_tools_are_found(tree: PublicTree) -> None:
    names = with_alias(tree)
    assert len(names) == 2
    assert look_at(tree).faults == []
    for name in names:
        honest = tree.files[name]
        tree.files[name] = flipped(honest)
        assert [(one.kind, one.where) for one in look_at(tree).faults] == [(FaultKind.DAMAGED_LOG, name)]
        tree.files[name] = honest


def test_only_new_tiles_are_asked_for_again(tree: PublicTree) -> None:
    before = look_at(tree).view
    publish_one(tree, 6)
    source = TreeSource(tree)
    asked: list[str] = []

    def noted(path: str) -> bytes | None:
        asked.append(path)
        return tree.read(path)

    source.read = noted  # type: ignore[method-assign]
    for _ in range(2):
        asked.clear()
        before = look(source, Demands(), tree.clock(), Looking(), before=before).view
        aliases = [path for path in asked if path.startswith("log/tile/")]
    assert aliases == []
