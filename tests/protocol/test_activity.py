"""Chains of acts: one spelling, no words, no finer time than the hour; and every tampering is noticed."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Distrusted, Malformed
from registry.protocol.activity import (
    Act,
    act_hash,
    activity_commitment,
    check_acts,
    decode_act,
    decode_heads,
    encode_act,
    encode_heads,
    hour_of,
)

NAMES = st.from_regex(r"\A[A-Za-z0-9._-]{1,20}\Z")
ACTS = st.builds(
    Act,
    chain=NAMES,
    number=st.integers(2, 2**40),
    kind=NAMES,
    actor=st.from_regex(r"\Aofficial:[a-f0-9-]{1,36}\Z"),
    hour=st.just("2026-06-15T12:00Z"),
    detail=st.dictionaries(
        NAMES, st.integers(0, 2**40) | st.from_regex(r"\A[A-Za-z0-9._:/+=-]{1,40}\Z"), max_size=4
    ),
    previous=st.binary(min_size=32, max_size=32),
)
FIRST = Act("xa.health", 1, "sign_in", "official:o-1", "2026-06-15T12:00Z")


def chain_of(length: int, first: int = 1) -> list[bytes]:
    """A good chain, beginning at `first`."""
    contents: list[bytes] = []
    for number in range(first, first + length):
        before = act_hash(contents[-1]) if contents else (None if first == 1 else b"p" * 32)
        act = replace(FIRST, number=number, previous=before, detail={"authorization": f"a-{number}"})
        contents.append(encode_act(act))
    return contents


@given(ACTS)
def test_what_was_written_is_what_is_read(act: Act) -> None:
    assert decode_act(encode_act(act)) == act


def test_an_act_names_the_one_before_it_by_its_hash() -> None:
    one, two = chain_of(2)
    assert decode_act(one).previous is None
    assert decode_act(two).previous == sha256(one).digest() == act_hash(one)
    assert check_acts([one, two]) == act_hash(two)


@pytest.mark.parametrize(
    "wrong",
    [
        {"detail": {"note": "a person's name"}},
        {"detail": {"id": "x" * 201}},
        {"detail": {"id": ""}},
        {"detail": {"id": True}},
        {"detail": {"n": -1}},
        {"detail": {"two words": "x"}},
        {"hour": "2026-06-15T12:07Z"},
        {"hour": "2026-06-15 12:00"},
        {"actor": "Wang Fang"},
        {"chain": ""},
        {"chain": "x" * 65},
        {"kind": "签发"},
        {"previous": b"p" * 32},
        {"number": 2},
        {"number": 2, "previous": b"short"},
    ],
)
def test_words_fine_times_and_loose_ends_are_refused(wrong: dict[str, object]) -> None:
    encode_act(FIRST)
    with pytest.raises(Malformed):
        encode_act(replace(FIRST, **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"v":1', b'"v":2'), (b"}", b',"x":1}'), (b'{"actor"', b'{ "actor"'), (b":00Z", b":30Z")],
)
def test_another_spelling_is_no_act(old: bytes, new: bytes) -> None:
    content = encode_act(FIRST)
    assert old in content
    with pytest.raises(Malformed):
        decode_act(content.replace(old, new))


def test_a_chain_whose_oldest_acts_have_been_retired_still_holds() -> None:
    whole = chain_of(9)
    assert check_acts(whole) == check_acts(whole[4:]) == act_hash(whole[-1])
    assert check_acts([]) is None


@given(st.data())
def test_no_act_can_be_changed_left_out_swapped_or_slipped_in(data: st.DataObject) -> None:
    whole = chain_of(6)
    place = data.draw(st.integers(1, 4))
    other = encode_act(replace(decode_act(whole[place]), kind="code_expired"))
    tampered = data.draw(
        st.sampled_from(
            [
                [*whole[:place], other, *whole[place + 1 :]],
                [*whole[:place], *whole[place + 1 :]],
                [*whole[:place], whole[place + 1], whole[place], *whole[place + 2 :]],
                [*whole[: place + 1], whole[place], *whole[place + 1 :]],
                [*whole[:place], b"{}", *whole[place + 1 :]],
                [*whole[:place], *chain_of(1, first=place + 1), *whole[place + 1 :]],
            ]
        )
    )
    with pytest.raises(Distrusted, match="broken"):
        check_acts(tampered)


def test_an_act_of_another_chain_does_not_fit_in() -> None:
    one, two = chain_of(2)
    stranger = encode_act(replace(decode_act(two), chain="another"))
    with pytest.raises(Distrusted, match=r"xa\.health 1 is followed by another 2"):
        check_acts([one, stranger])


def test_a_moment_is_known_by_its_hour() -> None:
    assert hour_of(1_781_524_800) == hour_of(1_781_524_800 + 3599.9) == "2026-06-15T12:00Z"


@given(st.dictionaries(NAMES, st.binary(min_size=32, max_size=32), max_size=4))
def test_heads_are_read_as_they_were_written(heads: dict[str, bytes]) -> None:
    assert decode_heads(encode_heads(heads)) == heads


@pytest.mark.parametrize("content", [b'{"a":"XX"}', b'{"a":"AA"}', b'{"a": "aa"}', b"[]", b'{"a":1}'])
def test_other_heads_are_none(content: bytes) -> None:
    with pytest.raises(Malformed):
        decode_heads(content)


def test_an_anchor_shows_nothing_without_its_salt() -> None:
    heads = encode_heads({"xa.health": b"h" * 32})
    assert heads == b'{"xa.health":"' + b"68" * 32 + b'"}'
    label = b"positive-key-registry activity v1\n"
    assert activity_commitment(b"s" * 32, heads) == sha256(label + b"s" * 32 + heads).digest()
    with pytest.raises(Malformed):
        activity_commitment(b"s", heads)
