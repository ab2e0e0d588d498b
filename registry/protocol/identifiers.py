"""The identifiers that phones broadcast, derived from a temporary exposure key.

GAEN Cryptography Specification v1.2 and Bluetooth Specification v1.2.2. Used on the phone, never in the
registry: whoever derives identifiers from published keys can recognise phones, which only phones may do.
The metadata is encrypted but not authenticated, so its reader must check what it decrypts.
"""

import struct
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from registry.errors import Malformed
from registry.protocol.intervals import INTERVALS_PER_DAY

IDENTIFIER_BYTES = 16
METADATA_BYTES = 4
_METADATA_VERSION_1_0 = 0x40


def rolling_proximity_identifier_key(key_data: bytes) -> bytes:
    """RPIK: 16 bytes by HKDF-SHA256 without salt, info `EN-RPIK`."""
    return _derive(key_data, b"EN-RPIK")


def associated_encrypted_metadata_key(key_data: bytes) -> bytes:
    """AEMK: 16 bytes by HKDF-SHA256 without salt, info `EN-AEMK`."""
    return _derive(key_data, b"EN-AEMK")


def _derive(key_data: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=16, salt=None, info=purpose).derive(key_data)


def rolling_proximity_identifiers(
    key_data: bytes, start_interval: int, count: int = INTERVALS_PER_DAY
) -> list[bytes]:
    """The `count` identifiers of 16 bytes for the intervals from `start_interval` on, in order.

    Each is AES-128 of one block: `EN-RPI`, six zero bytes, the interval as little-endian uint32.
    """
    # ECB is what the specification says: every block is encrypted on its own and no block repeats.
    cipher = Cipher(algorithms.AES(rolling_proximity_identifier_key(key_data)), modes.ECB())  # noqa: S305
    encryptor = cipher.encryptor()
    identifiers = encryptor.update(_padded_intervals(start_interval, count)) + encryptor.finalize()
    # One call that cuts all of them costs a third of 144 slices.
    return list(struct.unpack(f"{IDENTIFIER_BYTES}s" * count, identifiers))


@lru_cache(maxsize=64)
def _padded_intervals(start_interval: int, count: int) -> bytes:
    # Remembered: nearly all keys of a file start on one of a few days, and packing is half the work of a key.
    return b"".join(
        struct.pack("<6s6xI", b"EN-RPI", interval)
        for interval in range(start_interval, start_interval + count)
    )


def bluetooth_metadata(tx_power: int) -> bytes:
    """The four metadata bytes, version 1.0: 0x40, transmit power in dBm (-127..127), two reserved zeros.

    Raises Malformed if the power does not fit.
    """
    if not -127 <= tx_power <= 127:
        raise Malformed(f"transmit power must be -127 to 127 dBm, not {tx_power}")
    return struct.pack(">Bb2x", _METADATA_VERSION_1_0, tx_power)


def encrypt_metadata(metadata_key: bytes, identifier: bytes, metadata: bytes) -> bytes:
    """AES-128-CTR under the AEMK with the identifier as initial counter. As long as `metadata`."""
    encryptor = Cipher(algorithms.AES(metadata_key), modes.CTR(identifier)).encryptor()
    return encryptor.update(metadata) + encryptor.finalize()


def decrypt_metadata(metadata_key: bytes, identifier: bytes, encrypted: bytes) -> bytes:
    """Undoes `encrypt_metadata`. Anybody can flip its bits: check the power before believing it."""
    return encrypt_metadata(metadata_key, identifier, encrypted)
