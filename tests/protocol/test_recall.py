"""Handles, tags and seals: a handle leads to its upload's keys, and nothing else leads anywhere."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Distrusted
from registry.protocol.recall import (
    HANDLE_BYTES,
    MOST_TAGS,
    open_handle,
    recall_tags,
    recalled_mark,
    seal_handle,
)

KEY = X25519PrivateKey.from_private_bytes(b"\x21" * 32)
OTHER = X25519PrivateKey.from_private_bytes(b"\x22" * 32)
handles = st.binary(min_size=HANDLE_BYTES, max_size=HANDLE_BYTES)
names = st.text(max_size=40)


@given(handle=handles, name=names)
def test_a_sealed_handle_opens_for_its_statement_and_key(handle: bytes, name: str) -> None:
    sealed = seal_handle(handle, KEY.public_key(), name)
    assert len(sealed) == 64
    assert handle not in sealed
    assert open_handle(sealed, KEY, name) == handle


@given(handle=handles, name=names, other=names)
def test_it_opens_for_no_other(handle: bytes, name: str, other: str) -> None:
    sealed = seal_handle(handle, KEY.public_key(), name)
    with pytest.raises(Distrusted):
        open_handle(sealed, OTHER, name)
    if other != name:
        with pytest.raises(Distrusted):
            open_handle(sealed, KEY, other)


@given(handle=handles, place=st.integers(0, 63), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(handle: bytes, place: int, bit: int) -> None:
    sealed = bytearray(seal_handle(handle, KEY.public_key(), "a"))
    # The topmost bit of an X25519 public key is not looked at (RFC 7748 §5): HPKE takes it into its context.
    sealed[place] ^= 1 << bit
    with pytest.raises(Distrusted):
        open_handle(bytes(sealed), KEY, "a")


@given(sealed=st.binary(max_size=80))
def test_whatever_is_no_seal_is_distrusted(sealed: bytes) -> None:
    with pytest.raises(Distrusted):
        open_handle(sealed, KEY, "a")


def test_a_seal_around_something_else_is_distrusted() -> None:
    with pytest.raises(Distrusted):
        open_handle(seal_handle(b"short", KEY.public_key(), "a"), KEY, "a")


@given(handle=handles, count=st.integers(0, MOST_TAGS))
def test_the_first_tags_are_those_of_a_longer_upload(handle: bytes, count: int) -> None:
    every = recall_tags(handle, MOST_TAGS)
    assert recall_tags(handle, count) == every[:count]
    assert len({*every, recalled_mark(handle)}) == MOST_TAGS + 1


def test_without_a_handle_tags_are_random() -> None:
    assert set(recall_tags(None, 5)).isdisjoint(recall_tags(None, 5))
