"""The log as it grows, window by window, read from its public files alone."""

from dataclasses import replace
from hashlib import sha256

import pytest
from sqlalchemy import delete, func, select, update

from registry.errors import ConfigurationError, LogForked, LogSetBack, StorageConflict
from registry.lifecycle.publish.policy import PHONES_TOLERATE_SECONDS
from registry.lifecycle.shelves import open_shelves
from registry.models import (
    Batch,
    LogEntry,
    LogKey,
    LogShard,
    Receipt,
    RegionIndex,
    TrustFile,
    transaction,
)
from registry.protocol.checkpoint import Checkpoint
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    shard_checkpoint_path,
    shard_signed_path,
    shard_tile_path,
)
from registry.protocol.leaves import ActivityLeaf, BatchLeaf, IndexLeaf, KeyLeaf, PolicyLeaf, leaf_type
from registry.protocol.manifest import decode_manifest
from registry.protocol.receipt import all_receipt_leaves
from registry.protocol.tiles import Tile
from registry.storage import Storage
from tests.publishing import (
    DAY,
    HOUR,
    HOURLY,
    NOON,
    REGION,
    FailingStorage,
    NoteKey,
    NoteKeys,
    Publishing,
    in_memory,
    key_ending,
    new_signer,
)
from tests.transparency.backup import Backup
from tests.transparency.public_log import PublicLog


def types(log: PublicLog) -> list[str]:
    return [leaf_type(leaf) for leaf in log.leaves()]


