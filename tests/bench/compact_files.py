"""How close the compact format comes to the information in a file of keys, and how fast it is made.

Sizes are of whole files, header and signature included. Making one runs on one core and waits for nothing,
so what counts is the core's time, not the clock's.
"""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO

from registry.protocol.compact_file import CompactHeader, write_compact, write_signatures
from registry.protocol.export_signatures import SignatureInfo
from registry.protocol.key_rows import KeyRows, in_canonical_order, key_rows
from registry.signing import Signer
from tests.bench.export_files import WINDOW_START, signing_key
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.population import information_floor, keys_of_patients

KEYS = 100_000


def _compact(rows: KeyRows, signer: Signer) -> bytes:
    """What publishing does with a window's keys, from rows in no order to the bytes of the file."""
    file = BytesIO()
    header = CompactHeader("XA", WINDOW_START, WINDOW_START + 3600, 1, 1, len(rows), 0)
    statement = write_compact(file, header, [in_canonical_order(rows)], [])
    write_signatures(file, [(SignatureInfo(signer.key_id, signer.key_version), signer.sign(statement))])
    return file.getvalue()


@contextmanager
def _size(count: int) -> Iterator[Pair]:
    keys = keys_of_patients(count)
    with signing_key() as signer:
        yield Pair(
            lambda: len(_compact(key_rows(keys), signer)) / count, lambda: information_floor(keys) / count
        )


@contextmanager
def _speed() -> Iterator[Pair]:
    rows = key_rows(keys_of_patients(KEYS))
    ordered = in_canonical_order(rows).tobytes()
    with signing_key() as signer:

        def ours() -> float:
            began = time.process_time()
            _compact(rows, signer)
            return KEYS / (time.process_time() - began)

        def limit() -> float:
            began = time.process_time()
            zlib.compress(ordered, 6)
            return KEYS / (time.process_time() - began)

        yield Pair(ours, limit)


def _size_row(name: str, count: int, ratio: float, *, full: bool = False) -> Measurement:
    return Measurement(
        name=name,
        unit="B/key",
        against=(
            f"the information floor of the same {count:,} keys: log2 C(2^128, N) and the entropy of their "
            "metadata"
        ),
        target=Target(ratio, at_most=True, tolerance=0),
        prepare=partial(_size, count),
        runs=1,
        full=full,
    )


MEASUREMENTS = (
    _size_row("compact_bytes_per_key_10k", 10_000, 1.03),
    _size_row("compact_bytes_per_key_100k", 100_000, 1.015),
    _size_row("compact_bytes_per_key_1m", 1_000_000, 1.01, full=True),
    Measurement(
        name="compact_keys_per_second",
        unit="keys/s",
        against=(
            f"zlib level 6 alone on the same {KEYS:,} keys in order, 24 bytes each. "
            "Ours: sort, encode, hash, sign"
        ),
        target=Target(1.0),
        prepare=_speed,
    ),
)
