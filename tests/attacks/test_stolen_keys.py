"""Keys in other hands: the export key, the log's key, and the root key in the hands that should have it."""

from dataclasses import replace
from hashlib import sha256

import pytest
from sqlalchemy.orm import Session

from registry.cli.rotation import carry_out, plan_rotation, registered_keys
from registry.client.failures import QuorumMissing, SplitView, TrustRefused, UnexpectedStatus, UnloggedFile
from registry.errors import LogForked
from registry.lifecycle.activity import record_operators_act
from registry.models import transaction
from registry.protocol.activity import ActKind
from registry.protocol.export_file import (
    SignatureInfo,
    encode_export,
    encode_signatures,
    pack,
    read_zip,
)
from registry.protocol.index import (
    GAEN_ZIP,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    encode_index,
    index_path,
    index_proof_path,
)
from registry.protocol.intervals import day_start, interval_at
from registry.protocol.trust import decode_trust, encode_trust
from registry.protocol.trust_note import TrustNote, encode_trust_note, trust_digest
from registry.protocol.witness_policy import encode_policy
from tests.attacks.operators import DAY, HOUR, REGION, Operator
from tests.attacks.readers import AppWithoutSdk, compact_of, failures, reads, warnings
from tests.attacks.stage import Stage

PROOF = index_proof_path(REGION)
INDEX = index_path(REGION)
FORGED = sha256(b"a key that nobody uploaded").digest()[:16]


# ------------------------------------------------------------ the export key


def forge(stage: Stage, key: bytes = FORGED) -> tuple[str, bytes]:
    """(path of the newest file, a file for that place with a key that nobody uploaded), rightly signed."""
    stage.window()
    path = stage.operator.newest_file()
    honest = read_zip(stage.operator.read(path))[0]
    (signer,) = stage.operator.publisher.key_ring.export_signers()
    yesterday = day_start(interval_at(stage.clock() - DAY))
    like = replace(honest.keys[-1], rolling_start_interval_number=yesterday, rolling_period=144)
    forged = encode_export(replace(honest, keys=(replace(like, key_data=key),)))
    info = SignatureInfo(signer.key_id, signer.key_version)
    return path, pack(forged, encode_signatures([(info, signer.sign(forged))]))


def test_stolen_batch_key_phone(stage: Stage) -> None:
    path, forged = forge(stage)
    # The compact file that phones prefer is held back, or they would not ask for this one.
    stage.wire.shown.update({path: forged, compact_of(path): None})
    report = stage.bob.poll()
    assert failures(report) == [(path, UnloggedFile)]
    assert warnings(report) == [(compact_of(path), UnexpectedStatus)]
    assert report.keys_read == 0
    assert [evidence.kind for evidence in stage.bob.evidence()] == ["UnloggedFile"]


def test_stolen_batch_key_monitor(stage: Stage) -> None:
    path, forged = forge(stage)
    stage.auditor.wire.shown[path] = forged
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (13, {"file"})
    # Whoever got it elsewhere has it checked against the log.
    kept = stage.folder / "forged.zip"
    kept.write_bytes(forged)
    seen = stage.auditor.run("verify", str(kept), "--registry", stage.base_url)
    assert (seen.code, seen.kinds) == (8, {"unlogged"})
    assert "names other files" in seen.fault("unlogged")["what"]


def test_stolen_batch_key_old_app(stage: Stage) -> None:
    """Silent and total, until Apple and Google are given another key."""
    app = AppWithoutSdk(stage.operator.public_folder)
    path, forged = forge(stage)
    honest = reads(stage.operator.public_folder)
    assert app.poll(lambda asked: forged if asked == path else honest(asked)) == 3
    assert FORGED in app.keys


# ------------------------------------------------------------ the export key, and proofs held back


def meet(stage: Stage) -> bytes:
    """Yesterday Bob was near somebody who has uploaded nothing; that phone's key of the day."""
    alice = stage.phone("alice", staged=True)
    at = stage.clock() - DAY
    stage.bob.observe(alice.advertise(at=at, minutes=15))
    day = day_start(interval_at(at))
    return next(one.key_data for one in alice.own_keys() if one.rolling_start_interval_number == day)


