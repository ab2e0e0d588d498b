"""Two vantage points: the same log, a longer one, or proof that two histories were signed."""

import copy
from pathlib import Path

import pytest

from registry.client.monitor.compare import Comparison, compare, log_keys_of, open_vantage
from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.visit import Demands
from registry.errors import FetchFailed
from registry.protocol.checkpoint import open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_NOTE_PATH, TRUST_PATH, index_proof_path
from registry.protocol.note import KeyKind, Note, decode_note, encode_note
from registry.protocol.trust import trust_key_name
from registry.protocol.trust_note import encode_trust_note, fingerprint
from tests import public_tree
from tests.client.monitor.conftest import flipped, publish_one, unsigned
from tests.client.monitor.web import Web
from tests.clock import FakeClock
from tests.public_tree import DAY, ORIGIN, PublicTree, log_signers, note_signer

HERE, THERE = "https://here.example", "https://there.example"


def held(one: str, other: str, web: Web, tree: PublicTree) -> Comparison:
    a, b = (open_vantage(text, web, tree.clock) for text in (one, other))
    return compare(a, b, log_keys_of(a, b, Demands()).keys, web, tree.clock)


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
    (tmp_path / "forged").write_bytes(unsigned(tree.shard.note))
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

    assert log_keys_of(a, b, Demands()).keys == []
    with pytest.raises(FetchFailed, match="to tell whether"):
        compare(a, b, tree.log_keys(), web, tree.clock)


def test_two_registries_have_nothing_to_compare(tree: PublicTree) -> None:
    branch, web = two(tree)
    branch.files[LOG_CHECKPOINT_PATH] = branch.files[LOG_CHECKPOINT_PATH].replace(b"2026", b"2025", 1)

    with pytest.raises(FetchFailed, match="nothing to compare"):
        held(HERE, THERE, web, tree)


# ---------------------------------------------------------------- whose log it is


def blamer(monkeypatch: pytest.MonkeyPatch, windows: int = 5) -> PublicTree:
    """Somebody's own registry under the true one's names, with keys and a root of his own."""
    honest = public_tree.log_signers
    monkeypatch.setattr(public_tree, "log_signers", lambda year, secret="": honest(year, "his own"))
    made = PublicTree(FakeClock())
    made.root = note_signer(trust_key_name(ORIGIN), KeyKind.ED25519, "his own")
    made.change_trust()
    for number in range(1, windows + 1):
        publish_one(made, number)
    monkeypatch.undo()
    return made


def seen_by(tree: PublicTree, web: Web, demands: Demands) -> tuple[set[FaultKind], list[Fault]]:
    """Classes of all faults, and those that are evidence."""
    a, b = (open_vantage(text, web, tree.clock) for text in (HERE, THERE))
    trusted = log_keys_of(a, b, demands)
    faults = [*trusted.faults, *(compare(a, b, trusted.keys, web, tree.clock).faults if trusted.keys else ())]
    return {fault.kind for fault in faults}, [fault for fault in faults if fault.evidence]


def test_a_copy_that_somebody_signed_himself_is_no_evidence(
    tree: PublicTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = blamer(monkeypatch)
    web = Web({HERE: tree.read, THERE: mirror.read})
    for told in (None, fingerprint(tree.root.key.vkey), fingerprint(mirror.root.key.vkey), "0" * 32):
        assert seen_by(tree, web, Demands(fingerprint=told)) == ({FaultKind.SIGNATURE}, [])


def test_with_the_true_fingerprint_the_true_side_is_still_compared(
    tree: PublicTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy with another root, and with a fork that the true log's key signed: that one is evidence."""
    branch = copy.deepcopy(tree)
    publish_one(tree, 6)
    branch.next_window({"XA": branch.keys(7)})
    strange = blamer(monkeypatch)
    for path in (TRUST_PATH, TRUST_NOTE_PATH):
        branch.files[path] = strange.files[path]
    web = Web({HERE: tree.read, THERE: branch.read})
    kinds, evidence = seen_by(tree, web, Demands(fingerprint=fingerprint(tree.root.key.vkey)))

    assert kinds == {FaultKind.SIGNATURE, FaultKind.SPLIT_VIEW}
    assert set(evidence[0].evidence) == {tree.shard.note, branch.shard.note}


def test_the_key_that_signed_both_is_named(tree: PublicTree) -> None:
    branch, web = two(tree)
    publish_one(tree, 6)
    branch.next_window({"XA": branch.keys(7)})
    advice = held(HERE, THERE, web, tree).faults[0].advice

    assert any(signer.key.vkey in advice for signer in log_signers(2026))


def test_two_keys_of_one_log_are_no_evidence_against_each_other(tree: PublicTree) -> None:
    branch, web = two(tree)
    publish_one(tree, 6)
    branch.next_window({"XA": branch.keys(7)})
    for one, kept in ((tree, slice(0, 1)), (branch, slice(1, 2))):
        note = decode_note(one.shard.note)
        one.files[LOG_CHECKPOINT_PATH] = encode_note(Note(note.text, note.signatures[kept]))
    (fault,) = held(HERE, THERE, web, tree).faults

    assert (fault.kind, fault.evidence) == (FaultKind.SIGNATURE, ())
    assert "two different keys" in fault.what


def test_a_new_root_that_the_old_one_signed_in_is_the_same_registry(tree: PublicTree) -> None:
    branch, web = two(tree)
    old, branch.root = branch.root, note_signer(trust_key_name(ORIGIN), KeyKind.ED25519, "the next")
    branch.change_trust()
    branch.checkpoint()
    assert branch.trust_note is not None
    branch.files[TRUST_NOTE_PATH] = encode_trust_note(branch.trust_note, old, branch.root)

    for told in (None, fingerprint(old.key.vkey), fingerprint(branch.root.key.vkey)):
        assert seen_by(tree, web, Demands(fingerprint=told)) == (set(), [])


def test_trust_material_that_its_root_did_not_sign_names_no_key(tree: PublicTree) -> None:
    branch, web = two(tree)
    branch.files[TRUST_PATH] = branch.files[TRUST_PATH].replace(b'"floor":1', b'"floor":2')
    assert seen_by(tree, web, Demands())[0] == {FaultKind.TRUST}
    del branch.files[TRUST_NOTE_PATH]
    assert seen_by(tree, web, Demands())[0] == {FaultKind.TRUST}
