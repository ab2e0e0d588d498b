"""What a phone broadcasts is what the specification says, and what another phone then matches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.advertise import TX_POWER, advertise
from registry.client.failures import NoKeyForThatTime
from registry.client.match import SightingTable, match_keys
from registry.protocol.identifiers import associated_encrypted_metadata_key, decrypt_metadata
from registry.protocol.keys import ReportType, TemporaryExposureKey
from tests.client.test_match import VECTOR_KEY, VECTOR_SIGHTINGS, VECTOR_START


@pytest.mark.parametrize("index", VECTOR_SIGHTINGS)
def test_the_published_identifiers_are_broadcast(index: int) -> None:
    first, second = advertise([VECTOR_KEY], first_minute=(VECTOR_START + index) * 10, minutes=10, rssi=-60)
    assert first.rpi.hex() == second.rpi.hex() == VECTOR_SIGHTINGS[index][0]
    metadata = decrypt_metadata(associated_encrypted_metadata_key(VECTOR_KEY.key_data), first.rpi, first.aem)
    assert metadata == bytes([0x40, TX_POWER & 0xFF, 0, 0])


@given(
    key_data=st.binary(min_size=16, max_size=16),
    day=st.integers(18_000, 25_000),
    offset=st.integers(-600, 2000),
    minutes=st.integers(1, 300),
)
def test_every_scan_within_the_keys_day_exposes_and_no_other(
    key_data: bytes, day: int, offset: int, minutes: int
) -> None:
    key = TemporaryExposureKey(key_data, day * 144, report_type=ReportType.CONFIRMED_TEST)
    first_minute = day * 1440 + offset
    scans = [minute for minute in range(first_minute, first_minute + minutes, 5) if minute // 1440 == day]
    if not scans:
        with pytest.raises(NoKeyForThatTime):
            advertise([key], first_minute=first_minute, minutes=minutes, rssi=-60)
        return
    received = advertise([key], first_minute=first_minute, minutes=minutes, rssi=-60)
    assert [sighting.minute for sighting in received] == scans
    outcome = match_keys([key], [], SightingTable(received), known={}, matched=set(), own=set())
    assert sum(exposure.sightings for exposure in outcome.exposures) == len(scans)
