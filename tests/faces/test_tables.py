"""Tables for spreadsheets: what they hold comes back, and none of it is run."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from registry.faces.tables import csv_of

text = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]))


@given(st.lists(st.lists(text, min_size=2, max_size=2)))
def test_texts_come_back_but_for_the_mark_of_what_would_be_run(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(csv_of(["a", "b"], rows), newline="")))
    assert read[0] == ["a", "b"]
    for written, found in zip(rows, read[1:], strict=True):
        for cell, came in zip(written, found, strict=True):
            assert came.removeprefix("'" if cell[:1] in tuple("=+-@\t") else "") == cell
            assert not came.startswith(("=", "+", "-", "@", "\t"))


def test_numbers_nothing_and_lists() -> None:
    assert csv_of(["n", "none", "list"], [[-3, None, [1, None, 2]]]) == "n,none,list\n-3,,1||2\n"
