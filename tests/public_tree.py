"""An honest registry's whole public folder, made from the protocol modules alone, and bent at will.

Made of nothing that publishes: no lifecycle, no transparency, no storage. So what auditors' tools and phones
are tested against is what the formats say, and the registry's own publisher is one more thing to be tested.

Each thing that is made passes through `bend` under a name (`export`, `zip`, `manifest`, `batch`, `leaves`,
`index`, `index_bytes`, `index_leaf`, `checkpoint`, `cosignatures`, `proof`, `trust`, `trust_note`): whoever
puts a function there is a registry that lies at that very step and goes on honestly from the lie.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from registry.protocol.activity import activity_commitment, encode_heads
from registry.protocol.checkpoint import Checkpoint, sign_checkpoint
from registry.protocol.committed import export_key_digest, export_key_name, note_key_digest
from registry.protocol.export_file import (
    ExportFile,
    SignatureInfo,
    encode_export,
    encode_signatures,
    pack,
)
from registry.protocol.index import (
    EXPOSURES,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    Index,
    IndexFile,
    IndexWindow,
    encode_index,
    encode_legacy_index,
    export_name,
    index_digest_path,
    index_path,
    index_proof_path,
    legacy_index_path,
    manifest_path,
)
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.keys import ReportType, TemporaryExposureKey, canonical_order
from registry.protocol.leaves import (
    ActivityLeaf,
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    KeyLeaf,
    Leaf,
    OpenLeaf,
    PolicyLeaf,
    WithdrawLeaf,
    encode_leaf,
    encode_region_proof,
    prove_region,
    regions_root,
)
from registry.protocol.manifest import Manifest, ManifestFile, encode_manifest
from registry.protocol.merkle import inclusion_path, leaf_hash, tree_root
from registry.protocol.note import KeyKind, Note, VerifierKey, encode_note
from registry.protocol.proof import LogProof, encode_proof
from registry.protocol.receipt import Receipt, all_receipt_leaves, commitment, encode_receipt
from registry.protocol.tiles import WIDTH, Tile, encode_bundle, new_tiles, tile_path
from registry.protocol.trust import TrustedKey, TrustMaterial, encode_trust, shard_origin, trust_key_name
from registry.protocol.trust_note import TrustNote, encode_trust_note, trust_digest
from registry.protocol.witness_policy import (
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    WitnessPolicy,
    encode_policy,
)
from tests.clock import FakeClock
from tests.protocol.made_signer import MadeSigner
from tests.tree_parts import (
    DAY,
    HOUR,
    INDEX_LIFE,
    NOTE_LIFE,
    ORIGIN,
    YEAR,
    Keys,
    MadeBatch,
    MadeShard,
    MadeWitness,
    log_signers,
    note_signer,
)

__all__ = [
    "DAY",
    "HOUR",
    "ORIGIN",
    "MadeBatch",
    "MadeShard",
    "MadeWitness",
    "PublicTree",
    "TreeSource",
    "log_signers",
    "note_signer",
]


class PublicTree:
    """The folder in `files`, by public path. Time is `clock`'s; randomness is seeded."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        regions: Sequence[str] = ("CN-HB", "XA"),
        witnesses: int = 3,
        quorum: int = 2,
        window: int = HOUR,
        retention_days: int = 21,
        monitoring: bool = False,
        profile: str = "production",
        bend: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.clock = clock
        self.regions = sorted(regions)
        self.window = window
        self.retention_days = retention_days
        self.profile = profile
        self.bend: dict[str, Callable[..., Any]] = dict(bend or {})
        self.random = random.Random(3)
        self.files: dict[str, bytes] = {}
        self.witnesses = [
            MadeWitness(note_signer(f"witness-{number}.example", KeyKind.COSIGNATURE_V1))
            for number in range(1, witnesses + 1)
        ]
        self.monitoring = monitoring
        self.quorum = quorum
        self.exporter = MadeSigner("XA_export", "1")
        self.exporters = [self.exporter]
        self.root = note_signer(trust_key_name(ORIGIN), KeyKind.ED25519)
        self.batches: dict[str, list[MadeBatch]] = {region: [] for region in self.regions}
        self.last_leaf: dict[str, bytes] = {}
        self.first_end = int(clock()) // window * window
        self.acts = 0
        self.anchored: set[str] = set()
        self.trust_bytes = b""
        self.trust_note: TrustNote | None = None
        self.trust_sequence = 0
        self.unlogged: list[Leaf] = []
        self.shards: dict[int, MadeShard] = {}
        self.year = self._year_now()
        self.shards[self.year] = MadeShard(self.year)
        self.change_trust()
        self.unlogged += [
            KeyLeaf("added", "trust", self.root.name, note_key_digest(self.root.key)),
            self._exporter_leaf(),
            *self._log_key_leaves(self.year),
            *self._log_key_leaves(self.year + 1),
        ]
        self.checkpoint()

    # -------------------------------------------------------- as a reader sees it

    def read(self, path: str) -> bytes | None:
        """A `Read`."""
        return self.files.get(path)

    def write(self, folder: Path) -> Path:
        """The public folder on a disk; what lies there and is not public any more goes."""
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if path.relative_to(folder).as_posix() not in self.files:
                path.unlink()
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder

    @property
    def shard(self) -> MadeShard:
        """The shard that grows."""
        return self.shards[self.year]

    @property
    def origin(self) -> str:
        """The current shard's."""
        return shard_origin(ORIGIN, self.year)

    def names(self, suffix: str) -> list[str]:
        """Public paths that end so."""
        return sorted(path for path in self.files if path.endswith(suffix))

    # -------------------------------------------------------- the operator's acts

    def keys(self, count: int, *, days_old: int = 1) -> list[TemporaryExposureKey]:
        """Fresh keys of a whole day that ended at least `days_old` days ago."""
        end = (interval_at(self.clock()) // 144 - days_old + 1) * 144 - EMBARGO_INTERVALS
        return [
            TemporaryExposureKey(self.random.randbytes(16), end - 144, 144, 1, ReportType.CONFIRMED_TEST, 0)
            for _ in range(count)
        ]

    def next_window(self, keys: Keys | None = None, *, uploads: int = 1) -> None:
        """Let the present window end, and publish `keys` by region; without any a batch is empty."""
        self.clock.advance(self.window - self.clock() % self.window)
        self.publish(keys, uploads=uploads)

    def publish(self, keys: Keys | None = None, *, uploads: int = 1) -> None:
        """One run of a publisher: the window that has ended, in all regions, and one checkpoint."""
        self.follow_the_year()
        leaves: list[Leaf] = []
        for region in self.regions:
            leaves.append(self._batch(region, list((keys or {}).get(region, ())), uploads))
        self.retire()
        self.checkpoint(leaves)

    def pass_days(self, days: int, *, keys: int = 2) -> None:
        """Days go by, a window each (the tree must have been made with `window=DAY`)."""
        for _ in range(days):
            self.next_window({region: self.keys(keys) for region in self.regions})

    def withdraw(self, region: str, sequence: int, reason: str = "error") -> None:
        """Take a batch back before its time, and say so in the log."""
        batch = self.batches[region][sequence - 1]
        batch.withdrawn = True
        self._drop(batch)
        self.checkpoint([WithdrawLeaf(region, sequence, reason, self.random.randbytes(32))])

    def rotate_exporter(self) -> None:
        """A new export signing key takes over; the old one stays trusted."""
        self.exporter = MadeSigner("XA_export", str(len(self.exporters) + 1))
        self.exporters.append(self.exporter)
        self.unlogged.append(self._exporter_leaf())
        self.change_trust()
        self.checkpoint()

    def change_trust(self, **changes: Any) -> None:
        """Issue trust material anew; its leaf goes with the next checkpoint."""
        now = int(self.clock())
        previous = trust_digest(self.trust_bytes) if self.trust_bytes else None
        self.trust_sequence += 1
        members: dict[str, Any] = {
            "profile": self.profile,
            "regions": tuple(self.regions),
            "export_signing_keys": tuple(
                TrustedKey(signer.key_id, signer.key_version, signer.public_key_pem, now - YEAR, now + YEAR)
                for signer in self.exporters
            ),
            "publication": {
                "window_seconds": self.window,
                "floor": 1,
                "embargo_seconds": 7200,
                "retention_days": self.retention_days,
                "index_life_seconds": INDEX_LIFE,
            },
            "trust_vkey": self.root.key.vkey,
            "log_origin": ORIGIN,
            "log_vkeys": tuple(key.vkey for key in self.log_keys()),
            "witness_policy": encode_policy(self.policy()).decode(),
            "sequence": self.trust_sequence,
            "issued_at": now,
        }
        self.trust_bytes = self._bent("trust", encode_trust(TrustMaterial(**{**members, **changes})))
        self.trust_note = TrustNote(
            ORIGIN, self.trust_sequence, trust_digest(self.trust_bytes), now, now + NOTE_LIFE, previous
        )
        self.unlogged.append(PolicyLeaf(self.trust_sequence, self.trust_note.digest, previous))

    def log_keys(self) -> list[VerifierKey]:
        """Of all shards there are, and of the next year's."""
        years = sorted({*self.shards, self.year, self.year + 1})
        return [signer.key for year in years for signer in log_signers(year)]

    def policy(self) -> WitnessPolicy:
        """This year's and next year's log keys, the witnesses, one group of `quorum` of them."""
        logs = [PolicyLog(signer.key) for year in (self.year, self.year + 1) for signer in log_signers(year)]
        witnesses = tuple(
            PolicyWitness(
                f"w{number}",
                witness.signer.key,
                f"https://{witness.name}" if self.monitoring else None,
            )
            for number, witness in enumerate(self.witnesses, start=1)
        )
        if not self.quorum:
            return WitnessPolicy(tuple(logs), witnesses, (), "none")
        group = PolicyGroup("witnesses", self.quorum, tuple(witness.name for witness in witnesses))
        return WitnessPolicy(tuple(logs), witnesses, (group,), "witnesses")

    def heartbeat(self) -> None:
        """The same checkpoint, shown to the witnesses again."""
        self._sign(self.shard, self.shard.size)

    def follow_the_year(self) -> None:
        """Close the shard and open the next one, if the year has turned."""
        year = self._year_now()
        if year == self.year:
            return
        old = self.shard
        self._sequence(old, [CloseLeaf(shard_origin(ORIGIN, year))])
        self._sign(old, len(old.entries))
        self.shards[year] = MadeShard(year)
        root = tree_root(old.hashes)
        opening = OpenLeaf(shard_origin(ORIGIN, old.year), len(old.entries), root)
        self.year = year
        self.unlogged[:0] = [opening, *self._log_key_leaves(year + 1)]
        self.change_trust()

    # -------------------------------------------------------- one checkpoint

    def checkpoint(self, leaves: Iterable[Leaf] = ()) -> None:
        """Sequence what is due and an index leaf after it, sign, and show it to everybody, index.txt last."""
        shard = self.shard
        indexes = {region: self._index(region) for region in self.regions}
        digests = {region: sha256(content).digest() for region, content in indexes.items()}
        index_leaf: Leaf = self._bent(
            "index_leaf",
            IndexLeaf(int(self.clock()), len(digests), regions_root(digests), shard.last_index),
        )
        due = [*self.unlogged, *leaves, *self._anchor(), index_leaf]
        self.unlogged = []
        self._sequence(shard, self._bent("leaves", due))
        shard.last_index = len(shard.entries) - 1
        self._write_trust()
        self._sign(shard, len(shard.entries), digests)
        for region, content in indexes.items():
            self.files[index_digest_path(region, sha256(content).hexdigest())] = content
            self.files[index_path(region)] = content
            names = sorted(file.path for batch in self._listed(region) for file in batch.files)
            self.files[legacy_index_path(region)] = encode_legacy_index(names)

    def _sequence(self, shard: MadeShard, leaves: Iterable[Leaf | bytes]) -> None:
        old = len(shard.entries)
        for leaf in leaves:
            content = leaf if isinstance(leaf, bytes) else encode_leaf(leaf)
            shard.entries.append(content)
            shard.hashes.append(leaf_hash(content))
            if isinstance(leaf, BatchLeaf):
                self.last_leaf[leaf.region] = leaf_hash(content)
        for tile in new_tiles(old, len(shard.entries)):
            self.files[f"log/{shard.year}/{tile_path(tile)}"] = self._tile(shard, tile)

    def _tile(self, shard: MadeShard, tile: Tile) -> bytes:
        first = tile.number * WIDTH
        if tile.level is None:
            return encode_bundle(shard.entries[first : first + tile.width])
        span = 256**tile.level
        return b"".join(
            tree_root(shard.hashes[(first + at) * span : (first + at + 1) * span]) for at in range(tile.width)
        )

    def _sign(self, shard: MadeShard, size: int, digests: Mapping[str, bytes] | None = None) -> None:
        """Sign the shard's first `size` leaves, collect cosignatures, replace checkpoint and proofs."""
        now = self.clock()
        made = Checkpoint(shard_origin(ORIGIN, shard.year), size, tree_root(shard.hashes[:size]))
        checkpoint = self._bent("checkpoint", made)
        note = sign_checkpoint(checkpoint, log_signers(shard.year), now=now)
        log_line = note.signatures[:1]
        for witness in self.witnesses:
            note = witness.see(note, checkpoint, now)
        note = self._bent("cosignatures", note)
        shard.size = size
        shard.note = encode_note(note)
        self.files[f"log/{shard.year}/checkpoint"] = shard.note
        self.files["log/checkpoint"] = shard.note
        self.files["log/policy"] = encode_policy(self.policy())
        if digests is not None:
            self.digests = dict(digests)
        elif shard.last_index != size - 1:
            return  # a shard's final checkpoint: phones are shown the next one's first
        # Phones are spared the ML-DSA lines.
        lines = [line for line in note.signatures if len(line.signature) < 200]
        brief = encode_note(Note(note.text, tuple(lines) or log_line))
        path = inclusion_path(size - 1, size, shard.node)
        for region in self.regions:
            extra = encode_region_proof(prove_region(shard.entries[size - 1], self.digests, region))
            proof = self._bent("proof", LogProof(size - 1, tuple(path), brief, extra))
            self.files[index_proof_path(region)] = encode_proof(proof)

    def _write_trust(self) -> None:
        assert self.trust_note is not None
        now = int(self.clock())
        if self.trust_note.expires_at - now < NOTE_LIFE / 2:
            self.trust_note = replace(self.trust_note, issued_at=now, expires_at=now + NOTE_LIFE)
        self.files[TRUST_PATH] = self.trust_bytes
        note: TrustNote = self._bent("trust_note", self.trust_note)
        self.files[TRUST_NOTE_PATH] = encode_trust_note(note, self.root)

    def _anchor(self) -> list[Leaf]:
        today = datetime.fromtimestamp(self.clock(), UTC).date().isoformat()
        if today in self.anchored:
            return []
        self.anchored.add(today)
        heads = encode_heads({"registry": sha256(today.encode()).digest()})
        return [ActivityLeaf(activity_commitment(sha256(f"salt {today}".encode()).digest(), heads))]

    # -------------------------------------------------------- batches, indexes

    def _batch(self, region: str, keys: list[TemporaryExposureKey], uploads: int) -> Leaf:
        before = self.batches[region]
        end = int(self.clock()) // self.window * self.window
        start = before[-1].end if before else end - self.window
        sequence = len(before) + 1
        files, contents = self._export(region, start, end, keys) if keys else ((), {})
        seed = self.random.randbytes(32)
        receipts = tuple(self._receipt() for _ in range(uploads if keys else 0))
        leaves = all_receipt_leaves([commitment(one) for one in receipts], seed)
        made = Manifest(
            region=region,
            sequence=sequence,
            window_start=start,
            window_end=end,
            files=tuple(
                ManifestFile(
                    path=file.path,
                    sha256=file.sha256,
                    size=file.size,
                    format=file.format,
                    keys=len(keys),
                    signing_keys=((self.exporter.key_id, self.exporter.key_version),),
                )
                for file in files
            ),
            receipts=leaves,
            seed_sha256=sha256(seed).digest(),
            salt=self.random.randbytes(32),
            tool="tests",
        )
        manifest: Manifest = self._bent("manifest", made)
        content = self._bent("manifest_bytes", encode_manifest(manifest))
        digest = sha256(content)
        self.files[manifest_path(region, digest.hexdigest())] = content
        self.files.update({f"{EXPOSURES}/{name}": file for name, file in contents.items()})
        newest = max((key.end_interval_number for key in keys), default=None)
        before.append(
            MadeBatch(region, sequence, start, end, files, newest, manifest, content, receipts, seed)
        )
        leaf: Leaf = self._bent(
            "batch", BatchLeaf(region, sequence, start, end, digest.digest(), self.last_leaf.get(region))
        )
        return leaf

    def _export(
        self, region: str, start: int, end: int, keys: Sequence[TemporaryExposureKey]
    ) -> tuple[tuple[IndexFile, ...], dict[str, bytes]]:
        info = SignatureInfo(self.exporter.key_id, self.exporter.key_version)
        export: ExportFile = self._bent(
            "export", ExportFile(start, end, region, tuple(canonical_order(keys)), (), (info,))
        )
        export_bin = encode_export(export)
        signed = encode_signatures([(info, self.exporter.sign(export_bin))])
        content: bytes = self._bent("zip", pack(export_bin, signed))
        name = export_name(region, start, end, 1)
        file = IndexFile(name, sha256(content).hexdigest(), len(content))
        return (file,), {name: content}

    def _receipt(self) -> bytes:
        draw = self.random.randbytes
        return encode_receipt(Receipt(draw(32), draw(32), draw(32), draw(32), draw(32), "1"))

    def _listed(self, region: str) -> list[MadeBatch]:
        newest_unlisted = interval_at(self.clock()) - (self.retention_days - 1) * 144
        return [
            batch
            for batch in self.batches[region]
            if not batch.withdrawn
            and batch.newest_key_end is not None
            and batch.newest_key_end > newest_unlisted
        ]

    def _index(self, region: str) -> bytes:
        now = int(self.clock())
        listed = {batch.sequence for batch in self._listed(region)}
        windows: list[IndexWindow] = []
        for batch in self.batches[region]:
            files = batch.files if batch.sequence in listed else ()
            if windows and not windows[-1].files and not files:
                run = windows[-1]
                windows[-1] = IndexWindow(run.sequence, batch.sequence, run.start, batch.end)
            else:
                windows.append(IndexWindow(batch.sequence, batch.sequence, batch.start, batch.end, files))
        last_end = windows[-1].end if windows else self.first_end
        sequence = windows[-1].last_sequence if windows else 0
        made = Index(
            region,
            sequence,
            now,
            last_end + self.window,
            now + INDEX_LIFE,
            tuple(windows),
            salt=self.random.randbytes(32),
        )
        content: bytes = self._bent("index_bytes", encode_index(self._bent("index", made)))
        return content

    def retire(self) -> None:
        """Files whose newest key ended long enough ago go, with their manifests."""
        newest_gone = interval_at(self.clock()) - self.retention_days * 144
        for batches in self.batches.values():
            for batch in batches:
                end = batch.newest_key_end
                gone = end <= newest_gone if end is not None else interval_at(batch.end) <= newest_gone
                if gone:
                    self._drop(batch)

    def _drop(self, batch: MadeBatch) -> None:
        for file in batch.files:
            self.files.pop(f"{EXPOSURES}/{file.path}", None)
        self.files.pop(manifest_path(batch.region, sha256(batch.manifest_bytes).hexdigest()), None)

    # -------------------------------------------------------- small things

    def _log_key_leaves(self, year: int) -> list[Leaf]:
        return [
            KeyLeaf("added", "log", signer.name, note_key_digest(signer.key)) for signer in log_signers(year)
        ]

    def _exporter_leaf(self) -> Leaf:
        name = export_key_name(self.exporter.key_id, self.exporter.key_version)
        return KeyLeaf("added", "export", name, export_key_digest(self.exporter.public_key_pem))

    def _year_now(self) -> int:
        return datetime.fromtimestamp(self.clock(), UTC).year

    def _bent(self, step: str, made: Any) -> Any:
        return self.bend.get(step, lambda honest: honest)(made)


@dataclass
class TreeSource:
    """A tree as an auditor's `Source`, without a disk."""

    tree: PublicTree
    is_live: bool = False
    name: str = "the tree"

    def read(self, path: str) -> bytes | None:
        return self.tree.read(path)

    def taken_at(self) -> float | None:
        return None
