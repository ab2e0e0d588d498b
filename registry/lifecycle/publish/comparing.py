"""The files of one batch or day, held against its rows, against each other and against what is on record.

Every file must be the one on record, bear good signatures of registered keys alone, and be, byte for byte,
what the rows make. A key may be in it that no row has only if its time was over: retirement takes keys about
a week before their files. Then the files tell what the rows were, and must agree on it. Changes nothing, and
holds of all keys one zip's in memory, and 16 bytes of each.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from hashlib import sha256
from tempfile import TemporaryFile
from typing import BinaryIO, Self, cast

import numpy as np

from registry.errors import Distrusted, Malformed
from registry.lifecycle.publish.files import Contents, check_registered, check_signers, exports
from registry.lifecycle.publish.relation import Relation, are_same, ordered, related
from registry.lifecycle.publish.spool import KeySpool
from registry.protocol.compact_file import CompactFile, read_compact, write_compact
from registry.protocol.export_file import ExportRows, encode_export_rows, read_zip_rows
from registry.protocol.export_signatures import TrustedKeys
from registry.protocol.index import COMPACT, EXPOSURES, GAEN_ZIP
from registry.protocol.key_rows import KeyRows
from registry.storage import PIECE_BYTES, Storage


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of one file. `fault` is empty if it is, byte for byte, what the rows make.

    `partial`: some of its keys were retired before it, so that only the others could be compared with rows.
    """

    path: str
    fault: str = ""
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the database says of a file: its path relative to /exposures/, SHA-256 in hex, size in bytes."""

    path: str
    format: str
    sha256: str
    size: int


@dataclass(slots=True)
class _Lying:
    """One file as it lies there. `says`: region, window and so on, None if it could not be read."""

    record: Recorded
    faults: list[str] = field(default_factory=list)
    says: tuple[object, ...] | None = None
    keys: tuple[int, int] = (0, 0)
    """Where its keys are among those of its format, [first, end)."""
    revised_keys: tuple[int, int] = (0, 0)


class _Format:
    """The files of one format together, their keys spooled one after the other. Use as a context manager."""

    def __init__(self, registered: TrustedKeys) -> None:
        self._registered = registered
        self._open = ExitStack()
        self.keys = self._open.enter_context(KeySpool())
        self.revised_keys = self._open.enter_context(KeySpool())
        self.files: list[_Lying] = []
        self.relation = Relation()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def is_whole(self) -> bool:
        """Whether each of its files could be read."""
        return bool(self.files) and all(file.says is not None for file in self.files)

    @property
    def is_flawless(self) -> bool:
        """Whether nothing was wrong with any of its files by itself."""
        return not any(file.faults for file in self.files)

    def read_zip(self, storage: Storage, record: Recorded) -> None:
        """Take in a zip, and note what is wrong with it by itself."""
        self.files.append(file := _Lying(record))
        content = storage.read(f"{EXPOSURES}/{record.path}")
        if content is None:
            file.faults.append("is gone")
            return
        _check_record(file, sha256(content).hexdigest(), len(content))
        try:
            found, signed, signatures = read_zip_rows(content)
            if encode_export_rows(found) != signed:
                file.faults.append("is not laid out as our files are")
            self._take(file, [found.keys], [found.revised_keys])
        except Malformed as error:
            file.faults.append(f"cannot be read: {error}")
            return
        file.says = _said_by(found)
        try:
            check_signers(found, signed, signatures, self._registered)
        except (Malformed, Distrusted) as error:
            file.faults.append(f"would be refused by phones: {error}")

    def read_compact(self, storage: Storage, record: Recorded) -> None:
        """Take in a compact file, and note what is wrong with it by itself."""
        self.files.append(file := _Lying(record))
        there = storage.open_file(f"{EXPOSURES}/{record.path}")
        if there is None:
            file.faults.append("is gone")
            return
        with there, TemporaryFile() as temporary:
            # Read from the store once, and several times from here.
            copy = cast("BinaryIO", temporary)
            _check_record(file, *_copied(there, copy))
            try:
                found = read_compact(copy, self._registered)
                check_registered(found.signed_by, self._registered)
                self._take(file, found.keys(), found.revised_keys())
            except (Malformed, Distrusted) as error:
                file.faults.append(f"would be refused by phones: {error}")
                return
            header = found.header
            file.says = (
                *(header.region, header.start_timestamp, header.end_timestamp),
                *(header.sequence, header.last_sequence),
            )
            if not _is_laid_out_as_ours(copy, found):
                file.faults.append("is not laid out as our files are")

    def stand(self, contents: Contents, retired: int) -> None:
        """Find out how the keys of all its files stand to the rows."""
        self.relation = related(self.keys, contents.keys, retired) + related(
            self.revised_keys, contents.revised_keys, retired
        )

    def blame(self, fault: str) -> None:
        """Note a fault that lies in some of its files, and cannot be told of which."""
        for file in self.files:
            if file.says is not None:
                file.faults.append(fault)

    def _take(self, file: _Lying, keys: Iterable[KeyRows], revised_keys: Iterable[KeyRows]) -> None:
        first, first_revised = self.keys.count, self.revised_keys.count
        try:
            self.keys.add(ordered(keys))
            self.revised_keys.add(ordered(revised_keys))
        finally:
            file.keys = (first, self.keys.count)
            file.revised_keys = (first_revised, self.revised_keys.count)


def compare(
    storage: Storage,
    contents: Contents,
    recorded: Sequence[Recorded],
    *,
    registered: TrustedKeys,
    keys_per_file: int,
    retired: int,
) -> list[Rebuilt]:
    """What became of each file that is on record, and of those that should be.

    `contents` are the rows that are kept; `retired` is the interval at which, or before which, keys ended
    that may be kept no more.
    """
    with _Format(registered) as zips, _Format(registered) as compact:
        for record in recorded:
            if record.format == GAEN_ZIP:
                zips.read_zip(storage, record)
            elif record.format == COMPACT:
                compact.read_compact(storage, record)
        formats = (zips, compact)
        for one in formats:
            one.stand(contents, retired)
        partial = any(one.relation.retired for one in formats)
        by = _what_rows_were(formats, contents) if partial else contents
        missing: list[str] = []
        if by is not None:
            missing = _compare_zips(zips, by, keys_per_file)
            _compare_compact(compact, by)
        lying = [
            Rebuilt(file.record.path, "; ".join(file.faults), partial)
            for one in formats
            for file in one.files
        ]
        return lying + [
            Rebuilt(path, "is not on record, though the rows make it", partial) for path in missing
        ]


def _what_rows_were(formats: Sequence[_Format], contents: Contents) -> Contents | None:
    """The rows before some were retired, as the files tell it of which least is wrong.

    None if none can: the files' faults then say why, where one is not merely a neighbour's.
    """
    telling = [one for one in formats if one.is_whole and one.relation.is_good]
    if not telling:
        for one in formats:
            if one.relation.foreign or (one.is_whole and one.relation.missing):
                one.blame(_other_keys(one))
        return None
    flawless = [one for one in telling if one.is_flawless] or telling
    first = flawless[0]
    if not all(
        are_same(first.keys, one.keys) and are_same(first.revised_keys, one.revised_keys) for one in flawless
    ):
        for one in formats:
            one.blame("holds other retired keys than the files of the other format")
        return None
    return replace(contents, keys=first.keys, revised_keys=first.revised_keys)


def _compare_zips(zips: _Format, contents: Contents, keys_per_file: int) -> list[str]:
    """Note what differs from what the rows make; paths of files that they make and that are not on record."""
    files = {file.record.path: file for file in zips.files}
    missing = []
    for number, made in enumerate(exports(contents, keys_per_file), start=1):
        file = files.pop(path := contents.name(number, GAEN_ZIP), None)
        if file is None:
            missing.append(path)
        elif file.says is not None:
            if file.says != _said_by(made):
                file.faults.append("says another region or window than its batch")
            if not (
                np.array_equal(zips.keys.rows(*file.keys), made.keys)
                and np.array_equal(zips.revised_keys.rows(*file.revised_keys), made.revised_keys)
            ):
                file.faults.append(_other_keys(zips))
    for file in files.values():
        file.faults.append("is one more than the rows make")
    return missing


def _compare_compact(compact: _Format, contents: Contents) -> None:
    says = (
        *(contents.region, contents.start, contents.end),
        *(contents.sequence, contents.last_sequence),
    )
    same = are_same(compact.keys, contents.keys) and are_same(compact.revised_keys, contents.revised_keys)
    for file in compact.files:
        if file.says is not None and file.says != says:
            file.faults.append("says another region or window than its batch")
        if file.says is not None and not same:
            file.faults.append(_other_keys(compact))
        if file.record.path != contents.name(1, COMPACT):
            file.faults.append("is one more than the rows make")


def _other_keys(found: _Format) -> str:
    if not found.is_whole:
        return "holds other keys than the rows make"
    many = f"{found.relation.foreign} that no row has, {found.relation.missing} missing"
    return f"holds other keys than the rows make ({many}, in all files of the format)"


def _check_record(file: _Lying, digest: str, size: int) -> None:
    if (digest, size) != (file.record.sha256, file.record.size):
        file.faults.append("is not the file on record, by its SHA-256 or size")


def _said_by(export: ExportRows) -> tuple[object, ...]:
    return (
        *(export.region, export.start_timestamp, export.end_timestamp),
        *(export.batch_num, export.batch_size),
    )


def _copied(source: BinaryIO, copy: BinaryIO) -> tuple[str, int]:
    """SHA-256 in hex and size of all that was copied."""
    digest, size = sha256(), 0
    while piece := source.read(PIECE_BYTES):
        copy.write(piece)
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _is_laid_out_as_ours(file: BinaryIO, found: CompactFile) -> bool:
    """Whether its own keys, written once more, make the same bytes but for the signatures."""
    with TemporaryFile() as temporary:
        made = cast("BinaryIO", temporary)
        write_compact(made, found.header, found.keys(distinct=False), found.revised_keys(distinct=False))
        left = made.tell()
        made.seek(0)
        file.seek(0)
        while left:
            piece = made.read(min(PIECE_BYTES, left))
            if file.read(len(piece)) != piece:
                return False
            left -= len(piece)
    return True
