"""A file is taken as spreadsheets write it, or refused as a whole with what to mend and nothing it holds."""

import csv
from datetime import date, timedelta
from io import StringIO

import pytest
from flask import Flask
from flask_babel import Babel
from hypothesis import given
from hypothesis import strategies as st

from registry.faces.portal.bulk_file import (
    COLUMNS,
    DATES,
    LARGEST_FILE_BYTES,
    MOST_ROWS,
    BulkFile,
    PersonRow,
    read_file,
)

LIMITS = (date(2026, 5, 17), date(2026, 6, 16))
APP = Flask(__name__)
Babel(APP)
days = st.dates(*LIMITS)
rows = st.builds(
    dict,
    testDate=days.map(date.isoformat),
    symptomDate=st.one_of(st.just(""), days.map(date.isoformat)),
    testType=st.sampled_from(["", "confirmed", "likely", "Confirmed"]),
    language=st.sampled_from(["", "zh", "en", "ZH"]),
)


def read(text: str | bytes) -> BulkFile:
    with APP.test_request_context():
        return read_file(text if isinstance(text, bytes) else text.encode(), LIMITS)


def faults(text: str | bytes) -> list[tuple[int, str]]:
    found = read(text)
    assert not found.rows, "nothing of a file that is refused"
    return [(fault.row, fault.column) for fault in found.faults]


@given(
    st.lists(rows, min_size=1, max_size=20),
    st.permutations(COLUMNS),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from([",", ";"]),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "gb18030"]),
)
def test_what_a_spreadsheet_writes_is_read(
    people: list[dict[str, str]], names: list[str], quoting: int, comma: str, end: str, encoding: str
) -> None:
    text = StringIO()
    writer = csv.DictWriter(text, names, quoting=quoting, delimiter=comma, lineterminator=end)  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(people)
    found = read(text.getvalue().encode(encoding))
    assert found.faults == ()
    assert [row.row for row in found.rows] == list(range(2, len(people) + 2))
    for row, person in zip(found.rows, people, strict=True):
        assert (row.test_date or date.min).isoformat() == person["testDate"]
        assert ("" if row.onset_date is None else row.onset_date.isoformat()) == person["symptomDate"]
        assert row.report_type == (person["testType"].lower() or "confirmed")
        assert row.language == (person["language"].lower() or None)


@given(st.binary(max_size=400))
def test_no_bytes_are_a_fault_of_ours(content: bytes) -> None:
    found = read(content)
    assert bool(found.rows) != bool(found.faults)


@given(st.text(max_size=200))
def test_nor_is_any_text_below_a_good_header(text: str) -> None:
    found = read("testDate,language\n" + text)
    assert bool(found.rows) != bool(found.faults)


def test_one_date_and_one_column_are_enough_and_empty_lines_are_counted() -> None:
    found = read("symptomDate\n2026-06-14\n\n 2026-06-13 \n")
    assert found.rows == [
        PersonRow(2, None, date(2026, 6, 14), "confirmed", None),
        PersonRow(4, None, date(2026, 6, 13), "confirmed", None),
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("testDate\nyesterday", [(2, "testDate")]),
        ("testDate\n2026-06-31", [(2, "testDate")]),
        ("testDate\n2026-06-17", [(2, "testDate")]),
        ("testDate\n2026-05-16", [(2, "testDate")]),
        ("testDate\n2026-06-14\n２０２６-06-14", [(3, "testDate")]),
        ("testDate,testType\n2026-06-14,negative", [(2, "testType")]),
        ("testDate,testType\n2026-06-14,user-report", [(2, "testType")]),
        ("testDate,language\n2026-06-14,tlh", [(2, "language")]),
        ("testDate,symptomDate\n,", []),
        ("testDate,language\n,zh", [(2, "")]),
        ("testDate,language\n2026-06-14", [(2, "")]),
        ("testDate\n2026-06-14,13812345678", [(2, "")]),
        ("testDate,symptomDate\n2026-06-31,soon\n,x", [(2, DATES[0]), (2, DATES[1]), (3, DATES[1])]),
    ],
)  # fmt: skip
def test_each_fault_is_told_by_row_and_column(text: str, where: list[tuple[int, str]]) -> None:
    assert faults(text) == (where or [(0, "")])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"testDate\n",
        b"testDate\n\"2026-06-14",
        "testDate\n2026-06-14".encode("utf-16"),
        b"testDate\n2026-06-14\n" + b"\xff\xff\n",
        b"testDate\n" + b"2026-06-14\n" * (MOST_ROWS + 1),
        b"testDate\n" + b" " * LARGEST_FILE_BYTES,
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_as_one(text: bytes) -> None:
    assert faults(text) == [(0, "")]


def test_the_largest_file_is_taken() -> None:
    widest = b'"2026-06-14","2026-06-12","confirmed","zh"\r\n'
    content = b"testDate,symptomDate,testType,language\r\n" + widest * MOST_ROWS
    assert len(content) < LARGEST_FILE_BYTES
    assert len(read(content).rows) == MOST_ROWS


@pytest.mark.parametrize("name", ["phone", "name", "reference", "Phone", "", "testdate"])
def test_a_column_that_could_tell_who_it_is_refuses_the_file(name: str) -> None:
    assert faults(f"testDate,{name}\n2026-06-14,x") == [(1, "")]


def test_a_column_named_twice_or_no_date_at_all_refuses_the_file() -> None:
    assert faults("testDate,testDate\n2026-06-14,2026-06-14") == [(1, "")]
    assert faults("language\nzh") == [(1, "")]


@given(st.sampled_from(["王芳", "13812345678", "=cmd|'/c calc'!A0"]), st.integers(0, 3))
def test_nothing_that_stands_in_it_is_repeated(secret: str, place: int) -> None:
    for text in (
        ",".join([secret] * 4) + "\n2026-06-14,,,",
        ",".join(COLUMNS) + "\n" + ",".join(secret if n == place else "" for n in range(4)),
        f"testDate\n2026-06-14,{secret}",
    ):
        found = read(text)
        assert found.faults
        assert all(secret not in fault.advice + fault.column for fault in found.faults)


def test_dates_may_lie_where_the_form_takes_them() -> None:
    for day in (LIMITS[0], LIMITS[1]):
        assert read(f"testDate\n{day}").rows
    assert faults(f"testDate\n{LIMITS[1] + timedelta(days=1)}") == [(2, "testDate")]
