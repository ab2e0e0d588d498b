"""A log that goes on in order, and contents that do not: left out, taken away, put together, never put in."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from registry.client import Phone
from registry.client.failures import QuorumMissing, Unlogged, UnloggedFile
from registry.client.receipts import receipt_members
from registry.errors import LogForked
from registry.protocol.index import (
    EXPOSURES,
    GAEN_ZIP,
    decode_index,
    encode_index,
    encode_legacy_index,
    index_digest_path,
    index_path,
    index_proof_path,
    legacy_index_path,
)
from tests.attacks.operators import DAY, HOUR, REGION, Operator
from tests.attacks.readers import AppWithoutSdk, compact_of, failures, reads, warnings
from tests.attacks.stage import Stage

PROOF = index_proof_path(REGION)
INDEX = index_path(REGION)
LIST = legacy_index_path(REGION)


# ------------------------------------------------------------ a batch in the middle


def without_middle_batch(stage: Stage) -> dict[str, bytes | None]:
    """What some are shown: indexes in which the second of three files is not listed."""
    stage.window()
    whole = stage.operator.read(INDEX)
    index = decode_index(whole)
    middle = [window for window in index.windows if window.files][1]
    windows = tuple(replace(one, files=()) if one is middle else one for one in index.windows)
    shortened = encode_index(replace(index, windows=windows))
    names = sorted(file.path for window in windows for file in window.files if file.format == GAEN_ZIP)
    return {
        INDEX: shortened,
        index_digest_path(REGION, sha256(whole).hexdigest()): shortened,
        LIST: encode_legacy_index(names),
    }


def test_withheld_middle_batch_phone(stage: Stage) -> None:
    """The proof names one index by its digest, the same for all; another one is not it."""
    carol = stage.phone("carol")
    stage.wire.shown.update(without_middle_batch(stage))
    report = carol.poll()
    assert failures(report) == [(INDEX, Unlogged)]
    assert report.files_read == 0
    assert [evidence.kind for evidence in carol.evidence()] == ["Unlogged"]
    stage.wire.shown.clear()
    assert carol.poll().files_read == 3


def test_withheld_middle_batch_monitor(stage: Stage) -> None:
    stage.auditor.wire.shown.update(without_middle_batch(stage))
    seen = stage.auditor.follow()
    assert seen.code == 8
    assert {fault["where"] for fault in seen.faults if fault["kind"] == "unlogged"} >= {PROOF}


def test_withheld_middle_batch_old_app(stage: Stage) -> None:
    """index.txt is not signed: who is not told of a file does not miss it."""
    app = AppWithoutSdk(stage.operator.public_folder)
    shown, honest = without_middle_batch(stage), reads(stage.operator.public_folder)
    assert app.poll(lambda path: shown.get(path) or honest(path)) == 2


# ------------------------------------------------------------ left out for everybody


def leave_out_for_all(stage: Stage) -> None:
    """The operator's own database says that a live batch is withdrawn, and the log is not told."""
    live = stage.operator.index().windows[-1].sequence
    assert stage.operator.tamper("UPDATE batch SET is_withdrawn = 1 WHERE sequence = ?", live) == 1
    stage.window()


def test_batch_left_out_for_all_phone(stage: Stage) -> None:
    """Not seen: a window without files may be one whose files have expired. All phones are told the same."""
    carol = stage.phone("carol")
    leave_out_for_all(stage)
    for phone in (stage.bob, carol):
        report = phone.poll()
        assert (report.is_proven, report.failures, report.warnings) == (True, (), ())
    windows = [window for window in stage.operator.index().windows if window.files]
    assert len(windows) == report.files_read == 2
    assert carol.store.read_files() == {file.sha256 for window in windows for file in window.files}


def test_batch_left_out_for_all_monitor(stage: Stage) -> None:
    """The index that lacks it stands in the log for ever, and no leaf says why."""
    leave_out_for_all(stage)
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (12, {"index", "manifest"})
    assert "was not withdrawn" in seen.fault("index")["what"]
    # Somebody who comes for the first time misses the manifest that its leaf names.
    stage.auditor.folder = stage.folder / "new auditor"
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (14, {"manifest"})


