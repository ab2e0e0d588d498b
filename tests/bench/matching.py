"""How fast a phone matches published keys against its sightings.

Both sides run on one core and wait for nothing, so what counts is the core's time, not the clock's.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from registry.client.match import SightingTable, match_keys
from registry.client.sightings import Sighting
from registry.protocol.identifiers import (
    associated_encrypted_metadata_key,
    bluetooth_metadata,
    encrypt_metadata,
    rolling_proximity_identifiers,
)
from registry.protocol.intervals import INTERVALS_PER_DAY
from registry.protocol.keys import TemporaryExposureKey
from tests.bench.measure import Measurement, Pair, Target
from tests.bench.population import NEWEST_START, keys_of_patients

KEYS = 30_000
"""A run; the time a key does not depend on it."""
SIGHTINGS = 20_000
MEETINGS = 5
"""Keys that were really met, so that a matcher which finds nothing cannot look fast."""
AES_BYTES_PER_KEY = 16 * INTERVALS_PER_DAY
BULK_BYTES = 16 * 2**20
BULK_ROUNDS = 8


def _sightings(met: list[TemporaryExposureKey]) -> list[Sighting]:
    """Spread over all 14 days and every interval, so that no key can be passed over by its time."""
    chance = random.Random(2)
    oldest = NEWEST_START - 13 * INTERVALS_PER_DAY
    minutes = 14 * 24 * 60
    sightings = [
        Sighting(chance.randbytes(16), chance.randbytes(4), oldest * 10 + chance.randrange(minutes), -60)
        for _ in range(SIGHTINGS - len(met))
    ]
    for key in met:
        start = key.rolling_start_interval_number
        rpi = rolling_proximity_identifiers(key.key_data, start, 1)[0]
        aem = encrypt_metadata(associated_encrypted_metadata_key(key.key_data), rpi, bluetooth_metadata(-20))
        sightings.append(Sighting(rpi, aem, start * 10 + 5, -60))
    return sightings


def _aes_alone() -> float:
    encryptor = Cipher(algorithms.AES(bytes(16)), modes.ECB()).encryptor()  # noqa: S305  # as GAEN says
    blocks, room = bytes(BULK_BYTES), bytearray(BULK_BYTES + 15)
    began = time.process_time()
    for _ in range(BULK_ROUNDS):
        encryptor.update_into(blocks, room)
    return BULK_ROUNDS * BULK_BYTES / AES_BYTES_PER_KEY / (time.process_time() - began)


@contextmanager
def _speed() -> Iterator[Pair]:
    keys = keys_of_patients(KEYS)
    sightings = _sightings(keys[:: KEYS // MEETINGS])

    def ours() -> float:
        began = time.process_time()
        found = match_keys(keys, (), SightingTable(sightings), known={}, matched=(), own=())
        spent = time.process_time() - began
        if len(found.exposures) != MEETINGS:
            raise RuntimeError(f"matching found {len(found.exposures)} of {MEETINGS} meetings")
        return KEYS / spent

    yield Pair(ours, _aes_alone)


MEASUREMENTS = (
    Measurement(
        name="keys_matched_per_second",
        unit="keys/s",
        against=(
            f"AES-128-ECB alone, in bulk, on as many bytes ({AES_BYTES_PER_KEY:,} a key). "
            f"Ours: one core, {SIGHTINGS:,} sightings, no key ruled out by its time"
        ),
        target=Target(0.05),
        prepare=_speed,
    ),
)
