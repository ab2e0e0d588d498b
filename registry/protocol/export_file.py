"""The signed file of keys that phones fetch: a zip of `export.bin` and `export.sig`, as GAEN defines it.

Encodes, decodes, packs, unpacks and checks; the signature covers the whole of `export.bin`. It writes
keys in the order it is given and never signs, never sorts, never decides what is published.
Source: "Exposure Key File Format and Verification" and what existing key servers write.
"""

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError

from registry.errors import ConfigurationError, Malformed
from registry.protocol import export_file_pb2 as pb
from registry.protocol.export_records import (
    KEYS_TAG,
    REVISED_KEYS_TAG,
    check_record_count,
    decode_records,
    encode_records,
)
from registry.protocol.export_signatures import (
    SignatureInfo,
    decode_signatures,
    encode_signatures,
    info_message,
    read_info,
    utf8_text,
    verify_signatures,
)
from registry.protocol.export_zip import MAX_UNPACKED_BYTES, pack, unpack
from registry.protocol.key_rows import DistinctKeys, KeyRows, check_key_rows, check_revised_rows, key_rows
from registry.protocol.keys import (
    MAX_KEY_AGE_INTERVALS,
    MAX_ONSET_DAYS,
    KeyTimes,
    ReportType,
    TemporaryExposureKey,
)
from registry.protocol.regions import check_region

__all__ = [
    "HEADER",
    "MAX_KEY_AGE_INTERVALS",
    "MAX_ONSET_DAYS",
    "MAX_UNPACKED_BYTES",
    "ExportFile",
    "ExportRows",
    "SignatureInfo",
    "check_export",
    "check_export_rows",
    "decode_export",
    "decode_export_rows",
    "decode_signatures",
    "encode_export",
    "encode_export_rows",
    "encode_signatures",
    "export_rows",
    "open_zip",
    "pack",
    "read_announced",
    "read_announced_rows",
    "read_zip",
    "read_zip_rows",
    "unpack",
    "verify_signatures",
]

if api_implementation.Type() == "python":
    # Up to 130 times slower: a window of 500,000 keys would outlast the window. Better not to start.
    raise ConfigurationError("protobuf runs in pure Python here; install its compiled wheel to go on")

HEADER = b"EK Export v1    "
"""16 bytes. Read by length, never stripped by character."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """What `export.bin` says. The window [start, end) is in unix seconds.

    GAEN's `batch_num` of `batch_size` stays 1 of 1: what a window cannot hold goes into a file of its own.
    """

    start_timestamp: int
    end_timestamp: int
    region: str
    keys: tuple[TemporaryExposureKey, ...]
    revised_keys: tuple[TemporaryExposureKey, ...] = ()
    signature_infos: tuple[SignatureInfo, ...] = ()
    batch_num: int = 1
    batch_size: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class ExportRows:
    """What `export.bin` says, as `ExportFile`, with keys by columns: for files of a nation's size."""

    start_timestamp: int
    end_timestamp: int
    region: str
    keys: KeyRows
    revised_keys: KeyRows
    signature_infos: tuple[SignatureInfo, ...] = ()
    batch_num: int = 1
    batch_size: int = 1


def export_rows(export: ExportFile) -> ExportRows:
    """The same by columns. Raises Malformed for a key that no phone could use."""
    return ExportRows(
        start_timestamp=export.start_timestamp,
        end_timestamp=export.end_timestamp,
        region=export.region,
        keys=key_rows(export.keys),
        revised_keys=key_rows(export.revised_keys),
        signature_infos=export.signature_infos,
        batch_num=export.batch_num,
        batch_size=export.batch_size,
    )


def encode_export(export: ExportFile) -> bytes:
    """The bytes of `export.bin`; see `encode_export_rows`."""
    return encode_export_rows(export_rows(export))