def test_batch_left_out_for_all_old_app(stage: Stage) -> None:
    """As with the SDK: what is listed is read."""
    app = AppWithoutSdk(stage.operator.public_folder)
    leave_out_for_all(stage)
    assert app.poll(reads(stage.operator.public_folder)) == 2


# ------------------------------------------------------------ history is rewritten


def rewrite(stage: Stage) -> Operator:
    """A batch that was published is no more: the operator goes on from the leaf before it, and beyond."""
    other = stage.fork()
    stage.window()
    assert stage.bob.poll().is_proven
    assert stage.auditor.follow().code == 0
    for _ in range(2):
        stage.clock.advance(HOUR)
        other.publish()
    return other


def test_deletion_phone(stage: Stage) -> None:
    """It cannot know what became of the leaves in between; that no witness cosigns the rest, it does."""
    other = rewrite(stage)
    rewritten_at = stage.clock()
    stage.show_phones(other.public_folder)
    report = stage.bob.poll()
    assert (report.good, report.is_proven, warnings(report)) == (True, False, [(PROOF, QuorumMissing)])
    stage.clock.now = rewritten_at + 2 * DAY
    other.publish()
    assert failures(stage.bob.poll()) == [(PROOF, QuorumMissing)]


def test_deletion_monitor(stage: Stage) -> None:
    other = rewrite(stage)
    stage.show_auditor(other.public_folder)
    seen = stage.auditor.follow()
    assert seen.code == 3
    where = {fault["where"]: fault for fault in seen.faults if fault["kind"] == "inconsistent"}
    assert {"log/2026/checkpoint", "witness w1", "witness w2", "witness w3"} <= set(where)
    assert len(where["log/2026/checkpoint"]["evidence"]) == 2
    # Cruder: what the log holds is taken off the disk.
    bundles = (stage.operator.public_folder / "log/2026/tile/entries/000.p").iterdir()
    bundle = max(bundles, key=lambda path: int(path.name))
    content = bundle.read_bytes()
    stage.show_auditor(None)
    bundle.write_bytes(content[:-1])
    assert stage.auditor.run("recheck", stage.base_url).code == 6
    bundle.unlink()
    assert stage.auditor.run("recheck", stage.base_url).code == 6


def test_deletion_publisher(stage: Stage) -> None:
    """An operator whose publisher is ours cannot even try: the witnesses refuse, and it halts."""
    other = rewrite(stage)
    other.obey(other.log.policy, stage.witnesses.send)
    before = other.read("log/checkpoint")
    for _ in range(2):
        stage.clock.advance(60)  # who did not answer is left alone for a while
        with pytest.raises(LogForked, match="refuses the checkpoint"):
            other.publish()
    assert other.read("log/checkpoint") == before


def test_deletion_old_app(stage: Stage) -> None:
    """Keeps what it has read, and does not ask for what is gone."""
    app = AppWithoutSdk(stage.operator.public_folder)
    other = rewrite(stage)
    assert app.poll(reads(stage.operator.public_folder)) == len(stage.operator.world.file_names()) > 1
    assert app.poll(reads(other.public_folder)) == 0


# ------------------------------------------------------------ mix and match


def mixed(stage: Stage) -> dict[str, bytes | None]:
    """Today's proof with the index of an hour ago, under every name that an index has."""
    older = stage.operator.read(INDEX)
    stage.window()
    newest = sha256(stage.operator.read(INDEX)).hexdigest()
    return {INDEX: older, index_digest_path(REGION, newest): older}


