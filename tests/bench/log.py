"""What the log costs: work per publish, bytes that a phone fetches, appending, and rebuilding it whole.

The limits are what no log can do without: the syncs of its files and commits, the hashes of its bytes.
"""

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from sqlalchemy import event, insert
from sqlalchemy.orm import Session

from registry.client.monitor.rebuild import rebuild_shard
from registry.lifecycle.publish.advancing import advance
from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.appending import append_due
from registry.lifecycle.publish.batches import finish_sealed
from registry.lifecycle.publish.policy import PUBLISH_LEASE
from registry.lifecycle.publish.recovery import check_not_set_back
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.lifecycle.publish.sealing import seal_windows
from registry.lifecycle.publish.side_by_side import Work
from registry.models import CollectingBase, LogEntry, LogShard, open_database, transaction
from registry.models.lease import leased
from registry.protocol.checkpoint import Checkpoint, cosign, sign_checkpoint
from registry.protocol.index import shard_checkpoint_path, shard_tile_path
from registry.protocol.leaves import (
    BatchLeaf,
    IndexLeaf,
    encode_leaf,
    encode_region_proof,
    prove_region,
    regions_root,
)
from registry.protocol.merkle import inclusion_path, leaf_hash, leaf_hashes_of, tree_root
from registry.protocol.note import KeyKind, Note, encode_note, verifier_key
from registry.protocol.proof import LogProof, encode_proof
from registry.protocol.tiles import WIDTH, Tile, encode_bundle, new_tiles, node_reader, tile_levels
from registry.protocol.trust import shard_origin
from registry.signing.note_key import NoteKey
from registry.storage.local import LocalStorage
from registry.transparency.layout import first_of_bundle, lay_out
from tests.bench.measure import Measurement, Pair, Target
from tests.clock import FakeClock
from tests.publishing import HOUR, HOURLY, MemoryStorage, Publishing

YEAR = 2026
ORIGIN = f"registry.health.example/keys/{YEAR}"
MILLION = 1_000_000
YEAR_OF_LEAVES = 365_000
REGIONS = [f"X{chr(65 + number // 26)}-{chr(65 + number % 26)}{number % 10}" for number in range(40)]
NOON = 1_781_524_800


def _leaf(number: int) -> bytes:
    """A batch leaf as they are: some 250 bytes."""
    draw = random.Random(number)
    return encode_leaf(BatchLeaf("XA", number + 1, NOON, NOON + 3600, draw.randbytes(32), draw.randbytes(32)))


@cache
def _leaves(number: int) -> tuple[bytes, ...]:
    return tuple(map(_leaf, range(number)))


def _keys() -> list[NoteKey]:
    """The log's two keys."""
    return [
        NoteKey(Ed25519PrivateKey.generate(), ORIGIN, KeyKind.ED25519),
        NoteKey(MLDSA44PrivateKey.generate(), ORIGIN, KeyKind.ML_DSA_44),
    ]


def _files(entries: Sequence[bytes]) -> tuple[dict[str, bytes], bytes]:
    """A log's tiles and bundles by their paths, and its root."""
    hashes = leaf_hashes_of(entries)
    levels = tile_levels(hashes)
    files: dict[str, bytes] = {}
    for tile in new_tiles(0, len(entries)):
        first = tile.number * WIDTH
        if tile.level is None:
            content = encode_bundle(entries[first : first + tile.width])
        else:
            content = b"".join(levels[tile.level][first : first + tile.width])
        files[shard_tile_path(YEAR, tile)] = content
    return files, tree_root(hashes)


def _lay_out(folder: Path, entries: Sequence[bytes]) -> bytes:
    """Write a log's tiles and bundles without syncing anything; its root."""
    files, root = _files(entries)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


# ------------------------------------------------------- work per publish


@contextmanager
def _publish_at_a_million() -> Iterator[Pair]:
    """What a publish of 40 regions does for the log, against the same durable writes and commits alone."""
    with TemporaryDirectory(prefix="registry-bench-") as name, _log_of_a_million(Path(name)) as stage:
        writes = _Writes(stage)
        bare = Path(name) / "bare"
        bare.mkdir()

        def ours() -> float:
            with _next_window(stage) as run, writes.noted():
                began = time.perf_counter()
                failures = Failures(run.session)
                check_not_set_back(run)
                append_due(run, REGIONS, failures)
                advanced = advance(run, failures)
                spent = time.perf_counter() - began
            failures.tell(None)
            if not advanced.is_published or len(writes.sizes) < 3 * len(REGIONS):
                raise RuntimeError(f"only {len(writes.sizes)} files were written")
            return 1000 * spent

        ours()  # the first indexes, keys and policy; folders, caches
        yield Pair(ours, lambda: 1000 * writes.alone(bare))


