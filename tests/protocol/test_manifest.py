"""A manifest is the same bytes, whether made whole or in pieces, and is read only if it is those."""

import json
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.encoding import encode_base64, encode_json
from registry.protocol.manifest import (
    Manifest,
    ManifestFile,
    ManifestHead,
    decode_manifest,
    encode_manifest,
    manifest_pieces,
)
from registry.protocol.receipt import receipts_root

FILES = (
    ManifestFile("XA/0-3600-00001.zip", "ab" * 32, 1000, 30, (("310", "v1"), ("310", "v2"))),
    ManifestFile("XA/0-3600-00001.compact", "cd" * 32, 700, 30, (("310", "v1"),), "compact"),
)
HEAD = ManifestHead("XA", 7, 0, 3600, FILES, b"s" * 32, b"a" * 32, "positive-key-registry ü")
A_PIECE = 3072


def receipts_of(count: int) -> tuple[bytes, ...]:
    return tuple(sorted(sha256(b"%d" % number).digest() for number in range(count)))


def manifest_of(receipts: tuple[bytes, ...]) -> Manifest:
    return Manifest("XA", 7, 0, 3600, FILES, b"s" * 32, b"a" * 32, "positive-key-registry ü", receipts)


def members(receipts: tuple[bytes, ...]) -> dict[str, object]:
    return {
        "v": 1,
        "region": "XA",
        "sequence": 7,
        "window_start": 0,
        "window_end": 3600,
        "files": [
            {
                "path": file.path,
                "sha256": file.sha256,
                "size": file.size,
                "format": file.format,
                "keys": file.keys,
                "signing_keys": [{"key_id": name, "key_version": of} for name, of in file.signing_keys],
            }
            for file in FILES
        ],
        "key_count": 30,
        "receipts": encode_base64(b"".join(receipts)),
        "receipts_root": encode_base64(receipts_root(receipts)),
        "seed_sha256": encode_base64(b"s" * 32),
        "salt": encode_base64(b"a" * 32),
        "tool": "positive-key-registry ü",
    }


@given(st.integers(min_value=0, max_value=200))
@example(A_PIECE - 1)
@example(A_PIECE)
@example(A_PIECE + 1)
@example(2 * A_PIECE + 2)
def test_the_pieces_are_the_canonical_json_of_the_whole(count: int) -> None:
    receipts = receipts_of(count)
    content = b"".join(manifest_pieces(HEAD, iter(receipts)))
    assert content == encode_json(members(receipts)) == encode_manifest(manifest_of(receipts))
    if receipts:  # a batch's tree is never empty
        assert decode_manifest(content) == manifest_of(receipts)


def test_no_more_receipts_are_asked_for_than_the_next_piece_holds() -> None:
    asked = 0

    def receipts() -> Iterator[bytes]:
        nonlocal asked
        for receipt in receipts_of(10_000):
            asked += 1
            yield receipt

    at_each = [(len(piece), asked) for piece in manifest_pieces(HEAD, receipts())]
    assert [asked for _, asked in at_each] == [0, 3072, 6144, 9216, 10_000, 10_000]
    assert max(size for size, _ in at_each) <= 128 * 1024


def test_what_is_not_its_content_is_refused() -> None:
    receipts = receipts_of(16)
    good = json.loads(encode_manifest(manifest_of(receipts)))
    swapped = encode_base64(b"".join((receipts[1], receipts[0], *receipts[2:])))
    twice = encode_base64(b"".join((receipts[0], *receipts)))
    for change, why in (
        ({"key_count": 31}, "canonical"),
        ({"receipts_root": encode_base64(bytes(32))}, "canonical"),
        ({"receipts": encode_base64(b"".join(receipts[:-1]))}, "canonical"),
        ({"receipts": encode_base64(b"".join(receipts) + b"x")}, "32 bytes each"),
        ({"receipts": swapped}, "ascend"),
        ({"receipts": twice}, "ascend"),
        ({"window_start": 3600}, "ends before"),
        ({"salt": encode_base64(b"short")}, "'salt'"),
        ({"another": 1}, "canonical"),
    ):
        with pytest.raises(Malformed, match=why):
            decode_manifest(encode_json({**good, **change}))


def test_existing_phones_keys_count_once() -> None:
    assert HEAD.key_count == 30
    assert replace(HEAD, files=()).key_count == 0