def test_the_first_window_brings_keys_policy_batch_and_index(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    stage.publish()
    public_log.check(REGION)
    assert types(public_log) == ["key"] * 6 + ["policy", "batch", "index"]
    keys = [leaf for leaf in public_log.leaves() if isinstance(leaf, KeyLeaf)]
    origin = stage.log.origin
    names = [(leaf.purpose, leaf.name) for leaf in keys]
    logs = [("log", f"{origin}/{year}") for year in (2026, 2026, 2027, 2027)]
    assert names == [*logs, ("trust", f"{origin}/trust"), ("export", "310-v1")]
    assert {leaf.action for leaf in keys} == {"added"}
    assert public_log.checkpoint() == public_log.checkpoint(shard_checkpoint_path(2026))


def test_an_idle_run_appends_nothing_and_writes_nothing(stage: Publishing, public_log: PublicLog) -> None:
    stage.publish()
    before = {name: stage.fetch(name) for name in stage.storage.names("")}
    for _ in range(3):
        stage.clock.advance(HOUR / 4)
        stage.publish()
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == before
    public_log.check(REGION)


def test_windows_without_keys_are_in_the_log_with_a_manifest_and_decoys(
    stage: Publishing, public_log: PublicLog
) -> None:
    for _ in range(4):
        stage.publish(regions=["XA", "XB"])
        stage.clock.advance(HOUR)
    public_log.check("XA", "XB")
    batches = [leaf for leaf in public_log.leaves() if isinstance(leaf, BatchLeaf)]
    assert [(leaf.region, leaf.sequence) for leaf in batches] == [
        (region, number) for number in (1, 2, 3, 4) for region in ("XA", "XB")
    ]
    for leaf in batches:
        content = stage.fetch(f"exposures/{leaf.region}/manifest/{leaf.manifest.hex()}.json")
        manifest = decode_manifest(content)
        assert (manifest.files, manifest.key_count, len(manifest.receipts)) == ((), 0, 16)
    assert len({leaf.manifest for leaf in batches}) == 8, "each has a salt of its own"


def test_receipts_of_a_region_go_out_with_its_next_window_among_decoys(stage: Publishing) -> None:
    real = [sha256(b"%d" % number).digest() for number in range(17)]
    with transaction(stage.new_session()) as session:
        shelf = open_shelves(session, REGION, [0])[0]
        session.add_all(Receipt(commitment=one, region=REGION, content=b"{}", shelf_id=shelf) for one in real)
        session.add(Receipt(commitment=sha256(b"elsewhere").digest(), region="XB", content=b"{}"))
    stage.publish()
    (batch,) = stage.batches()
    manifest = stage.manifest(batch)
    assert manifest.receipts == all_receipt_leaves(real, batch.seed)
    assert len(manifest.receipts) == 32
    assert manifest.seed_sha256 == sha256(batch.seed).digest()
    with stage.new_session() as session:
        elsewhere = session.get_one(Receipt, sha256(b"elsewhere").digest())
        assert elsewhere.batch_id is None, "that region's window is not closed yet"


def test_the_manifest_says_what_its_files_are(stage: Publishing) -> None:
    stage.add_signer(new_signer("310", "v2"), until=stage.clock() + DAY)
    stage.collect([key_ending(NOON - 144, number) for number in range(5)])
    stage.publish(policy=replace(HOURLY, keys_per_file=2))
    (batch,) = stage.batches()
    manifest = stage.manifest(batch)
    assert [file.keys for file in manifest.files] == [2, 2, 1, 5], "the compact file is never split"
    assert manifest.key_count == 5
    assert all(set(file.signing_keys) == {("310", "v1"), ("310", "v2")} for file in manifest.files)
    for file in manifest.files:
        content = stage.fetch(f"exposures/{file.path}")
        assert (sha256(content).hexdigest(), len(content)) == (file.sha256, file.size)


def test_three_hundred_leaves_fill_tiles_and_partial_ones_go_with_the_next_retirement() -> None:
    stage = in_memory()
    public_log = PublicLog(stage.storage, stage.log)
    for _ in range(150):
        stage.publish()
        stage.clock.advance(HOUR)
    size = public_log.checkpoint().size
    assert size > 300
    assert stage.storage.read(shard_tile_path(2026, Tile(0, 0, 13))) is not None
    stage.retire()
    assert stage.storage.read(shard_tile_path(2026, Tile(0, 0, 13))) is None
    assert stage.storage.read(shard_tile_path(2026, Tile(0, 0))) is not None
    assert stage.storage.names("log/2026/tile/1/")
    public_log.check(REGION)
    stage.publish()
    public_log.check(REGION)


def test_a_new_export_key_is_in_the_log_before_any_file_that_it_signs(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.publish()
    stage.add_signer(new_signer("310", "v2"), until=stage.clock() + 30 * DAY)
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.publish()
    public_log.check(REGION)
    newest = public_log.leaves()[-4:]
    assert [leaf_type(leaf) for leaf in newest] == ["key", "policy", "batch", "index"]
    assert isinstance(newest[0], KeyLeaf)
    assert (newest[0].action, newest[0].name) == ("added", "310-v2")
    assert isinstance(newest[1], PolicyLeaf)
    assert newest[1].sequence == 2
    stage.clock.advance(60 * DAY)
    stage.publish()
    gone = [leaf for leaf in public_log.leaves() if isinstance(leaf, KeyLeaf) and leaf.action == "retired"]
    assert [leaf.name for leaf in gone] == ["310-v2"]


def test_the_trust_note_is_renewed_at_half_of_its_life(stage: Publishing, public_log: PublicLog) -> None:
    stage.publish()
    stage.clock.advance(15 * DAY - 1)
    stage.publish()
    assert types(public_log).count("policy") == 1
    stage.clock.advance(1)
    stage.publish()
    assert types(public_log).count("policy") == 2
    public_log.check(REGION)


class FakeActs:
    def __init__(self) -> None:
        self.commitment: bytes | None = None
        self.places: list[tuple[int, int]] = []
        self.lost: list[tuple[int, int]] = []
        self.policies: list[int] = []

    def due(self, now: float) -> bytes | None:
        return self.commitment

    def logged(self, now: float, year: int, number: int) -> None:
        self.places.append((year, number))

    def passed_over(self, now: float, year: int, number: int) -> None:
        self.lost.append((year, number))

    def policy_changed(self, now: float, sequence: int) -> None:
        self.policies.append(sequence)


def test_the_days_anchor_is_logged_once_even_if_nobody_noted_it(
    stage: Publishing, public_log: PublicLog
) -> None:
    anchors = FakeActs()
    stage.log = replace(stage.log, acts=anchors)
    anchors.commitment = sha256(b"heads of monday").digest()
    for _ in range(3):
        stage.publish()
        stage.clock.advance(60)
    leaves = public_log.leaves()
    numbers = [number for number, leaf in enumerate(leaves) if isinstance(leaf, ActivityLeaf)]
    assert len(numbers) == 1
    assert anchors.places == [(2026, numbers[0])] * 3, "told again each time, for it may have been lost"
    anchors.commitment = None
    stage.clock.advance(DAY)
    stage.publish()
    anchors.commitment = sha256(b"heads of tuesday").digest()
    stage.publish()
    assert types(public_log).count("activity") == 2
    assert anchors.lost == []
    public_log.check(REGION)


def test_a_day_that_has_an_anchor_gets_no_other_and_its_acts_are_told(
    stage: Publishing, public_log: PublicLog
) -> None:
    """The acts' database came back from a backup of the morning: it makes another commitment of the day."""
    acts = FakeActs()
    stage.log = replace(stage.log, acts=acts)
    acts.commitment = sha256(b"heads of monday").digest()
    stage.publish()
    number = types(public_log).index("activity")
    acts.commitment = sha256(b"heads of monday, after a backup was restored").digest()
    for _ in range(2):
        stage.clock.advance(HOUR)
        stage.publish()
    assert types(public_log).count("activity") == 1
    assert acts.places == [(2026, number)]
    assert acts.lost == [(2026, number)] * 2
    # So it is too when the log's own database is the one that was lost.
    backup = Backup(stage.engine)
    stage.clock.advance(DAY)
    acts.commitment = sha256(b"heads of tuesday").digest()
    stage.publish()
    backup.restore(stage.engine)
    acts.commitment = sha256(b"heads of tuesday, of another backup").digest()
    with pytest.raises(LogSetBack):
        stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    assert types(public_log).count("activity") == 2


def test_a_change_of_policy_is_put_on_record_and_a_renewal_is_not(stage: Publishing) -> None:
    acts = FakeActs()
    stage.log = replace(stage.log, acts=acts)
    for _ in range(2):
        stage.publish()
        stage.clock.advance(HOUR)
    assert acts.policies == [1]
    stage.publish(policy=replace(HOURLY, floor=2))
    assert acts.policies == [1, 2]
    stage.clock.advance(16 * DAY)  # half of the note's life
    stage.publish(policy=replace(HOURLY, floor=2))
    with stage.new_session() as session:
        assert session.scalar(select(func.max(TrustFile.sequence))) == 3
    assert acts.policies == [1, 2]


@pytest.mark.parametrize("step", [60, 20 * 60, PHONES_TOLERATE_SECONDS])
def test_after_a_small_step_of_the_clock_back_no_index_leaf_is_older_than_the_one_before(
    stage: Publishing, public_log: PublicLog, step: int
) -> None:
    stage.publish()
    stage.clock.advance(HOUR)
    stage.publish()
    stage.clock.advance(-step)
    stage.publish(policy=replace(HOURLY, floor=2))  # there is something new to say
    stage.clock.advance(DAY)
    stage.publish(policy=replace(HOURLY, floor=2))
    times = [leaf.issued_at for leaf in public_log.leaves() if isinstance(leaf, IndexLeaf)]
    assert len(times) == 4
    assert times == sorted(times)
    public_log.check(REGION)


def test_a_clock_that_is_further_behind_appends_nothing_and_says_so(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.publish()
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)])
    stage.publish()
    size = public_log.checkpoint().size
    stage.collect([key_ending(NOON - 144, 2)])
    stage.clock.advance(-PHONES_TOLERATE_SECONDS - 1)
    outcome = stage.publish(policy=replace(HOURLY, floor=2))
    assert (outcome.clock_behind, outcome.windows_sealed) == (True, 0)
    stage.retire()
    assert public_log.checkpoint().size == size
    stage.clock.advance(PHONES_TOLERATE_SECONDS + 1 + HOUR)
    assert stage.publish().clock_behind is False
    public_log.check(REGION)
    assert len(stage.published()) == 2