@contextmanager
def _log_of_a_million(folder: Path) -> Iterator[Publishing]:
    """A registry on disk whose log has a million leaves, and nothing else behind it."""
    entries = _leaves(MILLION)
    root = _lay_out(folder / "public", entries)
    engine = open_database(f"sqlite:///{folder}/collecting.sqlite")
    CollectingBase.metadata.create_all(engine)
    stage = Publishing(engine, LocalStorage(folder / "public"), FakeClock())
    checkpoint = Checkpoint(shard_origin(stage.log.origin, YEAR), MILLION, root)
    note = encode_note(sign_checkpoint(checkpoint, stage.log.signers(YEAR), now=stage.clock()))
    with engine.begin() as connection:
        for first in range(0, MILLION, 50_000):
            part = enumerate(entries[first : first + 50_000], start=first)
            connection.execute(
                insert(LogEntry), [{"year": YEAR, "number": number, "entry": entry} for number, entry in part]
            )
    with Session(engine) as session, transaction(session):
        shard = LogShard(year=YEAR, origin=checkpoint.origin, size=MILLION, root=root, checkpoint=note)
        session.add(shard)
    yield stage
    engine.dispose()


@contextmanager
def _next_window(stage: Publishing) -> Iterator[Run]:
    """A run at the end of the next window, every region's batch of it sealed, its manifest recorded."""
    stage.clock.advance(HOUR)
    with (
        stage.new_session() as session,
        leased(session, PUBLISH_LEASE, "bench", stage.clock(), 300) as fence,
    ):
        if fence is None:
            raise RuntimeError("somebody else holds the lease of a database made here")
        run = Run(
            session, stage.storage, stage.log, PUBLISH_LEASE, fence, stage.clock(), HOURLY, "demo", REGIONS
        )
        with run.fenced():
            seal_windows(session, REGIONS, policy=HOURLY, now=run.now)
        no_keys = ExportKeys({}, ())
        for region in REGIONS:
            _without_files(finish_sealed(run, no_keys, region, []))
        yield run


def _without_files(work: Work) -> None:
    """Carry out what has no files to make, as windows without keys have none."""
    try:
        jobs = next(work)
        while not jobs:
            jobs = work.send([])
    except StopIteration:
        return
    raise RuntimeError("an empty window has no files to be made")


class _Writes:
    """What a publish makes durable: each file, with its size, and each commit that wrote anything."""

    def __init__(self, stage: Publishing) -> None:
        self.sizes: list[int] = []
        self.commits = 0
        self._has_written = self._is_noting = False
        event.listen(stage.engine, "after_cursor_execute", self._statement)
        event.listen(stage.engine, "commit", self._commit)

    def _statement(self, *said: Any) -> None:
        self._has_written |= said[2].lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))

    def _commit(self, _connection: object) -> None:
        self.commits += self._has_written and self._is_noting
        self._has_written = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        self.sizes, self.commits = [], 0
        put_new, replace = LocalStorage.put_new, LocalStorage.replace

        def noting_new(storage: LocalStorage, path: str, content: bytes) -> bool:
            self.sizes.append(len(content))
            return put_new(storage, path, content)

        def noting_replaced(storage: LocalStorage, path: str, content: bytes) -> None:
            self.sizes.append(len(content))
            replace(storage, path, content)

        self._is_noting = True
        with (
            patch.object(LocalStorage, "put_new", noting_new),
            patch.object(LocalStorage, "replace", noting_replaced),
        ):
            yield
        self._is_noting = False

    def alone(self, folder: Path) -> float:
        """Seconds of as many files written aside, synced, named, their folder synced; and of synced pages."""
        contents = [os.urandom(size) for size in self.sizes]
        page = os.urandom(4096)
        journal = os.open(folder / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        began = time.perf_counter()
        for number, content in enumerate(contents):
            aside = folder / f"aside-{number}"
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, content)
            os.fsync(descriptor)
            os.close(descriptor)
            os.rename(aside, folder / f"file-{number}")  # noqa: PTH104  # no more than must be
            os.fsync(above)
        for _ in range(self.commits):
            os.write(journal, page)
            os.fsync(journal)
        spent = time.perf_counter() - began
        os.close(journal)
        os.close(above)
        return spent


# ------------------------------------------------- what a phone fetches


def _phone_fetch(size: int) -> tuple[float, float]:
    """(bytes of a phone's proof at `size` leaves, bytes of the hashes and signatures alone in it)."""
    digests = {region: sha256(region.encode()).digest() for region in REGIONS}
    leaf = encode_leaf(IndexLeaf(NOON, len(REGIONS), regions_root(digests), size - 42))
    draw = random.Random(size)
    hashes = [draw.randbytes(32) for _ in range(size - 1)] + [leaf_hash(leaf)]
    levels = tile_levels(hashes)

    def fetch(tile: Tile) -> bytes:
        first = tile.number * WIDTH
        return b"".join(levels[tile.level or 0][first : first + tile.width])

    path = tuple(inclusion_path(size - 1, size, node_reader(fetch, size)))
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree_root(hashes)), _keys()[:1], now=NOON)
    witnesses = [
        NoteKey(Ed25519PrivateKey.generate(), f"witness-{number}.health.example", KeyKind.COSIGNATURE_V1)
        for number in range(3)
    ]
    lines = [cosign(note, witness, now=NOON) for witness in witnesses]
    checkpoint = encode_note(Note(note.text, (*note.signatures, *lines)))
    region = prove_region(leaf, digests, REGIONS[17])
    proof = encode_proof(LogProof(size - 1, path, checkpoint, encode_region_proof(region)))
    bare = 32 * (len(path) + len(region.path) + 2) + 64 * 4 + len(leaf)
    return len(proof), bare


