"""An inclusion proof as a reader follows it: one hash after the other, from a leaf to the checkpoint's root.

Pure. What it says is computed from the leaf and the path alone, so that a wrong path ends at a wrong root.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.errors import WrongProof
from registry.protocol.merkle import node_hash


@dataclass(frozen=True, slots=True)
class HashStep:
    """Two subtrees become one: leaves [begin, end) under `result`.

    `sibling` covers [sibling_begin, sibling_end) and stands on the left or on the right of what we had.
    """

    sibling: bytes
    sibling_is_left: bool
    sibling_begin: int
    sibling_end: int
    begin: int
    end: int
    result: bytes


def hash_steps(*, index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> list[HashStep]:
    """The steps from leaf hash `leaf` at `index` to the root of the tree of `size` (RFC 6962 §2.1.1).

    Raises WrongProof for a path of another length; whether it ends at the right root is the caller's to see.
    """
    splits: list[tuple[int, int, int]] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + (1 << ((end - begin - 1).bit_length() - 1))
        splits.append((begin, middle, end))
        begin, end = (begin, middle) if index < middle else (middle, end)
    if len(splits) != len(path):
        raise WrongProof(f"the path of leaf {index} in a tree of {size} has {len(splits)} hashes")
    steps, found = [], leaf
    for (begin, middle, end), sibling in zip(reversed(splits), path, strict=True):
        is_left = index >= middle
        found = node_hash(sibling, found) if is_left else node_hash(found, sibling)
        of_sibling = (begin, middle) if is_left else (middle, end)
        steps.append(HashStep(sibling, is_left, *of_sibling, begin, end, found))
    return steps
