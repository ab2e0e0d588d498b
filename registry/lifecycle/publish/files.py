"""The files of one batch or day: made, checked as a phone will check them, signed, stored.

The GAEN zips that existing phones read, and one compact file. A file that was stored once is never made again
and never written over: ECDSA signatures differ each time, so what an earlier run left under the name is
checked by the same rules and adopted. Never holds a whole batch in memory, however large it is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from tempfile import TemporaryFile
from typing import BinaryIO, TypeVar, cast

import numpy as np

from registry.errors import Distrusted, Malformed, StorageConflict, Unavailable, UntrustedKey
from registry.lifecycle.publish.run import ExportKeys
from registry.lifecycle.publish.side_by_side import Job
from registry.lifecycle.publish.spool import KeySpool, cut
from registry.protocol.compact_file import CompactHeader, read_compact, write_compact, write_signatures
from registry.protocol.export_file import (
    ExportRows,
    check_export_rows,
    encode_export_rows,
    encode_signatures,
    pack,
    read_zip_rows,
)
from registry.protocol.export_signatures import (
    SignatureInfo,
    Signatures,
    TrustedKeys,
    verify_signatures,
)
from registry.protocol.index import COMPACT, EXPOSURES, GAEN_ZIP, export_name
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.key_rows import KeyRows
from registry.protocol.manifest import ManifestFile
from registry.signing import Signer
from registry.storage import PIECE_BYTES, Storage

Content = TypeVar("Content", bytes, BinaryIO)

MOST_EXPORT_BYTES = 16_000_000
"""Of the records in `export.bin`: a file of more makes phones run out of memory (cwa-server)."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What files are to hold: keys of a region's windows `sequence` to `last_sequence`, [start, end)."""

    region: str
    start: int
    end: int
    sequence: int
    last_sequence: int
    keys: KeySpool
    revised_keys: KeySpool
    daily: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to make a file of."""
        return not self.keys.count and not self.revised_keys.count

    @property
    def newest_key_end(self) -> int | None:
        """The largest end interval number of all keys."""
        ends = (self.keys.newest_end, self.revised_keys.newest_end)
        return max((end for end in ends if end is not None), default=None)

    def name(self, number: int, form: str) -> str:
        """Of file `number`, relative to /exposures/."""
        return export_name(self.region, self.start, self.end, number, form=form, daily=self.daily)


def check_embargo(contents: Contents) -> None:
    """The last defence: sealing has asked this already, of the database. Raises Unavailable."""
    newest = contents.newest_key_end
    if newest is not None and newest + EMBARGO_INTERVALS > interval_at(contents.end):
        raise Unavailable(
            f"a key in the batch that ends at {contents.end} was valid less than two hours before; "
            "nothing of the batch is published"
        )


def file_jobs(
    storage: Storage, contents: Contents, keys: ExportKeys, *, keys_per_file: int, now: float
) -> list[Job]:
    """Jobs that make, sign and store all files of `contents`, or adopt what lies there; without keys none.

    One makes the zips, one after the other, one the compact file. They raise StorageConflict if what lies
    there does not say exactly this under registered keys; Malformed or Distrusted, and store nothing of that
    file, if a new one would not pass a phone's checks. A crash leaves whole files under their names, which
    nothing lists and the next run adopts.
    """
    if contents.is_empty:
        return []
    check_embargo(contents)

    def zips() -> list[ManifestFile]:
        return [
            _store_zip(storage, contents.name(number, GAEN_ZIP), export, keys, now)
            for number, export in enumerate(exports(contents, keys_per_file), start=1)
        ]

    return [zips, lambda: [_store_compact(storage, contents, keys)]]


# ------------------------------------------------------------ GAEN


def exports(contents: Contents, keys_per_file: int) -> Iterator[ExportRows]:
    """In canonical order, in as many files as it needs; revised keys fill the last ones.

    Each is file 1 of 1, told apart by its end: iOS ignores batch numbers, and Android takes files with the
    same (start, end, number) for the same file. So the n-th of several ends n seconds late.
    """
    spools = (contents.keys, contents.revised_keys)
    parts = cut(spools, most_keys=keys_per_file, most_bytes=MOST_EXPORT_BYTES)
    for number, (keys, revised) in enumerate(parts, start=1):
        yield ExportRows(
            start_timestamp=contents.start,
            end_timestamp=contents.end + (number if len(parts) > 1 else 0),
            region=contents.region,
            keys=contents.keys.rows(*keys),
            revised_keys=contents.revised_keys.rows(*revised),
        )


def _store_zip(storage: Storage, name: str, export: ExportRows, keys: ExportKeys, now: float) -> ManifestFile:
    infos = _infos(keys.live)
    export = replace(export, signature_infos=infos)
    check_export_rows(export, now=now)
    signed = encode_export_rows(export)
    content = pack(signed, encode_signatures(_signed(signed, keys.live)))
    # Read back as a phone will read it, before anyone can see it.
    _check_zip(content, export, keys.registered)
    signed_by = infos
    # A crash in here leaves no file, or the whole file under its name, which the next run adopts below.
    if not storage.put_new(f"{EXPOSURES}/{name}", content):
        content = _found(storage.read(f"{EXPOSURES}/{name}"), name)
        signed_by = _adopted(name, lambda: _check_zip(content, export, keys.registered))
    return ManifestFile(
        path=name,
        sha256=sha256(content).hexdigest(),
        size=len(content),
        keys=len(export.keys) + len(export.revised_keys),
        signing_keys=tuple((info.key_id, info.key_version) for info in signed_by),
    )


def _check_zip(content: bytes, export: ExportRows, registered: TrustedKeys) -> tuple[SignatureInfo, ...]:
    """Who signed `content`, once it is a file that says what `export` says, signed by registered keys alone.

    Which of them signed is left open: keys may have rotated since. Raises Malformed or Distrusted.
    """
    found, signed, signatures = read_zip_rows(content)
    if not _says_the_same(found, export):
        raise Malformed("the file does not hold the keys, region and window of its batch")
    check_signers(found, signed, signatures, registered)
    return found.signature_infos


def check_signers(found: ExportRows, signed: bytes, signatures: Signatures, registered: TrustedKeys) -> None:
    """Raises Malformed or Distrusted unless those signed a zip that it announces, registered keys alone."""
    if tuple(info for info, _ in signatures) != found.signature_infos:
        raise Malformed("the file is signed by others than it announces")
    check_registered(found.signature_infos, registered)
    verify_signatures(signed, signatures, registered)


def _says_the_same(found: ExportRows, export: ExportRows) -> bool:
    return (
        (found.start_timestamp, found.end_timestamp, found.region, found.batch_num, found.batch_size)
        == (export.start_timestamp, export.end_timestamp, export.region, 1, 1)
        and np.array_equal(found.keys, export.keys)
        and np.array_equal(found.revised_keys, export.revised_keys)
    )


# ------------------------------------------------------------ compact


def compact_header(contents: Contents) -> CompactHeader:
    """What the compact file says of itself."""
    return CompactHeader(
        region=contents.region,
        start_timestamp=contents.start,
        end_timestamp=contents.end,
        sequence=contents.sequence,
        last_sequence=contents.last_sequence,
        key_count=contents.keys.count,
        revised_key_count=contents.revised_keys.count,
    )


def _store_compact(storage: Storage, contents: Contents, keys: ExportKeys) -> ManifestFile:
    name = contents.name(1, COMPACT)
    header = compact_header(contents)
    with TemporaryFile() as temporary:
        file = cast("BinaryIO", temporary)
        statement = write_compact(file, header, contents.keys.chunks(), contents.revised_keys.chunks())
        write_signatures(file, _signed(statement, keys.live))
        signed_by = _check_compact(file, header, contents, keys.registered)
        file.seek(0)
        # A crash in here leaves no file, or the whole file under its name, which the next run adopts below.
        if storage.put_new_file(f"{EXPOSURES}/{name}", file):
            digest, size = digest_and_size(file)
        else:
            there = storage.open_file(f"{EXPOSURES}/{name}")
            with _found(there, name) as lying:
                signed_by = _adopted(name, lambda: _check_compact(lying, header, contents, keys.registered))
                digest, size = digest_and_size(lying)
    return ManifestFile(
        path=name,
        sha256=digest,
        size=size,
        keys=contents.keys.count + contents.revised_keys.count,
        signing_keys=tuple((info.key_id, info.key_version) for info in signed_by),
        format=COMPACT,
    )


def _check_compact(
    file: BinaryIO, header: CompactHeader, contents: Contents, registered: TrustedKeys
) -> tuple[SignatureInfo, ...]:
    """Who signed the file, once it says what `contents` say. Raises Malformed or Distrusted."""
    found = read_compact(file, registered)
    if found.header != header:
        raise Malformed("the file does not hold the region and windows of its batch")
    check_registered(found.signed_by, registered)
    # That no key comes twice the database's primary key has seen to.
    _check_rows(found.keys(distinct=False), contents.keys)
    _check_rows(found.revised_keys(distinct=False), contents.revised_keys)
    return found.signed_by


def _check_rows(found: Iterable[KeyRows], wanted: KeySpool) -> None:
    place = 0
    for rows in found:
        if not np.array_equal(rows, wanted.rows(place, min(place + len(rows), wanted.count))):
            raise Malformed("the file does not hold the keys of its batch")
        place += len(rows)
    if place != wanted.count:
        raise Malformed("the file does not hold all keys of its batch")


def digest_and_size(file: BinaryIO) -> tuple[str, int]:
    """SHA-256 in hex and bytes of the whole file, read in pieces."""
    file.seek(0)
    digest, size = sha256(), 0
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


# ------------------------------------------------------------ both


def _infos(signers: Sequence[Signer]) -> tuple[SignatureInfo, ...]:
    return tuple(SignatureInfo(signer.key_id, signer.key_version) for signer in signers)


def _signed(message: bytes, signers: Sequence[Signer]) -> list[tuple[SignatureInfo, bytes]]:
    return [(info, signer.sign(message)) for info, signer in zip(_infos(signers), signers, strict=True)]


def check_registered(infos: Sequence[SignatureInfo], registered: TrustedKeys) -> None:
    """Raises UntrustedKey for a signer that is not registered here."""
    if not all((info.key_id, info.key_version) in registered for info in infos):
        raise UntrustedKey("the file is signed by a key that is not registered here")


def _found(content: Content | None, name: str) -> Content:
    if content is None:
        raise StorageConflict(f"{name} was there and is gone: something else deletes in the public folder")
    return content


def _adopted(name: str, check: Callable[[], tuple[SignatureInfo, ...]]) -> tuple[SignatureInfo, ...]:
    try:
        return check()
    except (Malformed, Distrusted) as error:
        raise StorageConflict(
            f"{name} is written once, and other bytes lie there; move them away to go on"
        ) from error
