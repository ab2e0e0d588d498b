"""One table of how each public file is served: every path that is built has its place, no other has one."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.index import (
    EXPOSURES,
    LOG_CHECKPOINT_PATH,
    LOG_POLICY_PATH,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    export_name,
    index_digest_path,
    index_path,
    index_proof_path,
    legacy_index_path,
    manifest_path,
    shard_checkpoint_path,
    shard_tile_path,
)
from registry.protocol.serving import (
    IMMUTABLE,
    POLLED,
    content_tag,
    file_time,
    known_tags,
    serving_of,
    stored_headers,
)
from registry.protocol.tiles import MAX_LEVEL, Tile
from registry.storage import path_parts

DIGEST = "0123456789abcdef" * 4
REPLACED = {
    index_path("XA"): "application/json",
    legacy_index_path("CN-HB"): "text/plain; charset=us-ascii",
    index_proof_path("XA"): "text/plain; charset=utf-8",
    TRUST_PATH: "application/json",
    TRUST_NOTE_PATH: "text/plain; charset=utf-8",
    LOG_CHECKPOINT_PATH: "text/plain; charset=utf-8",
    LOG_POLICY_PATH: "text/plain; charset=utf-8",
    shard_checkpoint_path(2026): "text/plain; charset=utf-8",
}
WRITTEN_ONCE = {
    f"{EXPOSURES}/{export_name('CN-HB', 0, 3600, 1)}": "application/zip",
    index_digest_path("XA", DIGEST): "application/json",
    manifest_path("XA", DIGEST): "application/json",
}


@pytest.mark.parametrize("path", REPLACED)
def test_what_is_replaced_is_asked_after_each_time_or_within_seconds(path: str) -> None:
    serving = serving_of(path)
    assert serving.content_type == REPLACED[path]
    assert serving.replaced
    assert serving.cache_control == ("public, max-age=5" if path.endswith("checkpoint") else POLLED)


@pytest.mark.parametrize("path", WRITTEN_ONCE)
def test_what_is_written_once_is_kept_for_as_long_as_the_registry_keeps_it(path: str) -> None:
    assert serving_of(path).content_type == WRITTEN_ONCE[path]
    assert serving_of(path).cache_control == IMMUTABLE
    assert stored_headers(path) == {"Content-Type": WRITTEN_ONCE[path], "Cache-Control": IMMUTABLE}


@given(
    year=st.integers(0, 9999),
    level=st.none() | st.integers(0, MAX_LEVEL),
    number=st.integers(0, 2**55 - 1),
    width=st.integers(1, 256),
)
def test_every_tile_has_its_place(year: int, level: int | None, number: int, width: int) -> None:
    path = shard_tile_path(year, Tile(level, number, width))
    assert serving_of(path).cache_control == IMMUTABLE
    assert serving_of(path).content_type == "application/octet-stream"
    assert path_parts(path)


@given(start=st.integers(0, 2**40), end=st.integers(0, 2**40), number=st.integers(1, 99_999))
def test_every_file_of_keys_has_its_place(start: int, end: int, number: int) -> None:
    assert serving_of(f"{EXPOSURES}/{export_name('XA', start, end, number)}").cache_control == IMMUTABLE


@pytest.mark.parametrize(
    "path",
    [
        *("", "registry.json", "keys/lookup.key", "exposures", "exposures/XA", "exposures/XA/"),
        *("exposures/XA/.tmp-1", "exposures/XA/.hidden.json", "exposures/XA/index.html", "exposures/x.zip"),
        *("exposures/XA/index.json.gz", "exposures/../index.json", f"exposures/XA/index/{DIGEST[1:]}.json"),
        *("log/checkpoint\n", "log/2026/tile/0/1067", "log/2026/tile/0/x001/067.p/", "/log/checkpoint"),
        *(".well-known/", ".well-known/exposure-registryXjson", "log/12345/checkpoint"),
    ],
)
def test_nothing_else_has_one(path: str) -> None:
    with pytest.raises(Malformed):
        serving_of(path)


@given(content=st.binary(max_size=300))
def test_a_phone_computes_all_tags_from_what_it_holds(content: bytes) -> None:
    assert content_tag(content) == f'"{sha256(content).hexdigest()}"'
    tags = known_tags(content).split(", ")
    assert tags[0] == content_tag(content)
    assert tags[1] == f'"{file_time(content):x}-{len(content):x}"'
    assert 0 <= file_time(content) < 2**31, "any file system can keep it"


def test_the_tags_of_known_content_are_these() -> None:
    assert known_tags(b"abc") == (
        '"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"'
        ', "3a7816bf-3", "900150983cd24fb0d6963f7d28e17f72"'
    )
