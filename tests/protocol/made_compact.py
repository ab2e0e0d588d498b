"""Compact files made by hand: a plain writer that checks nothing, so that anything can be wrong in them."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from tests.protocol.made_signer import MadeSigner

SIGNER = MadeSigner("xa", "1")
TRUSTED = {("xa", "1"): SIGNER.public_key}
NO_ONSET = -128


def deflated(content: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return stream.compress(content) + stream.flush()


@dataclass(frozen=True)
class Group:
    """Metadata, and the keys with their levels; `level` is what the table says."""

    start: int
    period: int
    report_type: int
    onset: int
    level: int
    keys: tuple[bytes, ...]
    levels: bytes = b""


@dataclass(frozen=True)
class Block:
    """Groups, and what to put in place of what follows from them."""

    groups: Sequence[Group]
    group_count: int | None = None
    table: bytes | None = None
    planes: bytes | None = None
    deflated_table: bytes | None = None
    deflated_planes: bytes | None = None
    table_size: int | None = None
    planes_size: int | None = None
    rises: Sequence[int] | None = None
    sizes: Sequence[int] | None = None

    def plain_table(self) -> bytes:
        columns = [
            planes(rises([group.start for group in self.groups]), 4),
            planes(rises([group.period for group in self.groups]), 1),
            planes(rises([group.report_type for group in self.groups]), 1),
            planes(rises([group.onset for group in self.groups]), 1),
            bytes(group.level for group in self.groups),
            planes([size - 1 for size in self.sizes or [len(group.keys) for group in self.groups]], 2),
        ]
        return b"".join(columns)

    def plain_planes(self) -> bytes:
        tops = [
            rise
            for group in self.groups
            for rise in rises([int.from_bytes(key[:3], "big") for key in group.keys])
        ]
        return planes(self.rises or tops, 3) + b"".join(group.levels for group in self.groups)

    def encoded(self) -> bytes:
        table = self.deflated_table or deflated(self.plain_table() if self.table is None else self.table)
        sorted_planes = self.deflated_planes or deflated(
            self.plain_planes() if self.planes is None else self.planes
        )
        head = struct.pack(
            ">III",
            len(self.groups) if self.group_count is None else self.group_count,
            len(table) if self.table_size is None else self.table_size,
            len(sorted_planes) if self.planes_size is None else self.planes_size,
        )
        return head + table + sorted_planes + b"".join(key[3:] for group in self.groups for key in group.keys)


def rises(numbers: Sequence[int]) -> list[int]:
    return [after - before for before, after in zip([0, *numbers], numbers, strict=False)]


def planes(numbers: Sequence[int], width: int) -> bytes:
    spelled = [(number % 256**width).to_bytes(width, "big") for number in numbers]
    return b"".join(bytes(one[place] for one in spelled) for place in range(width))


@dataclass(frozen=True)
class Made:
    """A file: header, blocks of both sections, and who signs."""

    magic: bytes = b"Positive keys v1"
    region: bytes = b"XA"
    start: int = 1_780_016_400
    end: int = 1_780_020_000
    first_window: int = 7
    last_window: int = 7
    key_count: int | None = None
    revised_key_count: int | None = None
    blocks: Sequence[Block] = ()
    revised: Sequence[Block] = ()
    signatures: bytes | None = None
    signers: Sequence[MadeSigner] = field(default=(SIGNER,))

    def body(self) -> bytes:
        counts = [
            sum(len(group.keys) for block in blocks for group in block.groups)
            for blocks in (self.blocks, self.revised)
        ]
        numbers = struct.pack(
            ">QQQQII",
            self.start,
            self.end,
            self.first_window,
            self.last_window,
            counts[0] if self.key_count is None else self.key_count,
            counts[1] if self.revised_key_count is None else self.revised_key_count,
        )
        encoded = [block.encoded() for block in (*self.blocks, *self.revised)]
        return self.magic + self.region.ljust(8, b"\0") + numbers + b"".join(encoded)

    def content(self) -> bytes:
        if self.signatures is not None:
            return self.body() + self.signatures
        return signed(self.body(), *self.signers)

    def with_block(self, **changes: object) -> "Made":
        """The same with its first block changed."""
        return replace(self, blocks=(replace(self.blocks[0], **changes), *self.blocks[1:]))  # type: ignore[arg-type]

    def with_group(self, place: int, **changes: object) -> "Made":
        """The same with a group of its first block changed."""
        groups = list(self.blocks[0].groups)
        groups[place] = replace(groups[place], **changes)  # type: ignore[arg-type]
        return self.with_block(groups=groups)


def statement(body: bytes) -> bytes:
    return f"positive-key-registry compact file v1\nsha256 {sha256(body).hexdigest()}\n".encode()


def entry(key_id: bytes, key_version: bytes, signature: bytes) -> bytes:
    return b"".join(bytes([len(part)]) + part for part in (key_id, key_version, signature))


def signed(body: bytes, *signers: MadeSigner) -> bytes:
    entries = [
        entry(signer.key_id.encode(), signer.key_version.encode(), signer.sign(statement(body)))
        for signer in signers
    ]
    return body + bytes([len(signers)]) + b"".join(entries)


FIRST, SECOND, THIRD = (bytes.fromhex(top) + bytes(range(13)) for top in ("1a2b3c", "1a2b3d", "1a2c3e"))
GOOD = Made(
    blocks=(
        Block(
            (
                Group(2_966_400, 144, 1, NO_ONSET, 8, (FIRST,)),
                Group(2_966_544, 144, 1, -1, 9, (SECOND, THIRD), b"\x06\x07"),
            )
        ),
    ),
    revised=(Block((Group(2_966_400, 144, 5, NO_ONSET, 0, (b"\xff" * 16,)),)),),
)
