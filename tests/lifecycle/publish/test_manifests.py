"""A manifest lies in storage before any row names it, is adopted there, and does not stay unnamed."""

import tracemalloc
from hashlib import sha256

import pytest
from sqlalchemy import insert, update

from registry.errors import PublishingFailed
from registry.lifecycle.publish import manifests
from registry.lifecycle.publish.explain import explain
from registry.lifecycle.publish.withdraw import withdraw_batch
from registry.lifecycle.shelves import open_shelves
from registry.models import Batch, Receipt, transaction
from registry.protocol.index import EXPOSURES, manifest_path
from registry.protocol.leaves import BatchLeaf
from registry.protocol.receipt import all_receipt_leaves
from tests.publishing import DAY, HOUR, HOURLY, NOON, REGION, FailingStorage, Publishing, key_ending
from tests.transparency.public_log import PublicLog


def stored(stage: Publishing) -> list[str]:
    return stage.storage.names(f"{EXPOSURES}/{REGION}/manifest/")


def named(stage: Publishing) -> list[str]:
    digests = (batch.manifest_sha256 for batch in stage.batches())
    return sorted(manifest_path(REGION, digest.hex()) for digest in digests if digest is not None)


def upload(stage: Publishing, commitments: list[bytes]) -> None:
    with transaction(stage.new_session()) as session:
        shelf = open_shelves(session, REGION, [0])[0]
        session.execute(
            insert(Receipt),
            [
                {"commitment": one, "region": REGION, "content": b"{}", "shelf_id": shelf}
                for one in commitments
            ],
        )


def die_at(stage: Publishing, monkeypatch: pytest.MonkeyPatch, function: str) -> str:
    """Publish up to the call of this function of the publisher; the path of the only manifest stored."""

    class Killed(BaseException):
        pass

    def killed(*_args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(f"registry.lifecycle.publish.{function}", killed)
        with pytest.raises(Killed):
            stage.publish()
    (path,) = stored(stage)
    return path


def die_before_recording(stage: Publishing, monkeypatch: pytest.MonkeyPatch) -> str:
    path = die_at(stage, monkeypatch, "batches.record_manifest")
    assert named(stage) == []
    return path


def test_what_a_dead_run_stored_is_adopted_by_the_next(
    stage: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.collect([key_ending(NOON - 144, number) for number in range(5)])
    upload(stage, [sha256(b"%d" % number).digest() for number in range(20)])
    path = die_before_recording(stage, monkeypatch)
    content = stage.fetch(path)
    stage.publish()
    assert stored(stage) == named(stage) == [path]
    assert stage.fetch(path) == content
    PublicLog(stage.storage, stage.log).check(REGION)


def test_what_another_version_stored_is_made_anew_and_the_first_goes(
    stage: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = die_before_recording(stage, monkeypatch)
    stage.retire()
    assert stored(stage) == [first], "its batch is sealed: a publisher may be about to record it"
    monkeypatch.setattr(manifests, "_own_version", lambda: "another")
    stage.publish()
    assert len(stored(stage)) == 2
    stage.retire()
    assert stored(stage) == named(stage)
    assert first not in stored(stage)
    PublicLog(stage.storage, stage.log).check(REGION)


def test_other_bytes_under_its_name_are_not_published(
    stage: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = die_before_recording(stage, monkeypatch)
    stage.storage.replace(path, b"{}")
    with pytest.raises(PublishingFailed, match="does not hold the bytes that its name says"):
        stage.publish()
    assert stage.batches()[0].log_number is None


def test_a_database_that_was_not_held_against_the_public_files_takes_no_manifest_away(
    stage: Publishing,
) -> None:
    """It may have been set back, and name none of what it has forgotten."""
    stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    there = stored(stage)
    with transaction(stage.new_session()) as session:
        newest = stage.batches()[-1].id
        session.execute(update(Batch).where(Batch.id == newest).values(manifest_sha256=None))
    blind = FailingStorage(
        stage.storage, lambda call, path: call == "read" and path.startswith("log/"), OSError()
    )
    with pytest.raises(PublishingFailed):
        stage.retire(storage=blind)
    assert stored(stage) == there
    stage.retire()
    assert stored(stage) == named(stage) != there


def test_a_batch_that_lost_its_digest_before_it_had_a_leaf_gets_the_same_manifest_again(
    stage: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an upgrade leaves it, whose batches were recorded before their manifests were stored."""
    stage.collect([key_ending(NOON - 144, number) for number in range(5)])
    upload(stage, [sha256(b"%d" % number).digest() for number in range(20)])
    path = die_at(stage, monkeypatch, "append_due")
    assert named(stage) == [path]
    assert stage.batches()[0].log_number is None
    with transaction(stage.new_session()) as session:
        session.execute(update(Batch).values(manifest_sha256=None))
    stage.publish()
    assert stored(stage) == named(stage) == [path]
    (leaf,) = [leaf for leaf in PublicLog(stage.storage, stage.log).leaves() if isinstance(leaf, BatchLeaf)]
    assert manifest_path(REGION, leaf.manifest.hex()) == path
    PublicLog(stage.storage, stage.log).check(REGION)


def test_retired_and_withdrawn_batches_leave_neither_manifest_nor_digest(stage: Publishing) -> None:
    for number in (1, 2, 3):
        stage.collect([key_ending(NOON - 144, number)])
        stage.publish()
        stage.clock.advance(HOUR)
    withdraw_batch(stage.new_session, region=REGION, sequence=2, reason="legal_order", reference="of a court")
    stage.publish()
    assert [batch.manifest_sha256 is None for batch in stage.batches()] == [False, True, False, False]
    assert stored(stage) == named(stage)
    stage.clock.advance(40 * DAY)
    stage.publish()
    stage.retire()
    stage.retire()
    assert stored(stage) == named(stage)
    assert len(stored(stage)) <= 1


def test_who_signed_is_not_told_where_the_manifest_is_gone_or_damaged(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    stage.publish()
    (path,) = stored(stage)
    for spoil in (lambda: stage.storage.replace(path, b"{}"), lambda: stage.storage.delete(path)):
        spoil()
        name = sha256((1).to_bytes(16)).digest()
        with stage.new_session() as session:
            found = explain(session, stage.storage, name, policy=HOURLY, now=stage.clock())
        assert found is not None
        (publication,) = found.stays[0].publications
        (file,) = publication.files
        assert (file.path, file.signers) == (stage.names()[0], ())


def test_memory_does_not_grow_with_the_receipts(stage: Publishing) -> None:
    """Not even the driver's, which the database sends all rows at once unless it is told otherwise."""
    commitments = [sha256(b"%d" % number).digest() for number in range(60_000)]
    upload(stage, commitments)
    stage.publish(regions=["XB"])  # whatever is imported and kept once
    tracemalloc.start()
    stage.publish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20, "a list of them takes four, the manifest three, and all else has its own four"
    (batch,) = stage.batches()
    leaves = all_receipt_leaves(commitments, batch.seed, decoy_users=sum(batch.decoys.values()))
    assert stage.manifest(batch).receipts == leaves
