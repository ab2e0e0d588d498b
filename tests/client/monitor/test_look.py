"""An auditor looks at a registry: honest ones are good, and each lie is seen for what it is."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from registry.client.failures import TooLarge
from registry.client.monitor.bundle import Bundle
from registry.client.monitor.faults import FaultKind, exit_code
from registry.client.monitor.visit import Demands, Looking, look
from registry.protocol.checkpoint import Checkpoint
from registry.protocol.committed import note_key_digest
from registry.protocol.export_file import ExportFile
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    LOG_POLICY_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    Index,
    index_digest_path,
    index_path,
    index_proof_path,
    legacy_index_path,
)
from registry.protocol.leaves import ActivityLeaf, BatchLeaf, KeyLeaf, Leaf, WithdrawLeaf
from registry.protocol.note import Note
from registry.protocol.trust_note import TrustNote, fingerprint
from registry.protocol.witness_policy import PolicyGroup, WitnessPolicy
from tests.client.monitor.conftest import flipped, kinds, look_at, publish_one
from tests.clock import FakeClock
from tests.public_tree import DAY, PublicTree, TreeSource, log_signers

Story = Callable[[PublicTree], None]


def test_an_honest_registry_is_good(tree: PublicTree) -> None:
    visit = look_at(tree)

    assert visit.faults == []
    assert exit_code(visit.faults) == 0
    assert visit.contents.files_read == 4
    assert visit.view is not None
    assert {region: len(of) for region, of in visit.view.batches.items()} == {"CN-HB": 5, "XA": 5}
    assert [batch.state for batch in visit.view.batches["XA"]] == ["empty", "live", "empty", "live", "empty"]


def test_a_registry_of_two_months_with_expired_files_is_good(clock: FakeClock) -> None:
    tree = PublicTree(clock, window=DAY)
    tree.pass_days(60)

    visit = look_at(tree)

    assert visit.faults == []
    assert visit.view is not None
    states = [batch.state for batch in visit.view.batches["XA"]]
    assert states[:39] == ["expired"] * 39
    assert set(states[-15:]) == {"live"}


def test_the_turn_of_the_year_is_followed(tree: PublicTree, clock: FakeClock) -> None:
    clock.advance(200 * DAY)
    publish_one(tree, 6)
    publish_one(tree, 7)

    visit = look_at(tree)

    assert visit.faults == []
    assert visit.view is not None
    assert [shard.year for shard in visit.view.shards] == [2026, 2027]
    assert [batch.leaf.sequence for batch in visit.view.batches["XA"]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_withdrawn_batch_a_new_key_and_a_heartbeat_are_good(tree: PublicTree, clock: FakeClock) -> None:
    tree.withdraw("XA", 2)
    tree.rotate_exporter()
    publish_one(tree, 6)
    clock.advance(3600)
    tree.heartbeat()

    visit = look_at(tree)

    assert visit.faults == []
    assert visit.view is not None
    assert visit.view.batches["XA"][1].state == "withdrawn"
    assert visit.view.health(clock()).cosignature_age == 0


def test_an_auditors_own_policy_counts(tree: PublicTree) -> None:
    policy = tree.policy()
    one_is_enough = replace(policy, groups=(PolicyGroup("witnesses", 1, ("w1", "w2", "w3")),))
    all_must = replace(policy, groups=(PolicyGroup("witnesses", 3, ("w1", "w2", "w3")),))
    tree.witnesses[0].awake = tree.witnesses[1].awake = False
    tree.heartbeat()

    assert kinds(look_at(tree)) == {FaultKind.QUORUM}
    assert look_at(tree, Demands(one_is_enough)).faults == []
    assert kinds(look_at(tree, Demands(all_must))) == {FaultKind.QUORUM}


def test_log_keys_of_an_auditors_own_policy_count(tree: PublicTree) -> None:
    policy: WitnessPolicy = tree.policy()
    other = log_signers(2026, "another secret")
    logs = tuple(replace(log, key=signer.key) for log, signer in zip(policy.logs, other, strict=False))

    assert kinds(look_at(tree, Demands(replace(policy, logs=logs)))) == {FaultKind.SIGNATURE}


def test_the_fingerprint_pins_the_root(tree: PublicTree) -> None:
    right = fingerprint(tree.root.key.vkey)

    assert look_at(tree, Demands(fingerprint=right.upper().replace("-", " "))).faults == []
    assert kinds(look_at(tree, Demands(fingerprint="0" * 32))) == {FaultKind.SIGNATURE}


# ---------------------------------------------------------------- lies of a registry at work


def the_newest_index_is_held_back_from_everybody(tree: PublicTree) -> None:
    before = dict(tree.files)
    publish_one(tree, 6)
    paths = [*map(index_path, tree.regions), *map(legacy_index_path, tree.regions)]
    tree.files.update({path: before[path] for path in paths})


def one_region_is_held_back(tree: PublicTree) -> None:
    before = dict(tree.files)
    publish_one(tree, 6)
    for path in (index_path("XA"), index_proof_path("XA"), legacy_index_path("XA")):
        tree.files[path] = before[path]


def a_window_is_left_out(tree: PublicTree) -> None:
    tree.bend["batch"] = lambda leaf: replace(leaf, sequence=leaf.sequence + 1)
    publish_one(tree, 6)


def windows_overlap(tree: PublicTree) -> None:
    tree.bend["batch"] = lambda leaf: replace(leaf, window_start=leaf.window_start - 60)
    publish_one(tree, 7)


def a_leaf_names_another_predecessor(tree: PublicTree) -> None:
    tree.bend["batch"] = lambda leaf: replace(leaf, previous=bytes(32))
    publish_one(tree, 7)


def a_leaf_follows_the_index(tree: PublicTree) -> None:
    tree.bend["leaves"] = lambda leaves: [leaves[-1], *leaves[:-1]]
    publish_one(tree, 7)


def a_leaf_is_no_leaf(tree: PublicTree) -> None:
    tree.bend["leaves"] = lambda leaves: [b'{"type":"batch"}', *leaves]
    publish_one(tree, 7)


def index_leaves_go_back_in_time(tree: PublicTree) -> None:
    tree.bend["index_leaf"] = lambda leaf: replace(leaf, issued_at=leaf.issued_at - 2 * 86_400)
    publish_one(tree, 7)


def an_index_leaf_skips_one(tree: PublicTree) -> None:
    tree.bend["index_leaf"] = lambda leaf: replace(leaf, previous=leaf.previous - 1)
    publish_one(tree, 7)


def _leave_out_window_2(index: Index) -> Index:
    first, second, *rest = index.windows
    return replace(index, windows=(first, replace(second, files=()), *rest))


def a_live_batch_is_not_listed(tree: PublicTree) -> None:
    tree.bend["index"] = _leave_out_window_2
    publish_one(tree, 7)


def a_withdrawn_batch_is_listed(tree: PublicTree) -> None:
    tree.checkpoint([WithdrawLeaf("XA", 2, "other", bytes(32))])


def a_withdrawal_of_nothing(tree: PublicTree) -> None:
    tree.checkpoint([WithdrawLeaf("XA", 77, "other", bytes(32))])


def a_file_of_an_unlogged_window_is_listed(tree: PublicTree) -> None:
    tree.bend["leaves"] = lambda leaves: [leaf for leaf in leaves if not isinstance(leaf, BatchLeaf)]
    publish_one(tree, 6)


def an_index_that_is_not_logged(tree: PublicTree) -> None:
    content = tree.files[index_path("XA")].replace(b'"salt":"', b'"salt":"AAAA')
    content = content[: content.index(b'"salt":"') + 8] + b"A" * 43 + content[content.index(b'=","') :]
    tree.files[index_path("XA")] = content
    tree.files[index_digest_path("XA", sha256(content).hexdigest())] = content


def a_file_changed(tree: PublicTree) -> None:
    name = tree.names(".zip")[0]
    tree.files[name] = flipped(tree.files[name])


def a_file_is_missing(tree: PublicTree) -> None:
    del tree.files[tree.names(".zip")[0]]


def a_file_of_another_region(tree: PublicTree) -> None:
    def moved(export: ExportFile) -> ExportFile:
        return replace(export, region="CN")

    tree.bend["export"] = moved
    publish_one(tree, 6)


def a_file_breaks_the_embargo(tree: PublicTree) -> None:
    tree.next_window({"XA": tree.keys(1, days_old=0)})


def a_file_by_an_unknown_key(tree: PublicTree) -> None:
    tree.exporter = replace(tree.exporter, key_version="9")
    publish_one(tree, 6)


def a_zip_that_is_none(tree: PublicTree) -> None:
    tree.bend["zip"] = lambda content: b"PK" + content[2:50]
    publish_one(tree, 6)


def a_manifest_is_missing(tree: PublicTree) -> None:
    for name in [name for name in tree.files if "/manifest/" in name]:
        del tree.files[name]


def a_manifest_of_another_window(tree: PublicTree) -> None:
    tree.bend["manifest"] = lambda manifest: replace(manifest, sequence=99)
    publish_one(tree, 6)


def a_manifest_counts_other_keys(tree: PublicTree) -> None:
    tree.bend["manifest"] = lambda manifest: replace(
        manifest, files=tuple(replace(file, keys=file.keys + 1) for file in manifest.files)
    )
    publish_one(tree, 6)


def a_manifest_that_was_changed_afterwards(tree: PublicTree) -> None:
    name = next(name for name in tree.files if "/manifest/" in name)
    tree.files[name] = tree.files[name].replace(b"tests", b"other")


def a_receipts_root_of_other_receipts(tree: PublicTree) -> None:
    def bent(content: bytes) -> bytes:
        at = content.index(b'"receipts_root":"') + 17
        return content[:at] + (b"A" if content[at : at + 1] != b"A" else b"B") + content[at + 1 :]

    tree.bend["manifest_bytes"] = bent
    publish_one(tree, 6)


def receipts_whose_number_tells(tree: PublicTree) -> None:
    tree.bend["manifest"] = lambda manifest: replace(manifest, receipts=manifest.receipts[:5])
    publish_one(tree, 6)


def acts_are_not_anchored_for_a_day(tree: PublicTree) -> None:
    def without(leaves: list[Leaf]) -> list[Leaf]:
        return [leaf for leaf in leaves if not isinstance(leaf, ActivityLeaf)]

    tree.bend["leaves"] = without
    tree.clock.advance(DAY)
    publish_one(tree, 7)
    del tree.bend["leaves"]
    tree.clock.advance(DAY)
    publish_one(tree, 9)


def acts_are_anchored_twice(tree: PublicTree) -> None:
    tree.checkpoint([ActivityLeaf(bytes(32))])


def witnesses_are_missing(tree: PublicTree) -> None:
    tree.witnesses[0].awake = tree.witnesses[1].awake = False
    publish_one(tree, 7)


def everything_is_two_weeks_old(tree: PublicTree) -> None:
    tree.clock.advance(14 * DAY)


def a_witness_from_the_future(tree: PublicTree) -> None:
    now = tree.clock()
    tree.clock.advance(30 * DAY)
    tree.heartbeat()
    tree.clock.now = now


def a_forged_cosignature(tree: PublicTree) -> None:
    def forged(note: Note) -> Note:
        *lines, last = note.signatures
        return Note(note.text, (*lines, replace(last, signature=flipped(last.signature))))

    tree.bend["cosignatures"] = forged
    tree.heartbeat()


def a_checkpoint_without_its_ml_dsa_signature(tree: PublicTree) -> None:
    tree.bend["cosignatures"] = lambda note: Note(
        note.text, tuple(line for line in note.signatures if len(line.signature) < 200)
    )
    tree.heartbeat()


def a_checkpoint_by_another_key(tree: PublicTree) -> None:
    content = tree.files[LOG_CHECKPOINT_PATH]
    tree.files[LOG_CHECKPOINT_PATH] = content.replace(b"2026 ", b"2027 ")


def a_checkpoint_with_another_root(tree: PublicTree) -> None:
    tree.bend["checkpoint"] = lambda head: Checkpoint(head.origin, head.size, bytes(32))
    tree.heartbeat()


def a_checkpoint_that_was_edited(tree: PublicTree) -> None:
    content = tree.files[LOG_CHECKPOINT_PATH]
    head, _, rest = content.partition(b"\n")
    size, _, rest = rest.partition(b"\n")
    tree.files[LOG_CHECKPOINT_PATH] = b"%s\n%d\n%s" % (head, int(size) - 1, rest)


def a_trust_note_that_expired(tree: PublicTree) -> None:
    def old(note: TrustNote) -> TrustNote:
        return replace(note, issued_at=note.issued_at - 40 * DAY, expires_at=int(tree.clock()) - 1)

    tree.bend["trust_note"] = old
    publish_one(tree, 7)


def trust_material_that_is_not_logged(tree: PublicTree) -> None:
    tree.change_trust()
    tree.unlogged = []
    tree.checkpoint()


def trust_material_of_before(tree: PublicTree) -> None:
    before = {path: tree.files[path] for path in (TRUST_PATH, TRUST_NOTE_PATH)}
    tree.clock.advance(60)
    tree.change_trust()
    tree.checkpoint()
    tree.files.update(before)


def trust_material_without_its_note(tree: PublicTree) -> None:
    del tree.files[TRUST_NOTE_PATH]


def trust_material_that_the_note_does_not_know(tree: PublicTree) -> None:
    tree.files[TRUST_PATH] = tree.files[TRUST_PATH].replace(b'"floor":1', b'"floor":2')


def a_key_that_no_leaf_added(tree: PublicTree) -> None:
    tree.bend["leaves"] = lambda leaves: [leaf for leaf in leaves if "KeyLeaf" not in repr(type(leaf))]
    tree.rotate_exporter()


def a_retired_key_that_is_still_trusted(tree: PublicTree) -> None:
    retired = replace(tree._exporter_leaf(), action="retired")
    tree.checkpoint([retired])


def a_retired_root_that_still_signs(tree: PublicTree) -> None:
    tree.checkpoint([KeyLeaf("retired", "trust", tree.root.name, note_key_digest(tree.root.key))])


def a_log_key_that_was_retired_before_its_year(tree: PublicTree) -> None:
    tree.checkpoint([replace(leaf, action="retired") for leaf in tree._log_key_leaves(2027)])


def a_policy_file_that_says_something_else(tree: PublicTree) -> None:
    tree.files[LOG_POLICY_PATH] = b"quorum none\n"


def a_legacy_list_that_leaves_one_out(tree: PublicTree) -> None:
    path = legacy_index_path("XA")
    tree.files[path] = tree.files[path].split(b"\n")[0]


def an_index_is_not_there_under_its_digest(tree: PublicTree) -> None:
    digest = sha256(tree.files[index_path("XA")]).hexdigest()
    del tree.files[index_digest_path("XA", digest)]


def a_proof_is_missing(tree: PublicTree) -> None:
    del tree.files[index_proof_path("XA")]


def a_bundle_is_damaged(tree: PublicTree) -> None:
    name = next(name for name in tree.names(f".p/{tree.shard.size}") if "entries" in name)
    tree.files[name] = tree.files[name][:-2] + b"!}"


def a_bundle_is_missing(tree: PublicTree) -> None:
    del tree.files[next(name for name in tree.names(f".p/{tree.shard.size}") if "entries" in name)]


def an_index_is_not_json(tree: PublicTree) -> None:
    tree.bend["index_bytes"] = lambda content: b"{"
    publish_one(tree, 7)


def a_shard_that_goes_on_from_another_end(tree: PublicTree) -> None:
    tree.clock.advance(200 * DAY)
    tree.bend["leaves"] = lambda leaves: [
        replace(leaf, root=bytes(32)) if type(leaf).__name__ == "OpenLeaf" else leaf for leaf in leaves
    ]
    publish_one(tree, 7)


LIES: dict[Story, FaultKind] = {
    the_newest_index_is_held_back_from_everybody: FaultKind.ROLLED_BACK,
    one_region_is_held_back: FaultKind.ROLLED_BACK,
    a_window_is_left_out: FaultKind.GAP,
    windows_overlap: FaultKind.GAP,
    a_leaf_names_another_predecessor: FaultKind.GAP,
    a_leaf_follows_the_index: FaultKind.INDEX_NOT_LAST,
    a_leaf_is_no_leaf: FaultKind.MALFORMED,
    index_leaves_go_back_in_time: FaultKind.TIMES,
    an_index_leaf_skips_one: FaultKind.GAP,
    a_live_batch_is_not_listed: FaultKind.INDEX,
    a_withdrawn_batch_is_listed: FaultKind.INDEX,
    a_withdrawal_of_nothing: FaultKind.GAP,
    a_file_of_an_unlogged_window_is_listed: FaultKind.UNLOGGED,
    an_index_that_is_not_logged: FaultKind.UNLOGGED,
    a_file_changed: FaultKind.FILE,
    a_file_is_missing: FaultKind.FILE,
    a_file_of_another_region: FaultKind.FILE,
    a_file_breaks_the_embargo: FaultKind.FILE,
    a_file_by_an_unknown_key: FaultKind.SIGNATURE,
    a_zip_that_is_none: FaultKind.FILE,
    a_manifest_is_missing: FaultKind.MANIFEST,
    a_manifest_of_another_window: FaultKind.MANIFEST,
    a_manifest_counts_other_keys: FaultKind.MANIFEST,
    a_manifest_that_was_changed_afterwards: FaultKind.MANIFEST,
    a_receipts_root_of_other_receipts: FaultKind.RECEIPTS,
    receipts_whose_number_tells: FaultKind.RECEIPTS,
    acts_are_not_anchored_for_a_day: FaultKind.ACTIVITY,
    acts_are_anchored_twice: FaultKind.ACTIVITY,
    witnesses_are_missing: FaultKind.QUORUM,
    everything_is_two_weeks_old: FaultKind.FROZEN,
    a_witness_from_the_future: FaultKind.TIMES,
    a_forged_cosignature: FaultKind.SIGNATURE,
    a_checkpoint_without_its_ml_dsa_signature: FaultKind.SIGNATURE,
    a_checkpoint_by_another_key: FaultKind.SIGNATURE,
    a_checkpoint_with_another_root: FaultKind.DAMAGED_LOG,
    a_checkpoint_that_was_edited: FaultKind.SIGNATURE,
    a_trust_note_that_expired: FaultKind.TRUST,
    trust_material_that_is_not_logged: FaultKind.UNLOGGED,
    trust_material_of_before: FaultKind.ROLLED_BACK,
    trust_material_without_its_note: FaultKind.TRUST,
    trust_material_that_the_note_does_not_know: FaultKind.TRUST,
    a_key_that_no_leaf_added: FaultKind.UNLOGGED,
    a_retired_key_that_is_still_trusted: FaultKind.TRUST,
    a_retired_root_that_still_signs: FaultKind.TRUST,
    a_log_key_that_was_retired_before_its_year: FaultKind.TRUST,
    a_policy_file_that_says_something_else: FaultKind.TRUST,
    a_legacy_list_that_leaves_one_out: FaultKind.INDEX,
    an_index_is_not_there_under_its_digest: FaultKind.INDEX,
    a_proof_is_missing: FaultKind.UNLOGGED,
    a_bundle_is_damaged: FaultKind.DAMAGED_LOG,
    a_bundle_is_missing: FaultKind.DAMAGED_LOG,
    an_index_is_not_json: FaultKind.MALFORMED,
    a_shard_that_goes_on_from_another_end: FaultKind.INCONSISTENT,
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_is_seen_for_what_it_is(lie: Story, tree: PublicTree) -> None:
    lie(tree)

    visit = look_at(tree)

    assert LIES[lie] in kinds(visit), visit.faults
    assert exit_code(visit.faults) == min(fault.kind.exit_code for fault in visit.faults)


def test_a_key_that_was_retired_and_added_again_is_good(tree: PublicTree) -> None:
    added = tree._exporter_leaf()
    tree.checkpoint([replace(added, action="retired"), added])

    assert look_at(tree).faults == []


def test_log_keys_of_a_year_that_is_over_are_retired_and_verify_it_still(tree: PublicTree) -> None:
    tree.clock.advance(200 * DAY)
    publish_one(tree, 6)
    tree.checkpoint([replace(leaf, action="retired") for leaf in tree._log_key_leaves(2026)])

    assert look_at(tree).faults == []


# ---------------------------------------------------------------- files that are too large


@pytest.mark.parametrize(
    "path",
    [
        LOG_POLICY_PATH,
        TRUST_NOTE_PATH,
        index_path("XA"),
        legacy_index_path("XA"),
        index_proof_path("XA"),
        "manifest",
        "digest",
        ".zip",
        "log/2026/checkpoint",
    ],
)
def test_one_file_that_is_too_large_does_not_blind(tree: PublicTree, path: str) -> None:
    named = {
        "digest": index_digest_path("XA", sha256(tree.files[index_path("XA")]).hexdigest()),
        "manifest": next(name for name in tree.names(".json") if "XA/manifest" in name),
        ".zip": tree.names(".zip")[-1],
    }
    large = named.get(path, path)

    def read(asked: str) -> bytes | None:
        if asked == large:
            raise TooLarge(f"{asked} has more than 16 bytes")
        return tree.read(asked)

    source = TreeSource(tree)
    source.read = read  # type: ignore[method-assign]
    visit = look(source, Demands(), tree.clock(), Looking())

    assert [fault.where for fault in visit.faults if "more than 16 bytes" in fault.what] == [large]
    assert visit.contents.files_read == {".zip": 3, index_path("XA"): 2}.get(path, 4)
    view = visit.view
    assert view is not None
    bundle = Bundle(read, view, None)
    files = dict(bundle.files())
    assert large not in files or large in ("log/policy", "log/2026/checkpoint")
    assert LOG_CHECKPOINT_PATH in files


def test_every_class_of_fault_has_a_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in FaultKind]

    assert sorted(codes) == list(range(2, 2 + len(codes)))
