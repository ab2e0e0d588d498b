"""Indexes: existing apps' lines, and a native index in which a missing window cannot hide."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from registry.errors import Malformed
from registry.protocol.index import (
    EXPOSURES,
    TRUST_PATH,
    Index,
    IndexFile,
    IndexWindow,
    decode_index,
    decode_legacy_index,
    encode_index,
    encode_legacy_index,
    export_name,
    index_digest_path,
    index_path,
    legacy_index_path,
)

DIGEST = "ab" * 32
START = 1_781_500_000


def file_of(number: int = 1, start: int = START) -> IndexFile:
    return IndexFile(export_name("XA", start, start + 60, number), DIGEST, 500)


def window(sequence: int, *files: IndexFile, last: int | None = None) -> IndexWindow:
    last = sequence if last is None else last
    return IndexWindow(sequence, last, START + 60 * sequence, START + 60 * (last + 1), files)


INDEX = Index(
    region="XA",
    sequence=9,
    issued_at=START + 600,
    next_window_end=START + 660,
    expires_at=START + 86400,
    windows=(window(3, file_of(1), file_of(2)), window(4, last=8), window(9, file_of(3))),
)


# ---------------------------------------------------------------- paths


def test_public_paths() -> None:
    assert EXPOSURES == "exposures"
    assert TRUST_PATH == ".well-known/exposure-registry.json"
    assert export_name("XA", 1700000000, 1700003600, 1) == "XA/1700000000-1700003600-00001.zip"
    assert legacy_index_path("XA") == "exposures/XA/index.txt"
    assert index_path("CN-HB") == "exposures/CN-HB/index.json"
    assert index_digest_path("XA", DIGEST) == f"exposures/XA/index/{DIGEST}.json"


@pytest.mark.parametrize("region", ["", "../XA", "xa", "XA/B", ".", "XA\n"])
@pytest.mark.parametrize(
    "path_of",
    [
        legacy_index_path,
        index_path,
        lambda region: index_digest_path(region, DIGEST),
        lambda region: export_name(region, 1, 2, 1),
    ],
)
def test_no_path_leads_elsewhere(path_of: Callable[[str], str], region: str) -> None:
    with pytest.raises(Malformed):
        path_of(region)


@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "../" + "a" * 61, DIGEST + "\n"])
def test_a_digest_is_a_digest(digest: str) -> None:
    with pytest.raises(Malformed):
        index_digest_path("XA", digest)


# ---------------------------------------------------------------- index.txt


def test_the_legacy_index_is_lines_without_an_end() -> None:
    assert (
        encode_legacy_index(["XA/1-2-00001.zip", "XA/2-3-00001.zip"]) == b"XA/1-2-00001.zip\nXA/2-3-00001.zip"
    )
    assert encode_legacy_index([]) == b""
    assert decode_legacy_index(b"") == []


def test_the_legacy_index_is_split_at_any_white_space_as_apps_do() -> None:
    assert decode_legacy_index(b"XA/1-2-00001.zip\r\n\nXA/2-3-00001.zip\n") == [
        "XA/1-2-00001.zip",
        "XA/2-3-00001.zip",
    ]


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 99999)), max_size=10))
def test_names_come_back(windows: list[tuple[int, int, int]]) -> None:
    entries = [export_name("XA", *numbers) for numbers in windows]
    assert decode_legacy_index(encode_legacy_index(entries)) == entries


@given(st.integers(10**9, 10**10 - 2), st.integers(1, 99998))
def test_names_sort_as_time_goes_by(start: int, number: int) -> None:
    """From 2001 to 2286, by when apps that parse names will have been replaced."""
    names = [
        export_name("XA", start, start + 1, number),
        export_name("XA", start, start + 1, number + 1),
        export_name("XA", start + 1, start + 2, 1),
    ]
    assert sorted(names) == names


@pytest.mark.parametrize(
    "entry",
    [
        b"\xff",
        b"/etc/passwd",
        b"../x",
        b"XA/../../1-2-00001.zip",
        b"https://elsewhere/1-2-00001.zip",
        b"XA/.zip",
    ],
)
def test_a_legacy_index_holds_names_only(entry: bytes) -> None:
    with pytest.raises(Malformed):
        decode_legacy_index(b"XA/1-2-00001.zip\n" + entry)


# ---------------------------------------------------------------- index.json


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    """Any index of one region, with its windows contiguous."""
    sequence, start = draw(st.integers(0, 1000)), draw(st.integers(0, 2**40))
    windows = []
    number = 0
    for _ in range(draw(st.integers(0, 5))):
        spanned = draw(st.integers(1, 4))
        end = start + draw(st.integers(1, 10_000))
        files = []
        if spanned == 1:
            for _ in range(draw(st.integers(0, 3))):
                number += 1
                files.append(
                    IndexFile(export_name("XA", start, end, number), DIGEST, draw(st.integers(1, 2**40)))
                )
        windows.append(IndexWindow(sequence, sequence + spanned - 1, start, end, tuple(files)))
        sequence, start = sequence + spanned, end
    issued_at = draw(st.integers(0, 2**40))
    return Index("XA", max(sequence - 1, 0), issued_at, start + 60, issued_at + 60, tuple(windows))


def any_index() -> SearchStrategy[Index]:
    return indexes()


@given(any_index())
def test_an_index_comes_back_and_is_always_the_same_bytes(index: Index) -> None:
    content = encode_index(index)
    assert decode_index(content) == index
    assert encode_index(decode_index(content)) == content


def test_an_index_before_its_first_window() -> None:
    empty = Index("XA", 0, START, START + 60, START + 86400)
    assert decode_index(encode_index(empty)) == empty


def test_the_names_of_members() -> None:
    """Phones of every later version will read these."""
    document = json.loads(encode_index(INDEX))
    assert document.keys() == {"region", "sequence", "issued_at", "next_window_end", "expires_at", "windows"}
    assert document["windows"][0].keys() == {"sequence", "last_sequence", "start", "end", "files"}
    assert document["windows"][0]["files"][0] == {
        "path": f"XA/{START}-{START + 60}-00001.zip",
        "sha256": DIGEST,
        "size": 500,
        "format": "gaen-zip",
    }


def test_what_later_versions_add_is_passed_over() -> None:
    document = json.loads(encode_index(INDEX)) | {"log": {"size": 5}}
    document["windows"][0]["files"][0]["format"] = "compact"
    index = decode_index(json.dumps(document).encode())
    assert index.windows[0].files[0].format == "compact"
    assert index.sequence == INDEX.sequence


first, run, last = INDEX.windows


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (replace(INDEX, windows=(first, last)), "begin where"),
        (replace(INDEX, windows=(first, replace(run, start=run.start + 1), last)), "begin where"),
        (replace(INDEX, windows=(first, replace(run, start=run.start - 1), last)), "begin where"),
        (replace(INDEX, windows=(last, run, first)), "begin where"),
        (replace(INDEX, windows=(first, replace(run, last_sequence=7), last)), "no window between"),
        (replace(INDEX, windows=(first, replace(run, sequence=5), last)), "no window between"),
        (replace(INDEX, windows=(replace(first, sequence=4), run, last)), "cannot run|no window between"),
        (replace(INDEX, windows=(replace(first, end=first.start), run, last)), "ends before"),
        (replace(INDEX, windows=(first, replace(run, last_sequence=3), last)), "cannot run"),
        (replace(INDEX, windows=(first, replace(run, files=(file_of(7),)), last)), "cannot run"),
        (replace(INDEX, sequence=8), "newest"),
        (replace(INDEX, sequence=10), "newest"),
        (replace(INDEX, windows=(first, run)), "newest"),
        (replace(INDEX, windows=(first, run, replace(last, files=(file_of(1),)))), "twice"),
        (replace(INDEX, expires_at=INDEX.issued_at), "expires"),
        (replace(INDEX, region="CN"), "another region"),
        (replace(INDEX, region="xa"), "ISO 3166"),
    ],
)
def test_a_gap_or_a_contradiction_is_seen(bad: Index, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode_index(encode_index(bad))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("path", "../../etc/passwd"),
        ("path", "/XA/1-2-00001.zip"),
        ("path", "XA/index.json"),
        ("path", "CN/1-2-00001.zip"),
        ("path", None),
        ("sha256", DIGEST.upper()),
        ("sha256", DIGEST[1:]),
        ("sha256", None),
        ("size", 0),
        ("size", -1),
        ("size", 1.5),
        ("size", "500"),
        ("format", ""),
        ("format", None),
    ],
)
def test_a_file_must_be_named_measured_and_digested(member: str, value: Any) -> None:
    document = json.loads(encode_index(INDEX))
    document["windows"][0]["files"][0][member] = value
    with pytest.raises(Malformed):
        decode_index(json.dumps(document).encode())


@pytest.mark.parametrize(
    "member", ["region", "sequence", "issued_at", "next_window_end", "expires_at", "windows"]
)
def test_every_member_is_required(member: str) -> None:
    document = json.loads(encode_index(INDEX))
    del document[member]
    with pytest.raises(Malformed, match=member):
        decode_index(json.dumps(document).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\x00", b"<html>", encode_index(INDEX)[:-1]])
def test_not_an_index(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode_index(content)
