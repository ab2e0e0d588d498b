"""How fast keys become a signed file, and how many bytes each takes in it.

Both sides run on one core and wait for nothing, so what counts is the core's time, not the clock's.
"""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from registry.protocol.export_file import (
    ExportRows,
    SignatureInfo,
    encode_export_rows,
    encode_signatures,
    pack,
)
from registry.protocol.key_rows import KeyRows, in_canonical_order, key_rows, no_rows
from registry.signing.file_key import FileKey, create_key_file
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.population import NEWEST_START, information_floor, keys_of_patients

KEYS = 100_000
WINDOW_START = (NEWEST_START + 2 * 144) * 600


@cache
def _rows() -> KeyRows:
    """As a database hands them over: in no order."""
    return key_rows(keys_of_patients(KEYS))


@contextmanager
def signing_key() -> Iterator[FileKey]:
    """An export signing key in a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "XA_export-1.pem"
        create_key_file(path)
        yield FileKey.load(path, "XA_export", "1")


def _export_bin(signer: FileKey) -> bytes:
    info = SignatureInfo(signer.key_id, signer.key_version)
    keys = in_canonical_order(_rows())
    return encode_export_rows(ExportRows(WINDOW_START, WINDOW_START + 3600, "XA", keys, no_rows(), (info,)))


def _zip(signer: FileKey) -> bytes:
    """What publishing does with a window's keys, from rows' values to the bytes of the file."""
    export_bin = _export_bin(signer)
    info = SignatureInfo(signer.key_id, signer.key_version)
    return pack(export_bin, encode_signatures([(info, signer.sign(export_bin))]))


@contextmanager
def _speed() -> Iterator[Pair]:
    with signing_key() as signer:
        export_bin = _export_bin(signer)

        def ours() -> float:
            began = time.process_time()
            _zip(signer)
            return KEYS / (time.process_time() - began)

        def limit() -> float:
            began = time.process_time()
            zlib.compress(export_bin, 6)
            return KEYS / (time.process_time() - began)

        yield Pair(ours, limit)


@contextmanager
def _size() -> Iterator[Pair]:
    with signing_key() as signer:
        yield Pair(lambda: len(_zip(signer)) / KEYS, lambda: information_floor(keys_of_patients(KEYS)) / KEYS)


MEASUREMENTS = (
    Measurement(
        name="export_keys_per_second",
        unit="keys/s",
        against=f"zlib level 6 alone on the same export.bin of {KEYS:,} keys. Ours: sort, encode, sign, pack",
        target=Target(0.5),
        prepare=_speed,
    ),
    Measurement(
        name="export_zip_bytes_per_key",
        unit="B/key",
        against=(
            f"the information floor of the same {KEYS:,} keys: log2 C(2^128, N) and the entropy of their "
            "metadata. The target is 17.8 B/key"
        ),
        target=Target(17.8, at_most=True, absolute=True, tolerance=0),
        prepare=_size,
        runs=1,
    ),
)
