"""Records by columns: byte for byte what protobuf writes, and read as protobuf reads, whoever wrote."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from registry.errors import Malformed
from registry.protocol import export_records
from registry.protocol.export_file import (
    HEADER,
    ExportFile,
    ExportRows,
    decode_export,
    decode_export_rows,
    encode_export,
    encode_export_rows,
    export_rows,
)
from registry.protocol.key_rows import key_rows, temporary_exposure_keys
from registry.protocol.keys import ReportType, TemporaryExposureKey
from tests.bench.population import keys_of_patients
from tests.protocol.protobuf_export import protobuf_export
from tests.protocol.strategies import export_files

KEY = TemporaryExposureKey(bytes(range(16)), 2_642_976, 144, 2, ReportType.CONFIRMED_TEST, -3)
FILE = ExportFile(0, 3600, "XA", (KEY,))


@given(export_files())
def test_the_same_bytes_as_protobuf(export: ExportFile) -> None:
    assert encode_export(export) == protobuf_export(export)


@pytest.mark.parametrize(
    "start", [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**31 - 1]
)
@pytest.mark.parametrize("period", [1, 127, 128, 143, 144])
def test_the_same_bytes_where_numbers_grow_by_a_byte(start: int, period: int) -> None:
    export = replace(FILE, keys=(replace(KEY, rolling_start_interval_number=start, rolling_period=period),))
    content = encode_export(export)
    assert content == protobuf_export(export)
    assert temporary_exposure_keys(decode_export_rows(content).keys) == list(export.keys)


def test_a_file_of_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_records, "_ROWS_AT_ONCE", 1000)
    keys = tuple(keys_of_patients(3500))
    export = replace(FILE, keys=keys, revised_keys=keys[:1001])
    content = encode_export(export)
    assert content == protobuf_export(export)
    assert _said(decode_export_rows(content)) == export


def test_what_phones_could_not_use_is_not_encoded() -> None:
    rows = export_rows(FILE)
    rows.keys["rolling_period"] = 145
    with pytest.raises(Malformed, match="period"):
        encode_export_rows(rows)


def test_our_own_files_take_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the fast reader could refuse everything, and nobody would see more than a slow night."""
    content = encode_export(replace(FILE, keys=tuple(keys_of_patients(100)), revised_keys=(KEY,)))
    expected = decode_export(content)
    monkeypatch.setattr("registry.protocol.export_file.export_rows", None)
    assert _said(decode_export_rows(content)) == expected


# ---------------------------------------------------------------- what others may write


def varint(number: int, padding: int = 0) -> bytes:
    """Any spelling of a number of 64 bits; negative ones take ten bytes."""
    number &= 2**64 - 1
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)
    for _ in range(padding):
        content[-1] |= 0x80
        content.append(0)
    return bytes(content)


def sized(tag: int, content: bytes, padding: int = 0) -> bytes:
    return varint(tag) + varint(len(content), padding) + content


paddings = st.sampled_from([0, 0, 0, 1, 2])
small_or_huge = (
    st.integers(0, 300) | st.integers(-(2**63), 2**64 - 1) | st.sampled_from([2**31, 2**32 + 5, -1])
)
fields: SearchStrategy[bytes] = st.one_of(
    st.builds(sized, st.just(0x0A), st.binary(min_size=16, max_size=16), paddings),
    st.builds(sized, st.just(0x0A), st.binary(max_size=20)),
    st.builds(
        lambda tag, number, padding: varint(tag) + varint(number, padding),
        st.sampled_from([0x10, 0x18, 0x20, 0x28, 0x30, 0x40]),
        small_or_huge,
        paddings,
    ),
    # Unknown fields of every kind, known ones of another kind, and groups.
    st.builds(lambda number: varint(0x78) + varint(number), small_or_huge),
    st.sampled_from(
        [b"\x1d1234", b"\x1912345678", b"\x7b\x7c", b"\x7b", b"\x08\x01", b"\x12\x01a", b"\x00\x00"]
    ),
    st.binary(max_size=4),
)
well_formed = st.builds(
    lambda key, rest: sized(0x0A, key) + b"\x10\x02\x18" + varint(2_642_976) + rest,
    st.binary(min_size=16, max_size=16),
    st.sampled_from(
        [
            b"",
            b"\x28\x01",
            b"\x28\x01\x30\x05",
            b"\x20\x05\x28\x01",
            b"\x30\x1d",
            b"\x28\x06",
            b"\x20\x80\x01",
        ]
    ),
)
records = (
    well_formed | st.lists(fields, max_size=6).map(b"".join) | st.builds(bytes.__add__, well_formed, fields)
)
parts: SearchStrategy[bytes] = st.one_of(
    st.builds(sized, st.sampled_from([0x3A, 0x3A, 0x42]), well_formed),
    st.builds(sized, st.sampled_from([0x3A, 0x42]), records, paddings),
    st.sampled_from([b"\x0912345678", b"\x1112345678", b"\x1a\x02XA", b"\x20\x01", b"\x28\x01", b"\x32\x00"]),
    st.sampled_from(
        [b"\x20\x81\x00", b"\x1a\x02\xff\xfe", b"\x32\x04\x1a\x02\xff\xfe", b"\x78\x01", b"\x3a", b"\x42\x7f"]
    ),
)