def forge_list(stage: Stage, key: bytes = FORGED) -> dict[str, bytes | None]:
    """The forged file with a list that names it, and no proof that could say otherwise."""
    path, forged = forge(stage, key)
    index = stage.operator.index()
    *earlier, newest = index.windows
    zipped = next(file for file in newest.files if file.format == GAEN_ZIP)
    file = replace(zipped, sha256=sha256(forged).hexdigest(), size=len(forged))
    listed = replace(index, windows=(*earlier, replace(newest, files=(file,))))
    return {path: forged, INDEX: encode_index(listed), PROOF: None}


def test_stolen_batch_key_and_withheld_proof_phone(stage: Stage) -> None:
    """For two days it goes on with what the key signed, and marks it; the next proof undoes all of it."""
    stage.wire.shown.update(forge_list(stage, meet(stage)))
    report = stage.bob.poll()
    assert (report.good, report.is_proven, len(report.exposures)) == (True, False, 1)
    assert warnings(report) == [(PROOF, UnexpectedStatus)]
    assert stage.bob.card().state == "orange"
    stage.wire.shown.clear()
    report = stage.bob.poll()
    assert warnings(report) == [(PROOF, UnloggedFile)]
    assert (report.is_proven, report.files_read) == (True, 3), "all is read again, and the forged file is not"
    assert stage.bob.card().state == "green"
    assert [evidence.kind for evidence in stage.bob.evidence()] == ["UnloggedFile"]


def test_stolen_batch_key_and_withheld_proof_monitor(stage: Stage) -> None:
    stage.auditor.wire.shown.update(forge_list(stage))
    seen = stage.auditor.follow()
    assert seen.code == 8
    assert "no index leaf commits to the indexes as they are served" in seen.fault("unlogged")["what"]


# ------------------------------------------------------------ the log's key


def fork_by_thief(stage: Stage) -> Operator:
    """A thief with a copy of everything goes on from it, one leaf more than the registry has."""
    thief = stage.fork("thief")
    stage.window(stage.operator, thief)
    stage.clock.advance(HOUR)
    thief.publish()
    return thief


def test_stolen_log_key_phone(stage: Stage) -> None:
    """The thief's branch is signed, larger, cosigned by nobody: borne with for two days, never proven."""
    thief = fork_by_thief(stage)
    assert stage.bob.poll().is_proven
    stage.show_phones(thief.public_folder)
    report = stage.bob.poll()
    assert (report.is_proven, warnings(report)) == (False, [(PROOF, QuorumMissing)])
    assert failures(stage.phone("carol").poll()) == [(PROOF, QuorumMissing)]
    stage.show_phones(None)
    stage.operator.publish()
    assert stage.bob.poll().is_proven


def test_stolen_log_key_monitor(stage: Stage) -> None:
    thief = fork_by_thief(stage)
    assert stage.auditor.follow().code == 0
    stage.mirror(thief.public_folder)
    compared = stage.auditor.compare()
    assert (compared.code, compared.kinds) == (3, {"inconsistent"})
    assert len(compared.fault("inconsistent")["evidence"]) == 2
    stage.show_auditor(thief.public_folder)
    seen = stage.auditor.follow()
    assert seen.code == 3
    assert {"inconsistent", "quorum"} <= seen.kinds


def test_stolen_log_key_publisher(stage: Stage) -> None:
    """Whoever is second is refused by the witnesses. If that is the registry, it halts: that is the alarm."""
    late = stage.fork("late thief")
    stage.window(stage.operator, late)
    late.obey(late.log.policy, stage.witnesses.send)
    stage.clock.advance(60)  # who did not answer is left alone for a while
    with pytest.raises(LogForked, match="witness w1 refuses the checkpoint"):
        late.publish()

    # The thief comes first, by as many leaves as the registry, whose witnesses cannot be reached meanwhile.
    early = stage.fork("early thief")
    early.obey(early.log.policy, stage.witnesses.send)
    stage.witnesses.asleep = set(stage.witnesses.clients)
    stage.window()
    stage.witnesses.asleep = set()
    assert not early.publish().unwitnessed
    published = stage.operator.read("log/checkpoint")
    for _ in range(2):
        stage.clock.advance(60)
        with pytest.raises(LogForked, match="witness w1 refuses the checkpoint"):
            stage.operator.publish()
    # And by more of them: it stays refused, whatever else the witness says later.
    stage.clock.advance(HOUR)
    early.publish()
    with pytest.raises(LogForked, match=r"witness w1 refuses the checkpoint .* it has cosigned size \d+"):
        stage.operator.publish()
    assert stage.operator.read("log/checkpoint") == published


