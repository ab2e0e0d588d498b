"""What every storage promises, on a local disk, in a folder for a web server, and in a real S3 bucket."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from itertools import count
from pathlib import Path
from random import Random

import pytest

from registry.errors import Malformed, StorageUnavailable
from registry.storage import PIECE_BYTES, Storage
from registry.storage.local import LocalStorage
from registry.storage.s3 import WHOLE_IN_MEMORY_BYTES, S3Storage
from registry.storage.served_folder import ServedFolder
from tests.storage.seaweedfs import SeaweedServer

NAME = "exposures/XA/1-2-00001.zip"
LONG = WHOLE_IN_MEMORY_BYTES + 1_234_567
"""More than any storage takes, sends or reads in one piece."""
PREFIXES = count(1)

MakeStorage = Callable[[], Storage]
"""One more object for the same place, as another process has it."""


def plain_headers(_path: str) -> dict[str, str]:
    """Any file as bytes."""
    return {"Content-Type": "application/octet-stream", "Cache-Control": "public, max-age=5"}


@pytest.fixture(params=["local", "served", "s3"])
def make_storage(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStorage:
    if request.param == "local":
        return lambda: LocalStorage(tmp_path / "public")
    if request.param == "served":
        return lambda: ServedFolder(
            tmp_path / "public", file_time=len, is_compressed=lambda path: path.endswith((".txt", ".zip"))
        )
    server: SeaweedServer = request.getfixturevalue("seaweed")
    place = server.place(f"contract/{next(PREFIXES)}")
    return lambda: S3Storage(place, plain_headers)


@pytest.fixture
def storage(make_storage: MakeStorage) -> Storage:
    return make_storage()


def test_a_new_name_is_filled_once(storage: Storage) -> None:
    assert storage.read(NAME) is None
    assert storage.put_new(NAME, b"first") is True
    assert storage.put_new(NAME, b"second") is False
    assert storage.read(NAME) == b"first"


def test_replace_gives_a_name_other_bytes(storage: Storage) -> None:
    storage.replace("exposures/XA/index.txt", b"old")
    storage.replace("exposures/XA/index.txt", b"new")
    assert storage.read("exposures/XA/index.txt") == b"new"
    assert storage.put_new("exposures/XA/index.txt", b"newest") is False


def test_an_empty_file_is_a_file(storage: Storage) -> None:
    storage.replace("exposures/XA/index.txt", b"")
    assert storage.read("exposures/XA/index.txt") == b""
    assert storage.names("exposures/") == ["exposures/XA/index.txt"]


def test_delete_can_be_repeated(storage: Storage) -> None:
    storage.put_new(NAME, b"x")
    storage.delete(NAME)
    storage.delete(NAME)
    storage.delete("exposures/YY/never-was.zip")
    assert storage.read(NAME) is None
    assert storage.put_new(NAME, b"y") is True


def test_names_go_by_prefix_and_are_sorted(storage: Storage) -> None:
    for path in ("exposures/XA/b", "exposures/XA/a", "exposures/XAB/c", ".well-known/d"):
        storage.put_new(path, b"x")
    assert storage.names("exposures/XA/") == ["exposures/XA/a", "exposures/XA/b"]
    assert storage.names("exposures/XA") == ["exposures/XA/a", "exposures/XA/b", "exposures/XAB/c"]
    assert storage.names("") == [".well-known/d", "exposures/XA/a", "exposures/XA/b", "exposures/XAB/c"]
    assert storage.names("log/") == []


def test_names_of_a_folder_alone_leave_out_what_lies_deeper(storage: Storage) -> None:
    for path in ("a/b.txt", "a/c/d.txt", "e.txt"):
        storage.put_new(path, b"x")
    assert storage.names("a/", deep=False) == ["a/b.txt"]
    assert storage.names("a/") == ["a/b.txt", "a/c/d.txt"]
    assert storage.names("", deep=False) == ["e.txt"]
    assert storage.names("nothing/", deep=False) == []


def test_all_of_very_many_names_are_listed(storage: Storage) -> None:
    """Stores list a thousand at a time."""
    paths = [f"exposures/XA/{number:04d}" for number in range(1003)]
    for path in paths:
        storage.replace(path, b"x")
    assert storage.names("exposures/XA/") == paths
    assert storage.names("exposures/XA/", deep=False) == paths


def test_a_folder_is_no_file(storage: Storage) -> None:
    storage.put_new(NAME, b"x")
    assert storage.read("exposures") is None
    assert storage.open_file("exposures") is None
    assert storage.read(f"{NAME}/index.txt") is None


def test_a_long_file_goes_in_and_comes_out_in_pieces(storage: Storage) -> None:
    content = Random(1).randbytes(LONG)
    source = BytesIO(content)
    source.seek(17)  # wherever the caller left it
    assert storage.put_new_file(NAME, source) is True
    assert storage.put_new_file(NAME, BytesIO(b"short")) is False
    assert storage.put_new_file(NAME, BytesIO(content[::-1])) is False
    file = storage.open_file(NAME)
    assert file is not None
    with file:
        digest = hashlib.sha256()
        while piece := file.read(100_000):
            assert len(piece) <= 100_000
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(content).digest()
        assert file.seek(-5, 2) == LONG - 5
        assert file.read() == content[-5:]
        file.seek(3)
        assert file.read(4) == content[3:7]
    assert storage.read(NAME) == content


class Watched(BytesIO):
    """Remembers the most that was ever asked of it at once."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.most = max(self.most, len(piece))
        return piece


