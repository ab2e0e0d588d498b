"""A folder for a web server: times that follow from contents, twins that never say anything else."""

import gzip
import os
from pathlib import Path

import pytest

from registry.storage.served_folder import ServedFolder

INDEX = "exposures/XA/index.json"
PROOF = "exposures/XA/index.json.tlog-proof"
BY_DIGEST = "exposures/XA/index/0.json"


@pytest.fixture
def folder(tmp_path: Path) -> ServedFolder:
    return ServedFolder(
        tmp_path,
        file_time=lambda content: 1000 + content[0],
        is_compressed=lambda path: path.endswith(".json"),
    )


def twin(root: Path, path: str) -> bytes:
    return gzip.decompress((root / f"{path}.gz").read_bytes())


def test_what_is_replaced_has_the_time_of_its_content_on_every_machine(
    folder: ServedFolder, tmp_path: Path
) -> None:
    for path in (INDEX, PROOF):
        folder.replace(path, b"\x07 old")
        folder.replace(path, b"\x09 new")
        assert (tmp_path / path).stat().st_mtime == 1009
    assert (tmp_path / f"{INDEX}.gz").stat().st_mtime == 1009


def test_what_is_worth_compressing_has_a_twin_that_no_method_shows(
    folder: ServedFolder, tmp_path: Path
) -> None:
    folder.replace(INDEX, b"old")
    folder.replace(INDEX, b"new")
    folder.replace(PROOF, b"proof")
    folder.put_new(BY_DIGEST, b"first")
    folder.put_new(BY_DIGEST, b"second")
    assert twin(tmp_path, INDEX) == b"new"
    assert twin(tmp_path, BY_DIGEST) == b"first"
    assert not (tmp_path / f"{PROOF}.gz").exists()
    assert folder.names("") == [INDEX, PROOF, BY_DIGEST]
    folder.delete(INDEX)
    folder.delete(BY_DIGEST)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["index.json.tlog-proof"]


@pytest.mark.parametrize("at", range(1, 7))
def test_after_a_crash_the_next_writer_leaves_file_and_twin_alike(
    folder: ServedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Wherever it ended, whoever replaces what is not yet new mends both: publishing does no more."""
    folder.replace(INDEX, b"old")
    really, calls = os.fsync, 0

    def fail(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError("the power is gone")
        really(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        try:
            folder.replace(INDEX, b"new")
        except OSError:
            assert calls == at
    if folder.read(INDEX) != b"new":
        folder.replace(INDEX, b"new")
    assert folder.read(INDEX) == b"new"
    assert twin(tmp_path, INDEX) == b"new"


def test_a_twin_goes_before_its_file(
    folder: ServedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.replace(INDEX, b"x")
    gone: list[str] = []
    really = Path.unlink

    def note(path: Path, missing_ok: bool = False) -> None:
        gone.append(path.name)
        really(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", note)
    folder.delete(INDEX)
    assert gone == ["index.json.gz", "index.json"], "alone it would still be served"