def test_stolen_log_key_old_app(stage: Stage) -> None:
    """Has never heard of a log: what the thief lists is read, if the thief can sign files too."""
    app = AppWithoutSdk(stage.operator.public_folder)
    thief = fork_by_thief(stage)
    assert app.poll(reads(thief.public_folder)) == 2


# ------------------------------------------------------------ the root key, in secret


def trust_for_one(stage: Stage) -> dict[str, bytes | None]:
    """The next trust material, signed by the true root and in no log: it asks for no witness."""
    trust = decode_trust(stage.operator.read(TRUST_PATH))
    alone = encode_policy(replace(trust.policy(), witnesses=(), groups=(), quorum="none")).decode()
    now = int(stage.clock())
    content = encode_trust(replace(trust, sequence=trust.sequence + 1, issued_at=now, witness_policy=alone))
    note = TrustNote(
        trust.log_origin,
        trust.sequence + 1,
        trust_digest(content),
        now,
        now + 30 * 86_400,
        trust_digest(stage.operator.read(TRUST_PATH)),
    )
    return {
        TRUST_PATH: content,
        TRUST_NOTE_PATH: encode_trust_note(note, stage.operator.log.trust_signer),
    }


def rotate(stage: Stage) -> None:
    """The registry takes a new export key into use, by its own command."""
    made, now = stage.operator.publisher, int(stage.clock())
    plan = plan_rotation(registered_keys(made.collecting_engine), region=REGION, now=now, overlap_days=21)

    def record() -> None:
        with Session(made.issuing_engine) as session, transaction(session):
            record_operators_act(session, ActKind.KEY_ROTATED, {"key": plan.name}, now)

    carry_out(plan, made.key_ring, made.collecting_engine, record)
    stage.operator.publish()


def test_unlogged_trust_phone(stage: Stage) -> None:
    """Not seen by the phone that gets it, for phones read no policy leaves: it believes a branch of its own.

    Seen as soon as it is back among the others and renews what it has pinned.
    """
    stage.wire.shown.update(trust_for_one(stage))
    other = stage.fork()
    stage.window(stage.operator, other)
    stage.show_phones(other.public_folder)
    carol = stage.phone("carol")
    report = carol.poll()
    assert (report.is_proven, report.failures, report.warnings) == (True, (), ())
    secret = carol.store.registration().trust_note
    stage.wire.shown.clear()
    stage.show_phones(None)
    assert failures(carol.poll()) == [(PROOF, SplitView)]
    rotate(stage)
    stage.clock.advance(21 * DAY)
    stage.window()
    report = carol.poll()
    assert (TRUST_PATH, TrustRefused) in failures(report)
    (evidence,) = [one for one in carol.evidence() if one.kind == "TrustRefused"]
    assert evidence.believed == secret
    assert evidence.offered == stage.operator.read(TRUST_NOTE_PATH)
    assert stage.bob.poll().is_proven


def test_unlogged_trust_monitor(stage: Stage) -> None:
    shown = trust_for_one(stage)
    stage.auditor.wire.shown.update(shown)
    seen = stage.auditor.follow()
    assert (seen.code, seen.kinds) == (8, {"unlogged", "trust"})
    (note,) = next(fault["evidence"] for fault in seen.faults if fault["evidence"])
    assert note.encode() == shown[TRUST_NOTE_PATH]


def test_unlogged_trust_old_app(stage: Stage) -> None:
    """Untouched: its key came with the app."""
    app = AppWithoutSdk(stage.operator.public_folder)
    for path, content in trust_for_one(stage).items():
        assert content is not None
        (stage.operator.public_folder / path).write_bytes(content)
    assert app.poll(reads(stage.operator.public_folder)) == 2
