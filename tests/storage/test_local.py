"""What a killed writer, a full disk and a power cut leave in a local folder. The rest: test_contract.py."""

import fcntl
import os
from pathlib import Path

import pytest

from registry.storage.local import LocalStorage

NAME = "exposures/XA/1-2-00001.zip"


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
