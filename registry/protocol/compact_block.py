"""One block of the compact format: up to 65,536 keys of one section, in canonical order.

Pure: rows in, bytes out, and back. A block stands alone: nothing of the blocks before it is needed to read
it. Whatever a block says of its own size is checked before memory is taken for it. The format is written
down in `docs/compact-format.md`; whoever changes one changes both, and the version.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.errors import Malformed
from registry.protocol.key_rows import KEY_ROW, KeyRows, check_key_rows, metadata_numbers
from registry.protocol.keys import KEY_BYTES

BLOCK_KEYS = 65_536

TOP_BYTES = 3
"""How much of each key is written as a difference. In a group of 65,536 keys or more the third byte still
saves something; a fourth would only make deflate work."""

REST_BYTES = KEY_BYTES - TOP_BYTES
MIXED_LEVELS = 9
"""In the table's column of risk levels: the keys of this group have different ones."""

_HEAD = struct.Struct(">III")
_GROUP_BYTES = 10
_DEFLATE_LEVEL = 6

Bytes = npt.NDArray[np.uint8]
Take = Callable[[int], bytes]
"""Hands over exactly so many bytes, or raises Malformed."""


@dataclass(frozen=True, slots=True)
class BlockHead:
    """How much of a block is what: groups, bytes of the deflated table, bytes of the deflated planes."""

    group_count: int
    table_size: int
    planes_size: int


# ---------------------------------------------------------------- write


def encode_block(rows: KeyRows) -> bytes:
    """The bytes of the block of 1 to 65,536 `rows`, which stand in canonical order and are well-formed."""
    tops = _tops(rows)
    begins = _begins(metadata_numbers(rows))
    firsts = np.flatnonzero(begins)
    rises = tops.copy()
    rises[1:] -= np.where(begins[1:], 0, tops[:-1])
    sizes = np.diff(firsts, append=len(rows))
    levels, of_each = _levels(rows["transmission_risk_level"], firsts, sizes)
    table = _deflated([_table(rows[firsts], levels, sizes)], zlib.Z_DEFAULT_STRATEGY)
    # Runs and frequencies are all that there is to find in planes; looking for more costs time and space.
    planes = _deflated([*_planes(rises, TOP_BYTES), of_each], zlib.Z_RLE)
    rest = np.ascontiguousarray(rows["key_data"][:, TOP_BYTES:]).tobytes()
    return _HEAD.pack(len(firsts), len(table), len(planes)) + table + planes + rest


def _tops(rows: KeyRows) -> npt.NDArray[np.uint32]:
    """The first three bytes of each key as a number."""
    wide = np.zeros((len(rows), 4), np.uint8)
    wide[:, 1:] = rows["key_data"][:, :TOP_BYTES]
    return wide.view(">u4").ravel().astype(np.uint32)


