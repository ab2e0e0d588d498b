"""A database that is behind what it has published signs nothing, takes back what is missing, and goes on."""

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from registry.errors import LogForked, LogSetBack, StorageConflict
from registry.models import (
    Batch,
    DiagnosisKey,
    ExportSigningKey,
    LogEntry,
    LogShard,
    Shelf,
    transaction,
)
from registry.protocol.index import (
    EXPOSURES,
    LOG_CHECKPOINT_PATH,
    shard_checkpoint_path,
    shard_signed_path,
    shard_tile_path,
)
from registry.protocol.keys import ReportType
from registry.protocol.tiles import Tile
from registry.storage import Storage
from tests.clock import NOON_OF_JUNE_15
from tests.publishing import (
    AUTHORITY,
    DAY,
    HOUR,
    NOON,
    REGION,
    FailingStorage,
    NoteKeys,
    Publishing,
    key_ending,
    new_signer,
)
from tests.transparency.backup import Backup, wipe
from tests.transparency.public_log import PublicLog
from tests.transparency.witness_of_tests import Witnesses

END = int(NOON_OF_JUNE_15)


class StoringThenFailing(FailingStorage):
    """Dies right after `path` was stored."""

    def __init__(self, storage: Storage, path: str) -> None:
        super().__init__(storage, lambda _call, _path: False, OSError())
        self.path = path

    def replace(self, path: str, content: bytes) -> None:
        super().replace(path, content)
        if path == self.path:
            raise OSError(5, "power")


def publish_one(stage: Publishing, number: int, *regions: str) -> None:
    """A window with one key of its own."""
    stage.collect([key_ending(NOON - 144, number)], regions=regions or [REGION])
    stage.publish(regions=regions or [REGION])
    stage.clock.advance(HOUR)


def public_files(stage: Publishing) -> dict[str, bytes]:
    return {name: stage.fetch(name) for name in stage.storage.names("")}


def test_a_restored_backup_signs_nothing_says_why_and_goes_on_with_the_next_run(
    stage: Publishing, public_log: PublicLog
) -> None:
    for number in (1, 2):
        publish_one(stage, number)
    stage.collect([key_ending(NOON - 144, 3)])  # accepted before the backup, published after it
    backup = Backup(stage.engine)
    for number in (4, 5):
        publish_one(stage, number)
    before, size = public_files(stage), public_log.checkpoint().size
    backup.restore(stage.engine)

    with pytest.raises(LogSetBack) as caught:
        stage.publish()
    said = str(caught.value)
    assert f"registry.example/keys/2026 has {size} published leaves, the database has {size - 4}" in said
    assert "an older backup was restored" in said
    assert "Nothing was signed in this run; the next goes on" in said
    assert public_files(stage) == before

    stage.clock.advance(HOUR)
    publish_one(stage, 6)
    public_log.check(REGION)
    assert stage.published() == {(key_ending(NOON, n).key_data, False): 1 for n in (1, 2, 3, 4, 5, 6)}
    assert [batch.sequence for batch in stage.batches()] == [1, 2, 3, 4, 5]
    assert public_log.checkpoint().size == size + 2


