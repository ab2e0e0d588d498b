"""What the log's leaves say: canonical JSON, commitments only, never a count, a key or a person's time.

Files live for weeks, leaves for ever: whatever stands here must still be harmless when all else is gone.
Also the tree over all regions' indexes, whose root an index leaf carries, so that one leaf fixes what every
phone of every region is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from registry.errors import Malformed, WrongProof
from registry.protocol.encoding import (
    JsonObject,
    decode_base64,
    decode_json_object,
    encode_base64,
    encode_json,
)
from registry.protocol.merkle import (
    HASH_BYTES,
    check_inclusion,
    inclusion_path,
    leaf_hash,
    tree_root,
)
from registry.protocol.regions import check_region

VERSION = 1
MAX_REGIONS = 10_000

KeyAction = Literal["added", "retired"]
KeyPurpose = Literal["export", "log", "trust"]


@dataclass(frozen=True, slots=True)
class BatchLeaf:
    """A sealed window [window_start, window_end), unix seconds, of a region; its number has no gap.

    `manifest` is the manifest's SHA-256, `previous` the leaf hash of the region's batch before, if any.
    """

    region: str
    sequence: int
    window_start: int
    window_end: int
    manifest: bytes
    previous: bytes | None


@dataclass(frozen=True, slots=True)
class IndexLeaf:
    """All regions' indexes as of `issued_at`; always the last leaf of a checkpoint.

    `root` is over `regions` indexes, `previous` the number of the index leaf before in this shard, if any.
    """

    issued_at: int
    regions: int
    root: bytes
    previous: int | None


@dataclass(frozen=True, slots=True)
class WithdrawLeaf:
    """A batch whose files were taken away before their time; `reference` commits to why, salted."""

    region: str
    sequence: int
    reason: str
    reference: bytes


@dataclass(frozen=True, slots=True)
class KeyLeaf:
    """A signing key came or went. `digest` is the SHA-256 of its public key's bytes."""

    action: KeyAction
    purpose: KeyPurpose
    name: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class PolicyLeaf:
    """Trust material number `sequence`, by the SHA-256 of its file, and that of the one before, if any."""

    sequence: int
    digest: bytes
    previous: bytes | None


@dataclass(frozen=True, slots=True)
class ActivityLeaf:
    """A salted commitment to the heads of the officials' activity chains."""

    commitment: bytes


@dataclass(frozen=True, slots=True)
class CloseLeaf:
    """The last leaf of a shard; `next_origin` is where the log goes on."""

    next_origin: str


@dataclass(frozen=True, slots=True)
class OpenLeaf:
    """The first leaf of a shard that goes on from another: that one's final checkpoint."""

    origin: str
    size: int
    root: bytes


Leaf = BatchLeaf | IndexLeaf | WithdrawLeaf | KeyLeaf | PolicyLeaf | ActivityLeaf | CloseLeaf | OpenLeaf

_NAMES: Mapping[type[Leaf], str] = {
    BatchLeaf: "batch",
    IndexLeaf: "index",
    WithdrawLeaf: "withdraw",
    KeyLeaf: "key",
    PolicyLeaf: "policy",
    ActivityLeaf: "activity",
    CloseLeaf: "close",
    OpenLeaf: "open",
}


def leaf_type(leaf: Leaf) -> str:
    """The word that stands in the leaf's `type`."""
    return _NAMES[type(leaf)]


def encode_leaf(leaf: Leaf) -> bytes:
    """Canonical JSON (RFC 8785 for what leaves hold). What is None is left out."""
    members = {"v": VERSION, "type": leaf_type(leaf), **_members(leaf)}
    return encode_json({name: value for name, value in members.items() if value is not None})


def _members(leaf: Leaf) -> dict[str, object]:
    match leaf:
        case BatchLeaf():
            return {
                "region": leaf.region,
                "sequence": leaf.sequence,
                "window_start": leaf.window_start,
                "window_end": leaf.window_end,
                "manifest": encode_base64(leaf.manifest),
                "previous": None if leaf.previous is None else encode_base64(leaf.previous),
            }
        case IndexLeaf():
            return {
                "issued_at": leaf.issued_at,
                "regions": leaf.regions,
                "root": encode_base64(leaf.root),
                "previous": leaf.previous,
            }
        case WithdrawLeaf():
            return {
                "region": leaf.region,
                "sequence": leaf.sequence,
                "reason": leaf.reason,
                "reference": encode_base64(leaf.reference),
            }
        case KeyLeaf():
            return {
                "action": leaf.action,
                "purpose": leaf.purpose,
                "name": leaf.name,
                "sha256": encode_base64(leaf.digest),
            }
        case PolicyLeaf():
            return {
                "sequence": leaf.sequence,
                "digest": encode_base64(leaf.digest),
                "previous": None if leaf.previous is None else encode_base64(leaf.previous),
            }
        case ActivityLeaf():
            return {"commitment": encode_base64(leaf.commitment)}
        case CloseLeaf():
            return {"next": leaf.next_origin}
        case OpenLeaf():
            return {"origin": leaf.origin, "size": leaf.size, "root": encode_base64(leaf.root)}


def decode_leaf(entry: bytes) -> Leaf:
    """The leaf that `entry` is, to the byte: whatever `encode_leaf` would not write is Malformed."""
    document = decode_json_object(entry, "leaf")
    if document.integer("v") != VERSION:
        raise Malformed("leaf: a version that is not known here")
    leaf = _read(document.text("type"), document)
    if encode_leaf(leaf) != entry:
        raise Malformed("leaf: not in its canonical form")
    return leaf


