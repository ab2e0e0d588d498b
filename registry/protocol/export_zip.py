"""The container of an export file: a zip of exactly `export.bin` and `export.sig`.

What comes out of `pack` depends on nothing but what goes in. `unpack` reads strangers' zips: it never
writes to a disk, never trusts a stated size and never holds more than it was allowed to.
"""

import zipfile
import zlib
from io import BytesIO

from registry.errors import Malformed

EXPORT_BIN = "export.bin"
EXPORT_SIG = "export.sig"
MAX_UNPACKED_BYTES = 64 * 2**20
"""About two million keys; phones take 750,000 a file at most."""

_ENCRYPTED = 0x1
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError)
"""What zipfile raises, over time, for zips that are cut, bent or from its future."""


def pack(export_bin: bytes, export_sig: bytes) -> bytes:
    """A zip with `export.bin` first, deflated, without times: the same input is the same zip."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in ((EXPORT_BIN, export_bin), (EXPORT_SIG, export_sig)):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 0  # else it would tell on which system it was packed
            archive.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=6)
    return buffer.getvalue()


def unpack(content: bytes, *, max_bytes: int = MAX_UNPACKED_BYTES) -> tuple[bytes, bytes]:
    """(export.bin, export.sig). Raises Malformed.

    Refused: any other number of entries, other names, encrypted entries, compression other than deflate,
    more than `max_bytes` unpacked altogether, whatever sizes the zip states.
    """
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(archive.infolist()) != 2 or entries.keys() != {EXPORT_BIN, EXPORT_SIG}:
                raise Malformed("the zip must hold export.bin and export.sig and nothing else")
            export_bin = _read(archive, entries[EXPORT_BIN], max_bytes)
            return export_bin, _read(archive, entries[EXPORT_SIG], max_bytes - len(export_bin))
    except _UNREADABLE as error:
        raise Malformed("not a readable zip") from error


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, max_bytes: int) -> bytes:
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Malformed(f"{entry.filename} is packed in a way that phones do not read")
    with archive.open(entry) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise Malformed(f"{entry.filename} unpacks to more than is allowed")
    return content
