"""RFC 6962 §2.1 word for word, recursive and slow: what the tree in use is compared with."""

from collections.abc import Sequence
from hashlib import sha256


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return sha256(b"\x01" + naive_root(hashes[:split]) + naive_root(hashes[split:])).digest()


def naive_inclusion(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH(index, D[n]) of §2.1.1."""
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*naive_inclusion(index, hashes[:split]), naive_root(hashes[split:])]
    return [*naive_inclusion(index - split, hashes[split:]), naive_root(hashes[:split])]


def naive_consistency(old: int, hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF(old, D[n], whole) of §2.1.2."""
    if old == len(hashes):
        return [] if whole else [naive_root(hashes)]
    split = _split(len(hashes))
    if old <= split:
        return [*naive_consistency(old, hashes[:split], whole), naive_root(hashes[split:])]
    return [*naive_consistency(old - split, hashes[split:], False), naive_root(hashes[:split])]


def _split(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split
