"""An older backup comes back: of the database alone, or of everything. I6: refuse to sign, say why."""

import shutil
from collections import Counter
from collections.abc import Callable

import pytest

from registry.client.failures import QuorumMissing, RolledBack
from registry.errors import LogSetBack
from registry.protocol.checkpoint import decode_checkpoint
from registry.protocol.index import index_proof_path
from registry.protocol.note import decode_note
from tests.attacks.operators import HOUR, REGION
from tests.attacks.readers import AppWithoutSdk, failures, reads, warnings
from tests.attacks.stage import Stage

PROOF = index_proof_path(REGION)


def nobody() -> None:
    """Nobody looked at what was lost."""


def lose_two_windows(
    stage: Stage, *, files_too: bool = False, seen_by: Callable[[], object] = nobody
) -> list[bytes]:
    """Two windows go out, one with keys that the backup knows as waiting. Then the backup is the database.

    Returns the keys; `seen_by` looks before they are lost, `files_too` puts the public files back as well.
    """
    waiting = stage.operator.upload()
    backup, files = stage.folder / "backup.sqlite", stage.folder / "files"
    stage.operator.save("collecting", backup)
    stage.operator.public_copy(files)
    lost = [*stage.window(), *stage.window()]
    assert set(waiting) | set(lost) <= set(stage.operator.world.published_keys())
    seen_by()
    stage.operator.restore("collecting", backup)
    if files_too:
        shutil.rmtree(stage.operator.public_folder)
        shutil.copytree(files, stage.operator.public_folder)
    return waiting + lost


def size(stage: Stage) -> int:
    """Leaves under the public checkpoint."""
    return decode_checkpoint(decode_note(stage.operator.read("log/checkpoint")).text).size


# ------------------------------------------------------------ the database alone


def test_restored_backup_publisher(stage: Stage) -> None:
    """It refuses, says why, takes what is missing back from its own tiles, and goes on in the next run."""
    lost = lose_two_windows(stage)
    before = stage.operator.read("log/checkpoint")
    with pytest.raises(LogSetBack, match="an older backup was restored"):
        stage.operator.publish()
    assert stage.operator.read("log/checkpoint") == before, "nothing was signed"
    new = stage.window()
    published = Counter(stage.operator.world.published_keys())
    assert set(published.values()) == {1}, "no key twice"
    assert set(lost) | set(new) <= set(published)


def test_restored_backup_phone(stage: Stage) -> None:
    """Nothing of it."""
    lose_two_windows(stage)
    assert stage.bob.poll().is_proven
    with pytest.raises(LogSetBack):
        stage.operator.publish()
    assert stage.bob.poll().is_proven
    stage.window()
    report = stage.bob.poll()
    assert (report.is_proven, report.failures, report.warnings) == (True, (), ())
    assert report.files_read == 1
    assert stage.bob.evidence() == []


def test_restored_backup_monitor(stage: Stage) -> None:
    """Nothing of it: one history, and every rule holds."""
    lose_two_windows(stage)
    assert stage.auditor.follow().code == 0
    with pytest.raises(LogSetBack):
        stage.operator.publish()
    assert stage.auditor.follow().code == 0
    stage.window()
    assert stage.auditor.follow().code == 0
    assert stage.auditor.run("recheck", stage.base_url).code == 0


def test_restored_backup_old_app(stage: Stage) -> None:
    """Nothing of it."""
    app = AppWithoutSdk(stage.operator.public_folder)
    lose_two_windows(stage)
    app.poll(reads(stage.operator.public_folder))
    with pytest.raises(LogSetBack):
        stage.operator.publish()
    assert app.poll(reads(stage.operator.public_folder)) == 0
    stage.window()
    assert app.poll(reads(stage.operator.public_folder)) == 1
    assert max(Counter(app.keys).values()) == 1


# ------------------------------------------------------------ the public files too


def test_restored_backup_of_all_publisher(stage: Stage) -> None:
    """The witnesses remember what the registry has forgotten: refused until newer files are back."""
    lose_two_windows(stage, files_too=True)
    before = size(stage)
    for _ in range(3):
        with pytest.raises(LogSetBack, match=r"witness w1 has cosigned \d+ leaves"):
            stage.operator.publish()
        stage.operator.upload()
        stage.clock.advance(HOUR)
    assert size(stage) == before


def test_restored_backup_of_all_phone(stage: Stage) -> None:
    """What it saw was larger. If the operator signs on from the backup, no witness does."""
    lose_two_windows(stage, files_too=True, seen_by=stage.bob.poll)
    assert failures(stage.bob.poll()) == [(PROOF, RolledBack)]
    assert [evidence.kind for evidence in stage.bob.evidence()] == ["RolledBack"]
    carol = stage.phone("carol")
    assert carol.poll().is_proven, "what the backup holds was cosigned, and is not too old yet"
    stage.operator.disobey()
    for _ in range(3):
        stage.window()
    assert warnings(stage.bob.poll()) == warnings(carol.poll()) == [(PROOF, QuorumMissing)]


def test_restored_backup_of_all_monitor(stage: Stage) -> None:
    lose_two_windows(stage, files_too=True, seen_by=stage.auditor.follow)
    seen = stage.auditor.follow()
    assert seen.code == 4
    assert len(seen.fault("rolled_back")["evidence"]) == 2
    stage.operator.disobey()
    for _ in range(3):
        stage.window()
    seen = stage.auditor.follow()
    assert (seen.code, "quorum" in seen.kinds) == (3, True)


def test_restored_backup_of_all_old_app(stage: Stage) -> None:
    """Keeps what it has; what is published from now on is nothing, and it does not know why."""
    app = AppWithoutSdk(stage.operator.public_folder)
    lose_two_windows(stage, files_too=True, seen_by=lambda: app.poll(reads(stage.operator.public_folder)))
    with pytest.raises(LogSetBack):
        stage.operator.publish()
    assert app.poll(reads(stage.operator.public_folder)) == 0
