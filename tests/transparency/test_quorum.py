"""Witnesses in the publisher's runs: quorum, time that runs out, heartbeats, and what stops the log."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from registry.errors import LogForked, LogSetBack
from registry.models import WitnessState
from registry.protocol.checkpoint import cosignatures, open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, index_path, index_proof_path, legacy_index_path
from registry.protocol.note import KeyKind, decode_note, verifier_key
from registry.protocol.proof import decode_proof
from registry.transparency.witnessing import log_state
from tests.publishing import HOUR, NOON, REGION, NoteKey, Publishing, key_ending
from tests.transparency.backup import Backup
from tests.transparency.public_log import PublicLog
from tests.transparency.witness_of_tests import Witnesses

MINUTE = 60


@pytest.fixture
def witnesses(stage: Publishing) -> Witnesses:
    """Three, of which two must cosign."""
    found = Witnesses(stage.clock, "one", "two", "three", quorum=2)
    stage.log = replace(stage.log, **found.settings())
    return found


def pointers(stage: Publishing) -> dict[str, bytes | None]:
    paths = (LOG_CHECKPOINT_PATH, index_proof_path(REGION), index_path(REGION), legacy_index_path(REGION))
    return {path: stage.storage.read(path) for path in paths}


def log_size(stage: Publishing) -> int:
    with stage.new_session() as session:
        return log_state(session, stage.log.policy).size


def cosigners(stage: Publishing, witnesses: Witnesses) -> dict[str, int]:
    """By name, the time of each cosignature under the public checkpoint."""
    content = stage.fetch(LOG_CHECKPOINT_PATH)
    note, checkpoint = open_checkpoint(content, [verifier_key(stage.log.signers(2026)[0])])
    names = {verifier_key(one.key): name for name, one in witnesses.by_name.items()}
    return {names[found.key]: found.time for found in cosignatures(note, checkpoint, names)}


def test_every_checkpoint_that_phones_see_has_its_quorum(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    for number in range(3):
        stage.collect([key_ending(NOON - 144, number)])
        outcome = stage.publish()
        assert (outcome.unwitnessed, outcome.failed_open) == (False, False)
        assert cosigners(stage, witnesses) == dict.fromkeys(("one", "two", "three"), int(stage.clock()))
        stage.clock.advance(HOUR)
    public_log.check(REGION)
    proof = decode_proof(stage.fetch(index_proof_path(REGION)))
    assert len(decode_note(proof.checkpoint).signatures) == 4, "the log's Ed25519 and three witnesses"
    full = decode_note(stage.fetch(LOG_CHECKPOINT_PATH))
    assert len(full.signatures) == 5, "and here the log's ML-DSA too"


def test_without_its_quorum_no_pointer_moves_until_the_time_has_run_out(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    stage.publish()
    before = pointers(stage)
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    witnesses["one"].is_down = witnesses["two"].is_down = True
    outcome = stage.publish()
    assert (outcome.unwitnessed, outcome.failed_open) == (True, False)
    assert pointers(stage) == before
    stage.clock.advance(HOUR - 1)
    assert stage.publish().unwitnessed is True
    assert pointers(stage) == before
    size = log_size(stage)
    stage.clock.advance(1)
    outcome = stage.publish()
    assert log_size(stage) == size + 2, "one more was signed meanwhile, and starts no new wait"
    assert (outcome.unwitnessed, outcome.failed_open) == (False, True)
    assert len(stage.published()) == 1
    public_log.check(REGION)


def test_when_the_time_has_run_out_it_goes_out_and_is_flagged(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    stage.publish()
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.log = replace(stage.log, fail_open_seconds=20 * MINUTE)
    for one in witnesses.by_name.values():
        one.is_down = True
    assert stage.publish().unwitnessed is True
    assert stage.published() == {}
    stage.clock.advance(20 * MINUTE)
    outcome = stage.publish()
    assert (outcome.unwitnessed, outcome.failed_open) == (False, True)
    assert len(stage.published()) == 1
    public_log.check(REGION)
    assert cosigners(stage, witnesses) == {}
    for one in witnesses.by_name.values():
        one.is_down = False
    stage.clock.advance(4)  # they failed twice
    outcome = stage.publish()
    assert (outcome.unwitnessed, outcome.failed_open) == (False, False)
    assert len(cosigners(stage, witnesses)) == 3, "who lagged is given a proof from where it stood"


def test_a_witness_that_comes_back_lets_the_pointers_move_at_once(
    stage: Publishing, witnesses: Witnesses
) -> None:
    stage.publish()
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    witnesses["one"].is_down = witnesses["two"].is_down = True
    assert stage.publish().unwitnessed is True
    stage.clock.advance(2)
    witnesses["two"].is_down = False
    assert stage.publish().unwitnessed is False
    assert len(stage.published()) == 1
    assert set(cosigners(stage, witnesses)) == {"two", "three"}


def test_the_first_checkpoint_of_all_does_not_wait(stage: Publishing, witnesses: Witnesses) -> None:
    for one in witnesses.by_name.values():
        one.is_down = True
    outcome = stage.publish()
    assert (outcome.unwitnessed, outcome.failed_open) == (False, True)
    assert stage.index().sequence == 1
    stage.clock.advance(HOUR)
    assert stage.publish().unwitnessed is True


def test_while_idle_the_same_checkpoint_is_cosigned_anew_every_ten_minutes(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    stage.publish()
    size = public_log.checkpoint().size
    started = int(stage.clock())
    asked = witnesses["one"].asked
    for minute in range(1, 25):
        stage.clock.advance(MINUTE)
        stage.publish()
        assert cosigners(stage, witnesses)["one"] == started + minute // 10 * 10 * MINUTE
    assert witnesses["one"].asked == asked + 2
    assert public_log.checkpoint().size == size
    proof = decode_proof(stage.fetch(index_proof_path(REGION)))
    note, checkpoint = open_checkpoint(proof.checkpoint, [verifier_key(stage.log.signers(2026)[0])])
    times = cosignatures(note, checkpoint, [verifier_key(witnesses["two"].key)])
    assert times[0].time == started + 20 * MINUTE, "phones see the newest too"
    public_log.check(REGION)


def test_one_dead_witness_of_three_is_not_asked_again_and_again(
    stage: Publishing, witnesses: Witnesses
) -> None:
    stage.publish()
    witnesses["one"].is_down = True
    stage.clock.advance(HOUR)
    stage.publish()
    asked = witnesses["one"].asked
    for _ in range(9):
        stage.clock.advance(MINUTE)
        stage.publish()
    assert witnesses["one"].asked == asked
    with stage.new_session() as session:
        state = session.get_one(WitnessState, "one")
        assert state.error is not None
        lags = log_state(session, stage.log.policy).lags
    assert lags["one"] == 2
    assert lags["two"] == 0


def test_a_witness_that_is_ahead_of_database_and_files_stops_all_signing(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    """A whole machine was set back: its database and its files agree, and only a witness knows better."""
    stage.publish()
    backup, files = Backup(stage.engine), {name: stage.fetch(name) for name in stage.storage.names("")}
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.publish()
    newer = {name: stage.fetch(name) for name in stage.storage.names("")}
    for name in newer:
        stage.storage.delete(name)
    for name, content in files.items():
        stage.storage.put_new(name, content)
    backup.restore(stage.engine)
    stage.collect([key_ending(NOON - 144, 1)])
    for _ in range(2):
        with pytest.raises(LogSetBack, match=r"witness one has cosigned 11 leaves .* are at 9"):
            stage.publish()
        assert {name: stage.fetch(name) for name in stage.storage.names("")} == files
    assert len(stage.batches()) == 1, "no key was taken for a window that had been published"
    for name, content in newer.items():
        stage.storage.replace(name, content)
    with pytest.raises(LogSetBack, match="are back from our own tiles"):
        stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    public_log.check(REGION)
    assert stage.published() == {(key_ending(NOON, 1).key_data, False): 1}


def test_a_witness_that_holds_another_tree_stops_all_signing_until_it_is_explained(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    stage.publish()
    origin = public_log.checkpoint().origin
    held = witnesses["two"].held[origin]
    witnesses["two"].held[origin] = replace(held, root=bytes(32))
    stage.clock.advance(HOUR)
    before = pointers(stage)
    for _ in range(2):
        with pytest.raises(LogForked, match=r"witness two refuses the checkpoint of .* at size 9"):
            stage.publish()
    assert pointers(stage) == before
    with stage.new_session() as session:
        halted = session.scalars(select(WitnessState.name).where(WitnessState.halted)).all()
    assert halted == ["two"]
    # The operator finds that it is the witness that is wrong, and takes it out of the policy.
    del witnesses.by_name["two"]
    stage.log = replace(stage.log, **witnesses.settings())
    stage.publish()
    public_log.check(REGION)
    assert set(cosigners(stage, witnesses)) == {"one", "three"}


def set_back(stage: Publishing) -> dict[str, bytes]:
    """Publish, then set database and files back to before, as a machine's snapshot does. The newer files."""
    backup, files = Backup(stage.engine), {name: stage.fetch(name) for name in stage.storage.names("")}
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.publish()
    newer = {name: stage.fetch(name) for name in stage.storage.names("")}
    for name in newer:
        stage.storage.delete(name)
    for name, content in files.items():
        stage.storage.put_new(name, content)
    backup.restore(stage.engine)
    stage.collect([key_ending(NOON - 144, 1)])
    return newer


