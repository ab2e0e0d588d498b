"""What this phone broadcasts: its identifiers for a stretch of time, as another phone would receive them.

Pure: keys in, sightings out. A phone that has no key for a time broadcast nothing then.
"""

from collections.abc import Iterable

from registry.client.failures import NoKeyForThatTime
from registry.client.sightings import MINUTES_PER_INTERVAL, Sighting
from registry.protocol.identifiers import (
    associated_encrypted_metadata_key,
    bluetooth_metadata,
    encrypt_metadata,
    rolling_proximity_identifiers,
)
from registry.protocol.keys import TemporaryExposureKey

SCAN_EVERY_MINUTES = 5
"""Phones listen about that often."""
TX_POWER = -20
"""dBm, in the middle of what phones send with."""


def advertise(
    keys: Iterable[TemporaryExposureKey], *, first_minute: int, minutes: int, rssi: int
) -> list[Sighting]:
    """What a phone beside this one receives in `minutes` from `first_minute` on (Unix minutes).

    It scans every five minutes and receives at `rssi` dBm. Times without a key of this phone are left out;
    raises `NoKeyForThatTime` if all are.
    """
    valid = list(keys)
    received = []
    for minute in range(first_minute, first_minute + minutes, SCAN_EVERY_MINUTES):
        interval = minute // MINUTES_PER_INTERVAL
        for key in valid:
            if key.rolling_start_interval_number <= interval < key.end_interval_number:
                (rpi,) = rolling_proximity_identifiers(key.key_data, interval, 1)
                metadata_key = associated_encrypted_metadata_key(key.key_data)
                aem = encrypt_metadata(metadata_key, rpi, bluetooth_metadata(TX_POWER))
                received.append(Sighting(rpi, aem, minute, rssi))
    if not received:
        raise NoKeyForThatTime(
            "this phone had no key then, so it broadcast nothing; "
            "only a phone set up with --staged has keys of days before it was set up"
        )
    return received
