"""The compact format: what goes in comes out in chunks of any size, and what is not canonical is refused.

Every refusal is asked of the registry's reader and of the independent one, which knows the document alone.
"""

import io
import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.errors import BadSignature, Distrusted, Malformed, UntrustedKey
from registry.protocol.compact_file import (
    STATEMENT,
    CompactFile,
    CompactHeader,
    read_compact,
    write_compact,
    write_signatures,
)
from registry.protocol.export_signatures import SignatureInfo
from registry.protocol.key_rows import (
    KEY_ROW,
    KeyRows,
    in_canonical_order,
    key_rows,
    no_rows,
    temporary_exposure_keys,
)
from registry.protocol.keys import ReportType, TemporaryExposureKey, canonical_order
from tests.bench.population import keys_of_patients
from tests.protocol import independent_compact_reader as independent
from tests.protocol.made_compact import (
    FIRST,
    GOOD,
    NO_ONSET,
    SECOND,
    SIGNER,
    THIRD,
    TRUSTED,
    Block,
    Group,
    Made,
    deflated,
    entry,
    signed,
    statement,
)
from tests.protocol.made_signer import MadeSigner
from tests.protocol.strategies import distinct_keys

HEADER = CompactHeader("XA", 1_780_016_400, 1_780_020_000, 7, 7, 0, 0)
INFO = SignatureInfo("xa", "1")
Trusted = Mapping[tuple[str, str], EllipticCurvePublicKey]


def written(
    keys: KeyRows, revised: KeyRows, *, chunk: int = 100_000, header: CompactHeader = HEADER
) -> bytes:
    """The signed file of these rows, handed over in chunks."""
    file = io.BytesIO()
    header = replace(header, key_count=len(keys), revised_key_count=len(revised))
    message = write_compact(file, header, in_chunks(keys, chunk), in_chunks(revised, chunk))
    write_signatures(file, [(INFO, SIGNER.sign(message))])
    return file.getvalue()


def in_chunks(rows: KeyRows, size: int) -> Iterator[KeyRows]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def opened(content: bytes, trusted: Trusted = TRUSTED) -> CompactFile:
    return read_compact(io.BytesIO(content), trusted)


def rows_of(content: bytes, trusted: Trusted = TRUSTED) -> tuple[KeyRows, KeyRows]:
    file = opened(content, trusted)
    return np.concatenate([no_rows(), *file.keys()]), np.concatenate([no_rows(), *file.revised_keys()])


def check_both_refuse(content: bytes, trusted: Trusted = TRUSTED) -> Malformed | Distrusted:
    """Both readers refuse it; returns the registry's reason."""
    with pytest.raises(independent.Refused):
        independent.read(content, trusted)
    with pytest.raises((Malformed, Distrusted)) as caught:
        rows_of(content, trusted)
    assert isinstance(caught.value, Malformed | Distrusted)
    return caught.value


def check_both_agree(content: bytes, keys: KeyRows, revised: KeyRows) -> None:
    theirs = independent.read(content, TRUSTED)
    assert [as_key(key) for key in theirs.keys] == temporary_exposure_keys(keys)
    assert [as_key(key) for key in theirs.revised] == temporary_exposure_keys(revised)
    ours, ours_revised = rows_of(content)
    assert ours.tobytes() == keys.tobytes()
    assert ours_revised.tobytes() == revised.tobytes()


def as_key(key: independent.Key) -> TemporaryExposureKey:
    return TemporaryExposureKey(
        key.data, key.start, key.period, key.level, ReportType(key.report_type), key.onset
    )


# ---------------------------------------------------------------- there and back


@given(distinct_keys(), distinct_keys(20), st.integers(1, 70))
def test_any_keys_come_back_in_canonical_order(
    keys: list[TemporaryExposureKey], revised: list[TemporaryExposureKey], chunk: int
) -> None:
    revised = [replace(key, report_type=key.report_type or ReportType.REVOKED) for key in revised]
    rows, revised_rows = in_canonical_order(key_rows(keys)), in_canonical_order(key_rows(revised))
    content = written(rows, revised_rows, chunk=chunk)
    check_both_agree(content, rows, revised_rows)
    assert temporary_exposure_keys(rows_of(content)[0]) == canonical_order(keys)


