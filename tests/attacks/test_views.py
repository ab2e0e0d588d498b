"""Some are shown another log: who notices, with honest witnesses, without any, with a bribed one."""

from pathlib import Path

from registry.client.failures import QuorumMissing, SplitView
from registry.protocol.checkpoint import Checkpoint, open_checkpoint
from registry.protocol.index import index_proof_path
from registry.protocol.note import verifier_key
from registry.protocol.proof import decode_proof
from registry.protocol.witness_policy import quorum_strength
from registry.transparency.witnesses import WitnessAnswer
from tests.attacks.operators import DAY, REGION, Bribed, Operator, ignored
from tests.attacks.readers import AppWithoutSdk, failures, reads, warnings
from tests.attacks.stage import Stage, staged
from tests.clock import FakeClock

PROOF = index_proof_path(REGION)


def split(stage: Stage) -> tuple[Operator, list[bytes]]:
    """Two branches of one size: the true one, and one that lacks an upload, with the keys that it lacks."""
    other = stage.fork()
    keys = stage.window(stage.operator, other)
    return other, keys


def signed(stage: Stage, note: bytes) -> Checkpoint:
    """What the log's own key signed: anybody can check it."""
    return open_checkpoint(note, [verifier_key(stage.operator.log_key())])[1]


def test_split_view_phone(stage: Stage) -> None:
    other, _ = split(stage)
    assert stage.bob.poll().is_proven
    stage.show_phones(other.public_folder)
    report = stage.bob.poll()
    assert failures(report) == [(PROOF, SplitView)]
    assert report.files_read == 0
    (evidence,) = stage.bob.evidence()
    assert evidence.believed is not None
    believed = signed(stage, evidence.believed)
    offered = signed(stage, decode_proof(evidence.offered).checkpoint)
    assert (believed.origin, believed.size) == (offered.origin, offered.size)
    assert believed.root != offered.root
    # One that is new here has nothing to compare, but no honest witness cosigned both.
    assert failures(stage.phone("carol").poll()) == [(PROOF, QuorumMissing)]
    stage.show_phones(None)
    assert stage.bob.poll().is_proven


def test_split_view_monitor(stage: Stage) -> None:
    other, _ = split(stage)
    assert stage.auditor.follow().code == 0
    stage.mirror(other.public_folder)
    compared = stage.auditor.compare()
    assert (compared.code, compared.kinds) == (2, {"split_view"})
    first, second = (signed(stage, note.encode()) for note in compared.fault("split_view")["evidence"])
    assert (first.origin, first.size) == (second.origin, second.size)
    assert first.root != second.root
    stage.show_auditor(other.public_folder)
    seen = stage.auditor.follow()
    assert seen.code == 2
    assert {"split_view", "quorum"} <= seen.kinds
    stage.show_auditor(None)
    assert stage.auditor.follow().code == 0, "the branch was not taken over into the memory"


def test_split_view_old_app(stage: Stage) -> None:
    """Reads whatever it is shown, and never learns of the keys that are kept from it."""
    app = AppWithoutSdk(stage.operator.public_folder)
    other, kept_back = split(stage)
    assert app.poll(reads(other.public_folder)) > 0
    assert not set(kept_back) & set(app.keys)


# ------------------------------------------------------------ no witness at all


def test_split_view_without_witnesses_phone(tmp_path: Path, clock: FakeClock) -> None:
    """Not seen by one phone alone: each is shown one branch, and both branches are in order."""
    with staged(tmp_path, clock, quorum=0) as stage:
        carol = stage.phone("carol")
        assert carol.poll().is_proven
        other, _ = split(stage)
        reports = [stage.bob.poll()]
        stage.show_phones(other.public_folder)
        reports.append(carol.poll())
        for report in reports:
            assert (report.is_proven, report.failures, report.warnings) == (True, (), ())
        here, there = (report.proof.head for report in reports if report.proof)
        assert (here.size, here.cosigned_at) == (there.size, there.cosigned_at) == (here.size, None)
        assert here.root != there.root


