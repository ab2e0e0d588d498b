"""One export file: what is proven about it, in sentences, and what is not."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.client.monitor.faults import FaultKind
from registry.client.monitor.one_file import Proven, prove_file
from registry.client.monitor.visit import Demands
from registry.lifecycle.publish.withdraw import withdraw_batch
from registry.protocol.index import EXPOSURES, LOG_CHECKPOINT_PATH, TRUST_NOTE_PATH, index_proof_path
from registry.protocol.intervals import interval_at
from registry.protocol.leaves import WithdrawLeaf, encode_leaf
from registry.protocol.tiles import Tile, encode_bundle, tile_path, tiles_at
from registry.protocol.trust_note import fingerprint
from tests.client.monitor.conftest import flipped, publish_one
from tests.client.monitor.test_same_keys import StageSource, half_a_day
from tests.clock import FakeClock
from tests.public_tree import DAY, PublicTree
from tests.publishing import in_memory


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

    assert (found.faults, found.is_complete) == ([], False)
    assert any("withdrew that batch" in sentence for sentence in found.sentences)
    assert any("manifest is not served any more" in sentence for sentence in found.unproven)


def test_of_an_expired_file_nothing_says_any_more_that_it_was_this_one(clock: FakeClock) -> None:
    tree = PublicTree(clock, window=DAY)
    tree.pass_days(3)
    content = tree.files[tree.names(".zip")[0]]
    tree.pass_days(30)
    found = proven(tree, content)

    assert (found.faults, found.is_complete) == ([], False)
    assert any("does not list it" in sentence for sentence in found.sentences)


def forged(tree: PublicTree, sequence: int) -> bytes:
    """What a thief of the export key makes for the window `sequence` of XA."""
    batch = tree.batches["XA"][sequence - 1]
    start = interval_at(batch.start) // 144 * 144 - 288
    keys = [replace(key, rolling_start_interval_number=start) for key in tree.keys(7)]
    return next(iter(tree._export("XA", batch.start, batch.end, keys)[1].values()))


def test_a_forged_file_is_never_good_whatever_is_held_back(clock: FakeClock) -> None:
    tree = PublicTree(clock, window=DAY)
    tree.pass_days(3)
    content = forged(tree, 2)
    assert {fault.kind for fault in proven(tree, content).faults} == {FaultKind.UNLOGGED}
    # The manifest is kept from us: then the index of which phones have the proof still names other files.
    tree._drop(tree.batches["XA"][1])
    assert {fault.kind for fault in proven(tree, content).faults} == {FaultKind.UNLOGGED, FaultKind.MANIFEST}
    # Once all that could tell has expired nobody can say, and the tool does not say that it is good.
    tree.pass_days(30)
    found = proven(tree, content)
    assert (found.faults, found.is_complete) == ([], False)
    assert any("about this very file" in sentence for sentence in found.unproven)


def test_a_young_window_without_its_manifest_is_a_fault(tree: PublicTree) -> None:
    content = forged(tree, 5)  # which held nothing
    tree._drop(tree.batches["XA"][4])
    found = proven(tree, content)

    assert {fault.kind for fault in found.faults} == {FaultKind.MANIFEST}
    assert not found.is_complete


# ---------------------------------------------------------------- one history and no other


def with_the_log_of(tree: PublicTree, other: PublicTree) -> PublicTree:
    """Proofs and indexes of the one, the log and whatever else there is of the other."""
    mixed = copy.deepcopy(tree)
    for name, content in other.files.items():
        if name.startswith("log/") or name not in mixed.files:
            mixed.files[name] = content
    return mixed


@pytest.mark.parametrize(("more", "kind"), [(0, FaultKind.SPLIT_VIEW), (2, FaultKind.INCONSISTENT)])
def test_a_leaf_of_another_history_than_the_proofs_is_evidence(
    tree: PublicTree, more: int, kind: FaultKind
) -> None:
    fork = copy.deepcopy(tree)
    for witness in fork.witnesses:
        witness.awake = False
    publish_one(tree, 6)
    fork.next_window({region: fork.keys(9) for region in fork.regions})
    content = fork.files[fork.names(".zip")[-1]]
    for _ in range(more):
        fork.next_window()
    found = proven(with_the_log_of(tree, fork), content)
    fault = next(one for one in found.faults if one.kind is kind)

    assert len(fault.evidence) == 2
    assert fork.shard.note in fault.evidence


def test_a_leaf_that_only_the_log_has_signed_is_told_as_such(tree: PublicTree) -> None:
    """The log goes on from the proof's tree, and no witness has seen how: that may still become two ways."""
    ahead = copy.deepcopy(tree)
    publish_one(ahead, 6)
    found = proven(with_the_log_of(tree, ahead), ahead.files[ahead.names(".zip")[-1]])

    assert not found.is_complete
    assert any("That others see this leaf too" in sentence for sentence in found.unproven)


