"""The auditors' face over an honest registry's public files, which a test may bend."""

from io import BytesIO
from typing import BinaryIO
from xml.etree.ElementTree import Element, fromstring

import pytest
from werkzeug.test import Client

from registry.faces.audit import AuditFace, create_audit_app
from tests.clock import FakeClock
from tests.public_tree import PublicTree

BASE_URL = "https://registry.example"


class TreeStorage:
    """A registry's public files as they are now; counts what was read."""

    def __init__(self, tree: PublicTree) -> None:
        self.tree = tree
        self.reads: list[str] = []

    def read(self, path: str) -> bytes | None:
        self.reads.append(path)
        return self.tree.files.get(path)

    def open_file(self, path: str) -> BinaryIO | None:
        content = self.read(path)
        return None if content is None else BytesIO(content)

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        found = [path for path in self.tree.files if path.startswith(prefix)]
        return sorted(path for path in found if deep or "/" not in path[len(prefix) :])

    def put_new(self, path: str, content: bytes) -> bool:
        raise AssertionError(f"a page wrote {path}")

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        raise AssertionError(f"a page wrote {path}")

    def replace(self, path: str, content: bytes) -> None:
        raise AssertionError(f"a page wrote {path}")

    def delete(self, path: str) -> None:
        raise AssertionError(f"a page deleted {path}")


class Reading:
    """An auditor at the pages of `tree`."""

    def __init__(self, tree: PublicTree, base_url: str = BASE_URL) -> None:
        self.tree = tree
        self.storage = TreeStorage(tree)
        self.app = create_audit_app(AuditFace(self.storage, "demo", base_url, tree.clock))
        self.client = Client(self.app)

    def get(self, path: str, language: str = "en") -> str:
        """The page there, which must be one."""
        answer = self.client.get(path, headers={"Accept-Language": language})
        assert answer.status_code == 200, (path, answer.status)
        return answer.text

    def status(self, path: str) -> int:
        """What is answered there."""
        return self.client.get(path).status_code

    def feed(self, name: str) -> Element:
        """A feed's document."""
        answer = self.client.get(f"/audit/{name}.atom")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/atom+xml; charset=utf-8"
        return fromstring(answer.get_data())  # noqa: S314  # our own answer


@pytest.fixture
def tree(clock: FakeClock) -> PublicTree:
    """Two regions, three witnesses; four windows, of which the second has keys."""
    made = PublicTree(clock)
    for number in range(4):
        made.next_window({"XA": made.keys(12), "CN-HB": made.keys(3)} if number == 1 else None)
    return made


@pytest.fixture
def reading(tree: PublicTree) -> Reading:
    """The pages of `tree`."""
    return Reading(tree)
