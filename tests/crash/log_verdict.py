"""What must hold of a registry's log right after a publish was spoilt, and after the next ordinary run.

Looked at from outside: a phone that had polled before, an app of old, an auditor's tools; and every note that
the log's key ever put its name to, wherever it is kept.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from sqlalchemy.orm import Session

from registry.client.monitor.rebuild import rebuild_shard
from registry.client.monitor.source import FolderSource
from registry.client.monitor.visit import Demands, Looking, look
from registry.models import open_database
from registry.models.log import log_entries, newest_shard, sequenced_size
from registry.protocol.certificate import load_public_key
from registry.protocol.checkpoint import Checkpoint, decode_checkpoint
from registry.protocol.export_file import check_export, read_zip, verify_signatures
from registry.protocol.index import (
    EXPOSURES,
    GAEN_ZIP,
    LOG_CHECKPOINT_PATH,
    TRUST_PATH,
    decode_index,
    decode_legacy_index,
    index_path,
    index_proof_path,
    legacy_index_path,
    shard_checkpoint_path,
    shard_tile_path,
)
from registry.protocol.intervals import utc_date
from registry.protocol.merkle import check_consistency, consistency_path, leaf_hash
from registry.protocol.note import decode_note, decode_vkey
from registry.protocol.proof import decode_proof
from registry.protocol.tiles import Tile, node_reader
from registry.protocol.trust import TrustMaterial, decode_trust
from registry.storage import Storage
from tests.crash.prepared import REGIONS, Place, Prepared


@dataclass
class Verdict:
    """One spoilt publish in `place`, and everything about it that must not be, in `wrong`."""

    prepared: Prepared
    place: Place
    wrong: list[str] = field(default_factory=list)
    notes: set[Checkpoint] = field(default_factory=set)
    """Every size and root that was ever signed, as far as it lies anywhere."""
    leaves: list[bytes] = field(default_factory=list)
    """What was sequenced when the process ended."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of each export file that lay there then."""

    @property
    def year(self) -> int:
        return utc_date(self.place.now).year

    def right_after(self) -> None:
        """The process is gone, or has given up; nothing is mended yet."""
        with self.told("right after"):
            self._poll(must_be_newest=False)
            self._read_as_app_of_old()
            self._recheck()
            self._collect()
            public = self.place.public
            self.digests = {name: _digest(public, name) for name in _exports(public)}

    def mended(self) -> None:
        """The next run is through."""
        with self.told("mended"):
            self._poll(must_be_newest=True)
            self._read_as_app_of_old()
            self._recheck()
            self._audit()
            earlier = list(self.leaves)
            self._collect()
            self._nothing_moved(earlier)
            self._one_root_a_size()
            self._each_key_once()
            self._nothing_left_over()

    @contextmanager
    def told(self, when: str) -> Iterator[None]:
        """What the block raises is one more thing that must not be."""
        try:
            yield
        except Exception as error:  # the other findings are to be told too
            self.wrong.append(f"{when}: {type(error).__name__}: {error}")

    # ------------------------------------------------------------ as phones and apps see it

    def _poll(self, *, must_be_newest: bool) -> None:
        with self.place.phone() as phone:
            report = phone.poll()
        for failure in report.failures:
            self.wrong.append(f"a phone: {failure.path}: {type(failure.error).__name__} {failure.error}")
        if not report.is_proven:
            self.wrong.append(f"a phone found no full proof: {report.warnings}")
        if must_be_newest:
            shard = self._newest_checkpoint()
            if report.proof is None or (report.proof.head.size, report.proof.head.root) != shard:
                self.wrong.append("a phone is not at the newest checkpoint")

    def _newest_checkpoint(self) -> tuple[int, bytes]:
        content = _there(self.place.public, LOG_CHECKPOINT_PATH)
        checkpoint = decode_checkpoint(decode_note(content).text)
        return checkpoint.size, checkpoint.root

    def _read_as_app_of_old(self) -> None:
        public, trust = self.place.public, self._trust()
        keys = {
            (key.key_id, key.key_version): load_public_key(key.public_key_pem)
            for key in trust.export_signing_keys
        }
        for region in REGIONS:
            for name in decode_legacy_index(_there(public, legacy_index_path(region))):
                export, signed, signatures = read_zip(_there(public, f"{EXPOSURES}/{name}"))
                verify_signatures(signed, signatures, keys)
                check_export(export, now=self.place.now)

    def _trust(self) -> TrustMaterial:
        return decode_trust(_there(self.place.public, TRUST_PATH))

    # ------------------------------------------------------------ as auditors see it

    def _recheck(self) -> None:
        keys = [decode_vkey(vkey) for vkey in self._trust().log_vkeys]
        rebuilt = rebuild_shard(self.place.public.read, self.year, keys, look_for_old_tiles=True)
        self.wrong += [f"recheck: {fault}" for fault in rebuilt.faults]

    def _audit(self) -> None:
        """Every rule, manifests and files included."""
        source = FolderSource(self.place.settings.public_dir)
        visit = look(source, Demands(), self.place.now, Looking())
        self.wrong += [f"audit: {fault}" for fault in visit.faults]

    # ------------------------------------------------------------ what was signed

    def _collect(self) -> None:
        """Note every checkpoint that lies anywhere, and the leaves that are sequenced."""
        self.notes |= set(_published_checkpoints(self.place.public, self.year))
        engine = open_database(self.place.collecting_url)
        with Session(engine) as session:
            shard = newest_shard(session)
            assert shard is not None
            self.notes.add(decode_checkpoint(decode_note(shard.checkpoint).text))
            self.leaves = log_entries(session, self.year, 0, sequenced_size(session, self.year))
            if engine.dialect.name == "sqlite":
                (sound,) = session.connection().exec_driver_sql("PRAGMA quick_check").fetchone() or ("",)
                if sound != "ok":
                    self.wrong.append(f"the database is damaged: {sound}")
        engine.dispose()
        origin = next(iter(self.notes)).origin
        witnessed, evidence = _witnessed(self.place, origin)
        self.notes |= witnessed
        if evidence:
            self.wrong.append(f"the witness holds {evidence} requests as evidence against the log")

    def _nothing_moved(self, earlier: Sequence[bytes]) -> None:
        if self.leaves[: len(earlier)] != earlier:
            self.wrong.append("a leaf that was sequenced has lost its place")
        for name, digest in self.digests.items():
            if name != self.prepared.withdrawn and _digest(self.place.public, name) != digest:
                self.wrong.append(f"{name} has changed")

    def _one_root_a_size(self) -> None:
        roots = {(note.origin, note.size): note.root for note in self.notes}
        if len(roots) != len(self.notes):
            self.wrong.append(f"two roots are signed for one size: {sorted(roots)}")
        newest = max(self.notes, key=lambda note: note.size)
        if (newest.size, newest.root) != self._newest_checkpoint():
            self.wrong.append(f"size {newest.size} is signed, and the public checkpoint is another")
        if newest.size <= self.prepared.size:
            self.wrong.append(f"the log has not grown beyond {newest.size}")
        node = node_reader(self._fetch, newest.size)
        for note in self.notes:
            if note.size == newest.size:
                continue
            check_consistency(
                old_size=note.size,
                old_root=note.root,
                new_size=newest.size,
                new_root=newest.root,
                path=consistency_path(note.size, newest.size, node),
            )
        hashes = [leaf_hash(leaf) for leaf in self.leaves]
        if [node(0, number) for number in range(newest.size)] != hashes[: newest.size]:
            self.wrong.append("tiles and database hold other leaves")

    def _fetch(self, tile: Tile) -> bytes:
        return _there(self.place.public, shard_tile_path(self.year, tile))

    # ------------------------------------------------------------ what was to be published

    def _each_key_once(self) -> None:
        public, withdrawn = self.place.public, self.prepared.withdrawn
        for region in REGIONS:
            folder = f"{EXPOSURES}/{region}/"
            gone = self.prepared.withdrawn_keys if withdrawn.startswith(folder) else frozenset()
            wanted = dict.fromkeys(self.prepared.keys - gone, 1)
            found: Counter[bytes] = Counter()
            for name in _exports(public):
                if name.startswith(folder) and name != withdrawn:
                    found.update(key.key_data for key in read_zip(_there(public, name))[0].keys)
            of_people = {key: times for key, times in found.items() if key in self.prepared.keys}
            if of_people != wanted:
                self.wrong.append(
                    f"{region}: {len(wanted)} keys to be published once each, found {of_people}"
                )
            if set(found.values()) - {1}:
                self.wrong.append(f"{region}: a decoy user's key is published more than once")
            index = decode_index(_there(public, index_path(region)))
            files = [file for window in index.windows for file in window.files]
            listed = sorted(file.path for file in files if file.format == GAEN_ZIP)
            if listed != decode_legacy_index(_there(public, legacy_index_path(region))):
                self.wrong.append(f"{region}: index.txt and index.json disagree")

    def _nothing_left_over(self) -> None:
        left = list(self.place.settings.public_dir.rglob(".tmp-*"))
        self.wrong += [f"{path} is left over" for path in left]