TURN_OF_2027 = 1_798_761_600


def branches_across_the_turn(tree: PublicTree) -> PublicTree:
    """The tree goes over into 2027, and says nothing of a branch of 2026 that is returned."""
    tree.clock.now = TURN_OF_2027 - 10_800.0
    publish_one(tree, 8)
    fork = copy.deepcopy(tree)
    fork.next_window({region: fork.keys(9) for region in fork.regions})
    tree.clock.now = TURN_OF_2027 + 3600.0
    publish_one(tree, 10)
    assert (fork.shard.year, tree.shard.year) == (2026, 2027)
    return fork


def test_a_past_year_is_that_which_the_present_one_commits_to(tree: PublicTree) -> None:
    fork, content = branches_across_the_turn(tree), a_file(tree)
    for _ in range(3):
        fork.checkpoint()
    tree.files.update({name: one for name, one in fork.files.items() if name.startswith("log/2026")})
    fault = next(one for one in proven(tree, content).faults if one.kind is FaultKind.INCONSISTENT)

    assert fault.where == "log/2027"
    assert fault.evidence == (fork.shard.note, tree.shard.note)


def test_a_proof_that_was_kept_is_held_against_its_own_year(tree: PublicTree) -> None:
    kept = tree.files[index_proof_path("XA")]
    fork = branches_across_the_turn(tree)
    content = tree.files[tree.names(".zip")[-1]]
    assert not [one for one in proven(tree, content, proof_content=kept).faults if one.evidence]
    # A proof of a branch that the log left out when it went over into the new year.
    tree.files.update({name: one for name, one in fork.files.items() if "/index/" in name})
    for more in range(3):
        strange = fork.files[index_proof_path("XA")]
        fault = next(one for one in proven(tree, content, proof_content=strange).faults if one.evidence)
        assert fault.kind in (FaultKind.INCONSISTENT, FaultKind.SPLIT_VIEW), more
        assert tree.shard.note in fault.evidence or tree.files["log/2026/checkpoint"] in fault.evidence
        fork.checkpoint()
        tree.files.update({name: one for name, one in fork.files.items() if "/index/" in name})


# ---------------------------------------------------------------- bundles that somebody rewrote on the way


def rewritten(tree: PublicTree, change: Callable[[list[bytes]], list[bytes]]) -> PublicTree:
    """The newest bundle as a cache serves it that puts other entries in the log's place."""
    full, width = tiles_at(None, tree.shard.size)
    path = f"log/2026/{tile_path(Tile(None, full, width))}"
    tree.files[path] = encode_bundle(change(list(tree.shard.entries)))
    return tree


def test_a_withdrawal_that_is_not_in_the_log_is_never_told(tree: PublicTree) -> None:
    withdrawal = encode_leaf(WithdrawLeaf("XA", 2, "error", bytes(32)))
    content = a_file(tree)
    found = proven(rewritten(tree, lambda entries: [*entries[:-1], withdrawal]), content)

    assert {fault.kind for fault in found.faults} == {FaultKind.DAMAGED_LOG}
    assert not any("withdrew" in sentence for sentence in found.sentences)


def test_leaves_that_were_made_unreadable_are_damage_and_no_proof_against_the_file(tree: PublicTree) -> None:
    content = a_file(tree)
    noisy = rewritten(tree, lambda entries: [b"noise" if b"batch" in one else one for one in entries])

    assert {fault.kind for fault in proven(noisy, content).faults} == {FaultKind.DAMAGED_LOG}


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


def test_compact_files_and_days_are_proven_as_far_as_they_can_be() -> None:
    stage = in_memory()
    half_a_day(stage)
    source = StageSource(stage)
    index = stage.index()
    (day,) = index.days
    window = next(window for window in index.windows if window.files)

    def told(content: bytes) -> Proven:
        return prove_file(content, source.read, Demands(), stage.clock())

    for file in (*window.files, *day.files):
        found = told(stage.fetch(f"{EXPOSURES}/{file.path}"))
        assert (found.faults, found.is_complete) == ([], True), file.path
        assert any("lists this very file" in sentence for sentence in found.sentences)
        named = any("commits to names this file" in sentence for sentence in found.sentences)
        assert named == (file in window.files), "no manifest is about a day"
        assert any("the file of a day" in sentence for sentence in found.sentences) == (file in day.files)

    # A window is withdrawn: the day is gone, and whoever kept its file is told that nobody can say.
    kept = [stage.fetch(f"{EXPOSURES}/{file.path}") for file in day.files]
    number = window.sequence
    withdraw_batch(stage.new_session, region="XA", sequence=number, reason="wrong_keys", reference="x")
    stage.clock.advance(3600)
    stage.publish()
    for content in kept:
        found = told(content)
        assert (found.faults, found.is_complete) == ([], False)
        assert any("it says to be the file of a day" in sentence for sentence in found.unproven)