def encode_export_rows(export: ExportRows) -> bytes:
    """The bytes of `export.bin`, header included; keys in the order given.

    As existing key servers write it: risk always present, a period of 144, report type UNKNOWN and an
    onset of None left out, start left out only if it is 0. Raises Malformed for a key that is not
    well-formed.
    """
    check_key_rows(export.keys)
    check_key_rows(export.revised_keys)
    frame = pb.TemporaryExposureKeyExport(
        start_timestamp=export.start_timestamp,
        end_timestamp=export.end_timestamp,
        region=export.region,
        batch_num=export.batch_num,
        batch_size=export.batch_size,
        signature_infos=[info_message(info) for info in export.signature_infos],
    )
    # Keys are the last fields, so that the rest of the message stands whole before them.
    return b"".join(
        [
            HEADER,
            frame.SerializeToString(deterministic=True),
            *encode_records(KEYS_TAG, export.keys),
            *encode_records(REVISED_KEYS_TAG, export.revised_keys),
        ]
    )


def decode_export(export_bin: bytes) -> ExportFile:
    """What `export.bin` says, header read by its length. Raises Malformed.

    Says nothing about whether the keys make sense (`check_export`) or who signed (`verify_signatures`).
    """
    if export_bin[: len(HEADER)] != HEADER:
        raise Malformed("export.bin does not begin with the header 'EK Export v1'")
    check_record_count(export_bin, len(HEADER))
    message = pb.TemporaryExposureKeyExport()
    try:
        message.ParseFromString(export_bin[len(HEADER) :])
        return ExportFile(
            start_timestamp=message.start_timestamp,
            end_timestamp=message.end_timestamp,
            region=utf8_text(message.region),
            keys=tuple(_key(record) for record in message.keys),
            revised_keys=tuple(_key(record) for record in message.revised_keys),
            signature_infos=tuple(read_info(info) for info in message.signature_infos),
            batch_num=message.batch_num,
            batch_size=message.batch_size,
        )
    except DecodeError as error:
        raise Malformed("export.bin is not a TemporaryExposureKeyExport") from error


_REPORT_TYPES = tuple(ReportType)


def _key(record: pb.TemporaryExposureKey) -> TemporaryExposureKey:
    has_onset = record.HasField("days_since_onset_of_symptoms")
    return TemporaryExposureKey(
        record.key_data,
        record.rolling_start_interval_number,
        record.rolling_period,
        record.transmission_risk_level,
        _REPORT_TYPES[record.report_type],
        record.days_since_onset_of_symptoms if has_onset else None,
    )


def decode_export_rows(export_bin: bytes) -> ExportRows:
    """What `decode_export` reads, by columns. Raises Malformed: also for a key that is not well-formed.

    Many times faster where the file is laid out as `encode_export` does it, and no different elsewhere.
    """
    export = _decode_regular(export_bin)
    if export is None:
        return export_rows(decode_export(export_bin))
    check_key_rows(export.keys)
    check_key_rows(export.revised_keys)
    return export


def _decode_regular(export_bin: bytes) -> ExportRows | None:
    if export_bin[: len(HEADER)] != HEADER:
        return None
    end_of_frame = _end_of_frame(export_bin)
    found = decode_records(export_bin, end_of_frame, KEYS_TAG)
    if found is None:
        return None
    keys, place = found
    found = decode_records(export_bin, place, REVISED_KEYS_TAG)
    if found is None or found[1] != len(export_bin):
        return None
    frame = decode_export(export_bin[:end_of_frame])
    return ExportRows(
        start_timestamp=frame.start_timestamp,
        end_timestamp=frame.end_timestamp,
        region=frame.region,
        keys=keys,
        revised_keys=found[0],
        signature_infos=frame.signature_infos,
        batch_num=frame.batch_num,
        batch_size=frame.batch_size,
    )


_FIXED_64, _VARINT, _BYTES = 1, 0, 2
_FRAME_FIELDS = {0x09: _FIXED_64, 0x11: _FIXED_64, 0x1A: _BYTES, 0x20: _VARINT, 0x28: _VARINT, 0x32: _BYTES}
"""Tags of what stands before the keys, and how each goes on."""


