"""Identifiers: the specification's known answers, and an implementation that is not ours."""

import os
from hashlib import sha256

import pytest
from exponot import exponot  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Malformed
from registry.protocol.identifiers import (
    associated_encrypted_metadata_key,
    bluetooth_metadata,
    decrypt_metadata,
    encrypt_metadata,
    rolling_proximity_identifier_key,
    rolling_proximity_identifiers,
)

# google/exposure-notifications-internals, TestVectors.java: one key, its first interval, 8 dBm.
KEY = bytes.fromhex("75c734c6dd1a782de7a965da5eb93125")
FIRST_INTERVAL = 2642976
METADATA = bytes.fromhex("40080000")
KNOWN_ANSWERS = {
    0: ("8be6cd371c5c891604bfbe49df845096", "72033874"),
    1: ("3c9a1de5dd6b02afa7fded7b570b3e56", "c29211b1"),
    71: ("416ffc7a32fcfda9a316d01790e31945", "c122ad68"),
    143: ("f431b62ecf443102ce4ed0407de54bd4", "1215e57e"),
}
DIGEST_OF_ALL_144 = "0e691522b0c307d0ea092217a7eebb74d6c04d9c5fa7decf02bd28e0bee01e6c"


def test_the_derived_keys_are_the_published_ones() -> None:
    assert rolling_proximity_identifier_key(KEY).hex() == "185ad91db69ec7dd048960f1f3ba6175"
    assert associated_encrypted_metadata_key(KEY).hex() == "d57c46af7a1d83965b9bed8bd152936a"


def test_all_144_identifiers_and_their_metadata_are_the_published_ones() -> None:
    metadata_key = associated_encrypted_metadata_key(KEY)
    identifiers = rolling_proximity_identifiers(KEY, FIRST_INTERVAL)
    encrypted = [encrypt_metadata(metadata_key, identifier, METADATA) for identifier in identifiers]
    for j, answers in KNOWN_ANSWERS.items():
        assert (identifiers[j].hex(), encrypted[j].hex()) == answers
    assert len(identifiers) == 144
    everything = b"".join(a + b for a, b in zip(identifiers, encrypted, strict=True))
    assert sha256(everything).hexdigest() == DIGEST_OF_ALL_144


def test_the_metadata_of_a_phone_that_sends_at_8_dbm_is_the_published_one() -> None:
    assert bluetooth_metadata(8) == METADATA


@given(st.integers(-127, 127))
def test_transmit_power_is_a_signed_byte(power: int) -> None:
    metadata = bluetooth_metadata(power)
    assert len(metadata) == 4
    assert int.from_bytes(metadata[1:2], "big", signed=True) == power
    assert metadata[2:] == bytes(2)


@pytest.mark.parametrize("power", [-128, 128])
def test_no_phone_sends_that_loud(power: int) -> None:
    with pytest.raises(Malformed):
        bluetooth_metadata(power)


def test_an_independent_implementation_derives_the_same_from_random_keys() -> None:
    for _ in range(20):
        key, start = os.urandom(16), int.from_bytes(os.urandom(4), "big") // 2
        ours = rolling_proximity_identifiers(key, start)
        assert ours[0] == exponot.rolling_proximity_identifier(start, key)
        assert ours[143] == exponot.rolling_proximity_identifier(start + 143, key)
        assert rolling_proximity_identifier_key(key) == exponot.rolling_proximity_identifier_key(key)
        assert associated_encrypted_metadata_key(key) == exponot.associated_encrypted_metadata_key(key)
        assert encrypt_metadata(
            associated_encrypted_metadata_key(key), ours[5], METADATA
        ) == exponot.associated_encrypted_metadata(start + 5, key, METADATA)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 200), st.integers(0, 144))
def test_identifiers_depend_on_the_interval_alone_not_on_where_one_starts(
    key: bytes, start: int, skip: int
) -> None:
    assert rolling_proximity_identifiers(key, start)[skip:] == rolling_proximity_identifiers(
        key, start + skip, 144 - skip
    )


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=4, max_size=4),
)
def test_metadata_comes_back(key: bytes, identifier: bytes, metadata: bytes) -> None:
    assert decrypt_metadata(key, identifier, encrypt_metadata(key, identifier, metadata)) == metadata
