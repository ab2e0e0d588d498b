"""A reader of the compact format, written from `docs/compact-format.md` and nothing else.

It imports nothing of the registry, and does everything the plain way, key by key: what it and the
registry's reader agree on, the document says.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256


class Refused(Exception):
    """The file is not what the document says that a file is."""


class NobodyTrusted(Refused):
    """No signer is trusted."""


@dataclass(frozen=True)
class Key:
    """A key and what is said of it."""

    data: bytes
    start: int
    period: int
    report_type: int
    onset: int | None
    level: int

    @property
    def place(self) -> tuple[int, int, int, int, bytes]:
        onset = -128 if self.onset is None else self.onset
        return self.start, self.period, self.report_type, onset, self.data


@dataclass
class File:
    """All that a file says."""

    region: str
    start: int
    end: int
    first_window: int
    last_window: int
    keys: list[Key] = field(default_factory=list)
    revised: list[Key] = field(default_factory=list)
    signers: list[tuple[str, str]] = field(default_factory=list)


def must(condition: bool, why: str) -> None:
    if not condition:
        raise Refused(why)


class Bytes:
    """The file's bytes, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def next(self, size: int) -> bytes:
        must(self.at + size <= len(self.content), "cut short")
        self.at += size
        return self.content[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.next(size), "big")


def read(
    content: bytes, trusted: Mapping[tuple[str, str], ec.EllipticCurvePublicKey], *, max_keys: int = 2**24
) -> File:
    """The file's keys, once a trusted key has signed it. Raises Refused."""
    file = Bytes(content)
    must(file.next(16) == b"Positive keys v1", "begins otherwise")
    code = re.fullmatch(rb"([A-Z]{2}(?:-[A-Z0-9]{1,3})?)\0*", file.next(8))
    must(code is not None, "no region")
    assert code is not None
    found = File(code[1].decode(), *(file.number(8) for _ in range(4)))
    must(found.start < found.end < 2**63, "window")
    must(1 <= found.first_window <= found.last_window < 2**53, "window numbers")
    counts = file.number(4), file.number(4)
    must(max(counts) <= min(max_keys, 2**24), "too many keys")
    found.keys = section(file, counts[0])
    found.revised = section(file, counts[1])
    must(all(key.report_type != 0 for key in found.revised), "a revised key without a report type")
    digest = hashlib.sha256(content[: file.at]).hexdigest()
    check_signatures(
        file, f"positive-key-registry compact file v1\nsha256 {digest}\n".encode(), trusted, found
    )
    must(file.at == len(content), "something follows")
    return found


def section(file: Bytes, count: int) -> list[Key]:
    keys: list[Key] = []
    while len(keys) < count:
        keys += block(file, min(65_536, count - len(keys)))
    for before, after in pairwise(keys):
        must(before.place < after.place, "order")
    must(len({key.data for key in keys}) == len(keys), "a key twice")
    return keys


def block(file: Bytes, n: int) -> list[Key]:
    g, t, p = file.number(4), file.number(4), file.number(4)
    must(1 <= g <= n, "number of groups")
    must(t <= largest(10 * g) and p <= largest(4 * n), "deflated sizes")
    table = inflate(file.next(t), 10 * g)
    starts = sums(number_planes(table[: 4 * g], 4), 2**32)
    periods, types, onsets = (sums(table[k * g : (k + 1) * g], 256) for k in (4, 5, 6))
    levels = table[7 * g : 8 * g]
    sizes = [size + 1 for size in number_planes(table[8 * g :], 2)]
    must(sum(sizes) == n, "sizes of groups")
    m = sum(size for size, level in zip(sizes, levels, strict=True) if level == 9)
    planes = inflate(file.next(p), 3 * n + m)
    rises = iter(number_planes(planes[: 3 * n], 3))
    single_levels = iter(planes[3 * n :])
    rest = file.next(13 * n)
    keys: list[Key] = []
    places = []
    for i in range(g):
        onset = None if onsets[i] == 128 else onsets[i] - 256 * (onsets[i] > 127)
        must(starts[i] < 2**31 and 1 <= periods[i] <= 144 and types[i] <= 5 and levels[i] <= 9, "a number")
        must(onset is None or -14 <= onset <= 14, "onset")
        places.append((starts[i], periods[i], types[i], -128 if onset is None else onset))
        own = [next(single_levels) if levels[i] == 9 else levels[i] for _ in range(sizes[i])]
        must(max(own) <= 8 and (levels[i] != 9 or len(set(own)) > 1), "risk level")
        top = 0
        for level in own:
            top += next(rises)
            must(top <= 0xFFFFFF, "above all keys")
            data = top.to_bytes(3, "big") + rest[13 * len(keys) : 13 * len(keys) + 13]
            keys.append(Key(data, starts[i], periods[i], types[i], onset, level))
    must(all(a < b for a, b in pairwise(places)), "order of groups")
    return keys


def largest(size: int) -> int:
    return size + size // 1024 + 64


def inflate(content: bytes, size: int) -> bytes:
    stream = zlib.decompressobj(wbits=-15)
    try:
        inflated = stream.decompress(content, size + 1)
    except zlib.error as error:
        raise Refused("deflate") from error
    must(len(inflated) == size and stream.eof and not stream.unused_data, "inflated size")
    return inflated


def number_planes(planes: bytes, width: int) -> list[int]:
    count = len(planes) // width
    return [int.from_bytes(planes[i::count], "big") for i in range(count)]


def sums(rises: bytes | list[int], modulus: int) -> list[int]:
    numbers, last = [], 0
    for rise in rises:
        last = (last + rise) % modulus
        numbers.append(last)
    return numbers


def check_signatures(
    file: Bytes,
    statement: bytes,
    trusted: Mapping[tuple[str, str], ec.EllipticCurvePublicKey],
    found: File,
) -> None:
    count = file.number(1)
    must(1 <= count <= 10, "number of signatures")
    good = 0
    for _ in range(count):
        names = file.next(file.number(1)), file.next(file.number(1))
        signature = file.next(file.number(1))
        must(all(re.fullmatch(rb"[\x21-\x7e]{1,64}", name) for name in names), "a signer's name")
        must(8 <= len(signature) <= 72, "a signature's length")
        signer = names[0].decode(), names[1].decode()
        must(signer not in found.signers, "a signer twice")
        found.signers.append(signer)
        if signer in trusted:
            try:
                trusted[signer].verify(signature, statement, ec.ECDSA(SHA256()))
            except InvalidSignature as error:
                raise Refused("a trusted key's signature does not verify") from error
            good += 1
    if not good:
        raise NobodyTrusted
