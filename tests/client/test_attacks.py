"""Each attack on what is published, played against a phone by a registry that lies: what the phone sees.

Monitors see more (`tests/client/monitor`); the table in `docs/threat-model.md` has both.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

import pytest

from registry.client import Answer, Phone, PollReport
from registry.client.failures import (
    Frozen,
    NoAnswer,
    Outdated,
    QuorumMissing,
    Rewritten,
    RolledBack,
    SequenceGap,
    SplitView,
    TrustRefused,
    UnexpectedStatus,
    Unlogged,
    UnloggedFile,
    WrongFile,
)
from registry.errors import BadSignature, Malformed, RegistryError, UntrustedKey
from registry.protocol.checkpoint import open_checkpoint
from registry.protocol.encoding import encode_base64
from registry.protocol.index import (
    EXPOSURES,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    index_digest_path,
    index_path,
    index_proof_path,
)
from registry.protocol.keys import ReportType, TemporaryExposureKey
from registry.protocol.merkle import inclusion_path
from registry.protocol.note import Note, decode_note, encode_note
from registry.protocol.proof import decode_proof, encode_proof
from tests.client.conftest import MakePhone, as_published, meet
from tests.client.test_poll import only_failure, stranger
from tests.clock import FakeClock
from tests.protocol.note_signers import ed25519_signer, witness_signer
from tests.simulated_log import ROOT
from tests.simulator import REGION, SigningKey, Simulator

INDEX = index_path(REGION)
PROOF = index_proof_path(REGION)
HOUR = 3600
DAY = 86_400
NEW_YEAR = 1_798_761_600
"""2027-01-01T00:00:00Z."""


def warnings(report: PollReport) -> list[tuple[str, type[RegistryError]]]:
    return [(warning.path, type(warning.error)) for warning in report.warnings]


def next_window(simulator: Simulator, clock: FakeClock, *keys: TemporaryExposureKey) -> str:
    """An hour later; the path of its file."""
    clock.advance(HOUR)
    return f"{EXPOSURES}/{simulator.publish(keys)}"


@pytest.fixture
def bob(make_phone: MakePhone, simulator: Simulator, clock: FakeClock) -> Phone:
    """A phone that has polled, with full proofs, three windows of an honest registry."""
    phone = make_phone("bob")
    for number in range(3):
        next_window(simulator, clock, stranger(number))
        assert phone.poll().is_proven
    return phone


# Split view


def test_split_view_another_root_at_the_same_size(bob: Phone, simulator: Simulator, clock: FakeClock) -> None:
    honest = simulator.log
    size = honest.heads[-1].size
    simulator.log = honest.branch(size - 1)
    simulator.index_override = simulator.index(next_window_end=int(clock()) + 7200)
    only_failure(bob.poll(), SplitView, PROOF)
    assert simulator.log.heads[-1].size == size

    (evidence,) = bob.evidence()
    assert evidence.kind == "SplitView"
    assert evidence.believed is not None
    keys = [honest.key(2026).key]
    _, believed = open_checkpoint(evidence.believed, keys)
    _, offered = open_checkpoint(decode_proof(evidence.offered).checkpoint, keys)
    assert (believed.origin, believed.size) == (offered.origin, offered.size)
    assert believed.root != offered.root, "two notes by one key that cannot both be true: anyone can check"
    bob.poll()
    assert len(bob.evidence()) == 1


def test_split_view_after_which_the_phone_believes_the_first_again(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    honest = simulator.log
    simulator.log = honest.branch(honest.heads[-1].size - 1)
    simulator.index_override = simulator.index(next_window_end=int(clock()) + 7200)
    assert not bob.poll().good
    simulator.log, simulator.index_override = honest, None
    next_window(simulator, clock)
    assert bob.poll().is_proven


def test_split_view_on_a_branch_that_witnesses_do_not_cosign(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    """The log's own key is stolen or misused; an honest witness cosigns one branch only."""
    forged = simulator.log.branch(simulator.log.heads[-1].size - 1)
    forged.witnesses = [witness_signer(witness.name) for witness in forged.witnesses]
    clock.advance(HOUR)
    simulator.publish([stranger(77)])
    simulator.log, honest = forged, simulator.log
    forged.material, forged.trust_note = honest.material, honest.trust_note  # type: ignore[method-assign]
    report = bob.poll()
    assert warnings(report) == [(PROOF, QuorumMissing)]
    assert not report.is_proven
    clock.advance(2 * DAY)
    simulator.publish([stranger(78)])
    only_failure(bob.poll(), QuorumMissing, PROOF)


