"""Old things are shown as new, new ones as old, or nothing at all."""

from dataclasses import replace
from pathlib import Path
from random import Random

from werkzeug.test import Client

from registry.client import Enrolment, Phone
from registry.client.failures import Frozen, Outdated, RolledBack, UnexpectedStatus, UnloggedFile
from registry.client.monitor.faults import FaultKind
from registry.client.monitor.visit import Demands, Looking, Visit, finish, visit_again
from registry.faces.public import create_public_app
from registry.protocol.index import index_path, index_proof_path
from registry.protocol.trust_note import fingerprint
from registry.storage.local import LocalStorage
from tests.attacks.operators import DAY, HOUR, REGION
from tests.attacks.readers import AppWithoutSdk, Seen, Wire, compact_of, failures, reads, warnings
from tests.attacks.stage import Stage
from tests.clock import FakeClock
from tests.public_tree import PublicTree, TreeSource

PROOF = index_proof_path(REGION)


# ------------------------------------------------------------ rollback


def test_rollback_phone(stage: Stage) -> None:
    before = stage.operator.public_copy(stage.folder / "before")
    stage.window()
    assert stage.bob.poll().is_proven
    stage.show_phones(before)
    assert failures(stage.bob.poll()) == [(PROOF, RolledBack)]
    assert [evidence.kind for evidence in stage.bob.evidence()] == ["RolledBack"]
    # A phone that saw nothing newer is shifted in time, and for no longer than two days.
    carol = stage.phone("carol")
    assert carol.poll().is_proven
    stage.clock.advance(2 * DAY + 1)
    assert failures(carol.poll()) == [(PROOF, Frozen)]


def test_rollback_monitor(stage: Stage) -> None:
    before = stage.operator.public_copy(stage.folder / "before")
    stage.window()
    assert stage.auditor.follow().code == 0
    stage.show_auditor(before)
    seen = stage.auditor.follow()
    assert seen.code == 4
    assert len(seen.fault("rolled_back")["evidence"]) == 2
    # Also without a memory: the witnesses say how far the log had come.
    stage.auditor.folder = stage.folder / "new auditor"
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (18, {"frozen"})


def test_rollback_old_app(stage: Stage) -> None:
    """Reads nothing new, and has no means to know that there is more."""
    app = AppWithoutSdk(stage.operator.public_folder)
    app.poll(reads(stage.operator.public_folder))
    before = stage.operator.public_copy(stage.folder / "before")
    missed = stage.window()
    assert app.poll(reads(before)) == 0
    assert not set(missed) & set(app.keys)


# ------------------------------------------------------------ freeze


def test_freeze_phone(stage: Stage) -> None:
    """Warned of after six hours, refused after a day by the index's end and after two by the witnesses'."""
    frozen = stage.operator.public_copy(stage.folder / "frozen")
    cosigned_at = stage.clock()
    stage.window()
    stage.show_phones(frozen)
    stage.clock.now = cosigned_at + 6 * HOUR
    report = stage.bob.poll()
    assert (report.is_proven, report.warnings) == (True, ())
    stage.clock.advance(1)
    report = stage.bob.poll()
    assert (report.good, warnings(report)) == (True, [(PROOF, Frozen)])
    stage.clock.now = cosigned_at + DAY
    assert failures(stage.bob.poll()) == [(index_path(REGION), Outdated)]
    stage.clock.now = cosigned_at + 2 * DAY + 1
    assert failures(stage.bob.poll()) == [(PROOF, Frozen)]
    stage.clock.now = cosigned_at + 4 * DAY
    assert not stage.bob.poll().good
    assert stage.bob.card().state == "stale"


def test_freeze_monitor(stage: Stage) -> None:
    """At once: the witnesses, asked at their own addresses, have cosigned more leaves than are shown."""
    frozen = stage.operator.public_copy(stage.folder / "frozen")
    stage.window()
    stage.show_auditor(frozen)
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (18, {"frozen"})
    assert {fault["where"] for fault in seen.faults} == {"witness w1", "witness w2", "witness w3"}
    # Where even they are kept from the auditor, by the index's end and by what they cosigned.
    for fetched in [place for place in stage.auditor.wire.places if place != stage.base_url]:
        stage.auditor.wire.places[fetched] = stage.operator.world.client
    stage.clock.advance(DAY - HOUR - 60)
    assert stage.auditor.follow().code == 0
    stage.clock.advance(60)
    assert places(stage.auditor.follow()) == {index_path(REGION)}
    stage.clock.advance(DAY + 1)
    assert places(stage.auditor.follow()) == {index_path(REGION), "log/checkpoint"}


def places(seen: Seen) -> set[str]:
    """Where something was found to be frozen."""
    return {fault["where"] for fault in seen.faults if fault["kind"] == "frozen"}


def test_freeze_old_app(stage: Stage) -> None:
    """The OS has no clock for files: nothing new is no news."""
    app = AppWithoutSdk(stage.operator.public_folder)
    app.poll(reads(stage.operator.public_folder))
    frozen = stage.operator.public_copy(stage.folder / "frozen")
    stage.window()
    stage.clock.advance(10 * DAY)
    assert app.poll(reads(frozen)) == 0


# ------------------------------------------------------------ replay


def replay(stage: Stage) -> tuple[str, bytes]:
    """(path of the newest file, an old file that is shown there)."""
    old = stage.operator.read(stage.operator.newest_file())
    stage.window()
    return stage.operator.newest_file(), old


