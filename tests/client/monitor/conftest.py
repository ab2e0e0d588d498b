"""Trees that auditors look at, and ways to look."""

from collections.abc import Callable

import pytest

from registry.client.monitor.faults import FaultKind
from registry.client.monitor.visit import Demands, Looking, Visit, look
from tests.clock import FakeClock
from tests.public_tree import PublicTree, TreeSource

Look = Callable[..., Visit]


@pytest.fixture
def tree(clock: FakeClock) -> PublicTree:
    """Two regions, five windows (the even ones with keys), three witnesses of whom two must cosign."""
    made = PublicTree(clock)
    for number in range(1, 6):
        publish_one(made, number)
    return made


def publish_one(made: PublicTree, number: int) -> None:
    """Window `number`: keys in both regions if it is even."""
    made.next_window({region: made.keys(number) for region in made.regions} if number % 2 == 0 else {})


def look_at(tree: PublicTree, demands: Demands | None = None, **more: object) -> Visit:
    """One look by every rule, now."""
    return look(TreeSource(tree), demands or Demands(), tree.clock(), Looking(**more))  # type: ignore[arg-type]


def kinds(visit: Visit) -> set[FaultKind]:
    """The classes of what was found."""
    return {fault.kind for fault in visit.faults}


def unsigned(note: bytes) -> bytes:
    """The checkpoint with another root than the one that its signatures are about."""
    origin, size, root, rest = note.split(b"\n", 3)
    return b"\n".join((origin, size, (b"B" if root.startswith(b"A") else b"A") + root[1:], rest))


def flipped(content: bytes, at: int = -1) -> bytes:
    """The bytes with one bit of the byte at `at` turned over."""
    at %= len(content)
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
