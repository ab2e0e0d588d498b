"""Lists of officials as CSV files: to invite many at once, to let many out, and what came of an invitation.

UTF-8, with or without a byte-order mark; RFC 4180 quoting. All rows are looked at before anything is done,
and each wrong one is told by its line.
"""

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from flask_babel import gettext as _

from registry.lifecycle.officials import Newcomer, new_invitation_id
from registry.models import Official
from registry.models.official import Permission

MOST_ROWS = 1000
LARGEST_FILE_BYTES = 512_000
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """What to mend in a file. Lines count from 1, the header's; 0 is the whole file."""

    line: int
    advice: str


class FaultyFile(Exception):  # a verdict, with all that led to it
    """The file is not taken, and nothing was done."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"{len(faults)} fault(s)")
        self.faults = faults


def read_newcomers(content: bytes, may_give: Collection[Permission]) -> list[Newcomer]:
    """Whom a file with the columns `name,permissions` invites. Raises FaultyFile."""
    newcomers, faults = [], []
    for line, (name, words) in _rows(content, [("name", "permissions")])[1]:
        advice = name_fault(name)
        permissions = frozenset(filter(None, re.split(r"[\s;,]+", words.strip().lower())))
        unknown = sorted(permissions - {permission.value for permission in may_give})
        if advice is None and not permissions:
            advice = _("Name at least one permission.")
        if advice is None and unknown:
            advice = _("“%(word)s” is not a permission that you can give.", word=unknown[0][:40])
        if advice is not None:
            faults.append(Fault(line, advice))
        else:
            may = frozenset(map(Permission, permissions))
            newcomers.append(Newcomer(new_invitation_id(), name.strip(), may))
    if faults:
        raise FaultyFile(faults)
    return newcomers


def read_leavers(content: bytes, people: Iterable[Official], own_id: str) -> list[str]:
    """Ids of those whom a file with the one column `name` or `id` lets out. Raises FaultyFile.

    A name that several have who may come in is refused: an id tells them apart.
    """
    column, rows = _rows(content, [("name",), ("id",)])
    known: dict[str, list[Official]] = {}
    for person in people:
        known.setdefault(person.id if column == ("id",) else person.name, []).append(person)
    leavers, faults = [], []
    for line, (word,) in rows:
        found = known.get(word.strip(), [])
        meant = [person for person in found if not person.disabled] or found[:1]
        if not meant:
            faults.append(Fault(line, _("Nobody here is called this.")))
        elif len(meant) > 1:
            faults.append(Fault(line, _("Several have this name: list them by their ids.")))
        elif meant[0].id == own_id:
            faults.append(Fault(line, _("You cannot remove yourself.")))
        else:
            leavers.append(meant[0].id)
    if faults:
        raise FaultyFile(faults)
    return leavers


def name_fault(name: str) -> str | None:
    """What is wrong with a person's name; None for a good one."""
    if not name.strip():
        return str(_("Give a name."))
    if len(name.strip()) > LONGEST_NAME:
        return str(_("The name is too long: %(most)s characters at most.", most=LONGEST_NAME))
    # No name begins so, and a spreadsheet would take the cell for a formula.
    if not name.isprintable() or name.strip()[0] in "=+-@":
        return str(_("The name holds a sign that no name holds."))
    return None


def write_links(links: Iterable[tuple[str, str]]) -> str:
    """A CSV file of names and links."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("name", "link"))
    writer.writerows(links)
    return text.getvalue()


def _rows(
    content: bytes, headers: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    """The header that it has, and (line, cells) of each row that is not empty."""
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        found = [(lines.line_num, row) for row in lines if any(cell.strip() for cell in row)]
    except UnicodeDecodeError:
        raise FaultyFile([Fault(0, _("The file is not UTF-8: save it as “CSV UTF-8”."))]) from None
    except csv.Error:
        raise FaultyFile([Fault(lines.line_num, _("The quotation marks do not match."))]) from None
    header = tuple(cell.strip().lower() for cell in found[0][1]) if found else ()
    if header not in headers:
        wanted = " / ".join(",".join(each) for each in headers)
        raise FaultyFile([Fault(1, _("The first line must be: %(header)s", header=wanted))])
    rows = found[1:]
    if not rows:
        raise FaultyFile([Fault(0, _("The file names nobody."))])
    if len(rows) > MOST_ROWS:
        raise FaultyFile([Fault(0, _("The file is too long: %(most)s rows at most.", most=MOST_ROWS))])
    faults = [
        Fault(
            line, _("This line has %(count)s cells; it takes %(wanted)s.", count=len(row), wanted=len(header))
        )
        for line, row in rows
        if len(row) != len(header)
    ]
    if faults:
        raise FaultyFile(faults)
    return header, rows
