"""Tables as CSV, for spreadsheets: what begins like a formula is told to be text. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence

Cell = str | int | None | Sequence[int | None]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_of(names: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A header and rows, lines ending in LF; what is None is empty, a list's members are joined by `|`."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_text(cell) for cell in row])
    return written.getvalue()


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return str(cell)
    if not isinstance(cell, str):
        return "|".join(_text(part) for part in cell)
    # Names come from other systems, and a spreadsheet would run what looks like a formula.
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