@given(
    st.sampled_from([HEADER, HEADER, HEADER, HEADER[:15]]),
    st.lists(parts, max_size=8).map(b"".join),
    st.booleans(),
)
@example(HEADER, sized(0x3A, sized(0x0A, bytes(16)) + b"\x10\x80\x01"), False)
@example(HEADER, sized(0x3A, sized(0x0A, bytes(16)) + b"\x10\x01\x20\x80\x02"), False)
@example(HEADER, sized(0x3A, sized(0x0A, bytes(16)) + b"\x10\x01\x20\x00"), False)
@example(HEADER, sized(0x3A, sized(0x0A, bytes(16)) + b"\x10\x01\x30\x80"), True)
def test_read_as_protobuf_reads_it_or_refused_in_the_same_words(
    header: bytes, content: bytes, is_cut: bool
) -> None:
    check_same_reading(header + (content[:-1] if is_cut else content))


@pytest.mark.parametrize(
    "rest",
    [
        "1080",
        "108001",
        "100118ffffffff7f",
        "1001188080808010",
        "1001188181818181",
        "100118818181818101",
        "10012081",
        "1001208102",
        "1001208181",
        "100120818101",
        "100128",
        "10012881",
        "1001288100",
        "1001288600",
        "100130",
        "10013085",
        "1001308500",
        "1001307f",
        "3001100118012801",
    ],
)
def test_numbers_cut_short_or_long_or_out_of_order_are_read_as_protobuf_reads_them(rest: str) -> None:
    for tag in (0x3A, 0x42):
        check_same_reading(HEADER + sized(tag, sized(0x0A, bytes(16)) + bytes.fromhex(rest)))


@given(export_files(), st.data())
def test_no_changed_byte_is_read_otherwise_than_by_protobuf(export: ExportFile, data: st.DataObject) -> None:
    content = bytearray(encode_export(export))
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    check_same_reading(bytes(content))


def check_same_reading(export_bin: bytes) -> None:
    """By columns and by protobuf's reader it says the same, or is refused in the same words."""
    expected: ExportFile | str
    try:
        expected = _said(export_rows(decode_export(export_bin)))
    except Malformed as error:
        expected = str(error)
    found: ExportFile | str
    try:
        found = _said(decode_export_rows(export_bin))
    except Malformed as error:
        found = str(error)
    assert found == expected


def _said(export: ExportRows) -> ExportFile:
    return ExportFile(
        export.start_timestamp,
        export.end_timestamp,
        export.region,
        tuple(temporary_exposure_keys(export.keys)),
        tuple(temporary_exposure_keys(export.revised_keys)),
        export.signature_infos,
        export.batch_num,
        export.batch_size,
    )


def test_rows_that_are_not_contiguous_are_written_all_the_same() -> None:
    keys = keys_of_patients(20)
    every_other = key_rows(keys)[::2]
    assert not every_other.flags.c_contiguous
    export = replace(export_rows(FILE), keys=every_other, revised_keys=np.flip(every_other))
    assert _said(decode_export_rows(encode_export_rows(export))).revised_keys == tuple(keys[::2][::-1])
