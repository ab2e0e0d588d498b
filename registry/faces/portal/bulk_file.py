"""A file of many people's results as an official gives it: read whole and checked whole, before any code.

CSV with a header row: the names of the contract, in any order, `testDate` or `symptomDate` among them; commas
or semicolons, quoted where need be; UTF-8 with or without a mark, else GB18030, as spreadsheets in China
write it. Rows are called by their number in the spreadsheet, the header being 1. What is wrong is said by row
and column and never repeats what stands there, for that could be a name.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from io import StringIO

from flask_babel import gettext as _

from registry.faces.portal.consent import CONSENT_LANGUAGES
from registry.faces.portal.forms import REPORT_TYPES

MOST_ROWS = 5000
LARGEST_FILE_BYTES = 400_000
COLUMNS = ("testDate", "symptomDate", "testType", "language")
DATES = ("testDate", "symptomDate")
PHONE = "phone"
MOST_FAULTS = 50
"""That are listed; more have the same cause, as a rule."""

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class PersonRow:
    """What stands in a row. `language` is none where the file says nothing."""

    row: int
    test_date: date | None
    onset_date: date | None
    report_type: str
    language: str | None


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is to be mended, and where: row 0 is the file, an empty column the row as a whole."""

    row: int
    column: str
    advice: str


@dataclass(frozen=True, slots=True)
class BulkFile:
    """A file's rows; or what is wrong with it, and then no rows."""

    rows: Sequence[PersonRow] = ()
    faults: Sequence[FileFault] = ()


def read_file(content: bytes, limits: tuple[date, date]) -> BulkFile:
    """Read it. `limits` are the earliest and the latest day that may be named."""
    if len(content) > LARGEST_FILE_BYTES:
        return _refused(0, "", _("The file is too large: split it."))
    text = _decode(content)
    if text is None:
        return _refused(0, "", _("This is no CSV file in UTF-8: save it again as “CSV UTF-8”."))
    try:
        lines = list(csv.reader(StringIO(text, newline=""), delimiter=_delimiter(text), strict=True))
    except csv.Error:
        return _refused(0, "", _("The quotation marks in this file do not match: save it again as CSV."))
    if not lines:
        return _refused(0, "", _("The file is empty."))
    names = [name.strip() for name in lines[0]]
    if faults := _faults_of_header(names):
        return BulkFile(faults=faults)
    # Empty lines count, as they do in a spreadsheet, and mean nobody.
    cells = [
        (number, [cell.strip() for cell in line]) for number, line in enumerate(lines[1:], 2) if any(line)
    ]
    if not cells:
        return _refused(0, "", _("There is no row below the header."))
    if len(cells) > MOST_ROWS:
        return _refused(0, "", _("The file has more than %(most)s rows: split it.", most=MOST_ROWS))
    return _read_rows(names, cells, limits)


def advice_on_phones() -> str:
    """Why a column of telephone numbers is not taken."""
    return str(
        _("Telephone numbers are not taken here, for no SMS is sent from a file: take the column out of it.")
    )


def _read_rows(
    names: Sequence[str], cells: Sequence[tuple[int, list[str]]], limits: tuple[date, date]
) -> BulkFile:
    rows, faults = [], []
    for number, line in cells:
        if len(line) != len(names):
            faults.append(FileFault(number, "", _("The row has more or fewer cells than the header.")))
            continue
        found = dict(zip(names, line, strict=True))
        wrong = _faults_of_row(number, found, limits)
        faults += wrong
        if not wrong:
            rows.append(
                PersonRow(
                    row=number,
                    test_date=_day(found.get("testDate", "")),
                    onset_date=_day(found.get("symptomDate", "")),
                    report_type=found.get("testType", "").lower() or "confirmed",
                    language=found.get("language", "").lower() or None,
                )
            )
    return BulkFile(faults=faults) if faults else BulkFile(rows=rows)


def _faults_of_header(names: Sequence[str]) -> list[FileFault]:
    faults = []
    for place, name in enumerate(names, 1):
        advice = advice_on_phones() if name == PHONE else None
        if name not in COLUMNS and name != PHONE:
            # By its place: where there is no header, a person's row stands here.
            advice = _(
                "Column %(place)s is not known here: the first row must name %(names)s and nothing else.",
                place=place,
                names=", ".join(COLUMNS),
            )
        elif name in names[: place - 1]:
            advice = _("Column %(place)s has the name of another one.", place=place)
        if advice is not None:
            faults.append(FileFault(1, "", advice))
    if not faults and not set(DATES) & set(names):
        faults.append(FileFault(1, "", _("There must be a column testDate or symptomDate.")))
    return faults


def _faults_of_row(number: int, found: dict[str, str], limits: tuple[date, date]) -> list[FileFault]:
    faults = []
    dates = [name for name in DATES if found.get(name)]
    if not dates:
        faults.append(FileFault(number, "", _("Give the day of the test, or of the first symptoms.")))
    for name in dates:
        day = _day(found[name])
        if day is None:
            faults.append(FileFault(number, name, _("Write the date as year-month-day, like 2026-03-09.")))
        elif not limits[0] <= day <= limits[1]:
            advice = _(
                "The day must lie between %(first)s and %(last)s.",
                first=limits[0].isoformat(),
                last=limits[1].isoformat(),
            )
            faults.append(FileFault(number, name, advice))
    for name, known in (("testType", REPORT_TYPES), ("language", CONSENT_LANGUAGES)):
        if found.get(name) and found[name].lower() not in known:
            advice = _("Write one of: %(words)s.", words=", ".join(known))
            faults.append(FileFault(number, name, advice))
    return faults


def _refused(row: int, column: str, advice: str) -> BulkFile:
    return BulkFile(faults=[FileFault(row, column, advice)])


def _decode(content: bytes) -> str | None:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _day(text: str) -> date | None:
    if not _DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
