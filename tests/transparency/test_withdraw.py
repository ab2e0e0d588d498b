"""A batch that is taken away: at once, for everyone, never silently."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from registry.errors import NothingToWithdraw
from registry.lifecycle.publish.withdraw import withdraw_batch
from registry.models import Batch, ExportFile, Withdrawal
from registry.protocol.committed import withdrawal_reference
from registry.protocol.index import EXPOSURES, manifest_path
from registry.protocol.leaves import WithdrawLeaf, leaf_type
from tests.publishing import DAY, HOUR, NOON, REGION, FailingStorage, Publishing, key_ending
from tests.transparency.backup import Backup
from tests.transparency.public_log import PublicLog
from tests.transparency.witness_of_tests import Witnesses

ORDER = "Order 12/2026 of the court of Example City"


def publish_three(stage: Publishing) -> None:
    for number in (1, 2, 3):
        stage.collect([key_ending(NOON - 144, number)], regions=["XA", "XB"])
        stage.publish(regions=["XA", "XB"])
        stage.clock.advance(HOUR)
    stage.clock.advance(-HOUR)


def withdraw(stage: Publishing, sequence: int) -> None:
    withdraw_batch(stage.new_session, region=REGION, sequence=sequence, reason="legal_order", reference=ORDER)


def test_its_files_go_at_once_its_window_stays_and_the_log_says_why(
    stage: Publishing, public_log: PublicLog
) -> None:
    publish_three(stage)
    (_, second, _), others = stage.names(), stage.names("XB")
    digest_of_second = stage.batches()[1].manifest_sha256
    withdraw(stage, 2)
    stage.publish(regions=["XA", "XB"])
    public_log.check("XA", "XB")
    stage.check_agreement()
    assert second not in stage.names()
    assert stage.storage.read(f"{EXPOSURES}/{second}") is None
    assert stage.names("XB") == others, "another region's copy is another batch"
    assert [(window.sequence, len(window.files)) for window in stage.index().windows] == [
        (1, 2),
        (2, 0),
        (3, 2),
    ]
    assert digest_of_second is not None
    left = stage.storage.names(f"{EXPOSURES}/{REGION}/manifest/")
    assert len(left) == 2
    assert manifest_path(REGION, digest_of_second.hex()) not in left
    leaves = public_log.leaves()
    assert [leaf_type(leaf) for leaf in leaves[-2:]] == ["withdraw", "index"]
    assert isinstance(leaf := leaves[-2], WithdrawLeaf)
    assert (leaf.region, leaf.sequence, leaf.reason) == (REGION, 2, "legal_order")
    with stage.new_session() as session:
        row = session.get_one(Withdrawal, (REGION, 2))
        assert leaf.reference == withdrawal_reference(row.salt, ORDER), "whoever has salt and words can check"
    stage.clock.advance(HOUR)
    stage.publish(regions=["XA", "XB"])
    assert (key_ending(NOON, 2).key_data, False) not in stage.published(), "and they do not come back"


def test_what_is_not_there_cannot_be_withdrawn(stage: Publishing) -> None:
    publish_three(stage)
    stage.clock.advance(HOUR)
    stage.publish()
    for sequence, why in ((4, "has no files"), (9, "is not published")):
        with pytest.raises(NothingToWithdraw, match=why):
            withdraw(stage, sequence)
    withdraw(stage, 1)
    with pytest.raises(NothingToWithdraw, match="is withdrawn already"):
        withdraw(stage, 1)


@pytest.mark.parametrize("part", ["/tile/", "index.json", ".zip", "/manifest/"])
def test_whatever_kills_it_the_next_run_takes_the_files_away(
    stage: Publishing, public_log: PublicLog, part: str
) -> None:
    publish_three(stage)
    withdraw(stage, 2)

    class Killed(BaseException):
        pass

    dying = FailingStorage(
        stage.storage, lambda call, path: call in ("put_new", "replace", "delete") and part in path, Killed()
    )
    with pytest.raises(Killed):
        stage.publish(storage=dying)
    for name in stage.names():
        assert stage.storage.read(f"{EXPOSURES}/{name}") is not None, "listed and gone"
    stage.publish()
    public_log.check(REGION)
    stage.check_agreement()
    assert len(stage.names()) == 2
    assert sum(leaf_type(leaf) == "withdraw" for leaf in public_log.leaves()) == 1


def test_its_files_stay_while_phones_are_still_told_of_them(stage: Publishing, public_log: PublicLog) -> None:
    witnesses = Witnesses(stage.clock, "one", quorum=1)
    stage.log = replace(stage.log, **witnesses.settings())
    publish_three(stage)
    second = stage.names()[1]
    witnesses["one"].is_down = True
    withdraw(stage, 2)
    assert stage.publish(regions=["XA", "XB"]).unwitnessed is True
    assert stage.storage.read(f"{EXPOSURES}/{second}") is not None
    witnesses["one"].is_down = False
    stage.clock.advance(600)  # who failed is not asked again at once
    stage.publish(regions=["XA", "XB"])
    assert stage.storage.read(f"{EXPOSURES}/{second}") is None
    public_log.check(REGION)


def test_a_withdrawal_survives_a_restored_backup_and_is_forgotten_with_its_window(
    stage: Publishing, public_log: PublicLog
) -> None:
    publish_three(stage)
    backup = Backup(stage.engine)
    withdraw(stage, 2)
    stage.publish(regions=["XA", "XB"])
    backup.restore(stage.engine)
    with pytest.raises(Exception, match="are back from our own tiles"):
        stage.publish(regions=["XA", "XB"])
    stage.publish(regions=["XA", "XB"])
    stage.clock.advance(HOUR)
    stage.publish(regions=["XA", "XB"])
    public_log.check("XA", "XB")
    assert len(stage.names()) == 2
    stage.clock.advance(30 * DAY)
    stage.publish(regions=["XA", "XB"])
    stage.retire()
    with stage.new_session() as session:
        assert session.scalar(select(func.count()).select_from(ExportFile)) == 0
        assert session.scalars(select(Batch.sequence).where(Batch.region == REGION)).all() == [5]
    public_log.check("XA", "XB")