def _begins(said: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Where a group begins."""
    begins = np.ones(len(said), np.bool_)
    begins[1:] = said[1:] != said[:-1]
    return begins


def _levels(levels: Bytes, firsts: npt.NDArray[np.intp], sizes: npt.NDArray[np.intp]) -> tuple[Bytes, bytes]:
    """(a level for each group or MIXED_LEVELS, the levels one by one of all keys in mixed groups)."""
    least = np.minimum.reduceat(levels, firsts)
    mixed = least != np.maximum.reduceat(levels, firsts)
    return np.where(mixed, np.uint8(MIXED_LEVELS), least), levels[np.repeat(mixed, sizes)].tobytes()


def _table(groups: KeyRows, levels: Bytes, sizes: npt.NDArray[np.intp]) -> bytes:
    """Column by column, each but level and size as what it has risen by since the group before."""
    onset = groups["days_since_onset_of_symptoms"].view(np.uint8)
    columns = [
        *_planes(np.diff(groups["rolling_start_interval_number"], prepend=np.uint32(0)), 4),
        np.diff(groups["rolling_period"], prepend=np.uint8(0)).tobytes(),
        np.diff(groups["report_type"], prepend=np.uint8(0)).tobytes(),
        np.diff(onset, prepend=np.uint8(0)).tobytes(),
        levels.tobytes(),
        *_planes((sizes - 1).astype(np.uint32), 2),
    ]
    return b"".join(columns)


def _planes(numbers: npt.NDArray[np.uint32], count: int) -> list[bytes]:
    """The last `count` bytes of each number: first all the highest, then all the next."""
    return [((numbers >> (8 * place)) & 0xFF).astype(np.uint8).tobytes() for place in reversed(range(count))]


def _deflated(parts: list[bytes], strategy: int) -> bytes:
    stream = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    first, *others = parts
    pieces = [stream.compress(first)]
    for part in others:
        # Blocks, and so codes, of its own: a plane of zeros and one of noise have none in common.
        pieces += [stream.flush(zlib.Z_BLOCK), stream.compress(part)]
    return b"".join([*pieces, stream.flush()])


# ---------------------------------------------------------------- read


def take_block_head(take: Take, count: int) -> BlockHead:
    """The head of a block of `count` keys. Raises Malformed for sizes that no such block has."""
    head = BlockHead(*_HEAD.unpack(take(_HEAD.size)))
    if not 1 <= head.group_count <= count:
        raise Malformed(f"a block of {count} keys has {head.group_count} groups")
    if head.table_size > _most_deflated(_GROUP_BYTES * head.group_count):
        raise Malformed("the table of a block is larger than its content")
    if head.planes_size > _most_deflated((TOP_BYTES + 1) * count):
        raise Malformed("the planes of a block are larger than their content")
    return head


def take_block_unread(take: Take, count: int) -> None:
    """Take a block without looking into it: for whoever only hashes. Raises Malformed."""
    head = take_block_head(take, count)
    for size in (head.table_size, head.planes_size, REST_BYTES * count):
        take(size)


def take_block(take: Take, count: int) -> KeyRows:
    """The rows of a block of `count` keys. Raises Malformed.

    Groups rise, and their numbers are checked; whether keys rise in them is for who knows the block before.
    """
    head = take_block_head(take, count)
    table = _inflated(take(head.table_size), _GROUP_BYTES * head.group_count)
    groups, sizes = _read_table(table, head.group_count, count)
    mixed = groups["transmission_risk_level"] == MIXED_LEVELS
    mixed_count = int(sizes[mixed].sum())
    planes = _inflated(take(head.planes_size), TOP_BYTES * count + mixed_count)
    rows = np.repeat(groups, sizes)
    if mixed_count:
        _fill_levels(rows, planes[TOP_BYTES * count :], sizes, mixed)
    rows["key_data"][:, :TOP_BYTES] = _read_tops(planes[: TOP_BYTES * count].reshape(TOP_BYTES, count), sizes)
    rows["key_data"][:, TOP_BYTES:] = np.frombuffer(take(REST_BYTES * count), np.uint8).reshape(count, -1)
    check_key_rows(rows)
    return rows


def _most_deflated(size: int) -> int:
    """No encoder makes more of `size` bytes: stored, they grow by five in thousands."""
    return size + size // 1024 + 64


def _inflated(content: bytes, size: int) -> Bytes:
    """Exactly `size` bytes, of exactly one deflate stream (RFC 1951); never more in memory."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(content, size + 1)
    except zlib.error as error:
        raise Malformed("a deflate stream of a block cannot be read") from error
    if len(inflated) != size or not stream.eof or stream.unused_data:
        raise Malformed("a deflate stream of a block holds more or less than it should")
    return np.frombuffer(inflated, np.uint8)


def _read_table(table: Bytes, group_count: int, count: int) -> tuple[KeyRows, npt.NDArray[np.int64]]:
    """(a row a group with a key of zeros, how many keys each group has)."""
    columns = table.reshape(_GROUP_BYTES, group_count)
    groups = np.zeros(group_count, KEY_ROW)
    groups["rolling_start_interval_number"] = np.cumsum(_number(columns[:4]), dtype=np.uint32)
    for place, name in enumerate(("rolling_period", "report_type"), start=4):
        groups[name] = np.cumsum(columns[place], dtype=np.uint8)
    groups["days_since_onset_of_symptoms"] = np.cumsum(columns[6], dtype=np.uint8).view(np.int8)
    groups["transmission_risk_level"] = columns[7]
    sizes = _number(columns[8:]).astype(np.int64) + 1
    if int(sizes.sum()) != count:
        raise Malformed(f"the groups of a block of {count} keys hold {int(sizes.sum())}")
    said = metadata_numbers(groups)
    if not (said[1:] > said[:-1]).all():
        raise Malformed("the groups of a block do not stand in canonical order")
    if int(groups["transmission_risk_level"].max()) > MIXED_LEVELS:
        raise Malformed("a group of a block has no such transmission risk")
    return groups, sizes


def _number(planes: Bytes) -> npt.NDArray[np.uint32]:
    number = np.zeros(planes.shape[1], np.uint32)
    for plane in planes:
        number = (number << np.uint32(8)) | plane
    return number


def _fill_levels(
    rows: KeyRows, of_each: Bytes, sizes: npt.NDArray[np.int64], mixed: npt.NDArray[np.bool_]
) -> None:
    of_groups = np.cumsum(sizes[mixed]) - sizes[mixed]
    if bool((np.minimum.reduceat(of_each, of_groups) == np.maximum.reduceat(of_each, of_groups)).any()):
        raise Malformed("a group names the transmission risk of each key, and they are all the same")
    rows["transmission_risk_level"][np.repeat(mixed, sizes)] = of_each


def _read_tops(planes: Bytes, sizes: npt.NDArray[np.int64]) -> Bytes:
    """The first three bytes of each key, from what they rise by within their group."""
    sums = np.cumsum(_number(planes), dtype=np.uint64)
    firsts = np.cumsum(sizes) - sizes
    before = np.concatenate([np.zeros(1, np.uint64), sums[firsts[1:] - 1]])
    tops = sums - np.repeat(before, sizes)
    if int(tops.max()) >= 1 << (8 * TOP_BYTES):
        raise Malformed("the keys of a group rise above the greatest key")
    wide: Bytes = tops.astype(">u8").view(np.uint8).reshape(-1, 8)
    return wide[:, 8 - TOP_BYTES :]


def blocks_of(count: int) -> Iterator[int]:
    """How many keys the blocks of a section of `count` keys hold: all are full but the last."""
    for first in range(0, count, BLOCK_KEYS):
        yield min(BLOCK_KEYS, count - first)