def _read(kind: str, document: JsonObject) -> Leaf:
    match kind:
        case "batch":
            check_region(document.text("region"))
            return BatchLeaf(
                region=document.text("region"),
                sequence=document.integer("sequence", least=1),
                window_start=document.integer("window_start"),
                window_end=document.integer("window_end"),
                manifest=_hash(document, "manifest"),
                previous=_hash(document, "previous") if "previous" in document else None,
            )
        case "index":
            return IndexLeaf(
                issued_at=document.integer("issued_at"),
                regions=document.integer("regions", least=1, most=MAX_REGIONS),
                root=_hash(document, "root"),
                previous=document.integer("previous") if "previous" in document else None,
            )
        case "withdraw":
            return WithdrawLeaf(
                region=document.text("region"),
                sequence=document.integer("sequence", least=1),
                reason=document.text("reason"),
                reference=_hash(document, "reference"),
            )
        case "key":
            return _read_key(document)
        case "policy":
            return PolicyLeaf(
                sequence=document.integer("sequence", least=1),
                digest=_hash(document, "digest"),
                previous=_hash(document, "previous") if "previous" in document else None,
            )
        case "activity":
            return ActivityLeaf(_hash(document, "commitment"))
        case "close":
            return CloseLeaf(document.text("next"))
        case "open":
            return OpenLeaf(document.text("origin"), document.integer("size"), _hash(document, "root"))
    raise Malformed(f"leaf: {kind[:20]!r} is no type that is known here")


def _read_key(document: JsonObject) -> KeyLeaf:
    action, purpose = document.text("action"), document.text("purpose")
    if action not in get_args(KeyAction):
        raise Malformed("leaf: 'action' is neither added nor retired")
    if purpose not in get_args(KeyPurpose):
        raise Malformed("leaf: 'purpose' is none of export, log, trust")
    return KeyLeaf(
        cast("KeyAction", action),
        cast("KeyPurpose", purpose),
        document.text("name"),
        _hash(document, "sha256"),
    )


def _hash(document: JsonObject, name: str) -> bytes:
    content = decode_base64(document.text(name))
    if len(content) != HASH_BYTES:
        raise Malformed(f"leaf: '{name}' must be {HASH_BYTES} bytes")
    return content


# ------------------------------------------------ the tree over all regions


def region_leaf(region: str, index_digest: bytes) -> bytes:
    """What stands for one region's index in the tree: code in ASCII, 0x00, SHA-256 of the index."""
    return region.encode("ascii") + b"\x00" + index_digest


def regions_root(digests: Mapping[str, bytes]) -> bytes:
    """The root over the regions' index digests, sorted by region code (RFC 6962 §2.1)."""
    return tree_root(_region_hashes(digests))


def _region_hashes(digests: Mapping[str, bytes]) -> list[bytes]:
    return [leaf_hash(region_leaf(region, digests[region])) for region in sorted(digests)]


@dataclass(frozen=True, slots=True)
class RegionProof:
    """What a phone's proof carries beside the log's own path: the index leaf's bytes, and the way from one
    region's index digest (SHA-256) to the root in it.
    """

    leaf: bytes
    index_digest: bytes
    position: int
    path: tuple[bytes, ...]


def prove_region(leaf: bytes, digests: Mapping[str, bytes], region: str) -> RegionProof:
    """The proof for `region`; `leaf` is the encoded index leaf over exactly `digests`."""
    hashes = _region_hashes(digests)

    def node(level: int, index: int) -> bytes:
        return tree_root(hashes[index << level : (index + 1) << level])

    position = sorted(digests).index(region)
    return RegionProof(leaf, digests[region], position, tuple(inclusion_path(position, len(hashes), node)))


def check_region_proof(proof: RegionProof, *, region: str) -> IndexLeaf:
    """The index leaf, once the proof leads from this region's index digest to its root.

    That the leaf is in a log is another proof's matter. Raises Malformed or WrongProof.
    """
    leaf = decode_leaf(proof.leaf)
    if not isinstance(leaf, IndexLeaf):
        raise WrongProof(f"the log's last leaf is of type {leaf_type(leaf)}, not index")
    check_inclusion(
        index=proof.position,
        size=leaf.regions,
        leaf=leaf_hash(region_leaf(region, proof.index_digest)),
        path=proof.path,
        root=leaf.root,
    )
    return leaf


def encode_region_proof(proof: RegionProof) -> bytes:
    """u16 length and bytes of the leaf, the index's digest, u16 position, u8 number of hashes, the hashes.

    Numbers are big-endian, hashes 32 bytes.
    """
    _check_sizes(proof)
    return b"".join(
        (
            len(proof.leaf).to_bytes(2, "big"),
            proof.leaf,
            proof.index_digest,
            proof.position.to_bytes(2, "big"),
            bytes([len(proof.path)]),
            *proof.path,
        )
    )


def _check_sizes(proof: RegionProof) -> None:
    hashes = [proof.index_digest, *proof.path]
    fits = len(proof.leaf) < 2**16 and 0 <= proof.position < 2**16 and len(proof.path) < 2**8
    if not fits or any(len(one) != HASH_BYTES for one in hashes):
        raise Malformed("a region's proof that cannot be written")


def decode_region_proof(content: bytes) -> RegionProof:
    """Reads what `encode_region_proof` writes, to the byte. Raises Malformed."""
    length = int.from_bytes(content[:2], "big")
    leaf, rest = content[2 : 2 + length], content[2 + length :]
    digest, rest = rest[:HASH_BYTES], rest[HASH_BYTES:]
    if len(leaf) != length or len(rest) < 3 or len(rest) != 3 + rest[2] * HASH_BYTES:
        raise Malformed("the region's proof in the log proof is cut short or too long")
    path = tuple(rest[at : at + HASH_BYTES] for at in range(3, len(rest), HASH_BYTES))
    return RegionProof(leaf, digest, int.from_bytes(rest[:2], "big"), path)