def test_mix_and_match_phone(stage: Stage) -> None:
    stage.wire.shown.update(mixed(stage))
    assert failures(stage.bob.poll()) == [(INDEX, Unlogged)]
    stage.wire.shown.clear()
    # Files of two moments, each rightly signed.
    first, second = (f"{EXPOSURES}/{name}" for name in sorted(stage.operator.world.file_names())[-2:])
    stage.wire.shown[second] = stage.operator.read(first)
    stage.wire.shown[compact_of(second)] = stage.operator.read(compact_of(first))
    report = stage.bob.poll()
    assert failures(report) == [(second, UnloggedFile)]
    assert warnings(report) == [(compact_of(second), UnloggedFile)]
    kinds = [evidence.kind for evidence in stage.bob.evidence()]
    assert kinds == ["Unlogged", "UnloggedFile"]


def test_mix_and_match_monitor(stage: Stage) -> None:
    stage.auditor.wire.shown.update(mixed(stage))
    seen = stage.auditor.follow()
    assert seen.code == 4
    assert "newer ones are in the log and are not shown" in seen.fault("rolled_back")["what"]
    stage.auditor.wire.shown.clear()
    first, second = (f"{EXPOSURES}/{name}" for name in sorted(stage.operator.world.file_names())[-2:])
    stage.auditor.wire.shown[second] = stage.operator.read(first)
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (13, {"file"})


def test_mix_and_match_old_app(stage: Stage) -> None:
    """A file of another moment is read as it is: its own header is all that tells."""
    app = AppWithoutSdk(stage.operator.public_folder)
    app.poll(reads(stage.operator.public_folder))
    stage.window()
    first, second = (f"{EXPOSURES}/{name}" for name in sorted(stage.operator.world.file_names())[-2:])
    honest = reads(stage.operator.public_folder)
    assert app.poll(lambda path: honest(first if path == second else path)) == 1


# ------------------------------------------------------------ never published


def alice_uploads(stage: Stage) -> tuple[Phone, Path]:
    """A phone that has shared its keys of past days, and the file in which it keeps the receipt."""
    alice = stage.phone("alice", staged=True)
    alice.agree(stage.operator.world.issue()["code"])
    alice.upload()
    kept = stage.folder / "receipt.json"
    kept.write_text(json.dumps({"receipts": [receipt_members(one) for one in alice.receipts()]}))
    return alice, kept


def hold_back(stage: Stage) -> None:
    """All that waits to be published is taken out of the database."""
    assert stage.operator.tamper("DELETE FROM receipt WHERE batch_id IS NULL") == 1
    assert stage.operator.tamper("UPDATE diagnosis_key SET shelf_id = NULL") > 0


def next_window(stage: Stage) -> None:
    """An hour goes by, and nobody uploads."""
    stage.clock.advance(HOUR - stage.clock() % HOUR)
    stage.operator.publish()


def test_unpublished_keys_phone(stage: Stage) -> None:
    """No log tells. Only the app that uploaded can: it knows its keys, and all files are there to be read."""
    alice, _ = alice_uploads(stage)
    own = {key.key_data for key in alice.own_keys()}
    hold_back(stage)
    next_window(stage)
    for phone in (alice, stage.bob):
        report = phone.poll()
        assert (report.is_proven, report.failures, report.warnings) == (True, (), ())
    assert not own & set(stage.operator.world.published_keys())


def test_unpublished_keys_monitor(stage: Stage) -> None:
    """Every rule holds. But the receipt that the phone kept is in no manifest, and the tool says so."""
    _, kept = alice_uploads(stage)
    hold_back(stage)
    next_window(stage)
    assert stage.auditor.follow().code == 0
    searched = stage.auditor.run("receipt", str(kept), stage.base_url)
    assert (searched.code, searched.kinds) == (1, set())
    assert "No manifest that is served now holds this receipt" in " ".join(searched.unproven)


def test_unpublished_keys_old_app(stage: Stage) -> None:
    """As with the SDK. The window has a file all the same, of decoys."""
    app = AppWithoutSdk(stage.operator.public_folder)
    alice, _ = alice_uploads(stage)
    hold_back(stage)
    next_window(stage)
    assert app.poll(reads(stage.operator.public_folder)) == len(stage.operator.world.file_names()) > 1
    assert not {key.key_data for key in alice.own_keys()} & set(app.keys)
