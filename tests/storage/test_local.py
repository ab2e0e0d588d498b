"""Public files on a local disk: written whole, written once, never outside their folder."""

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.errors import Malformed
from registry.storage import Storage
from registry.storage.local import LocalStorage

NAME = "exposures/XA/1-2-00001.zip"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path / "public")


def test_a_new_name_is_filled_once(storage: Storage) -> None:
    assert storage.read(NAME) is None
    assert storage.put_new(NAME, b"first") is True
    assert storage.put_new(NAME, b"second") is False
    assert storage.read(NAME) == b"first"


def test_replace_gives_a_name_other_bytes(storage: Storage) -> None:
    storage.replace("exposures/XA/index.txt", b"old")
    storage.replace("exposures/XA/index.txt", b"new")
    assert storage.read("exposures/XA/index.txt") == b"new"


def test_delete_can_be_repeated(storage: Storage) -> None:
    storage.put_new(NAME, b"x")
    storage.delete(NAME)
    storage.delete(NAME)
    storage.delete("exposures/YY/never-was.zip")
    assert storage.read(NAME) is None
    assert storage.put_new(NAME, b"y") is True


def test_names_go_by_prefix_and_are_sorted(storage: Storage) -> None:
    for path in ("exposures/XA/b", "exposures/XA/a", "exposures/XAB/c", ".well-known/d"):
        storage.put_new(path, b"")
    assert storage.names("exposures/XA/") == ["exposures/XA/a", "exposures/XA/b"]
    assert storage.names("exposures/XA") == ["exposures/XA/a", "exposures/XA/b", "exposures/XAB/c"]
    assert storage.names("") == [".well-known/d", "exposures/XA/a", "exposures/XA/b", "exposures/XAB/c"]
    assert storage.names("log/") == []


def test_a_folder_is_no_file(storage: Storage) -> None:
    storage.put_new(NAME, b"x")
    assert storage.read("exposures") is None
    assert storage.read(f"{NAME}/index.txt") is None


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../x", "exposures/../../x", "exposures/./x", "a//b", "a/", "", ".", ".."),
        *("a\\..\\b", "a\0b", "exposures/.tmp-1"),
    ],
)
def test_paths_out_of_the_folder_or_oddly_spelled_are_refused(
    storage: Storage, tmp_path: Path, path: str
) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: storage.put_new(path, b"x"),
        lambda: storage.replace(path, b"x"),
        lambda: storage.read(path),
        lambda: storage.delete(path),
    ]
    for attempt in attempts:
        with pytest.raises(Malformed):
            attempt()
    assert not list(tmp_path.iterdir())


def test_of_twenty_writers_at_once_exactly_one_wins(tmp_path: Path) -> None:
    storages = [LocalStorage(tmp_path) for _ in range(20)]
    wins: list[int] = []

    def write(number: int) -> None:
        if storages[number].put_new(NAME, b"%d" % number):
            wins.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(wins) == 1
    assert LocalStorage(tmp_path).read(NAME) == b"%d" % wins[0]
    assert [path.name for path in (tmp_path / "exposures/XA").iterdir()] == ["1-2-00001.zip"]


def test_what_a_killed_writer_left_is_hidden_and_swept_by_the_next(tmp_path: Path) -> None:
    LocalStorage(tmp_path).put_new(NAME, b"x")
    left_behind = tmp_path / "exposures/XA/.tmp-0123456789abcdef"
    left_behind.write_bytes(b"half a fi")
    storage = LocalStorage(tmp_path)
    assert storage.names("") == [NAME]
    assert left_behind.exists()
    storage.put_new("exposures/XA/2-3-00001.zip", b"y")
    assert not left_behind.exists()


def test_what_a_living_writer_is_at_is_not_swept(tmp_path: Path) -> None:
    at_work = tmp_path / ".tmp-0123456789abcdef"
    with at_work.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        LocalStorage(tmp_path).put_new(NAME, b"x")
        assert at_work.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(tmp_path)
    storage.replace(NAME, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.replace(NAME, b"new")
    with pytest.raises(OSError, match="No space"):
        storage.put_new("exposures/XA/other.zip", b"new")
    monkeypatch.undo()
    assert storage.read(NAME) == b"old"
    assert [path.name for path in (tmp_path / "exposures/XA").iterdir()] == ["1-2-00001.zip"]


def test_a_file_that_cannot_be_locked_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError("lock refused")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(OSError, match="lock refused"):
            LocalStorage(tmp_path).put_new("a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_bytes_and_name_are_synced_before_a_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    really = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        really(descriptor)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which file a descriptor is")
    monkeypatch.setattr(os, "fsync", note)
    storage = LocalStorage(tmp_path / "public")
    storage.put_new(NAME, b"x")
    # Every new folder by its parent, the bytes, then the name by its folder.
    assert synced[:3] == [tmp_path.name, "public", "exposures"]
    assert synced[3].startswith(".tmp-")
    assert synced[4:] == ["XA"]
    synced.clear()
    storage.put_new(NAME, b"y")
    assert synced[1:] == ["XA"], "whoever came first may have died before this sync"
    storage.replace(NAME, b"z")
    storage.delete(NAME)
    assert synced[-2:] == ["XA", "XA"]


def test_names_of_a_folder_alone_leave_out_what_lies_deeper(storage: Storage) -> None:
    for path in ("a/b.txt", "a/c/d.txt", "e.txt"):
        storage.put_new(path, b"x")
    assert storage.names("a/", deep=False) == ["a/b.txt"]
    assert storage.names("a/") == ["a/b.txt", "a/c/d.txt"]
    assert storage.names("", deep=False) == ["e.txt"]
    assert storage.names("nothing/", deep=False) == []