def _there(public: Storage, path: str) -> bytes:
    content = public.read(path)
    assert content is not None, f"{path} is not there"
    return content


def _digest(public: Storage, path: str) -> str:
    return sha256(_there(public, path)).hexdigest()


def _exports(public: Storage) -> list[str]:
    """The windows' files of existing phones."""
    return [name for name in public.names(EXPOSURES) if name.endswith(".zip") and "/daily/" not in name]


def _published_checkpoints(public: Storage, year: int) -> Iterator[Checkpoint]:
    notes = [_there(public, path) for path in (LOG_CHECKPOINT_PATH, shard_checkpoint_path(year))]
    notes += [decode_proof(_there(public, index_proof_path(region))).checkpoint for region in REGIONS]
    for note in notes:
        yield decode_checkpoint(decode_note(note).text)


def _witnessed(place: Place, origin: str) -> tuple[set[Checkpoint], int]:
    """(everything that the witness cosigned for the log, how many requests it keeps as evidence)."""
    with closing(sqlite3.connect(place.witness_settings.witness_path)) as connection:
        rows = connection.execute("SELECT size, root FROM cosigned WHERE origin = ?", (origin,)).fetchall()
        (evidence,) = connection.execute("SELECT count(*) FROM evidence").fetchone()
    return {Checkpoint(origin, size, root) for size, root in rows}, evidence
