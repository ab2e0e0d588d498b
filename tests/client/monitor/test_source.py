"""Where auditors read from: addresses that stumble, folders that lead astray."""

import json
import os
from pathlib import Path

import pytest

from registry.client import Answer
from registry.client.failures import NoAnswer, TooLarge, TrustRefused, UnexpectedStatus
from registry.client.monitor.moments import LAST
from registry.client.monitor.source import FolderSource, WebSource, open_source
from registry.errors import FetchFailed, Malformed
from tests.client.monitor.web import Web
from tests.public_tree import PublicTree

HOME = "https://registry.example"


def at_home(tree: PublicTree, *faults: Answer | Exception) -> tuple[WebSource, Web, list[float]]:
    web = Web({HOME: tree.read}, {f"{HOME}/log/policy": list(faults)})
    pauses: list[float] = []
    return WebSource(HOME + "/", web, clock=tree.clock, pause=pauses.append), web, pauses


def test_no_answer_is_asked_for_again_ever_more_slowly(tree: PublicTree) -> None:
    source, web, pauses = at_home(tree, NoAnswer("silence"), NoAnswer("silence"), Answer(503, {}, b""))

    assert source.read("log/policy") == tree.files["log/policy"]
    assert pauses == [1.0, 2.0, 4.0]
    assert len(web.asked) == 4


def test_in_the_end_silence_is_told(tree: PublicTree) -> None:
    source, web, _ = at_home(tree, *[NoAnswer("silence")] * 9)

    with pytest.raises(NoAnswer):
        source.read("log/policy")
    assert len(web.asked) == 4


def test_a_pause_that_is_asked_for_is_kept_but_not_for_ever(tree: PublicTree) -> None:
    busy = [Answer(429, {"retry-after": "30"}, b""), Answer(503, {"retry-after": "9999"}, b"")]
    source, _, pauses = at_home(tree, *busy)

    assert source.read("log/policy") is not None
    assert pauses == [30.0, 60.0]


def test_no_redirect_is_followed(tree: PublicTree) -> None:
    source, web, _ = at_home(tree, Answer(302, {"location": "https://elsewhere.example/"}, b""))

    with pytest.raises(UnexpectedStatus):
        source.read("log/policy")
    assert web.asked == [f"{HOME}/log/policy"]


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_not_there_is_none(tree: PublicTree, status: int) -> None:
    source, _, _ = at_home(tree, Answer(status, {}, b""))

    assert source.read("log/policy") is None


@pytest.mark.parametrize(
    "path",
    ["../secret", "/etc/passwd", "a//b", "a/./b", "a/../b", "", "a?b", "a#b", "a b", "a\\b", "ä", "a%2e"],
)
def test_only_plain_public_paths_are_asked_for(path: str, tree: PublicTree, tmp_path: Path) -> None:
    source, web, _ = at_home(tree)

    for one in (source, FolderSource(tmp_path)):
        with pytest.raises(Malformed):
            one.read(path)
    assert web.asked == []


def test_a_link_in_an_archive_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "link").symlink_to(tmp_path / "secret")

    with pytest.raises(Malformed, match="leads out"):
        FolderSource(tmp_path / "archive").read("link")


@pytest.mark.parametrize("name", ["index.json", "report.json"])
def test_a_pipe_in_an_archive_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    source = FolderSource(tmp_path)

    with pytest.raises(Malformed, match="no regular file"):
        source.read(name)
    assert source.taken_at() is None


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "index.json").open("wb") as file:
        file.truncate(17 * 2**20)

    with pytest.raises(TooLarge):
        FolderSource(tmp_path).read("index.json")


def test_a_folder_and_a_file_in_a_files_place_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    source = FolderSource(tmp_path)

    assert [source.read(path) for path in ("folder", "file/inside", "none")] == [None, None, None]


def test_a_registrys_data_folder_is_known_by_its_public_one(tree: PublicTree, tmp_path: Path) -> None:
    tree.write(tmp_path / "var" / "public")
    web = Web({})

    assert open_source(str(tmp_path / "var"), web).read("log/policy") == tree.files["log/policy"]
    assert open_source(str(tmp_path / "var" / "public"), web).read("log/policy") == tree.files["log/policy"]


@pytest.mark.parametrize("text", ["nowhere-at-all", "ftp://registry.example", "https://"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises((FetchFailed, TrustRefused)):
        open_source(text, Web({}))


@pytest.mark.parametrize(
    ("report", "taken"),
    [
        ({"taken_at": 5}, 5.0),
        ({"taken_at": "5"}, None),
        ([], None),
        ({}, None),
        ({"taken_at": True}, None),
        ({"taken_at": 10**400}, None),
        ({"taken_at": 253_402_300_800}, None),
        ({"taken_at": LAST}, None),
        ({"taken_at": LAST - 1}, LAST - 1.0),
        ({"taken_at": -1}, None),
        ({"taken_at": -62_135_596_801}, None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_archive_says_when_it_was_taken(report: object, taken: float | None, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(report))

    assert FolderSource(tmp_path).taken_at() == taken
