"""The signed file of keys that phones fetch: a zip of `export.bin` and `export.sig`, as GAEN defines it.

Encodes, decodes, packs, unpacks and checks; the signature covers the whole of `export.bin`. It writes
keys in the order it is given and never signs, never sorts, never decides what is published.
Source: "Exposure Key File Format and Verification" and what existing key servers write.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from google.protobuf.internal import api_implementation
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import DecodeError

from registry.errors import BadSignature, ConfigurationError, Malformed, UntrustedKey
from registry.protocol import export_file_pb2 as pb
from registry.protocol.export_zip import MAX_UNPACKED_BYTES, pack, unpack
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.keys import MAX_ROLLING_PERIOD, ReportType, TemporaryExposureKey, check_key
from registry.protocol.regions import check_region

__all__ = [
    "HEADER",
    "MAX_KEY_AGE_INTERVALS",
    "MAX_ONSET_DAYS",
    "MAX_UNPACKED_BYTES",
    "ExportFile",
    "SignatureInfo",
    "check_export",
    "decode_export",
    "decode_signatures",
    "encode_export",
    "encode_signatures",
    "open_zip",
    "pack",
    "read_announced",
    "read_zip",
    "unpack",
    "verify_signatures",
]

if api_implementation.Type() == "python":
    # Up to 130 times slower: a window of 500,000 keys would outlast the window. Better not to start.
    raise ConfigurationError("protobuf runs in pure Python here; install its compiled wheel to go on")

HEADER = b"EK Export v1    "
"""16 bytes. Read by length, never stripped by character."""

MAX_ONSET_DAYS = 14
"""Phones map days since onset only from -14 to 14."""

MAX_KEY_AGE_INTERVALS = 28 * INTERVALS_PER_DAY
"""A key is 15 days old at most when it comes in, and may be revised until it is retired at 21; the rest
is for a publisher that catches up after days of standstill. Anything older is a mistake."""

MAX_RECORDS = 1_000_400
"""Keys and signers in a file; ours are cut at 500,000 keys, phones take about 750,000. Each costs its reader
hundreds of bytes, and two bytes are enough to state one: so they are counted before any is made."""

MAX_SIGNATURES_BYTES = 64 * 1024
"""Of `export.sig`: hundreds of signers."""

_ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2"


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    """Which key made a signature, by which algorithm: an object identifier, ours ECDSA with SHA-256."""

    key_id: str
    key_version: str
    algorithm: str = _ECDSA_WITH_SHA256


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


def encode_export(export: ExportFile) -> bytes:
    """The bytes of `export.bin`, header included; keys in the order given.

    As existing key servers write it: risk always present, a period of 144, report type UNKNOWN and an
    onset of None left out, start left out only if it is 0.
    """
    message = pb.TemporaryExposureKeyExport(
        start_timestamp=export.start_timestamp,
        end_timestamp=export.end_timestamp,
        region=export.region,
        batch_num=export.batch_num,
        batch_size=export.batch_size,
        signature_infos=[_info_message(info) for info in export.signature_infos],
    )
    _append(message.keys, export.keys)
    _append(message.revised_keys, export.revised_keys)
    return HEADER + message.SerializeToString(deterministic=True)


def _append(
    records: RepeatedCompositeFieldContainer[pb.TemporaryExposureKey], keys: Iterable[TemporaryExposureKey]
) -> None:
    # Once per key of a window that may hold half a million: None leaves a field out, at no cost.
    for key in keys:
        period = key.rolling_period
        records.add(
            key_data=key.key_data,
            transmission_risk_level=key.transmission_risk_level,
            rolling_start_interval_number=key.rolling_start_interval_number or None,
            rolling_period=None if period == MAX_ROLLING_PERIOD else period,
            report_type=key.report_type or None,
            days_since_onset_of_symptoms=key.days_since_onset_of_symptoms,
        )


def _info_message(info: SignatureInfo) -> pb.SignatureInfo:
    return pb.SignatureInfo(
        verification_key_version=info.key_version or None,
        verification_key_id=info.key_id or None,
        signature_algorithm=info.algorithm,
    )


def decode_export(export_bin: bytes) -> ExportFile:
    """What `export.bin` says, header read by its length. Raises Malformed.

    Says nothing about whether the keys make sense (`check_export`) or who signed (`verify_signatures`).
    """
    if export_bin[: len(HEADER)] != HEADER:
        raise Malformed("export.bin does not begin with the header 'EK Export v1'")
    _check_count(export_bin)
    message = pb.TemporaryExposureKeyExport()
    try:
        message.ParseFromString(export_bin[len(HEADER) :])
        return ExportFile(
            start_timestamp=message.start_timestamp,
            end_timestamp=message.end_timestamp,
            region=_text(message.region),
            keys=tuple(_key(record) for record in message.keys),
            revised_keys=tuple(_key(record) for record in message.revised_keys),
            signature_infos=tuple(_info(info) for info in message.signature_infos),
            batch_num=message.batch_num,
            batch_size=message.batch_size,
        )
    except DecodeError as error:
        raise Malformed("export.bin is not a TemporaryExposureKeyExport") from error


def _check_count(export_bin: bytes) -> None:
    """Raises Malformed for more records than a file may have, having built none of them.

    What is no protobuf at all is left to the parser to refuse: it stops where this does.
    """
    at, end, count = len(HEADER), len(export_bin), 0
    if end - at <= MAX_RECORDS:
        return  # no room for more: a record has two bytes at least
    while at < end:
        tag, size = export_bin[at], export_bin[at + 1] if at + 1 < end else 0
        if tag & 0x87 == _LENGTH and size < 0x80:
            at += 2 + size  # almost every record
            count += 1
        elif tag & 7 == _LENGTH:
            start = _after_varint(export_bin, at)
            at = _after_varint(export_bin, start)
            size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(export_bin[start:at][:5]))
            at += size
            count += 1
        elif tag & 7 == _VARINT:
            at = _after_varint(export_bin, _after_varint(export_bin, at))
        elif tag & 7 in _FIXED:
            at = _after_varint(export_bin, at) + _FIXED[tag & 7]
        else:
            raise Malformed("export.bin is not a TemporaryExposureKeyExport")
        if count > MAX_RECORDS:
            raise Malformed(f"export.bin holds more than {MAX_RECORDS} records")


# Wire types of protobuf, and how long a value of fixed length is.
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}


def _after_varint(content: bytes, at: int) -> int:
    while at < len(content) and content[at] & 0x80:
        at += 1
    return at + 1


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


def _info(message: pb.SignatureInfo) -> SignatureInfo:
    return SignatureInfo(
        _text(message.verification_key_id),
        _text(message.verification_key_version),
        _text(message.signature_algorithm),
    )


def _text(value: str | bytes) -> str:
    """protobuf's compiled readers hand over a proto2 string as bytes where it is not UTF-8."""
    if isinstance(value, bytes):
        raise Malformed("a text in the file is not UTF-8")
    return value


