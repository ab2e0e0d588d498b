"""The native file of keys: as little above the information in it as deflate allows, signed, never split.

Written and read block by block, so that memory does not grow with the number of keys. It never signs (the
statement to be signed is handed over), never sorts and never decides what is published. The format is
written down in `docs/compact-format.md`; whoever changes one changes both, and the version.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import BinaryIO

import numpy as np

from registry.errors import Malformed
from registry.protocol.compact_block import (
    BLOCK_KEYS,
    blocks_of,
    encode_block,
    take_block,
    take_block_unread,
)
from registry.protocol.export_signatures import (
    ECDSA_WITH_SHA256,
    SignatureInfo,
    Signatures,
    TrustedKeys,
    verify_signatures,
)
from registry.protocol.key_rows import (
    DistinctKeys,
    KeyRows,
    check_canonical_order,
    check_key_rows,
    check_revised_rows,
    no_rows,
)
from registry.protocol.regions import check_region

MAGIC = b"Positive keys v1"
"""16 bytes."""

STATEMENT = "positive-key-registry compact file v1\nsha256 {}\n"
"""What is signed, ASCII, with the digest of all before the signatures in lower-case hex: no other thing that
an export key signs begins like this."""

MAX_KEYS = 2**24
"""In one section; about 250 MB."""

MAX_SIGNATURES = 10

_REGION_BYTES = 8
"""Zeros follow the code."""

_NUMBERS = struct.Struct(">QQQQII")
_MOST_SEQUENCE = 2**53 - 1
_NAME = re.compile(r"[!-~]{1,64}")
_LEAST_SIGNATURE_BYTES, _MOST_SIGNATURE_BYTES = 8, 72
"""Of an ECDSA signature by P-256 in DER."""


@dataclass(frozen=True, slots=True)
class CompactHeader:
    """What a compact file says of itself. The window [start, end) is in unix seconds.

    `sequence` to `last_sequence` are the region's windows whose keys it holds: one, or those of a day.
    """

    region: str
    start_timestamp: int
    end_timestamp: int
    sequence: int
    last_sequence: int
    key_count: int
    revised_key_count: int


def check_header(header: CompactHeader, *, max_keys: int = MAX_KEYS) -> None:
    """Raises Malformed unless it is a header that a file may have, of no more than `max_keys` a section."""
    check_region(header.region)
    if not 0 <= header.start_timestamp < header.end_timestamp < 2**63:
        raise Malformed("the window must end after it starts")
    if not 1 <= header.sequence <= header.last_sequence <= _MOST_SEQUENCE:
        raise Malformed("a file holds the keys of one window or of a run of windows")
    for count in (header.key_count, header.revised_key_count):
        if not 0 <= count <= min(max_keys, MAX_KEYS):
            raise Malformed(f"a section of {count} keys is larger than is read here")


# ---------------------------------------------------------------- write


def write_compact(
    file: BinaryIO, header: CompactHeader, keys: Iterable[KeyRows], revised_keys: Iterable[KeyRows]
) -> bytes:
    """Write all but the signatures; returns the statement to be signed, for `write_signatures`.

    Rows in canonical order, in chunks of any size: the same rows are the same bytes. Raises Malformed for
    whatever a reader would refuse (`file` then holds half a file), but for a key that comes again with other
    metadata: whoever chose the keys knows that they are distinct.
    """
    check_header(header)
    digest = sha256()
    sections = (
        _encoded(keys, header.key_count, are_revised=False),
        _encoded(revised_keys, header.revised_key_count, are_revised=True),
    )
    for content in chain([_encode_header(header)], *sections):
        file.write(content)
        digest.update(content)
    return _statement(digest.digest())


def write_signatures(file: BinaryIO, signatures: Signatures) -> None:
    """The end of the file: who signed the statement, and the signatures (DER). Raises Malformed."""
    _check_signers([info for info, _ in signatures])
    content = bytes([len(signatures)])
    for info, signature in signatures:
        if not _LEAST_SIGNATURE_BYTES <= len(signature) <= _MOST_SIGNATURE_BYTES:
            raise Malformed(f"no signature by P-256 has {len(signature)} bytes")
        for part in (info.key_id.encode(), info.key_version.encode(), signature):
            content += bytes([len(part)]) + part
    file.write(content)


def _encode_header(header: CompactHeader) -> bytes:
    region = header.region.encode("ascii")
    return (
        MAGIC
        + region.ljust(_REGION_BYTES, b"\0")
        + _NUMBERS.pack(
            header.start_timestamp,
            header.end_timestamp,
            header.sequence,
            header.last_sequence,
            header.key_count,
            header.revised_key_count,
        )
    )


def _encoded(chunks: Iterable[KeyRows], count: int, *, are_revised: bool) -> Iterator[bytes]:
    """The blocks of a section of `count` keys. Raises Malformed if there are more keys or fewer."""
    written = 0
    last = no_rows()
    for rows in _in_blocks(chunks):
        check_key_rows(rows)
        check_canonical_order(rows, after=last)
        if are_revised:
            check_revised_rows(rows)
        written += len(rows)
        if written > count:
            break
        yield encode_block(rows)
        last = rows[-1:]
    if written != count:
        raise Malformed(f"the header of the file says {count} keys, and there are more or fewer")


def _in_blocks(chunks: Iterable[KeyRows]) -> Iterator[KeyRows]:
    """The same rows, BLOCK_KEYS at a time and the rest at the end."""
    waiting: list[KeyRows] = []
    missing = BLOCK_KEYS
    for chunk in chunks:
        place = 0
        while len(chunk) - place >= missing:
            yield np.concatenate([*waiting, chunk[place : place + missing]])
            place += missing
            waiting, missing = [], BLOCK_KEYS
        if place < len(chunk):
            waiting.append(chunk[place:])
            missing -= len(chunk) - place
    if waiting:
        yield np.concatenate(waiting)


def _statement(digest: bytes) -> bytes:
    return STATEMENT.format(digest.hex()).encode("ascii")


# ---------------------------------------------------------------- read


class CompactFile:
    """A compact file; its keys are read from `file` when they are asked for.

    `file` must stay open and unchanged. `signed_by` names every signer, trusted or not.
    """

    def __init__(
        self,
        file: BinaryIO,
        header: CompactHeader,
        places: tuple[int, int],
        signed_by: Sequence[SignatureInfo],
    ) -> None:
        self.header = header
        self.signed_by = tuple(signed_by)
        self._file = file
        self._places = places

    def keys(self, *, distinct: bool = True) -> Iterator[KeyRows]:
        """The keys in canonical order, up to 65,536 at a time. Raises Malformed, perhaps at the very end.

        Nothing is to be believed before the last chunk has come. That no key comes again with other
        metadata costs 16 bytes of memory a key; who knows it already asks with `distinct=False`.
        """
        return self._rows(self._places[0], self.header.key_count, distinct=distinct)

    def revised_keys(self, *, distinct: bool = True) -> Iterator[KeyRows]:
        """Keys published before that have changed, as `keys`; each says to which report type."""
        for rows in self._rows(self._places[1], self.header.revised_key_count, distinct=distinct):
            check_revised_rows(rows)
            yield rows

    def _rows(self, place: int, count: int, *, distinct: bool) -> Iterator[KeyRows]:
        seen = DistinctKeys()
        last = no_rows()
        source = _Source(self._file, place)
        for block_count in blocks_of(count):
            rows = take_block(source.take, block_count)
            check_canonical_order(rows, after=last)
            if distinct:
                seen.add(rows)
            last = rows[-1:]
            yield rows
        seen.check()


def read_compact(file: BinaryIO, trusted: TrustedKeys, *, max_keys: int = MAX_KEYS) -> CompactFile:
    """The file, once a trusted key has signed it; `file` must be seekable, and is read from its beginning.

    Reads all of it once and holds none of it: keys are decoded when they are asked for. Raises Malformed,
    BadSignature, or UntrustedKey if no signer is trusted.
    """
    compact, statement, signatures = open_compact(file, max_keys=max_keys)
    verify_signatures(statement, signatures, trusted)
    return compact


def open_compact(file: BinaryIO, *, max_keys: int = MAX_KEYS) -> tuple[CompactFile, bytes, Signatures]:
    """The file, the statement that is signed, and the signatures, which nobody has checked. Raises Malformed.

    For who looks at what a file says, whoever made it; a phone calls `read_compact`.
    """
    source = _Source(file, 0)
    header = _take_header(source)
    check_header(header, max_keys=max_keys)
    places = []
    for count in (header.key_count, header.revised_key_count):
        places.append(source.place)
        for block_count in blocks_of(count):
            take_block_unread(source.take, block_count)
    statement = _statement(source.digest.digest())
    signatures = _take_signatures(source)
    source.check_end()
    signed_by = [info for info, _ in signatures]
    return CompactFile(file, header, (places[0], places[1]), signed_by), statement, signatures


class _Source:
    """Reads on from a place of its own, whoever else moves the file, and hashes what it reads."""

    def __init__(self, file: BinaryIO, place: int) -> None:
        self._file = file
        self.place = place
        self.digest = sha256()

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises Malformed if the file ends before."""
        self._file.seek(self.place)
        content = self._file.read(size)
        if len(content) != size:
            raise Malformed("the file is cut short")
        self.place += size
        self.digest.update(content)
        return content

    def check_end(self) -> None:
        """Raises Malformed if anything follows."""
        self._file.seek(self.place)
        if self._file.read(1):
            raise Malformed("something follows the signatures")