def test_a_key_that_only_the_lost_database_knew_is_not_published_when_it_comes_again(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.publish()
    backup = Backup(stage.engine)
    stage.clock.advance(HOUR)
    publish_one(stage, 7)
    backup.restore(stage.engine)
    with pytest.raises(LogSetBack):
        stage.publish()
    with stage.new_session() as session:
        row = session.get_one(DiagnosisKey, key_ending(NOON, 7).key_data)
        assert session.get_one(Shelf, row.shelf_id).window_end is not None
    stage.clock.advance(HOUR)
    stage.publish()
    assert stage.published() == {(key_ending(NOON, 7).key_data, False): 1}


def test_a_revision_that_was_published_after_the_backup_is_not_published_again(stage: Publishing) -> None:
    publish_one(stage, 1)
    key = key_ending(NOON - 144, 1)

    stage.revise(key, ReportType.REVOKED)
    backup = Backup(stage.engine)
    stage.publish()
    backup.restore(stage.engine)
    with pytest.raises(LogSetBack):
        stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    assert stage.published() == {(key.key_data, False): 1, (key.key_data, True): 1}


def test_a_database_that_was_lost_whole_comes_back_from_the_tiles(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.publish(regions=["XA", "XB"])
    stage.clock.advance(HOUR)
    publish_one(stage, 1, "XA", "XB")
    publish_one(stage, 2, "XB")
    wipe(stage.engine)
    with transaction(stage.new_session()) as session:
        session.merge(
            type(AUTHORITY)(
                id=AUTHORITY.id, certificate_issuer="i", certificate_audience="a", regions=[REGION]
            )
        )
        signer = stage.signers[0]
        session.add(
            ExportSigningKey(
                key_id=signer.key_id,
                key_version=signer.key_version,
                public_key_pem=signer.public_key_pem,
                not_before=0,
                not_after=END + 10_000 * DAY,
            )
        )
    with pytest.raises(LogSetBack, match="the database has none"):
        stage.publish(regions=["XA", "XB"])
    stage.clock.advance(HOUR)
    stage.publish(regions=["XA", "XB"])
    public_log.check("XA", "XB")
    assert len(stage.published("XB")) == 2
    assert [batch.sequence for batch in stage.batches("XA")] == [1, 2, 3]


def test_keys_rotated_and_windows_retired_since_the_backup_are_taken_back_too(
    stage: Publishing, public_log: PublicLog
) -> None:
    publish_one(stage, 1)
    backup = Backup(stage.engine)
    stage.add_signer(new_signer("310", "v2"), until=END + 100 * DAY)
    publish_one(stage, 2)
    for day in range(23):
        stage.clock.advance(DAY)
        stage.collect([key_ending(NOON + 144 * day, 10 + day)])
        stage.publish()
        stage.retire()
    listed = stage.names()
    backup.restore(stage.engine)
    with pytest.raises(LogSetBack):
        stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    stage.retire()
    public_log.check(REGION)
    assert stage.names() == listed
    with stage.new_session() as session:
        assert session.scalar(select(func.count()).select_from(ExportSigningKey)) == 2


def test_what_was_sealed_or_sequenced_and_never_signed_gives_way_to_what_was(
    stage: Publishing, public_log: PublicLog
) -> None:
    """The backup was taken of a publisher that had died between the leaves and the signature."""
    publish_one(stage, 1)
    stage.collect([key_ending(NOON - 144, 2)])
    dying = FailingStorage(
        stage.storage, lambda call, path: "/tile/" in path and call == "put_new", OSError(28, "full")
    )
    with pytest.raises(OSError, match="full"):
        stage.publish(storage=dying)
    backup = Backup(stage.engine)
    with stage.new_session() as session:
        shard = session.get_one(LogShard, 2026)
        assert (session.scalar(select(func.count()).select_from(LogEntry)) or 0) > shard.size
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 3)])
    stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    backup.restore(stage.engine)
    with pytest.raises(LogSetBack):
        stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    public_log.check(REGION)
    stage.check_agreement()
    assert stage.published() == {(key_ending(NOON, n).key_data, False): 1 for n in (1, 2, 3)}


def test_leftover_tiles_that_were_never_signed_do_not_stop_a_restored_database(
    stage: Publishing, public_log: PublicLog
) -> None:
    publish_one(stage, 1)
    backup = Backup(stage.engine)
    stage.collect([key_ending(NOON - 144, 2)])
    calls = 0

    def second_read(call: str, path: str) -> bool:
        nonlocal calls
        calls += call == "put_new" and "/tile/0/" in path
        return calls > 0 and call == "read" and "/tile/0/" in path

    late = FailingStorage(stage.storage, second_read, OSError(5, "I/O"))
    with pytest.raises(OSError, match="I/O"):
        stage.publish(storage=late)
    backup.restore(stage.engine)
    stage.clock.advance(HOUR)
    stage.publish()
    public_log.check(REGION)


def test_two_roots_at_one_size_are_refused_for_good(stage: Publishing, public_log: PublicLog) -> None:
    stage.publish()
    backup = Backup(stage.engine)
    stage.clock.advance(HOUR)
    stage.publish()
    theirs = public_files(stage)
    # Somebody restored both, signed on, and brought the newer files back.
    for name in [name for name in theirs if name.startswith("log/")]:
        stage.storage.delete(name)
    backup.restore(stage.engine)
    stage.clock.advance(HOUR)
    stage.publish()
    fork = public_log.checkpoint()
    for name, content in theirs.items():
        stage.storage.replace(name, content)
    for _ in range(2):
        stage.clock.advance(HOUR)
        with pytest.raises(LogForked, match=f"two roots of {fork.origin} at size {fork.size}"):
            stage.publish()
    assert stage.fetch(LOG_CHECKPOINT_PATH) == theirs[LOG_CHECKPOINT_PATH]


