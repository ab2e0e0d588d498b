"""A batch's keys on their way into files: kept as they came, and cut where a file would be too large."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from registry.lifecycle.publish.spool import KeySpool, cut
from registry.protocol.export_records import KEYS_TAG, encode_records, record_bytes
from registry.protocol.key_rows import KeyRows, key_rows
from registry.protocol.keys import ReportType, TemporaryExposureKey

keys = st.builds(
    TemporaryExposureKey,
    st.binary(min_size=16, max_size=16),
    st.sampled_from([0, 1, 127, 128, 16_383, 16_384, 2_646_864, 2**31 - 1]),
    st.sampled_from([1, 127, 128, 143, 144]),
    st.integers(0, 8),
    st.sampled_from(ReportType),
    st.none() | st.integers(-14, 14),
)


@given(st.lists(keys, max_size=30))
def test_a_row_takes_as_many_bytes_as_its_record(listed: list[TemporaryExposureKey]) -> None:
    rows = key_rows(listed)
    each = [len(b"".join(encode_records(KEYS_TAG, rows[n : n + 1]))) for n in range(len(rows))]
    assert record_bytes(rows).tolist() == each


@given(st.lists(st.lists(keys, max_size=9), max_size=5))
def test_what_was_added_comes_back_in_its_order(chunks: list[list[TemporaryExposureKey]]) -> None:
    with KeySpool() as spool:
        spool.add(key_rows(chunk) for chunk in chunks)
        flat = [key for chunk in chunks for key in chunk]
        assert spool.count == len(flat)
        assert spool.newest_end == max((key.end_interval_number for key in flat), default=None)
        for _ in range(2):
            assert _joined(spool) == key_rows(flat).tobytes()


@given(st.lists(keys, max_size=25), st.lists(keys, max_size=25), st.integers(1, 12), st.integers(40, 400))
def test_every_key_is_in_one_file_and_no_file_is_too_large(
    fresh: list[TemporaryExposureKey], revised: list[TemporaryExposureKey], most_keys: int, most_bytes: int
) -> None:
    """Cut only where the next key does not fit, and revised keys after all others."""
    with KeySpool() as first, KeySpool() as second:
        first.add([key_rows(fresh)])
        second.add([key_rows(revised)])
        files = cut((first, second), most_keys=most_keys, most_bytes=most_bytes)
        parts = [(first.rows(*keys), second.rows(*again)) for keys, again in files]
    for part in range(2):
        joined = b"".join(rows[part].tobytes() for rows in parts)
        assert joined == key_rows((fresh, revised)[part]).tobytes()
    for both in parts:
        assert 1 <= sum(map(len, both)) <= most_keys
        assert sum(map(_bytes, both)) <= most_bytes
    for one, other in pairwise(parts):
        following = other[0][:1] if len(other[0]) else other[1][:1]
        full = sum(map(len, one)) == most_keys
        assert full or sum(map(_bytes, one)) + _bytes(following) > most_bytes


def _joined(spool: KeySpool) -> bytes:
    return b"".join(rows.tobytes() for rows in spool.chunks())


def _bytes(rows: KeyRows) -> int:
    return int(np.sum(record_bytes(rows)))