def test_split_view_without_witnesses_monitor(tmp_path: Path, clock: FakeClock) -> None:
    """Whoever follows one branch sees nothing either; whoever holds two copies against each other does."""
    with staged(tmp_path, clock, quorum=0) as stage:
        other, _ = split(stage)
        stage.show_auditor(other.public_folder)
        assert stage.auditor.follow().code == 0
        stage.mirror(stage.operator.public_folder)
        compared = stage.auditor.compare()
        assert (compared.code, compared.kinds) == (2, {"split_view"})
        assert len(compared.fault("split_view")["evidence"]) == 2


# ------------------------------------------------------------ one witness is bribed


def split_with_bribe(stage: Stage) -> Operator:
    """Branch A has witnesses 1 and 2, branch B has 2 and 3: witness 2 cosigns anything for the operator."""
    policy = stage.operator.log.policy
    assert quorum_strength(policy, dishonest=0).prevents
    assert not quorum_strength(policy, dishonest=1).prevents, "k = 2 of n = 3, m = 1: k is not > (n + m) / 2"
    first, second, third = stage.witnesses.clients
    bribed = Bribed(stage.witness_signer(2), stage.clock)

    def only_for_branch_b(url: str, body: bytes) -> WitnessAnswer:
        if url.startswith(first):
            return ignored(url, body)
        return bribed.send(url, body) if url.startswith(second) else stage.witnesses.send(url, body)

    other = stage.fork()
    other.obey(other.log.policy, only_for_branch_b)
    stage.witnesses.asleep = {third}
    stage.window()
    stage.witnesses.asleep = set()
    assert not other.publish().unwitnessed
    return other


def test_split_view_with_a_bribed_witness_phone(stage: Stage) -> None:
    """Not seen: each phone has a whole quorum. This is what a small quorum is worth."""
    carol = stage.phone("carol")
    other = split_with_bribe(stage)
    reports = [stage.bob.poll()]
    stage.show_phones(other.public_folder)
    reports.append(carol.poll())
    for report in reports:
        assert (report.is_proven, report.failures, report.warnings) == (True, (), ())
    here, there = (report.proof.head for report in reports if report.proof)
    assert here.size == there.size
    assert here.root != there.root


def test_split_view_with_a_bribed_witness_monitor(stage: Stage) -> None:
    """Seen by whoever reads all witnesses at their own addresses, on either branch, with both notes."""
    other = split_with_bribe(stage)
    for folder, elsewhere in ((None, "witness w3"), (other.public_folder, "witness w1")):
        stage.show_auditor(folder)
        seen = stage.auditor.follow()
        assert seen.code == 2
        assert "quorum" not in seen.kinds
        split_views = {fault["where"]: fault for fault in seen.faults if fault["kind"] == "split_view"}
        assert elsewhere in split_views
        first, second = (signed(stage, note.encode()) for note in split_views[elsewhere]["evidence"])
        assert first.size == second.size
        assert first.root != second.root


# ------------------------------------------------------------ one log, two sizes


def test_other_tree_size_phone(stage: Stage) -> None:
    """Not seen: the smaller tree was cosigned too. All that it does is to shift that phone in time."""
    carol = stage.phone("carol")
    before = stage.operator.public_copy(stage.folder / "an hour ago")
    stage.window()
    large = stage.bob.poll()
    stage.show_phones(before)
    small = carol.poll()
    assert (large.is_proven, small.is_proven) == (True, True)
    assert small.proof
    assert large.proof
    assert small.proof.head.size < large.proof.head.size
    assert warnings(small) == failures(small) == []
    # For two days at the utmost.
    stage.clock.advance(2 * DAY + 1)
    assert not carol.poll().good


def test_other_tree_size_monitor(stage: Stage) -> None:
    """One contains the other: no fault, and the proof of that is said."""
    stage.mirror(stage.operator.public_copy(stage.folder / "an hour ago"))
    stage.window()
    compared = stage.auditor.compare()
    assert (compared.code, compared.kinds) == (0, set())
    assert any("contain" in sentence for sentence in compared.proven)
