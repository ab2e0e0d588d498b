"""The table in docs/threat-model.md says what each attack is seen as, and each of its cells is a test here.

Cells of one dash have none: there the attack is not another one than in the row above.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from registry import errors
from registry.client import failures
from registry.client.monitor.faults import FaultKind

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs/threat-model.md"
READERS = ("phone", "monitor", "old_app", "publisher")
NO_TEST = "—"


def rows() -> Iterator[tuple[str, list[str]]]:
    """(name of the attack, cells of the readers) of each row whose first cell is a name."""
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        name = re.match(r"`([a-z_]+)`", cells[0])
        if name and line.startswith("| `"):
            yield name[1], cells[1:]


def test_the_tables_names_and_the_tests_names_are_the_same() -> None:
    named = set()
    for attack, cells in rows():
        assert len(cells) == len(READERS), attack
        named |= {f"test_{attack}_{who}" for who, cell in zip(READERS, cells, strict=True) if cell != NO_TEST}
    tests = {
        node.name
        for path in HERE.glob("test_*.py")
        if path != Path(__file__)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(named) > 40
    assert named == tests


def test_every_attack_has_a_phone_and_a_monitor() -> None:
    assert {attack for attack, cells in rows() if NO_TEST in cells[:2]} == set()


def test_the_tables_words_are_those_of_the_code() -> None:
    codes = {kind.word: kind.exit_code for kind in FaultKind}
    said = 0
    for attack, (phone, monitor, _, publisher) in rows():
        for name in re.findall(r"`([A-Z][A-Za-z]+)`", phone + publisher):
            assert hasattr(failures, name) or hasattr(errors, name), (attack, name)
            said += 1
        for word, code in re.findall(r"`([a-z_]+)` (\d+)", monitor):
            assert codes[word] == int(code), attack
            said += 1
    assert said > 40