def test_replay_phone(stage: Stage) -> None:
    old_compact = stage.operator.read(compact_of(stage.operator.newest_file()))
    path, old = replay(stage)
    stage.wire.shown.update({path: old, compact_of(path): old_compact})
    report = stage.bob.poll()
    assert failures(report) == [(path, UnloggedFile)]
    assert warnings(report) == [(compact_of(path), UnloggedFile)]
    assert (report.is_proven, report.files_read) == (True, 0)
    assert [evidence.kind for evidence in stage.bob.evidence()] == ["UnloggedFile"]
    stage.wire.shown.clear()
    assert stage.bob.poll().files_read == 1


def test_replay_monitor(stage: Stage) -> None:
    path, old = replay(stage)
    stage.auditor.wire.shown[path] = old
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (13, {"file"})
    assert seen.fault("file")["where"] == path


def test_replay_old_app(stage: Stage) -> None:
    """The OS finds the signature good: it takes the old file for the new one, and the new one is not read."""
    app = AppWithoutSdk(stage.operator.public_folder)
    app.poll(reads(stage.operator.public_folder))
    path, old = replay(stage)
    shown = reads(stage.operator.public_folder)
    assert app.poll(lambda asked: old if asked == path else shown(asked)) == 1
    assert len(app.keys) > len(set(app.keys)), "keys that it knew"


# ------------------------------------------------------------ back-dating


ADDRESS = "https://registry.example"


def claim(tree: PublicTree, issued_at: float) -> None:
    """Whatever is due goes out now, and says that it went out at `issued_at`."""
    time = int(issued_at)
    tree.bend["index_leaf"] = lambda leaf: replace(leaf, issued_at=time)
    tree.bend["index"] = lambda index: replace(index, issued_at=time, expires_at=time + DAY)
    tree.publish({REGION: tree.keys(2)})


def test_back_dating_phone(clock: FakeClock, tmp_path: Path) -> None:
    """Not seen as a lie; but the leaf lies between two times that witnesses gave, whatever it says itself."""
    tree = PublicTree(clock, regions=[REGION])
    tree.next_window({REGION: tree.keys(2)})
    place = tmp_path / "public"
    wire = Wire({ADDRESS: Client(create_public_app(LocalStorage(tree.write(place))))})
    with Phone.open(tmp_path / "bob.db", wire, clock=clock, random_bytes=Random(1).randbytes) as bob:
        bob.set_up(Enrolment(ADDRESS, region=REGION, fingerprint=fingerprint(tree.root.key.vkey)))
        before = bob.poll()
        clock.advance(2 * HOUR - 60)
        claim(tree, clock() - (HOUR - 60))
        tree.write(place)
        after = bob.poll()
        assert (before.is_proven, after.is_proven, after.failures) == (True, True, ())
        assert before.proof
        assert after.proof
        assert after.proof.leaf.issued_at == clock() - (HOUR - 60)
        assert after.proof.head.cosigned_at == clock()
        # Back before what this phone has seen: refused, for then an older index could follow a newer one.
        clock.advance(HOUR)
        claim(tree, clock() - 4 * HOUR)
        tree.write(place)
        assert failures(bob.poll()) == [(index_path(REGION), RolledBack)]


def test_back_dating_monitor(clock: FakeClock, tmp_path: Path) -> None:
    """A tree without the leaf was cosigned after the time at which the leaf claims to have been issued."""
    tree = PublicTree(clock, regions=[REGION])
    tree.next_window({REGION: tree.keys(2)})
    clock.advance(1.5 * HOUR)
    tree.heartbeat()
    assert visit(tree, tmp_path).faults == []
    clock.advance(HOUR / 4)
    claim(tree, clock() - 0.75 * HOUR)
    (fault,) = visit(tree, tmp_path).faults
    assert fault.kind is FaultKind.TIMES
    assert "a tree without it was cosigned" in fault.what
    assert len(fault.evidence) == 2


def test_back_dating_old_app(clock: FakeClock, tmp_path: Path) -> None:
    """Has no time but those that the file's signer claims."""
    tree = PublicTree(clock, regions=[REGION])
    app = AppWithoutSdk(tree.write(tmp_path))
    clock.advance(1.75 * HOUR)
    claim(tree, clock() - 0.75 * HOUR)
    tree.write(tmp_path)
    assert app.poll(tree.read) == 1


def visit(tree: PublicTree, folder: Path) -> Visit:
    """A look with a memory."""
    seen, memory = visit_again(TreeSource(tree), folder, Demands(), tree.clock(), Looking())
    finish(folder, memory, seen)
    return seen


# ------------------------------------------------------------ no proof


def test_withheld_proof_phone(stage: Stage) -> None:
    """Borne with for two days, with a warning and a mark on what is read; then nothing new is believed."""
    stage.wire.shown[PROOF] = None
    stage.window()
    report = stage.bob.poll()
    assert (report.good, report.is_proven, report.files_read) == (True, False, 1)
    assert warnings(report) == [(PROOF, UnexpectedStatus)]
    stage.clock.advance(2 * DAY)
    stage.window()
    report = stage.bob.poll()
    assert failures(report) == [(PROOF, UnexpectedStatus)]
    assert report.files_read == 0
    stage.wire.shown.clear()
    report = stage.bob.poll()
    assert (report.is_proven, report.files_read) == (True, 1)


def test_withheld_proof_monitor(stage: Stage) -> None:
    stage.auditor.wire.shown[PROOF] = None
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (8, {"unlogged"})
    assert seen.fault("unlogged")["where"] == PROOF


def test_withheld_proof_old_app(stage: Stage) -> None:
    """Never asks for one."""
    app = AppWithoutSdk(stage.operator.public_folder)
    (stage.operator.public_folder / PROOF).unlink()
    assert app.poll(reads(stage.operator.public_folder)) == 2
