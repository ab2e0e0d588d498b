"""A batch's manifest: what the log's leaf commits to, published beside the files and deleted with them.

Holds what would tell on a small region if it stood in the log for ever: counts, sizes, receipts. Its salt
makes the digest that stays in the log a commitment that nobody can guess back. Must never be changed once a
leaf names it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from registry.errors import Malformed
from registry.protocol.encoding import (
    JsonObject,
    decode_base64,
    decode_json_object,
    encode_base64,
    encode_json,
)
from registry.protocol.index import GAEN_ZIP
from registry.protocol.merkle import HASH_BYTES, CompactRange, leaf_hashes_of, tree_root
from registry.protocol.regions import check_region

VERSION = 1
TOOL = "positive-key-registry"

_RECEIPTS_A_PIECE = 3 * 1024
"""A multiple of three, so that base64 needs no padding before the last piece."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file: path relative to /exposures/, SHA-256 in hex, bytes, `keys` in it (revised ones too)."""

    path: str
    sha256: str
    size: int
    keys: int
    signing_keys: tuple[tuple[str, str], ...]
    """(key id, key version) of each signature in it."""
    format: str = GAEN_ZIP


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """All of a manifest but its receipts: the batch of window [window_start, window_end), unix seconds.

    All digests are 32 bytes. `seed_sha256` is the digest of the seed from which the decoys are made, to be
    opened once the files are retired.
    """

    region: str
    sequence: int
    window_start: int
    window_end: int
    files: tuple[ManifestFile, ...]
    seed_sha256: bytes
    salt: bytes
    tool: str

    @property
    def key_count(self) -> int:
        """Keys in all files of existing phones together, revised ones too; others hold the same."""
        return sum(file.keys for file in self.files if file.format == GAEN_ZIP)


@dataclass(frozen=True, slots=True)
class Manifest(ManifestHead):
    """`receipts` are the leaves of the batch's receipt tree, decoys among them, ascending."""

    receipts: tuple[bytes, ...]

    @property
    def receipts_root(self) -> bytes:
        """Root of the tree whose leaf data are the receipts, in their order (RFC 6962 §2.1)."""
        return tree_root(leaf_hashes_of(self.receipts))


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: the same manifest is the same bytes."""
    return b"".join(manifest_pieces(manifest, manifest.receipts))


def manifest_pieces(head: ManifestHead, receipts: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of the manifest with this head and these receipts, in order, in pieces of 128 KiB or so.

    Memory holds one piece: a nation's batch has hundreds of thousands of receipts. `receipts_root` is the
    root of the tree whose leaf data are the receipts, in their order (RFC 6962 §2.1).
    """
    # Members stand in the order of their names. The first two may go before what is not known beforehand.
    first = {"files": [_file_members(file) for file in head.files], "key_count": head.key_count}
    yield encode_json(first)[:-1] + b',"receipts":"'
    tree, left = CompactRange(), iter(receipts)
    while piece := list(islice(left, _RECEIPTS_A_PIECE)):
        tree = tree.extended(leaf_hashes_of(piece))
        yield encode_base64(b"".join(piece)).encode()
    rest = {
        "receipts_root": encode_base64(tree.root()),
        "region": head.region,
        "salt": encode_base64(head.salt),
        "seed_sha256": encode_base64(head.seed_sha256),
        "sequence": head.sequence,
        "tool": head.tool,
        "v": VERSION,
        "window_end": head.window_end,
        "window_start": head.window_start,
    }
    yield b'",' + encode_json(rest)[1:]


def manifest_digest(content: bytes) -> bytes:
    """The 32 bytes by which a batch leaf names the manifest with these bytes."""
    return sha256(content).digest()


def decode_manifest(content: bytes) -> Manifest:
    """What `encode_manifest` wrote, to the byte. Raises Malformed.

    1. Version and region are known; the window ends after it starts.
    2. Receipts are whole commitments, ascending, none twice; the root is theirs.
    3. `key_count` is the sum over the files.
    """
    document = decode_json_object(content, "manifest")
    document.integer("v", least=VERSION, most=VERSION)
    manifest = Manifest(
        region=document.text("region"),
        sequence=document.integer("sequence", least=1),
        window_start=document.integer("window_start"),
        window_end=document.integer("window_end"),
        files=tuple(_read_file(file) for file in document.children("files")),
        receipts=_read_receipts(document),
        seed_sha256=_hash(document, "seed_sha256"),
        salt=_hash(document, "salt"),
        tool=document.text("tool"),
    )
    check_region(manifest.region)  # 1
    if manifest.window_end <= manifest.window_start:
        raise Malformed("manifest: the window ends before it starts")
    _check_ascending(manifest.receipts)  # 2
    if encode_manifest(manifest) != content:  # 2, 3
        raise Malformed("manifest: not in its canonical form, or a root or count that is not its content's")
    return manifest


def _file_members(file: ManifestFile) -> dict[str, object]:
    return {
        "path": file.path,
        "sha256": file.sha256,
        "size": file.size,
        "format": file.format,
        "keys": file.keys,
        "signing_keys": [
            {"key_id": key_id, "key_version": key_version} for key_id, key_version in file.signing_keys
        ],
    }


def _read_file(document: JsonObject) -> ManifestFile:
    return ManifestFile(
        path=document.text("path"),
        sha256=document.text("sha256"),
        size=document.integer("size", least=1),
        keys=document.integer("keys"),
        signing_keys=tuple(
            (key.text("key_id"), key.text("key_version")) for key in document.children("signing_keys")
        ),
        format=document.text("format"),
    )


def _read_receipts(document: JsonObject) -> tuple[bytes, ...]:
    content = decode_base64(document.text("receipts"))
    if len(content) % HASH_BYTES:
        raise Malformed(f"manifest: receipts are {HASH_BYTES} bytes each")
    return tuple(content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES))


def _check_ascending(receipts: Sequence[bytes]) -> None:
    if list(receipts) != sorted(set(receipts)):
        raise Malformed("manifest: receipts must ascend, and none may stand there twice")


def _hash(document: JsonObject, name: str) -> bytes:
    content = decode_base64(document.text(name))
    if len(content) != HASH_BYTES:
        raise Malformed(f"manifest: '{name}' must be {HASH_BYTES} bytes")
    return content