def test_a_longer_log_that_is_not_an_extension_is_refused_for_good(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.publish()
    backup = Backup(stage.engine)
    stage.clock.advance(HOUR)
    stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    theirs = public_files(stage)
    for name in [name for name in theirs if name.startswith("log/")]:
        stage.storage.delete(name)
    backup.restore(stage.engine)
    stage.clock.advance(HOUR)
    stage.publish()
    for name, content in theirs.items():
        stage.storage.replace(name, content)
    with pytest.raises(LogForked, match=r"lies under what was published at .*keep both as evidence"):
        stage.publish()


def test_without_the_tiles_nothing_is_taken_back_and_nothing_signed(stage: Publishing) -> None:
    publish_one(stage, 1)
    backup = Backup(stage.engine)
    publish_one(stage, 2)
    backup.restore(stage.engine)
    bundle = next(name for name in stage.storage.names("log/2026/tile/entries/") if name.endswith(".p/11"))
    content = stage.fetch(bundle)
    stage.storage.delete(bundle)
    for _ in range(2):
        with pytest.raises(StorageConflict, match="cannot be read from our own tiles, so nothing is signed"):
            stage.publish()
    stage.storage.put_new(bundle, content)
    with pytest.raises(LogSetBack):
        stage.publish()
    stage.publish()


def test_public_files_that_are_behind_are_laid_out_again(stage: Publishing, public_log: PublicLog) -> None:
    publish_one(stage, 1)
    older = public_files(stage)
    publish_one(stage, 2)
    tiles = {name: content for name, content in public_files(stage).items() if "/tile/" in name}
    for name in stage.storage.names("log/"):
        stage.storage.delete(name)
        if name in older:
            stage.storage.put_new(name, older[name])
    stage.publish()
    public_log.check(REGION)
    assert tiles.items() <= public_files(stage).items()


def test_a_log_whose_files_are_all_gone_is_laid_out_again_from_the_database(
    stage: Publishing, public_log: PublicLog
) -> None:
    for number in (1, 2, 3):
        publish_one(stage, number)
    size = public_log.checkpoint().size
    for name in stage.storage.names("log/"):
        stage.storage.delete(name)
    stage.publish()
    public_log.check(REGION)
    assert public_log.checkpoint().size >= size


@pytest.mark.parametrize("path", [LOG_CHECKPOINT_PATH, shard_checkpoint_path(2026)])
def test_a_damaged_or_lost_checkpoint_is_written_anew(
    stage: Publishing, public_log: PublicLog, path: str
) -> None:
    publish_one(stage, 1)
    intact = stage.fetch(path)
    for damaged in (b"\xff torn", intact[:40], intact.replace(b"\n9\n", b"\n8\n")):
        stage.storage.replace(path, damaged)
        stage.publish()
        public_log.check(REGION)
        stage.storage.delete(path)
        stage.publish()
        public_log.check(REGION)


def test_a_tile_that_is_gone_or_damaged_at_the_right_edge_is_made_again_or_told(
    stage: Publishing, public_log: PublicLog
) -> None:
    publish_one(stage, 1)
    path = shard_tile_path(2026, Tile(0, 0, public_log.checkpoint().size))
    stage.storage.delete(path)
    stage.publish()
    public_log.check(REGION)


def test_a_retirement_takes_back_nothing_twice_and_signs_nothing_either(stage: Publishing) -> None:
    publish_one(stage, 1)
    backup = Backup(stage.engine)
    publish_one(stage, 2)
    backup.restore(stage.engine)
    before = public_files(stage)
    with pytest.raises(LogSetBack):
        stage.retire()
    assert public_files(stage) == before
    with stage.new_session() as session:
        assert session.scalar(select(func.count()).select_from(Batch)) == 2
    stage.retire()


def test_a_backup_from_before_the_years_turn_is_led_into_the_new_year(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.clock.now = END + 198 * DAY  # the 30th of December
    end = NOON + 197 * 144

    def publish_late(number: int) -> None:
        stage.collect([key_ending(end, number)])
        stage.publish()
        stage.clock.advance(HOUR)

    publish_late(1)
    backup = Backup(stage.engine)
    publish_late(2)
    stage.clock.advance(3 * DAY)
    publish_late(3)
    assert public_log.years() == [2026, 2027]
    backup.restore(stage.engine)
    with pytest.raises(
        LogSetBack, match=r"keys/2027 has \d+ published leaves, the database has \d+ of .*/2026"
    ):
        stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    public_log.check(REGION)
    assert stage.published() == {(key_ending(NOON, n).key_data, False): 1 for n in (1, 2, 3)}


def test_a_backup_of_before_a_head_that_waits_for_its_quorum_is_mended_from_our_own_tiles(
    stage: Publishing, public_log: PublicLog
) -> None:
    """One witness has cosigned it, no pointer leads to it, and the database is set back to before it."""
    witnesses = Witnesses(stage.clock, "one", "two", quorum=2)
    stage.log = replace(stage.log, **witnesses.settings())
    publish_one(stage, 1)
    shown = public_log.checkpoint()
    backup = Backup(stage.engine)
    witnesses["two"].is_down = True
    stage.collect([key_ending(NOON - 144, 2)])
    assert stage.publish().unwitnessed is True
    assert public_log.checkpoint() == shown
    held = witnesses["one"].held[shown.origin]
    backup.restore(stage.engine)

    with pytest.raises(LogSetBack, match=r"has 11 published leaves.*are back from our own tiles"):
        stage.publish()
    with stage.new_session() as session:
        shard = session.get_one(LogShard, 2026)
        assert (shard.size, shard.root, shard.published_size) == (held.size, held.root, shown.size)
    stage.clock.advance(HOUR)
    witnesses["two"].is_down = False
    outcome = stage.publish()
    assert (outcome.unwitnessed, outcome.failed_open) == (False, False)
    public_log.check(REGION)
    assert stage.published() == {(key_ending(NOON, n).key_data, False): 1 for n in (1, 2)}


def test_a_note_that_was_stored_and_not_committed_is_the_head_of_the_next_run(
    stage: Publishing, public_log: PublicLog
) -> None:
    publish_one(stage, 1)
    stage.collect([key_ending(NOON - 144, 2)])
    with pytest.raises(OSError, match="power"):
        stage.publish(storage=StoringThenFailing(stage.storage, shard_signed_path(2026)))
    signed = stage.fetch(shard_signed_path(2026))
    assert stage.fetch(LOG_CHECKPOINT_PATH) != signed
    with stage.new_session() as session:
        assert session.get_one(LogShard, 2026).checkpoint != signed
    stage.publish()
    assert stage.fetch(LOG_CHECKPOINT_PATH) == signed, "the very note: this size is signed once"
    public_log.check(REGION)
    assert stage.published() == {(key_ending(NOON, n).key_data, False): 1 for n in (1, 2)}


def test_a_tile_is_not_written_over_unless_it_is_shown_that_nobody_has_signed_it(stage: Publishing) -> None:
    publish_one(stage, 1)
    backup = Backup(stage.engine)
    files = {path: stage.fetch(path) for path in stage.storage.names("log/") if "/tile/" not in path}
    publish_one(stage, 2)
    publish_one(stage, 3)
    newer = {path: stage.fetch(path) for path in stage.storage.names("log/") if "/tile/" in path}
    # Database and checkpoints of before, and the tiles of after: somebody copied what he found.
    backup.restore(stage.engine)
    for path, content in files.items():
        stage.storage.replace(path, content)
    stage.storage.delete(shard_signed_path(2026))
    for _ in range(2):
        with pytest.raises(StorageConflict, match="cannot be shown that nobody has signed them"):
            stage.publish()
    assert newer.items() <= public_files(stage).items()
    assert stage.storage.read(shard_signed_path(2026)) is None


def test_years_that_were_skipped_are_looked_into_when_the_current_checkpoint_is_gone(
    stage: Publishing, public_log: PublicLog
) -> None:
    publish_one(stage, 1)
    backup = Backup(stage.engine)
    stage.clock.advance(2 * 366 * DAY)
    stage.publish()
    assert public_log.years() == [2026, 2028]
    stage.clock.advance(2 * 366 * DAY)
    backup.restore(stage.engine)
    stage.storage.delete(LOG_CHECKPOINT_PATH)
    with pytest.raises(LogSetBack, match="keys/2028 has"):
        stage.publish()


def test_keys_of_another_registry_cannot_take_the_folder_over(stage: Publishing) -> None:
    publish_one(stage, 1)
    wipe(stage.engine)
    stage.add_signer(stage.signers.pop(), until=END + 10_000 * DAY)
    own, stage.log = stage.log, replace(stage.log, signers=NoteKeys())
    with pytest.raises(LogForked, match="signed by other keys than ours of 2026"):
        stage.publish()
    stage.log = own
    with pytest.raises(LogSetBack):
        stage.publish()
    assert stage.storage.names(f"{EXPOSURES}/{REGION}/index/")