@pytest.mark.parametrize("count", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_files_of_all_sizes(count: int) -> None:
    rows = in_canonical_order(key_rows(keys_of_patients(count)))
    check_both_agree(written(rows, rows[: count // 100]), rows, rows[: count // 100])


def test_a_group_goes_on_over_two_borders_and_keeps_what_is_said_of_each_key() -> None:
    rows = np.zeros(150_000, KEY_ROW)
    rows["key_data"][:, 2:6] = np.arange(150_000, dtype=">u4").view(np.uint8).reshape(-1, 4)
    rows["rolling_period"], rows["report_type"] = 144, 1
    rows["transmission_risk_level"][70_000:] = 3
    rows["transmission_risk_level"][140_000] = 8
    content = written(rows, no_rows(), chunk=777)
    check_both_agree(content, rows, no_rows())
    assert list(map(len, opened(content).keys())) == [65_536, 65_536, 18_928]


def test_the_same_keys_are_the_same_bytes_however_they_come() -> None:
    rows = in_canonical_order(key_rows(keys_of_patients(70_000)))
    header = replace(HEADER, key_count=len(rows))
    files = []
    for size in (1_000, 65_536, 65_537, 70_000):
        file = io.BytesIO()
        write_compact(file, header, in_chunks(rows, size), [])
        files.append(file.getvalue())
    assert len(set(files)) == 1


def test_what_the_header_says() -> None:
    header = CompactHeader("GB-ENG", 0, 86_400, 5, 28, 0, 0)
    content = written(no_rows(), no_rows(), header=header)
    file = opened(content)
    assert file.header == header
    assert file.signed_by == (INFO,)
    theirs = independent.read(content, TRUSTED)
    assert (theirs.region, theirs.start, theirs.end) == ("GB-ENG", 0, 86_400)
    assert (theirs.first_window, theirs.last_window, theirs.signers) == (5, 28, [("xa", "1")])


def test_both_sections_can_be_read_by_turns() -> None:
    rows = in_canonical_order(key_rows(keys_of_patients(140_000)))
    file = opened(written(rows, rows))
    for ours, revised in zip(file.keys(), file.revised_keys(), strict=True):
        assert ours.tobytes() == revised.tobytes()


def test_neither_writing_nor_reading_holds_the_file(tmp_path: Path) -> None:
    """Of twenty blocks no more than a few are in memory at a time."""
    count = 20 * 65_536

    def made_rows() -> Iterator[KeyRows]:
        for first in range(0, count, 65_536):
            rows = np.zeros(65_536, KEY_ROW)
            rows["key_data"][:, 12:] = (
                np.arange(first, first + 65_536, dtype=">u4").view(np.uint8).reshape(-1, 4)
            )
            rows["rolling_period"] = 144
            yield rows

    path = tmp_path / "keys.compact"
    tracemalloc.start()
    try:
        with path.open("wb") as file:
            message = write_compact(file, replace(HEADER, key_count=count), made_rows(), [])
            write_signatures(file, [(INFO, SIGNER.sign(message))])
        with path.open("rb") as file:
            read = sum(map(len, read_compact(file, TRUSTED).keys(distinct=False)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == count
    assert peak < 8 * 24 * 65_536


# ---------------------------------------------------------------- what the writer refuses


ROWS = in_canonical_order(key_rows(keys_of_patients(30)))


@pytest.mark.parametrize(
    ("keys", "count", "why"),
    [
        (ROWS, 29, "29 keys"),
        (ROWS, 31, "31 keys"),
        (no_rows(), 1, "1 keys"),
        (ROWS[::-1], 30, "order"),
        (np.concatenate([ROWS[:1], ROWS]), 31, "twice"),
    ],
)
def test_the_writer_writes_nothing_that_a_reader_would_refuse(keys: KeyRows, count: int, why: str) -> None:
    for size in (1, 100):
        with pytest.raises(Malformed, match=why):
            write_compact(io.BytesIO(), replace(HEADER, key_count=count), in_chunks(keys, size), [])


def test_the_writer_looks_over_the_borders_of_its_blocks() -> None:
    rows = np.zeros(65_537, KEY_ROW)
    rows["key_data"][:, 12:] = np.arange(1, 65_538, dtype=">u4").view(np.uint8).reshape(-1, 4)
    rows["rolling_period"] = 144
    header = replace(HEADER, key_count=len(rows))
    write_compact(io.BytesIO(), header, [rows], [])
    rows["key_data"][-1] = 0
    with pytest.raises(Malformed, match="order"):
        write_compact(io.BytesIO(), header, [rows], [])


def test_the_writer_refuses_numbers_that_no_key_has() -> None:
    rows = ROWS.copy()
    rows["rolling_period"][-1] = 0
    with pytest.raises(Malformed, match="period"):
        write_compact(io.BytesIO(), replace(HEADER, key_count=30), [rows], [])
    revised = key_rows([TemporaryExposureKey(bytes(16), 0)])
    with pytest.raises(Malformed, match="report type"):
        write_compact(io.BytesIO(), replace(HEADER, revised_key_count=1), [], [revised])


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, region="xa"),
        replace(HEADER, end_timestamp=HEADER.start_timestamp),
        replace(HEADER, start_timestamp=-1),
        replace(HEADER, end_timestamp=2**63),
        replace(HEADER, sequence=0),
        replace(HEADER, last_sequence=6),
        replace(HEADER, last_sequence=2**53),
        replace(HEADER, key_count=2**24 + 1),
        replace(HEADER, revised_key_count=-1),
    ],
)
def test_the_writer_refuses_a_header_before_it_writes(header: CompactHeader) -> None:
    file = io.BytesIO()
    with pytest.raises(Malformed):
        write_compact(file, header, [], [])
    assert file.getvalue() == b""


@pytest.mark.parametrize(
    "signatures",
    [
        [],
        [(INFO, bytes(70))] * 2,
        [(SignatureInfo("xa", str(n)), bytes(70)) for n in range(11)],
        [(SignatureInfo("", "1"), bytes(70))],
        [(SignatureInfo("xa", "1 2"), bytes(70))],
        [(SignatureInfo("ü", "1"), bytes(70))],
        [(SignatureInfo("x" * 65, "1"), bytes(70))],
        [(INFO, bytes(7))],
        [(INFO, bytes(73))],
        [(SignatureInfo("xa", "1", "1.2.840.10045.4.3.4"), bytes(70))],
    ],
)
def test_the_writer_refuses_signatures_that_no_reader_takes(
    signatures: list[tuple[SignatureInfo, bytes]],
) -> None:
    with pytest.raises(Malformed):
        write_signatures(io.BytesIO(), signatures)


# ---------------------------------------------------------------- what readers refuse


def test_the_file_made_by_hand_is_read() -> None:
    """Else the refusals below could all be for one and the same reason."""
    content = GOOD.content()
    keys, revised = rows_of(content)
    assert temporary_exposure_keys(keys) == [
        TemporaryExposureKey(FIRST, 2_966_400, 144, 8, ReportType.CONFIRMED_TEST, None),
        TemporaryExposureKey(SECOND, 2_966_544, 144, 6, ReportType.CONFIRMED_TEST, -1),
        TemporaryExposureKey(THIRD, 2_966_544, 144, 7, ReportType.CONFIRMED_TEST, -1),
    ]
    check_both_agree(content, keys, revised)


GOOD_CONTENT = GOOD.content()
BLOCK = GOOD.blocks[0]
TABLE, PLANES = BLOCK.plain_table(), BLOCK.plain_planes()
LATER = Group(2_966_688, 144, 1, -1, 0, (FIRST,))
TRUNCATED = deflated(TABLE)[:-1]

MALFORMED: dict[str, Made] = {
    "begins otherwise": replace(GOOD, magic=b"Positive keys v2"),
    "a region in small letters": replace(GOOD, region=b"xa"),
    "no region": replace(GOOD, region=b""),
    "a region that is no text": replace(GOOD, region=b"\xff\xfe"),
    "something behind the region's zeros": replace(GOOD, region=b"XA\0A"),
    "zeros before the region": replace(GOOD, region=b"\0XA"),
    "an empty window": replace(GOOD, end=GOOD.start),
    "a window that ends nowhere": replace(GOOD, end=2**63),
    "window 0": replace(GOOD, first_window=0),
    "a run that goes back": replace(GOOD, last_window=6),
    "a window number beyond JSON": replace(GOOD, last_window=2**53),
    "more keys than it has": replace(GOOD, key_count=4),
    "fewer keys than it has": replace(GOOD, key_count=2),
    "more keys than there may be": replace(GOOD, key_count=2**24 + 1),
    "as many keys as a number can say": replace(GOOD, key_count=2**32 - 1),
    "more revised keys than it has": replace(GOOD, revised_key_count=2),
    "no group": GOOD.with_block(group_count=0),
    "more groups than keys": GOOD.with_block(group_count=4),
    "fewer groups than in the table": GOOD.with_block(group_count=1),
    "a table of 4 GB": GOOD.with_block(table_size=2**32 - 1),
    "planes of 4 GB": GOOD.with_block(planes_size=2**32 - 1),
    "a table a byte too short": GOOD.with_block(table=TABLE[:-1]),
    "a table a byte too long": GOOD.with_block(table=TABLE + b"\0"),
    "planes a byte too short": GOOD.with_block(planes=PLANES[:-1]),
    "planes a byte too long": GOOD.with_block(planes=PLANES + b"\0"),
    "a table that does not end": GOOD.with_block(deflated_table=TRUNCATED),
    "something behind the table": GOOD.with_block(deflated_table=deflated(TABLE) + b"\0"),
    "something behind the planes": GOOD.with_block(deflated_planes=deflated(PLANES) + b"\0"),
    "a table that is not deflated": GOOD.with_block(deflated_table=b"\xff" * 20),
    "a table deflated worse than stored": GOOD.with_block(
        deflated_table=b"\x00\x00\x00\xff\xff" * 20 + deflated(TABLE)
    ),
    "sizes that add up to more": GOOD.with_block(sizes=(2, 2)),
    "sizes that add up to less": GOOD.with_block(sizes=(1, 1)),
    "a period of 0": GOOD.with_group(0, period=0),
    "a period of 145": GOOD.with_group(0, period=145),
    "a start beyond interval numbers": GOOD.with_group(1, start=2**31),
    "report type 6": GOOD.with_group(1, report_type=6),
    "an onset of 15": GOOD.with_group(1, onset=15),
    "an onset of -15": GOOD.with_group(1, onset=-15),
    "an onset of -127": GOOD.with_group(1, onset=-127),
    "a risk level of 10": GOOD.with_group(0, level=10),
    "a risk level of 9 for a key": GOOD.with_group(1, levels=b"\x06\x09"),
    "levels one by one that are all the same": GOOD.with_group(1, levels=b"\x07\x07"),
    "a level of its own for a single key": GOOD.with_group(0, level=9, levels=b"\x08"),
    "levels that are announced and missing": GOOD.with_group(1, levels=b""),
    "groups in another order": GOOD.with_block(groups=BLOCK.groups[::-1]),
    "a group in two pieces": GOOD.with_block(
        groups=(BLOCK.groups[0], replace(LATER, keys=(SECOND,)), replace(LATER, keys=(THIRD,)))
    ),
    "a key above all keys": GOOD.with_block(rises=[0x1A2B3C, 0x1A2B3D, 0xFFFFFF]),
    "a key twice in a group": GOOD.with_group(1, keys=(SECOND, SECOND)),
    "keys that differ in their rest and go down": GOOD.with_group(1, keys=(SECOND, SECOND[:15] + b"\0")),
    "a key in two groups": GOOD.with_block(groups=(*BLOCK.groups, LATER)),
    "a revised key of no report type": replace(
        GOOD, revised=(Block((Group(2_966_400, 144, 0, NO_ONSET, 0, (FIRST,)),)),)
    ),
    "a block that is not full and not the last": replace(
        GOOD, blocks=(BLOCK, Block((LATER,))), revised_key_count=1
    ).with_group(0, keys=(b"\x01" * 16,)),
    "no signature": replace(GOOD, signers=()),
    "eleven signatures": replace(
        GOOD, signers=[SIGNER, *(replace(SIGNER, key_version=f"v{n}") for n in range(10))]
    ),
    "a signature twice": replace(GOOD, signers=(SIGNER, SIGNER)),
    "a signer without a name": replace(GOOD, signers=(SIGNER, MadeSigner("", "1"))),
    "a signer with a space in its name": replace(GOOD, signers=(SIGNER, MadeSigner("x a", "1"))),
    "a signer with a long name": replace(GOOD, signers=(SIGNER, MadeSigner("x" * 65, "1"))),
    "a signature of seven bytes": replace(
        GOOD,
        signatures=b"\x02"
        + entry(b"xa", b"1", SIGNER.sign(statement(GOOD.body())))
        + entry(b"xb", b"1", bytes(7)),
    ),
    "a signature of 73 bytes": replace(
        GOOD,
        signatures=b"\x02"
        + entry(b"xa", b"1", SIGNER.sign(statement(GOOD.body())))
        + entry(b"xb", b"1", bytes(73)),
    ),
    "nothing behind the keys": replace(GOOD, signatures=b""),
}


@pytest.mark.parametrize("story", MALFORMED)
def test_malformed(story: str) -> None:
    assert isinstance(check_both_refuse(MALFORMED[story].content()), Malformed)


def test_a_file_cut_short_or_with_something_behind_it() -> None:
    content = GOOD.content()
    for end in range(len(content)):
        check_both_refuse(content[:end])
    assert isinstance(check_both_refuse(content + b"\0"), Malformed)


def test_keys_that_go_down_over_a_block_s_border() -> None:
    keys = [(2 * number).to_bytes(16, "big") for number in range(65_536)]
    whole = replace(Group(2_966_400, 144, 1, NO_ONSET, 0, tuple(keys)))
    blocks = [Block((whole,)), Block((replace(whole, keys=(bytes(15) + b"\x01",)),))]
    assert "order" in str(check_both_refuse(replace(GOOD, blocks=blocks).content()))
    blocks[1] = Block((replace(whole, keys=(b"\xff" * 16,)),))
    keys_read, _ = rows_of(replace(GOOD, blocks=blocks).content())
    assert len(keys_read) == 65_537


def test_a_key_in_two_groups_is_let_through_for_who_knows_better() -> None:
    content = GOOD.with_block(groups=(*BLOCK.groups, LATER)).content()
    with pytest.raises(Malformed, match="twice"):
        list(opened(content).keys())
    assert sum(map(len, opened(content).keys(distinct=False))) == 4


def test_a_reader_says_how_many_keys_it_holds() -> None:
    content = GOOD.content()
    with pytest.raises(Malformed):
        read_compact(io.BytesIO(content), TRUSTED, max_keys=2)
    read_compact(io.BytesIO(content), TRUSTED, max_keys=3)


def test_a_bomb_is_not_unpacked() -> None:
    """200 MB of zeros in as many bytes as the planes of a full block may take."""
    keys = tuple(number.to_bytes(16, "big") for number in range(65_536))
    bomb = GOOD.with_block(
        groups=(Group(2_966_400, 144, 1, NO_ONSET, 0, keys),), deflated_planes=deflated(bytes(200 * 2**20))
    ).content()
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="more or less"):
            rows_of(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    for begun in (content, GOOD.body()[:64] + content, GOOD.body()[:76] + content):
        with pytest.raises((Malformed, Distrusted)):
            rows_of(begun)
        with pytest.raises((Malformed, Distrusted)):
            rows_of(signed(begun, SIGNER))


@settings(max_examples=300)
@given(st.data())
def test_no_changed_byte_goes_unseen_and_signed_again_both_readers_agree(data: st.DataObject) -> None:
    content, body = GOOD_CONTENT, GOOD.body()
    at = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[at] ^= data.draw(st.integers(1, 255))
    if at < len(body):
        check_both_refuse(bytes(changed))
    again = signed(bytes(changed[: len(body)]), SIGNER)
    try:
        keys, revised = rows_of(again)
    except Malformed:
        check_both_refuse(again)
    else:
        check_both_agree(again, keys, revised)


# ---------------------------------------------------------------- signatures

OTHER = MadeSigner("xb", "2")


def test_several_signers_of_whom_one_is_trusted() -> None:
    content = replace(GOOD, signers=(OTHER, SIGNER)).content()
    assert opened(content).signed_by == (SignatureInfo("xb", "2"), INFO)
    assert independent.read(content, TRUSTED).signers == [("xb", "2"), ("xa", "1")]
    opened(content, {("xb", "2"): OTHER.public_key})


@pytest.mark.parametrize("trusted", [{}, {("xb", "2"): OTHER.public_key}, {("xa", "2"): SIGNER.public_key}])
def test_nobody_trusted(trusted: Trusted) -> None:
    content = GOOD.content()
    assert isinstance(check_both_refuse(content, trusted), UntrustedKey)
    with pytest.raises(independent.NobodyTrusted):
        independent.read(content, trusted)


def test_one_bad_signature_under_a_trusted_name_spoils_the_file() -> None:
    trusted = {**TRUSTED, ("xb", "2"): OTHER.public_key}
    good = entry(b"xa", b"1", SIGNER.sign(statement(GOOD.body())))
    bad = entry(b"xb", b"2", OTHER.sign(statement(GOOD.body() + b"x")))
    for entries in (good + bad, bad + good):
        content = replace(GOOD, signatures=b"\x02" + entries).content()
        assert isinstance(check_both_refuse(content, trusted), BadSignature)
        opened(content)


@pytest.mark.parametrize(
    "message",
    [
        GOOD.body(),
        statement(GOOD.body())[:-1],
        statement(GOOD.body()).split(b"\n")[1] + b"\n",
        STATEMENT.format("0" * 64).encode(),
    ],
    ids=["the whole file", "no line feed", "the digest alone", "another digest"],
)
def test_a_signature_over_anything_but_the_statement(message: bytes) -> None:
    """So nothing that an export key signs elsewhere is a signature of a compact file."""
    content = replace(GOOD, signatures=b"\x01" + entry(b"xa", b"1", SIGNER.sign(message))).content()
    assert isinstance(check_both_refuse(content), BadSignature)
