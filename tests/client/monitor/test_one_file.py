"""One export file: what is proven about it, in sentences, and what is not."""

import copy
from dataclasses import replace

import pytest

from registry.client.monitor.faults import FaultKind
from registry.client.monitor.one_file import Proven, prove_file
from registry.client.monitor.visit import Demands
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_NOTE_PATH, index_proof_path
from registry.protocol.trust_note import fingerprint
from tests.client.monitor.conftest import flipped, publish_one
from tests.clock import FakeClock
from tests.public_tree import DAY, PublicTree


def proven(tree: PublicTree, content: bytes, **more: object) -> Proven:
    demands = more.pop("demands", Demands())
    return prove_file(content, tree.read, demands, tree.clock(), **more)  # type: ignore[arg-type]


def a_file(tree: PublicTree) -> bytes:
    return tree.files[next(name for name in tree.names(".zip") if "XA" in name)]


def test_an_honest_file_is_signed_listed_logged_and_cosigned(tree: PublicTree) -> None:
    tree.clock.advance(90)
    found = proven(tree, a_file(tree), demands=Demands(fingerprint=fingerprint(tree.root.key.vkey)))
    words = "\n".join(found.sentences)

    assert found.faults == []
    assert "as you were told" in words
    assert "holds 2 keys and 0 revised ones of XA" in words
    assert f"leaf {tree.shard.size - 1} of registry.example/keys/2026" in words
    assert "batch 2 of XA, 2026-06-15 13:00:00 UTC to 2026-06-15 14:00:00 UTC" in words
    assert "w1 (witness-1.example) at 2026-06-15 17:00:00 UTC" in words
    assert "90 seconds before the moment of this check" in words
    assert "names this file by its SHA-256" in words
    assert "phones are told to read it" in words
    assert len(found.unproven) == 1


def test_without_a_fingerprint_it_says_what_that_leaves_open(tree: PublicTree) -> None:
    assert any("--fingerprint" in sentence for sentence in proven(tree, a_file(tree)).unproven)


def test_only_a_few_bundles_of_a_long_log_are_read(clock: FakeClock) -> None:
    tree = PublicTree(clock, regions=[f"CN-{number:02d}" for number in range(30)])
    for _ in range(40):
        tree.next_window()
    tree.next_window({"CN-07": tree.keys(3)})
    read: list[str] = []

    def noted(path: str) -> bytes | None:
        read.append(path)
        return tree.read(path)

    content = tree.files[tree.names(".zip")[0]]
    assert prove_file(content, noted, Demands(), clock()).faults == []
    assert tree.shard.size > 1200
    assert sum("entries" in path for path in read) <= 2


def test_a_file_of_last_year_is_found_through_the_turn(tree: PublicTree, clock: FakeClock) -> None:
    clock.now = 1_798_761_600 - 5400.0  # an hour and a half before 2027
    publish_one(tree, 8)
    content = tree.files[tree.names(".zip")[-1]]
    clock.advance(2 * 3600)
    publish_one(tree, 9)
    found = proven(tree, content)

    assert found.faults == []
    assert any("of registry.example/keys/2026 is batch 6 of" in sentence for sentence in found.sentences)
    assert any("leaf" in sentence and "keys/2027 commits to" in sentence for sentence in found.sentences)


def test_a_withdrawn_file_is_told_as_such(tree: PublicTree) -> None:
    content = a_file(tree)
    tree.withdraw("XA", 2, "wrong_keys")
    found = proven(tree, content)

    assert found.faults == []
    assert any("withdrew that batch" in sentence for sentence in found.sentences)
    assert any("manifest is not served any more" in sentence for sentence in found.unproven)


def test_an_expired_file_is_still_proven_to_have_been_a_batchs(clock: FakeClock) -> None:
    tree = PublicTree(clock, window=DAY)
    tree.pass_days(3)
    content = tree.files[tree.names(".zip")[0]]
    tree.pass_days(30)
    found = proven(tree, content)

    assert found.faults == []
    assert any("does not list it" in sentence for sentence in found.sentences)


def test_a_file_by_a_stolen_signing_key_is_unlogged(tree: PublicTree) -> None:
    thief = copy.deepcopy(tree)
    thief.next_window({"XA": thief.keys(5)})
    publish_one(tree, 7)
    made = thief.files[next(name for name in thief.names(".zip") if name not in tree.files)]
    before_any_window = copy.deepcopy(tree)
    before_any_window.clock.now = tree.clock.now

    assert {fault.kind for fault in proven(tree, made).faults} == {FaultKind.UNLOGGED}
    other = copy.deepcopy(tree)
    other.batches["XA"].clear()
    other.clock.advance(1800)
    other.window = 1800
    other.next_window({"XA": other.keys(5)})
    never_logged = other.files[next(name for name in other.names(".zip") if name not in tree.files)]
    assert {fault.kind for fault in proven(tree, never_logged).faults} == {FaultKind.UNLOGGED}


def test_a_flipped_byte_is_no_good_file(tree: PublicTree) -> None:
    content = a_file(tree)
    for at in (60, len(content) // 2, len(content) - 30):
        assert proven(tree, flipped(content, at)).faults


def test_a_proof_that_somebody_kept_is_judged_as_of_its_time(tree: PublicTree) -> None:
    kept = tree.files[index_proof_path("XA")]
    publish_one(tree, 7)
    assert proven(tree, a_file(tree), proof_content=kept).faults == []
    tree.clock.advance(14 * DAY)

    assert FaultKind.FROZEN in {fault.kind for fault in proven(tree, a_file(tree), proof_content=kept).faults}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (LOG_CHECKPOINT_PATH, FaultKind.DAMAGED_LOG),
        (TRUST_NOTE_PATH, FaultKind.TRUST),
        (index_proof_path("XA"), FaultKind.UNLOGGED),
    ],
)
def test_what_is_missing_for_a_proof_is_named(tree: PublicTree, path: str, kind: FaultKind) -> None:
    content = a_file(tree)
    del tree.files[path]

    assert kind in {fault.kind for fault in proven(tree, content).faults}


def test_a_quorum_that_is_missing_and_a_policy_that_asks_for_none(tree: PublicTree) -> None:
    nobody = Demands(replace(tree.policy(), quorum="none"))
    assert any("asks for no witness" in said for said in proven(tree, a_file(tree), demands=nobody).unproven)
    tree.witnesses[0].awake = tree.witnesses[1].awake = False
    tree.heartbeat()

    assert {fault.kind for fault in proven(tree, a_file(tree)).faults} == {FaultKind.QUORUM}
