"""The revision token: one size, opens only here, and shows nothing to whoever carries it."""

import os
from base64 import b64decode, b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ConfigurationError, Distrusted, Malformed
from registry.protocol.revision_token import (
    MAX_ENTRIES,
    RevisableKey,
    RevisionKeyRing,
    decode_revision_token,
    encode_revision_token,
)
from tests.protocol.strategies import key_data

RING = RevisionKeyRing("2026-06", {"2026-06": os.urandom(32)})
KEY = RevisableKey(bytes(16), 2969136, 144)
SIZE = 1824

revisable = st.builds(RevisableKey, key_data, st.integers(0, 2**31 - 1), st.integers(1, 144))


@given(st.sets(revisable, max_size=MAX_ENTRIES))
def test_the_keys_come_back_and_every_token_has_one_size(keys: set[RevisableKey]) -> None:
    token = encode_revision_token(keys, RING)
    assert set(decode_revision_token(token, RING)) == keys
    assert len(token) == SIZE


def test_it_does_not_show_in_which_order_keys_came_nor_how_often() -> None:
    keys = [RevisableKey(bytes([n]) * 16, 100 + n, 144) for n in range(10)]
    assert decode_revision_token(encode_revision_token([*reversed(keys), keys[3]], RING), RING) == tuple(keys)


def test_of_too_many_keys_the_newest_stay_and_the_size_too() -> None:
    keys = [RevisableKey(n.to_bytes(16, "big"), n * 144, 144) for n in range(MAX_ENTRIES + 5)]
    token = encode_revision_token(keys, RING)
    assert decode_revision_token(token, RING) == tuple(keys[5:])
    assert len(token) == SIZE


def test_two_tokens_of_the_same_keys_share_nothing_but_their_head() -> None:
    one, other = (b64decode(encode_revision_token([KEY], RING)) for _ in range(2))
    assert one[:17] == other[:17]
    assert one[17:29] != other[17:29]
    assert sum(a == b for a, b in zip(one[29:], other[29:], strict=True)) < 60


def test_it_hides_the_keys() -> None:
    key = RevisableKey(b"sixteen letters.", 2969136, 144)
    assert key.key_data not in b64decode(encode_revision_token([key], RING))


@given(st.integers(0, 1366), st.integers(1, 255))
def test_not_a_bit_can_be_changed(at: int, mask: int) -> None:
    token = bytearray(b64decode(encode_revision_token([KEY], RING)))
    token[at] ^= mask
    with pytest.raises((Malformed, Distrusted)):
        decode_revision_token(b64encode(token).decode(), RING)


@pytest.mark.parametrize(
    "text", ["", "!", "AAAA", "A" * (SIZE - 4), "A" * SIZE, "A" * (SIZE + 4), "A" * 90_000]
)
def test_not_a_token(text: str) -> None:
    with pytest.raises(Malformed):
        decode_revision_token(text, RING)


def test_random_bytes_in_the_slot_are_no_token_of_ours() -> None:
    """Apps fill the slot with them before their first upload, so that its presence is no evidence."""
    with pytest.raises((Malformed, Distrusted)):
        decode_revision_token(b64encode(b"\x01" + os.urandom(1366)).decode(), RING)


def test_a_token_outlives_the_key_s_turn_but_not_its_end() -> None:
    token = encode_revision_token([KEY], RING)
    rotated = RevisionKeyRing("2026-07", {"2026-07": os.urandom(32), **RING.keys})
    assert decode_revision_token(token, rotated) == (KEY,)
    assert len(encode_revision_token([KEY], rotated)) == len(token)
    with pytest.raises(Distrusted):
        decode_revision_token(token, RevisionKeyRing("2026-07", {"2026-07": rotated.keys["2026-07"]}))


def test_another_key_under_the_same_name_does_not_open_it() -> None:
    with pytest.raises(Distrusted):
        decode_revision_token(
            encode_revision_token([KEY], RING), RevisionKeyRing("2026-06", {"2026-06": bytes(32)})
        )


@pytest.mark.parametrize("length", [0, 15, 17])
def test_a_key_is_16_bytes(length: int) -> None:
    with pytest.raises(Malformed):
        encode_revision_token([RevisableKey(bytes(length), 1, 1)], RING)


@pytest.mark.parametrize(
    ("current", "keys"),
    [
        ("a", {}),
        ("a", {"b": bytes(32)}),
        ("a", {"a": bytes(31)}),
        ("a", {"a": bytes(32), "b": b""}),
        ("", {"": bytes(32)}),
        ("a" * 17, {"a" * 17: bytes(32)}),
        ("\0", {"\0": bytes(32)}),
        ("ä", {"ä": bytes(32)}),
    ],
)
def test_a_ring_that_cannot_seal_is_refused_at_once(current: str, keys: dict[str, bytes]) -> None:
    with pytest.raises(ConfigurationError):
        RevisionKeyRing(current, keys)


def test_a_ring_does_not_print_its_keys() -> None:
    assert RING.keys["2026-06"].hex() not in repr(RING)
    assert repr(RING.keys["2026-06"]) not in repr(RING)