def test_an_index_leaf_covers_every_region_and_one_in_trouble_keeps_its_last(
    stage: Publishing, public_log: PublicLog
) -> None:
    stage.publish(regions=["XA", "XB"])
    before = stage.fetch("exposures/XB/index.json")
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 1)], regions=["XA", "XB"])
    stage.storage.put_new("exposures/XB/1781524800-1781528400-00001.zip", b"other bytes")
    with pytest.raises(Exception, match="written once"):
        stage.publish(regions=["XA", "XB"])
    public_log.check("XA", "XB")
    assert stage.fetch("exposures/XB/index.json") == before
    assert isinstance(leaf := public_log.leaves()[-1], IndexLeaf)
    assert leaf.regions == 2
    stage.storage.delete("exposures/XB/1781524800-1781528400-00001.zip")
    stage.publish(regions=["XA", "XB"])
    public_log.check("XA", "XB")
    assert len(stage.published("XB")) == 1


# ------------------------------------------------------------ what must never be signed


def test_a_leaf_that_changed_in_the_database_is_not_signed(stage: Publishing, public_log: PublicLog) -> None:
    stage.publish()
    before = public_log.checkpoint()
    with transaction(stage.new_session()) as session:
        session.execute(update(LogEntry).where(LogEntry.number == 3).values(entry=b"{}"))
    stage.clock.advance(HOUR)
    with pytest.raises(StorageConflict, match="does not go with the log's leaves"):
        stage.publish()
    assert public_log.checkpoint() == before