def encode_signatures(signatures: Sequence[tuple[SignatureInfo, bytes]]) -> bytes:
    """The bytes of `export.sig`: one TEKSignature a signer, each over all of `export.bin`, DER."""
    return pb.TEKSignatureList(
        signatures=[
            pb.TEKSignature(
                signature_info=_info_message(info), batch_num=1, batch_size=1, signature=signature
            )
            for info, signature in signatures
        ]
    ).SerializeToString(deterministic=True)


def decode_signatures(export_sig: bytes) -> list[tuple[SignatureInfo, bytes]]:
    """The signatures of `export.sig`, unverified, in the file's order. Raises Malformed."""
    if len(export_sig) > MAX_SIGNATURES_BYTES:
        raise Malformed(f"export.sig has more than {MAX_SIGNATURES_BYTES} bytes")
    message = pb.TEKSignatureList()
    try:
        message.ParseFromString(export_sig)
        return [(_info(entry.signature_info), entry.signature) for entry in message.signatures]
    except DecodeError as error:
        raise Malformed("export.sig is not a TEKSignatureList") from error


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


def read_announced(export_bin: bytes, signers: int) -> ExportFile:
    """What `export.bin` says, if it announces so many `signers`. Raises Malformed."""
    export = decode_export(export_bin)
    if signers != len(export.signature_infos):
        raise Malformed(
            f"export.bin announces {len(export.signature_infos)} signatures, export.sig has {signers}"
        )
    return export


def verify_signatures(
    export_bin: bytes,
    signatures: Iterable[tuple[SignatureInfo, bytes]],
    trusted: Mapping[tuple[str, str], EllipticCurvePublicKey],
) -> None:
    """Returns only if a trusted key signed these bytes and no trusted key's signature is wrong.

    `trusted` is by (key id, key version). Signatures by other keys are passed over, as phones do.
    Raises BadSignature, or UntrustedKey if nothing here is by a trusted key.
    """
    verified = 0
    for info, signature in signatures:
        public_key = trusted.get((info.key_id, info.key_version))
        if public_key is None:
            continue
        if info.algorithm != _ECDSA_WITH_SHA256:
            raise BadSignature(f"key {info.key_id} {info.key_version} signs with ECDSA and SHA-256 only")
        try:
            public_key.verify(signature, export_bin, ECDSA(SHA256()))
        except InvalidSignature as error:
            raise BadSignature(
                f"the signature of key {info.key_id} {info.key_version} does not verify"
            ) from error
        verified += 1
    if verified == 0:
        raise UntrustedKey("no signature is by a trusted key: fetch the trust material again")


def check_export(export: ExportFile, *, now: float) -> None:
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
    newest_start = interval_at(now)
    oldest_end = interval_at(export.end_timestamp) - MAX_KEY_AGE_INTERVALS
    for keys in (export.keys, export.revised_keys):
        for key in keys:
            check_key(key)  # 3
            if key.rolling_start_interval_number > newest_start:  # 4
                raise Malformed(f"a key begins in the future, at {key.rolling_start_interval_number}")
            if key.end_interval_number < oldest_end:  # 5
                raise Malformed(f"a key ended at {key.end_interval_number}, more than 28 days ago")
            onset = key.days_since_onset_of_symptoms
            if onset is not None and abs(onset) > MAX_ONSET_DAYS:  # 6
                raise Malformed(f"days since onset must be -{MAX_ONSET_DAYS} to {MAX_ONSET_DAYS}")
        if len({key.key_data for key in keys}) != len(keys):  # 7
            raise Malformed("a key stands twice in the file")
    if any(key.report_type is ReportType.UNKNOWN for key in export.revised_keys):  # 8
        raise Malformed("a revised key has no report type")