def test_a_witness_that_was_ahead_and_falls_silent_still_stops_all_signing(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    stage.publish()
    newer = set_back(stage)
    with pytest.raises(LogSetBack, match="witness one has cosigned 11 leaves"):
        stage.publish()
    files = {name: stage.fetch(name) for name in stage.storage.names("")}
    for one in witnesses.by_name.values():
        one.is_down = True
    for _ in range(3):
        stage.clock.advance(HOUR)
        with pytest.raises(LogSetBack, match=r"witness one has cosigned 11 .* no answer"):
            stage.publish()
        with pytest.raises(LogSetBack):
            stage.retire()
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == files
    assert (log_size(stage), len(stage.batches())) == (9, 1)
    for name, content in newer.items():
        stage.storage.replace(name, content)
    with pytest.raises(LogSetBack, match="are back from our own tiles"):
        stage.publish()
    with pytest.raises(LogSetBack, match="has cosigned 11 leaves"):
        stage.publish()  # what they hold is back, but none of them has said so
    for one in witnesses.by_name.values():
        one.is_down = False
    stage.clock.advance(HOUR)
    stage.publish()
    public_log.check(REGION)
    with stage.new_session() as session:
        assert session.scalars(select(WitnessState.name).where(WitnessState.ahead.is_not(None))).all() == []


def test_a_witness_that_refused_and_falls_silent_still_stops_all_signing(
    stage: Publishing, public_log: PublicLog, witnesses: Witnesses
) -> None:
    stage.publish()
    origin = public_log.checkpoint().origin
    held = witnesses["two"].held[origin]
    witnesses["two"].held[origin] = replace(held, root=bytes(32))
    stage.clock.advance(HOUR)
    with pytest.raises(LogForked, match="witness two refuses"):
        stage.publish()
    before = pointers(stage)
    witnesses["two"].is_down = True
    for _ in range(3):
        stage.clock.advance(HOUR)
        with pytest.raises(LogForked, match=r"witness two refuses .* no answer"):
            stage.publish()
    assert (log_size(stage), pointers(stage)) == (9, before)
    # It was the witness that was wrong, and it has been mended.
    witnesses["two"].is_down = False
    witnesses["two"].held[origin] = held
    stage.clock.advance(HOUR)
    stage.publish()
    public_log.check(REGION)
    assert set(cosigners(stage, witnesses)) == {"one", "two", "three"}


def test_while_the_quorum_lacks_only_who_has_not_cosigned_is_asked_and_ever_more_rarely(
    stage: Publishing, witnesses: Witnesses
) -> None:
    stage.publish()
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    witnesses["one"].is_down = witnesses["two"].is_down = True
    asked = {name: one.asked for name, one in witnesses.by_name.items()}
    assert stage.publish().unwitnessed is True
    assert witnesses["one"].asked == asked["one"] + 1, "who did not answer is not asked again in the same run"
    assert witnesses["three"].asked == asked["three"] + 2, "about the signed head, and about the new one"
    asked = {name: one.asked for name, one in witnesses.by_name.items()}
    began, tries = stage.clock(), []
    for second in (1, 2, 5, 6, 13, 14, 29, 30, 61, 62, 125, 126, 253, 254, 509, 510):
        stage.clock.now = began + second
        stage.publish()
        if witnesses["one"].asked > asked["one"]:
            asked["one"] = witnesses["one"].asked
            tries.append(second)
    assert tries == [2, 6, 14, 30, 62, 126, 254, 510]
    assert witnesses["three"].asked == asked["three"]
    for _ in range(6):
        stage.clock.advance(10 * MINUTE)
        stage.publish()
    assert witnesses["one"].asked - asked["one"] == 6, "never more rarely than the heartbeat"


def test_a_witness_with_an_ml_dsa_key_stands_in_the_checkpoint_and_not_in_phones_proofs(
    stage: Publishing, witnesses: Witnesses
) -> None:
    witnesses["three"].key = NoteKey("three.example/witness", KeyKind.ML_DSA_44)
    stage.log = replace(stage.log, **witnesses.settings())
    stage.publish()
    assert set(cosigners(stage, witnesses)) == {"one", "two", "three"}
    proof = decode_proof(stage.fetch(index_proof_path(REGION)))
    assert {line.name for line in decode_note(proof.checkpoint).signatures} == {
        "registry.example/keys/2026",
        "one.example/witness",
        "two.example/witness",
    }
    assert len(proof.checkpoint) < 1000