class FlippingStorage(FailingStorage):
    """Flips the last bit of what is written under a path that contains `part`, while it is being written."""

    def __init__(self, storage: Storage, part: str) -> None:
        super().__init__(storage, lambda _call, _path: False, OSError())
        self.part = part

    def put_new(self, path: str, content: bytes) -> bool:
        if self.part in path:
            content = bytes([*content[:-1], content[-1] ^ 1])
        return super().put_new(path, content)


@pytest.mark.parametrize("part", ["/tile/0/", "/tile/entries/"])
def test_a_bit_that_flips_between_writing_and_signing_is_not_signed(
    stage: Publishing, public_log: PublicLog, part: str
) -> None:
    stage.publish()
    before = public_log.checkpoint()
    stage.clock.advance(HOUR)
    with pytest.raises(StorageConflict, match="log/2026 is not stored as it was written"):
        stage.publish(storage=FlippingStorage(stage.storage, part))
    assert public_log.checkpoint() == before
    stage.publish()
    public_log.check(REGION)
    assert public_log.checkpoint().size == before.size + 2


def test_keys_that_did_not_begin_the_shard_sign_nothing(stage: Publishing, public_log: PublicLog) -> None:
    stage.publish()
    own = stage.log
    stage.clock.advance(HOUR)
    stage.log = replace(own, signers=NoteKeys())
    with pytest.raises(LogForked, match="bring back the keys that began the shard"):
        stage.publish()
    stage.storage.delete(LOG_CHECKPOINT_PATH)
    stage.storage.delete(shard_checkpoint_path(2026))
    stage.storage.delete(shard_signed_path(2026))
    with pytest.raises(ConfigurationError, match="are not those that"):
        stage.publish()
    stage.log = own
    stage.publish()
    public_log.check(REGION)


def test_the_checkpoint_of_another_log_is_not_written_over(stage: Publishing) -> None:
    other = in_memory()
    other.log = NoteKeys("elsewhere.example/keys").log()
    other.publish()
    theirs = other.fetch(LOG_CHECKPOINT_PATH)
    stage.storage.replace(LOG_CHECKPOINT_PATH, theirs)
    with pytest.raises(
        LogForked, match=r"of the log elsewhere.example/keys/2026, ours is registry.example/keys"
    ):
        stage.publish()
    assert stage.fetch(LOG_CHECKPOINT_PATH) == theirs


def test_a_root_that_was_signed_is_never_signed_over(stage: Publishing, public_log: PublicLog) -> None:
    stage.publish()
    seen: dict[int, bytes] = {}

    class Watching(NoteKey):
        def __init__(self, inner: NoteKey) -> None:
            self._inner = inner
            self.name, self.kind, self.public_key = inner.name, inner.kind, inner.public_key

        def sign(self, message: bytes) -> bytes:
            if self.kind == 1:
                origin, size, root, _ = message.decode().split("\n")
                assert seen.setdefault(int(size), root.encode()) == root.encode()
                assert origin == self.name
            return self._inner.sign(message)

    inner = stage.log.signers
    stage.log = replace(stage.log, signers=lambda year: [Watching(one) for one in inner(year)])  # type: ignore[arg-type]
    for _ in range(5):
        stage.clock.advance(HOUR)
        stage.publish()
    assert len(seen) == 5
    assert isinstance(public_log.checkpoint(), Checkpoint)
    assert set(seen) >= {public_log.checkpoint().size}


def test_a_registry_of_before_the_log_gets_one_that_begins_with_all_that_it_has(
    stage: Publishing, public_log: PublicLog
) -> None:
    for number in (1, 2):
        stage.collect([key_ending(NOON - 144, number)])
        stage.publish()
        stage.clock.advance(HOUR)
    files = {name: stage.fetch(name) for name in stage.storage.names("") if name.endswith(".zip")}
    for name in stage.storage.names(""):
        if name.startswith("log/") or name.endswith((".note", ".tlog-proof")) or "/manifest/" in name:
            stage.storage.delete(name)
    with transaction(stage.new_session()) as session:
        for table in (LogShard, LogEntry, LogKey, RegionIndex, TrustFile):
            session.execute(delete(table))
        session.execute(update(Batch).values(manifest_sha256=None, log_year=None, log_number=None))
    stage.clock.advance(-HOUR)
    seen = stage.index()
    stage.publish()
    public_log.check(REGION)
    assert types(public_log) == ["key"] * 6 + ["policy", "batch", "batch", "index"]
    assert {name: stage.fetch(name) for name in files} == files, "no file was made anew"
    manifests = [stage.manifest(batch) for batch in stage.batches()]
    assert [manifest.key_count for manifest in manifests] == [1, 1]
    assert stage.index().issued_at >= seen.issued_at