def _end_of_frame(export_bin: bytes) -> int:
    """Where what stands before the keys ends, or something that is not read here begins."""
    place = len(HEADER)
    while place + 1 < len(export_bin):
        kind, first = _FRAME_FIELDS.get(export_bin[place]), export_bin[place + 1]
        if kind == _FIXED_64:
            place += 9
        elif kind is not None and first < 0x80:
            place += 2 + (first if kind == _BYTES else 0)
        else:
            break
    return min(place, len(export_bin))


Export = TypeVar("Export", ExportFile, ExportRows)


def open_zip(content: bytes) -> tuple[bytes, list[tuple[SignatureInfo, bytes]]]:
    """(the bytes that were signed, the signatures): enough to verify a file before anything in it is read.

    Raises Malformed, also for a file without signatures.
    """
    export_bin, export_sig = unpack(content)
    signatures = decode_signatures(export_sig)
    if not signatures:
        raise Malformed("export.sig holds no signature")
    return export_bin, signatures


def read_zip(content: bytes) -> tuple[ExportFile, bytes, list[tuple[SignatureInfo, bytes]]]:
    """(what the file says, the bytes that were signed, the signatures), nothing of it verified.

    Raises Malformed: also for a file without signatures, or with more or fewer than it announces.
    """
    export_bin, signatures = open_zip(content)
    return read_announced(export_bin, len(signatures)), export_bin, signatures


def read_zip_rows(content: bytes) -> tuple[ExportRows, bytes, list[tuple[SignatureInfo, bytes]]]:
    """As `read_zip`, with keys by columns."""
    export_bin, signatures = open_zip(content)
    return read_announced_rows(export_bin, len(signatures)), export_bin, signatures


def read_announced(export_bin: bytes, signers: int) -> ExportFile:
    """What `export.bin` says, if it announces so many `signers`. Raises Malformed."""
    return _announced(decode_export(export_bin), signers)


def read_announced_rows(export_bin: bytes, signers: int) -> ExportRows:
    """As `read_announced`, with keys by columns."""
    return _announced(decode_export_rows(export_bin), signers)


def _announced(export: Export, signers: int) -> Export:
    if signers != len(export.signature_infos):
        raise Malformed(
            f"export.bin announces {len(export.signature_infos)} signatures, export.sig has {signers}"
        )
    return export


def check_export(export: ExportFile, *, now: float) -> None:
    """Raises Malformed unless the file is one that phones can use; see `check_export_rows`."""
    check_export_rows(export_rows(export), now=now)


def check_export_rows(export: ExportRows, *, now: float) -> None:
    """Raises Malformed unless the file is one that phones can use.

    1. A window that ends after it starts, and a region.
    2. File 1 of 1.
    3. Every key well-formed: 16 bytes, period 1 to 144, risk 0 to 8.
    4. No key that begins after `now` (unix seconds).
    5. No key that ended more than 28 days before the window's end.
    6. Days since onset from -14 to 14, where given.
    7. No key twice in one list.
    8. A revised key says what it was revised to.

    That (start, end, batch number) is unique among files is for whoever knows the other files.
    """
    if export.end_timestamp <= export.start_timestamp:  # 1
        raise Malformed("the window must end after it starts")
    check_region(export.region)
    if (export.batch_num, export.batch_size) != (1, 1):  # 2
        raise Malformed(f"file {export.batch_num} of {export.batch_size}; only 1 of 1 can be used alone")
    times = KeyTimes.of_window(export.end_timestamp, now=now)
    for rows in (export.keys, export.revised_keys):
        check_key_rows(rows, times)  # 3 to 6
        distinct = DistinctKeys()
        distinct.add(rows)
        distinct.check()  # 7
    check_revised_rows(export.revised_keys)  # 8
