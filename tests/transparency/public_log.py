"""Reads a whole published log as a stranger would, from public files and the keys, and checks all of it."""

from collections.abc import Sequence
from hashlib import sha256

from registry.protocol.checkpoint import Checkpoint, open_checkpoint
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    decode_index,
    index_digest_path,
    index_path,
    index_proof_path,
    manifest_path,
    shard_checkpoint_path,
    shard_tile_path,
)
from registry.protocol.leaves import (
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    Leaf,
    OpenLeaf,
    PolicyLeaf,
    check_region_proof,
    decode_leaf,
    decode_region_proof,
    regions_root,
)
from registry.protocol.manifest import decode_manifest
from registry.protocol.merkle import check_inclusion, leaf_hash, tree_root
from registry.protocol.note import NoteSigner, decode_note, verifier_key
from registry.protocol.proof import decode_proof
from registry.protocol.tiles import MAX_LEVEL, WIDTH, Tile, decode_bundle, split_tile, tiles_at
from registry.protocol.trust import decode_trust, shard_year
from registry.protocol.trust_note import open_trust_note
from registry.storage import Storage
from registry.transparency.log import TransparencyLog


class PublicLog:
    """The log of `log` as it lies in `storage`."""

    def __init__(self, storage: Storage, log: TransparencyLog) -> None:
        self.storage = storage
        self.log = log

    def fetch(self, path: str) -> bytes:
        content = self.storage.read(path)
        assert content is not None, f"{path} is not there"
        return content

    def checkpoint(self, path: str = LOG_CHECKPOINT_PATH) -> Checkpoint:
        """The checkpoint at `path`, signed by both keys of its year."""
        content = self.fetch(path)
        origin = decode_note(content).text.partition("\n")[0]
        keys = [verifier_key(key) for key in self.signers(shard_year(self.log.origin, origin))]
        for key in keys:
            _, checkpoint = open_checkpoint(content, [key])
        return checkpoint

    def signers(self, year: int) -> Sequence[NoteSigner]:
        return self.log.signers(year)

    @property
    def year(self) -> int:
        """The current shard's."""
        return shard_year(self.log.origin, self.checkpoint().origin)

    def entries(self, year: int | None = None) -> list[bytes]:
        """All leaves of a shard, once bundles, every tile and the signed root agree."""
        year = self.year if year is None else year
        checkpoint = self.checkpoint(shard_checkpoint_path(year))
        bundles, width = tiles_at(None, checkpoint.size)
        entries: list[bytes] = []
        for tile in (
            *(Tile(None, n) for n in range(bundles)),
            *([Tile(None, bundles, width)] if width else []),
        ):
            entries += decode_bundle(self.fetch(shard_tile_path(year, tile)), tile.width)
        nodes = [leaf_hash(entry) for entry in entries]
        assert tree_root(nodes) == checkpoint.root
        for level in range(MAX_LEVEL + 1):
            above = []
            for at in range(0, len(nodes), WIDTH):
                part = nodes[at : at + WIDTH]
                stored = self.fetch(shard_tile_path(year, Tile(level, at // WIDTH, len(part))))
                assert split_tile(stored, len(part)) == part
                if len(part) == WIDTH:
                    above.append(tree_root(part))
            nodes = above
        return entries

    def leaves(self, year: int | None = None) -> list[Leaf]:
        return [decode_leaf(entry) for entry in self.entries(year)]

    def years(self) -> list[int]:
        """All shards, back to the first."""
        years = [self.year]
        while isinstance(first := self.leaves(years[0])[0], OpenLeaf):
            years.insert(0, shard_year(self.log.origin, first.origin))
        return years

    def check(self, *regions: str) -> None:
        """What a monitor checks: shards, chains of batches and policies, indexes, manifests, proofs."""
        every: list[tuple[bytes, Leaf]] = []
        for year in self.years():
            entries = self.entries(year)
            leaves = list(map(decode_leaf, entries))
            self._check_shard(year, leaves)
            every += zip(entries, leaves, strict=True)
        self._check_batches(every)
        self._check_policies([leaf for _, leaf in every if isinstance(leaf, PolicyLeaf)])
        for region in regions:
            self.check_phone(region)
        newest = [leaf for _, leaf in every if isinstance(leaf, IndexLeaf)][-1]
        digests = {region: sha256(self.fetch(index_path(region))).digest() for region in self.regions()}
        assert (newest.regions, newest.root) == (len(digests), regions_root(digests))

    def regions(self) -> list[str]:
        """Regions that have an index."""
        names = self.storage.names("exposures/")
        return [name.split("/")[1] for name in names if name.endswith("/index.json")]

    def check_phone(self, region: str) -> None:
        """As a phone does: the proof leads from the current index to the last leaf of a signed checkpoint."""
        proof = decode_proof(self.fetch(index_proof_path(region)))
        origin = decode_note(proof.checkpoint).text.partition("\n")[0]
        year = shard_year(self.log.origin, origin)
        _, checkpoint = open_checkpoint(proof.checkpoint, [verifier_key(self.signers(year)[0])])
        assert proof.index == checkpoint.size - 1
        assert proof.extra is not None
        part = decode_region_proof(proof.extra)
        check_inclusion(
            index=proof.index,
            size=checkpoint.size,
            leaf=leaf_hash(part.leaf),
            path=proof.path,
            root=checkpoint.root,
        )
        check_region_proof(part, region=region)
        content = self.fetch(index_digest_path(region, part.index_digest.hex()))
        assert sha256(content).digest() == part.index_digest
        for file in (file for window in decode_index(content).windows for file in window.files):
            assert sha256(self.fetch(f"exposures/{file.path}")).hexdigest() == file.sha256

    def _check_shard(self, year: int, leaves: Sequence[Leaf]) -> None:
        is_current = year == self.year
        assert isinstance(leaves[-1], IndexLeaf if is_current else CloseLeaf)
        previous = None
        for number, leaf in enumerate(leaves):
            if isinstance(leaf, IndexLeaf):
                assert leaf.previous == previous
                previous = number
            if isinstance(leaf, OpenLeaf):
                assert number == 0
                before = self.checkpoint(shard_checkpoint_path(shard_year(self.log.origin, leaf.origin)))
                assert (leaf.origin, leaf.size, leaf.root) == (before.origin, before.size, before.root)
            if isinstance(leaf, CloseLeaf):
                assert number == len(leaves) - 1

    def _check_batches(self, every: Sequence[tuple[bytes, Leaf]]) -> None:
        newest: dict[str, tuple[bytes, BatchLeaf]] = {}
        for entry, leaf in every:
            if not isinstance(leaf, BatchLeaf):
                continue
            before = newest.get(leaf.region)
            assert leaf.previous == (leaf_hash(before[0]) if before else None)
            assert leaf.sequence == (before[1].sequence + 1 if before else 1)
            assert before is None or leaf.window_start == before[1].window_end
            content = self.storage.read(manifest_path(leaf.region, leaf.manifest.hex()))
            if content is not None:
                assert sha256(content).digest() == leaf.manifest
                manifest = decode_manifest(content)
                assert (manifest.region, manifest.sequence) == (leaf.region, leaf.sequence)
                for file in manifest.files:
                    assert sha256(self.fetch(f"exposures/{file.path}")).hexdigest() == file.sha256
            newest[leaf.region] = entry, leaf

    def _check_policies(self, policies: Sequence[PolicyLeaf]) -> None:
        for number, leaf in enumerate(policies, start=1):
            assert leaf.sequence == number
            assert leaf.previous == (policies[number - 2].digest if number > 1 else None)
        content, note = self.fetch(TRUST_PATH), self.fetch(TRUST_NOTE_PATH)
        opened = open_trust_note(note, verifier_key(self.log.trust_signer))
        assert opened.digest == sha256(content).digest() == policies[-1].digest
        assert opened.sequence == decode_trust(content).sequence == policies[-1].sequence
