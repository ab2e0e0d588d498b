"""Base64 in the four forms that phones use, and JSON from strangers."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.encoding import (
    decode_base64,
    decode_base64url,
    decode_json_object,
    encode_base64,
    encode_base64url,
    encode_json,
)


@given(st.binary(max_size=100))
def test_base64_reads_all_four_forms(content: bytes) -> None:
    standard, url = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    assert encode_base64(content) == standard
    for text in (standard, url, standard.rstrip("="), url.rstrip("=")):
        assert decode_base64(text) == content


@given(st.text(max_size=40))
def test_whatever_base64_accepts_has_one_spelling_in_its_alphabet(text: str) -> None:
    try:
        content = decode_base64(text)
    except Malformed:
        return
    standard, url = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    in_one_line = text.replace("\r", "").replace("\n", "")
    assert in_one_line in {standard, url, standard.rstrip("="), url.rstrip("=")}


@given(st.binary(max_size=200), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 76))
def test_base64_may_be_broken_into_lines(content: bytes, line_end: str, length: int) -> None:
    text = base64.b64encode(content).decode()
    lines = [text[at : at + length] for at in range(0, len(text), length)]
    assert decode_base64(line_end.join(lines) + line_end) == content


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A", "one character is no byte"),
        ("AA=", "one '=' too few"),
        ("AAA==", "one '=' too many"),
        ("=", "nothing but padding"),
        ("AB==", "stray bits"),
        ("AA==AA==", "padding inside"),
        ("AA A", "white space"),
        ("AAAA\t", "a tabulator"),
        ("AAAA\u2028", "another script's line end"),
        ("+-AA", "two alphabets"),
        ("ÄÄÄÄ", "not ASCII"),
        ("\ud800AAA", "half a surrogate pair"),
    ],
)
def test_base64_refuses(text: str, why: str) -> None:
    with pytest.raises(Malformed):
        decode_base64(text)


@given(st.binary(max_size=100))
def test_base64url_has_one_spelling(content: bytes) -> None:
    text = encode_base64url(content)
    assert decode_base64url(text) == content
    assert not set(text) & set("+/=")


@pytest.mark.parametrize("text", ["AA==", "+AAA", "/AAA", "AB", "AAAA\n", "AA\r\nAA"])
def test_base64url_refuses_every_other_spelling(text: str) -> None:
    with pytest.raises(Malformed):
        decode_base64url(text)


texts = st.text(max_size=6).filter(lambda text: text.isprintable())
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(texts, json_values, max_size=4))
def test_json_comes_back_and_its_bytes_do_not_depend_on_the_order_of_members(
    members: dict[str, object],
) -> None:
    content = encode_json(members)
    assert decode_json_object(content, "it").as_dict() == members
    assert encode_json(dict(reversed(members.items()))) == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"1",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1} x',
        b"\xff{}",
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":' + b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_json_refuses(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode_json_object(content, "it")


@pytest.mark.parametrize("value", [None, "1", 1.0, 1.5, True, -1, 2**53, [1], 1e400])
def test_a_whole_number_is_nothing_else(value: object) -> None:
    document = decode_json_object(json.dumps({"n": value}).replace("Infinity", "1e400").encode(), "it")
    with pytest.raises(Malformed, match="'n'"):
        document.integer("n")


@pytest.mark.parametrize("value", [None, "", 1, ["a"], "\ud800"])
def test_a_text_is_not_empty_and_can_be_written_down(value: object) -> None:
    document = decode_json_object(json.dumps({"t": value, "list": [value]}).encode(), "it")
    with pytest.raises(Malformed, match="'t'"):
        document.text("t")
    with pytest.raises(Malformed, match="'list'"):
        document.texts("list")


@pytest.mark.parametrize("value", [None, 1, {"a": 1}, [1], [None]])
def test_objects_and_lists_are_what_they_are_called(value: object) -> None:
    document = decode_json_object(json.dumps({"v": value}).encode(), "it")
    with pytest.raises(Malformed):
        document.children("v")
    with pytest.raises(Malformed):
        document.texts("v")
    if not isinstance(value, dict):
        with pytest.raises(Malformed):
            document.child("v")


def test_a_missing_member_is_named_with_the_way_to_it() -> None:
    document = decode_json_object(b'{"files":[{"size":1},{}]}', "index")
    with pytest.raises(Malformed, match=r"index\.files\[1\]: 'size'"):
        [file.integer("size") for file in document.children("files")]