def test_a_long_file_is_never_in_memory_whole(storage: Storage) -> None:
    source = Watched(bytes(LONG))
    assert storage.put_new_file(NAME, source) is True
    assert 0 < source.most <= PIECE_BYTES


def test_a_short_file_and_an_empty_one_go_in_too(storage: Storage) -> None:
    for path, content in (("a", b""), ("b", b"short")):
        assert storage.put_new_file(path, BytesIO(content)) is True
        assert storage.read(path) == content
    assert storage.open_file("c") is None


def test_a_file_that_is_replaced_while_it_is_read_is_never_mixed(storage: Storage) -> None:
    old, new = b"a" * LONG, b"b" * LONG
    storage.replace(NAME, old)
    file = storage.open_file(NAME)
    assert file is not None
    with file:
        begun = file.read(10)
        storage.replace(NAME, new)
        with suppress(StorageUnavailable):
            assert begun + file.read() == old
    assert storage.read(NAME) == new


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../x", "exposures/../../x", "exposures/./x", "a//b", "a/", "", ".", ".."),
        *("a\\..\\b", "a\0b", "exposures/.tmp-1", "exposures/XA/index.json.gz"),
    ],
)
def test_paths_that_climb_or_are_oddly_spelled_are_refused(
    storage: Storage, tmp_path: Path, path: str
) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: storage.put_new(path, b"x"),
        lambda: storage.put_new_file(path, BytesIO(b"x")),
        lambda: storage.replace(path, b"x"),
        lambda: storage.read(path),
        lambda: storage.open_file(path),
        lambda: storage.delete(path),
    ]
    for attempt in attempts:
        with pytest.raises(Malformed):
            attempt()
    assert storage.names("") == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [10, LONG], ids=["short", "long"])
def test_of_twenty_writers_at_once_exactly_one_wins(make_storage: MakeStorage, size: int) -> None:
    wins: list[int] = []
    together = threading.Barrier(20)

    def write(number: int) -> None:
        storage, content = make_storage(), bytes([number]) * size
        together.wait()
        if storage.put_new_file(NAME, BytesIO(content)):
            wins.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(wins) == 1
    assert make_storage().read(NAME) == bytes([wins[0]]) * size
    assert make_storage().names("") == [NAME]
