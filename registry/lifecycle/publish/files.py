"""The files of one sealed batch: made, checked as a phone will check them, signed, stored.

A file that was stored once is never made again and never written over: ECDSA signatures differ each time,
so what an earlier run left under the name is checked by the same rules and adopted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from registry.errors import Distrusted, Malformed, StorageConflict, Unavailable, UntrustedKey
from registry.models import Batch
from registry.protocol.export_file import (
    ExportFile,
    SignatureInfo,
    check_export,
    encode_export,
    encode_signatures,
    pack,
    read_zip,
    verify_signatures,
)
from registry.protocol.intervals import EMBARGO_INTERVALS, interval_at
from registry.protocol.keys import TemporaryExposureKey, canonical_order
from registry.signing import Signer
from registry.storage import Storage

PublicKeys = Mapping[tuple[str, str], EllipticCurvePublicKey]
"""By (key id, key version)."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it lies in storage, and who signed it."""

    content: bytes
    signed_by: tuple[SignatureInfo, ...]


def check_embargo(keys: Iterable[TemporaryExposureKey], window_end: int) -> None:
    """The last defence: sealing has asked this already, of the database. Raises Unavailable."""
    if any(key.end_interval_number + EMBARGO_INTERVALS > interval_at(window_end) for key in keys):
        raise Unavailable(
            f"a key in the batch that ends at {window_end} was valid less than two hours before; "
            "nothing of the batch is published"
        )


def split_batch(
    batch: Batch,
    keys: Iterable[TemporaryExposureKey],
    revised: Iterable[TemporaryExposureKey],
    *,
    keys_per_file: int,
) -> list[ExportFile]:
    """The batch in canonical order, in as many files as it needs; revised keys fill the last ones.

    Each is file 1 of 1, told apart by its end: iOS ignores batch numbers, and Android takes files with the
    same (start, end, number) for the same file. So the n-th of several ends n seconds late.
    """
    ordered = [(key, False) for key in canonical_order(keys)] + [
        (key, True) for key in canonical_order(revised)
    ]
    parts = [ordered[first : first + keys_per_file] for first in range(0, len(ordered), keys_per_file)]
    return [
        ExportFile(
            start_timestamp=batch.window_start,
            end_timestamp=batch.window_end + (number if len(parts) > 1 else 0),
            region=batch.region,
            keys=tuple(key for key, is_revised in part if not is_revised),
            revised_keys=tuple(key for key, is_revised in part if is_revised),
        )
        for number, part in enumerate(parts, start=1)
    ]


def store_file(
    storage: Storage,
    path: str,
    export: ExportFile,
    *,
    signers: Sequence[Signer],
    registered: PublicKeys,
    now: float,
) -> StoredFile:
    """Sign `export` with all `signers` and store it, or adopt what lies there.

    Raises StorageConflict if what lies there does not say exactly this under registered keys. Raises
    Malformed or Distrusted, and stores nothing, if the new file would not pass a phone's checks.
    """
    infos = tuple(SignatureInfo(signer.key_id, signer.key_version) for signer in signers)
    export = replace(export, signature_infos=infos)
    check_export(export, now=now)
    signed = encode_export(export)
    signatures = [(info, signer.sign(signed)) for info, signer in zip(infos, signers, strict=True)]
    content = pack(signed, encode_signatures(signatures))
    # Read back as a phone will read it, before anyone can see it.
    _check_file(content, export, registered)
    # A crash in here leaves no file, or the whole file under its name, which the next run adopts below.
    if storage.put_new(path, content):
        return StoredFile(content, infos)
    earlier = storage.read(path)
    if earlier is None:
        raise StorageConflict(f"{path} was there and is gone: something else deletes in the public folder")
    try:
        return StoredFile(earlier, _check_file(earlier, export, registered))
    except (Malformed, Distrusted) as error:
        raise StorageConflict(
            f"{path} is written once, and other bytes lie there; move them away to go on"
        ) from error


def _check_file(content: bytes, export: ExportFile, registered: PublicKeys) -> tuple[SignatureInfo, ...]:
    """Who signed `content`, once it is a file that says what `export` says, signed by registered keys alone.

    Which of them signed is left open: keys may have rotated since. Raises Malformed or Distrusted.
    """
    found, signed, signatures = read_zip(content)
    if replace(found, signature_infos=export.signature_infos) != export:
        raise Malformed("the file does not hold the keys, region and window of its batch")
    if tuple(info for info, _ in signatures) != found.signature_infos:
        raise Malformed("the file is signed by others than it announces")
    if not all((info.key_id, info.key_version) in registered for info, _ in signatures):
        raise UntrustedKey("the file is signed by a key that is not registered here")
    verify_signatures(signed, signatures, registered)
    return found.signature_infos