def _fetched(size: int) -> Iterator[Pair]:
    figures = _phone_fetch(size)
    yield Pair(lambda: figures[0], lambda: figures[1])


@contextmanager
def _fetch_at_a_million() -> Iterator[Pair]:
    yield from _fetched(MILLION)


@contextmanager
def _fetch_at_worst() -> Iterator[Pair]:
    """2^20 - 1 leaves: no smaller log has as long a path to its last leaf."""
    yield from _fetched(2**20 - 1)


# ----------------------------------------------------- hashing and files


def _hash_alone(entries: Sequence[bytes]) -> float:
    """Seconds of hashing the leaves' bytes, and as many nodes."""
    node = b"\x01" + bytes(64)
    began = time.process_time()
    for entry in entries:
        sha256(b"\x00" + entry).digest()
    for _ in entries:
        sha256(node).digest()
    return time.process_time() - began


@contextmanager
def _append() -> Iterator[Pair]:
    size = YEAR_OF_LEAVES
    entries = _leaves(size + 1000)
    files, root = _files(entries[:size])

    def ours() -> float:
        storage = MemoryStorage()
        storage.content |= files
        given = entries[first_of_bundle(size) :]
        began = time.process_time()
        lay_out(
            storage,
            YEAR,
            old_size=size,
            old_root=root,
            new_size=len(entries),
            entries=given,
            may_replace=lambda: False,
        )
        return 1000 * (time.process_time() - began)

    yield Pair(ours, lambda: 1000 * _hash_alone(entries[size:]))


@contextmanager
def _rebuild() -> Iterator[Pair]:
    entries = _leaves(YEAR_OF_LEAVES)
    with TemporaryDirectory(prefix="registry-bench-") as name:
        folder = Path(name)
        root = _lay_out(folder, entries)
        keys = _keys()
        signed = sign_checkpoint(Checkpoint(ORIGIN, len(entries), root), keys, now=NOON)
        (folder / shard_checkpoint_path(YEAR)).write_bytes(encode_note(signed))
        storage = LocalStorage(folder)

        def ours() -> float:
            began = time.process_time()
            found = rebuild_shard(storage.read, YEAR, [verifier_key(key) for key in keys])
            spent = time.process_time() - began
            if found.faults or found.entries != len(entries):
                raise RuntimeError(f"the log does not hold: {found.faults[:1]}")
            return spent

        yield Pair(ours, lambda: _hash_alone(entries))


MEASUREMENTS = (
    Measurement(
        "log_work_per_publish_at_1m_leaves",
        "ms",
        "the same files and commits made durable, no more: each file written aside, synced, named, its "
        "folder synced; each commit a page, synced. Ours: all that a publish of 40 regions does for the log, "
        "the comparison at its start included: 40 batches and their indexes sequenced, laid out, read back, "
        "signed twice, 40 proofs and indexes shown. Not in it: witnesses, sealing, manifests, export files",
        Target(3, at_most=True),
        _publish_at_a_million,
        full=True,
    ),
    Measurement(
        "phone_fetch_bytes_at_1m_leaves",
        "B",
        "the hashes, signatures and the leaf in it as raw bytes. Proof, leaf and path for one of 40 regions, "
        "three Ed25519 cosignatures. The target is 2,000 B",
        Target(2000, at_most=True, absolute=True, tolerance=0),
        _fetch_at_a_million,
        runs=1,
    ),
    Measurement(
        "phone_fetch_bytes_at_worst_below_2_20",
        "B",
        "the same, with the longest path that a log of less than 2^20 leaves has. The target is 2,300 B",
        Target(2300, at_most=True, absolute=True, tolerance=0),
        _fetch_at_worst,
        runs=1,
    ),
    Measurement(
        "log_append_1000_leaves",
        "ms",
        "hashing the same bytes once. Ours: the publisher's own laying out of one checkpoint, into a storage "
        "in memory: leaves and nodes hashed, bundles and tiles stored, all read back, and hashed once more "
        "from what was read; the old right edge of 200 leaves held against its signed root",
        Target(3, at_most=True),
        _append,
        runs=15,
    ),
    Measurement(
        "log_rebuild_365000_leaves",
        "s",
        "hashing the same bytes. Ours: every bundle and tile read from disk, compared, and the signed root",
        Target(3, at_most=True),
        _rebuild,
    ),
)
