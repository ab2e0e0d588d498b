"""The zip: the same for the same content, and every zip that is not exactly two files is refused."""

import warnings
import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.export_zip import MAX_UNPACKED_BYTES, pack, unpack

BOTH = [("export.bin", b"bin"), ("export.sig", b"sig")]


def zip_of(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of a name written twice, which some of these are
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


@given(st.binary(max_size=500), st.binary(max_size=200))
def test_content_comes_back_and_the_same_content_is_the_same_zip(
    export_bin: bytes, export_sig: bytes
) -> None:
    packed = pack(export_bin, export_sig)
    assert unpack(packed) == (export_bin, export_sig)
    assert pack(export_bin, export_sig) == packed


def test_the_form_that_phones_read() -> None:
    with zipfile.ZipFile(BytesIO(pack(b"a" * 1000, b"b"))) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == ["export.bin", "export.sig"]
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_DEFLATED}
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert not any(entry.extra or entry.comment for entry in entries)


def test_other_writers_zips_are_read_in_either_order_deflated_or_not() -> None:
    assert unpack(zip_of(BOTH)) == (b"bin", b"sig")
    assert unpack(zip_of(BOTH[::-1])) == (b"bin", b"sig")
    assert unpack(zip_of(BOTH, zipfile.ZIP_STORED)) == (b"bin", b"sig")


@pytest.mark.parametrize(
    "entries",
    [
        [],
        BOTH[:1],
        BOTH[1:],
        [*BOTH, ("README", b"")],
        [*BOTH, BOTH[0]],
        [BOTH[0], BOTH[0]],
        [BOTH[0], BOTH[0], BOTH[1], BOTH[1]],
        [("../export.bin", b""), BOTH[1]],
        [("/export.bin", b""), BOTH[1]],
        [("x/export.bin", b""), BOTH[1]],
        [("EXPORT.BIN", b""), BOTH[1]],
        [("export.bin/", b""), BOTH[1]],
    ],
    ids=lambda entries: " ".join(name for name, _ in entries) or "none",
)
def test_exactly_two_entries_of_these_names(entries: list[tuple[str, bytes]]) -> None:
    with pytest.raises(Malformed, match="nothing else"):
        unpack(zip_of(entries))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(compression: int) -> None:
    with pytest.raises(Malformed):
        unpack(zip_of(BOTH, compression))


def test_an_encrypted_entry_is_refused() -> None:
    content = bytearray(zip_of(BOTH))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(Malformed):
        unpack(bytes(content))


def test_a_bomb_stops_at_the_cap() -> None:
    bomb = pack(bytes(MAX_UNPACKED_BYTES + 1), b"")
    assert len(bomb) < 100_000
    with pytest.raises(Malformed, match="more than is allowed"):
        unpack(bomb)


@pytest.mark.parametrize(("bin_size", "sig_size"), [(1001, 0), (0, 1001), (600, 401)])
def test_the_cap_counts_both_entries(bin_size: int, sig_size: int) -> None:
    assert unpack(pack(bytes(600), bytes(400)), max_bytes=1000) == (bytes(600), bytes(400))
    with pytest.raises(Malformed, match="more than is allowed"):
        unpack(pack(bytes(bin_size), bytes(sig_size)), max_bytes=1000)


def test_a_bomb_that_states_a_small_size_is_refused_too() -> None:
    """The stated size lies in the central directory, where anybody can write anything."""
    content = bytearray(pack(bytes(1_000_000), b""))
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (5).to_bytes(4, "little")
    with pytest.raises(Malformed):
        unpack(bytes(content), max_bytes=1000)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_zip(content: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(content)


@given(st.data())
def test_no_damage_crashes_the_reader_or_changes_what_it_reads(data: st.DataObject) -> None:
    content = bytearray(pack(b"bin" * 30, b"sig" * 20))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3)) * data.draw(st.integers(0, 40))
    try:
        read = unpack(bytes(content[: len(content) - cut]))
    except Malformed:
        return
    assert read == (b"bin" * 30, b"sig" * 20)