# Rollback


def test_rollback_to_an_older_proof(bob: Phone, simulator: Simulator, clock: FakeClock) -> None:
    older = simulator.proof()
    next_window(simulator, clock)
    assert bob.poll().is_proven
    simulator.proof_override = older
    assert "leaves" in str(only_failure(bob.poll(), RolledBack, PROOF))
    assert [evidence.kind for evidence in bob.evidence()] == ["RolledBack"]
    assert bob.evidence()[0].offered == older


def test_rollback_to_an_older_cosignature_of_the_same_tree(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    older = simulator.proof()
    clock.advance(HOUR / 2)
    assert bob.poll().is_proven
    simulator.proof_override = older
    assert "cosignatures are older" in str(only_failure(bob.poll(), RolledBack, PROOF))


def test_rollback_to_last_year(bob: Phone, simulator: Simulator, clock: FakeClock) -> None:
    clock.now = NEW_YEAR - HOUR
    simulator.publish([stranger()])
    assert bob.poll().is_proven
    last_year = simulator.proof()
    next_window(simulator, clock)
    assert bob.poll().is_proven
    simulator.proof_override = last_year
    assert "from the year 2027 to 2026" in str(only_failure(bob.poll(), RolledBack, PROOF))


def test_restored_backup_that_signs_on_is_a_rollback(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    backup, windows = simulator.log.branch(simulator.log.heads[-2].size), simulator.windows[:-1]
    next_window(simulator, clock)
    assert bob.poll().is_proven
    simulator.log, simulator.windows = backup, windows
    next_window(simulator, clock)
    only_failure(bob.poll(), RolledBack, PROOF)


# Freeze


def test_freeze_is_warned_of_after_six_hours_and_refused_after_two_days(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.proof_override = simulator.proof()
    cosigned_at = clock()
    for hidden in range(5):
        next_window(simulator, clock, stranger(50 + hidden))
    clock.now = cosigned_at + 6 * HOUR
    assert (bob.poll().warnings, bob.poll().is_proven) == ((), True)
    clock.now = cosigned_at + 6 * HOUR + 1
    report = bob.poll()
    assert warnings(report) == [(PROOF, Frozen)]
    assert (report.good, report.is_proven) == (True, True)
    clock.now = cosigned_at + 2 * DAY
    # The index has the same two days.
    assert warnings(bob.poll()) == [(PROOF, Frozen)]
    clock.now = cosigned_at + 2 * DAY + 1
    only_failure(bob.poll(), Frozen, PROOF)
    assert bob.card().state == "green", "two days have not passed since the last good poll"
    clock.now = cosigned_at + 4 * DAY + 1
    only_failure(bob.poll(), Frozen, PROOF)
    assert bob.card().state == "stale"


def test_freeze_is_seen_by_a_phone_that_has_never_polled(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.publish([stranger()])
    simulator.proof_override = simulator.proof()
    clock.advance(2 * DAY + 1)
    only_failure(make_phone("carol").poll(), Frozen, PROOF)


def test_freeze_of_a_log_without_witnesses_lasts_until_the_index_expires(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.log.quorum = None
    bob = make_phone("bob")
    simulator.publish([stranger()])
    simulator.proof_override = simulator.proof()
    clock.advance(2 * DAY - 1)
    report = bob.poll()
    assert (report.is_proven, report.warnings) == (True, ())
    clock.advance(1)
    only_failure(bob.poll(), Outdated, INDEX)


def test_freeze_with_limits_of_the_registrys_own(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.publication = {"cosignature_warn_seconds": 60, "cosignature_fail_seconds": 600}
    bob = make_phone("bob")
    simulator.proof_override = simulator.proof()
    clock.advance(61)
    assert warnings(bob.poll()) == [(PROOF, Frozen)]
    clock.advance(540)
    only_failure(bob.poll(), Frozen, PROOF)


def test_freeze_is_not_hidden_by_a_cosignature_of_the_future(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    next_window(simulator, clock)
    clock.advance(30 * DAY)
    simulator.newest_index()
    ahead = simulator.log.proof()
    clock.advance(-30 * DAY)
    simulator.proof_override = ahead
    assert (PROOF, QuorumMissing) in warnings(bob.poll())


# Withheld middle batch, deletion, rewriting


def test_withheld_middle_batch_is_a_gap_in_the_logged_index(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    for number in range(4):
        next_window(simulator, clock, stranger(number))
    first, _, third, fourth = simulator.windows
    simulator.index_override = simulator.index(windows=(first, third, fourth))
    only_failure(bob.poll(), Malformed, INDEX)
    # The same, made to look whole: then times do not fit those that others have seen.
    joined = replace(third, sequence=2, last_sequence=2, start=first.end)
    simulator.index_override = simulator.index(windows=(first, joined, replace(fourth, sequence=3)))
    only_failure(bob.poll(), Malformed, INDEX)


def test_withheld_middle_batch_cannot_be_for_one_phone_alone(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    """Every phone is shown the index of the proof; another one is not it."""
    for number in range(3, 6):
        next_window(simulator, clock, stranger(number))
    whole = simulator.newest_index()
    window = simulator.windows[-2]
    shortened = simulator.index(
        windows=(*simulator.windows[:-2], replace(window, files=()), simulator.windows[-1])
    )
    path = index_digest_path(REGION, sha256(whole).hexdigest())
    simulator.faults[path] = Answer(200, {}, shortened)
    only_failure(bob.poll(), Unlogged, INDEX)


def test_deletion_of_the_past_is_a_gap(make_phone: MakePhone, simulator: Simulator, clock: FakeClock) -> None:
    for number in range(4):
        next_window(simulator, clock, stranger(number))
    simulator.windows = simulator.windows[2:]
    only_failure(make_phone("carol").poll(), SequenceGap, INDEX)


def test_rewritten_past_that_is_logged_is_refused_and_kept_as_evidence(
    bob: Phone, simulator: Simulator
) -> None:
    first, *rest = simulator.windows
    simulator.windows = [replace(first, files=(replace(first.files[0], sha256="0" * 64),)), *rest]
    only_failure(bob.poll(), Rewritten, INDEX)
    (evidence,) = bob.evidence()
    assert evidence.offered == simulator.log.proof()


# Mix-and-match


def test_mix_and_match_of_a_proof_and_another_moments_index(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    older = simulator.newest_index()
    next_window(simulator, clock)
    newest = simulator.newest_index()
    simulator.faults[index_digest_path(REGION, sha256(newest).hexdigest())] = Answer(200, {}, older)
    only_failure(bob.poll(), Unlogged, INDEX)
    assert [evidence.kind for evidence in bob.evidence()] == ["Unlogged"]


def test_mix_and_match_of_a_checkpoint_and_another_trees_path(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    older = decode_proof(simulator.proof())
    next_window(simulator, clock)
    newer = decode_proof(simulator.proof())
    for mixed in (
        replace(newer, path=older.path),
        replace(newer, index=older.index, path=older.path, extra=older.extra),
        replace(newer, extra=older.extra),
        replace(newer, index=newer.index - 1),
    ):
        simulator.proof_override = encode_proof(mixed)
        only_failure(bob.poll(), Unlogged, PROOF)


def test_mix_and_match_of_an_older_index_leaf_that_is_in_the_tree_but_not_its_last(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    """Truly in the log: but a newer one is there, which this hides."""
    older = simulator.log.heads[-1]
    extra = decode_proof(simulator.proof()).extra
    next_window(simulator, clock)
    newer = decode_proof(simulator.proof())
    shard = simulator.log.shards[2026]
    path = inclusion_path(older.size - 1, simulator.log.heads[-1].size, shard.node())
    simulator.proof_override = encode_proof(
        replace(newer, index=older.size - 1, path=tuple(path), extra=extra)
    )
    assert "not for the last" in str(only_failure(bob.poll(), Unlogged, PROOF))


def test_mix_and_match_of_a_leaf_and_an_index_that_came_after_it(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    clock.advance(6 * HOUR)
    simulator.log.leaf_time = int(clock()) - 3 * HOUR
    simulator.publish([stranger(7)])
    only_failure(bob.poll(), Unlogged, INDEX)


def test_mix_and_match_of_another_regions_index(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.newest_index()
    simulator.log.region = "XB"
    other = simulator.log.proof()
    simulator.log.region = REGION
    simulator.proof_override = other
    only_failure(make_phone("carol").poll(), Unlogged, PROOF)


# Stolen batch key


def forged_file(simulator: Simulator, path: str, *keys: TemporaryExposureKey) -> bytes:
    """A file for the place of another, signed with the registry's own export key."""
    side = Simulator(simulator.clock)
    side.signers = simulator.signers
    side.windows = [window for window in simulator.windows if path.endswith(window.files[0].path)]
    window = side.windows.pop()
    name = side.publish(
        keys,
        bend=lambda export: replace(export, start_timestamp=window.start, end_timestamp=window.end),
    )
    return side.files[f"{EXPOSURES}/{name}"]


def test_stolen_batch_key_signs_a_file_that_the_log_does_not_name(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    alice, bob = make_phone("alice"), make_phone("bob")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    many = [replace(stranger(), key_data=sha256(bytes([number])).digest()[:16]) for number in range(9)]
    path = next_window(simulator, clock, *many)
    honest = simulator.files[path]
    simulator.files[path] = forged_file(simulator, path, as_published(alice.own_keys()[0]))
    only_failure(bob.poll(), UnloggedFile, path)
    assert bob.store.exposures() == []
    assert [evidence.kind for evidence in bob.evidence()] == ["UnloggedFile"]
    simulator.files[path] = honest
    assert bob.poll().files_read == 1


@contextmanager
def proofs_held_back(simulator: Simulator) -> Iterator[None]:
    simulator.faults[PROOF] = Answer(404, {}, b"")
    yield
    del simulator.faults[PROOF]


@contextmanager
def another_list(simulator: Simulator) -> Iterator[None]:
    """What is published meanwhile stands in index.json alone, and the log knows nothing of it."""
    log, windows = simulator.log, list(simulator.windows)
    yield
    simulator.log, simulator.windows = log, windows
    simulator.faults.pop(INDEX, None)


def test_stolen_batch_key_while_proofs_are_held_back_is_undone_by_the_next_proof(
    make_phone: MakePhone, bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    alice = make_phone("alice")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    with proofs_held_back(simulator), another_list(simulator):
        simulator.publish([as_published(alice.own_keys()[0])])
        simulator.faults[INDEX] = Answer(200, {}, simulator.index())
        report = bob.poll()
        assert warnings(report) == [(PROOF, UnexpectedStatus)]
        assert (report.good, report.is_proven, report.files_read) == (True, False, 1)
        assert bob.card().state == "orange", "for a while a phone goes on with what the key signed"
        # Hidden again from the list, to leave no trace.
        simulator.windows.pop()
        clock.advance(HOUR)
        simulator.publish_nothing()
        simulator.faults[INDEX] = Answer(200, {}, simulator.index(sequence=5))
        bob.poll()
    next_window(simulator, clock, stranger(9))
    report = bob.poll()
    assert warnings(report) == [(PROOF, UnloggedFile)]
    assert (report.good, report.is_proven, report.files_read) == (True, True, 4)
    assert bob.card().state == "green"
    assert [evidence.kind for evidence in bob.evidence()] == ["UnloggedFile"]
    assert bob.poll().warnings == ()


def test_stolen_batch_key_that_withdraws_a_warning_while_proofs_are_held_back_is_undone_too(
    make_phone: MakePhone, bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    alice = make_phone("alice")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    key = alice.own_keys()[0]
    simulator.publish([as_published(key)])
    assert bob.poll().is_proven
    assert bob.card().state == "orange"
    clock.advance(HOUR)
    with proofs_held_back(simulator), another_list(simulator):
        simulator.publish([], [as_published(key, ReportType.REVOKED)])
        simulator.faults[INDEX] = Answer(200, {}, simulator.index())
        assert bob.poll().withdrawn == 1
        assert bob.card().state == "green"
    next_window(simulator, clock, stranger(9))
    assert warnings(bob.poll()) == [(PROOF, UnloggedFile)]
    assert bob.card().state == "orange"
    assert bob.card().withdrawn_on == ()


def test_what_was_read_without_a_proof_and_is_logged_after_all_stays(
    make_phone: MakePhone, bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    alice = make_phone("alice")
    meet(alice, bob, at=clock())
    clock.advance(DAY)
    with proofs_held_back(simulator):
        simulator.publish([as_published(alice.own_keys()[0])])
        assert bob.poll().files_read == 1
    report = bob.poll()
    assert (report.is_proven, report.warnings, report.files_read) == (True, (), 0)
    assert bob.card().state == "orange"


def test_a_forged_list_does_not_stand_in_the_true_ones_way(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    """Else one bad day without proofs would leave every phone calling the registry rolled back for ever."""
    with proofs_held_back(simulator), another_list(simulator):
        for _ in range(20):
            next_window(simulator, clock)
        simulator.faults[INDEX] = Answer(200, {}, simulator.index())
        assert bob.poll().files_read == 20
        clock.advance(-19 * HOUR)
    next_window(simulator, clock)
    assert bob.poll().is_proven


# Replay


def test_replay_of_an_old_file_under_a_new_name(
    bob: Phone, make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    old = simulator.files[f"{EXPOSURES}/{simulator.windows[0].files[0].path}"]
    clock.advance(HOUR)
    path = f"{EXPOSURES}/{simulator.publish(content=old)}"
    assert bob.poll().files_read == 0, "it was read, and says nothing new"
    only_failure(make_phone("carol").poll(), WrongFile, path)


def test_replay_of_an_old_proof_to_a_phone_that_was_away(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.publish([stranger()])
    old = simulator.proof()
    away = make_phone("away")
    for number in range(60):
        next_window(simulator, clock, stranger(number))
    simulator.proof_override = old
    only_failure(away.poll(), Frozen, PROOF)


# Log key


def test_unknown_log_key_is_asked_about_once_and_refused(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    next_window(simulator, clock)
    known = simulator.log.keys[2026]
    simulator.log.keys[2026] = ed25519_signer(known.name)
    forged = simulator.proof()
    simulator.log.keys[2026] = known
    simulator.proof_override = forged
    simulator.requests.clear()
    only_failure(bob.poll(), UntrustedKey, PROOF)
    assert [request.path for request in simulator.requests] == [PROOF, TRUST_NOTE_PATH]
    (evidence,) = bob.evidence()
    assert (evidence.kind, evidence.offered) == ("UntrustedKey", forged)


@pytest.mark.parametrize("line", [0, 1, 3], ids=["log", "first witness", "last witness"])
def test_a_signature_that_does_not_hold_condemns_the_proof(
    line: int, bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    next_window(simulator, clock)
    proof = decode_proof(simulator.proof())
    note = decode_note(proof.checkpoint)
    signatures = list(note.signatures)
    spoilt = signatures[line].signature
    signatures[line] = replace(signatures[line], signature=spoilt[:-1] + bytes([spoilt[-1] ^ 1]))
    simulator.proof_override = encode_proof(
        replace(proof, checkpoint=encode_note(Note(note.text, tuple(signatures))))
    )
    only_failure(bob.poll(), BadSignature, PROOF)
    assert [evidence.kind for evidence in bob.evidence()] == ["BadSignature"]


def test_the_years_turn_needs_nothing_if_the_next_key_was_pinned(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    clock.now = NEW_YEAR - 10
    assert bob.poll().is_proven
    clock.now = NEW_YEAR + 10
    simulator.publish([stranger(40)])
    report = bob.poll()
    assert report.is_proven
    assert report.proof is not None
    assert report.proof.head.origin.endswith("/2027")
    assert bob.poll().is_proven


def test_the_years_turn_with_a_key_that_trust_names_meanwhile(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.log.years = [2026]
    clock.now = NEW_YEAR - 10
    bob = make_phone("bob")
    simulator.publish([stranger()])
    assert bob.poll().is_proven
    clock.now = NEW_YEAR + 10
    simulator.log.years = [2026, 2027]
    simulator.publish([stranger(1)])
    simulator.requests.clear()
    assert bob.poll().is_proven
    assert [request.path for request in simulator.requests][:3] == [PROOF, TRUST_NOTE_PATH, TRUST_PATH]


# Quorum


def test_quorum_lost_is_borne_with_for_two_days_and_found_again(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    lost_at = clock()
    simulator.log.awake("witness.example/1")
    path = next_window(simulator, clock, stranger(7))
    report = bob.poll()
    assert warnings(report) == [(PROOF, QuorumMissing)]
    assert (report.good, report.is_proven, report.files_read) == (True, False, 1)
    assert report.proof is not None
    assert (report.proof.cosigned, report.proof.witnesses) == (1, 3)
    assert simulator.fetched(INDEX) == [], "the index is still the one that the log signed"

    clock.now = lost_at + 2 * DAY
    simulator.publish([stranger(8)])
    assert warnings(bob.poll()) == [(PROOF, QuorumMissing)]
    clock.now = lost_at + 2 * DAY + 1
    before = bob.store.read_files()
    simulator.publish([stranger(9)])
    only_failure(bob.poll(), QuorumMissing, PROOF)
    assert bob.store.read_files() == before, "nothing new is believed any more"

    simulator.log.awake("witness.example/1", "witness.example/2")
    next_window(simulator, clock)
    report = bob.poll()
    assert (report.is_proven, report.warnings) == (True, ())
    assert path in [f"{EXPOSURES}/{file.path}" for window in simulator.windows for file in window.files]


def test_quorum_of_other_witnesses_is_learnt_by_renewing_trust(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.log.witnesses = [witness_signer(f"witness.example/{number}") for number in (7, 8, 9)]
    next_window(simulator, clock)
    report = bob.poll()
    assert (report.is_proven, report.warnings) == (True, ())


def test_quorum_by_a_stricter_policy_is_older_and_yet_no_rollback(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    clock.advance(HOUR)
    simulator.signers = simulator.trusted = [simulator.new_key("2")]
    simulator.publish([stranger(8)])
    simulator.index_override = simulator.newest_index()
    simulator.log.awake_until["witness.example/2"] = clock()
    clock.advance(3 * HOUR)
    # Two of three cosigned just now. The new export key makes the phone renew its trust, which asks for all.
    simulator.log.quorum = 3
    report = bob.poll()
    assert report.key_change is not None
    assert report.proof is not None
    assert report.proof.head.cosigned_at == clock()
    again = bob.poll()
    assert (again.is_proven, again.failures) == (True, ())
    assert again.proof is not None
    assert again.proof.head.cosigned_at == clock() - 3 * HOUR


def test_quorum_counts_a_witness_once(bob: Phone, simulator: Simulator, clock: FakeClock) -> None:
    simulator.log.awake("witness.example/1")
    next_window(simulator, clock)
    proof = decode_proof(simulator.proof())
    note = decode_note(proof.checkpoint)
    doubled = encode_note(Note(note.text, (*note.signatures, note.signatures[-1])))
    simulator.proof_override = encode_proof(replace(proof, checkpoint=doubled))
    assert warnings(bob.poll()) == [(PROOF, QuorumMissing)]


# Proofs that are not to be had


@pytest.mark.parametrize(
    "fault",
    [Answer(404, {}, b""), Answer(200, {}, b"<html>captive portal</html>"), NoAnswer("no answer")],
    ids=["404", "nonsense", "no answer"],
)
def test_no_proof_is_borne_with_for_two_days_and_then_nothing_new_is_believed(
    fault: Answer | Exception, bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    simulator.faults[PROOF] = fault
    clock.advance(2 * DAY)
    simulator.publish([stranger(7)])
    report = bob.poll()
    assert [warning.path for warning in report.warnings] == [PROOF]
    assert (report.good, report.is_proven, report.proof, report.files_read) == (True, False, None, 1)
    clock.advance(1)
    simulator.publish([stranger(8)])
    report = bob.poll()
    assert [failure.path for failure in report.failures] == [PROOF]
    assert report.files_read == 0
    simulator.faults.clear()
    report = bob.poll()
    assert (report.is_proven, report.files_read) == (True, 1)


def test_no_proof_on_the_first_day_is_a_failure(make_phone: MakePhone, simulator: Simulator) -> None:
    simulator.publish([stranger()])
    simulator.faults[PROOF] = Answer(404, {}, b"")
    carol = make_phone("carol")
    only_failure(carol.poll(), UnexpectedStatus, PROOF)
    assert carol.card().state == "stale"


def test_no_proof_while_the_clock_was_ahead_buys_no_grace(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    clock.advance(5 * DAY)
    simulator.publish([stranger(7)])
    assert bob.poll().is_proven
    clock.advance(-4 * DAY)
    simulator.faults[PROOF] = Answer(404, {}, b"")
    only_failure(bob.poll(), UnexpectedStatus, PROOF)


# Telling phones apart


def test_a_proof_made_for_one_phone_is_not_told_back(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    """A line by an unknown signer is passed over, but a digest over it would be a name for this phone."""
    next_window(simulator, clock)
    proof = decode_proof(simulator.proof())
    mark = f"\u2014 mark {encode_base64(b'this is bob ' * 4)}\n".encode()
    simulator.proof_override = encode_proof(replace(proof, checkpoint=proof.checkpoint + mark))
    assert bob.poll().is_proven
    simulator.requests.clear()
    assert bob.poll().is_proven
    assert [(request.path, request.headers) for request in simulator.requests] == [(PROOF, {})]


# Trust


def expire(simulator: Simulator) -> int:
    """Let the registry sign no new note; when the one that there is ends."""
    content = simulator.trust_note()
    simulator.faults[TRUST_NOTE_PATH] = Answer(200, {}, content)
    return int(content.split(b"expires_at ")[1].split(b"\n")[0])


def test_a_note_is_renewed_in_the_last_quarter_of_its_life(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    before = bob.store.registration().trust_note
    clock.advance(22 * DAY)
    bob.poll()
    assert bob.store.registration().trust_note == before
    clock.advance(DAY)
    bob.poll()
    assert bob.store.registration().trust_note != before
    assert len(simulator.fetched(TRUST_PATH)) == 1, "at set-up, and not again: the material is the same"


def test_withheld_trust_is_warned_of_for_a_week_and_then_nothing_is_believed(
    bob: Phone, simulator: Simulator, clock: FakeClock
) -> None:
    end = expire(simulator)
    bob.store.forget_cosignature_time()

    def polled_at(now: float) -> PollReport:
        clock.now = now
        simulator.publish_nothing()
        return bob.poll()

    assert TRUST_NOTE_PATH not in [warning.path for warning in polled_at(end - 1).warnings]
    report = polled_at(end + 6 * DAY)
    assert [warning.path for warning in report.warnings] == [TRUST_NOTE_PATH]
    assert (report.good, report.is_proven) == (True, True)
    report = polled_at(end + 7 * DAY)
    assert [failure.path for failure in report.failures] == [TRUST_NOTE_PATH]
    simulator.faults.clear()
    assert bob.poll().is_proven


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ("rolled back", "older than the pinned one"),
        ("two of one number", "two different trust materials"),
        ("another root", "not signed by the root key"),
    ],
)
def test_forged_trust_is_refused_and_kept_as_evidence(
    story: str, words: str, make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    first = simulator.trust(), simulator.trust_note()
    simulator.trusted.append(simulator.new_key("2"))
    bob = make_phone("bob")
    pinned = bob.store.registration().trust_note
    simulator.publish([stranger()])
    assert bob.poll().is_proven

    def roll_back() -> tuple[bytes, bytes]:
        return first

    def sign_another() -> tuple[bytes, bytes]:
        simulator.log.materials.pop()
        simulator.trusted.append(simulator.new_key("3"))
        return simulator.trust(), simulator.trust_note()

    def replace_root() -> tuple[bytes, bytes]:
        simulator.log.roots = [ed25519_signer(ROOT.name)]
        return simulator.trust(), simulator.trust_note()

    stories: dict[str, Callable[[], tuple[bytes, bytes]]] = {
        "rolled back": roll_back,
        "two of one number": sign_another,
        "another root": replace_root,
    }
    content, note = stories[story]()
    simulator.faults[TRUST_PATH] = Answer(200, {}, content)
    simulator.faults[TRUST_NOTE_PATH] = Answer(200, {}, note)
    unknown: SigningKey = simulator.new_key("666")
    simulator.signers = [unknown]
    next_window(simulator, clock, stranger(1))
    failure = bob.poll().failures[0]
    assert (failure.path, type(failure.error)) == (TRUST_PATH, TrustRefused)
    assert words in str(failure.error)
    (evidence,) = bob.evidence()
    assert (evidence.kind, evidence.believed, evidence.offered) == ("TrustRefused", pinned, note)


def test_trust_of_the_future_is_not_taken(bob: Phone, simulator: Simulator, clock: FakeClock) -> None:
    """Else a note could be signed today that holds back all others for as long as somebody likes."""
    pinned = bob.store.registration()
    clock.advance(25 * DAY)
    late = simulator.trust_note(issued_at=int(clock()) + DAY, expires_at=int(clock()) + 900 * DAY)
    simulator.faults[TRUST_NOTE_PATH] = Answer(200, {}, late)
    simulator.publish_nothing()
    assert [(failure.path, type(failure.error)) for failure in bob.poll().failures] == [
        (TRUST_PATH, TrustRefused)
    ]
    assert bob.store.registration() == pinned


def test_trust_that_is_replaced_between_two_requests_is_asked_for_again(
    make_phone: MakePhone, simulator: Simulator, clock: FakeClock
) -> None:
    bob = make_phone("bob")
    old = simulator.trust()
    simulator.signers = simulator.trusted = [simulator.new_key("2")]
    simulator.publish([stranger()])
    # The first answer is still the old file, though the note is about the new one.
    real, answers = simulator.get, iter([Answer(200, {}, old)])

    def get(url: str, headers: object, max_bytes: int) -> Answer:
        if url.endswith(TRUST_PATH) and (torn := next(answers, None)):
            return torn
        return real(url, headers, max_bytes)  # type: ignore[arg-type]

    simulator.get = get  # type: ignore[method-assign]
    assert bob.poll().good


# A crash


def test_a_crash_while_a_proof_is_remembered_leaves_the_old_one(
    bob: Phone, make_phone: MakePhone, simulator: Simulator, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bob.store.poll_state(), bob.store.log_head()
    next_window(simulator, clock, stranger(7))

    def die(store: object, *rest: object, **named: object) -> None:
        raise KeyboardInterrupt

    for place in ("put_log_head", "forget_files"):
        with monkeypatch.context() as patch:
            patch.setattr(type(bob.store), place, die)
            with pytest.raises(KeyboardInterrupt):
                bob.poll()
        again = make_phone("bob")
        assert (again.store.poll_state(), again.store.log_head()) == before
    report = make_phone("bob").poll()
    assert (report.is_proven, report.files_read) == (True, 1)