def _take_header(source: _Source) -> CompactHeader:
    if source.take(len(MAGIC)) != MAGIC:
        raise Malformed("the file does not begin with 'Positive keys v1'")
    padded = source.take(_REGION_BYTES)
    region = padded.rstrip(b"\0")
    try:
        return CompactHeader(region.decode("ascii"), *_NUMBERS.unpack(source.take(_NUMBERS.size)))
    except UnicodeDecodeError as error:
        raise Malformed("the region is not ASCII") from error


def _take_signatures(source: _Source) -> list[tuple[SignatureInfo, bytes]]:
    (count,) = source.take(1)
    if count > MAX_SIGNATURES:
        raise Malformed(f"{count} signatures are more than {MAX_SIGNATURES}")
    signatures = []
    for _ in range(count):
        key_id, key_version, signature = (source.take(source.take(1)[0]) for _ in range(3))
        if not _LEAST_SIGNATURE_BYTES <= len(signature) <= _MOST_SIGNATURE_BYTES:
            raise Malformed(f"no signature by P-256 has {len(signature)} bytes")
        # Any byte is a letter of this alphabet; which of them names have is checked below.
        info = SignatureInfo(key_id.decode("latin-1"), key_version.decode("latin-1"))
        signatures.append((info, signature))
    _check_signers([info for info, _ in signatures])
    return signatures


def _check_signers(infos: Sequence[SignatureInfo]) -> None:
    if not 1 <= len(infos) <= MAX_SIGNATURES:
        raise Malformed(f"a file has 1 to {MAX_SIGNATURES} signatures, not {len(infos)}")
    if len({(info.key_id, info.key_version) for info in infos}) != len(infos):
        raise Malformed("a key has signed the file twice")
    for info in infos:
        if not (_NAME.fullmatch(info.key_id) and _NAME.fullmatch(info.key_version)):
            raise Malformed("a key id or version is not 1 to 64 printable characters of ASCII")
        if info.algorithm != ECDSA_WITH_SHA256:
            raise Malformed("a compact file is signed with ECDSA and SHA-256 only")
