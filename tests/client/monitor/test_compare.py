"""Two vantage points: the same log, a longer one, or proof that two histories were signed."""

import copy
from pathlib import Path

import pytest

from registry.client.monitor.compare import Comparison, compare, open_vantage, trusted_log_keys
from registry.client.monitor.faults import FaultKind
from registry.errors import FetchFailed
from registry.protocol.checkpoint import open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, index_proof_path
from tests.client.monitor.conftest import flipped, publish_one
from tests.client.monitor.web import Web
from tests.public_tree import DAY, PublicTree, log_signers

HERE, THERE = "https://here.example", "https://there.example"


def held(one: str, other: str, web: Web, tree: PublicTree) -> Comparison:
    a, b = (open_vantage(text, web, tree.clock) for text in (one, other))
    return compare(a, b, trusted_log_keys(a, b), web, tree.clock)


def two(tree: PublicTree) -> tuple[PublicTree, Web]:
    """A branch of the tree, and the web with the tree HERE and its branch THERE."""
    branch = copy.deepcopy(tree)
    return branch, Web({HERE: tree.read, THERE: branch.read})


def test_the_same_log_is_the_same(tree: PublicTree) -> None:
    _, web = two(tree)
    found = held(HERE, THERE, web, tree)

    assert (found.compared, found.faults) == (1, [])
    assert f"the same {tree.shard.size} leaves" in found.sentences[0]


@pytest.mark.parametrize("turned", [False, True])
def test_a_log_that_grew_contains_the_shorter_one(tree: PublicTree, turned: bool) -> None:
    branch, web = two(tree)
    publish_one(branch, 6)
    publish_one(branch, 7)
    pair = (THERE, HERE) if turned else (HERE, THERE)
    found = held(*pair, web, tree)

    assert found.faults == []
    assert "by a consistency proof" in found.sentences[0]


def test_two_roots_of_one_size_are_evidence_that_anybody_can_check(tree: PublicTree) -> None:
    branch, web = two(tree)
    publish_one(tree, 6)
    branch.next_window({"XA": branch.keys(7)})
    fault = held(HERE, THERE, web, tree).faults[0]

    assert fault.kind is FaultKind.SPLIT_VIEW
    heads = [open_checkpoint(note, [log_signers(2026)[0].key])[1] for note in fault.evidence]
    assert heads[0].size == heads[1].size
    assert heads[0].root != heads[1].root


def test_branches_of_different_sizes_are_evidence_too(tree: PublicTree) -> None:
    branch, web = two(tree)
    publish_one(tree, 6)
    for number in (7, 8):
        publish_one(branch, number)
    fault = held(HERE, THERE, web, tree).faults[0]

    assert fault.kind is FaultKind.INCONSISTENT
    assert set(fault.evidence) == {tree.shard.note, branch.shard.note}


def test_past_shards_are_compared_too(tree: PublicTree) -> None:
    branch, web = two(tree)
    publish_one(branch, 7)
    for one in (tree, branch):
        one.clock.now = tree.clock.now + 200 * DAY
        publish_one(one, 8)
    found = held(HERE, THERE, web, tree)

    assert found.compared == 2
    assert {fault.kind for fault in found.faults} >= {FaultKind.INCONSISTENT}


def test_a_witness_at_its_own_address_is_a_vantage_point(tree: PublicTree) -> None:
    web = Web({HERE: tree.read, "https://witness.example/w": tree.witnesses[0].read})

    assert held("https://witness.example/w", HERE, web, tree).compared == 1
    publish_one(tree, 6)
    assert held(HERE, "https://witness.example/w", web, tree).faults == []


def test_a_checkpoint_and_a_proof_that_somebody_kept(tree: PublicTree, tmp_path: Path) -> None:
    (tmp_path / "kept.checkpoint").write_bytes(tree.shard.note)
    (tmp_path / "kept.tlog-proof").write_bytes(tree.files[index_proof_path("XA")])
    branch, web = two(tree)
    publish_one(tree, 6)
    branch.next_window({"XA": branch.keys(9)})
    (tmp_path / "other.checkpoint").write_bytes(branch.shard.note)

    for kept in ("kept.checkpoint", "kept.tlog-proof"):
        assert held(str(tmp_path / kept), HERE, web, tree).faults == []
    fault = held(str(tmp_path / "other.checkpoint"), HERE, web, tree).faults[0]
    assert fault.kind is FaultKind.SPLIT_VIEW
    assert held(f"{HERE}/log/checkpoint", HERE, web, tree).faults == []


def test_notes_that_the_log_did_not_sign_prove_nothing(tree: PublicTree, tmp_path: Path) -> None:
    _, web = two(tree)
    (tmp_path / "forged").write_bytes(flipped(tree.shard.note, len(tree.origin) + 1))
    fault = held(str(tmp_path / "forged"), HERE, web, tree).faults[0]

    assert fault.kind is FaultKind.SIGNATURE
    assert fault.evidence == ()


def test_tiles_that_are_damaged_are_not_taken_for_another_history(tree: PublicTree) -> None:
    branch, web = two(tree)
    publish_one(branch, 6)
    name = next(path for path in branch.names(f".p/{branch.shard.size}") if "/tile/0/" in path)
    branch.files[name] = flipped(branch.files[name])

    assert [fault.kind for fault in held(HERE, THERE, web, tree).faults] == [FaultKind.DAMAGED_LOG]


def test_what_cannot_be_told_is_said(tree: PublicTree, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(tree.shard.note)
    publish_one(tree, 6)
    (tmp_path / "large").write_bytes(tree.shard.note)
    web = Web({HERE: tree.read})
    a, b = (open_vantage(str(tmp_path / name), web, tree.clock) for name in ("small", "large"))

    assert trusted_log_keys(a, b) == []
    with pytest.raises(FetchFailed, match="to tell whether"):
        compare(a, b, tree.log_keys(), web, tree.clock)


def test_two_registries_have_nothing_to_compare(tree: PublicTree) -> None:
    branch, web = two(tree)
    branch.files[LOG_CHECKPOINT_PATH] = branch.files[LOG_CHECKPOINT_PATH].replace(b"2026", b"2025", 1)

    with pytest.raises(FetchFailed, match="nothing to compare"):
        held(HERE, THERE, web, tree)
