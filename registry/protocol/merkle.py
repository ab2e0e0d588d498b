"""The Merkle tree of RFC 6962 §2.1: hashes, roots, and proofs that a leaf is there and that a log only grew.

Proofs are made from hashes of complete subtrees, which never change as a log grows, so that whoever can read
those (from tiles, from a table) can make every proof of every size. Proofs about an empty tree, and hashes
that are not 32 bytes, are refused: they prove nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from registry.errors import Malformed, WrongProof

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
MAX_SIZE = 2**63 - 1

# To copy a hash that has begun is less work than to begin one.
_LEAF, _NODE = sha256(b"\x00"), sha256(b"\x01")

NodeReader = Callable[[int, int], bytes]
"""(level, index) to the hash of the complete subtree over leaves [index << level, (index + 1) << level)."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry) (RFC 6962 §2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right) (RFC 6962 §2.1)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class CompactRange:
    """A tree of `size` leaves by the hashes of its complete subtrees alone, largest first: at most 63.

    All that is needed to append to a tree and to know its root.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.hashes) != self.size.bit_count() or any(len(one) != HASH_BYTES for one in self.hashes):
            raise Malformed(f"{len(self.hashes)} hashes are no tree of {self.size} leaves")

    def extended(self, leaf_hashes: Iterable[bytes]) -> "CompactRange":
        """The tree with these leaves appended."""
        size, hashes = self.size, list(self.hashes)
        for new in leaf_hashes:
            # Each trailing one bit of the size is a complete subtree that this leaf completes another with.
            rest = size
            while rest & 1:
                new = node_hash(hashes.pop(), new)
                rest >>= 1
            hashes.append(new)
            size += 1
        return CompactRange(size, tuple(hashes))

    def root(self) -> bytes:
        """The tree's root; `EMPTY_ROOT` for none."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root

    @classmethod
    def at(cls, size: int, node: NodeReader) -> "CompactRange":
        """The first `size` leaves of the tree that `node` reads."""
        return cls(size, tuple(node(level, index) for level, index in _complete_subtrees(0, size)))


def leaf_hashes_of(entries: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of each, in one loop: a log's worth of them costs little more than its hashes."""
    found: list[bytes] = []
    add, begun = found.append, _LEAF.copy
    for entry in entries:
        one = begun()
        one.update(entry)
        add(one.digest())
    return found


def parents(hashes: Iterable[bytes]) -> list[bytes]:
    """`node_hash` of each two neighbours, in one loop; a last one without a neighbour has no part in it."""
    found: list[bytes] = []
    add, begun = found.append, _NODE.copy
    left_and_right = iter(hashes)
    for left, right in zip(left_and_right, left_and_right, strict=False):
        one = begun()
        one.update(left)
        one.update(right)
        add(one.digest())
    return found


def tree_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes (RFC 6962 §2.1)."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        # The splits of §2.1 are at powers of two: level by level, what is left over at the end moves up.
        left_over = level[-1:] if len(level) & 1 else []
        level = parents(level) + left_over
    return level[0]


def root_at(size: int, node: NodeReader) -> bytes:
    """The root that the log had at `size`."""
    return CompactRange.at(size, node).root()


def inclusion_path(index: int, size: int, node: NodeReader) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size`, the leaf's sibling first (RFC 6962 §2.1.1)."""
    if not 0 <= index < size:
        raise Malformed(f"a tree of {size} has no leaf {index}")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(begin, middle, node))
            begin = middle
    return path[::-1]


def consistency_path(old_size: int, new_size: int, node: NodeReader) -> list[bytes]:
    """The proof that the tree of `old_size` is a prefix of that of `new_size` (RFC 6962 §2.1.2).

    Empty for sizes that are equal, and for an old size of 0, from which every tree grows.
    """
    if not 0 <= old_size <= new_size:
        raise Malformed(f"a log does not grow from {old_size} to {new_size}")
    if old_size in (0, new_size):
        return []
    path: list[bytes] = []
    begin, end, is_whole = 0, new_size, True
    while old_size != end:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            path.append(_range_hash(middle, end, node))
            end = middle
        else:
            path.append(_range_hash(begin, middle, node))
            begin, is_whole = middle, False
    if not is_whole:
        path.append(_range_hash(begin, end, node))
    return path[::-1]


def check_inclusion(*, index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Raises WrongProof unless `path` proves that the leaf hash stands at `index` in the tree of `root`.

    Follows RFC 9162 §2.1.3.2.
    """
    _check_hashes([leaf, root, *path])
    if not 0 <= index < size <= MAX_SIZE:
        raise WrongProof(f"there is no leaf {index} in a tree of {size}")
    first, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise WrongProof("the inclusion proof is too long")
        if first & 1 or first == last:
            found = node_hash(sibling, found)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        first, last = first >> 1, last >> 1
    if last:
        raise WrongProof("the inclusion proof is too short")
    if found != root:
        raise WrongProof(f"leaf {index} is not in the tree that the proof is for")


def check_consistency(
    *, old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Raises WrongProof unless `path` proves that the old tree is a prefix of the new (RFC 9162 §2.1.4.2)."""
    _check_hashes([old_root, new_root, *path])
    if not 0 < old_size <= new_size <= MAX_SIZE:
        raise WrongProof(f"no consistency can be proven from size {old_size} to {new_size}")
    if old_size == new_size:
        if path or old_root != new_root:
            raise WrongProof(f"two trees of {old_size} leaves have different roots")
        return
    steps = list(path)
    if not old_size & (old_size - 1):
        steps.insert(0, old_root)
    if not steps:
        raise WrongProof("the consistency proof is empty")
    first, last = old_size - 1, new_size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old, new = steps[0], steps[0]
    for step in steps[1:]:
        if last == 0:
            raise WrongProof("the consistency proof is too long")
        if first & 1 or first == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new = node_hash(new, step)
        first, last = first >> 1, last >> 1
    if last:
        raise WrongProof("the consistency proof is too short")
    if old != old_root or new != new_root:
        raise WrongProof(f"the tree of {new_size} does not go on from that of {old_size}")


def _check_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise WrongProof(f"a hash in the proof has not {HASH_BYTES} bytes")


def _split(size: int) -> int:
    """The largest power of two below `size`, which is 2 or more."""
    return 1 << ((size - 1).bit_length() - 1)


def _complete_subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """The complete subtrees over [begin, end), left to right, as (level, index).

    Only for ranges that occur in a tree: `begin` is a multiple of the power of two that spans the range.
    """
    found = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        found.append((level, begin >> level))
        begin += 1 << level
    return found


def _range_hash(begin: int, end: int, node: NodeReader) -> bytes:
    hashes = [node(level, index) for level, index in _complete_subtrees(begin, end)]
    return CompactRange(end - begin, tuple(hashes)).root()
